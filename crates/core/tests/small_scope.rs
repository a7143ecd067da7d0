//! One room, two agents, every sequence of a few steps.

use std::collections::HashSet;

use sebastian_core::{AgentId, Closed, EventKind, Seen, State, Status, Update, Verdict};

use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    Event(EventKind),
    Reserve(AgentId),
    Settle(Verdict),
    List(AgentId, bool),
    Transfer(AgentId, AgentId),
    ReadBack(Seen),
    Stray(AgentId),
    Wake,
}

fn status(status: Status) -> EventKind {
    EventKind::Update(Update { status: Some(status), ..Update::default() })
}

/// Half a minute, or five steps.
fn snooze() -> EventKind {
    let snoozed_until = Some(Ledger::new().now + 30 * SECOND);
    EventKind::Update(Update { status: Some(Status::Snoozed), snoozed_until, ..Update::default() })
}

fn unassign() -> EventKind {
    EventKind::Update(Update { unassign: true, ..Update::default() })
}

fn steps() -> Vec<Step> {
    use Step::*;
    vec![
        Event(allocate()),
        Event(allocate_in(1)),
        Event(allocate_after(1)),
        Event(allocate_after(2)),
        Event(resolve()),
        Event(resolve_session(1)),
        Event(resolve_session(2)),
        Event(status(Status::Open)),
        Event(status(Status::Pending)),
        Event(snooze()),
        Event(unassign()),
        Reserve(ANA),
        Reserve(BUDI),
        Settle(Verdict::Assigned),
        Settle(Verdict::Released { refused: true }),
        Settle(Verdict::Closed(Closed::ServedElsewhere)),
        List(ANA, true),
        List(ANA, false),
        List(BUDI, true),
        Transfer(ANA, BUDI),
        ReadBack(Seen::Served),
        ReadBack(Seen::Waiting),
        ReadBack(Seen::Over(Closed::Resolved)),
        Stray(ANA),
        Wake,
    ]
}

/// Takes `step` on `ledger`; `None` where it cannot happen. The ledger audits itself.
fn take(ledger: &Ledger, step: &Step) -> Option<Ledger> {
    let (mut next, room) = (ledger.clone(), room(1));
    next.pass(6 * SECOND);
    match step {
        Step::Event(kind) => drop(next.fold(&room, kind.clone())),
        Step::Reserve(agent) => {
            let open = next.find_open(&room)?;
            matches!(open.state, State::Waiting { park: None }).then(|| next.reserve(&room, *agent))?;
        }
        Step::Settle(verdict) => {
            let is_held = |state: &State| matches!(state, State::Reserved { .. } | State::Closing { .. });
            let held = next.unresolved().find(|one| is_held(&one.state))?;
            let attempt = Attempt { conversation: held.id, number: held.attempt };
            next.settle(attempt, *verdict);
        }
        Step::List(agent, holds) => {
            let listed = if *holds { vec![room] } else { vec![] };
            next.adopt(*agent, &listed);
        }
        Step::Transfer(from, to) => next.transfer(&room, *from, *to).then_some(())?,
        Step::ReadBack(seen) => {
            next.find_open(&room).filter(|open| open.is_assigned())?;
            next.read_back(&room, *seen);
        }
        Step::Stray(agent) => {
            next.find_open(&room).is_some().then(|| next.put_back(&room, *agent)).map(drop)?
        }
        Step::Wake => next.wake(),
    }
    Some(next)
}

#[test]
fn no_sequence_of_six_steps_unbalances_the_books() {
    let mut frontier = vec![Ledger::new()];
    let mut visited = 0;
    for _ in 0..6 {
        let mut seen = HashSet::new();
        let mut next = Vec::new();
        for (ledger, step) in
            frontier.iter().flat_map(|ledger| steps().into_iter().map(move |step| (ledger, step)))
        {
            let after = take(ledger, &step).filter(|after| seen.insert(after.essence()));
            next.extend(after);
        }
        visited += next.len();
        frontier = next;
    }
    assert!(visited >= 25_000, "only {visited} states");
}

