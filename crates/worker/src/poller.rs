//! The poller: keeps the roster fresh, since no platform tells when an agent comes or goes.
//!
//! One worker polls for all and publishes. The others read what it published, and poll for themselves only when that
//! grows old: the cache is down, or the leader died. A poll that fails changes nobody's presence; the roster ages, and
//! past the staleness limit it assigns to nobody.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, stream};
use metrics::counter;
use sebastian_core::{Agent, AgentId, AgentLoad, Presence, Roster, Timestamp};
use sebastian_roster::WakeReason;
use sebastian_store::StoreError;
use tracing::{debug, info, warn};

use crate::{desk::Desk, leader, listing, metrics::POLLS_TOTAL, trouble};

/// Agents whose rooms are listed at once.
const LISTINGS_AT_ONCE: usize = 8;

/// A roster that shrinks to less than one part in this of the one before is believed only when seen twice.
const SHRINKS_TO_PART: usize = 2;

pub(crate) async fn run(desk: Arc<Desk>) {
    let mut doubt = None;
    loop {
        let leads = leader::lead(&desk).await;
        if !leads {
            desk.roster.refresh(&desk).await;
        }
        if leads || is_old(&desk).await {
            poll(&desk, leads, &mut doubt).await;
        }
        if !desk.wait(desk.settings.poll_interval).await {
            return;
        }
    }
}

/// Whether the roster at hand is older than two polls should leave it.
async fn is_old(desk: &Desk) -> bool {
    let Ok(now) = desk.store.now().await else { return false };
    now.since(desk.roster.current().polled_at) > desk.settings.poll_interval * 2
}

async fn poll(desk: &Desk, leads: bool, doubt: &mut Option<usize>) {
    match poll_once(desk, leads, doubt).await {
        Ok(()) => counter!(POLLS_TOTAL, "result" => "ok").increment(1),
        Err(Trouble::Platform(error)) => {
            counter!(POLLS_TOTAL, "result" => trouble::class(&error)).increment(1);
            warn!(error = %trouble::chain(&error), "the roster could not be polled; it ages");
            trouble::pause_if_needed(desk, &error).await;
        }
        Err(Trouble::Store(error)) => {
            counter!(POLLS_TOTAL, "result" => "ledger").increment(1);
            warn!(error = %trouble::chain(&error), "the roster could not be compared with the ledger");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the platform gave no roster")]
    Platform(#[from] sebastian_platform::PlatformError),
    #[error("the ledger gave no loads")]
    Store(#[from] StoreError),
}

async fn poll_once(desk: &Desk, leads: bool, doubt: &mut Option<usize>) -> Result<(), Trouble> {
    let polled_at = desk.store.now().await?;
    let polled = desk.timed("agents", desk.platform.agents()).await?;
    let before = desk.roster.current();
    if shrank(before.agents.len(), polled.len()) && doubt.replace(polled.len()) != Some(polled.len()) {
        warn!(
            agents = polled.len(),
            before = before.agents.len(),
            "the roster shrank; waiting to see it twice"
        );
        return Ok(());
    }
    *doubt = None;
    let agents = polled.into_iter().map(|agent| since_when(agent, &before, polled_at)).collect();
    let roster = Roster::new(version(&before, polled_at), polled_at, agents);
    let loads = desk.store.loads(desk.account, polled_at).await?;
    let excess = excess(&roster, &loads);
    publish(desk, &roster, leads).await;
    if !excess.is_empty() {
        let listed = list(desk, excess).await;
        publish(desk, &mark_listed(roster, &listed), leads).await;
    }
    Ok(())
}

fn shrank(before: usize, now: usize) -> bool {
    now * SHRINKS_TO_PART < before
}

/// Versions are the ledger's time in ms, so that they grow across leaders and restarts; two in one ms still differ.
fn version(before: &Roster, polled_at: Timestamp) -> u64 {
    u64::try_from(polled_at.as_millis()).unwrap_or(0).max(before.version + 1)
}

/// Keeps when an agent came online.
fn since_when(agent: Agent, before: &Roster, now: Timestamp) -> Agent {
    let known = before.agent(agent.id).and_then(|known| known.online_since);
    let online = agent.presence == Presence::Online && !agent.forced_offline;
    Agent { online_since: online.then(|| known.unwrap_or(now)), ..agent }
}

/// Agents whom the platform credits with more than the ledger can explain. Of every role: a room may be transferred to
/// a supervisor, and then it is no longer its agent's.
fn excess(roster: &Roster, loads: &BTreeMap<AgentId, AgentLoad>) -> Vec<AgentId> {
    let exceeds = |agent: &&Agent| {
        let none = AgentLoad::none(agent.id);
        let load = loads.get(&agent.id).unwrap_or(&none);
        agent.reported_load.is_some_and(|reported| load.excess(reported) > 0)
    };
    roster.agents.iter().filter(exceeds).map(|agent| agent.id).collect()
}

/// Lists and adopts. Returns the agents for whom that worked.
async fn list(desk: &Desk, agents: Vec<AgentId>) -> Vec<AgentId> {
    let listings = stream::iter(agents).map(|agent| async move {
        match listing::list_and_adopt(desk, agent).await {
            Ok(count) => count.map(|_| agent),
            Err(error) => {
                debug!(agent.id = %agent, error = %trouble::chain(&error), "rooms of agent {agent} were not listed");
                None
            }
        }
    });
    listings.buffer_unordered(LISTINGS_AT_ONCE).filter_map(std::future::ready).collect().await
}

fn mark_listed(mut roster: Roster, listed: &[AgentId]) -> Roster {
    roster.version += 1;
    for agent in &mut roster.agents {
        agent.listed = listed.contains(&agent.id);
    }
    roster
}

async fn publish(desk: &Desk, roster: &Roster, leads: bool) {
    let first = desk.roster.current().version == 0;
    desk.roster.offer(roster.clone());
    if leads && let Err(error) = desk.cache.publish(desk.account, roster).await {
        warn!(error = %trouble::chain(&error), "the roster could not be published; other workers poll for themselves");
    }
    if first {
        let online = roster.agents.iter().filter(|agent| desk.policy.deals_to(agent)).count();
        info!(
            agents = roster.agents.len(),
            online, "first roster: {online} agents may be given conversations"
        );
    }
    desk.ring(WakeReason::Roster).await;
}
