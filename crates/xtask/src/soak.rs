//! `cargo xtask soak`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use tokio::process::Command;

use crate::servers;
use crate::step::{Failed, Steps};

/// The test that is the soak, in `crates/sebastian/tests/soak`.
const TEST: &str = "soak::no_promise_is_broken_while_anything_breaks";

/// Runs the soak on release builds of the product and of the load, so that its figures mean something.
pub(crate) async fn run(steps: &mut Steps, minutes: u32, rate: u32, seed: Option<u64>) -> Result<ExitCode> {
    servers::ensure(steps).await?;
    let seed = match seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let mut command = Command::new("cargo");
    command
        .args(["test", "--release", "--package", "sebastian", "--test", "main", "--"])
        .args(["--ignored", "--exact", "--nocapture", TEST])
        .env("SEBASTIAN_SOAK_MINUTES", minutes.to_string())
        .env("SEBASTIAN_SOAK_RATE", rate.to_string())
        .env("SEBASTIAN_SOAK_SEED", seed.to_string());
    let ended = steps.run(&mut command).await?;
    println!("this run again: cargo xtask soak --minutes {minutes} --rate {rate} --seed {seed}");
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(code)) => code,
    })
}
