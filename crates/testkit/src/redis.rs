//! Private Redis servers: 15–22 ms to start, so each test may kill, freeze, fill or empty its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::run::{blocking, free_port, poll, program, run, tail, try_poll};
use crate::running::Running;

/// How long a server may take to answer its first command. Measured: 22 ms; the rest is for a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A `redis-server` of the test's own, on one port of 127.0.0.1 for all its lives. Killed on `Drop`.
pub struct Redis {
    address: SocketAddr,
    server: Arc<Mutex<Server>>,
}

struct Server {
    port: u16,
    folder: PathBuf,
    args: Vec<String>,
    running: Option<Running>,
}

impl Redis {
    /// Starts a server that keeps nothing on disk. Panics when it cannot, with the server's log.
    pub async fn start() -> Redis {
        Redis::start_with(&[]).await
    }

    /// Starts a server with more options, as `["--maxmemory", "8mb"]`; they come last, so they win.
    pub async fn start_with(args: &[&str]) -> Redis {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let server = blocking(move || Server::first(args)).await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        Redis { address, server: Arc::new(Mutex::new(server)) }
    }

    /// `redis://127.0.0.1:PORT`: the same for all the server's lives.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's process id. `None` while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.server().running.as_ref().map(Running::pid)
    }

    /// Kills the server (SIGKILL) and returns when it is gone. No-op when it is already down.
    pub fn kill9(&self) {
        self.server().running.take();
    }

    /// Kills the server if it is up and starts it again on the same port, with what its options made it keep.
    pub async fn restart(&self) {
        let server = Arc::clone(&self.server);
        blocking(move || lock(&server).restart()).await;
    }

    /// As [`Redis::restart`], and nothing is left of the data whatever the options.
    pub async fn restart_empty(&self) {
        let server = Arc::clone(&self.server);
        blocking(move || {
            let mut server = lock(&server);
            server.running.take();
            fs::remove_dir_all(&server.folder)?;
            fs::create_dir(&server.folder)?;
            server.restart()
        })
        .await;
    }

    /// Freezes the server (SIGSTOP): it accepts connections, as the kernel does that, and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends [`Redis::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// What the server answers to one command, as an operator would type it: a status or an error with its sign, a
    /// bulk string's text, the first line of anything else. Blocks for up to a second; the server must be up.
    pub fn command(&self, command: &str) -> String {
        ask(self.address, command).unwrap_or_else(|error| panic!("{command}: {error:?}"))
    }

    /// Deletes everything, as an operator's `FLUSHALL` would. Blocks for up to a second; the server must be up.
    pub fn flush_all(&self) {
        assert_eq!(self.command("FLUSHALL"), "+OK");
    }

    fn signal(&self, signal: Signal) {
        self.server().running.as_mut().expect("the server is up").signal(signal);
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().expect("no panic while the server was held")
}

impl Server {
    fn first(args: Vec<String>) -> Result<Server> {
        let folder = run().folder("redis")?;
        let mut server = Server { port: 0, folder, args, running: None };
        for _ in 0..5 {
            server.port = free_port();
            if server.try_start()? {
                return Ok(server);
            }
        }
        bail!("redis-server ended at once, five times: {}", tail(&server.log()))
    }

    fn restart(&mut self) -> Result<()> {
        self.running.take();
        let up = try_poll(START_DEADLINE, || self.try_start())?;
        ensure!(up, "redis-server did not come back on port {}: {}", self.port, tail(&self.log()));
        Ok(())
    }

    /// True when the server is up, false when it ended at once: someone else has the port, or an option is wrong.
    fn try_start(&mut self) -> Result<bool> {
        let program =
            program("redis-server").context("no redis-server on PATH; `cargo xtask test` installs it")?;
        let log = File::create(self.log())?;
        let mut command = Command::new(program);
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(&self.folder)
            .args(&self.args)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log)
            .process_group(0);
        let mut running = Running::spawn(&mut command, Signal::KILL)?;
        // Its own pid in the answer: not another server that was first at the port.
        let ours = format!("process_id:{}", running.pid());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let settled = poll(START_DEADLINE, || running.exited().is_some() || is_ours(address, &ours));
        ensure!(settled, "redis-server did not answer in {START_DEADLINE:?}: {}", tail(&self.log()));
        if running.exited().is_some() {
            return Ok(false);
        }
        self.running = Some(running);
        Ok(true)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

fn is_ours(address: SocketAddr, process_id: &str) -> bool {
    ask(address, "INFO server").is_ok_and(|reply| reply.lines().any(|line| line == process_id))
}

/// Sends one inline command and returns the reply: a simple string with its `+`, or a bulk string's text.
fn ask(address: SocketAddr, command: &str) -> Result<String> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let first = first.trim_end();
    let Some(length) = first.strip_prefix('$') else { return Ok(first.to_owned()) };
    let mut text = vec![0; length.parse().unwrap_or(0)]; // -1 is no string
    reader.read_exact(&mut text)?;
    Ok(String::from_utf8(text)?)
}
