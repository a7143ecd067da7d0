//! What `/readyz` asks the doorbell.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Whether wake-ups reach the worker. Clones show the same.
#[derive(Debug, Clone)]
pub struct WakeHealth(Arc<Health>);

#[derive(Debug)]
struct Health {
    began: Instant,
    /// Milliseconds from `began` to the last wake-up taken; `NEVER` before the first.
    last_wake_ms: AtomicU64,
    redis_ok: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl WakeHealth {
    pub(crate) fn new(redis_ok: bool) -> Self {
        Self(Arc::new(Health {
            began: Instant::now(),
            last_wake_ms: AtomicU64::new(NEVER),
            redis_ok: AtomicBool::new(redis_ok),
        }))
    }

    /// How long ago the worker last took a wake-up; `None` before the first. It stays below the sweep and the longest
    /// run together as long as the worker lives.
    #[must_use]
    pub fn last_wake(&self) -> Option<Duration> {
        let at_ms = self.0.last_wake_ms.load(Ordering::Relaxed);
        (at_ms != NEVER).then(|| self.0.began.elapsed().saturating_sub(Duration::from_millis(at_ms)))
    }

    /// Whether the Redis doorbell is being listened at; always true in process.
    #[must_use]
    pub fn redis_ok(&self) -> bool {
        self.0.redis_ok.load(Ordering::Relaxed)
    }

    pub(crate) fn wake_taken(&self) {
        let at_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.0.last_wake_ms.store(at_ms, Ordering::Relaxed);
    }

    pub(crate) fn set_redis_ok(&self, ok: bool) {
        self.0.redis_ok.store(ok, Ordering::Relaxed);
    }
}
