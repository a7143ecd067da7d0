//! Private PostgreSQL clusters, from a template that `initdb` makes once per machine (1.8 s; a copy takes a tenth).
//!
//! The server refuses to run as root: then it runs as the user `postgres`, or `nobody`.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::sync::OnceCell;

use crate::POSTGRES_ENV;
use crate::run::{blocking, free_port, poll, program, root, run, tail, try_poll};
use crate::running::Running;

/// How long a server may take to be ready. Measured: 0.2 s, 1.3 s after a crash; the rest is for a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Where packages put versioned programs: Debian, Fedora (PGDG), Homebrew. (folder, prefix before the version)
const PACKAGES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// Options of every cluster. Shared memory in files of the data folder: a kill -9 leaves nothing behind elsewhere.
const COMMON: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "shared_buffers=64MB",
    "dynamic_shared_memory_type=mmap",
    "logging_collector=off",
    "timezone=UTC",
];

/// Options of a cluster that need not outlive a power cut, and whose databases live for seconds.
const FAST: [&str; 7] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "checkpoint_timeout=30min",
    "autovacuum=off",
];

/// What a cluster does to keep commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing beyond the defaults is turned off: for crash tests.
    Fsync,
    /// All that costs time is off: for everything else.
    Off,
}

/// A PostgreSQL server of the test's own, on one port of 127.0.0.1 for all its lives. Stopped on `Drop`.
pub struct Postgres {
    address: SocketAddr,
    cluster: Arc<Mutex<Cluster>>,
}

impl Postgres {
    /// The URL of the shared cluster's admin database: [`POSTGRES_ENV`] when set, else a cluster of this process,
    /// started at the first call. Panics when there is none to be had, with the server's log.
    pub async fn shared() -> &'static str {
        static URL: OnceCell<(String, Option<Postgres>)> = OnceCell::const_new();
        let (url, _) = URL
            .get_or_init(|| async {
                if let Ok(url) = std::env::var(POSTGRES_ENV) {
                    return (url, None);
                }
                let postgres = Postgres::private(Durability::Off).await;
                (postgres.url(), Some(postgres))
            })
            .await;
        url
    }

    /// Starts a cluster of the test's own. Panics when it cannot, with the server's log.
    pub async fn private(durability: Durability) -> Postgres {
        let cluster = blocking(move || Cluster::first(durability)).await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port));
        Postgres { address, cluster: Arc::new(Mutex::new(cluster)) }
    }

    /// The URL of the database `postgres` as its superuser, without a password: the same for all the server's lives.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server as `pg_ctl stop -m immediate` does (SIGQUIT): connections are cut, recovery at the next start.
    pub async fn stop_immediate(&self) {
        self.change(|cluster| {
            cluster.running.take();
            Ok(())
        })
        .await;
    }

    /// Kills the server and its connections' processes (SIGKILL) and returns when the server is gone.
    pub fn kill9(&self) {
        lock(&self.cluster).kill9();
    }

    /// Starts a stopped or killed server on its port and returns when it takes connections. No-op when it is up.
    pub async fn start(&self) {
        self.change(Cluster::start).await;
    }

    /// The process id of the server, whose children serve the connections. `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        lock(&self.cluster).running.as_ref().map(Running::pid)
    }

    /// [`Postgres::stop_immediate`], then [`Postgres::start`].
    pub async fn restart(&self) {
        self.stop_immediate().await;
        self.start().await;
    }

    async fn change(&self, work: impl FnOnce(&mut Cluster) -> Result<()> + Send + 'static) {
        let cluster = Arc::clone(&self.cluster);
        blocking(move || work(&mut lock(&cluster))).await;
    }
}

fn lock(cluster: &Mutex<Cluster>) -> MutexGuard<'_, Cluster> {
    cluster.lock().expect("no panic while the cluster was held")
}

/// The folder of the newest PostgreSQL's programs.
pub(crate) fn binaries() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (folder, prefix) in PACKAGES {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)).map(str::parse);
            let bin = entry.path().join("bin");
            if let Some(Ok(version)) = version
                && bin.join("initdb").is_file()
                && bin.join("postgres").is_file()
            {
                found.push((version, bin));
            }
        }
    }
    if let Some((_, bin)) = found.into_iter().max() {
        return Ok(bin);
    }
    let initdb =
        program("initdb").context("no PostgreSQL server on this machine; `cargo xtask test` installs it")?;
    // Resolved: the server looks for its share folder beside where it really lies.
    let bin = initdb.canonicalize()?.parent().context("initdb lies in a folder")?.to_owned();
    ensure!(bin.join("postgres").is_file(), "initdb is in {} but postgres is not", bin.display());
    Ok(bin)
}

