//! Listing an agent's rooms on the platform and bringing the ledger in step with them.

use std::collections::BTreeSet;

use metrics::counter;
use sebastian_core::{AgentId, Closed, ConversationId, Listing, RoomId, Seen, Settled, Timestamp, chain};
use sebastian_platform::{PlatformError, RoomStatus};
use sebastian_store::StoreError;
use tracing::{info, warn};

use crate::{desk::Desk, metrics::RECONCILED_TOTAL};

/// Lists the rooms `agent` serves and adopts them: how many there are, or `None` when the ledger could not take them.
/// Rooms we hold for the agent and the list lacks are read back one by one; rooms we hold for somebody else move once
/// that agent's own list lacks them.
pub(crate) async fn list_and_adopt(desk: &Desk, agent: AgentId) -> Result<Option<u32>, PlatformError> {
    let asked_at = match desk.store.now().await {
        Ok(now) => now,
        Err(error) => return Ok(not_adopted(&error)),
    };
    let rooms = desk.timed("served", desk.platform.rooms_served_by(agent)).await?;
    let count = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
    let rooms = rooms.into_iter().map(|room| (room.id, room.inbox)).collect();
    let adopted = match desk.store.adopt(desk.account, &Listing { agent, asked_at, rooms }).await {
        Ok(adopted) => adopted,
        Err(error) => return Ok(not_adopted(&error)),
    };
    if adopted.opened + adopted.taken > 0 {
        healed("adopted", u64::from(adopted.opened + adopted.taken));
        info!(
            agent.id = %agent, opened = adopted.opened, taken = adopted.taken,
            "agent {agent} was given {} conversations on the platform", adopted.opened + adopted.taken
        );
    }
    for (room, from) in adopted.elsewhere {
        move_if_gone(desk, &room, from, agent).await?;
    }
    for (conversation, room) in adopted.missing {
        read_back(desk, conversation, &room, asked_at).await?;
    }
    Ok(Some(count))
}

fn not_adopted(error: &StoreError) -> Option<u32> {
    warn!(error = %chain(error), "rooms could not be adopted; the next poll tries again");
    None
}

/// A room may hold several agents. It has moved only when its old agent no longer lists it.
async fn move_if_gone(desk: &Desk, room: &RoomId, from: AgentId, to: AgentId) -> Result<(), PlatformError> {
    let still: BTreeSet<RoomId> = desk
        .timed("served", desk.platform.rooms_served_by(from))
        .await?
        .into_iter()
        .map(|listed| listed.id)
        .collect();
    if still.contains(room) {
        return Ok(());
    }
    match desk.store.transfer(desk.account, room, from, to).await {
        Ok(true) => {
            healed("transferred", 1);
            info!(room.id = %room, agent.id = %to, "room {room} was transferred from agent {from} to agent {to}");
        }
        Ok(false) => {}
        Err(error) => {
            warn!(error = %chain(&error), "a transfer could not be written; seen again next time")
        }
    }
    Ok(())
}

/// Asks what became of a conversation that the ledger calls assigned, and writes it down. `asked_at` is a time before
/// the question, by the ledger's clock.
pub(crate) async fn read_back(
    desk: &Desk,
    id: ConversationId,
    room: &RoomId,
    asked_at: Timestamp,
) -> Result<(), PlatformError> {
    let seen = match desk.timed("room", desk.platform.room(room)).await? {
        RoomStatus::Served => Seen::Served,
        RoomStatus::Waiting { .. } => Seen::Waiting,
        RoomStatus::Resolved => Seen::Over(Closed::Resolved),
        RoomStatus::NotFound => Seen::Over(Closed::RoomGone),
    };
    match desk.store.verified(desk.account, id, seen, asked_at).await {
        Ok(Settled::Applied) if seen != Seen::Served => {
            healed(if seen == Seen::Waiting { "requeued" } else { "resolved" }, 1);
            info!(conversation.id = %id, room.id = %room, seen = ?seen, "conversation {id} is no longer served");
        }
        Ok(Settled::Applied | Settled::Stale) => {}
        Err(error) => {
            warn!(error = %chain(&error), "a read-back could not be written; seen again next time")
        }
    }
    Ok(())
}

fn healed(what: &'static str, times: u64) {
    counter!(RECONCILED_TOTAL, "what" => what).increment(times);
}
