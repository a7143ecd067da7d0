//! Random sequences of calls: PostgreSQL and SQLite must answer as the ledger in memory does, call by call.
//!
//! A failure prints the sequence and the command that replays it.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sebastian_core::{
    AgentId, Astray, Closed, FairDistribution, InboxId, Listing, NewEvent, Order, Presence, Priority, RoomId,
    Rulebook, Seen, Settlement, Status, Strategy, TeamId, Update, Verdict,
    rulebook::{CapacityPolicy, ExclusionRules, InboxRules, Overrides, Team},
};
use sebastian_store::{Attempt, Keep, PauseReason, Reservation};

use crate::desk::*;

const SEQUENCES: u64 = 240;
const CALLS: usize = 40;
const ROOMS: usize = 6;
const LANES: u64 = 3;
const TEAM: TeamId = TeamId(5);

/// One call, by what a caller would know. Attempts count among those the ledger gave out so far.
#[derive(Debug, Clone)]
pub enum Call {
    Accept(Vec<NewEvent>),
    Decide(Box<Crew>, u32),
    Confirm(Vec<usize>),
    Settle(Vec<(usize, Verdict)>),
    TakeOver(u32),
    ClaimSuspects(u32),
    /// What was seen so long ago.
    Verified(usize, Seen, Duration),
    Adopt {
        agent: AgentId,
        ago: Duration,
        rooms: Vec<(RoomId, Option<InboxId>)>,
    },
    Transfer(RoomId, AgentId, AgentId),
    Pause(Duration, PauseReason),
    Resume,
    Lease(&'static str, Duration),
    /// Attempts whose agents are gone.
    PutBack(Vec<(usize, AgentId)>),
    /// What operators set: the order, the members of the team, a label that is kept from an agent.
    Amend(Order, Vec<AgentId>, bool),
    Purge(Duration),
    Pass(Duration),
}

fn a_crew(rng: &mut StdRng) -> Crew {
    let mut crew = Crew::of(3).capacity(rng.random_range(1..=2));
    if rng.random_bool(0.5) {
        crew.policy.strategy = Strategy::RoundRobin;
    }
    for agent in &mut crew.agents {
        agent.inboxes = Some(if rng.random_bool(0.7) { vec![SALES, SUPPORT] } else { vec![SALES] });
        agent.presence = if rng.random_bool(0.8) { Presence::Online } else { Presence::Offline };
        agent.reported_load = rng.random_bool(0.9).then(|| rng.random_range(0..3));
        agent.listed = rng.random_bool(0.5);
        agent.online_since = rng.random_bool(0.5).then_some(sebastian_core::Timestamp::from_millis(1));
    }
    for n in 0..ROOMS {
        if rng.random_bool(0.3) {
            crew.answers.agents.insert(room(n), vec![agent(rng.random_range(1..=3))]);
        }
    }
    crew
}

fn an_event(rng: &mut StdRng) -> NewEvent {
    let (room, n) = (room(rng.random_range(0..ROOMS)), rng.random_range(0..4));
    match rng.random_range(0..10) {
        0..3 => allocate_in(&room, [None, Some(SALES), Some(SUPPORT)][rng.random_range(0..3)]),
        3..6 => allocate_naming(&room, n, rng.random_bool(0.7)),
        6 => resolve(&room),
        7 => update(&room, an_update(rng)),
        _ => resolve_session(&room, n),
    }
}

fn an_update(rng: &mut StdRng) -> Update {
    let some = |rng: &mut StdRng| rng.random_bool(0.3);
    let label = sebastian_core::Label::parse("vip").unwrap();
    let priorities = [None, Some(Priority::Low), Some(Priority::Urgent)];
    let statuses = [Status::Open, Status::Pending, Status::Snoozed];
    Update {
        labels: some(rng).then(|| rng.random_bool(0.5).then_some(label).into_iter().collect()),
        priority: some(rng).then(|| priorities[rng.random_range(0..3)]),
        team: some(rng).then(|| rng.random_bool(0.7).then_some(TEAM)),
        language: None,
        status: some(rng).then(|| statuses[rng.random_range(0..3)]),
        snoozed_until: some(rng)
            .then(|| sebastian_core::Timestamp::from_millis(1_700_000_000_000 + rng.random_range(0..90_000))),
        unassign: rng.random_bool(0.1),
        retry: rng.random_bool(0.2),
    }
}

/// Sets what [`Call::Amend`] says.
fn amend(rules: &mut Rulebook, order: Order, members: &[AgentId], keeps_vip: bool) {
    let never = sebastian_core::Timestamp::default();
    let team = Team {
        name: "Billing".into(),
        description: String::new(),
        allow_auto_assign: true,
        capacity: Some(2),
        members: members.iter().copied().collect(),
        created_at: never,
        updated_at: never,
    };
    rules.teams.insert(TEAM, team);
    let overrides = Overrides {
        order: Some(order),
        fair_distribution: keeps_vip.then_some(FairDistribution { limit: 2, window: SECOND * 20 }),
        max_assignment_limit: (order == Order::Priority).then_some(1),
        ..Overrides::default()
    };
    rules.inboxes.insert(SALES, InboxRules { overrides, ..InboxRules::default() });
    let policy = CapacityPolicy {
        name: "Juniors".into(),
        description: String::new(),
        inbox_limits: Vec::new(),
        total_limit: None,
        exclusion_rules: ExclusionRules {
            excluded_labels: sebastian_core::Label::parse("vip")
                .ok()
                .filter(|_| keeps_vip)
                .into_iter()
                .collect(),
            exclude_older_than_hours: None,
        },
        created_at: never,
        updated_at: never,
    };
    let id = sebastian_core::CapacityPolicyId(1);
    rules.capacity_policies.insert(id, policy);
    for agent in 1..=3 {
        rules.agents.entry(AgentId(agent)).or_default().capacity_policy = Some(id);
    }
}

fn a_verdict(rng: &mut StdRng) -> Verdict {
    match rng.random_range(0..5) {
        0..2 => Verdict::Assigned,
        2..4 => Verdict::Released { refused: rng.random_bool(0.5) },
        _ => Verdict::Closed(Closed::ServedElsewhere),
    }
}

/// How far back an attempt lies: mostly the latest.
fn an_attempt(rng: &mut StdRng) -> usize {
    if rng.random_bool(0.7) { rng.random_range(0..3) } else { rng.random_range(0..20) }
}

fn an_agent(rng: &mut StdRng) -> AgentId {
    AgentId(rng.random_range(1..=3))
}

pub fn a_call(rng: &mut StdRng) -> Call {
    let some = rng.random_range(1..4);
    match rng.random_range(0..100) {
        0..26 => Call::Accept((0..some).map(|_| an_event(rng)).collect()),
        26..50 => Call::Decide(a_crew(rng).into(), rng.random_range(1..4)),
        50..60 => Call::Confirm((0..some).map(|_| an_attempt(rng)).collect()),
        60..70 => Call::Settle((0..some).map(|_| (an_attempt(rng), a_verdict(rng))).collect()),
        70..74 => Call::TakeOver(rng.random_range(1..3)),
        74..77 => Call::ClaimSuspects(rng.random_range(1..3)),
        77..81 => {
            let seen = [Seen::Served, Seen::Waiting, Seen::Over(Closed::Resolved)];
            Call::Verified(an_attempt(rng), seen[rng.random_range(0..3)], SECOND * rng.random_range(0..2))
        }
        81 => Call::PutBack((0..some).map(|_| (an_attempt(rng), an_agent(rng))).collect()),
        82..84 => {
            let orders = [Order::EarliestCreated, Order::LongestWaiting, Order::Priority];
            let members = (1..=3).map(AgentId).filter(|_| rng.random_bool(0.6)).collect();
            Call::Amend(orders[rng.random_range(0..3)], members, rng.random_bool(0.5))
        }
        84..86 => {
            let (agent, ago) = (an_agent(rng), SECOND * rng.random_range(0..3));
            let rooms = (0..some).map(|_| (room(rng.random_range(0..ROOMS)), Some(SALES)));
            Call::Adopt { agent, ago, rooms: rooms.collect() }
        }
        86..89 => Call::Transfer(room(rng.random_range(0..ROOMS)), an_agent(rng), an_agent(rng)),
        89 => Call::Pause(SECOND * rng.random_range(1..5), PauseReason::Busy),
        90 => Call::Resume,
        91 => Call::Lease(["a", "b"][rng.random_range(0..2)], SECOND),
        92 => Call::Purge(SECOND * rng.random_range(0..30)),
        _ => Call::Pass([SECOND, OVERDUE, SETTLED, FORGIVEN][rng.random_range(0..4)]),
    }
}

/// A ledger and what its caller remembers.
pub struct Caller {
    pub ledger: Ledger,
    pub desk: Desk,
    pub attempts: Vec<Attempt>,
}

impl Caller {
    /// The `back`-th latest attempt; one nobody has while there is none.
    fn attempt(&self, back: usize) -> Attempt {
        let nobodys = Attempt { conversation: sebastian_core::ConversationId(i64::MAX), number: 1 };
        self.attempts.iter().rev().nth(back).copied().unwrap_or(nobodys)
    }

