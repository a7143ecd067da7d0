//! A worker's poller and reconciler: the roster, lost webhooks, and what people did in the dashboard.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use sebastian_core::{
    Agent, AgentId, AgentLoad, Closed, ConversationId, EventKind, Hints, Listing, NewEvent, Presence, Role,
    RoomId, Roster, Seen, Source, Timestamp,
};
use sebastian_store::{PauseReason, Store};

use super::{
    DAWN, World,
    history::Whose,
    matcher::Step,
    now,
    plan::Bug,
    platform::{Ms, View},
    weather::Fate,
};

/// The lead's lease, in polls, and how often it is renewed in that time.
const MISSED_POLLS: u64 = 3;
const RENEWALS: u64 = 3;

impl World {
    pub(super) fn lease(&mut self, w: usize) {
        let span = self.plan.poll * MISSED_POLLS;
        self.soon(w, span / RENEWALS, Step::Lease);
        if self.ledger_is_down() {
            self.workers[w].leads = false;
            return;
        }
        let holder = format!("{w}-{}", self.workers[w].life);
        let lease = self.store.lease("leader", &holder, std::time::Duration::from_millis(span));
        let leads = now(lease).unwrap_or(false);
        let led = std::mem::replace(&mut self.workers[w].leads, leads);
        if leads && !led {
            self.note(Whose::Worker(w), "leads", 0);
            self.ask_roster(w);
            self.look_for_lost(w);
        }
    }

    pub(super) fn poll(&mut self, w: usize) {
        self.soon(w, self.plan.poll, Step::Poll);
        if !self.workers[w].leads {
            self.workers[w].doubt = None;
            self.refresh(w);
        }
        let age = self.time(self.now).since(self.workers[w].roster.polled_at).as_millis();
        if self.workers[w].leads || age > u128::from(self.plan.poll * 2) {
            self.ask_roster(w);
        }
    }

    /// Takes up what the leader published.
    fn refresh(&mut self, w: usize) {
        let cache_is_down = !self.is_calm && self.dice.one_in(20);
        if cache_is_down {
            self.fault("roster cache down");
        }
        let roster = &mut self.workers[w].roster;
        if !cache_is_down && self.cache.version > roster.version {
            *roster = self.cache.clone();
        }
    }

    fn ask_roster(&mut self, w: usize) {
        if self.is_held(w) || self.ledger_is_down() {
            return;
        }
        let (polled_at, span) = (self.time(self.now), self.latency());
        self.soon(w, span, Step::Polled(polled_at));
    }

    /// What keeps an answer from being one.
    fn read_fails(&mut self, w: usize) -> bool {
        match self.fate_of_a_read() {
            Fate::Fine | Fate::Refused { .. } => return false,
            Fate::Busy => self.back_off(w, 1_000, PauseReason::Busy),
            Fate::Denied => self.back_off(w, 5_000, PauseReason::Denied),
            Fate::Lost | Fate::Unheard | Fate::Late | Fate::Failed { .. } => {}
        }
        true
    }

    pub(super) fn polled(&mut self, w: usize, polled_at: Timestamp) {
        if self.read_fails(w) || self.ledger_is_down() {
            return;
        }
        let mut agents = self.agents_as_told();
        if !self.is_calm && self.dice.one_in(60) {
            self.fault("roster cut short");
            agents.truncate(self.dice.index(agents.len()));
        }
        let before = self.workers[w].roster.clone();
        let is_short = agents.len() < before.agents.len();
        if is_short && self.workers[w].doubt != Some(agents.len()) {
            self.workers[w].doubt = Some(agents.len());
            return;
        }
        self.workers[w].doubt = None;
        for agent in &mut agents {
            let known = before.agent(agent.id).and_then(|known| known.online_since);
            let is_online = agent.presence == Presence::Online;
            agent.online_since = is_online.then(|| known.unwrap_or(polled_at));
        }
        let version = u64::try_from(polled_at.as_millis() - DAWN).unwrap_or(0).max(before.version + 1);
        let mut roster = Roster::new(version, polled_at, agents);
        let loads = now(self.store.loads(self.account, polled_at)).unwrap_or_default();
        let unexplained = unexplained(&roster, &loads);
        for agent in roster.agents.iter_mut().filter(|agent| unexplained.contains(&agent.id)) {
            agent.reported_load = None;
        }
        self.publish(w, roster);
        for agent in unexplained {
            let (asked_at, span) = (self.time(self.now), self.latency());
            self.soon(w, span, Step::Listed { agent, asked_at, by_poll: true });
        }
    }

