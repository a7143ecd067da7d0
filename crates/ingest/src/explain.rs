//! Why a room's conversation stands where it stands: what `GET /api/v1/conversations/{room}` and
//! `sebastian explain` ask the ledger and the roster cache.

use std::sync::Arc;

use sebastian_core::{
    AccountId, Case, Explanation, NoRoster, Past, Policy, RoomId, Roster, State, Timestamp, chain,
};
use sebastian_roster::RosterCache;
use sebastian_store::{Facts, Listed, Page, Pause, PauseReason, Recorded, Selection, Store, StoreError};
use tracing::debug;

/// A room's newest conversation, and why it stands where it stands.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The conversation.
    pub listed: Listed,
    /// The ledger's time.
    pub now: Timestamp,
    /// Decisions are paused.
    pub pause: Option<Pause>,
    /// The agents the explanation rests on.
    pub roster: Result<Arc<Roster>, NoRoster>,
    /// In words, and agent by agent.
    pub explanation: Explanation,
}

/// Why nothing can be said of a room.
#[derive(Debug, thiserror::Error)]
pub enum NotExplained {
    /// The ledger holds nothing of it: it never heard of it, or that was purged.
    #[error("room {0} has no conversation: the ledger never heard of it, or has purged it")]
    UnknownRoom(RoomId),
    /// What was accepted of it is still to be folded.
    #[error("room {0} has no conversation yet: its webhook was accepted and waits for a worker")]
    NotFolded(RoomId),
    /// The ledger gave no answer.
    #[error("the ledger does not answer")]
    Store(#[from] StoreError),
}

/// Looks the newest conversation of `room` up and explains it by `policy`. A roster cache that gives no answer is part
/// of the explanation, and no error.
pub async fn explain(
    store: &dyn Store,
    cache: &dyn RosterCache,
    account: AccountId,
    room: &RoomId,
    policy: &Policy,
) -> Result<Explained, NotExplained> {
    let Page { now, pause, conversations } =
        store.list(account, &Selection::NewestIn(room.clone()), 1).await?;
    let Some(listed) = conversations.into_iter().next() else {
        return Err(nothing_of(store, account, room).await?);
    };
    let roster = match cache.newer_than(account, 0).await {
        Ok(roster) => roster.map(Arc::new).ok_or(NoRoster::Missing),
        Err(error) => {
            debug!(error = %chain(&error), "the roster cache gave no answer");
            Err(NoRoster::Unreachable)
        }
    };
    let waits = matches!(listed.conversation.state, State::Waiting { .. });
    let facts = match &roster {
        Ok(roster) if waits => store.facts(account, roster.polled_at, policy).await?,
        Ok(_) | Err(_) => Facts { rules: store.rulebook(account).await?, ..Facts::default() },
    };
    // Without an attempt nothing was ever decided for it.
    let decisions = match listed.conversation.attempt {
        0 => Vec::new(),
        _ => store.decisions(account, listed.conversation.id, 1).await?,
    };
    let case = Case {
        conversation: &listed.conversation,
        place: listed.place,
        served: listed.served,
        pause: pause.map(|pause| (pause.until, in_words(pause.reason))),
        roster: roster.clone(),
        loads: facts.loads,
        inbox_loads: facts.inbox_loads,
        windows: facts.windows,
        rules: facts.rules,
        policy,
        decided: decisions.last().map(past),
        now,
    };
    let explanation = case.explain();
    Ok(Explained { listed, now, pause, roster, explanation })
}

fn past(recorded: &Recorded) -> Past<'_> {
    let Recorded { attempt, agent, at, waited, snapshot, policy, .. } = recorded;
    Past { attempt: *attempt, agent: *agent, at: *at, waited: *waited, snapshot, policy }
}

/// Nothing is known of `room`, or not yet.
async fn nothing_of(
    store: &dyn Store,
    account: AccountId,
    room: &RoomId,
) -> Result<NotExplained, StoreError> {
    let unknown = store.unknown_rooms(account, std::slice::from_ref(room)).await?;
    let room = room.clone();
    Ok(if unknown.is_empty() { NotExplained::NotFolded(room) } else { NotExplained::UnknownRoom(room) })
}

fn in_words(reason: PauseReason) -> &'static str {
    match reason {
        PauseReason::Busy => "the platform is busy",
        PauseReason::Denied => "the platform refuses our credentials or subscription",
    }
}
