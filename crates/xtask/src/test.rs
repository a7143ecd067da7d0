//! `cargo xtask test`.

use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::Result;
use sebastian_testkit::{Durability, POSTGRES_ENV, Postgres};
use tokio::process::Command;

use crate::servers;
use crate::step::{Failed, Steps};

/// Lets the tests of the crash matrix end the product's processes at named points.
const CRASH_POINTS: [&str; 2] = ["--features", "sebastian/crash-points"];

pub(crate) async fn run(steps: &mut Steps, arguments: &[String]) -> Result<ExitCode> {
    servers::ensure(steps).await?;
    let given = std::env::var(POSTGRES_ENV).ok();
    let ours = if given.is_none() { Some(Postgres::private(Durability::Off).await) } else { None };
    let url = given.or_else(|| ours.as_ref().map(Postgres::url)).unwrap_or_default();
    println!("PostgreSQL for this run: {url}");
    let nextest = has_nextest().await;
    let mut commands = Vec::new();
    if !chooses_packages(arguments) {
        // Bins and tests at once, so that features are the same and nothing is built twice.
        let mut build = cargo("build --workspace --bins --tests", &url);
        build.args(CRASH_POINTS);
        commands.push(build);
    }
    if arguments.is_empty() {
        // Before the tests, so that the tests' summary comes last. Nextest does not run them.
        let mut doctests = cargo("test --workspace --doc", &url);
        doctests.args(CRASH_POINTS);
        commands.push(doctests);
    }
    commands.push(if nextest { nextest_run(arguments, &url) } else { cargo_test(arguments, &url) });
    for mut command in commands {
        if let Err(Failed(code)) = steps.run(&mut command).await? {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn cargo(arguments: &str, url: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments.split(' ')).env(POSTGRES_ENV, url);
    command
}

async fn has_nextest() -> bool {
    let mut command = Command::new("cargo");
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

fn nextest_run(arguments: &[String], url: &str) -> Command {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("nextest.toml");
    let mut command = cargo("nextest run --no-fail-fast", url);
    command.arg("--tool-config-file").arg(format!("xtask:{}", config.display()));
    choose(&mut command, arguments);
    command
}

fn cargo_test(arguments: &[String], url: &str) -> Command {
    let mut command = cargo("test --no-fail-fast --lib --bins --tests", url);
    choose(&mut command, arguments);
    command
}

/// The workspace's default member is the product alone; tests are of all its crates unless some are named. Cargo takes
/// the product's feature only where the product is among them.
fn choose(command: &mut Command, arguments: &[String]) {
    let is_named =
        |argument: &String| matches!(&**argument, "sebastian" | "-psebastian" | "--package=sebastian");
    if !chooses_packages(arguments) {
        command.arg("--workspace").args(CRASH_POINTS);
    } else if arguments.iter().any(is_named) {
        command.args(CRASH_POINTS);
    }
    command.args(arguments);
}

fn chooses_packages(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}
