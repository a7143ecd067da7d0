//! What rows call the core's types, and which columns hold them, whatever the ledger.

use sebastian_core::{Closed, Origin, Park, ParkReason, Source, State, Status, Timestamp};

/// Columns of a conversation `c` joined with its queue `q`, as each ledger reads them.
macro_rules! conversation_columns {
    () => {
        "c.id, c.room_id, q.inbox_id, q.team_id, c.traits, c.origin, c.position, c.rank, c.state, c.agent_id,
         c.status, c.snoozed_until, c.slot_freed, c.attempt, c.deadline_at, c.assigned_at, c.closed_at, c.closed_how,
         c.park_until, c.park_reason, c.opened_at, c.last_activity_at, c.service_id, c.opened_with, c.verify_at,
         c.verify_seq, c.verify_from, c.refused, c.turn, c.replaces_agent, c.refusals, c.hops"
    };
}
pub(crate) use conversation_columns;

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

/// A state as columns have it, but for the agent.
pub(crate) struct StateColumns {
    pub name: &'static str,
    pub deadline: Option<Timestamp>,
    pub assigned_at: Option<Timestamp>,
    pub closed: Option<(Timestamp, Closed)>,
    pub park: Option<Park>,
}

impl StateColumns {
    pub fn of(state: &State) -> Self {
        let columns = |name| Self { name, deadline: None, assigned_at: None, closed: None, park: None };
        match *state {
            State::Waiting { park } => Self { park, ..columns("waiting") },
            State::Reserved { deadline, .. } => Self { deadline: Some(deadline), ..columns("reserved") },
            State::Closing { deadline, .. } => Self { deadline: Some(deadline), ..columns("closing") },
            State::Assigned { at, .. } => Self { assigned_at: Some(at), ..columns("assigned") },
            State::Resolved { at, how } => Self { closed: Some((at, how)), ..columns("resolved") },
        }
    }
}
