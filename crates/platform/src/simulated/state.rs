//! The simulated account: who is there, which rooms are open, and the only code that changes either.
//!
//! Every change passes through here and is written to the ledger in the same step, under the one lock, so the
//! ledger cannot differ from what happened. Indexes keep an assign and a roster page free of walks over rooms.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use sebastian_core::{AgentId, InboxId};
use serde_json::Value;

use super::{
    AgentSpec, Applied, By, Change, Channel, Request, Room, SimulatedConfig,
    clock::Stamp,
    config::AssignAgain,
    faults::{Counts, Faults},
    ledger::Ledger,
    room::{ClosedService, Place, Session},
};

/// How far back [`super::CountFault::Lag`] can reach.
pub const COUNT_HISTORY: Duration = Duration::from_secs(60);

/// The account as it stands. Read it through [`super::Simulated::read`] or [`super::Simulated::wait_until`].
#[derive(Debug)]
pub struct State {
    pub(super) config: SimulatedConfig,
    pub(super) token: String,
    pub(super) hooks: Hooks,
    pub(super) channels: BTreeMap<InboxId, Channel>,
    pub(super) agents: BTreeMap<AgentId, Member>,
    pub(super) rooms: HashMap<Arc<str>, Room>,
    pub(super) waiting: BTreeSet<Place>,
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    pub(super) began: (Instant, Stamp),
    last_stamp: Stamp,
    tokens_issued: u32,
}

/// Where webhooks go and whether they are switched on.
#[derive(Debug, Clone, Default)]
pub(super) struct Hooks {
    pub allocate: Hook,
    pub resolve: Hook,
}

/// One webhook's setting.
#[derive(Debug, Clone, Default)]
pub(super) struct Hook {
    pub url: Option<String>,
    pub enabled: bool,
}

impl Hook {
    /// The URL to send to, if any.
    pub fn target(&self) -> Option<String> {
        self.url.clone().filter(|_| self.enabled)
    }
}

/// An agent and what they hold.
#[derive(Debug)]
pub(super) struct Member {
    pub spec: AgentSpec,
    /// Their account is gone. Rooms they serve stay theirs, as far as lists show, until somebody takes their place.
    pub deleted: bool,
    pub open: BTreeSet<Place>,
    pub max_load: u32,
    counts: VecDeque<(Instant, u32)>,
}

impl Member {
    fn new(spec: AgentSpec) -> Self {
        Self { spec, deleted: false, open: BTreeSet::new(), max_load: 0, counts: VecDeque::new() }
    }

    pub fn load(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    pub fn works(&self) -> bool {
        self.spec.online && !self.spec.force_offline
    }

    fn count_changed(&mut self, now: Instant) {
        let load = self.load();
        self.max_load = self.max_load.max(load);
        self.counts.push_back((now, load));
        while self.counts.get(1).is_some_and(|(at, _)| now.duration_since(*at) > COUNT_HISTORY) {
            self.counts.pop_front();
        }
    }

    /// The count a list reports; `None` leaves the key out.
    pub fn reported(&self, counts: &Counts, now: Instant) -> Option<i64> {
        let count = match counts {
            Counts::True => self.load(),
            Counts::Lag(lag) => {
                let known = self.counts.partition_point(|(at, _)| now.duration_since(*at) >= *lag);
                known.checked_sub(1).map_or(0, |last| self.counts[last].1)
            }
            Counts::Frozen(counts) => counts.get(&self.spec.id).copied().unwrap_or(0),
            Counts::Missing => return None,
            Counts::Negative => return Some(-1),
        };
        Some(i64::from(count))
    }
}

/// Why a change was refused; each has its own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    RoomNotFound,
    RoomResolved,
    AgentNotFound,
    NotInChannel,
    ExceedMaxAgents,
}

