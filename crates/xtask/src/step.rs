//! Running other programs, one after the other, in a way that can be interrupted.

use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// How long an interrupted program may take to end: nextest gives its tests 10 s.
const INTERRUPT_GRACE: Duration = Duration::from_secs(20);

/// Runs programs, and outlives Ctrl-C and SIGTERM until the running one has ended.
pub(crate) struct Steps {
    interrupt: Signals,
    terminate: Signals,
}

/// How a step ended, unless well.
pub(crate) struct Failed(pub(crate) ExitCode);

impl Steps {
    pub(crate) fn new() -> Result<Steps> {
        Ok(Steps { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Prints the command line, to standard error, and runs it in the foreground. The inner error is a step that ended badly.
    pub(crate) async fn run(&mut self, command: &mut Command) -> Result<Result<(), Failed>> {
        let line = command.as_std();
        let words = std::iter::once(line.get_program()).chain(line.get_args());
        eprintln!("$ {}", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "));
        let mut child =
            command.spawn().with_context(|| format!("start {:?}", command.as_std().get_program()))?;
        let signal = tokio::select! {
            status = child.wait() => return Ok(outcome(status?)),
            // A terminal sends it to the child as well; a second one there only makes it hurry.
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
        };
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, signal).ok();
        }
        if tokio::time::timeout(INTERRUPT_GRACE, child.wait()).await.is_err() {
            child.kill().await?;
        }
        let code = if signal == Signal::INT { 130 } else { 143 };
        Ok(Err(Failed(ExitCode::from(code))))
    }
}

fn outcome(status: ExitStatus) -> Result<(), Failed> {
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failed(ExitCode::from(code)))
}