    /// What a reservation says, apart from the ledger's own number for the conversation.
    fn told(&mut self, mut reserved: Vec<Reservation>, in_order: bool) -> String {
        if !in_order {
            reserved.sort_by_key(|one| one.attempt.conversation);
        }
        self.attempts.extend(reserved.iter().map(|one| one.attempt));
        let words = reserved.into_iter().map(|one| {
            let place = (one.attempt.number, one.takeovers, one.opened_at, one.reserved_at);
            format!("{} to {} {place:?}; ", one.room, one.agent)
        });
        words.collect()
    }

    pub async fn call(&mut self, call: &Call) -> String {
        let (store, account) = (self.desk.store.clone(), self.desk.account);
        match call {
            Call::Accept(events) => format!("{:?}", store.accept(account, events).await.unwrap()),
            Call::Decide(crew, limit) => {
                let mut decided = self.desk.decide(crew, *limit).await;
                let reserved = self.told(std::mem::take(&mut decided.reserved), true);
                format!("{decided:?} {reserved}")
            }
            Call::Confirm(backs) => {
                let attempts: Vec<Attempt> = backs.iter().map(|back| self.attempt(*back)).collect();
                let confirmed = store.confirm(account, &attempts).await.unwrap();
                format!("{:?}", backs.map_confirmed(&attempts, &confirmed))
            }
            Call::Settle(verdicts) => {
                let settlement = |(back, verdict): &(usize, Verdict)| {
                    let Attempt { conversation, number } = self.attempt(*back);
                    Settlement { conversation, attempt: number, verdict: *verdict }
                };
                let settlements: Vec<Settlement> = verdicts.iter().map(settlement).collect();
                format!("{:?}", store.settle(account, &settlements).await.unwrap())
            }
            Call::TakeOver(limit) => {
                let taken = store.take_over(account, *limit).await.unwrap();
                self.told(taken, false)
            }
            Call::ClaimSuspects(limit) => {
                let mut suspects = store.claim_suspects(account, *limit).await.unwrap();
                suspects.sort_by_key(|one| one.conversation);
                format!("{:?}", suspects.iter().map(|one| (&one.room, one.claimed_at)).collect::<Vec<_>>())
            }
            Call::Verified(back, seen, ago) => {
                let asked_at = self.desk.now() - *ago;
                let id = self.attempt(*back).conversation;
                format!("{:?}", store.verified(account, id, *seen, asked_at).await.unwrap())
            }
            Call::Adopt { agent, ago, rooms } => {
                let (asked_at, rooms) = (self.desk.now() - *ago, rooms.clone());
                let listing = Listing { agent: *agent, asked_at, rooms };
                let adopted = store.adopt(account, &listing).await.unwrap();
                let missing: Vec<&RoomId> = adopted.missing.iter().map(|(_, room)| room).collect();
                format!("{} {} {:?} {missing:?}", adopted.opened, adopted.taken, adopted.elsewhere)
            }
            Call::Transfer(room, from, to) => {
                format!("{:?}", store.transfer(account, room, *from, *to).await.unwrap())
            }
            Call::Pause(span, reason) => {
                format!("{:?}", store.pause(account, *span, *reason).await.unwrap())
            }
            Call::Resume => format!("{:?}", store.resume(account).await.unwrap()),
            Call::Lease(holder, span) => format!("{:?}", store.lease("one", holder, *span).await.unwrap()),
            Call::PutBack(strays) => {
                let whys = [Astray::Gone, Astray::Offline];
                let stray = |(back, agent): &(usize, AgentId)| {
                    (self.attempt(*back).conversation, *agent, whys[back % 2])
                };
                let strays: Vec<_> = strays.iter().map(stray).collect();
                format!("{:?}", store.put_back(account, &strays).await.unwrap())
            }
            Call::Amend(order, members, keeps_vip) => {
                let mut change = |rules: &mut Rulebook, _| {
                    amend(rules, *order, members, *keeps_vip);
                    vec![entry("1")]
                };
                format!("{:?}", store.amend(account, "test", &mut change).await.unwrap())
            }
            Call::Purge(keep) => format!(
                "{:?}",
                store.purge(account, Keep { ledger: *keep, decisions: *keep }, 1_000).await.unwrap()
            ),
            Call::Pass(span) => format!("{:?}", self.desk.pass(*span).await),
        }
    }

