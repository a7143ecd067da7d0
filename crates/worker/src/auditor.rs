//! The audit: looks at a sample of the ledger every so often, and counts what breaks a promise.
//!
//! It reads only, and stops nothing. What may be a matter of two readings that do not belong together counts when two
//! looks in a row show the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use metrics::counter;
use sebastian_core::{
    AgentId, Answers, Conversation, FairDistribution, Head, Outcome, QueueKey, Rejection, RoomId, Snapshot,
    State, Timestamp, chain, decide,
    invariants::{self, Taken, Violation},
};
use sebastian_store::{Recorded, Selection, StoreError};
use tracing::{debug, error};

use crate::{desk::Desk, metrics::INVARIANT_VIOLATIONS_TOTAL};

/// Most conversations of a kind that are read: twice what 3,000 agents with room for three hold.
const READ_MAX: u32 = 20_000;

/// Most waiting conversations that are read: the first in line.
const WAITING_MAX: u32 = 200;

/// So many recorded decisions are made again.
const DECISIONS_MAX: usize = 16;

/// Nobody waits for longer than this while somebody has room: I8 of the design.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The promises that are looked at: their counters begin at zero, so that an alert sees the first violation.
const AUDITED: [&str; 7] = ["I2", "I3", "I6", "I8", "I9", "I10", "I13"];

pub(crate) async fn run(desk: Arc<Desk>) {
    for id in AUDITED {
        counter!(INVARIANT_VIOLATIONS_TOTAL, "id" => id).increment(0);
    }
    let mut doubts = BTreeSet::new();
    while desk.wait(desk.settings.audit_interval).await {
        if !desk.leads() {
            doubts.clear();
            continue;
        }
        match look(&desk, &mut doubts).await {
            Ok(violations) => violations.iter().for_each(report),
            Err(error) => debug!(error = %chain(&error), "the ledger could not be audited"),
        }
    }
}

fn report(Violation { id, what }: &Violation) {
    counter!(INVARIANT_VIOLATIONS_TOTAL, "id" => *id).increment(1);
    error!(invariant.id = id, "promise {id} is broken: {what}");
}

/// What a look at the ledger shows broken. `doubts` are what the last look showed and may be a matter of its time.
pub(crate) async fn look(desk: &Desk, doubts: &mut BTreeSet<String>) -> Result<Vec<Violation>, StoreError> {
    let waiting = desk.store.list(desk.account, &Selection::Waiting, WAITING_MAX).await?;
    let mut held = Vec::new();
    for selection in [Selection::Assigned, Selection::Reserved, Selection::Closing] {
        let page = desk.store.list(desk.account, &selection, READ_MAX).await?;
        held.push(page.conversations.into_iter().map(|listed| listed.conversation).collect::<Vec<_>>());
    }
    let is_whole = held.iter().all(|page| page.len() < READ_MAX as usize);
    let held: Vec<Conversation> = held.into_iter().flatten().collect();
    let facts = desk.store.facts(desk.account, waiting.now, &desk.policy).await?;
    let mut doubtful = Vec::new();
    if is_whole {
        let slots = slots(&held);
        let counters =
            facts.loads.values().map(|load| (load.agent, load.open, slots.get(&load.agent).copied()));
        let counters = counters.map(|(agent, counted, held)| (agent, counted, held.unwrap_or(0)));
        doubtful.extend(invariants::one_decrement_each([], counters));
    }
    let in_line: Vec<Conversation> =
        waiting.conversations.into_iter().map(|listed| listed.conversation).collect();
    let open = held.iter().filter(|one| one.is_open()).chain(&in_line);
    doubtful.extend(invariants::one_open_each(open.map(|one| &one.room)));
    if waiting.pause.is_none() {
        let snapshot = Snapshot {
            roster: desk.roster.current(),
            loads: facts.loads,
            inbox_loads: facts.inbox_loads,
            windows: facts.windows,
            answers: Arc::new(Answers::default()),
            waiting: Vec::new(),
            rotations: BTreeMap::new(),
            rules: facts.rules,
            limit: u32::MAX,
        };
        doubtful.extend(in_vain(desk, &snapshot, &in_line, waiting.now));
    }
    let mut violations: Vec<Violation> =
        doubtful.iter().filter(|one| doubts.contains(&one.what)).cloned().collect();
    *doubts = doubtful.into_iter().map(|one| one.what).collect();
    let newest = held.iter().filter(|one| one.is_assigned()).map(|one| one.id).collect::<BTreeSet<_>>();
    for id in newest.into_iter().rev().take(DECISIONS_MAX) {
        for recorded in desk.store.decisions(desk.account, id, 1).await? {
            violations.extend(again(&recorded));
        }
    }
    Ok(violations)
}

