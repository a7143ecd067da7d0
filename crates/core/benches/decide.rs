//! How long one decision holds the account: desks of 10 to 1,000 agents, rounds of 10 and 256 conversations.

use std::{collections::BTreeMap, hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sebastian_core::{
    Agent, AgentId, AgentLoad, ConversationId, Head, InboxId, Policy, Presence, Role, RoomId, Roster, Seq,
    Snapshot, Strategy, Timestamp, decide,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const INBOXES: i64 = 4;

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
        position: Seq(n),
        opened_at: NOW,
        refused: Vec::new(),
    }
}

fn desk(agents: i64, heads: i64, open: impl Fn(i64) -> u32) -> Snapshot {
    Snapshot {
        roster: Roster::new(1, NOW, (1..=agents).map(agent).collect()).into(),
        loads: (1..=agents).map(|n| (AgentId(n), load(n, open(n)))).collect(),
        answers: Default::default(),
        waiting: (1..=heads).map(head).collect(),
        rotations: BTreeMap::new(),
        limit: u32::MAX,
    }
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    for (name, strategy) in [("balanced", Strategy::Balanced), ("round_robin", Strategy::RoundRobin)] {
        let policy = Policy { strategy, ..Policy::default() };
        for (agents, heads) in [(10, 10), (10, 256), (100, 10), (100, 256), (1_000, 10), (1_000, 256)] {
            let snapshot = desk(agents, heads, |n| (n % 3) as u32);
            group.bench_with_input(
                BenchmarkId::new(name, format!("{agents}x{heads}")),
                &snapshot,
                |b, snapshot| {
                    b.iter(|| decide(black_box(snapshot), &policy, NOW));
                },
            );
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

criterion_group!(benches, bench);
criterion_main!(benches);
