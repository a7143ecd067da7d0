//! Asking the platform about single rooms, where the roster cannot tell who may serve them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sebastian_core::{Agent, Answers, RoomId};
use sebastian_platform::PlatformError;
use sebastian_roster::WakeReason;
use tracing::debug;

use crate::{desk::Desk, listing, trouble};

/// Who belongs to an inbox changes rarely.
const MEMBERS_VALID: Duration = Duration::from_secs(300);

/// How many conversations somebody holds changes all the time.
const LOADS_VALID: Duration = Duration::from_secs(5);

/// How long a room is left alone after the platform gave no answer for it.
const FAILURE_WAIT: Duration = Duration::from_secs(2);

/// Rooms remembered; beyond this the oldest answers go. Each holds a few agents.
const ROOMS_MAX: usize = 4_096;

/// Calls under way at once; assigning goes first.
const CALLS_MAX: usize = 8;

/// Agents whose rooms are listed for one question, where neither roster nor answer tells their load.
const LISTINGS_MAX: usize = 16;

/// What the platform answered, by room.
#[derive(Default)]
pub(crate) struct Asker {
    rooms: Mutex<HashMap<RoomId, Entry>>,
}

enum Entry {
    Asking,
    Failed { at: Instant },
    Told { agents: Vec<Agent>, at: Instant },
}

impl Asker {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Entry>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every answer that still holds. Loads are left out of those that are older than a moment.
    pub fn answers(&self) -> Arc<Answers> {
        let mut rooms = self.rooms();
        rooms.retain(|_, entry| match entry {
            Entry::Asking => true,
            Entry::Failed { at } => at.elapsed() < FAILURE_WAIT,
            Entry::Told { at, .. } => at.elapsed() < MEMBERS_VALID,
        });
        let answers = rooms.iter().filter_map(|(room, entry)| match entry {
            Entry::Told { agents, at } => Some((room.clone(), as_of(agents, *at))),
            Entry::Asking | Entry::Failed { .. } => None,
        });
        Arc::new(Answers(answers.collect()))
    }

    /// Whether `room` should be asked about now; marks it as being asked.
    fn begin(&self, room: &RoomId) -> bool {
        let mut rooms = self.rooms();
        let under_way = rooms.values().filter(|entry| matches!(entry, Entry::Asking)).count();
        let wanted = match rooms.get(room) {
            None => true,
            Some(Entry::Asking) => false,
            Some(Entry::Failed { at }) => at.elapsed() >= FAILURE_WAIT,
            Some(Entry::Told { at, .. }) => at.elapsed() >= LOADS_VALID,
        };
        if !wanted || under_way >= CALLS_MAX {
            return false;
        }
        if rooms.len() >= ROOMS_MAX
            && let Some(oldest) = oldest(&rooms)
        {
            rooms.remove(&oldest);
        }
        rooms.insert(room.clone(), Entry::Asking);
        true
    }

    fn end(&self, room: RoomId, entry: Entry) {
        self.rooms().insert(room, entry);
    }
}

fn as_of(agents: &[Agent], at: Instant) -> Vec<Agent> {
    let recent = at.elapsed() < LOADS_VALID;
    let load = |agent: &Agent| agent.reported_load.filter(|_| recent);
    agents.iter().map(|agent| Agent { reported_load: load(agent), ..agent.clone() }).collect()
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
    if !desk.asker.begin(&room) {
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

/// Who may serve `room`, and what they hold. Where not even this answer counts, the agent's rooms are listed.
async fn question(desk: &Desk, room: &RoomId) -> Result<Vec<Agent>, PlatformError> {
    let mut agents = desk.timed("agents_for", desk.platform.agents_for(room)).await?;
    let roster = desk.roster.current();
    let dealt = |agent: &&mut Agent| desk.policy.deals_to(agent);
    let uncounted = agents.iter_mut().filter(|agent| agent.reported_load.is_none());
    for agent in uncounted.filter(dealt).take(LISTINGS_MAX) {
        let counted =
            roster.agent(agent.id).is_some_and(|known| known.listed || known.reported_load.is_some());
        if !counted {
            agent.reported_load = listing::list_and_adopt(desk, agent.id).await?;
        }
    }
    Ok(agents)
}