/// Every order of `items`.
fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = items.split_first() else { return vec![vec![]] };
    let insert_everywhere = |order: Vec<T>| {
        (0..=order.len()).map(move |at| [&order[..at], std::slice::from_ref(first), &order[at..]].concat())
    };
    permutations(rest).into_iter().flat_map(insert_everywhere).collect()
}

/// Folds `log`, and has Ana take what waits after `served` events.
fn replay(log: &[EventKind], served: usize) -> Ledger {
    let (mut ledger, room) = (Ledger::new(), room(1));
    for (n, event) in log.iter().enumerate() {
        ledger.fold(&room, event.clone());
        ledger.pass(SECOND);
        if n + 1 == served && ledger.find_open(&room).is_some() {
            ledger.assign(&room, ANA);
        }
    }
    ledger
}

/// Whether the customer of [`room`] 1 waits, or the platform is about to be asked.
fn is_looked_after(ledger: &Ledger) -> bool {
    ledger.find_open(&room(1)).is_some_and(|open| !open.is_assigned() || open.verify_at.is_some())
}

#[test]
fn a_customer_who_still_waits_is_lost_in_no_order_of_arrival() {
    // Session 1 ended, its customer came back; session 2 ended, its customer came back and waits.
    let log = [allocate(), resolve_session(1), allocate_after(1), resolve_session(2), allocate_after(2)];
    let newest = allocate_after(2);
    let mut replayed = 0;
    for order in permutations(&log) {
        // An event named nowhere cannot be recognised as old: it must not come after the newest.
        let newest_at = order.iter().position(|event| *event == newest);
        let named_at = order.iter().position(|event| *event == allocate_after(1));
        let old_at = order.iter().position(|event| *event == resolve_session(1));
        if old_at > newest_at && named_at > old_at {
            continue;
        }
        for served in 0..=newest_at.unwrap_or(0) {
            replayed += 1;
            let ledger = replay(&order, served);
            assert!(is_looked_after(&ledger), "{order:#?}, served after {served}: {ledger:#?}");
        }
    }
    assert!(replayed >= 200, "only {replayed} replays");
}

#[test]
fn a_log_replayed_doubled_ends_the_same() {
    let log = [
        allocate(),
        resolve_session(1),
        allocate_after(1),
        resolve_session(2),
        allocate_after(2),
        resolve_session(3),
    ];
    for (sessions, served) in (0..=log.len()).flat_map(|n| (0..=n).map(move |served| (n, served))) {
        let log = &log[..sessions];
        let doubled: Vec<EventKind> = log.iter().flat_map(|event| [event.clone(), event.clone()]).collect();

        let (once, twice) = (replay(log, served), replay(&doubled, 2 * served));

        let ends =
            |ledger: &Ledger| ledger.find_open(&room(1)).map(|open| (open.is_assigned(), open.verify_at));
        assert_eq!(ends(&once).is_some(), ends(&twice).is_some(), "{doubled:#?}");
        assert_eq!(once.load(ANA), twice.load(ANA), "{doubled:#?}");
        assert_eq!(once.opened_in(&room(1)), twice.opened_in(&room(1)), "{doubled:#?}");
    }
}

#[test]
fn resolves_delivered_again_at_any_later_time_change_nothing() {
    let log = [allocate(), resolve_session(1), allocate_after(1), resolve_session(2), allocate_after(2)];
    for (n, again) in (0..log.len()).flat_map(|n| (n + 1..=log.len()).map(move |again| (n, again))) {
        if !matches!(log[n], EventKind::Resolve { .. }) {
            continue;
        }
        let mut repeated = log.to_vec();
        repeated.insert(again, log[n].clone());

        let (once, twice) = (replay(&log, 1), replay(&repeated, 1));

        assert_eq!(once.opened_in(&room(1)), twice.opened_in(&room(1)), "{repeated:#?}");
        assert_eq!(once.load(ANA), twice.load(ANA), "{repeated:#?}");
        assert!(is_looked_after(&twice), "{repeated:#?}");
    }
}
