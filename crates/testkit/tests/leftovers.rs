//! A test process that is killed takes its servers with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use sebastian_testkit::{Child, Durability, Postgres, Redis, eventually};
use tokio::net::TcpStream;

use crate::SOON;

/// Set for the run of this binary that is to be killed.
const VICTIM_ENV: &str = "TESTKIT_VICTIM";

/// Starts servers, says where they are, and waits to be killed.
async fn victim() {
    let redis = Redis::start().await;
    let postgres = Postgres::private(Durability::Off).await;
    let asleep = Child::spawn(Command::new("sleep").arg("600"));
    println!("\nvictim {} {} {}", redis.address(), postgres.address(), asleep.pid());
    std::future::pending::<()>().await;
}

/// A test process with servers, to be killed.
struct Victim {
    process: Child,
    redis: String,
    postgres: String,
    asleep: String,
}

impl Victim {
    /// Runs test `name` of this binary once more, which must then be a [`victim`].
    async fn start(name: &str) -> Victim {
        let this = std::env::current_exe().expect("a running program has a path");
        let process =
            Child::spawn(Command::new(this).args(["--exact", name, "--nocapture"]).env(VICTIM_ENV, "1"));
        let words: Vec<String> = process
            .line("its servers", SOON, |line| {
                Some(line.strip_prefix("victim ")?.split(' ').map(str::to_owned).collect())
            })
            .await;
        let [redis, postgres, asleep] = words.try_into().expect("three words");
        Victim { process, redis, postgres, asleep }
    }

    fn folder(&self) -> Option<PathBuf> {
        let prefix = format!("run-{}-", self.process.pid());
        let parents = [PathBuf::from("/tmp"), std::env::temp_dir()].into_iter().flat_map(entries);
        let roots = parents.filter(|path| name(path).starts_with("sebastian-testkit-"));
        roots.flat_map(entries).find(|path| name(path).starts_with(&prefix))
    }

    async fn leaves_nothing(&self) {
        eventually("all three are gone", SOON, async || {
            let redis = TcpStream::connect(&self.redis).await.is_err();
            let postgres = TcpStream::connect(&self.postgres).await.is_err();
            let asleep = is_gone(&self.asleep);
            if redis && postgres && asleep { Ok(()) } else { Err((redis, postgres, asleep)) }
        })
        .await;
        eventually("the folder is gone", SOON, async || self.folder().is_none()).await;
    }
}

/// A zombie is gone too: an orphan's may stay where nobody waits for it.
fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

fn entries(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[tokio::test]
async fn killed_test_leaves_no_process_and_no_folder() {
    if std::env::var_os(VICTIM_ENV).is_some() {
        return victim().await;
    }
    let victim = Victim::start("leftovers::killed_test_leaves_no_process_and_no_folder").await;
    assert!(victim.folder().is_some());
    victim.process.kill9();
    victim.leaves_nothing().await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn next_run_sweeps_what_a_test_killed_with_its_guard_left() {
    const NAME: &str = "leftovers::next_run_sweeps_what_a_test_killed_with_its_guard_left";
    if std::env::var_os(VICTIM_ENV).is_some() {
        return victim().await;
    }
    let victim = Victim::start(NAME).await;
    let folder = victim.folder().expect("its folder").to_string_lossy().into_owned();
    let is_guard = |process: &PathBuf| {
        let words = std::fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        words.contains("sebastian-testkit-guard") && words.contains(&folder)
    };
    let guard = entries("/proc".into()).find(is_guard).expect("its guard");
    let killed = Command::new("kill").args(["-s", "KILL", &name(&guard)]).status().expect("kill runs");
    assert!(killed.success());
    victim.process.kill9();
    victim.process.wait(SOON).await;
    Victim::start(NAME).await;
    victim.leaves_nothing().await;
}
