//! A ledger in miniature, and builders for what a decision looks at.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use proptest::test_runner::{Config, RngSeed};
use sebastian_core::{
    Adopted, Agent, AgentId, AgentLoad, Astray, Changes, Conversation, ConversationId, Event, EventKind,
    Head, Hints, InboxId, LatestService, Listing, Order, Origin, Outcome, Park, ParkReason, Policy, Presence,
    Role, RoomId, Rooms, Roster, Rulebook, Seen, Seq, ServiceId, Settled, Settlement, Snapshot, Source,
    State, Status, Timestamp, Timing, Traits, Turn, Update, Verdict, decide,
};

pub use crate::rules::*;

pub const ANA: AgentId = AgentId(1);
pub const BUDI: AgentId = AgentId(2);
pub const SECOND: Duration = Duration::from_secs(1);
/// Long enough for every list and count of the platform to have caught up.
pub const SETTLED: Duration = Duration::from_secs(11);

pub fn room(n: usize) -> RoomId {
    RoomId::parse(&format!("room-{n}")).expect("a short name is an id")
}

pub fn session(n: usize) -> ServiceId {
    ServiceId::parse(&format!("session-{n}")).expect("a short name is an id")
}

/// An allocation that says nothing about sessions.
pub fn allocate() -> EventKind {
    EventKind::Allocate { inbox: None, latest_service: None, hints: Hints::default() }
}

/// The allocation of a customer whose session `n` is over.
pub fn allocate_after(n: usize) -> EventKind {
    let latest = LatestService { id: session(n), resolved: true };
    EventKind::Allocate { inbox: None, latest_service: Some(latest), hints: Hints::default() }
}

/// An allocation that names the session under way.
pub fn allocate_in(n: usize) -> EventKind {
    let latest = LatestService { id: session(n), resolved: false };
    EventKind::Allocate { inbox: None, latest_service: Some(latest), hints: Hints::default() }
}

pub fn resolve() -> EventKind {
    EventKind::Resolve { service: None }
}

pub fn resolve_session(n: usize) -> EventKind {
    EventKind::Resolve { service: Some(session(n)) }
}

/// `cases` of a property, or as many as `PROPTEST_CASES` says, if more. A failing test shows its output, and thus
/// the command that runs the same cases again.
pub fn cases(cases: u32) -> Config {
    let config = Config::default();
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().hash_one(()),
    };
    println!("again: PROPTEST_RNG_SEED={seed} cargo test -p sebastian-core --test main");
    Config {
        cases: config.cases.max(cases),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..config
    }
}

/// A reservation, as the caller of the platform remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub conversation: ConversationId,
    pub number: u32,
}

