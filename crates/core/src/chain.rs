//! Errors as log lines and people have them.

use std::error::Error;

/// An error with everything below it, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let below = std::iter::successors(error.source(), |error| (**error).source());
    below.fold(error.to_string(), |text, error| format!("{text}: {error}"))
}
