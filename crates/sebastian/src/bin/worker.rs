//! `worker`: the same as `sebastian -e worker`.

use std::process::ExitCode;

use clap::Parser;
use sebastian::cli::{OneProcess, Process};

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    sebastian::run_process(Process::Worker, &OneProcess::parse().into()).await
}
