//! The ingest's metrics, by name. Labels hold words from closed sets, never an id.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Webhooks answered, by `event` (`allocate`, `resolve`) and `result` (`accepted`, or why not).
pub const WEBHOOKS: &str = "sebastian_webhooks_total";
/// From the head of a webhook to its answer, by `event`.
pub const WEBHOOK_SECONDS: &str = "sebastian_webhook_seconds";
/// Events in one commit.
pub const ACCEPT_BATCH_SIZE: &str = "sebastian_accept_batch_size";
/// How long one commit took, by `result` (`ok`, `failed`).
pub const ACCEPT_COMMIT_SECONDS: &str = "sebastian_accept_commit_seconds";
/// Events that wait for a commit, as the last commit left them.
pub const ACCEPT_QUEUE: &str = "sebastian_accept_queue_events";
/// Doorbells rung after a commit, by `result` (`ok`, `failed`).
pub const RINGS: &str = "sebastian_accept_rings_total";

/// Every metric above.
pub const ALL: [&str; 6] =
    [WEBHOOKS, WEBHOOK_SECONDS, ACCEPT_BATCH_SIZE, ACCEPT_COMMIT_SECONDS, ACCEPT_QUEUE, RINGS];

/// Tells the installed recorder what each metric means.
pub fn describe() {
    describe_counter!(WEBHOOKS, "Webhooks answered, by event and result.");
    describe_histogram!(
        WEBHOOK_SECONDS,
        Unit::Seconds,
        "From the head of a webhook to its answer, by event."
    );
    describe_histogram!(ACCEPT_BATCH_SIZE, "Events in one commit.");
    describe_histogram!(ACCEPT_COMMIT_SECONDS, Unit::Seconds, "How long one commit took, by result.");
    describe_gauge!(ACCEPT_QUEUE, "Events that wait for a commit, as the last commit left them.");
    describe_counter!(RINGS, "Doorbells rung after a commit, by result.");
}