/// Applies the core's rules the way a store does, and checks after each that its books add up.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub now: Timestamp,
    pub rules: Arc<Rulebook>,
    pub policy: Policy,
    /// Agents who have set themselves away for long.
    pub absent: BTreeSet<AgentId>,
    /// What the last rule changed.
    pub changed: bool,
    pub conversations: BTreeMap<ConversationId, Conversation>,
    closed_services: BTreeSet<(RoomId, ServiceId)>,
    open: BTreeMap<AgentId, i32>,
    assignments: BTreeMap<AgentId, i32>,
    turns: BTreeMap<AgentId, i64>,
    /// Turns that may still be given back.
    charged: BTreeMap<ConversationId, (AgentId, Turn)>,
    last_seq: i64,
    last_conversation: i64,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            now: Timestamp::from_millis(1_700_000_000_000),
            rules: Arc::default(),
            policy: Policy::default(),
            absent: BTreeSet::new(),
            changed: false,
            conversations: BTreeMap::new(),
            closed_services: BTreeSet::new(),
            open: BTreeMap::new(),
            assignments: BTreeMap::new(),
            turns: BTreeMap::new(),
            charged: BTreeMap::new(),
            last_seq: 0,
            last_conversation: 0,
        }
    }

    /// A ledger under `rules`, and under `policy` where they say nothing.
    pub fn under(rules: Rulebook, policy: Policy) -> Self {
        let mut ledger = Self::new();
        (ledger.rules, ledger.policy) = (rules.into(), policy);
        ledger
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Accepts and folds one event; returns its place.
    pub fn fold(&mut self, room: &RoomId, kind: EventKind) -> Seq {
        self.fold_batch([(room, kind)])
    }

    /// Accepts events and folds them in one transaction; returns the last one's place.
    pub fn fold_batch<'a>(&mut self, events: impl IntoIterator<Item = (&'a RoomId, EventKind)>) -> Seq {
        let mut accepted = Vec::new();
        for (room, kind) in events {
            self.last_seq += 1;
            let (seq, received_at) = (Seq(self.last_seq), self.now);
            accepted.push(Event { seq, received_at, room: room.clone(), kind, source: Source::Webhook });
        }
        self.transact(|rooms| accepted.iter().for_each(|event| rooms.apply(event)));
        Seq(self.last_seq)
    }

    /// Takes a slot of `agent` for the conversation that waits in `room`.
    pub fn reserve(&mut self, room: &RoomId, agent: AgentId) -> Attempt {
        self.reserve_for(room, agent, 0)
    }

    /// As [`Self::reserve`], at the price of a round-robin turn.
    pub fn reserve_for(&mut self, room: &RoomId, agent: AgentId, turn_charge: i64) -> Attempt {
        let deadline = self.now + Timing::default().reservation;
        let id = self.open_in(room).id;
        let conversation = self.conversations.get_mut(&id).expect("the open conversation is held");
        assert!(
            matches!(conversation.state, State::Waiting { .. }),
            "only a waiting conversation is reserved"
        );
        conversation.state = State::Reserved { agent, deadline };
        conversation.attempt += 1;
        let turn = Turn { inbox: conversation.inbox, team: conversation.traits.team, charge: turn_charge };
        conversation.turn = Some(turn);
        let number = conversation.attempt;
        self.charged.insert(id, (agent, turn));
        *self.open.entry(agent).or_default() += 1;
        *self.assignments.entry(agent).or_default() += 1;
        *self.turns.entry(agent).or_default() -= turn_charge;
        Attempt { conversation: id, number }
    }

    pub fn settle(&mut self, attempt: Attempt, verdict: Verdict) -> Settled {
        let settlement = Settlement { conversation: attempt.conversation, attempt: attempt.number, verdict };
        self.transact(|rooms| rooms.settle(&settlement))
    }

    /// Reserves `agent` for the conversation that waits in `room`, and the platform agrees.
    pub fn assign(&mut self, room: &RoomId, agent: AgentId) {
        let attempt = self.reserve(room, agent);
        assert_eq!(self.settle(attempt, Verdict::Assigned), Settled::Applied);
    }

    /// `agent`'s rooms as the platform lists them now.
    pub fn adopt(&mut self, agent: AgentId, rooms: &[RoomId]) -> Adopted {
        let asked_at = self.now;
        self.adopt_as_of(asked_at, agent, rooms)
    }

    /// `agent`'s rooms as the platform listed them when asked at `asked_at`.
    pub fn adopt_as_of(&mut self, asked_at: Timestamp, agent: AgentId, rooms: &[RoomId]) -> Adopted {
        let rooms = rooms.iter().map(|room| (room.clone(), None)).collect();
        self.adopt_listed(Listing { agent, asked_at, rooms })
    }

    /// `agent`'s rooms, all of `inbox`, as the platform lists them now.
    pub fn adopt_in(&mut self, inbox: InboxId, agent: AgentId, rooms: &[RoomId]) -> Adopted {
        let rooms = rooms.iter().map(|room| (room.clone(), Some(inbox))).collect();
        self.adopt_listed(Listing { agent, asked_at: self.now, rooms })
    }

    fn adopt_listed(&mut self, listing: Listing) -> Adopted {
        let asked_at = listing.asked_at;
        let since = asked_at - Timing::default().settle_window;
        let closed: HashSet<RoomId> = self
            .conversations
            .values()
            .filter(|one| matches!(one.state, State::Resolved { at, .. } if at > since))
            .map(|one| one.room.clone())
            .collect();
        self.transact(|rooms| rooms.adopt(&listing, &closed))
    }

    pub fn transfer(&mut self, room: &RoomId, from: AgentId, to: AgentId) -> bool {
        self.transact(|rooms| rooms.transfer(room, from, to))
    }

    /// A read-back of `room`, for the conversation open there, that began after all that has happened.
    pub fn read_back(&mut self, room: &RoomId, seen: Seen) -> Settled {
        self.read_back_as_of(room, seen, self.now + Duration::from_millis(1))
    }

    /// A read-back of `room` that began at `asked_at`.
    pub fn read_back_as_of(&mut self, room: &RoomId, seen: Seen, asked_at: Timestamp) -> Settled {
        let id = self.open_in(room).id;
        self.transact(|rooms| rooms.verified(id, seen, asked_at))
    }

    /// Old closed sessions are purged, whatever became of their rooms.
    pub fn purge_closed_sessions(&mut self) {
        self.closed_services.clear();
    }

    /// Applies a rule to every unresolved conversation and writes what it changed.
    pub fn transact<T>(&mut self, rule: impl FnOnce(&mut Rooms) -> T) -> T {
        // Stores promise no order.
        let unresolved =
            self.conversations.values().rev().filter(|one| is_unresolved(one)).cloned().collect();
        let away = |id: &AgentId| Agent { presence: Presence::AwayAndReassigning, ..agent(id.0) };
        let roster = Roster::new(1, self.now, self.absent.iter().map(away).collect());
        let closed = self.closed_services.iter().cloned();
        let mut rooms = Rooms::new(self.now, Timing::default(), unresolved, closed)
            .governed_by(self.rules.clone(), &self.policy)
            .with_roster(&roster);
        let answer = rule(&mut rooms);
        self.write(rooms.finish());
        self.audit();
        answer
    }

    fn write(&mut self, changes: Changes) {
        assert!(changes.opened.is_sorted_by_key(|one| one.position), "opened out of order: {changes:#?}");
        self.changed = changes != Changes::default();
        for conversation in changes.updated {
            self.conversations.insert(conversation.id, conversation);
        }
        for mut conversation in changes.opened {
            self.last_conversation += 1;
            conversation.id = ConversationId(self.last_conversation);
            self.conversations.insert(conversation.id, conversation);
        }
        self.closed_services.extend(changes.closed_services);
        for (agent, change) in changes.agents {
            *self.open.entry(agent).or_default() += change.open;
            *self.assignments.entry(agent).or_default() += change.assignments;
        }
        for refund in changes.refunds {
            let charged = self.charged.remove(&refund.conversation);
            assert_eq!(charged, Some((refund.agent, refund.turn)), "a turn is given back once");
            *self.turns.entry(refund.agent).or_default() += refund.turn.charge;
        }
    }

    /// What must hold after every transaction.
    fn audit(&self) {
        let mut held: BTreeMap<AgentId, i32> = self.open.keys().map(|agent| (*agent, 0)).collect();
        let mut open_rooms = HashSet::new();
        for conversation in self.unresolved() {
            if let Some(agent) = conversation.slot() {
                *held.entry(agent).or_default() += 1;
            }
            audit_status(conversation);
            let is_first = !conversation.is_open() || open_rooms.insert(&conversation.room);
            assert!(is_first, "two conversations are open in {}: {self:#?}", conversation.room);
        }
        self.audit_order();
        assert_eq!(self.open, held, "a counter is apart from the slots held: {self:#?}");
        assert!(self.open.values().all(|open| *open >= 0), "a counter is below zero: {self:#?}");
    }

    /// Who came first opened first, so that a queue sorted by when its conversations opened is sorted by place too.
    fn audit_order(&self) {
        let dealt = self.conversations.values().filter(|one| one.origin == Origin::Event);
        let mut line: Vec<_> = dealt.map(|one| (one.position, one.opened_at, one.rank)).collect();
        line.sort_unstable();
        assert!(line.is_sorted_by_key(|(_, opened_at, _)| *opened_at), "out of order: {self:#?}");
        let is_fifo = self.policy.order == Order::EarliestCreated;
        assert!(!is_fifo || line.iter().all(|(_, opened_at, rank)| opened_at == rank), "{self:#?}");
    }

    /// An operator's change of the conversation open in `room`.
    pub fn update(&mut self, room: &RoomId, update: Update) {
        self.fold(room, EventKind::Update(update));
    }

    /// Timers run: what was parked or snoozed until now is taken up.
    pub fn wake(&mut self) {
        self.transact(Rooms::wake);
        let now = self.now;
        for conversation in self.conversations.values_mut() {
            if matches!(conversation.state, State::Waiting { park: Some(park) } if park.until <= now) {
                conversation.state = State::Waiting { park: None };
                conversation.verify_at = None;
            }
        }
        self.audit();
    }

    /// A decision parks the conversation that waits in `room`.
    pub fn park(&mut self, room: &RoomId, park: Park) {
        let id = self.open_in(room).id;
        let conversation = self.conversations.get_mut(&id).expect("the open conversation is held");
        conversation.state = State::Waiting { park: Some(park) };
        self.audit();
    }

    /// `agent` is gone: what they serve in `room` goes back to its place.
    pub fn put_back(&mut self, room: &RoomId, agent: AgentId) -> bool {
        let id = self.open_in(room).id;
        self.transact(|rooms| rooms.put_back_stray(id, agent, Astray::Gone))
    }

    pub fn unresolved(&self) -> impl Iterator<Item = &Conversation> {
        self.conversations.values().filter(|one| is_unresolved(one))
    }

    pub fn find_open(&self, room: &RoomId) -> Option<&Conversation> {
        self.unresolved().find(|one| one.is_open() && one.room == *room)
    }

    /// The open conversation of `room`.
    pub fn open_in(&self, room: &RoomId) -> &Conversation {
        self.find_open(room).unwrap_or_else(|| panic!("nothing is open in {room}: {self:#?}"))
    }

    /// How many conversations `room` ever had.
    pub fn opened_in(&self, room: &RoomId) -> usize {
        self.conversations.values().filter(|one| one.room == *room).count()
    }

    /// Slots the counters say `agent` holds.
    pub fn load(&self, agent: AgentId) -> i32 {
        self.open.get(&agent).copied().unwrap_or(0)
    }

    /// Assignments the counters say `agent` was given.
    pub fn assignments(&self, agent: AgentId) -> i32 {
        self.assignments.get(&agent).copied().unwrap_or(0)
    }

    /// What `agent` paid for turns and was not given back.
    pub fn turns_paid(&self, agent: AgentId) -> i64 {
        -self.turns.get(&agent).copied().unwrap_or(0)
    }

    /// Everything that can still make a difference, for telling states apart.
    pub fn essence(&self) -> String {
        let since = self.now - Timing::default().settle_window;
        let listed_yet = self.conversations.values().filter_map(|one| match one.state {
            State::Resolved { at, .. } if at > since => Some((&one.room, at)),
            _ => None,
        });
        let listed_yet: Vec<_> = listed_yet.collect();
        let unresolved: Vec<_> = self.unresolved().collect();
        format!("{:?}{:?}{:?}{unresolved:?}{listed_yet:?}", self.now, self.closed_services, self.open)
    }
}

