//! The ingest over real HTTP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod canary;
mod conversations;
mod desk;
mod doubles;
mod limits;
mod pages;
mod set_webhook;
mod webhooks;
