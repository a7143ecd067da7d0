//! The courier's metrics: names and meanings.

use metrics::{Unit, describe_counter, describe_histogram};

/// Attempts to deliver an event; labels `event` and `result`.
pub const DELIVERIES_TOTAL: &str = "sebastian_event_deliveries_total";
/// How long an attempt took; label `result`.
pub const DELIVERY_SECONDS: &str = "sebastian_event_delivery_seconds";
/// From what happened to its delivery.
pub const LAG_SECONDS: &str = "sebastian_event_lag_seconds";
/// Subscriptions disabled by us; label `reason`.
pub const DISABLED_TOTAL: &str = "sebastian_event_subscriptions_disabled_total";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(DELIVERIES_TOTAL, "Attempts to deliver an event, by event and result");
    describe_histogram!(DELIVERY_SECONDS, Unit::Seconds, "How long an attempt to deliver an event took");
    describe_histogram!(LAG_SECONDS, Unit::Seconds, "From what happened to the delivery of its event");
    describe_counter!(DISABLED_TOTAL, "Subscriptions disabled, by reason");
}
