//! `sebastian`: see `sebastian --help`.

use std::process::ExitCode;

use clap::Parser;
use sebastian::cli::Cli;

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    sebastian::run(Cli::parse()).await
}
