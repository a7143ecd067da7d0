//! The checks that run along: at each decision, at each fold, at each send, each minute. They know the rules of the world
//! by themselves and look at no code of the product to tell what may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sebastian_core::{
    AgentId, Conversation, ConversationId, FairDistribution, InboxId, NewEvent, Order, Presence, Priority,
    RoomId, Seq, Snapshot, State, Timestamp,
    invariants::{self, Taken, Violation},
    rulebook::LeaveStatus,
};
use sebastian_store::{Reservation, Selection, Store};

use super::{
    Event, Figures, VIOLATIONS_MAX, World,
    history::History,
    now,
    people::vip,
    platform::{Ms, Platform, Session},
};

/// Most conversations a list holds; no desk here comes near it.
pub(super) const LIST_MAX: u32 = 10_000;

/// A chat that was accepted and that nobody serves must be in the ledger after this.
const NOTICED: Ms = 60_000;

/// Conversations given, each with when.
type Given = Vec<(Timestamp, ConversationId)>;

/// What the checks remember.
pub(super) struct Watch {
    /// Broken promises, each with how many notes were written when it was seen.
    pub broken: Vec<(usize, Violation)>,
    pub history: History,
    pub figures: Figures,
    /// Webhooks as accepted, with when.
    pub log: Vec<NewEvent>,
    /// Rooms with events nobody folded yet.
    unfolded: BTreeSet<RoomId>,
    /// Calls under way that will take effect: room, session, agent.
    sent: BTreeMap<u64, (usize, u64, AgentId)>,
    last_sent: u64,
    /// Conversations given, by inbox and agent, without those that came to nothing.
    given: BTreeMap<(Option<InboxId>, AgentId), Given>,
}

/// A conversation that was assigned before events were folded.
pub(super) struct Served {
    room: RoomId,
    id: ConversationId,
    agent: AgentId,
    opened_at: Timestamp,
}

impl Watch {
    pub fn new() -> Self {
        Self {
            broken: Vec::new(),
            history: History::default(),
            figures: Figures::default(),
            log: Vec::new(),
            unfolded: BTreeSet::new(),
            sent: BTreeMap::new(),
            last_sent: 0,
            given: BTreeMap::new(),
        }
    }

    pub fn breaks(&mut self, broken: impl IntoIterator<Item = Violation>) {
        let left = VIOLATIONS_MAX.saturating_sub(self.broken.len());
        let seen = self.history.notes().len();
        self.broken.extend(broken.into_iter().take(left).map(|one| (seen, one)));
    }

    pub fn accepted(&mut self, events: &[NewEvent]) {
        for event in events {
            self.unfolded.insert(event.room.clone());
            self.log.push(event.clone());
        }
    }

    /// A call goes out that will take effect. No other agent's call for the session may be on its way then; but a process
    /// that was stopped between its last look at the clock and the call is beyond anybody's rule, and is left to the
    /// platform's compare-and-set.
    pub fn sends(&mut self, platform: &Platform, room: usize, agent: AgentId, is_late: bool) -> u64 {
        self.last_sent += 1;
        let session = platform.rooms[room].session().map_or(0, |session| session.service);
        if !is_late && session != 0 {
            let under_way = self.sent.values().filter(|(r, s, _)| (*r, *s) == (room, session));
            let under_way = under_way.map(|(.., agent)| *agent);
            let broken = invariants::one_call_each(&platform.rooms[room].id, agent, under_way);
            self.breaks(broken);
        }
        if !is_late {
            self.sent.insert(self.last_sent, (room, session, agent));
        }
        self.last_sent
    }

    pub fn landed(&mut self, nth: u64) {
        self.sent.remove(&nth);
    }

    /// What was given came to nothing: it counts in no window.
    pub fn came_to_nothing(&mut self, id: ConversationId) {
        self.given.values_mut().for_each(|given| given.retain(|(_, other)| *other != id));
    }

    pub fn given_within(
        &self,
        inbox: Option<InboxId>,
        agent: AgentId,
        span: Duration,
        at: Timestamp,
    ) -> usize {
        let given = self.given.get(&(inbox, agent)).map_or(&[][..], Vec::as_slice);
        given.iter().rev().take_while(|(when, _)| at.since(*when) < span).count()
    }
}

impl World {
    pub(super) fn unresolved(&self) -> Vec<Conversation> {
        let page = now(self.store.list(self.account, &Selection::Unresolved, LIST_MAX));
        let listed = page.map(|page| page.conversations).unwrap_or_default();
        listed.into_iter().map(|listed| listed.conversation).collect()
    }