impl State {
    pub(super) fn new(config: SimulatedConfig) -> Self {
        let mut faults = Faults::new(config.seed);
        for fault in &config.faults {
            faults.set(fault.clone(), HashMap::new);
        }
        Self {
            token: config.admin_token.clone(),
            hooks: Hooks::default(),
            channels: config.channels.iter().map(|channel| (channel.id, channel.clone())).collect(),
            agents: config.agents.iter().map(|spec| (spec.id, Member::new(spec.clone()))).collect(),
            rooms: HashMap::new(),
            waiting: BTreeSet::new(),
            ledger: Ledger::default(),
            faults,
            began: (Instant::now(), Stamp::now()),
            last_stamp: Stamp(0),
            tokens_issued: 0,
            config,
        }
    }

    /// Open rooms the agent holds: the truth. 0 for a stranger.
    #[must_use]
    pub fn load(&self, agent: AgentId) -> u32 {
        self.agents.get(&agent).map_or(0, Member::load)
    }

    /// The most open rooms the agent ever held at once.
    #[must_use]
    pub fn max_load_seen(&self, agent: AgentId) -> u32 {
        self.agents.get(&agent).map_or(0, |member| member.max_load)
    }

    /// Everyone who can log in, ascending by id.
    pub fn agents(&self) -> impl Iterator<Item = &AgentSpec> {
        self.agents.values().filter(|member| !member.deleted).map(|member| &member.spec)
    }

    /// The room, if it ever came up.
    #[must_use]
    pub fn room(&self, room: &str) -> Option<&Room> {
        self.rooms.get(room)
    }

    /// The agent who joined the room last and is still in it.
    #[must_use]
    pub fn agent_of(&self, room: &str) -> Option<AgentId> {
        self.rooms.get(room).and_then(|room| room.agents.last().copied())
    }

    /// Rooms that wait for an agent, the longest silent customer first.
    #[must_use]
    pub fn waiting(&self) -> Vec<Arc<str>> {
        self.waiting.iter().map(|(_, room)| room.clone()).collect()
    }

    /// Every change that took effect, in order.
    #[must_use]
    pub fn applied(&self) -> &[Applied] {
        self.ledger.applied()
    }

    /// The API requests, in the order they were finished; the oldest go after a million.
    #[must_use]
    pub fn requests(&self) -> &VecDeque<Request> {
        self.ledger.requests()
    }

    /// The first agent of every session that got one, in order: room, agent, instant.
    #[must_use]
    pub fn assign_order(&self) -> Vec<(Arc<str>, AgentId, Instant)> {
        let mut seen = HashSet::new();
        let first = self.applied().iter().filter_map(|applied| match applied.change {
            Change::Assigned { agent, .. } if seen.insert(applied.service) => {
                Some((applied.room.clone(), agent, applied.at))
            }
            _ => None,
        });
        first.collect()
    }

    /// Unix milliseconds of an instant since the start.
    pub(super) fn unix_ms(&self, at: Instant) -> u64 {
        let (instant, stamp) = self.began;
        let since = u64::try_from(at.duration_since(instant).as_millis()).unwrap_or(u64::MAX);
        stamp.0 / 1000 + since
    }

    /// A room id nobody has used.
    pub(super) fn unused_room_id(&self) -> String {
        let free = |n: &u64| !self.rooms.contains_key(n.to_string().as_str());
        let from = FIRST_ROOM_ID + self.rooms.len() as u64;
        (from..).find(free).unwrap_or(from).to_string()
    }

    pub(super) fn add_agent(&mut self, spec: AgentSpec) {
        match self.agents.get_mut(&spec.id) {
            Some(member) => (member.spec, member.deleted) = (spec, false),
            None => {
                self.agents.insert(spec.id, Member::new(spec));
            }
        }
    }

    /// Changes what an agent is; `false` for a stranger.
    pub(super) fn edit_agent(&mut self, agent: AgentId, edit: impl FnOnce(&mut AgentSpec)) -> bool {
        self.agents.get_mut(&agent).map(|member| edit(&mut member.spec)).is_some()
    }

    /// Closes an agent's account; `false` for a stranger.
    pub(super) fn delete_agent(&mut self, agent: AgentId) -> bool {
        self.agents.get_mut(&agent).map(|member| member.deleted = true).is_some()
    }

    pub(super) fn expire_tokens(&mut self) {
        self.tokens_issued += 1;
        self.token = format!("{}-{}", self.config.admin_token, self.tokens_issued);
    }

