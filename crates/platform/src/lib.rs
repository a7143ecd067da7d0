//! What we know of each platform: its webhooks in, its API out, its words kept inside.
//!
//! Everything that leaves this crate speaks the core's language. Wire types are private to their module.

mod port;
pub mod qiscus;
#[cfg(feature = "simulated")]
pub mod simulated;

pub use port::{Platform, PlatformError, Refusal, Room, RoomStatus, UnknownOutcome, Webhook, WebhookUrls};
