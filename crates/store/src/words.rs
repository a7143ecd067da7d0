//! The words that rows use for the core's types, whatever the ledger.

use sebastian_core::{Closed, Origin, ParkReason, Source, State, Status};

/// Both ways between the variants of a core type and their words.
macro_rules! words {
    ($type:ident: $to:ident, $from:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        pub(crate) fn $to(value: $type) -> &'static str {
            match value {
                $($type::$variant => $word),*
            }
        }

        pub(crate) fn $from(word: &str) -> Option<$type> {
            Some(match word {
                $($word => $type::$variant,)*
                _ => return None,
            })
        }
    };
}

words!(Origin: origin_word, origin { Event = "event", Platform = "platform" });

words!(Status: status_word, status { Open = "open", Pending = "pending", Snoozed = "snoozed" });

words!(Source: source_word, source { Webhook = "webhook", Reconcile = "reconcile", Operator = "operator" });

words!(Closed: closed_word, closed {
    Resolved = "resolved",
    ServedElsewhere = "served_elsewhere",
    RoomGone = "room_gone",
});

words!(ParkReason: park_reason_word, park_reason {
    PreviousClosing = "previous_closing",
    NobodyEligible = "nobody_eligible",
    Doubted = "doubted",
    Refused = "refused",
    Excluded = "excluded",
    NotProposed = "not_proposed",
    Poison = "poison",
    Pending = "pending",
    Snoozed = "snoozed",
});

pub(crate) fn state_word(state: &State) -> &'static str {
    match state {
        State::Waiting { .. } => "waiting",
        State::Reserved { .. } => "reserved",
        State::Closing { .. } => "closing",
        State::Assigned { .. } => "assigned",
        State::Resolved { .. } => "resolved",
    }
}
