//! A child process that cannot outlive its test.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::run::{STOP_GRACE, poll, run};

/// A process we started. Ended on `Drop`, by the guard or by the next run's sweep, whichever comes first.
pub(crate) struct Running {
    child: Child,
    status: Option<ExitStatus>,
    last: Signal,
}

impl Running {
    /// Starts `command`. `last` is the signal that ends it at once: `KILL`, or `QUIT` for a server that cleans up on it.
    pub(crate) fn spawn(command: &mut Command, last: Signal) -> Result<Running> {
        let run = run();
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let running = Running { child, status: None, last };
        run.record(running.pid(), last)?;
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal, unless the process has ended: its pid may be another's by then.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill_process(Pid::from_child(&self.child), signal).ok();
        }
    }

    /// The exit status, once there is one. Does not block.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("our own child can be waited for");
            if self.status.is_some() {
                run().forget(self.child.id());
            }
        }
        self.status
    }

    /// Sends `signal` and waits until the process is gone, by SIGKILL in the end. Blocks for up to [`STOP_GRACE`].
    pub(crate) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.signal(Signal::CONT);
        if !poll(STOP_GRACE, || self.exited().is_some()) {
            self.signal(Signal::KILL);
            poll(Duration::from_secs(5), || self.exited().is_some());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(self.last);
    }
}
