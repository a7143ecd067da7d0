//! Asking the platform about single rooms, where the roster cannot tell who may serve them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sebastian_core::{Agent, AgentId, Answers, Policy, QueueRules, RoomId, Roster, Strategy, Timing, chain};
use sebastian_platform::PlatformError;
use sebastian_roster::WakeReason;
use sebastian_store::StoreError;
use tracing::debug;

use crate::{desk::Desk, listing, trouble};

/// Who belongs to an inbox changes rarely.
const MEMBERS_VALID: Duration = Duration::from_secs(300);

/// How many conversations somebody holds changes all the time. Never longer than the settle window, within which the
/// ledger knows what ended since.
const LOADS_VALID_MAX: Duration = Duration::from_secs(5);

/// A proposal is worth a moment: others are being given conversations too. Shorter than a conversation sits out when whom
/// the platform proposes may not be given it, so that it is proposed anew.
const PROPOSAL_VALID: Duration = Duration::from_secs(3);

/// How long a room is left alone after the platform gave no answer for it.
const FAILURE_WAIT: Duration = Duration::from_secs(2);

/// Rooms remembered; beyond this the oldest answers go.
const ROOMS_MAX: usize = 4_096;

/// Agents remembered over all rooms, at about 150 bytes each; beyond this the oldest answers go.
const AGENTS_MAX: usize = 100_000;

/// Calls under way at once; assigning goes first.
const CALLS_MAX: usize = 8;

/// Agents whose rooms are listed for one question, where neither roster nor answer tells their load.
const LISTINGS_MAX: usize = 16;

/// What the platform answered, by room.
pub(crate) struct Asker {
    rooms: Mutex<HashMap<RoomId, Entry>>,
    loads_valid: Duration,
}

#[derive(Default)]
struct Entry {
    is_asking: bool,
    failed_at: Option<Instant>,
    agents: Option<Told<Vec<Agent>>>,
    proposed: Option<Told<Option<AgentId>>>,
}

struct Told<T> {
    answer: T,
    at: Instant,
}

/// What became of a question.
enum Answer {
    Agents(Vec<Agent>),
    Proposed(Option<AgentId>),
    Failed,
}