    /// What holds of windows in an inbox.
    pub(super) fn fair(&self, snapshot: &Snapshot, inbox: Option<InboxId>) -> Option<FairDistribution> {
        let said = inbox.and_then(|inbox| snapshot.rules.inboxes.get(&inbox));
        said.and_then(|said| said.overrides.fair_distribution).or(self.plan.policy.fair_distribution)
    }

    pub(super) fn capacity(&self, rules: &sebastian_core::Rulebook, agent: AgentId) -> Option<u32> {
        let said = rules.agents.get(&agent);
        let under = said.and_then(|said| rules.capacity_policies.get(&said.capacity_policy?));
        let own = said.and_then(|said| said.capacity).or(under.and_then(|policy| policy.total_limit));
        own.or(self.plan.policy.capacity)
    }

    /// Where a conversation stands in line.
    fn place(&self, one: &Conversation) -> (Timestamp, Seq) {
        let ahead = match (self.plan.policy.order, one.traits.priority) {
            (Order::Priority, Some(Priority::Medium)) => 300,
            (Order::Priority, Some(Priority::High)) => 1_800,
            (Order::Priority, Some(Priority::Urgent)) => 7_200,
            (Order::Priority, Some(Priority::Low) | None)
            | (Order::EarliestCreated | Order::LongestWaiting, _) => 0,
        };
        (one.opened_at - Duration::from_secs(ahead), one.position)
    }

    /// I3, I4, I6 and I10, of one decision.
    pub(super) fn check_round(&mut self, snapshot: &Snapshot, reserved: &[Reservation]) {
        if reserved.is_empty() {
            return;
        }
        let at = self.time(self.now);
        let all: BTreeMap<ConversationId, Conversation> =
            self.unresolved().into_iter().map(|one| (one.id, one)).collect();
        let mut held: BTreeMap<AgentId, u32> = BTreeMap::new();
        for agent in all.values().filter_map(Conversation::slot) {
            *held.entry(agent).or_default() += 1;
        }
        let taken = reserved.iter().filter_map(|one| {
            let conversation = all.get(&one.attempt.conversation)?;
            Some(Taken {
                conversation: conversation.id,
                place: self.place(conversation),
                agent: one.agent,
                held: held.get(&one.agent).copied().unwrap_or(0),
                capacity: self.capacity(&snapshot.rules, one.agent),
            })
        });
        let taken: Vec<Taken> = taken.collect();
        self.watch.figures.reservations += taken.len() as u64;
        let mut broken = invariants::taken_within_capacity(&taken);
        broken
            .extend(invariants::only_eligible(&taken, |agent, id| self.why_not(snapshot, agent, &all[&id])));
        for one in &taken {
            let inbox = all[&one.conversation].inbox;
            let given = self.watch.given.entry((inbox, one.agent)).or_default();
            // A conversation counts once, by when it was given last.
            given.retain(|(_, other)| *other != one.conversation);
            given.push((at, one.conversation));
            let times: Vec<Timestamp> = given.iter().map(|(when, _)| *when).collect();
            if let Some(rule) = self.fair(snapshot, inbox) {
                let tail = times.len().saturating_sub(rule.limit as usize + 1);
                broken.extend(invariants::window_kept(one.agent, &times[tail..], rule));
            }
        }
        let left = all.values().filter(|one| matches!(one.state, State::Waiting { park: None }));
        let left: Vec<_> = left.map(|one| (one.id, self.place(one))).collect();
        broken.extend(invariants::none_overtaken(&taken, &left, |agent, id| {
            let one = &all[&id];
            let full = self.fair(snapshot, one.inbox).is_some_and(|rule| {
                self.watch.given_within(one.inbox, agent, rule.window, at) >= rule.limit as usize
            });
            !full && self.why_not(snapshot, agent, one).is_none()
        }));
        self.watch.breaks(broken);
    }

