//! The poller: keeps the roster fresh, since no platform tells when an agent comes or goes.
//!
//! One worker polls for all and publishes. The others read what it published, and poll for themselves only when that
//! grows old: the cache is down, or the leader died. A poll that fails changes nobody's presence; the roster ages, and
//! past the staleness limit it assigns to nobody.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, stream};
use metrics::counter;
use sebastian_core::{Agent, AgentId, AgentLoad, Presence, Roster, Timestamp, chain};
use sebastian_roster::WakeReason;
use sebastian_store::StoreError;
use tracing::{debug, error, info, warn};

use crate::{desk::Desk, leader::Lead, listing, metrics::POLLS_TOTAL, strays::Strays, trouble};

/// Agents whose rooms are listed at once.
const LISTINGS_AT_ONCE: usize = 8;

/// Agents whose rooms are listed after one poll: bounds what a poll costs. The others come after the next ones, or when
/// a conversation waits for one of them.
const LISTINGS_MAX: usize = 64;

pub(crate) async fn run(desk: Arc<Desk>) {
    let mut lead = desk.lead.subscribe();
    let mut poller =
        Poller { desk: &desk, doubt: None, listed_last: AgentId(i64::MIN), strays: Strays::default() };
    // What was published before this worker began is good until it is too old, also with the platform down.
    desk.roster.refresh(&desk).await;
    // Whoever leads polls first, so that the first roster is polled once.
    tokio::select! {
        () = desk.stop.cancelled() => return,
        _ = lead.wait_for(|lead| *lead != Lead::Unasked) => {}
    }
    loop {
        lead.mark_unchanged();
        poller.tick().await;
        tokio::select! {
            () = desk.stop.cancelled() => return,
            _ = lead.changed() => {}
            () = tokio::time::sleep(desk.settings.poll_interval) => {}
        }
    }
}

struct Poller<'a> {
    desk: &'a Desk,
    /// How many agents were left when the roster last shrank.
    doubt: Option<usize>,
    /// Whose rooms were listed last.
    listed_last: AgentId,
    strays: Strays,
}

impl Poller<'_> {
    async fn tick(&mut self) {
        let leads = self.desk.leads();
        if !leads {
            self.strays.forget();
            self.desk.roster.refresh(self.desk).await;
        }
        if self.desk.calls_held() {
            return;
        }
        let now = match self.desk.store.now().await {
            Ok(now) => now,
            Err(error) => {
                return warn!(error = %chain(&error), "the roster cannot be polled without the ledger's clock");
            }
        };
        let age = now.since(self.desk.roster.current().polled_at);
        if leads || age > self.desk.settings.poll_interval * 2 {
            self.poll(leads).await;
        }
        let age = now.since(self.desk.roster.current().polled_at);
        if age > self.desk.policy.staleness_max {
            error!(
                age_s = age.as_secs(),
                "no roster, or one too old: nobody is given conversations until a poll succeeds"
            );
        }
    }

    async fn poll(&mut self, leads: bool) {
        let result = match self.poll_once(leads).await {
            Ok(Polled::Believed) => "ok",
            Ok(Polled::Doubted) => "doubted",
            Err(Trouble::Platform(error)) => {
                warn!(error = %chain(&error), "the roster could not be polled; it ages");
                trouble::pause_if_needed(self.desk, &error).await;
                trouble::class(&error)
            }
            Err(Trouble::Store(error)) => {
                warn!(error = %chain(&error), "the roster could not be compared with the ledger");
                "ledger"
            }
        };
        counter!(POLLS_TOTAL, "result" => result).increment(1);
    }

    async fn poll_once(&mut self, leads: bool) -> Result<Polled, Trouble> {
        let desk = self.desk;
        let polled_at = desk.store.now().await?;
        let polled = desk.timed("agents", desk.platform.agents()).await?;
        let before = desk.roster.current();
        if self.doubts(before.agents.len(), polled.len()) {
            if leads {
                self.strays.look(desk, &polled, polled_at).await;
            }
            return Ok(Polled::Doubted);
        }
        let agents = polled.into_iter().map(|agent| since_when(agent, &before, polled_at)).collect();
        let roster = Roster::new(version(&before, polled_at), polled_at, agents);
        let loads = desk.store.loads(desk.account, polled_at).await?;
        let unexplained = unexplained(&roster, &loads);
        let next = self.next_of(unexplained.clone());
        publish(desk, &as_believed(&roster, &unexplained, &[]), leads).await;
        if leads {
            // After it is published, so that nothing goes back to whoever is gone.
            self.strays.look(desk, &roster.agents, polled_at).await;
        }
        let listed = list(desk, next).await;
        if !listed.is_empty() {
            publish(desk, &as_believed(&roster, &unexplained, &listed), leads).await;
        }
        Ok(Polled::Believed)
    }

    /// A roster that lacks somebody may be a page cut short: it is believed when seen twice.
    fn doubts(&mut self, before: usize, now: usize) -> bool {
        let is_new = now < before && self.doubt != Some(now);
        self.doubt = is_new.then_some(now);
        if is_new {
            warn!(
                agents = now,
                before, "the roster shrank from {before} to {now} agents; waiting to see it twice"
            );
        }
        is_new
    }

    /// The next few of `agents`, ascending, after whom we listed last: everyone has their turn.
    fn next_of(&mut self, mut agents: Vec<AgentId>) -> Vec<AgentId> {
        let done = agents.partition_point(|agent| *agent <= self.listed_last);
        agents.rotate_left(done);
        agents.truncate(LISTINGS_MAX);
        self.listed_last = agents.last().copied().unwrap_or(self.listed_last);
        agents
    }
}