    /// Opens the room's session, or adds a message to the open one. `channel` is used when the room has none.
    pub(super) fn message(&mut self, room: &str, channel: Option<InboxId>) {
        let now = self.stamp();
        let id = self.rooms.get(room).map_or_else(|| Arc::from(room), |known| known.id.clone());
        self.unlist(&id);
        let number = self.rooms.len() as i64;
        let service = self.ledger.applied().len() as i64;
        let name = &self.config.customer_name;
        let channels = &self.channels;
        let known = self
            .rooms
            .entry(id.clone())
            .or_insert_with(|| new_room(id.clone(), number, name, channel.and_then(|c| channels.get(&c))));
        known.last_message = now;
        let opened = match &mut known.session {
            Some(session) => {
                session.messages += 1;
                None
            }
            None => {
                let service = FIRST_SERVICE + service;
                known.session = Some(Session { service, opened: now, messages: 1, refused: 0 });
                Some((service, known.channel))
            }
        };
        self.list(&id);
        if let Some((service, channel)) = opened {
            self.ledger.apply(Instant::now(), &id, service, Change::Opened { channel });
        }
    }

    /// The room, created on this first reference where the configuration says so.
    pub(super) fn known_room(&mut self, room: &str) -> Option<&mut Room> {
        if !self.rooms.contains_key(room) {
            if !self.config.accept_unknown_rooms {
                return None;
            }
            self.message(room, None);
        }
        self.rooms.get_mut(room)
    }

    /// Puts `agent` into `room` while fewer than `max_agents` are there, or in the latest agent's place when
    /// `replace`. `Ok(false)`: they were there already.
    pub(super) fn join(
        &mut self,
        room: &str,
        agent: AgentId,
        by: By,
        max_agents: usize,
        replace: bool,
    ) -> Result<bool, Refused> {
        let member = self.agents.get(&agent).filter(|member| !member.deleted);
        let spec = &member.ok_or(Refused::AgentNotFound)?.spec;
        let first_channel = spec.channels.first().copied();
        let serves =
            self.rooms.get(room).and_then(|known| known.channel).is_none_or(|c| spec.channels.contains(&c));
        let again = self.config.assign_again;
        let known = self.known_room(room).ok_or(Refused::RoomNotFound)?;
        let service = known.service().ok_or(Refused::RoomResolved)?;
        if known.agents.contains(&agent)
            && (again == AssignAgain::Succeeds || known.agents.len() < max_agents)
        {
            return Ok(false);
        }
        if !serves {
            return Err(Refused::NotInChannel);
        }
        let full = known.agents.len() >= max_agents;
        if full && (!replace || known.agents.contains(&agent)) {
            return Err(Refused::ExceedMaxAgents);
        }
        let id = known.id.clone();
        known.channel = known.channel.or(first_channel);
        self.unlist(&id);
        let leaves = self.rooms.get_mut(&id).and_then(|known| {
            let leaves = if full { known.agents.pop() } else { None };
            known.agents.push(agent);
            leaves
        });
        self.list(&id);
        let now = Instant::now();
        for member in leaves.iter().chain([&agent]) {
            self.count_changed(*member, now);
        }
        let change = match leaves {
            Some(from) => Change::Transferred { from, to: agent, by },
            None => {
                let online = self.agents.get(&agent).is_some_and(Member::works);
                Change::Assigned { agent, by, load: self.load(agent), online }
            }
        };
        self.ledger.apply(now, &id, service, change);
        Ok(true)
    }

    /// Takes `agent` out of `room`; the customer waits again when nobody is left. `false`: they were not there.
    pub(super) fn leave(&mut self, room: &str, agent: AgentId, by: By) -> Result<bool, Refused> {
        let known = self.rooms.get(room).ok_or(Refused::RoomNotFound)?;
        let service = known.service().ok_or(Refused::RoomResolved)?;
        if !known.agents.contains(&agent) {
            return Ok(false);
        }
        let id = known.id.clone();
        self.unlist(&id);
        if let Some(known) = self.rooms.get_mut(&id) {
            known.agents.retain(|member| *member != agent);
        }
        self.list(&id);
        let now = Instant::now();
        self.count_changed(agent, now);
        self.ledger.apply(now, &id, service, Change::Removed { agent, by });
        Ok(true)
    }

