//! The reconciler: finds what webhooks did not tell.
//!
//! Lost allocations show as rooms that wait on the platform and are unknown here. Lost resolves and moves made in the
//! dashboard show in the lists of who serves what. The leader compares every interval.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use metrics::{counter, gauge};
use sebastian_core::{AgentId, AgentLoad, EventKind, Hints, NewEvent, Source, chain};
use sebastian_platform::PlatformError;
use sebastian_roster::WakeReason;
use sebastian_store::StoreError;
use tracing::{debug, info, warn};

use crate::{
    desk::Desk,
    listing,
    metrics::{LOAD_DRIFT, RECONCILED_TOTAL},
    trouble,
};

/// Agents listed in one pass: bounds the calls a pass costs. The others come next, longest unseen first.
const AGENTS_MAX: usize = 64;

/// Agents whose rooms are listed at once.
const LISTINGS_AT_ONCE: usize = 4;

/// How often old rows are deleted: before there are so many that comparing waits for it.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// How many of a kind go in one statement: a recorded round of a large desk has hundreds of kilobytes.
const PURGE_MAX: u32 = 2_000;

/// How often that is repeated in one go, as long as anything goes.
const PURGE_ROUNDS_MAX: u32 = 100;

/// A busy desk writes some hundreds of rows of a kind a second.
const _: () = assert!(PURGE_MAX as u64 * PURGE_ROUNDS_MAX as u64 >= 2_000 * PURGE_INTERVAL.as_secs());

pub(crate) async fn run(desk: Arc<Desk>) {
    let mut lead = desk.lead.subscribe();
    let mut listed_at = HashMap::new();
    let mut purged_at: Option<Instant> = None;
    // The lead may have been won before this loop began.
    lead.mark_changed();
    loop {
        // A new leader looks at once: the one before may have been gone for long.
        tokio::select! {
            () = desk.stop.cancelled() => return,
            _ = lead.changed() => {}
            () = tokio::time::sleep(desk.settings.reconcile_interval) => {}
        }
        if !desk.leads() {
            gauge!(LOAD_DRIFT).set(0.0);
            continue;
        }
        if !desk.calls_held() {
            find_waiting(&desk).await;
        }
        if !desk.calls_held() {
            compare_served(&desk, &mut listed_at).await;
        }
        desk.ring(WakeReason::Freed).await;
        if purged_at.is_none_or(|at| at.elapsed() >= PURGE_INTERVAL) {
            purged_at = Some(Instant::now());
            purge(&desk).await;
        }
    }
}

/// Accepts an event for every room that waits on the platform and that the ledger does not know of.
async fn find_waiting(desk: &Desk) {
    match accept_unknown(desk).await {
        Ok(0) => {}
        Ok(found) => {
            counter!(RECONCILED_TOTAL, "what" => "found_waiting").increment(found);
            info!(rooms = found, "found {found} waiting rooms whose webhook never came");
        }
        Err(Trouble::Platform(error)) => {
            warn!(error = %chain(&error), "waiting rooms could not be listed");
            trouble::pause_if_needed(desk, &error).await;
        }
        Err(Trouble::Store(error)) => {
            warn!(error = %chain(&error), "waiting rooms could not be compared with the ledger");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the platform gave no list")]
    Platform(#[from] PlatformError),
    #[error("the ledger gave no answer")]
    Store(#[from] StoreError),
}

async fn accept_unknown(desk: &Desk) -> Result<u64, Trouble> {
    let waiting = desk.timed("waiting", desk.platform.rooms_waiting()).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let ids: Vec<_> = waiting.iter().map(|room| room.id.clone()).collect();
    let unknown: HashSet<_> = desk.store.unknown_rooms(desk.account, &ids).await?.into_iter().collect();
    let event = |room: sebastian_platform::Room| NewEvent {
        room: room.id,
        kind: EventKind::Allocate { inbox: room.inbox, latest_service: None, hints: Hints::default() },
        source: Source::Reconcile,
    };
    // The platform lists the newest first; whoever has waited longest comes first here.
    let found = waiting.into_iter().rev().filter(|room| unknown.contains(&room.id));
    let found: Vec<NewEvent> = found.map(event).collect();
    if !found.is_empty() {
        desk.store.accept(desk.account, &found).await?;
    }
    Ok(found.len() as u64)
}

/// Lists who serves what, and lets the ledger follow.
async fn compare_served(desk: &Desk, listed_at: &mut HashMap<AgentId, Instant>) {
    let agents = match doubtful(desk, listed_at).await {
        Ok(agents) => agents,
        Err(error) => return warn!(error = %chain(&error), "loads could not be compared"),
    };
    let listings =
        stream::iter(agents).map(|agent| async move { (agent, listing::list_and_adopt(desk, agent).await) });
    let mut listings = std::pin::pin!(listings.buffer_unordered(LISTINGS_AT_ONCE));
    while let Some((agent, listed)) = listings.next().await {
        match listed {
            Ok(_) => drop(listed_at.insert(agent, Instant::now())),
            Err(error @ (PlatformError::Busy { .. } | PlatformError::Denied { .. })) => {
                return trouble::pause_if_needed(desk, &error).await;
            }
            Err(error) => {
                debug!(agent.id = %agent, error = %chain(&error), "agent {agent} was not listed")
            }
        }
    }
}

/// Half of a pass goes to the agents whose counts differ most, the rest to those not looked at for longest: counts may
/// be frozen, or agree by accident.
async fn doubtful(desk: &Desk, listed_at: &HashMap<AgentId, Instant>) -> Result<Vec<AgentId>, StoreError> {
    let roster = desk.roster.current();
    let loads = desk.store.loads(desk.account, roster.polled_at).await?;
    let held = |agent| loads.get(&agent).map_or(0, AgentLoad::shown);
    let in_roster = roster.agents.iter().map(|agent| {
        let apart = agent.reported_load.map_or(0, |count| count.abs_diff(held(agent.id)));
        (apart, agent.id, desk.policy.deals_to(agent))
    });
    // Somebody who left the roster may still hold conversations here.
    let gone = loads.values().filter(|load| roster.agent(load.agent).is_none());
    let gone = gone.map(|load| (load.open.min(1), load.agent, false));
    let mut agents: Vec<(u32, AgentId, bool)> = in_roster.chain(gone).collect();
    gauge!(LOAD_DRIFT).set(f64::from(agents.iter().map(|(apart, ..)| apart).sum::<u32>()));

    agents.retain(|(apart, agent, deals)| *deals || *apart > 0 || held(*agent) > 0);
    agents.sort_by_key(|(apart, agent, _)| (Reverse(*apart), listed_at.get(agent).copied(), *agent));
    let doubtful = agents.iter().take_while(|(apart, ..)| *apart > 0).count().min(AGENTS_MAX / 2);
    agents[doubtful..].sort_by_key(|(_, agent, _)| (listed_at.get(agent).copied(), *agent));
    Ok(agents.into_iter().take(AGENTS_MAX).map(|(_, agent, _)| agent).collect())
}

async fn purge(desk: &Desk) {
    let mut gone = 0;
    for _ in 0..PURGE_ROUNDS_MAX {
        if desk.stop.is_cancelled() {
            break;
        }
        match desk.store.purge(desk.account, desk.settings.keep, PURGE_MAX).await {
            Ok(0) => break,
            Ok(rows) => gone += rows,
            Err(error) => {
                warn!(error = %chain(&error), "old rows could not be deleted");
                break;
            }
        }
    }
    if gone > 0 {
        info!(rows = gone, "deleted {gone} rows past their retention");
    }
}
