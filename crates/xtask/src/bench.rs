//! `cargo xtask bench`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use tokio::process::Command;

use crate::servers;
use crate::step::{Failed, Steps};

/// What is measured. Every bench runs release builds of the real processes, on a PostgreSQL and a Redis of their own with
/// `fsync` and `synchronous_commit` on, or on a data folder, at the simulated platform. All share this machine: the CPU
/// that the load and the simulated platform take from the others is among the figures.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub(crate) enum Bench {
    /// Webhooks or whole chats at a given rate, or as fast as they are taken
    ///
    /// Latencies count from when each thing was due, however late it was sent (no coordinated omission). Prints webhooks a
    /// second and their latencies, arrival to the platform's call, agent freed to their next call, assignments a second,
    /// CPU and memory of each process, PostgreSQL's commits and flushes, and whether every promise held.
    ///
    /// Examples:
    ///   cargo xtask bench load                                           200 chats a second for 20 s
    ///   cargo xtask bench load --mix webhooks --closed --connections 64  webhooks as fast as they are taken
    ///   cargo xtask bench load --mix webhooks --rate 1000                webhooks at 1,000 a second
    ///   cargo xtask bench load --rate 1000 --agents 1500 --serve 2s..8s  1,000 chats a second, calls of 100 ms
    ///   cargo xtask bench load --rate 200 --agents 200 --capacity 5 --serve 4s..6s --backlog 1000
    ///                                                                    everybody is full: how fast is the next chat given?
    #[command(verbatim_doc_comment)]
    Load(Load),
    /// One, two and four workers when the platform takes 100 ms for each call
    ///
    /// Each drains a line of waiting customers, with so few calls under way that the platform's latency is the limit.
    /// Prints assignments a second of each and the ratio to one worker's.
    Scale {
        /// How long each is measured, in seconds.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        seconds: u32,
        /// Most calls under way at once, of each worker.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        max_inflight: u32,
        #[command(flatten)]
        common: Common,
    },
    /// CPU and memory of each process while nothing happens
    ///
    /// First with nobody waiting and everybody online, then with very many waiting and nobody online.
    Idle {
        /// How long each is measured, in seconds.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        seconds: u32,
        /// Conversations that wait.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
        waiting: u32,
        /// Agents of the account.
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        agents: u32,
        /// Where the ledger is.
        #[arg(long, value_enum, default_value_t = Ledger::Servers)]
        ledger: Ledger,
        #[command(flatten)]
        common: Common,
    },
}

/// What every bench takes.
#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct Common {
    /// A setting of the processes, as the environment has it: SEBASTIAN__DB__POOL_SIZE=16. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<String>,
    /// Draws people and latencies. By default the clock's seconds.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the figures as one JSON object on standard output, all else on standard error.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct Load {
    /// What the webhooks are.
    #[arg(long, value_enum, default_value_t = Mix::Chats)]
    mix: Mix,
    /// Webhooks or chats a second, whatever the answers.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Each connection sends its next webhook when it has its answer. With `--mix webhooks`.
    #[arg(long, conflicts_with = "rate")]
    closed: bool,
    /// Connections to the ingest.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long is measured, in seconds, after 2 s of warm-up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Workers. 0 only with `--mix webhooks`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=64))]
    workers: u32,
    /// Where the ledger is.
    #[arg(long, value_enum, default_value_t = Ledger::Servers)]
    ledger: Ledger,
    /// Agents of the account.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// Most chats each agent may hold.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    capacity: u32,
    /// How long an agent serves a chat, drawn evenly: 2s..10s.
    #[arg(long, default_value = "2s..10s", value_parser = range)]
    serve: (Duration, Duration),
    /// How long the platform takes for each call: 100ms, or lognormal:100ms,0.5 for a median and the standard deviation of
    /// the logarithm.
    #[arg(long, default_value = "100ms", value_parser = latency)]
    latency: Latency,
    /// Chats that wait for somebody to come to their desk before the measurement begins. With `--mix chats`.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    backlog: u32,
    /// Let PostgreSQL count statements, and print those that took most.
    #[arg(long)]
    statements: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mix {
    /// Allocations of distinct rooms while nobody is online: acceptance, and folding.
    Webhooks,
    /// Customers write, are assigned, served, and resolved.
    Chats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ledger {
    /// PostgreSQL, with Redis beside it, an ingest and workers.
    Servers,
    /// A folder, with one process that does it all.
    Embedded,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Latency {
    median: Duration,
    sigma: Option<f64>,
}

fn setting(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if key.starts_with("SEBASTIAN__") && !text.contains('\n') => Ok(text.to_owned()),
        _ => Err("expected SEBASTIAN__SECTION__KEY=VALUE".to_owned()),
    }
}

fn range(text: &str) -> Result<(Duration, Duration), String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let [least, most] =
        [least, most].map(|span| humantime::parse_duration(span).map_err(|error| error.to_string()));
    let (least, most) = (least?, most?);
    if least > most {
        return Err("the first must not be longer than the second".to_owned());
    }
    Ok((least, most))
}

