//! The command: what an operator types, the settings it reads, and how the parts are put together.

pub mod cli;
mod commands;
mod compose;
pub mod config;
mod demo;
mod doctor;
mod explain;
mod failure;
mod healthcheck;
mod init;
mod ledgers;
mod operate;
mod probe;
mod simulate;
pub mod telemetry;

use sebastian_core::chain;
use std::{
    io::{self, Write},
    process::ExitCode,
};

use tracing::{error, info, warn};

use self::{
    cli::{Cli, Command, Process, Settings, Task},
    config::{Loaded, Origin},
    failure::Failure,
};

/// Does what was asked for, and reports how it ended. Must be called within a tokio runtime.
pub async fn run(cli: Cli) -> ExitCode {
    match cli.task() {
        Ok((Task::Run(process), settings)) => run_process(process, &settings).await,
        Ok((Task::CheckConfig(process), settings)) => done(check_config(process, &settings)),
        Ok((Task::Do(command), settings)) => run_command(command, &settings).await,
        Err(usage) => usage.exit(),
    }
}

/// Runs one process until it is told to stop. Must be called within a tokio runtime.
pub async fn run_process(process: Process, settings: &Settings) -> ExitCode {
    let loaded = settings.load();
    let started = loaded.and_then(|loaded| telemetry::start_log(&loaded.config.log).map(|()| loaded));
    let loaded = match started {
        Ok(loaded) => loaded,
        Err(problems) => return complain(&problems.into()),
    };
    introduce(process, &loaded);
    match compose::run(loaded.config, process).await {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        // Wrong settings are for whoever typed the command.
        Err(failure @ Failure::Settings(_)) => complain(&failure),
        Err(failure) => {
            error!(error = %chain(&failure), "stopped: {failure}");
            failure.exit_code().into()
        }
    }
}

async fn run_command(command: Command, settings: &Settings) -> ExitCode {
    let load = || settings.load();
    done(match command {
        Command::Migrate => async { commands::migrate(&load()?).await }.await,
        Command::SetWebhook { dry_run } => async { commands::set_webhook(&load()?, dry_run).await }.await,
        Command::Init(init) => init::run(&init, settings).await,
        Command::Doctor(asked) => doctor::run(&asked, settings).await,
        Command::Healthcheck(asked) => healthcheck::run(&asked, settings).await,
        Command::CheckConfig => check_config(None, settings),
        Command::Explain { room, form } => async { commands::explain(&load()?, &room, form).await }.await,
        Command::Policies(asked) => async { commands::policies(&load()?, asked).await }.await,
        Command::Agents { form } => async { commands::agents(&load()?, form).await }.await,
        Command::Queue(asked) => async { commands::queue(&load()?, asked).await }.await,
        Command::Parked(asked) => async { commands::parked(&load()?, asked).await }.await,
        Command::Pause(asked) => async { commands::pause(&load()?, asked).await }.await,
        Command::Resume(asked) => async { commands::resume(&load()?, asked).await }.await,
        Command::Backup(asked) => {
            load().map_err(Failure::from).and_then(|loaded| commands::backup(&loaded, &asked))
        }
        Command::Restore(asked) => {
            load().map_err(Failure::from).and_then(|loaded| commands::restore(&loaded, &asked))
        }
        Command::Move(asked) => async { commands::move_ledger(&load()?, &asked).await }.await,
        Command::Simulate(arguments) => simulate::run(&arguments).await,
        Command::Demo(demo) => return demo::run(&demo).await.unwrap_or_else(|failure| complain(&failure)),
    })
}

fn check_config(process: Option<Process>, settings: &Settings) -> Result<(), Failure> {
    commands::check_config(&settings.load()?, process)
}

fn done(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure),
    }
}

/// Logs what the process is and every setting that is not a default.
fn introduce(process: Process, loaded: &Loaded) {
    let changed = loaded.shown.iter().filter(|shown| shown.origin != Origin::Default);
    let settings =
        changed.map(|shown| format!("{}={}", shown.key, shown.value)).collect::<Vec<_>>().join(" ");
    let (process, version) = (process.as_str(), env!("CARGO_PKG_VERSION"));
    info!(process, version, settings, "sebastian {version} starts as {process}");
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
}

/// Prints to standard output, at once.
fn print(text: &str) {
    // Whoever closed the pipe has read enough.
    let mut out = io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Tells a person what went wrong, one line each.
fn complain(failure: &Failure) -> ExitCode {
    let text = chain(failure);
    for line in text.lines() {
        // With standard error closed there is nobody to tell.
        let _closed = writeln!(io::stderr(), "sebastian: {line}");
    }
    failure.exit_code().into()
}
