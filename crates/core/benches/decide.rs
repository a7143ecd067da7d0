//! How long one decision holds the account: desks of 10 to 15,000 agents, where 10 to 500,000 conversations wait, by each
//! strategy, under an empty rulebook and under a full one. A round gives out 256, and of each queue it is shown what a
//! ledger reads of it for that, whatever waits behind.
//!
//! Percentiles come first, of the desks of 1,000 and more. The whole took four minutes on two cores at a load of ten. Any
//! argument is a part of the name of what to time: `cargo bench -p sebastian-core --bench decide -- percentiles`.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sebastian_core::{
    Agent, AgentId, AgentLoad, CapacityPolicyId, ConversationId, FairDistribution, Head, InboxId,
    InboxLimitId, Label, LeaveId, Order, Policy, PolicyId, Presence, QueueKey, RateWindow, Role, RoomId,
    Roster, Rulebook, Seq, Snapshot, Strategy, TeamId, Timestamp, Traits, decide,
    rulebook::{
        AgentRules, AssignmentPolicy, CapacityPolicy, Day, ExclusionRules, InboxLimit, InboxRules, Leave,
        LeaveStatus, Overrides, PriorityBoost, Team,
    },
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const INBOXES: i64 = 4;
const TEAMS: i64 = 4;
/// Conversations that a round gives out at most: as a worker asks for them.
const LIMIT: u32 = 256;
/// Heads of a queue that a ledger reads for such a round.
const REACH: usize = 264;
/// Heads of a queue that it reads at most, where many are passed over.
const REACH_MAX: usize = 4_096;
const STRATEGIES: [(&str, Strategy); 7] = [
    ("balanced", Strategy::Balanced),
    ("round_robin", Strategy::RoundRobin),
    ("least_loaded", Strategy::LeastLoaded),
    ("longest_idle", Strategy::LongestIdle),
    ("first_fit", Strategy::FirstFit),
    ("random", Strategy::Random),
    ("platform", Strategy::Platform),
];

/// Agent `n` of a desk with some away, some in half the inboxes, each at another point of their shift.
fn agent(n: i64) -> Agent {
    let every_other = |inbox: &i64| n % 3 == 0 || (inbox + n) % 2 == 0;
    Agent {
        id: AgentId(n),
        name: String::new(),
        role: Role::Agent,
        presence: if n % 10 == 9 { Presence::Away } else { Presence::Online },
        forced_offline: false,
        inboxes: Some((0..INBOXES).filter(every_other).map(InboxId).collect()),
        reported_load: Some(0),
        listed: false,
        online_since: Some(NOW - Duration::from_secs(n.unsigned_abs() * 7 % 28_800)),
    }
}

fn load(n: i64, open: u32) -> AgentLoad {
    AgentLoad {
        open,
        shift: agent(n).online_since,
        shift_assignments: (n % 23) as u32,
        last_assigned_at: Some(NOW - Duration::from_secs(n.unsigned_abs() * 13 % 3_600)),
        ..AgentLoad::none(AgentId(n))
    }
}

fn head(n: i64) -> Head {
    Head {
        conversation: ConversationId(n),
        room: RoomId::parse(&n.to_string()).expect("a number is an id"),
        inbox: Some(InboxId(n % INBOXES)),
        traits: Traits::default(),
        rank: NOW,
        position: Seq(n),
        opened_at: NOW,
        last_activity_at: NOW,
        refused: Vec::new(),
    }
}

/// The heads that a round is shown when conversations 1 to `waiting`, as `head` makes them, wait in their queues.
fn shown(waiting: i64, reach: usize, head: impl Fn(i64) -> Head) -> Vec<Head> {
    let mut read: BTreeMap<QueueKey, usize> = BTreeMap::new();
    let is_read = |head: &Head| {
        let read = read.entry(head.queue()).or_default();
        *read += 1;
        *read <= reach
    };
    (1..=waiting).map(head).filter(is_read).collect()
}

/// How many conversations agent `n` holds of the three they may.
fn some_room(n: i64) -> u32 {
    (n % 3) as u32
}

fn desk(agents: i64, heads: i64, open: impl Fn(i64) -> u32) -> Snapshot {
    Snapshot {
        roster: Roster::new(1, NOW, (1..=agents).map(agent).collect()).into(),
        loads: (1..=agents).map(|n| (AgentId(n), load(n, open(n)))).collect(),
        inbox_loads: BTreeMap::new(),
        windows: BTreeMap::new(),
        answers: Default::default(),
        waiting: (1..=heads).map(head).collect(),
        rotations: BTreeMap::new(),
        rules: Default::default(),
        limit: LIMIT,
    }
}