/// Slots by agent.
fn slots(held: &[Conversation]) -> BTreeMap<AgentId, u32> {
    let mut slots = BTreeMap::new();
    for agent in held.iter().filter_map(Conversation::slot) {
        *slots.entry(agent).or_default() += 1;
    }
    slots
}

/// I8 of those in line: the head of a queue waits for long, and the rules would give it out now.
fn in_vain(desk: &Desk, snapshot: &Snapshot, in_line: &[Conversation], now: Timestamp) -> Vec<Violation> {
    let is_late = |one: &&Conversation| {
        one.state == State::Waiting { park: None } && now.since(one.opened_at) > WAIT_MAX
    };
    let mut heads: BTreeMap<QueueKey, &Conversation> = BTreeMap::new();
    for one in in_line.iter().filter(is_late) {
        let key = QueueKey { inbox: one.inbox, team: one.traits.team };
        let head = heads.entry(key).or_insert(one);
        if (one.rank, one.position) < (head.rank, head.position) {
            *head = one;
        }
    }
    let could: BTreeMap<&RoomId, AgentId> = heads
        .into_values()
        .filter_map(|one| {
            let alone = Snapshot { waiting: vec![Head::of(one)], ..snapshot.clone() };
            let decision = decide(&alone, &desk.policy, now).into_iter().next()?;
            match decision.outcome {
                Outcome::Reserve { agent, .. } => Some((&one.room, agent)),
                Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
            }
        })
        .collect();
    invariants::none_waits_in_vain(could.keys().copied(), |room| could.get(room).copied())
}

/// A recorded decision, made again (I13), and whether the agent could be given it at all (I3, I6, I10).
fn again(recorded: &Recorded) -> Vec<Violation> {
    let Recorded { conversation, agent, at, snapshot, policy, .. } = recorded;
    let decisions = decide(snapshot, policy, *at);
    let chosen = decisions.iter().find(|decision| decision.conversation == *conversation);
    let chosen = chosen.and_then(|decision| match decision.outcome {
        Outcome::Reserve { agent, .. } => Some(agent),
        Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
    });
    let mut violations: Vec<Violation> =
        invariants::decided_again(*conversation, *agent, chosen).into_iter().collect();
    let Some(head) = snapshot.waiting.iter().find(|head| head.conversation == *conversation) else {
        return violations;
    };
    let verdicts = decide::explain(snapshot, policy, *at, head);
    let Some(standpoint) = verdicts.agents.iter().find(|standpoint| standpoint.agent == *agent) else {
        return violations;
    };
    let taken = Taken {
        conversation: *conversation,
        place: (head.rank, head.position),
        agent: *agent,
        held: standpoint.load.unwrap_or(0).saturating_add(1),
        capacity: standpoint.limit,
    };
    match &standpoint.rejection {
        None => {}
        Some(Rejection::Full) => violations.extend(invariants::taken_within_capacity(&[taken])),
        Some(Rejection::RateLimited) => violations.extend(standpoint.rate.iter().flat_map(|rate| {
            let rule = FairDistribution { limit: rate.limit, window: rate.window };
            let given = vec![*at; rate.given as usize + 1];
            invariants::window_kept(*agent, &given, rule)
        })),
        Some(_) => {
            violations.extend(invariants::only_eligible(&[taken], |_, _| Some("the rules kept it from them")))
        }
    }
    violations
}
