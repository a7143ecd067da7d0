//! The command, its settings and its processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not see as such")]

mod acceptance;
mod cli;
mod config;
mod crash;
mod demo;
mod desk;
mod explain;
mod metrics;
mod operate;
mod policies;
mod processes;
mod refusals;
mod secrets;
mod soak;
