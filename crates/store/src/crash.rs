//! Points at which a test lets the process die: `crash_point!("reserved")`.
//!
//! Nothing of it is compiled without the feature `crash-points`, and with it only the point that
//! `SEBASTIAN_CRASH_POINT` names does anything. `name:3` is its third time in this process. The store and the worker
//! share it, so it stands in the lower of the two.

/// Ends the process here by `abort`, when the environment says so.
#[cfg(feature = "crash-points")]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash::reached($name)
    };
}

/// Nothing, without the feature `crash-points`.
#[cfg(not(feature = "crash-points"))]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {};
}

/// Aborts if `name` is the point to die at and this is the time to. Prints that it does, so that a test can tell.
#[cfg(feature = "crash-points")]
pub fn reached(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    };
    static PLAN: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let plan = std::env::var("SEBASTIAN_CRASH_POINT").ok()?;
        let (name, times) = plan.split_once(':').unwrap_or((&plan, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().unwrap_or(1))))
    });
    let Some((_, times)) = PLAN.as_ref().filter(|(planned, _)| planned == name) else { return };
    if times.fetch_sub(1, SeqCst) == 1 {
        eprintln!("crash point {name} reached");
        std::process::abort();
    }
}