    /// Everybody as the platform shows them; counts lag.
    fn agents_as_told(&mut self) -> Vec<Agent> {
        let at = self.now.saturating_sub(self.lag());
        let told = self.platform.people.iter().map(|person| Agent {
            id: person.id,
            name: String::new(),
            role: Role::Agent,
            presence: if person.is_online { Presence::Online } else { Presence::Offline },
            forced_offline: false,
            inboxes: Some(person.inboxes.clone()),
            reported_load: u32::try_from(self.platform.served_by(person.id, at).len()).ok(),
            listed: false,
            online_since: None,
        });
        told.collect()
    }

    fn publish(&mut self, w: usize, roster: Roster) {
        let roster = Arc::new(roster);
        if self.workers[w].leads && roster.version > self.cache.version {
            self.cache = roster.clone();
        }
        self.workers[w].roster = roster;
        if !self.is_at_rest {
            self.ring_own(w);
        }
    }

    pub(super) fn listed(&mut self, w: usize, agent: AgentId, asked_at: Timestamp, by_poll: bool) {
        if self.bug == Some(Bug::NoHealing) || self.read_fails(w) || self.ledger_is_down() {
            return;
        }
        let at = self.now.saturating_sub(self.lag());
        let served = self.platform.served_by(agent, at);
        let row = |room: usize| (self.platform.rooms[room].id.clone(), Some(self.platform.rooms[room].inbox));
        let listing = Listing { agent, asked_at, rooms: served.into_iter().map(row).collect() };
        let Ok(adopted) = now(self.store.adopt(self.account, &listing)) else { return };
        if adopted.opened + adopted.taken > 0 {
            self.note(Whose::Agent(agent), "adopts", i64::from(adopted.opened + adopted.taken));
        }
        if !(adopted.elsewhere.is_empty() && adopted.missing.is_empty()) {
            self.stir();
        }
        for (room, from) in adopted.elsewhere {
            self.move_if_gone(w, &room, from, agent);
        }
        for (id, room) in adopted.missing {
            self.read_back(w, id, &room, asked_at);
        }
        let now = self.now;
        self.workers[w].listed_at.insert(agent, now);
        if by_poll {
            let mut roster = Roster::clone(&self.workers[w].roster);
            roster.version += 1;
            roster.agents.iter_mut().filter(|one| one.id == agent).for_each(|one| one.listed = true);
            self.publish(w, roster);
        }
    }

    fn move_if_gone(&mut self, w: usize, room: &RoomId, from: AgentId, to: AgentId) {
        if self.read_fails(w) {
            return;
        }
        let at = self.now.saturating_sub(self.lag());
        let Some(index) = self.platform.index(room) else { return };
        if self.platform.rooms[index].seen_at(at) != View::Served(from) {
            let moved = now(self.store.transfer(self.account, room, from, to)).unwrap_or(false);
            if moved {
                self.note(Whose::Room(index), "is served by", to.0);
                self.stir();
            }
        }
    }

