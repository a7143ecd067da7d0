//! Random histories over several rooms and agents, audited after every step.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};
use sebastian_core::{
    AgentId, Closed, ConversationId, EventKind, Order, Policy, Priority, RoomId, Rulebook, Seen, Seq,
    Settled, SlotRule, State, Status, TeamId, Update, Verdict,
};

use crate::{rules::team, support::*};

const TEAM: TeamId = TeamId(41);
const ROOMS: usize = 4;
const AGENTS: [AgentId; 3] = [AgentId(1), AgentId(2), AgentId(3)];

#[derive(Debug, Clone)]
enum Step {
    Events(Vec<(usize, EventKind)>),
    Reserve(usize, AgentId),
    Settle(usize, Verdict),
    List(AgentId, Vec<usize>, u32),
    Transfer(usize, AgentId, AgentId),
    ReadBack(usize, Seen),
    Update(usize, Update),
    Stray(usize, AgentId),
    Pass(u32),
}

/// One agent of the three is in the team, one has set herself away for long.
fn ledger(slots: SlotRule) -> Ledger {
    let teams = BTreeMap::from([(TEAM, team([AGENTS[0]]))]);
    let policy = Policy { slots, order: Order::Priority, ..Policy::default() };
    let mut ledger = Ledger::under(Rulebook { teams, ..Rulebook::default() }, policy);
    ledger.absent.insert(AGENTS[1]);
    ledger
}

fn a_slot_rule() -> impl Strategy<Value = SlotRule> {
    any::<(bool, bool)>().prop_map(|(pending_holds, snoozed_holds)| SlotRule { pending_holds, snoozed_holds })
}

/// A change of what a conversation carries. Snoozes end within a minute of the first instant.
fn an_update() -> impl Strategy<Value = Update> {
    let status = proptest::option::of(select(vec![Status::Open, Status::Pending, Status::Snoozed]));
    let until = proptest::option::of((0u32..60).prop_map(|after| Ledger::new().now + after * SECOND));
    let team = select(vec![None, Some(None), Some(Some(TEAM)), Some(Some(TeamId(99)))]);
    let priority = select(vec![None, Some(None), Some(Some(Priority::Urgent))]);
    let unassign = proptest::bool::weighted(0.2);
    (status, until, team, priority, unassign).prop_map(|(status, snoozed_until, team, priority, unassign)| {
        Update { status, snoozed_until, team, priority, unassign, ..Update::default() }
    })
}