fn label(n: i64) -> Label {
    Label::parse(&format!("label-{n}")).expect("a short word is a label")
}

/// A head with all that rules go by: half of them belong to teams, each has two labels, and was refused to somebody.
fn governed_head(n: i64) -> Head {
    let mut head = head(n);
    head.traits.team = (n % 2 == 0).then_some(TeamId(n / 2 % TEAMS));
    head.traits.labels = (n % 3..n % 3 + 2).map(label).collect();
    head.refused = vec![(AgentId(n), NOW + Duration::from_secs(9))];
    head
}

/// The same desk with everything set that can be: each agent is under one of ten capacity policies that limit inboxes and
/// exclude labels, each was given twenty of each inbox in an hour.
fn governed(mut snapshot: Snapshot, strategy: Strategy) -> Snapshot {
    let agents = || snapshot.roster.agents.iter().map(|agent| agent.id);
    let mut rules = Rulebook { version: 1, ..Rulebook::default() };
    for n in 0..INBOXES {
        let overrides = Overrides { max_assignment_limit: Some(9), ..Overrides::default() };
        let inbox = InboxRules { policy: Some(PolicyId(n)), overrides, ..InboxRules::default() };
        rules.inboxes.insert(InboxId(n), inbox);
        rules.assignment_policies.insert(PolicyId(n), assignment_policy(strategy));
    }
    for n in 0..TEAMS {
        rules.teams.insert(TeamId(n), team(agents().filter(|agent| agent.0 % TEAMS != n)));
    }
    for n in 0..10 {
        let limits = (0..INBOXES).map(|inbox| InboxLimit {
            id: InboxLimitId(n * INBOXES + inbox),
            inbox: InboxId(inbox),
            limit: 3,
        });
        rules.capacity_policies.insert(CapacityPolicyId(n), capacity_policy(limits.collect(), label(n)));
    }
    for agent in agents() {
        let capacity_policy = Some(CapacityPolicyId(agent.0 % 10));
        let weight = (agent.0 % 5) as u32;
        rules.agents.insert(agent, AgentRules { capacity_policy, weight, ..AgentRules::default() });
    }
    let places = || {
        let of_agent = |agent: &Agent| {
            let inboxes = agent.inboxes.clone().unwrap_or_default().into_iter().map(Some);
            inboxes.zip(std::iter::repeat(agent.id)).collect::<Vec<_>>()
        };
        snapshot.roster.agents.iter().flat_map(of_agent)
    };
    let given = (0..20).map(|n| (NOW - Duration::from_secs(n * 170), ConversationId(n as i64)));
    // Each map is made at once, as a ledger makes it.
    let windows = places().map(|place| (place, RateWindow::from_stored(given.clone()))).collect();
    let inbox_loads = places().map(|place| (place, (place.1.0 % 2) as u32)).collect();
    (snapshot.windows, snapshot.inbox_loads) = (windows, inbox_loads);
    rules.leaves = (1..=50).map(|n| (LeaveId(n), leave(AgentId(n * 7)))).collect();
    snapshot.rules = rules.into();
    if strategy == Strategy::Platform {
        let proposed =
            snapshot.waiting.iter().map(|head| (head.room.clone(), Some(AgentId(head.conversation.0 * 3))));
        snapshot.answers =
            sebastian_core::Answers { proposed: proposed.collect(), ..Default::default() }.into();
    }
    snapshot
}