/// A conversation is put off exactly when its status says so, and only an assigned one has its slot freed.
fn audit_status(one: &Conversation) {
    let put_off = one.status != Status::Open;
    match one.state {
        State::Waiting { park } => {
            let sits_out =
                park.is_some_and(|park| matches!(park.why, ParkReason::Pending | ParkReason::Snoozed));
            assert_eq!(sits_out, put_off, "{one:#?}");
            assert_eq!(one.is_doubted(), one.verify_at.is_some(), "{one:#?}");
        }
        State::Assigned { .. } => assert!(put_off || !one.slot_freed, "{one:#?}"),
        State::Reserved { .. } | State::Closing { .. } | State::Resolved { .. } => {}
    }
    assert!(!one.slot_freed || one.is_assigned(), "{one:#?}");
    assert!(one.status == Status::Snoozed || one.snoozed_until.is_none(), "{one:#?}");
    assert!(one.replaces.is_none() || !one.is_assigned(), "{one:#?}");
}

fn is_unresolved(conversation: &Conversation) -> bool {
    !matches!(conversation.state, State::Resolved { .. })
}

/// The instant decisions are made at.
pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub const SALES: InboxId = InboxId(7);
pub const SUPPORT: InboxId = InboxId(8);

/// Agent `id`: online, in [`SALES`], holding nothing by the platform's count.
pub fn agent(id: i64) -> Agent {
    Agent {
        id: AgentId(id),
        name: String::new(),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        inboxes: Some(vec![SALES]),
        reported_load: Some(0),
        listed: false,
        online_since: None,
    }
}

