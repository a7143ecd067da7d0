//! The servers' programs that tests need, installed where that is ours to do.

use anyhow::{Result, bail};
use rustix::process::geteuid;
use tokio::process::Command;

use crate::step::Steps;

const MISSING: &str =
    "tests need the programs of PostgreSQL (13 or later) and Redis (6 or later). Install them:
  Debian, Ubuntu   sudo apt-get install postgresql redis-server
  Fedora           sudo dnf install postgresql-server valkey-compat-redis
  macOS            brew install postgresql redis
They need not run: tests start their own.";

/// Installs PostgreSQL and Redis by apt-get where they are missing and we may. Fails with what to install by hand.
pub(crate) async fn ensure(steps: &mut Steps) -> Result<()> {
    if !present() {
        install(steps).await?;
    }
    offer_clocks(steps).await
}

/// Installs what gives a process a wrong clock, where we may. Without it one test says that it could not try clocks.
async fn offer_clocks(steps: &mut Steps) -> Result<()> {
    if sebastian_testkit::faketime().is_none()
        && let Some(prefix) = apt_get().await
    {
        let package = ["install", "-y", "-qq", "--no-install-recommends", "libfaketime"];
        if steps.run(apt(prefix).args(package)).await?.is_err() {
            println!("there is no libfaketime to be had: wrong clocks are not tried");
        }
    }
    Ok(())
}

async fn install(steps: &mut Steps) -> Result<()> {
    let Some(prefix) = apt_get().await else { bail!(MISSING) };
    println!("installing postgresql redis-server from the system's packages");
    // An unreachable source fails the update; whether what we need is there, the install will tell.
    let updated = steps.run(apt(prefix).args(["update", "-qq"])).await?;
    let packages = ["install", "-y", "-qq", "--no-install-recommends", "postgresql", "redis-server"];
    let installed = steps.run(apt(prefix).args(packages)).await?;
    if installed.is_err() || !present() {
        let update = if updated.is_err() { " (nor did apt-get update)" } else { "" };
        bail!("apt-get did not install them{update}; {MISSING}");
    }
    Ok(())
}

fn present() -> bool {
    sebastian_testkit::has_postgres() && sebastian_testkit::has_redis()
}

/// What must stand before `apt-get` here. None where there is no apt-get, or we may not use it without a password.
async fn apt_get() -> Option<&'static [&'static str]> {
    if !works(Command::new("apt-get").arg("--version")).await {
        return None;
    }
    if geteuid().is_root() {
        return Some(&["env"]);
    }
    works(Command::new("sudo").args(["-n", "true"])).await.then_some(&["sudo", "-n", "env"])
}

async fn works(command: &mut Command) -> bool {
    command.output().await.is_ok_and(|output| output.status.success())
}

fn apt(prefix: &[&str]) -> Command {
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}