fn assignment_policy(strategy: Strategy) -> AssignmentPolicy {
    AssignmentPolicy {
        name: "any".into(),
        description: String::new(),
        enabled: true,
        strategy,
        order: Order::EarliestCreated,
        boost: PriorityBoost::default(),
        fair_distribution: Some(FairDistribution { limit: 25, window: Duration::from_secs(3_600) }),
        exclude_older_than_hours: Some(168),
        capacity: Some(5),
        reassigns_strays: None,
        seed: 7,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn team(members: impl Iterator<Item = AgentId>) -> Team {
    Team {
        name: "any".into(),
        description: String::new(),
        allow_auto_assign: true,
        capacity: Some(4),
        members: members.collect(),
        created_at: NOW,
        updated_at: NOW,
    }
}

fn capacity_policy(inbox_limits: Vec<InboxLimit>, label: Label) -> CapacityPolicy {
    CapacityPolicy {
        name: "any".into(),
        description: String::new(),
        inbox_limits,
        total_limit: Some(6),
        exclusion_rules: ExclusionRules { excluded_labels: vec![label], exclude_older_than_hours: Some(48) },
        created_at: NOW,
        updated_at: NOW,
    }
}

fn leave(agent: AgentId) -> Leave {
    Leave {
        agent,
        start: Day(19_000),
        end: Day(20_000),
        utc_offset_minutes: 420,
        kind: "annual".into(),
        reason: None,
        status: LeaveStatus::Approved,
        approved_at: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    group
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .nresamples(1_000)
        .sample_size(20);
    for agents in [10, 100, 1_000, 15_000] {
        for waiting in [10, 10_000, 100_000] {
            let mut snapshot = desk(agents, 0, some_room);
            snapshot.waiting = shown(waiting, REACH, head);
            for (name, strategy) in STRATEGIES {
                let policy = Policy { strategy, ..Policy::default() };
                let id = BenchmarkId::new(name, format!("{agents}x{waiting}"));
                group.bench_with_input(id, &snapshot, |b, snapshot| {
                    b.iter(|| decide(black_box(snapshot), &policy, NOW));
                });
            }
        }
    }
    let policy = Policy::default();
    let full = desk(1_000, 256, |_| 3);
    group.bench_function("all_full/1000x256", |b| b.iter(|| decide(black_box(&full), &policy, NOW)));
    // Somebody has room, in an inbox nobody waits in: every head is looked at and passed over.
    let mut crowded = desk(1_001, 256, |n| if n == 1_001 { 0 } else { 3 });
    let mut roster = Roster::clone(&crowded.roster);
    roster.agents.iter_mut().filter(|agent| agent.id == AgentId(1_001)).for_each(|agent| {
        agent.inboxes = Some(vec![InboxId(INBOXES)]);
    });
    crowded.roster = roster.into();
    group
        .bench_function("all_passed_over/1000x256", |b| b.iter(|| decide(black_box(&crowded), &policy, NOW)));
    group.finish();
}

/// How often each round is timed for its percentiles.
const TIMED: usize = 500;

/// Prints percentiles, which criterion does not: what an account waits for is the slow decision and not the mean.
fn percentiles(_: &mut Criterion) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let desks =
        [(1_000, 256, REACH), (1_000, 10_000, REACH), (1_000, 10_000, REACH_MAX), (15_000, 500_000, REACH)];
    for (agents, waiting, reach) in desks {
        for (name, strategy) in STRATEGIES {
            let policy = Policy { strategy, ..Policy::default() };
            let deep = if reach > REACH { "_deep" } else { "" };
            for (rules, is_governed) in [("", false), ("_governed", true)] {
                let what = format!("percentiles/{name}/{agents}x{waiting}{deep}{rules}");
                if wanted.is_some_and(|wanted| !what.contains(wanted)) {
                    continue;
                }
                let head: fn(i64) -> Head = if is_governed { governed_head } else { head };
                let mut snapshot = desk(agents, 0, some_room);
                snapshot.waiting = shown(waiting, reach, head);
                let mut snapshot = if is_governed { governed(snapshot, strategy) } else { snapshot };
                // Turns go on from an earlier round.
                let decisions = decide(&snapshot, &policy, NOW).into_iter();
                snapshot.rotations = decisions.filter_map(|decision| decision.rotation).collect();
                print_percentiles(&what, &snapshot, &policy);
            }
        }
    }
}

fn print_percentiles(what: &str, snapshot: &Snapshot, policy: &Policy) {
    let timed = |_| {
        let start = Instant::now();
        let decisions = decide(black_box(snapshot), policy, NOW);
        let took = start.elapsed();
        drop(decisions);
        took
    };
    (0..TIMED / 10).map(timed).for_each(drop);
    let mut took: Vec<Duration> = (0..TIMED).map(timed).collect();
    took.sort_unstable();
    let [least, p50, p99, most] = [0, TIMED / 2, TIMED * 99 / 100, TIMED - 1].map(|at| took[at].as_micros());
    println!("{what}: least {least} µs, p50 {p50} µs, p99 {p99} µs, max {most} µs");
}

criterion_group!(benches, percentiles, bench);
criterion_main!(benches);
