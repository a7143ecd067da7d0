//! What there is to see: the desk as it stands, read off the platform's own ledger a little at a time.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use sebastian_core::{AgentId, Role};
use sebastian_platform::simulated::{Applied, By, Change, State};

use super::{
    pace::{HOUR, Pace},
    play::Play,
    script::Script,
};

/// Moments kept for whoever shows them; no terminal has more lines.
const MOMENTS_MAX: usize = 200;

/// The desk at one moment.
pub(crate) struct Scene {
    pub play: Arc<Play>,
    pub capacity: u32,
    pub agents: Vec<AgentSeen>,
    /// How long each of those who wait has waited here, the longest first.
    pub waiting: Vec<Duration>,
    /// Sessions an agent serves.
    pub in_hand: usize,
    /// Sessions that were served and are over.
    pub done: usize,
    /// Sessions that began.
    pub opened: usize,
    /// The newest first.
    pub moments: VecDeque<Moment>,
    /// Most that waited at once, in each minute of the hour so far.
    pub queue: Vec<usize>,
    /// Moments so far, those forgotten too.
    pub happened: usize,
    customers: HashMap<Arc<str>, Who>,
    agent_names: BTreeMap<AgentId, String>,
    sessions: HashMap<i64, Instant>,
    next: usize,
}

/// An agent as seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentSeen {
    pub id: AgentId,
    pub name: String,
    pub load: u32,
    pub online: bool,
}

#[derive(Clone)]
struct Who {
    name: &'static str,
    source: Arc<str>,
}

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since the play began, here.
    pub at: Duration,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// An agent was given a chat; `waited` here.
    Assigned { customer: String, source: Arc<str>, agent: String, waited: Duration, by_hand: bool },
    /// Somebody moved a chat in the dashboard.
    Transferred { customer: String, from: String, to: String },
    /// A chat is over.
    Resolved { customer: String, agent: String },
    /// An agent goes on a break, or is back.
    Presence { agent: String, online: bool },
}

impl Scene {
    pub fn new(play: Arc<Play>, sources: &HashMap<sebastian_core::InboxId, String>) -> Self {
        let script: &Script = &play.script;
        let source = |customer: &super::script::Customer| {
            sources.get(&customer.channel).map_or("", |source| source.split('_').next().unwrap_or(source))
        };
        let customers = script.customers.iter().map(|customer| {
            (customer.room.as_str().into(), Who { name: customer.name, source: source(customer).into() })
        });
        let serving = script.staff.iter().filter(|agent| agent.role == Role::Agent);
        let agents: Vec<AgentSeen> = serving
            .map(|agent| AgentSeen { id: agent.id, name: agent.name.clone(), load: 0, online: true })
            .collect();
        Self {
            capacity: script.capacity,
            customers: customers.collect(),
            agent_names: script.staff.iter().map(|agent| (agent.id, agent.name.clone())).collect(),
            agents,
            waiting: Vec::new(),
            in_hand: 0,
            done: 0,
            opened: 0,
            moments: VecDeque::new(),
            queue: Vec::new(),
            happened: 0,
            sessions: HashMap::new(),
            next: 0,
            play,
        }
    }

    /// The pace of the play.
    pub fn pace(&self) -> Pace {
        self.play.pace
    }

    /// Chats agents hold, and how many they could.
    pub fn places(&self) -> (u32, u32) {
        let agents = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        (self.agents.iter().map(|agent| agent.load).sum(), self.capacity.saturating_mul(agents))
    }

    /// Catches up with the platform.
    pub fn look(&mut self, state: &State) {
        let now = Instant::now();
        let at = now.duration_since(self.play.began);
        for applied in &state.applied()[self.next..] {
            self.take_in(applied);
        }
        self.next = state.applied().len();
        let online: BTreeMap<AgentId, bool> = state.agents().map(|agent| (agent.id, agent.online)).collect();
        let mut turned = Vec::new();
        for seen in &mut self.agents {
            let online = online.get(&seen.id).copied().unwrap_or(false);
            if seen.online != online {
                turned.push(What::Presence { agent: seen.name.clone(), online });
            }
            (seen.load, seen.online) = (state.load(seen.id), online);
        }
        turned.into_iter().for_each(|what| self.happen(at, what));
        self.waiting = state
            .waiting()
            .iter()
            .filter_map(|room| self.since(state, room))
            .map(|since| now - since)
            .collect();
        self.waiting.sort_unstable_by(|a, b| b.cmp(a));
        self.in_hand = self.opened - self.done - self.waiting.len();
        self.note_queue(at);
    }

    fn since(&self, state: &State, room: &str) -> Option<Instant> {
        self.sessions.get(&state.room(room)?.service()?).copied()
    }

    /// Puts the length of the queue into its minute.
    fn note_queue(&mut self, at: Duration) {
        let minute = self.pace().at_desk(at).min(HOUR - Duration::from_secs(1)).as_secs() / 60;
        let minute = usize::try_from(minute).unwrap_or_default();
        if self.queue.len() <= minute {
            // A minute nobody looked at was like the one before it.
            let before = self.queue.last().copied().unwrap_or_default();
            self.queue.resize(minute, before);
            self.queue.push(0);
        }
        self.queue[minute] = self.queue[minute].max(self.waiting.len());
    }

    fn take_in(&mut self, applied: &Applied) {
        let at = applied.at.duration_since(self.play.began);
        let who = self.customers.get(&applied.room).cloned();
        let customer =
            who.as_ref().map_or_else(|| format!("room {}", applied.room), |who| who.name.to_owned());
        let source = who.map_or_else(|| "".into(), |who| who.source);
        let what = match &applied.change {
            Change::Opened { .. } => {
                self.opened += 1;
                self.sessions.insert(applied.service, applied.at);
                return;
            }
            Change::Assigned { agent, by, .. } => {
                let since = self.sessions.get(&applied.service).copied().unwrap_or(applied.at);
                let (agent, waited) = (self.name(*agent), applied.at.duration_since(since));
                What::Assigned { customer, source, agent, waited, by_hand: *by == By::Dashboard }
            }
            Change::Transferred { from, to, .. } => {
                What::Transferred { customer, from: self.name(*from), to: self.name(*to) }
            }
            Change::Removed { .. } => return,
            Change::Resolved { served_by, .. } => {
                self.done += 1;
                self.sessions.remove(&applied.service);
                What::Resolved {
                    customer,
                    agent: served_by.last().map(|agent| self.name(*agent)).unwrap_or_default(),
                }
            }
        };
        self.happen(at, what);
    }

    fn happen(&mut self, at: Duration, what: What) {
        self.happened += 1;
        self.moments.push_front(Moment { at, what });
        self.moments.truncate(MOMENTS_MAX);
    }

    fn name(&self, agent: AgentId) -> String {
        self.agent_names.get(&agent).cloned().unwrap_or_else(|| format!("agent {agent}"))
    }
}
