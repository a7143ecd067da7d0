//! What dies, hangs or wakes up too late: every chat still ends with exactly one agent, or waiting in its place.
//!
//! `points` lets a worker die at each step of its work; it needs the feature `crash-points`. `kills` and `zombies` do
//! to processes what an operator or a machine may. `history` is what the two ledgers say afterwards, and the judge of
//! it.

mod desk;
mod history;
pub mod kills;
#[cfg(feature = "crash-points")]
mod points;
mod zombies;