/// The conversation in place `n`, waiting in [`SALES`].
pub fn head(n: i64) -> Head {
    Head {
        conversation: ConversationId(n),
        room: RoomId::parse(&format!("room-{n}")).expect("a short name is an id"),
        inbox: Some(SALES),
        traits: Traits::default(),
        rank: NOW,
        position: Seq(n),
        opened_at: NOW,
        last_activity_at: NOW,
        refused: Vec::new(),
    }
}

pub fn snapshot(agents: impl IntoIterator<Item = Agent>, waiting: Vec<Head>) -> Snapshot {
    Snapshot {
        roster: Roster::new(1, NOW, agents.into_iter().collect()).into(),
        loads: BTreeMap::new(),
        inbox_loads: BTreeMap::new(),
        windows: BTreeMap::new(),
        answers: Default::default(),
        waiting,
        rotations: BTreeMap::new(),
        rules: Default::default(),
        limit: u32::MAX,
    }
}

/// What the ledger knows of an agent who holds `open` conversations.
pub fn load(agent: i64, open: u32) -> (AgentId, AgentLoad) {
    (AgentId(agent), AgentLoad { open, ..AgentLoad::none(AgentId(agent)) })
}

/// The outcomes of a decision under the default policy.
pub fn outcomes(snapshot: &Snapshot) -> Vec<Outcome> {
    decide(snapshot, &Policy::default(), NOW).into_iter().map(|decision| decision.outcome).collect()
}

pub fn to(agent: i64) -> Outcome {
    Outcome::Reserve { agent: AgentId(agent), turn_charge: 0, window: None }
}
