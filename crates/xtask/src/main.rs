//! The repository's chores, as `cargo xtask <chore>`.

mod bench;
mod lint;
mod servers;
mod soak;
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
    /// Run the product under load for a while, with faults of every kind, and judge what became of every chat
    ///
    /// Release builds of the real processes on their own PostgreSQL and Redis, at the simulated platform. After a stretch of
    /// calm, something breaks every few seconds. At the end it prints figures and every broken promise, and exits with a
    /// code other than 0 if there is one.
    ///
    /// Examples:
    ///   cargo xtask soak --minutes 10
    ///   cargo xtask soak --minutes 2 --seed 7   much the same faults again
    #[command(verbatim_doc_comment)]
    Soak {
        /// For how long customers write.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_080))]
        minutes: u32,
        /// How many customers write a second, whatever the answers.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rate: u32,
        /// Draws the faults and the people. By default the clock's seconds.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Measure the product: under load, at rest, and with more and more workers
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
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
            Chore::Soak { minutes, rate, seed } => soak::run(&mut steps, minutes, rate, seed).await,
            Chore::Bench { bench } => bench::run(&mut steps, &bench).await,
            Chore::Lint => lint::run(&mut steps).await,
        }
    })
}
