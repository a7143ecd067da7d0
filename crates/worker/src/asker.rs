//! Asking the platform about single rooms, where the roster cannot tell who may serve them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sebastian_core::{Agent, AgentId, Answers, Policy, RoomId, Roster, Timing};
use sebastian_platform::PlatformError;
use sebastian_roster::WakeReason;
use tracing::debug;

use crate::{desk::Desk, listing, trouble};

/// Who belongs to an inbox changes rarely.
const MEMBERS_VALID: Duration = Duration::from_secs(300);

/// How many conversations somebody holds changes all the time. Never longer than the settle window, within which the
/// ledger knows what ended since.
const LOADS_VALID_MAX: Duration = Duration::from_secs(5);

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

enum Entry {
    Asking,
    Failed { at: Instant },
    Told { agents: Vec<Agent>, at: Instant },
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
        rooms.retain(|_, entry| match entry {
            Entry::Asking => true,
            Entry::Failed { at } => at.elapsed() < FAILURE_WAIT,
            Entry::Told { at, .. } => at.elapsed() < MEMBERS_VALID,
        });
        let answers = rooms.iter().filter_map(|(room, entry)| match entry {
            Entry::Told { agents, at } if at.elapsed() < self.loads_valid => {
                Some((room.clone(), agents.clone()))
            }
            Entry::Told { agents, .. } => {
                let is_counted = |agent: &Agent| {
                    let known = roster.agent(agent.id);
                    known.is_none_or(|known| is_counted(known) || !policy.deals_to(known))
                };
                agents.iter().all(is_counted).then(|| (room.clone(), without_loads(agents)))
            }
            Entry::Asking | Entry::Failed { .. } => None,
        });
        Arc::new(Answers(answers.collect()))
    }

    /// Drops what is known of a room that needs nobody any more.
    pub fn forget(&self, room: &RoomId) {
        let mut rooms = self.rooms();
        if let Some(Entry::Told { .. }) = rooms.get(room) {
            rooms.remove(room);
        }
    }

    /// Whether `room` should be asked about now; marks it as being asked.
    fn begin(&self, room: &RoomId) -> bool {
        let mut rooms = self.rooms();
        let under_way = rooms.values().filter(|entry| matches!(entry, Entry::Asking)).count();
        let wanted = match rooms.get(room) {
            None => true,
            Some(Entry::Asking) => false,
            Some(Entry::Failed { at }) => at.elapsed() >= FAILURE_WAIT,
            Some(Entry::Told { at, .. }) => at.elapsed() >= self.loads_valid,
        };
        if !wanted || under_way >= CALLS_MAX {
            return false;
        }
        rooms.insert(room.clone(), Entry::Asking);
        true
    }

    fn end(&self, room: RoomId, entry: Entry) {
        let mut rooms = self.rooms();
        rooms.insert(room, entry);
        while rooms.len() > ROOMS_MAX || rooms.values().map(Entry::agents).sum::<usize>() > AGENTS_MAX {
            let Some(oldest) = oldest(&rooms) else { return };
            rooms.remove(&oldest);
        }
    }
}

impl Entry {
    fn agents(&self) -> usize {
        match self {
            Self::Told { agents, .. } => agents.len(),
            Self::Asking | Self::Failed { .. } => 0,
        }
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
    let answered = rooms.iter().filter_map(|(room, entry)| match entry {
        Entry::Asking => None,
        Entry::Failed { at } | Entry::Told { at, .. } => Some((*at, room)),
    });
    answered.min().map(|(_, room)| room.clone())
}

/// Asks about `room` in the background, unless that is under way or was done a moment ago. Rings with the answer.
pub(crate) fn ask(desk: &Arc<Desk>, room: RoomId) {
    if desk.stop.is_cancelled() || desk.calls_held() || !desk.asker.begin(&room) {
        return;
    }
    let desk_of_task = desk.clone();
    desk.calls.spawn(async move {
        let desk = desk_of_task;
        let entry = match question(&desk, &room).await {
            Ok(agents) => Entry::Told { agents, at: Instant::now() },
            Err(error) => {
                debug!(room.id = %room, error = %trouble::chain(&error), "nobody told who may serve room {room}");
                trouble::pause_if_needed(&desk, &error).await;
                Entry::Failed { at: Instant::now() }
            }
        };
        desk.asker.end(room, entry);
        desk.ring(WakeReason::Freed).await;
    });
}

/// Who may serve `room`, and what they hold. Where not even this answer counts, the agents' rooms are listed.
async fn question(desk: &Desk, room: &RoomId) -> Result<Vec<Agent>, PlatformError> {
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