fn a_kind() -> impl Strategy<Value = EventKind> {
    let session = 1usize..4;
    prop_oneof![
        3 => Just(allocate()),
        2 => session.clone().prop_map(allocate_in),
        3 => session.clone().prop_map(allocate_after),
        1 => Just(resolve()),
        3 => session.prop_map(resolve_session),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let closed = select(vec![Closed::Resolved, Closed::ServedElsewhere, Closed::RoomGone]);
    let verdict = prop_oneof![
        3 => Just(Verdict::Assigned),
        2 => any::<bool>().prop_map(|refused| Verdict::Released { refused }),
        1 => closed.clone().prop_map(Verdict::Closed),
    ];
    let seen = prop_oneof![Just(Seen::Served), Just(Seen::Waiting), closed.prop_map(Seen::Over)];
    let agent = || select(&AGENTS[..]);
    prop_oneof![
        4 => vec((0..ROOMS, a_kind()), 1..4).prop_map(Step::Events),
        4 => (0..ROOMS, agent()).prop_map(|(room, agent)| Step::Reserve(room, agent)),
        4 => (0usize..8, verdict).prop_map(|(attempt, verdict)| Step::Settle(attempt, verdict)),
        2 => (agent(), vec(0..ROOMS, 0..3), 0u32..15).prop_map(|(who, rooms, ago)| Step::List(who, rooms, ago)),
        1 => (0..ROOMS, agent(), agent()).prop_map(|(room, from, to)| Step::Transfer(room, from, to)),
        2 => (0..ROOMS, seen).prop_map(|(room, seen)| Step::ReadBack(room, seen)),
        4 => (0..ROOMS, an_update()).prop_map(|(room, update)| Step::Update(room, update)),
        1 => (0..ROOMS, agent()).prop_map(|(room, agent)| Step::Stray(room, agent)),
        2 => (0u32..20).prop_map(Step::Pass),
    ]
}

/// Takes `step`, if it can happen. The ledger audits itself.
fn take(ledger: &mut Ledger, attempts: &mut Vec<Attempt>, step: &Step) -> Option<Settled> {
    match step {
        Step::Events(events) => {
            let rooms: Vec<RoomId> = (0..ROOMS).map(room).collect();
            ledger.fold_batch(events.iter().map(|(n, kind)| (&rooms[*n], kind.clone())));
        }
        Step::Reserve(n, agent) => {
            let open = ledger.find_open(&room(*n))?;
            let sits_out = open.status != Status::Open || open.is_doubted();
            if matches!(open.state, State::Waiting { .. }) && !sits_out {
                attempts.push(ledger.reserve(&room(*n), *agent));
            }
        }
        // An attempt may be settled late, twice or after another.
        Step::Settle(back, verdict) => {
            let attempt = *attempts.iter().rev().nth(*back)?;
            return Some(ledger.settle(attempt, *verdict));
        }
        Step::List(agent, rooms, ago) => {
            let asked_at = ledger.now - *ago * SECOND;
            let rooms: Vec<RoomId> = rooms.iter().map(|n| room(*n)).collect();
            ledger.adopt_as_of(asked_at, *agent, &rooms);
        }
        Step::Transfer(n, from, to) => drop(ledger.transfer(&room(*n), *from, *to)),
        Step::ReadBack(n, seen) => {
            ledger.find_open(&room(*n))?;
            return Some(ledger.read_back(&room(*n), *seen));
        }
        Step::Update(n, update) => ledger.update(&room(*n), update.clone()),
        Step::Stray(n, agent) => {
            ledger.find_open(&room(*n))?;
            ledger.put_back(&room(*n), *agent);
        }
        Step::Pass(seconds) => {
            ledger.pass(*seconds * SECOND);
            ledger.wake();
        }
    }
    None
}

fn places(ledger: &Ledger) -> BTreeMap<ConversationId, Seq> {
    ledger.conversations.iter().map(|(id, one)| (*id, one.position)).collect()
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn no_history_unbalances_the_books_or_moves_a_place(slots in a_slot_rule(), steps in vec(a_step(), 1..50)) {
        let (mut ledger, mut attempts) = (ledger(slots), Vec::new());
        for step in &steps {
            let before = ledger.clone();

            let settled = take(&mut ledger, &mut attempts, step);

            let kept = places(&ledger);
            prop_assert!(places(&before).iter().all(|(id, place)| kept.get(id) == Some(place)));
            let over = |one: &&sebastian_core::Conversation| matches!(one.state, State::Resolved { .. });
            for one in before.conversations.values().filter(over) {
                prop_assert_eq!(one, &ledger.conversations[&one.id], "what is over stays as it was");
            }
            if settled == Some(Settled::Stale) {
                prop_assert!(!ledger.changed, "a stale word changes nothing");
            }
            for one in ledger.unresolved().filter(|one| one.is_assigned()) {
                let holds = slots.holds(one.status);
                prop_assert_eq!(one.slot_freed, !holds, "a slot is free as the policy says: {:#?}", one);
            }
        }
    }

    #[test]
    fn folding_in_one_batch_or_in_many_ends_the_same(
        events in vec((0..ROOMS, prop_oneof![3 => a_kind(), 1 => an_update().prop_map(EventKind::Update)]), 0..30)
    ) {
        let rooms: Vec<RoomId> = (0..ROOMS).map(room).collect();
        let named = || events.iter().map(|(n, kind)| (&rooms[*n], kind.clone()));
        let (mut one, mut many) = (Ledger::new(), Ledger::new());
        one.fold_batch(named());
        for event in named() {
            many.fold_batch([event]);
        }
        let ends = |ledger: &Ledger| {
            let mut ends: Vec<_> = ledger.conversations.values().map(|one| (one.position, one.state.clone())).collect();
            ends.sort_by_key(|(position, _)| *position);
            ends
        };
        prop_assert_eq!(ends(&one), ends(&many));
    }
}