enum Polled {
    Believed,
    Doubted,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the platform gave no roster")]
    Platform(#[from] sebastian_platform::PlatformError),
    #[error("the ledger gave no loads")]
    Store(#[from] StoreError),
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
fn unexplained(roster: &Roster, loads: &BTreeMap<AgentId, AgentLoad>) -> Vec<AgentId> {
    let exceeds = |agent: &&Agent| {
        let none = AgentLoad::none(agent.id);
        let load = loads.get(&agent.id).unwrap_or(&none);
        agent.reported_load.is_some_and(|reported| load.excess(reported) > 0)
    };
    roster.agents.iter().filter(exceeds).map(|agent| agent.id).collect()
}

/// Lists and adopts, for no longer than until the next poll. Returns the agents for whom that worked.
async fn list(desk: &Desk, agents: Vec<AgentId>) -> Vec<AgentId> {
    let listings = stream::iter(agents).map(|agent| async move {
        if desk.calls_held() {
            return None;
        }
        match listing::list_and_adopt(desk, agent).await {
            Ok(count) => count.map(|_| agent),
            Err(error) => {
                debug!(agent.id = %agent, error = %chain(&error), "rooms of agent {agent} were not listed");
                trouble::pause_if_needed(desk, &error).await;
                None
            }
        }
    });
    let listed = listings.buffer_unordered(LISTINGS_AT_ONCE).filter_map(std::future::ready);
    listed.take_until(tokio::time::sleep(desk.settings.poll_interval)).collect().await
}

/// The roster for decisions. Once a conversation is given after the poll, nobody can tell any more how much of a count
/// the ledger explains: until their rooms are listed, the load of the unexplained is unknown.
fn as_believed(roster: &Roster, unexplained: &[AgentId], listed: &[AgentId]) -> Roster {
    let mut roster = roster.clone();
    roster.version += u64::from(!listed.is_empty());
    for agent in &mut roster.agents {
        agent.listed = listed.contains(&agent.id);
        if !agent.listed && unexplained.binary_search(&agent.id).is_ok() {
            agent.reported_load = None;
        }
    }
    roster
}

async fn publish(desk: &Desk, roster: &Roster, leads: bool) {
    let first = desk.roster.current().version == 0;
    desk.roster.offer(roster.clone());
    if leads && let Err(error) = desk.cache.publish(desk.account, roster).await {
        warn!(error = %chain(&error), "the roster could not be published; other workers poll for themselves");
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
