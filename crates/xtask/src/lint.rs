//! `cargo xtask lint`.

use std::process::ExitCode;

use anyhow::Result;
use tokio::process::Command;

use crate::step::{Failed, Steps};

pub(crate) async fn run(steps: &mut Steps) -> Result<ExitCode> {
    let commands = [
        "fmt --all --check",
        "clippy --workspace --all-targets --all-features -- -D warnings",
        "doc --workspace --all-features --no-deps",
    ];
    for arguments in commands {
        let mut command = Command::new("cargo");
        command.args(arguments.split(' '));
        if arguments.starts_with("doc") {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        if let Err(Failed(code)) = steps.run(&mut command).await? {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}
