//! Qiscus Omnichannel: its webhooks in, its API out.
//!
//! Its words (`room_id`, `customer_count`, "allocate") end here. What is read liberally and why is told in
//! each module; the API's shapes were taken from public material, as nothing here was called live.

mod auth;
mod client;
mod cursor;
#[cfg(test)]
mod fuzz;
mod http;
mod json;
mod lists;
mod refusal;
mod webhook;
mod wire;

pub use client::{ConfigError, Qiscus, QiscusConfig};
pub use webhook::{Malformed, WebhookError, parse_allocation, parse_resolve};
