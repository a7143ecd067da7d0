//! The ingest over real HTTP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod canary;
mod conversations;
mod desk;
mod doubles;
mod fuzz;
mod limits;
mod pages;
mod set_webhook;
mod subscriptions;
mod webhooks;