    /// Ends the room's session and frees everyone in it.
    pub(super) fn resolve(&mut self, room: &str, by: AgentId) -> Result<(), Refused> {
        let known = self.rooms.get(room).ok_or(Refused::RoomNotFound)?;
        let Session { service, opened, .. } = *known.session.as_ref().ok_or(Refused::RoomResolved)?;
        let id = known.id.clone();
        self.unlist(&id);
        let resolved = self.stamp();
        let mut served_by = Vec::new();
        if let Some(known) = self.rooms.get_mut(&id) {
            served_by = std::mem::take(&mut known.agents);
            known.session = None;
            known.latest =
                Some(ClosedService { service, opened, resolved, agent: served_by.last().copied() });
        }
        let now = Instant::now();
        for agent in &served_by {
            self.count_changed(*agent, now);
        }
        self.ledger.apply(now, &id, service, Change::Resolved { by, served_by });
        Ok(())
    }

    /// A customer writes. The allocation webhook's body, unless an agent is in the room.
    pub(super) fn customer_message(&mut self, room: &str, channel: Option<InboxId>) -> Option<Value> {
        self.message(room, channel);
        let room = self.room(room)?;
        room.is_waiting().then(|| self.allocation_body(room))
    }

    /// Someone resolves in the dashboard: `by`, or else the agent in the room, or else the owner. The resolve
    /// webhook's body; `None` when no session is open or nobody could have resolved it.
    pub(super) fn dashboard_resolve(&mut self, room: &str, by: Option<AgentId>) -> Option<Value> {
        let by = by.or_else(|| self.agent_of(room)).or_else(|| self.owner().ok().map(|owner| owner.id))?;
        let by = self.agents.get(&by)?.spec.clone();
        self.resolve(room, by.id).ok()?;
        let room = self.room(room)?;
        Some(self.resolve_body(room, &by))
    }

    fn count_changed(&mut self, agent: AgentId, now: Instant) {
        if let Some(member) = self.agents.get_mut(&agent) {
            member.count_changed(now);
        }
    }

    /// The time now, later than any stamp before, so that no two rooms tie in a list.
    fn stamp(&mut self) -> Stamp {
        self.last_stamp = Stamp::now().max(Stamp(self.last_stamp.0 + 1));
        self.last_stamp
    }

    /// Takes the room out of the index it stands in; [`State::list`] puts it back.
    fn unlist(&mut self, room: &str) {
        let Some(known) = self.rooms.get(room) else { return };
        let place = known.place();
        self.waiting.remove(&place);
        for agent in &known.agents {
            if let Some(member) = self.agents.get_mut(agent) {
                member.open.remove(&place);
            }
        }
    }

    fn list(&mut self, room: &str) {
        let Some(known) = self.rooms.get(room) else { return };
        if known.is_waiting() {
            self.waiting.insert(known.place());
        }
        for agent in &known.agents {
            if let Some(member) = self.agents.get_mut(agent) {
                member.open.insert(known.place());
            }
        }
    }
}

/// The number before the first session's; sessions count up with the ledger, so ids differ and grow.
const FIRST_SERVICE: i64 = 131_900_000;

/// Where `/simulate/chat` begins to number rooms.
const FIRST_ROOM_ID: u64 = 470_110_001;

/// The first room's own row id.
const FIRST_ROOM_NUMBER: i64 = 973_001;

fn new_room(id: Arc<str>, number: i64, customer_name: &str, channel: Option<&Channel>) -> Room {
    let source = channel.map_or("qiscus", |channel| &channel.source);
    let contact = match source {
        "wa" => format!("62812{number:08}"),
        "qiscus" | "email" => format!("customer-{number}@example.com"),
        other => format!("{other}_{number}@customer.example"),
    };
    Room {
        id,
        number: FIRST_ROOM_NUMBER + number,
        channel: channel.map(|channel| channel.id),
        source: source.to_owned(),
        customer_name: customer_name.to_owned(),
        contact,
        agents: Vec::new(),
        session: None,
        latest: None,
        last_message: Stamp(0),
    }
}