impl Asker {
    pub fn new(timing: Timing) -> Self {
        Self { rooms: Mutex::default(), loads_valid: timing.settle_window.min(LOADS_VALID_MAX) }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Entry>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every answer that still holds. Loads are left out of those older than a moment; so is an answer that
    /// `roster` needs for its loads, which leads to another question.
    pub fn answers(&self, roster: &Roster, policy: &Policy) -> Arc<Answers> {
        let mut rooms = self.rooms();
        rooms.retain(|_, entry| entry.is_asking || entry.is_remembered());
        let mut answers = Answers::default();
        for (room, entry) in rooms.iter() {
            if let Some(agents) = entry.agents.as_ref().and_then(|told| self.agents_of(told, roster, policy))
            {
                answers.agents.insert(room.clone(), agents);
            }
            if let Some(told) = entry.proposed.as_ref().filter(|told| told.is_younger_than(PROPOSAL_VALID)) {
                answers.proposed.insert(room.clone(), told.answer);
            }
        }
        Arc::new(answers)
    }

    fn agents_of(&self, told: &Told<Vec<Agent>>, roster: &Roster, policy: &Policy) -> Option<Vec<Agent>> {
        if told.is_younger_than(self.loads_valid) {
            return Some(told.answer.clone());
        }
        let is_counted = |agent: &Agent| {
            let known = roster.agent(agent.id);
            known.is_none_or(|known| is_counted(known) || !policy.deals_to(known))
        };
        told.answer.iter().all(is_counted).then(|| without_loads(&told.answer))
    }

    /// Drops what is known of a room that needs nobody any more.
    pub fn forget(&self, room: &RoomId) {
        let mut rooms = self.rooms();
        let Some(entry) = rooms.get_mut(room) else { return };
        (entry.agents, entry.proposed) = (None, None);
        if !entry.is_asking && !entry.is_remembered() {
            rooms.remove(room);
        }
    }

    /// Whether `room` should be asked about now; marks it as being asked.
    fn begin(&self, room: &RoomId) -> bool {
        let mut rooms = self.rooms();
        let under_way = rooms.values().filter(|entry| entry.is_asking).count();
        let is_wanted = rooms.get(room).is_none_or(|entry| entry.is_wanted(self.loads_valid));
        if !is_wanted || under_way >= CALLS_MAX {
            return false;
        }
        let entry = rooms.entry(room.clone()).or_default();
        entry.is_asking = true;
        true
    }

    /// Whether the platform proposed somebody, or nobody, for `room` a moment ago.
    fn is_proposed(&self, room: &RoomId) -> bool {
        let rooms = self.rooms();
        let told = rooms.get(room).and_then(|entry| entry.proposed.as_ref());
        told.is_some_and(|told| told.is_younger_than(PROPOSAL_VALID))
    }

    fn end(&self, room: RoomId, answer: Answer) {
        let mut rooms = self.rooms();
        let entry = rooms.entry(room).or_default();
        (entry.is_asking, entry.failed_at) = (false, None);
        let at = Instant::now();
        match answer {
            Answer::Agents(answer) => entry.agents = Some(Told { answer, at }),
            Answer::Proposed(answer) => entry.proposed = Some(Told { answer, at }),
            Answer::Failed => entry.failed_at = Some(at),
        }
        while rooms.len() > ROOMS_MAX || rooms.values().map(Entry::agents).sum::<usize>() > AGENTS_MAX {
            let Some(oldest) = oldest(&rooms) else { return };
            rooms.remove(&oldest);
        }
    }
}

impl<T> Told<T> {
    fn is_younger_than(&self, span: Duration) -> bool {
        self.at.elapsed() < span
    }
}

impl Entry {
    fn agents(&self) -> usize {
        self.agents.as_ref().map_or(0, |told| told.answer.len())
    }

    fn has_just_failed(&self) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < FAILURE_WAIT)
    }

    /// Whether anything in it still says something.
    fn is_remembered(&self) -> bool {
        self.has_just_failed()
            || self.agents.as_ref().is_some_and(|told| told.is_younger_than(MEMBERS_VALID))
            || self.proposed.as_ref().is_some_and(|told| told.is_younger_than(PROPOSAL_VALID))
    }

    /// Whether another question may tell more than is known.
    fn is_wanted(&self, loads_valid: Duration) -> bool {
        let is_old = self.agents.as_ref().is_none_or(|told| !told.is_younger_than(loads_valid))
            || self.proposed.as_ref().is_some_and(|told| !told.is_younger_than(PROPOSAL_VALID));
        is_old && !self.is_asking && !self.has_just_failed()
    }

    /// When it was last told anything.
    fn told_at(&self) -> Option<Instant> {
        let agents = self.agents.as_ref().map(|told| told.at);
        let proposed = self.proposed.as_ref().map(|told| told.at);
        agents.max(proposed).max(self.failed_at)
    }
}

/// Whether the roster alone tells how many conversations the agent holds.
fn is_counted(agent: &Agent) -> bool {
    agent.listed || agent.reported_load.is_some()
}

fn without_loads(agents: &[Agent]) -> Vec<Agent> {
    agents.iter().map(|agent| Agent { reported_load: None, ..agent.clone() }).collect()
}

fn oldest(rooms: &HashMap<RoomId, Entry>) -> Option<RoomId> {
    let answered = rooms.iter().filter(|(_, entry)| !entry.is_asking);
    answered.min_by_key(|(room, entry)| (entry.told_at(), *room)).map(|(room, _)| room.clone())
}