fn latency(text: &str) -> Result<Latency, String> {
    let parse = |span: &str| humantime::parse_duration(span).map_err(|error| error.to_string());
    let Some(lognormal) = text.strip_prefix("lognormal:") else {
        return Ok(Latency { median: parse(text)?, sigma: None });
    };
    let (median, sigma) = lognormal.split_once(',').ok_or("expected lognormal:MEDIAN,SIGMA")?;
    let sigma: f64 = sigma.parse().map_err(|_| format!("{sigma} is no number"))?;
    if !(0.0..=3.0).contains(&sigma) {
        return Err("the deviation of the logarithm must lie between 0 and 3".to_owned());
    }
    Ok(Latency { median: parse(median)?, sigma: Some(sigma) })
}

impl Latency {
    /// In µs, and the deviation behind a comma.
    fn handed_over(self) -> String {
        let mut text = self.median.as_micros().to_string();
        if let Some(sigma) = self.sigma {
            write!(text, ",{sigma}").expect("a String takes all");
        }
        text
    }
}

impl Bench {
    /// The test that is the bench, in `crates/sebastian/tests/load`.
    fn test(&self) -> &'static str {
        match self {
            Bench::Load(_) => "load::every_promise_holds_under_load",
            Bench::Scale { .. } => "load::scale::every_promise_holds_with_more_and_more_workers",
            Bench::Idle { .. } => "load::idle::every_promise_holds_at_rest",
        }
    }

    fn common(&self) -> &Common {
        match self {
            Bench::Load(Load { common, .. }) | Bench::Scale { common, .. } | Bench::Idle { common, .. } => {
                common
            }
        }
    }

    /// The load of the bench: its own, or what the others need.
    fn load(&self) -> Load {
        let second = Duration::from_secs(1);
        let quiet = |common: &Common| Load {
            mix: Mix::Chats,
            rate: 1,
            closed: false,
            connections: 64,
            seconds: 0,
            workers: 1,
            ledger: Ledger::Servers,
            agents: 400,
            capacity: 6,
            serve: (3_600 * second, 3_600 * second),
            latency: Latency { median: second / 10, sigma: None },
            backlog: 0,
            statements: false,
            common: common.clone(),
        };
        match self {
            Bench::Load(load) => load.clone(),
            Bench::Scale { seconds, common, .. } => Load { seconds: *seconds, ..quiet(common) },
            Bench::Idle { seconds, waiting, agents, ledger, common } => Load {
                seconds: *seconds,
                backlog: *waiting,
                agents: *agents,
                ledger: *ledger,
                ..quiet(common)
            },
        }
    }

    /// As the test reads it from its environment.
    fn handed_over(&self, seed: u64, command: &str) -> Vec<(String, String)> {
        let load = self.load();
        let rate = if load.closed { 0 } else { load.rate };
        let (least, most) = load.serve;
        let ledger = if load.ledger == Ledger::Embedded { "embedded" } else { "servers" };
        let mix = if load.mix == Mix::Webhooks { "webhooks" } else { "chats" };
        let mut given = vec![
            ("COMMAND", command.to_owned()),
            ("MIX", mix.to_owned()),
            ("RATE", rate.to_string()),
            ("CONNECTIONS", load.connections.to_string()),
            ("SECONDS", load.seconds.to_string()),
            ("WORKERS", load.workers.to_string()),
            ("LEDGER", ledger.to_owned()),
            ("AGENTS", load.agents.to_string()),
            ("CAPACITY", load.capacity.to_string()),
            ("SERVE_MS", format!("{},{}", least.as_millis(), most.as_millis())),
            ("LATENCY", load.latency.handed_over()),
            ("BACKLOG", load.backlog.to_string()),
            ("STATEMENTS", load.statements.to_string()),
            ("SET", load.common.set.join("\n")),
            ("SEED", seed.to_string()),
        ];
        if let Bench::Scale { max_inflight, .. } = self {
            given.push(("MAX_INFLIGHT", max_inflight.to_string()));
        }
        given.into_iter().map(|(key, value)| (format!("SEBASTIAN_BENCH_{key}"), value)).collect()
    }

    /// What goes together. Fails with a sentence for people.
    fn check(&self) -> Result<(), &'static str> {
        let Bench::Load(load) = self else { return Ok(()) };
        if load.ledger == Ledger::Embedded && (load.workers != 1 || load.statements) {
            return Err("--ledger embedded is one process without PostgreSQL: no --workers, no --statements");
        }
        match load.mix {
            Mix::Chats if load.closed => {
                Err("--closed goes with --mix webhooks: agents finish chats in their own time")
            }
            Mix::Chats if load.workers == 0 => {
                Err("--workers 0 goes with --mix webhooks: nobody would assign chats")
            }
            Mix::Webhooks if load.backlog > 0 => Err("--backlog goes with --mix chats"),
            Mix::Chats | Mix::Webhooks => Ok(()),
        }
    }
}

