//! How far something is: on a terminal one line that changes, elsewhere nothing.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often the line changes at most.
const REDRAWN: Duration = Duration::from_millis(100);

/// A line on standard error that is written over and over.
pub(super) struct Line {
    is_shown: bool,
    began: Instant,
    drawn: Cell<Option<Instant>>,
}

impl Line {
    pub fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), began: Instant::now(), drawn: Cell::new(None) }
    }

    /// Whether somebody sees it.
    pub fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Since it was begun.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Shows what `say` says, unless something else was shown just now.
    pub fn show(&self, say: impl FnOnce(Duration) -> String) {
        let is_fresh = self.drawn.get().is_some_and(|at| at.elapsed() < REDRAWN);
        if !self.is_shown || is_fresh {
            return;
        }
        self.drawn.set(Some(Instant::now()));
        let text = say(self.began.elapsed());
        let mut out = io::stderr().lock();
        // Nobody is there to be told that the terminal is gone.
        let _closed = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
    }

    /// Leaves an empty line behind.
    pub fn clear(&self) {
        if self.drawn.take().is_some() {
            let _closed = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How much of `of` is `done`, in whole percent.
pub(super) fn percent(done: u64, of: u64) -> u64 {
    done.saturating_mul(100).checked_div(of).unwrap_or(100)
}
