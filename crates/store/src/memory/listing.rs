//! Listing conversations for people.

use std::{cmp::Reverse, collections::HashMap};

use sebastian_core::{Conversation, ConversationId, Head, QueueKey, State, Timestamp};

use super::desk::Desk;
use crate::{Listed, Selection};

impl Desk {
    /// See [`crate::Store::list`].
    pub fn list(&self, selection: &Selection, limit: usize) -> Vec<Listed> {
        let newest = if let Selection::NewestIn(room) = selection { self.latest_in(room) } else { None };
        let newest = newest.map(|newest| newest.id);
        let mut found: Vec<&Conversation> =
            self.conversations.values().filter(|one| is_selected(one, selection, newest)).collect();
        if *selection == Selection::Resolved {
            found.sort_by_key(|one| Reverse((closed_at(one), one.id)));
        } else {
            found.sort_by_key(|one| (one.rank, one.position, one.id));
        }
        found.truncate(limit);
        let places = self.places();
        let listed = |one: &Conversation| Listed {
            conversation: one.clone(),
            place: places.get(&one.id).copied(),
            served: self.served_by.get(&one.id).copied(),
        };
        found.into_iter().map(listed).collect()
    }

    /// The place of everyone who stands in a queue.
    fn places(&self) -> HashMap<ConversationId, u64> {
        let mut taken: HashMap<QueueKey, u64> = HashMap::new();
        let place = |head: Head| {
            let place = taken.entry(head.queue()).or_default();
            *place += 1;
            (head.conversation, *place)
        };
        self.heads(|_| usize::MAX).into_iter().map(place).collect()
    }
}

fn is_selected(one: &Conversation, selection: &Selection, newest: Option<ConversationId>) -> bool {
    match selection {
        Selection::Unresolved => !matches!(one.state, State::Resolved { .. }),
        Selection::Waiting => matches!(one.state, State::Waiting { park: None }),
        Selection::Parked => matches!(one.state, State::Waiting { park: Some(_) }),
        Selection::Reserved => matches!(one.state, State::Reserved { .. }),
        Selection::Closing => matches!(one.state, State::Closing { .. }),
        Selection::Assigned => matches!(one.state, State::Assigned { .. }),
        Selection::Resolved => matches!(one.state, State::Resolved { .. }),
        Selection::NewestIn(_) => newest == Some(one.id),
    }
}

fn closed_at(one: &Conversation) -> Option<Timestamp> {
    match one.state {
        State::Resolved { at, .. } => Some(at),
        State::Waiting { .. } | State::Reserved { .. } | State::Closing { .. } | State::Assigned { .. } => {
            None
        }
    }
}