/// Runs a bench on release builds. Exits with another code than 0 when a promise was broken.
pub(crate) async fn run(steps: &mut Steps, bench: &Bench) -> Result<ExitCode> {
    if let Err(why) = bench.check() {
        eprintln!("error: {why}");
        return Ok(ExitCode::from(2));
    }
    servers::ensure(steps).await?;
    let seed = match bench.common().seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--json").collect();
    if bench.common().seed.is_none() {
        words.push(format!("--seed {seed}"));
    }
    let line = format!("cargo xtask {}", words.join(" "));
    let mut command = Command::new("cargo");
    command
        .args(["test", "--release", "--package", "sebastian", "--test", "main", "--"])
        .args(["--ignored", "--exact", "--nocapture", bench.test()])
        .envs(bench.handed_over(seed, &line));
    let figures = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/bench-{seed}.json"));
    if bench.common().json {
        command.env("SEBASTIAN_BENCH_JSON", &figures).stdout(std::io::stderr());
    }
    let ended = steps.run(&mut command).await?;
    if bench.common().json && figures.is_file() {
        let read =
            std::fs::read_to_string(&figures).with_context(|| format!("read {}", figures.display()))?;
        println!("{read}");
        std::fs::remove_file(&figures)?;
    }
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(code)) => code,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        bench: Bench,
    }

    fn parsed(line: &str) -> Result<Bench, String> {
        let line = std::iter::once("bench").chain(line.split(' '));
        Line::try_parse_from(line).map(|line| line.bench).map_err(|error| error.to_string())
    }

    fn handed_over(line: &str) -> BTreeMap<String, String> {
        let bench = parsed(line).unwrap_or_else(|error| panic!("{error}"));
        bench.handed_over(7, line).into_iter().collect()
    }

    #[test]
    fn what_is_asked_for_is_handed_over_in_the_units_the_test_reads() {
        let line = "load --rate 300 --serve 1500ms..2m --latency lognormal:80ms,0.5 --set SEBASTIAN__DB__POOL_SIZE=4 \
                    --set SEBASTIAN__LOG__LEVEL=warn";
        let given = handed_over(line);
        for (key, value) in [
            ("MIX", "chats"),
            ("RATE", "300"),
            ("SERVE_MS", "1500,120000"),
            ("LATENCY", "80000,0.5"),
            ("SET", "SEBASTIAN__DB__POOL_SIZE=4\nSEBASTIAN__LOG__LEVEL=warn"),
            ("SEED", "7"),
        ] {
            assert_eq!(given[&format!("SEBASTIAN_BENCH_{key}")], value, "{key}");
        }
        assert_eq!(handed_over("load --mix webhooks --closed")["SEBASTIAN_BENCH_RATE"], "0");
        assert_eq!(handed_over("scale")["SEBASTIAN_BENCH_LATENCY"], "100000");
        assert_eq!(handed_over("idle --waiting 5")["SEBASTIAN_BENCH_BACKLOG"], "5");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "load --rate 0",
            "load --closed --rate 5",
            "load --serve 5s..2s",
            "load --serve soon",
            "load --latency lognormal:100ms",
            "load --latency lognormal:100ms,9",
            "load --set POOL_SIZE=4",
            "load --connections 0",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        for line in [
            "load --ledger embedded --workers 2",
            "load --closed",
            "load --workers 0",
            "load --mix webhooks --backlog 5",
        ] {
            assert!(parsed(line).expect(line).check().is_err(), "{line}");
        }
        assert_eq!(parsed("load --mix webhooks --workers 0").expect("it goes").check(), Ok(()));
    }
}
