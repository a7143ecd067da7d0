//! The repository's chores, as `cargo xtask <chore>`.

mod lint;
mod servers;
mod step;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::step::Steps;

/// The repository's chores. They need nothing but Rust; servers for tests are found, or installed, by themselves.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run all tests, against real PostgreSQL and Redis servers of their own
    ///
    /// Installs both from the system's packages when they are missing and it may (apt-get, as root or by sudo), starts
    /// one PostgreSQL cluster for the run, builds the product's programs, and runs doctests and tests: by
    /// cargo-nextest where it is installed, else by cargo test. Exits with the tests' code.
    ///
    /// Examples:
    ///   cargo xtask test                      everything
    ///   cargo xtask test -- resolve_twice     tests whose name has "resolve_twice", no doctests
    ///   cargo xtask test -- -p sebastian-core one crate
    #[command(verbatim_doc_comment)]
    Test {
        /// Passed on to the test runner.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Check formatting, clippy and docs, with warnings as errors: what CI checks before the tests.
    Lint,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut steps = Steps::new()?;
        match arguments.chore {
            Chore::Test { arguments } => test::run(&mut steps, &arguments).await,
            Chore::Lint => lint::run(&mut steps).await,
        }
    })
}