    /// Everything that can be asked.
    pub async fn state(&self) -> String {
        let (store, account) = (&self.desk.store, self.desk.account);
        let mut state = format!("{:?}\n", self.desk.counts().await);
        for (_, load) in store.loads(account, self.desk.now()).await.unwrap() {
            state += &format!("{load:?}\n");
        }
        for n in 0..ROOMS {
            if let Some(mut conversation) = self.desk.find(&room(n)).await {
                conversation.id = sebastian_core::ConversationId(0);
                state += &format!("{conversation:?}\n");
            }
        }
        let facts = store.facts(account, self.desk.now(), &Crew::of(0).policy).await.unwrap();
        let given = facts
            .windows
            .iter()
            .map(|(key, window)| (key, window.iter().map(|(at, _)| at).collect::<Vec<_>>()));
        state += &format!("{:?} {:?}\n", facts.inbox_loads, given.collect::<Vec<_>>());
        for attempt in self.attempts.iter().rev().take(3) {
            for made in store.decisions(account, attempt.conversation, 2).await.unwrap() {
                let seen = (made.snapshot.waiting.len(), made.snapshot.rules.version);
                state += &format!("{} {} {} {:?} {seen:?}\n", made.attempt, made.agent, made.at, made.waited);
            }
        }
        let rooms: Vec<RoomId> = (0..ROOMS).map(room).collect();
        let mut unknown = store.unknown_rooms(account, &rooms).await.unwrap();
        unknown.sort();
        let first = store.first_reservations(account, 100).await.unwrap();
        state + &format!("unknown {unknown:?}, first {first:?}")
    }
}

/// Which of the asked-for attempts were confirmed, whatever the order of the answer.
trait MapConfirmed {
    fn map_confirmed(&self, asked: &[Attempt], confirmed: &[Attempt]) -> Vec<(usize, bool)>;
}

impl MapConfirmed for Vec<usize> {
    fn map_confirmed(&self, asked: &[Attempt], confirmed: &[Attempt]) -> Vec<(usize, bool)> {
        self.iter().zip(asked).map(|(back, attempt)| (*back, confirmed.contains(attempt))).collect()
    }
}

async fn run(seed: u64, memory: &mut Caller, others: &mut [Caller; 2]) {
    let mut rng = StdRng::seed_from_u64(seed);
    for caller in std::iter::once(&mut *memory).chain(&mut *others) {
        caller.attempts.clear();
        let account = caller.desk.store.open_account("qiscus", &format!("seed {seed}")).await;
        caller.desk.account = account.unwrap();
    }
    let mut calls = Vec::new();
    for n in 1..=CALLS {
        let call = a_call(&mut rng);
        calls.push(format!("{call:?}"));
        let replay = |ledger: Ledger| {
            let calls = calls.join("\n");
            format!(
                "{ledger:?} after\n{calls}\nreplay: SEBASTIAN_SEED={seed} cargo test -p sebastian-store model"
            )
        };
        let expected = memory.call(&call).await;
        for other in &mut *others {
            assert_eq!(other.call(&call).await, expected, "the answer of {}", replay(other.ledger));
        }
        if n % 4 == 0 {
            let expected = memory.state().await;
            for other in &*others {
                assert_eq!(other.state().await, expected, "the state of {}", replay(other.ledger));
            }
        }
    }
}

async fn run_all(seeds: Vec<u64>) {
    let caller = async |ledger: Ledger| Caller { ledger, desk: ledger.desk().await, attempts: Vec::new() };
    let mut memory = caller(Ledger::Memory).await;
    let mut others = [caller(Ledger::Postgres).await, caller(Ledger::Sqlite).await];
    for seed in seeds {
        run(seed, &mut memory, &mut others).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_ledger_answers_as_the_model_does() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("SEBASTIAN_SEED") {
        return run_all(vec![seed]).await;
    }
    let last = number("SEBASTIAN_SEQUENCES").unwrap_or(SEQUENCES);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        lanes.spawn(run_all((0..last).filter(|seed| seed % LANES == lane).collect()));
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
}
