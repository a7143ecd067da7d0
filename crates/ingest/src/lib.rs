//! The ingest: takes webhooks and answers once they are durable.
//!
//! It validates, writes, rings and answers. It never decides, never calls the platform for a webhook, and never says
//! 2xx before the event is committed. Beside the webhooks it serves the operator's pages: `/agents`,
//! `/api/v1/conversations`, `/api/v1/accounts/…` (what they set), `/set-webhook`, `/livez`, `/readyz` and `/metrics`.

mod accept;
mod admin;
mod agents;
mod answer;
mod api;
mod bell;
mod body;
mod conversations;
mod explain;
mod gate;
pub mod metrics;
mod ops;
mod outage;
mod request_id;
mod runtime;
mod secret;
mod server;
mod set_webhook;
mod targets;
mod webhooks;

pub use api::{Done, NotDone, Operator, openapi};
pub use explain::{Explained, NotExplained, explain};
pub use ops::{Check, Finding, Ops, serve_ops};
pub use runtime::{Ended, MainRuntime};
pub use secret::{AdminToken, EmptySecret, Scope, Secret};
pub use server::{Account, Ingest, Listeners, Settings, bind, serve};
pub use set_webhook::{Before, HookOutcome, HookReport, Report, SetWebhookError, set_webhooks};
pub use targets::{TargetError, Targets};

#[cfg(test)]
#[path = "../tests/doubles.rs"]
#[expect(dead_code, reason = "the tests over HTTP use more of them")]
mod doubles;
