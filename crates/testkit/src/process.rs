//! The product's own programs as child processes: what they print is kept, and signals reach them.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::eventually::eventually;
use crate::running::Running;

/// A running program with both its outputs captured. Killed (SIGKILL) on `Drop`.
pub struct Child {
    running: Mutex<Running>,
    output: Arc<Mutex<Output>>,
}

#[derive(Default)]
struct Output {
    lines: Vec<String>,
    /// Streams read to their end: of two.
    ended: u8,
}

/// A command that runs the workspace's program `name`, with none of this shell's settings (`SEBASTIAN__*`, `SEBASTIAN_DATA`).
///
/// Taken from `CARGO_BIN_EXE_<name>` when the test runner sets it, else from the build folder this test runs from.
/// Panics when it was not built: `cargo xtask test` builds them all.
pub fn binary(name: &str) -> Command {
    let path = std::env::var_os(format!("CARGO_BIN_EXE_{name}")).map_or_else(|| beside(name), PathBuf::from);
    assert!(path.is_file(), "no {}: run `cargo build --workspace --bins`", path.display());
    let mut command = Command::new(path);
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| key.starts_with("SEBASTIAN__") || key == "SEBASTIAN_DATA") {
            command.env_remove(key);
        }
    }
    command
}

/// `target/debug/<name>`, seen from `target/debug/deps/<this test>`.
fn beside(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests lie in <profile>/deps");
    folder.join(name)
}

/// Lets this process, and those it starts from now on, have as many files and connections open as the system allows
/// without asking. Returns how many that is.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

impl Child {
    /// Starts `command`, with no standard input. Panics when it cannot.
    pub fn spawn(command: &mut Command) -> Child {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::spawn(command, Signal::KILL).unwrap_or_else(|error| panic!("{error:?}"));
        let output = Arc::new(Mutex::new(Output::default()));
        let child = running.child();
        capture(child.stdout.take().expect("stdout is piped"), &output);
        capture(child.stderr.take().expect("stderr is piped"), &output);
        Child { running: Mutex::new(running), output }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// Everything printed so far on both outputs, line by line in order of arrival. Complete after [`Child::wait`].
    pub fn output(&self) -> String {
        self.captured().lines.concat()
    }

    /// The first line, past or to come, in which `find` finds something, as "listening on 127.0.0.1:40123".
    ///
    /// Panics with all the output when `within` is over, or the process ended without printing it.
    pub async fn line<T>(&self, what: &str, within: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        eventually(what, within, async || {
            let (found, ended) = {
                let output = self.captured();
                (output.lines.iter().find_map(|line| find(line.trim_end())), output.ended == 2)
            };
            assert!(found.is_some() || !ended, "it ended without {what}; it printed:\n{}", self.output());
            found.ok_or_else(|| self.output())
        })
        .await
    }

    /// Kills it (SIGKILL).
    pub fn kill9(&self) {
        self.running().signal(Signal::KILL);
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.running().signal(Signal::TERM);
    }

    /// Freezes it (SIGSTOP).
    pub fn stop(&self) {
        self.running().signal(Signal::STOP);
    }

    /// Ends [`Child::stop`] (SIGCONT).
    pub fn cont(&self) {
        self.running().signal(Signal::CONT);
    }

    /// Its exit status, if it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.running().exited()
    }

    /// Waits for its end and for the last of its output. Panics with all the output when `within` is over.
    pub async fn wait(&self, within: Duration) -> ExitStatus {
        eventually("the process has ended", within, async || {
            let ended = self.captured().ended == 2;
            self.exited().filter(|_| ended).ok_or_else(|| self.output())
        })
        .await
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().expect("no panic while the process was held")
    }

    fn captured(&self) -> MutexGuard<'_, Output> {
        self.output.lock().expect("no panic while the output was held")
    }
}

/// Reads `stream` to its end on a thread of its own, so that a busy test never blocks the program's writes.
fn capture(stream: impl Read + Send + 'static, output: &Arc<Mutex<Output>>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            output.lock().expect("no panic while the output was held").lines.push(text);
            line.clear();
        }
        output.lock().expect("no panic while the output was held").ended += 1;
    });
}
