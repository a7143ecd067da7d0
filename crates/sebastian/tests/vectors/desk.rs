//! A desk to play rows on: the ledger in memory on a clock of its own, one account, a roster.
//!
//! Everything goes in as it does in production: events, listings, amendments of the rulebook. What the platform would
//! remember is for the caller to keep.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use sebastian_core::{
    AccountId, Agent, AgentId, Answers, Conversation, ConversationId, EventKind, Hints, InboxId, Listing,
    NewEvent, Outcome, Policy, Presence, QueueKey, Role, RoomId, Roster, Rotation, Rulebook, Settlement,
    Snapshot, Source, State, Status, Strategy, TeamId, Timestamp, Timing, Update, Verdict, decide::decide,
};
use sebastian_store::{AuditEntry, Decide, Facts, MemoryStore, Recorded, Reservation, Store, StoreError};

/// More than any row holds.
pub const NO_LIMIT: u32 = 100_000;

pub struct Desk {
    pub store: Arc<MemoryStore>,
    pub account: AccountId,
    pub policy: Policy,
    pub agents: BTreeMap<AgentId, Agent>,
    clock: Arc<AtomicI64>,
}

/// What one run gave out.
#[derive(Debug, Default)]
pub struct Run {
    /// In the order given.
    pub given: Vec<(RoomId, AgentId)>,
    /// Conversations a decision was made about.
    pub examined: usize,
    /// The last round had more to do at once.
    pub more: bool,
}

/// What the platform makes of being told of an agent.
pub type Platform<'a> = &'a dyn Fn(&RoomId, AgentId) -> Verdict;

/// The ledger in memory never waits for anything.
pub fn now<T>(answer: impl Future<Output = Result<T, StoreError>>) -> T {
    answer
        .now_or_never()
        .expect("the ledger in memory answers at once")
        .expect("the ledger in memory answers")
}

impl Desk {
    pub fn new(policy: Policy, start: Timestamp) -> Self {
        let clock = Arc::new(AtomicI64::new(start.as_millis()));
        let read = clock.clone();
        // Listings are believed at once: the rows' platforms do not lag.
        let timing = Timing { settle_window: Duration::ZERO, ..Timing::default() };
        let clock_of_ledger = move || Timestamp::from_millis(read.load(Ordering::SeqCst));
        let store = Arc::new(MemoryStore::with_clock(timing, clock_of_ledger));
        let account = now(store.open_account("vectors", "1"));
        Self { store, account, policy, agents: BTreeMap::new(), clock }
    }