    /// Why `agent` must not be given a conversation, load and window apart.
    fn why_not(&self, snapshot: &Snapshot, id: AgentId, one: &Conversation) -> Option<&'static str> {
        let at = self.time(self.now);
        let Some(agent) = snapshot.roster.agent(id) else { return Some("not in the roster") };
        let rules = &snapshot.rules;
        let inbox = one.inbox.and_then(|inbox| rules.inboxes.get(&inbox));
        let pauses = [
            rules.paused.as_ref(),
            inbox.and_then(|inbox| inbox.paused.as_ref()),
            rules.agents.get(&id).and_then(|said| said.paused.as_ref()),
        ];
        let said = rules.agents.get(&id);
        let is_excluded = said.is_some_and(|said| said.capacity_policy.is_some());
        let today = at.as_millis() / 86_400_000;
        let is_away = rules.leaves.values().any(|leave| {
            leave.agent == id && leave.status == LeaveStatus::Approved && i64::from(leave.start.0) == today
        });
        if agent.presence != Presence::Online {
            Some("not online")
        } else if !one.inbox.is_some_and(|inbox| agent.inboxes.iter().flatten().any(|one| *one == inbox)) {
            Some("not in the inbox")
        } else if pauses.into_iter().flatten().any(|paused| paused.until.is_none_or(|until| until > at)) {
            Some("paused")
        } else if at.since(snapshot.roster.polled_at) > self.plan.policy.staleness_max {
            Some("known from a roster too old")
        } else if one.refused.iter().any(|(who, until)| *who == id && *until > at) {
            Some("refused for it")
        } else if is_excluded && one.traits.labels.contains(&vip()) {
            Some("excluded by their capacity policy")
        } else if is_away {
            Some("on leave")
        } else if inbox.is_some_and(|inbox| inbox.manual) {
            Some("not dealt by hand of its inbox")
        } else {
            None
        }
    }

    /// Who serves the rooms whose events are about to be folded.
    pub(super) fn before_fold(&mut self) -> Vec<Served> {
        let rooms = std::mem::take(&mut self.watch.unfolded);
        let served = rooms.into_iter().filter_map(|room| {
            let found = now(self.store.latest_in(self.account, &room)).ok().flatten()?;
            let State::Assigned { agent, .. } = found.state else { return None };
            Some(Served { room, id: found.id, agent, opened_at: found.opened_at })
        });
        served.collect()
    }

    /// I9: a fold closes no conversation whose session goes on.
    pub(super) fn check_fold(&mut self, before: Vec<Served>) {
        for Served { room, id, agent, opened_at } in before {
            let Ok(Some(found)) = now(self.store.latest_in(self.account, &room)) else { continue };
            let is_closed = found.id != id || matches!(found.state, State::Resolved { .. });
            let session = self.platform.index(&room).and_then(|room| self.platform.rooms[room].session());
            let is_the_same = |session: &&Session| {
                session.agent == Some(agent) && self.time(session.opened_at) <= opened_at
            };
            if is_closed && session.filter(is_the_same).is_some() {
                self.watch.breaks(invariants::one_decrement_each([(&room, 1, 0)], []));
            }
        }
    }

    /// What must hold at any time: each minute.
    pub(super) fn check(&mut self) {
        self.after(60_000, Event::Check);
        let all = self.unresolved();
        let mut held: BTreeMap<AgentId, u32> = BTreeMap::new();
        for one in &all {
            if let Some(agent) = one.slot() {
                *held.entry(agent).or_default() += 1;
            }
        }
        let open = all.iter().filter(|one| one.is_open()).map(|one| &one.room);
        let twice = invariants::one_open_each(open);
        let loads = now(self.store.loads(self.account, self.time(self.now))).unwrap_or_default();
        let counters =
            loads.values().map(|load| (load.agent, load.open, held.get(&load.agent).copied().unwrap_or(0)));
        let apart = invariants::one_decrement_each([], counters);
        let calm =
            |one: &Conversation| one.is_assigned() && one.verify_at.is_none() && one.snoozed_until.is_none();
        self.is_at_rest = all.iter().all(calm) && self.watch.unfolded.is_empty();
        self.watch.breaks(twice);
        self.watch.breaks(apart);
        self.check_lost();
    }

    /// I1: a chat that was accepted and that nobody serves is known to the ledger.
    fn check_lost(&mut self) {
        let ripe = |since: Ms| self.now.saturating_sub(since) >= NOTICED;
        let waits = |session: &&Session| {
            session.agent.is_none() && ripe(session.changed_at) && session.accepted_at.is_some_and(ripe)
        };
        let rooms = self.platform.rooms.iter().filter(|room| room.session().filter(waits).is_some());
        let rooms: Vec<RoomId> = rooms.map(|room| room.id.clone()).collect();
        if rooms.is_empty() {
            return;
        }
        let lost = now(self.store.unknown_rooms(self.account, &rooms)).unwrap_or_default();
        self.watch.breaks(invariants::none_lost(&rooms, |room| !lost.contains(room)));
    }
}