/// Asks about `room` in the background, unless that is under way or was done a moment ago. Rings with the answer.
pub(crate) fn ask(desk: &Arc<Desk>, room: RoomId) {
    if desk.stop.is_cancelled() || desk.calls_held() || !desk.asker.begin(&room) {
        return;
    }
    let desk_of_task = desk.clone();
    desk.calls.spawn(async move {
        let desk = desk_of_task;
        let answer = match question(&desk, &room).await {
            Ok(answer) => answer,
            Err(error) => {
                debug!(room.id = %room, error = %chain(&error), "nobody told who may serve room {room}");
                if let Trouble::Platform(error) = error {
                    trouble::pause_if_needed(&desk, &error).await;
                }
                Answer::Failed
            }
        };
        desk.asker.end(room, answer);
        desk.ring(WakeReason::Freed).await;
    });
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the platform gave no answer")]
    Platform(#[from] PlatformError),
    #[error("the ledger gave no answer")]
    Store(#[from] StoreError),
}

/// Where the platform is to propose somebody that comes first. Asked about again, the question is who else may serve.
async fn question(desk: &Desk, room: &RoomId) -> Result<Answer, Trouble> {
    if !desk.asker.is_proposed(room) && takes_proposals(desk, room).await? {
        let proposed = desk.timed("propose", desk.platform.propose(room)).await?;
        return Ok(Answer::Proposed(proposed));
    }
    Ok(Answer::Agents(who_may_serve(desk, room).await?))
}

/// Whether the conversation of `room` is dealt as the platform proposes.
async fn takes_proposals(desk: &Desk, room: &RoomId) -> Result<bool, StoreError> {
    let rules = desk.store.rulebook(desk.account).await?;
    let linked = rules.assignment_policies.values().map(|policy| policy.strategy);
    let overridden = rules.inboxes.values().filter_map(|inbox| inbox.overrides.strategy);
    if linked.chain(overridden).chain([desk.policy.strategy]).all(|strategy| strategy != Strategy::Platform) {
        return Ok(false);
    }
    let Some(found) = desk.store.latest_in(desk.account, room).await? else { return Ok(false) };
    let queue = (found.inbox, found.traits.team);
    let rules = QueueRules::of(&rules, &desk.policy, queue, found.opened_at);
    Ok(rules.strategy == Strategy::Platform)
}

/// Who may serve `room`, and what they hold. Where not even this answer counts, the agents' rooms are listed.
async fn who_may_serve(desk: &Desk, room: &RoomId) -> Result<Vec<Agent>, PlatformError> {
    let mut agents = desk.timed("agents_for", desk.platform.agents_for(room)).await?;
    for agent in &mut agents {
        // Nothing else of an answer is looked at, and thousands may be kept.
        (agent.name, agent.inboxes) = (String::new(), None);
    }
    for unexplained in most_promising(desk, &mut agents).await {
        let load = listing::list_and_adopt(desk, unexplained).await?;
        let told = agents.iter_mut().find(|agent| agent.id == unexplained);
        told.into_iter().for_each(|agent| agent.reported_load = load);
    }
    Ok(agents)
}

/// Agents whose load neither the roster nor the ledger explains and who may have room, those with the fewest
/// conversations of ours first. Their load is unknown from here on.
async fn most_promising(desk: &Desk, agents: &mut [Agent]) -> Vec<AgentId> {
    let roster = desk.roster.current();
    let loads = desk.store.loads(desk.account, roster.polled_at).await.unwrap_or_default();
    let held = |agent: AgentId| loads.get(&agent).map_or(0, |load| load.open);
    let excess = |agent: AgentId, count| loads.get(&agent).map_or(count, |load| load.excess(count));
    let mut unexplained = Vec::new();
    for agent in agents {
        let in_question =
            roster.agent(agent.id).is_some_and(|known| !is_counted(known) && desk.policy.deals_to(known));
        if in_question && agent.reported_load.is_none_or(|count| excess(agent.id, count) > 0) {
            agent.reported_load = None;
            unexplained.push(agent.id);
        }
    }
    unexplained.retain(|agent| desk.policy.capacity.is_none_or(|capacity| held(*agent) < capacity));
    unexplained.sort_by_key(|agent| (held(*agent), *agent));
    unexplained.truncate(LISTINGS_MAX);
    unexplained
}