    pub fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::SeqCst))
    }

    pub fn set_time(&self, at: Timestamp) {
        self.clock.store(at.as_millis(), Ordering::SeqCst);
    }

    /// Makes what `change` leaves the next version of the rulebook.
    pub fn amend(&self, change: impl FnOnce(&mut Rulebook) + Send) {
        let mut change = Some(change);
        let mut once = |rules: &mut Rulebook, _: Timestamp| {
            change.take().into_iter().for_each(|change| change(rules));
            vec![AuditEntry { action: "set", resource: "row", id: String::new(), before: None, after: None }]
        };
        now(self.store.amend(self.account, "row", &mut once));
    }

    pub fn rules(&self) -> Arc<Rulebook> {
        now(self.store.rulebook(self.account))
    }

    fn accept(&self, room: &RoomId, kind: EventKind, source: Source) {
        now(self.store.accept(self.account, &[NewEvent { room: room.clone(), kind, source }]));
    }

    /// A customer writes. `tags` become labels.
    pub fn customer_writes(
        &self,
        room: &RoomId,
        inbox: Option<InboxId>,
        tags: BTreeSet<sebastian_core::Label>,
    ) {
        let hints = Hints { source: None, tags };
        self.accept(room, EventKind::Allocate { inbox, latest_service: None, hints }, Source::Webhook);
    }

    pub fn resolve(&self, room: &RoomId) {
        self.accept(room, EventKind::Resolve { service: None }, Source::Webhook);
    }

    pub fn update(&self, room: &RoomId, update: Update) {
        self.accept(room, EventKind::Update(update), Source::Operator);
    }

    pub fn set_team(&self, room: &RoomId, team: Option<i64>) {
        self.update(room, Update { team: Some(team.map(TeamId)), ..Update::default() });
    }

    pub fn set_status(&self, room: &RoomId, status: Status) {
        self.update(room, Update { status: Some(status), ..Update::default() });
    }

    /// Lets the ledger take in what was accepted, and give out nothing.
    pub fn fold(&self) {
        self.round(0, &|_, _| Verdict::Assigned);
    }

    /// The platform shows that `agent` serves `room`.
    pub fn show(&self, room: &RoomId, agent: AgentId, inbox: Option<InboxId>) {
        self.fold();
        let held = self.latest(room).and_then(|one| one.is_assigned().then(|| one.holder()).flatten());
        match held {
            Some(from) => drop(now(self.store.transfer(self.account, room, from, agent))),
            None => {
                let rooms = vec![(room.clone(), inbox)];
                let listing = Listing { agent, asked_at: self.time(), rooms };
                now(self.store.adopt(self.account, &listing));
            }
        }
    }

    /// Gives out up to `limit` conversations, as a worker does: round after round, until nothing is left to do at once.
    pub fn run(&self, limit: u32) -> Run {
        self.run_on(limit, NO_LIMIT, &|_, _| Verdict::Assigned)
    }

    /// The same on a platform with a will of its own, `batch` conversations a round.
    pub fn run_on(&self, limit: u32, batch: u32, platform: Platform<'_>) -> Run {
        let mut run = Run::default();
        for _ in 0..NO_LIMIT {
            let given = u32::try_from(run.given.len()).unwrap_or(u32::MAX);
            let round = self.round(limit.saturating_sub(given).min(batch), platform);
            run.given.extend(round.given);
            run.examined += round.examined;
            run.more = round.more;
            if !round.more || run.given.len() >= limit as usize {
                break;
            }
        }
        run
    }

    fn round(&self, limit: u32, platform: Platform<'_>) -> Run {
        let agents = self.agents.values().cloned().collect();
        let roster = Arc::new(Roster::new(1, self.time(), agents));
        let examined = Mutex::new(0);
        let rule = |snapshot: &Snapshot, at: Timestamp| {
            let decisions = decide(snapshot, &self.policy, at);
            *examined.lock().expect("nobody else counts") += decisions.len();
            decisions
        };
        let (policy, answers) = (&self.policy, Arc::new(Answers::default()));
        let request = Decide { account: self.account, roster, answers, policy, limit, record: true };
        let decided = now(self.store.decide(&request, &rule));
        let settled = decided.reserved.iter().filter(|reserved| self.tell(reserved, platform));
        let given: Vec<_> = settled.map(|reserved| (reserved.room.clone(), reserved.agent)).collect();
        let refused = given.len() < decided.reserved.len();
        let examined = examined.into_inner().expect("nobody else counts");
        Run { given, examined, more: (decided.more || refused) && limit > 0 }
    }

    /// Carries a reservation to the platform. False when nothing came of it.
    fn tell(&self, reserved: &Reservation, platform: Platform<'_>) -> bool {
        let verdict = platform(&reserved.room, reserved.agent);
        let attempt = reserved.attempt;
        if verdict == Verdict::Assigned {
            let confirmed = now(self.store.confirm(self.account, &[attempt]));
            return confirmed == [attempt];
        }
        let settlement = Settlement { conversation: attempt.conversation, attempt: attempt.number, verdict };
        now(self.store.settle(self.account, &[settlement]));
        false
    }

    pub fn latest(&self, room: &RoomId) -> Option<Conversation> {
        now(self.store.latest_in(self.account, room))
    }

    /// Who serves a room that is not resolved.
    pub fn serves(&self, room: &RoomId) -> Option<AgentId> {
        self.latest(room).filter(Conversation::is_assigned)?.holder()
    }

    pub fn waits(&self, room: &RoomId) -> bool {
        self.latest(room).is_some_and(|one| matches!(one.state, State::Waiting { .. }))
    }

    pub fn facts(&self) -> Facts {
        now(self.store.facts(self.account, self.time(), &self.policy))
    }

    /// How the newest assignment of a conversation was decided, if it was.
    pub fn decision(&self, id: ConversationId) -> Option<Recorded> {
        now(self.store.decisions(self.account, id, 1)).pop()
    }

    /// Gives the rotation of `inbox` this line, the first to be served next: they join in that order, and each is served
    /// once, long before anything else happens. Nothing else of it counts by then.
    pub fn line_up(&mut self, inbox: InboxId, line: &[AgentId]) {
        let agents = std::mem::take(&mut self.agents);
        for (index, turn) in line.iter().enumerate() {
            let so_far = line[..=index].iter().map(|id| {
                let presence = if id == turn { Presence::Online } else { Presence::Offline };
                (*id, agent(*id, Role::Agent, presence, [inbox]))
            });
            self.agents = so_far.collect();
            let room = room(&format!("line-{index}"));
            self.customer_writes(&room, Some(inbox), BTreeSet::new());
            let served = self.run(1).given;
            assert_eq!(served, [(room.clone(), *turn)], "nobody else is there");
            self.resolve(&room);
            self.fold();
        }
        self.agents = agents;
    }

    /// The rotation of a queue as the next decision will see it.
    pub fn rotation(&self, key: QueueKey) -> Rotation {
        self.store.rotation(self.account, key)
    }
}