/// Whom to run PostgreSQL as: (uid, gid) when we are root.
fn server_user() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let id = |flag: &str, user: &str| -> Result<u32> {
        let output = Command::new("id").args([flag, user]).output()?;
        ensure!(output.status.success(), "no user {user}");
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    };
    for user in ["postgres", "nobody"] {
        if let (Ok(uid), Ok(gid)) = (id("-u", user), id("-g", user)) {
            return Ok(Some((uid, gid)));
        }
    }
    bail!("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

/// A command run as the server's user, in `folder`.
fn as_server(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    if let Some((uid, gid)) = server_user()? {
        // Setting the uid also drops root's other groups.
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

/// Gives `folder` to the server's user.
fn hand_over(folder: &Path) -> Result<()> {
    if let Some((uid, gid)) = server_user()? {
        chown(folder, Some(uid), Some(gid))?;
    }
    Ok(())
}

fn run_to_end(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{command:?} failed: {stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout.into_owned())
}

/// The data folder that every cluster is copied from; made by the first process that needs it, the others wait.
fn template(bin: &Path) -> Result<PathBuf> {
    let version = run_to_end(Command::new(bin.join("postgres")).arg("--version"))?;
    // "postgres (PostgreSQL) 15.18 (Debian …)"
    let version = version.split_whitespace().nth(2).context("postgres tells its version")?;
    let root = root()?;
    let template = root.join(format!("postgres-{version}"));
    let turn = File::create(root.join("postgres.lock"))?;
    turn.lock()?;
    if !template.join("data").is_dir() {
        fs::create_dir_all(&template)?;
        hand_over(&template)?;
        fs::remove_dir_all(template.join("partial")).ok();
        let options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"];
        run_to_end(as_server(bin.join("initdb"), &template)?.args(options).arg("--pgdata=partial"))?;
        // Renamed when whole: an `initdb` that was cut short is never taken for a template.
        fs::rename(template.join("partial"), template.join("data"))?;
    }
    Ok(template.join("data"))
}

struct Cluster {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    durability: Durability,
    running: Option<Running>,
}

impl Cluster {
    fn first(durability: Durability) -> Result<Cluster> {
        let bin = binaries()?;
        let template = template(&bin)?;
        let folder = run().folder("postgres")?;
        hand_over(&folder)?;
        run_to_end(as_server("cp", &folder)?.arg("-Rp").arg(template).arg("data"))?;
        let mut cluster = Cluster { bin, folder, port: 0, durability, running: None };
        for _ in 0..5 {
            cluster.port = free_port();
            if cluster.try_start()? {
                return Ok(cluster);
            }
        }
        bail!("postgres ended at once, five times: {}", tail(&cluster.log()))
    }

    /// After a kill -9 the old connections' processes may hold the cluster for a moment more: hence the retries.
    fn start(&mut self) -> Result<()> {
        if self.running.as_mut().is_some_and(|running| running.exited().is_none()) {
            return Ok(());
        }
        let up = try_poll(START_DEADLINE, || self.try_start())?;
        ensure!(up, "postgres did not come back on port {}: {}", self.port, tail(&self.log()));
        Ok(())
    }

    /// True when the server takes connections, false when it ended at once.
    fn try_start(&mut self) -> Result<bool> {
        let log = File::create(self.log())?;
        let mut command = as_server(self.bin.join("postgres"), &self.folder)?;
        command.arg("-D").arg(self.folder.join("data")).arg("-p").arg(self.port.to_string());
        let fast: &[&str] = if self.durability == Durability::Off { &FAST } else { &[] };
        for option in COMMON.iter().chain(fast) {
            command.args(["-c", option]);
        }
        command.stderr(log.try_clone()?).stdout(log).process_group(0);
        let mut running = Running::spawn(&mut command, Signal::QUIT)?;
        let ours = running.pid().to_string();
        let settled = poll(START_DEADLINE, || running.exited().is_some() || self.is_ready(&ours));
        ensure!(settled, "postgres was not ready in {START_DEADLINE:?}: {}", tail(&self.log()));
        if running.exited().is_some() {
            return Ok(false);
        }
        self.running = Some(running);
        Ok(true)
    }

    /// As `pg_ctl` asks: the server writes its pid in line 1 and its state in line 8.
    fn is_ready(&self, pid: &str) -> bool {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        file.lines().next() == Some(pid) && file.lines().nth(7).is_some_and(|state| state.trim() == "ready")
    }

    fn kill9(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        let pid = running.pid();
        // Frozen while its children are listed, so that none is born unseen.
        running.signal(Signal::STOP);
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        running.end(Signal::KILL);
        for child in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            kill_process(child, Signal::KILL).ok();
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.running.take();
        fs::remove_dir_all(&self.folder).ok();
    }
}
