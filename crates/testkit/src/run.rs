//! Where a test process keeps its servers' folders and pids, and who cleans up after it.
//!
//! Each test process has a folder under [`root`], held by a file lock that ends with the process. A guard process
//! waits for that end, then stops what was left and removes the folder: a `static` server never sees `Drop`, nor does
//! anything else after a kill -9. Where the guard too was killed, the next run finds the lock free and does its work.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// How long a server may take to stop before it is killed outright.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs when its standard input ends, which is when the test process does. $1 is the run's folder.
/// 50 × 0.1 s is [`STOP_GRACE`], for all of them. A zombie is gone: in a container, nobody may ever wait for it.
/// PostgreSQL's processes may still write while `rm` walks: hence the second try.
const GUARD: &str = r#"
trap '' HUP INT TERM
read -r _
is_alive() {
    kill -0 "$1" || return 1
    [ -e "/proc/$1/stat" ] || return 0
    read -r _ _ state _ < "/proc/$1/stat"
    [ "$state" != Z ]
}
cd "$1/pids" || exit 0
for pid in *; do
    [ -e "$pid" ] || continue
    read -r signal _ < "$pid"
    kill -s "$signal" "$pid"; kill -s CONT "$pid"
done
n=0
for pid in *; do
    [ -e "$pid" ] || continue
    while is_alive "$pid" && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
    if is_alive "$pid"; then kill -s KILL "$pid"; fi
done
cd / && { rm -rf "$1" || { sleep 0.5; rm -rf "$1"; }; }
"#;

/// This process's folder. Lives as long as the process.
pub(crate) struct Run {
    folder: PathBuf,
    _lock: File,
    _guard: Child,
}

/// The folder of all runs of this user. As root it must be one that the `postgres` user can enter: always under /tmp.
pub(crate) fn root() -> Result<PathBuf> {
    let uid = geteuid();
    let parent = if uid.is_root() { PathBuf::from("/tmp") } else { std::env::temp_dir() };
    let root = parent.join(format!("sebastian-testkit-{}", uid.as_raw()));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&root)?;
    ensure!(fs::metadata(&root)?.uid() == uid.as_raw(), "{} belongs to someone else", root.display());
    Ok(root)
}

/// This process's run, begun at the first call.
pub(crate) fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| Run::begin().expect("a folder for test servers"))
}

impl Run {
    fn begin() -> Result<Run> {
        let root = root()?;
        let turn = File::create(root.join("sweep.lock"))?;
        turn.lock()?;
        sweep(&root);
        let folder = root.join(format!("run-{}-{:08x}", std::process::id(), random() as u32));
        fs::DirBuilder::new().mode(0o755).create(&folder)?;
        let lock = File::create(folder.join("owner.lock"))?;
        lock.lock()?;
        fs::create_dir(folder.join("pids"))?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "sebastian-testkit-guard"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the guard")?;
        Ok(Run { folder, _lock: lock, _guard: guard })
    }

    /// Makes a new empty folder, named after `kind`.
    pub(crate) fn folder(&self, kind: &str) -> Result<PathBuf> {
        let folder = self.folder.join(format!("{kind}-{:08x}", random() as u32));
        fs::DirBuilder::new().mode(0o755).create(&folder)?;
        Ok(folder)
    }

    /// Has `pid` sent `signal` when this process ends without having ended it.
    pub(crate) fn record(&self, pid: u32, signal: Signal) -> Result<()> {
        let name = if signal == Signal::QUIT { "QUIT" } else { "KILL" };
        let born = born(pid).unwrap_or_default();
        Ok(fs::write(self.pid_file(pid), format!("{name} {born}\n"))?)
    }

    /// The process has ended and was waited for: its pid may now be someone else's.
    pub(crate) fn forget(&self, pid: u32) {
        fs::remove_file(self.pid_file(pid)).ok();
    }

    fn pid_file(&self, pid: u32) -> PathBuf {
        self.folder.join("pids").join(pid.to_string())
    }
}

/// Ends the servers of runs that are over, and removes their folders. What cannot be removed stays for the next sweep.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let over = File::open(folder.join("owner.lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if over {
            for file in fs::read_dir(folder.join("pids")).into_iter().flatten().flatten() {
                end_leftover(&file.path());
            }
            fs::remove_dir_all(&folder).ok();
        }
    }
}

/// Ends the process that `pid_file` names, unless the pid was given to another since: then it was born later.
fn end_leftover(pid_file: &Path) {
    let name = pid_file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (Ok(id), Ok(record)) = (name.parse::<i32>(), fs::read_to_string(pid_file)) else { return };
    let (Some(pid), Some((signal, recorded))) = (Pid::from_raw(id), record.trim().split_once(' ')) else {
        return;
    };
    let same = || born(id.unsigned_abs()).is_some_and(|born| born == recorded);
    if !same() {
        return;
    }
    kill_process(pid, if signal == "QUIT" { Signal::QUIT } else { Signal::KILL }).ok();
    kill_process(pid, Signal::CONT).ok();
    if !poll(STOP_GRACE, || !same()) {
        kill_process(pid, Signal::KILL).ok();
    }
}

/// When a process began, in the kernel's clock ticks since boot. None where there is no /proc, and for a zombie:
/// there, leftovers are the guard's work alone.
fn born(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold spaces. The fields after it are 3, 4, …; 3 is the state, 22 the start.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// Asks `done` every few milliseconds until it holds or `within` is over. Blocks the thread.
pub(crate) fn poll(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// As [`poll`], for a start that may also fail for good.
pub(crate) fn try_poll(within: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<bool> {
    let mut failure = None;
    let held = poll(within, || {
        done().unwrap_or_else(|error| {
            failure = Some(error);
            true
        })
    });
    failure.map_or(Ok(held), Err)
}

/// Runs blocking server work off the async threads, so that what is under test goes on meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> T {
    let result = tokio::task::spawn_blocking(work).await.expect("server work does not panic");
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// A random number: no seed to replay, for names and ports only.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A port on 127.0.0.1 that nobody listens on, below every system's range for outgoing connections:
/// none of those can take it while its server is down for a restart.
pub(crate) fn free_port() -> u16 {
    for _ in 0..100 {
        let port = 12_000 + (random() % 18_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 12000 and 30000 on 127.0.0.1");
}

/// Finds a program on `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The library that gives a process a clock of its own, where Debian's package `libfaketime` puts it.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let mut libraries = folders.flatten().map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.is_file())
}

/// The last lines of a server's log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
