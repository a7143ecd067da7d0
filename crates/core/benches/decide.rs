//! How long one decision holds the account: desks of 10 to 1,000 agents, rounds of 10 and 256 conversations, under an
//! empty rulebook and under a full one. Before that, percentiles of the largest rounds, of as many waiting as the round
//! gives out and of 10,000.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sebastian_core::{
    Agent, AgentId, AgentLoad, CapacityPolicyId, ConversationId, FairDistribution, Head, InboxId,
    InboxLimitId, Label, LeaveId, Order, Policy, PolicyId, Presence, RateWindow, Role, RoomId, Roster,
    Rulebook, Seq, Snapshot, Strategy, TeamId, Timestamp, Traits, decide,
    rulebook::{
        AgentRules, AssignmentPolicy, CapacityPolicy, Day, ExclusionRules, InboxLimit, InboxRules, Leave,
        LeaveStatus, Overrides, PriorityBoost, Team,
    },
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const INBOXES: i64 = 4;
const TEAMS: i64 = 4;
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
        limit: u32::MAX,
    }
}

/// The same desk with everything set that can be: half of the conversations belong to teams, each agent is under one
/// of ten capacity policies that limit inboxes and exclude labels, each was given twenty of each inbox in an hour.
fn governed(mut snapshot: Snapshot, strategy: Strategy) -> Snapshot {
    let agents = || snapshot.roster.agents.iter().map(|agent| agent.id);
    let label = |n: i64| Label::parse(&format!("label-{n}")).expect("a short word is a label");
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
        let theirs = snapshot.roster.agent(agent).and_then(|agent| agent.inboxes.clone()).unwrap_or_default();
        for inbox in theirs.into_iter().map(Some) {
            let given = (0..20).map(|n| (NOW - Duration::from_secs(n * 170), ConversationId(n as i64)));
            snapshot.windows.insert((inbox, agent), RateWindow::from_stored(given));
            snapshot.inbox_loads.insert((inbox, agent), (agent.0 % 2) as u32);
        }
    }
    rules.leaves = (1..=50).map(|n| (LeaveId(n), leave(AgentId(n * 7)))).collect();
    for head in &mut snapshot.waiting {
        let n = head.conversation.0;
        head.traits.team = (n % 2 == 0).then_some(TeamId(n / 2 % TEAMS));
        head.traits.labels = (n % 3..n % 3 + 2).map(label).collect();
        head.refused = vec![(AgentId(n), NOW + Duration::from_secs(9))];
    }
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
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    for (name, strategy) in STRATEGIES {
        let policy = Policy { strategy, ..Policy::default() };
        for (agents, heads) in [(10, 10), (100, 256), (1_000, 10), (1_000, 256)] {
            let snapshot = desk(agents, heads, |n| (n % 3) as u32);
            let id = BenchmarkId::new(name, format!("{agents}x{heads}"));
            group.bench_with_input(id, &snapshot, |b, snapshot| {
                b.iter(|| decide(black_box(snapshot), &policy, NOW));
            });
        }
        let snapshot = governed(desk(1_000, 256, |n| (n % 3) as u32), strategy);
        group.bench_with_input(BenchmarkId::new(name, "1000x256_governed"), &snapshot, |b, snapshot| {
            b.iter(|| decide(black_box(snapshot), &policy, NOW));
        });
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
const TIMED: usize = 1_000;

/// Prints percentiles, which criterion does not: what an account waits for is the slow decision and not the mean.
fn percentiles(_: &mut Criterion) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, strategy) in STRATEGIES {
        for waiting in [256, 10_000] {
            let plain = Snapshot { limit: 256, ..desk(1_000, waiting, |n| (n % 3) as u32) };
            let governed = governed(plain.clone(), strategy);
            for (rules, snapshot) in [("", plain), ("_governed", governed)] {
                let policy = Policy { strategy, ..Policy::default() };
                let what = format!("decide/{name}/1000x{waiting}{rules}");
                if wanted.is_none_or(|wanted| what.contains(wanted)) {
                    print_percentiles(&what, &snapshot, &policy);
                }
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
    let [p50, p99, most] = [TIMED / 2, TIMED * 99 / 100, TIMED - 1].map(|at| took[at].as_micros());
    println!("{what}: p50 {p50} µs, p99 {p99} µs, max {most} µs");
}

criterion_group!(benches, percentiles, bench);
criterion_main!(benches);
