//! What a process says of itself: log lines on standard output, metrics for whoever asks.

use std::{panic, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, error};
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

use crate::config::{Log, LogFormat, Problem, Problems};

/// From a local call to a queue after a bad morning.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
];

/// Whatever else is measured is counted: sizes of batches.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// Samples of histograms pile up until they are folded in.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Sends log lines to standard output from now on, and panics with them. `RUST_LOG` wins over the configured level.
///
/// Once a process only: a second call fails.
pub fn start_log(log: &Log) -> Result<(), Problems> {
    // A closed standard output must not bring the process down, so failed writes stay silent.
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log.level)?).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
        LogFormat::Pretty => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout())).finish().try_init()
        }
    };
    started.map_err(|error| Problem::new(format!("the log cannot be started: {error}")))?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn filter(level: Level) -> Result<EnvFilter, Problem> {
    match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(directives)
            .map_err(|error| Problem::new(format!("RUST_LOG is not a log filter: {error}"))),
        // What libraries have to say below a warning is no use to an operator.
        _ => Ok(EnvFilter::new(format!("{},sebastian={level}", level.min(Level::WARN)))),
    }
}

/// A message made by formatting may hold anything, a secret too; one written in the source may not.
fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(panic.location = location, "a task panicked at {location}: {message}");
}

/// Collects metrics from now on. Once a process only. Must be called within a tokio runtime.
pub fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let metrics = PrometheusBuilder::new()
        .set_buckets(COUNTS)?
        .set_buckets_for_metric(seconds, SECONDS)?
        .install_recorder()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(metrics)
}
