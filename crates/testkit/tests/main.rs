//! The test servers, processes and faults keep their own promises.

mod chaos;
mod eventually;
mod leftovers;
mod postgres;
mod process;
mod redis;
mod world;

use std::time::Duration;

/// For anything a busy machine may take its time over; only failures wait this long.
const SOON: Duration = Duration::from_secs(20);
