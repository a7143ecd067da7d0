//! The settler: finishes what others left, and reads back what does not add up.
//!
//! Every worker runs one. Reservations past their deadline are taken over, which fences off whoever had them; assigned
//! conversations whose events contradict each other have their room read.

use sebastian_core::chain;
use std::sync::Arc;

use sebastian_roster::WakeReason;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{desk::Desk, executor, listing, trouble};

/// Rooms read back in one sweep; assigning goes first.
const SUSPECTS_MAX: u32 = 16;

pub(crate) async fn run(desk: Arc<Desk>) {
    while desk.wait(desk.settings.sweep).await {
        take_over(&desk).await;
        if !desk.calls_held() {
            read_suspects(&desk).await;
        }
    }
}

async fn take_over(desk: &Arc<Desk>) {
    if !desk.may_call() {
        return;
    }
    let Some(mut permits) = desk.settling.take(if desk.on_probation() { 1 } else { u32::MAX }) else {
        return;
    };
    let limit = u32::try_from(permits.num_permits()).unwrap_or(u32::MAX);
    let began = Instant::now();
    let taken = match desk.store.take_over(desk.account, limit).await {
        Ok(taken) => taken,
        Err(error) => {
            return warn!(error = %chain(&error), "overdue reservations could not be looked for");
        }
    };
    for reservation in taken {
        let id = reservation.attempt.conversation;
        info!(conversation.id = %id, takeovers = reservation.takeovers, "taking over the overdue conversation {id}");
        executor::start(desk, reservation, began + desk.timing.reservation, permits.split(1));
    }
}

async fn read_suspects(desk: &Arc<Desk>) {
    let suspects = match desk.store.claim_suspects(desk.account, SUSPECTS_MAX).await {
        Ok(suspects) => suspects,
        Err(error) => {
            return warn!(error = %chain(&error), "suspect conversations could not be looked for");
        }
    };
    for suspect in suspects {
        let desk_of_task = desk.clone();
        desk.calls.spawn(async move {
            let desk = desk_of_task;
            match listing::read_back(&desk, suspect.conversation, &suspect.room, suspect.claimed_at).await {
                Ok(()) => desk.ring(WakeReason::Freed).await,
                Err(error) => trouble::pause_if_needed(&desk, &error).await,
            }
        });
    }
}
