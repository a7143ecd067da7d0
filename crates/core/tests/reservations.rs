//! What becomes of a slot that was taken.

use sebastian_core::{Closed, ConversationId, Settled, State, Timing, Verdict};

use crate::support::*;

const REFUSED: Verdict = Verdict::Released { refused: true };
const RELEASED: Verdict = Verdict::Released { refused: false };

#[test]
fn a_released_conversation_keeps_its_place_and_frees_the_slot() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    let place = ledger.fold(&room, allocate());
    let attempt = ledger.reserve(&room, ANA);

    assert_eq!(ledger.settle(attempt, RELEASED), Settled::Applied);

    let ours = ledger.open_in(&room);
    assert_eq!((ours.position, &ours.state), (place, &State::Waiting { park: None }));
    assert!(ours.refused.is_empty());
    assert_eq!((ledger.load(ANA), ledger.assignments(ANA)), (0, 0));
}

#[test]
fn a_refused_agent_is_left_out_for_a_while_and_listed_once() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    for agent in [ANA, BUDI, ANA] {
        let attempt = ledger.reserve(&room, agent);
        ledger.settle(attempt, REFUSED);
    }

    let until = ledger.now + Timing::default().refusal;
    assert_eq!(ledger.open_in(&room).refused, [(BUDI, until), (ANA, until)]);
    ledger.assign(&room, BUDI);
    assert!(ledger.open_in(&room).refused.is_empty(), "who serves it settles it");
}

#[test]
fn an_expired_refusal_is_forgotten_at_the_next() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let attempt = ledger.reserve(&room, ANA);
    ledger.settle(attempt, REFUSED);
    ledger.pass(Timing::default().refusal);

    let attempt = ledger.reserve(&room, BUDI);
    ledger.settle(attempt, RELEASED);

    assert!(ledger.open_in(&room).refused.is_empty());
}

#[test]
fn a_stale_attempt_changes_nothing() {
    let verdicts = [Verdict::Assigned, REFUSED, Verdict::Closed(Closed::Resolved)];
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let stale = ledger.reserve(&room, ANA);
    ledger.settle(stale, RELEASED);
    for state in ["waiting", "reserved", "assigned", "resolved"] {
        match state {
            "reserved" => drop(ledger.reserve(&room, BUDI)),
            "assigned" => {
                let Attempt { conversation, number } = stale;
                ledger.settle(Attempt { conversation, number: number + 1 }, Verdict::Assigned);
            }
            "resolved" => drop(ledger.fold(&room, resolve())),
            _ => {}
        }
        for verdict in verdicts {
            assert_eq!(ledger.settle(stale, verdict), Settled::Stale, "{state}");
            assert!(!ledger.changed, "{state}");
        }
    }
}

#[test]
fn a_settlement_heard_twice_counts_once() {
    for verdict in [Verdict::Assigned, REFUSED, Verdict::Closed(Closed::ServedElsewhere)] {
        let (mut ledger, room) = (Ledger::new(), room(1));
        ledger.fold(&room, allocate());
        let attempt = ledger.reserve(&room, ANA);
        ledger.settle(attempt, verdict);

        assert_eq!(ledger.settle(attempt, verdict), Settled::Stale);
        assert!(!ledger.changed);
    }
}

#[test]
fn a_settlement_of_an_unknown_conversation_is_stale() {
    let attempt = Attempt { conversation: ConversationId(9), number: 1 };

    assert_eq!(Ledger::new().settle(attempt, Verdict::Assigned), Settled::Stale);
}

#[test]
fn a_room_that_needs_nobody_is_closed_and_frees_the_slot() {
    for how in [Closed::Resolved, Closed::ServedElsewhere, Closed::RoomGone] {
        let (mut ledger, room) = (Ledger::new(), room(1));
        ledger.fold(&room, allocate());
        let attempt = ledger.reserve(&room, ANA);

        ledger.settle(attempt, Verdict::Closed(how));

        assert_eq!(ledger.unresolved().count(), 0);
        assert_eq!(ledger.load(ANA), 0);
    }
}

#[test]
fn a_session_served_elsewhere_goes_on_and_hears_its_resolve() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_in(1));
    let attempt = ledger.reserve(&room, ANA);
    ledger.settle(attempt, Verdict::Closed(Closed::ServedElsewhere));
    ledger.pass(SETTLED);
    ledger.adopt(BUDI, std::slice::from_ref(&room));
    assert_eq!(ledger.load(BUDI), 1);

    ledger.fold(&room, resolve_session(1));

    assert_eq!(ledger.load(BUDI), 0);
}

#[test]
fn a_turn_that_came_to_nothing_is_given_back() {
    let verdicts = [RELEASED, REFUSED, Verdict::Closed(Closed::RoomGone)];
    for (verdict, resolved_meanwhile) in verdicts.iter().flat_map(|one| [(*one, false), (*one, true)]) {
        let (mut ledger, room) = (Ledger::new(), room(1));
        ledger.fold(&room, allocate());
        let attempt = ledger.reserve_for(&room, ANA, 3);
        assert_eq!(ledger.turns_paid(ANA), 3);
        if resolved_meanwhile {
            ledger.fold(&room, resolve());
        }

        ledger.settle(attempt, verdict);

        assert_eq!((ledger.turns_paid(ANA), ledger.assignments(ANA)), (0, 0), "{verdict:?}");
    }
}

#[test]
fn a_turn_that_was_served_stays_paid() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let attempt = ledger.reserve_for(&room, ANA, 3);

    ledger.settle(attempt, Verdict::Assigned);
    ledger.fold(&room, resolve());

    assert_eq!((ledger.turns_paid(ANA), ledger.assignments(ANA)), (3, 1));
}