    pub(super) fn read_back(&mut self, w: usize, id: ConversationId, room: &RoomId, asked_at: Timestamp) {
        if self.read_fails(w) || self.ledger_is_down() {
            return;
        }
        let at = self.now.saturating_sub(self.lag());
        let Some(index) = self.platform.index(room) else { return };
        let seen = match self.platform.rooms[index].seen_at(at) {
            View::Served(_) => Seen::Served,
            View::Waiting => Seen::Waiting,
            View::Resolved => Seen::Over(Closed::Resolved),
            View::Unknown => Seen::Over(Closed::RoomGone),
        };
        if now(self.store.verified(self.account, id, seen, asked_at)).is_ok() {
            self.watch.history.is_held_in(id, index);
            self.note(Whose::Conversation(id), "read back, is served", i64::from(seen == Seen::Served));
        }
        self.ring_own(w);
    }

    pub(super) fn reconcile(&mut self, w: usize) {
        self.soon(w, self.plan.reconcile, Step::Reconcile);
        if self.workers[w].leads {
            self.look_for_lost(w);
        }
    }

    fn look_for_lost(&mut self, w: usize) {
        if self.is_held(w) {
            return;
        }
        let span = self.latency();
        self.soon(w, span, Step::Waiting);
        for (nth, agent) in self.doubtful(w).into_iter().enumerate() {
            let (asked_at, first) = (self.time(self.now), self.latency());
            let span = first + 200 * (nth as Ms / 4);
            self.soon(w, span, Step::Listed { agent, asked_at, by_poll: false });
        }
    }

    /// Accepts an event for every room that waits on the platform and that the ledger does not know of.
    pub(super) fn find_waiting(&mut self, w: usize) {
        if self.read_fails(w) || self.ledger_is_down() {
            return;
        }
        let at = self.now.saturating_sub(self.lag());
        let waiting = self.platform.waiting(at);
        let ids: Vec<RoomId> = waiting.iter().map(|room| self.platform.rooms[*room].id.clone()).collect();
        let unknown = now(self.store.unknown_rooms(self.account, &ids)).unwrap_or_default();
        let lost = waiting.into_iter().rev().filter(|room| unknown.contains(&self.platform.rooms[*room].id));
        let event = |room: usize| {
            let found = &self.platform.rooms[room];
            let kind = EventKind::Allocate {
                inbox: Some(found.inbox),
                latest_service: None,
                hints: Hints::default(),
            };
            NewEvent { room: found.id.clone(), kind, source: Source::Reconcile }
        };
        let events: Vec<NewEvent> = lost.map(event).collect();
        if !events.is_empty() {
            self.fault("lost room found again");
            self.note(Whose::World, "found lost rooms", i64::try_from(events.len()).unwrap_or(0));
            self.accept(&events);
        }
        self.ring_own(w);
    }

    /// Whose rooms to list: counts apart first, then those not looked at for longest.
    fn doubtful(&self, w: usize) -> Vec<AgentId> {
        let roster = &self.workers[w].roster;
        let loads = now(self.store.loads(self.account, roster.polled_at)).unwrap_or_default();
        let held = |agent| loads.get(&agent).map_or(0, |load| load.open);
        let apart = |agent: &Agent| agent.reported_load.map_or(0, |count| count.abs_diff(held(agent.id)));
        let mut agents: Vec<(u32, AgentId)> =
            roster.agents.iter().map(|agent| (apart(agent), agent.id)).collect();
        let listed_at = &self.workers[w].listed_at;
        agents.sort_by_key(|(apart, agent)| (Reverse(*apart), listed_at.get(agent).copied(), *agent));
        agents.into_iter().map(|(_, agent)| agent).collect()
    }
}

/// Agents whom the platform credits with more than the ledger can explain.
fn unexplained(roster: &Roster, loads: &BTreeMap<AgentId, AgentLoad>) -> Vec<AgentId> {
    let exceeds = |agent: &&Agent| {
        let none = AgentLoad::none(agent.id);
        let load = loads.get(&agent.id).unwrap_or(&none);
        agent.reported_load.is_some_and(|reported| load.excess(reported) > 0)
    };
    roster.agents.iter().filter(exceeds).map(|agent| agent.id).collect()
}
