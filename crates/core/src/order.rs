//! Which waiting conversation comes first: the key by which a queue is sorted.

use crate::{Conversation, Order, Timestamp, rulebook::PriorityBoost};

/// The key of `conversation`: the lower is served first, and the earlier accepted where two are equal.
///
/// Fixed when it is enqueued, so that the order of a queue is an index. A priority moves it forward by what it is worth,
/// which is as good as ageing: nobody waits behind more than those who came that much later.
#[must_use]
pub fn key(order: Order, boost: &PriorityBoost, conversation: &Conversation) -> Timestamp {
    match order {
        Order::EarliestCreated => conversation.opened_at,
        Order::LongestWaiting => conversation.last_activity_at,
        Order::Priority => conversation.opened_at - boost.of(conversation.traits.priority),
    }
}