/// In which order `members` would be served by `rotation`, were all of them free.
pub fn line(rotation: &Rotation, members: &[AgentId], policy: &Policy) -> Vec<AgentId> {
    let inbox = InboxId(1);
    let everybody = members.iter().map(|id| agent(*id, Role::Agent, Presence::Online, [inbox]));
    let picks =
        Picks { agents: everybody.collect(), rotation: rotation.clone(), policy: round_robin(policy) };
    picks.several(members.len()).0.into_iter().flatten().collect()
}

/// The policy with a round robin and no limits.
pub fn round_robin(policy: &Policy) -> Policy {
    Policy { strategy: Strategy::RoundRobin, capacity: None, fair_distribution: None, ..policy.clone() }
}

/// Picks of one queue, without a ledger.
pub struct Picks {
    pub agents: Vec<Agent>,
    pub rotation: Rotation,
    pub policy: Policy,
}

impl Picks {
    /// Whom each of `count` conversations goes to, and the rotation after.
    pub fn several(&self, count: usize) -> (Vec<Option<AgentId>>, Rotation) {
        let at = Timestamp::from_millis(0);
        let key = QueueKey { inbox: Some(InboxId(1)), team: None };
        let heads: Vec<_> = (1..).take(count).map(|number| head(number, key.inbox, at)).collect();
        let snapshot = Snapshot {
            rotations: BTreeMap::from([(key, self.rotation.clone())]),
            waiting: heads,
            ..snapshot(self.agents.clone(), at)
        };
        let decisions = decide(&snapshot, &self.policy, at);
        let rotation = decisions.iter().rev().find_map(|one| one.rotation.clone());
        let chosen = decisions.iter().map(|one| match one.outcome {
            Outcome::Reserve { agent, .. } => Some(agent),
            Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
        });
        let mut chosen: Vec<_> = chosen.collect();
        chosen.resize(count, None);
        (chosen, rotation.map_or_else(|| self.rotation.clone(), |(_, rotation)| rotation))
    }
}

/// A snapshot of these agents with nothing to do.
pub fn snapshot(agents: Vec<Agent>, at: Timestamp) -> Snapshot {
    Snapshot {
        roster: Roster::new(1, at, agents).into(),
        loads: BTreeMap::new(),
        inbox_loads: BTreeMap::new(),
        windows: BTreeMap::new(),
        answers: Arc::default(),
        waiting: Vec::new(),
        rotations: BTreeMap::new(),
        rules: Arc::default(),
        limit: NO_LIMIT,
    }
}

/// A conversation that waits since `at`.
pub fn head(number: i64, inbox: Option<InboxId>, at: Timestamp) -> sebastian_core::Head {
    sebastian_core::Head {
        conversation: ConversationId(number),
        room: room(&number.to_string()),
        inbox,
        traits: sebastian_core::Traits::default(),
        rank: at,
        position: sebastian_core::Seq(number),
        opened_at: at,
        last_activity_at: at,
        refused: Vec::new(),
    }
}

/// An agent who holds nothing, as far as the platform counts.
pub fn agent(
    id: AgentId,
    role: Role,
    presence: Presence,
    inboxes: impl IntoIterator<Item = InboxId>,
) -> Agent {
    Agent {
        id,
        name: format!("agent {id}"),
        role,
        presence,
        forced_offline: false,
        inboxes: Some(inboxes.into_iter().collect()),
        reported_load: Some(0),
        listed: true,
        online_since: None,
    }
}

/// When nothing that a row tells of has happened yet.
pub fn at_rest() -> Timestamp {
    Timestamp::default()
}

pub fn room(name: &str) -> RoomId {
    RoomId::parse(name).expect("rows name rooms in few letters")
}
