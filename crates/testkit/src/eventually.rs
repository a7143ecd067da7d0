//! Waiting for a state, never for a time.

use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Between two looks: short beside any deadline, long beside one query.
const INTERVAL: Duration = Duration::from_millis(5);

/// What one look at the system may give: the state that was waited for, or why it is not there yet.
pub trait Observation {
    /// What [`eventually`] returns once the state holds.
    type Held;

    /// The held state, or words for the last state seen.
    fn held(self) -> Result<Self::Held, String>;
}

impl Observation for bool {
    type Held = ();

    fn held(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".to_owned())
    }
}

impl<T> Observation for Option<T> {
    type Held = T;

    fn held(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, E: Debug> Observation for Result<T, E> {
    type Held = T;

    fn held(self) -> Result<T, String> {
        self.map_err(|state| format!("{state:?}"))
    }
}

/// Looks until the state holds, for at most `within`; then panics with `what` should have held and what was seen last.
///
/// Level-triggered: a state that comes and goes between two looks is missed. `observe` gives a `bool`, an `Option`, or
/// a `Result` whose error describes the state. A look that hangs counts as not held. Deadlines are real time, also
/// under tokio's paused clock.
#[track_caller]
pub fn eventually<O, F, Fut>(what: &str, within: Duration, mut observe: F) -> impl Future<Output = O::Held>
where
    O: Observation,
    F: FnMut() -> Fut,
    Fut: Future<Output = O>,
{
    let at = Location::caller();
    async move {
        let end = Instant::now() + within;
        let mut last = "a look that did not end".to_owned();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(seen) = tokio::time::timeout(left, observe()).await {
                match seen.held() {
                    Ok(held) => return held,
                    Err(state) => last = state,
                }
            }
            if Instant::now() >= end {
                panic!("{at}: not within {within:?}: {what}; last seen: {last}");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
