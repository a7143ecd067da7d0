//! The settler: finishes what others left, and reads back what does not add up.
//!
//! Every worker runs one. Reservations past their deadline are taken over, which fences off whoever had them; assigned
//! conversations whose events contradict each other have their room read.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::{desk::Desk, executor, listing, trouble};

/// Reservations taken over at once: the executor's permits bound what may run, this bounds one statement.
const TAKE_OVER_MAX: u32 = 64;

/// Rooms read back in one sweep; assigning goes first.
const SUSPECTS_MAX: u32 = 16;

pub(crate) async fn run(desk: Arc<Desk>) {
    while desk.wait(desk.settings.sweep).await {
        take_over(&desk).await;
        read_suspects(&desk).await;
    }
}

async fn take_over(desk: &Arc<Desk>) {
    let free = u32::try_from(desk.inflight.available_permits()).unwrap_or(u32::MAX);
    let Ok(mut permits) = desk.inflight.clone().try_acquire_many_owned(free.min(TAKE_OVER_MAX)) else {
        return;
    };
    let limit = u32::try_from(permits.num_permits()).unwrap_or(0);
    let began = Instant::now();
    let taken = match desk.store.take_over(desk.account, limit).await {
        Ok(taken) => taken,
        Err(error) => {
            return warn!(error = %trouble::chain(&error), "overdue reservations could not be looked for");
        }
    };
    for reservation in taken {
        let id = reservation.attempt.conversation;
        info!(conversation.id = %id, takeovers = reservation.takeovers, "taking over the overdue conversation {id}");
        let deadline = began + desk.timing.reservation;
        desk.calls.spawn(executor::carry_out(desk.clone(), reservation, deadline, permits.split(1)));
    }
    drop(permits);
    desk.permit_came_back().await;
}

async fn read_suspects(desk: &Arc<Desk>) {
    let suspects = match desk.store.claim_suspects(desk.account, SUSPECTS_MAX).await {
        Ok(suspects) => suspects,
        Err(error) => {
            return warn!(error = %trouble::chain(&error), "suspect conversations could not be looked for");
        }
    };
    for suspect in suspects {
        let desk_of_task = desk.clone();
        desk.calls.spawn(async move {
            let desk = desk_of_task;
            if let Err(error) = listing::read_back(&desk, suspect.conversation, &suspect.room).await {
                trouble::pause_if_needed(&desk, &error).await;
            }
            desk.ring(sebastian_roster::WakeReason::Freed).await;
        });
    }
}
