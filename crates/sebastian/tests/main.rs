//! The command, its settings and its processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not see as such")]

mod acceptance;
mod cli;
mod config;
mod crash;
mod demo;
mod deploy;
mod desk;
mod doctor;
mod embedded;
mod explain;
mod healthcheck;
mod init;
mod ledgers;
mod load;
mod metrics;
mod operate;
mod person;
mod policies;
mod processes;
mod refusals;
mod secrets;
mod soak;
mod stub;
