//! Events the ledger cannot explain: the room is read back, and the platform's word decides.

use sebastian_core::{Closed, Seen, Settled, State, Timing, Update, Verdict};

use crate::support::*;

/// A conversation with Ana, settled, whose session the ledger cannot name.
fn with_ana() -> (Ledger, sebastian_core::RoomId) {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_after(1));
    ledger.assign(&room, ANA);
    ledger.pass(SETTLED);
    (ledger, room)
}

#[test]
fn an_unexplained_allocate_asks_for_a_read_back_after_the_settle_window() {
    let (mut ledger, room) = with_ana();

    let place = ledger.fold(&room, allocate_after(2));

    let ours = ledger.open_in(&room);
    assert_eq!(ours.verify_at, Some(ledger.now + Timing::default().settle_window));
    assert_eq!(ours.verify_from, Some((place, ledger.now)));
    assert!(ours.is_assigned());
}

#[test]
fn a_repeat_of_the_allocate_that_opened_it_raises_no_doubt() {
    let (mut ledger, room) = with_ana();

    ledger.fold(&room, allocate_after(1));

    assert_eq!(ledger.open_in(&room).verify_at, None);
}

#[test]
fn a_second_doubt_keeps_the_first_ones_time_and_place() {
    let (mut ledger, room) = with_ana();
    ledger.fold(&room, allocate());
    let first = ledger.open_in(&room).clone();
    ledger.pass(SECOND);

    ledger.fold(&room, allocate());

    let ours = ledger.open_in(&room);
    assert_eq!((ours.verify_at, ours.verify_from), (first.verify_at, first.verify_from));
}

#[test]
fn a_room_seen_served_is_doubted_no_more() {
    let (mut ledger, room) = with_ana();
    ledger.fold(&room, allocate());
    ledger.pass(SETTLED);

    ledger.read_back(&room, Seen::Served);

    let ours = ledger.open_in(&room);
    assert_eq!((ours.verify_at, ours.verify_from), (None, None));
    assert_eq!(ledger.load(ANA), 1);
}

#[test]
fn a_late_resolve_reopens_at_the_place_of_the_new_sessions_event() {
    let (mut ledger, room) = with_ana();
    let place = ledger.fold(&room, allocate());
    let wrote_at = ledger.now;
    ledger.pass(SECOND);

    ledger.fold(&room, resolve_session(2));

    let reopened = ledger.open_in(&room);
    assert_eq!((reopened.position, reopened.opened_at), (place, wrote_at));
    assert!(reopened.is_doubted());
    assert_eq!(ledger.load(ANA), 0);
    ledger.fold(&room, resolve_session(2));
    assert!(!ledger.changed, "its copy leaves the reopened conversation alone");
    ledger.read_back(&room, Seen::Waiting);
    assert_eq!(ledger.open_in(&room).state, State::Waiting { park: None });
}

#[test]
fn a_reopened_session_began_with_its_first_message_and_keeps_its_turn() {
    for late_resolve in [true, false] {
        let (mut ledger, doubted) = with_ana();
        let (place, began) = (ledger.fold(&doubted, allocate()), ledger.now);
        ledger.pass(SECOND);
        ledger.fold(&room(2), allocate());
        ledger.pass(SECOND);
        ledger.fold(&doubted, allocate());
        let wrote_at = ledger.now;

        if late_resolve {
            ledger.fold(&doubted, resolve_session(2));
        } else {
            ledger.read_back(&doubted, Seen::Waiting);
        }

        let reopened = ledger.open_in(&doubted);
        assert_eq!((reopened.position, reopened.opened_at, reopened.rank), (place, began, began));
        assert_eq!(reopened.last_activity_at, wrote_at);
        assert!(reopened.rank < ledger.open_in(&room(2)).rank);
    }
}

#[test]
fn a_doubt_ends_when_the_conversation_is_taken_from_its_agent() {
    let (mut ledger, room) = with_ana();
    let place = ledger.open_in(&room).position;
    ledger.fold(&room, allocate());
    ledger.update(&room, Update { unassign: true, ..Update::default() });
    ledger.assign(&room, BUDI);
    ledger.pass(SETTLED);

    ledger.read_back(&room, Seen::Waiting);

    assert_eq!((ledger.opened_in(&room), ledger.open_in(&room).position), (1, place));
}

#[test]
fn a_late_copy_of_an_allocate_is_no_new_session_once_the_room_is_seen_over() {
    let (mut ledger, room) = with_ana();
    ledger.fold(&room, allocate());
    ledger.fold(&room, resolve_session(2));
    assert!(ledger.open_in(&room).is_doubted(), "nobody is given it meanwhile");

    ledger.read_back(&room, Seen::Over(Closed::Resolved));

    assert_eq!(ledger.find_open(&room), None);
    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn whoever_writes_after_the_resolve_waits_without_doubt() {
    let (mut ledger, room) = with_ana();
    ledger.fold(&room, allocate());
    ledger.fold(&room, resolve_session(2));

    let place = ledger.fold(&room, allocate());

    let waiting = ledger.open_in(&room);
    assert_eq!((waiting.state.clone(), waiting.position), (State::Waiting { park: None }, place));
    assert_eq!(waiting.verify_at, None);
}

#[test]
fn a_reopened_conversation_is_numbered_before_those_accepted_after_it() {
    let (mut ledger, doubted) = with_ana();
    let other = room(2);

    ledger.fold_batch([(&doubted, allocate()), (&other, allocate()), (&doubted, resolve_session(2))]);

    assert!(ledger.open_in(&doubted).id < ledger.open_in(&other).id);
}

#[test]
fn a_resolve_heard_before_does_not_end_what_is_in_doubt() {
    let (mut ledger, room) = with_ana();
    ledger.fold(&room, allocate());

    ledger.fold(&room, resolve_session(1));

    assert!(!ledger.changed);
    assert!(ledger.open_in(&room).is_assigned());
}

#[test]
fn a_resolve_later_than_the_message_that_named_it_closes_nothing() {
    for read_back_first in [true, false] {
        let (mut ledger, room) = with_ana();
        let place = ledger.fold(&room, allocate_after(2));
        if read_back_first {
            ledger.read_back(&room, Seen::Waiting);
            ledger.fold(&room, resolve_session(2));
        } else {
            ledger.fold(&room, resolve_session(2));
            ledger.read_back(&room, Seen::Waiting);
        }

        assert_eq!(ledger.open_in(&room).position, place);
        assert_eq!(ledger.load(ANA), 0);
    }
}

#[test]
fn a_session_named_in_doubt_is_not_taken_for_ours() {
    let (mut ledger, room) = with_ana();
    ledger.fold(&room, allocate_in(3));

    ledger.fold(&room, resolve_session(2));

    assert_eq!(ledger.load(ANA), 0, "Ana's session was 2");
    assert!(ledger.find_open(&room).is_some());
}

#[test]
fn a_room_she_was_taken_out_of_hears_its_resolve_later() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_in(1));
    ledger.assign(&room, ANA);
    ledger.fold(&room, allocate_in(1));
    ledger.read_back(&room, Seen::Waiting);
    ledger.assign(&room, BUDI);

    ledger.fold(&room, resolve_session(1));

    assert_eq!(ledger.load(BUDI), 0, "the session went on");
}

#[test]
fn a_session_seen_over_is_remembered_by_its_name() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_in(1));
    ledger.assign(&room, ANA);
    ledger.read_back(&room, Seen::Over(Closed::Resolved));
    ledger.fold(&room, allocate());

    ledger.fold(&room, resolve_session(1));

    assert!(ledger.find_open(&room).is_some());
}

#[test]
fn two_resolves_overtaken_at_once_leave_the_third_session_open() {
    for late in [[2, 3], [3, 2]] {
        let (mut ledger, room) = with_ana();
        ledger.fold_batch([(&room, allocate_after(2)), (&room, allocate_after(3))]);

        ledger.fold_batch(late.map(|n| (&room, resolve_session(n))));
        ledger.read_back(&room, Seen::Waiting);

        assert!(ledger.find_open(&room).is_some(), "resolves came as {late:?}");
        assert_eq!(ledger.load(ANA), 0);
    }
}

#[test]
fn a_room_seen_waiting_after_a_new_message_reopens_at_the_messages_place() {
    let (mut ledger, room) = with_ana();
    let place = ledger.fold(&room, allocate());

    ledger.read_back(&room, Seen::Waiting);

    assert_eq!(ledger.open_in(&room).position, place);
    assert_eq!((ledger.opened_in(&room), ledger.load(ANA)), (2, 0));
}

#[test]
fn a_room_seen_waiting_with_nobody_writing_again_is_put_back_in_its_place() {
    let (mut ledger, room) = with_ana();
    let place = ledger.open_in(&room).position;

    ledger.read_back(&room, Seen::Waiting);

    let ours = ledger.open_in(&room);
    assert_eq!((ours.position, &ours.state), (place, &State::Waiting { park: None }));
    assert_eq!((ledger.opened_in(&room), ledger.load(ANA)), (1, 0));
}

#[test]
fn a_turn_is_paid_even_when_the_agent_was_taken_out_again() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let attempt = ledger.reserve_for(&room, ANA, 3);
    ledger.settle(attempt, Verdict::Assigned);
    ledger.pass(SETTLED);

    ledger.read_back(&room, Seen::Waiting);

    assert_eq!(ledger.open_in(&room).turn, None, "nothing is left to be given back");
    assert_eq!((ledger.turns_paid(ANA), ledger.assignments(ANA)), (3, 1));
}

#[test]
fn a_room_seen_over_too_soon_after_its_customer_wrote_opens_their_new_session() {
    let (mut ledger, room) = with_ana();
    let place = ledger.fold(&room, allocate());
    ledger.pass(std::time::Duration::from_secs(1));

    // The list lags: it still shows the session before.
    ledger.read_back(&room, Seen::Over(Closed::Resolved));

    assert_eq!(ledger.open_in(&room).position, place);
    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn a_room_seen_over_frees_its_agent() {
    for how in [Closed::Resolved, Closed::RoomGone] {
        let (mut ledger, room) = with_ana();
        ledger.fold(&room, allocate());
        ledger.pass(SETTLED);

        ledger.read_back(&room, Seen::Over(how));

        assert_eq!(ledger.find_open(&room), None);
        assert!(ledger.conversations.values().all(|one| one.verify_at.is_none()));
        assert_eq!(ledger.load(ANA), 0);
    }
}

#[test]
fn a_read_back_says_nothing_about_a_conversation_not_assigned() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    for reserved in [false, true] {
        if reserved {
            ledger.reserve(&room, ANA);
        }
        for seen in [Seen::Served, Seen::Waiting, Seen::Over(Closed::Resolved)] {
            assert_eq!(ledger.read_back(&room, seen), Settled::Stale);
            assert!(!ledger.changed);
        }
    }
}

#[test]
fn a_reading_older_than_the_customers_message_settles_no_doubt() {
    let (mut ledger, room) = with_ana();
    let asked_at = ledger.now;
    ledger.pass(SECOND);
    ledger.fold(&room, allocate_after(2));

    let settled = ledger.read_back_as_of(&room, Seen::Served, asked_at);

    assert_eq!(settled, Settled::Stale);
    assert!(ledger.open_in(&room).verify_at.is_some());
}

#[test]
fn a_session_seen_over_before_the_customer_wrote_again_is_followed_by_theirs() {
    let (mut ledger, room) = with_ana();
    let asked_at = ledger.now;
    ledger.pass(SECOND);
    let place = ledger.fold(&room, allocate_after(2));

    ledger.read_back_as_of(&room, Seen::Over(Closed::Resolved), asked_at);

    let next = ledger.open_in(&room);
    assert_eq!((next.state.clone(), next.position), (State::Waiting { park: None }, place));
    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn a_reading_older_than_the_assignment_changes_nothing() {
    let (mut ledger, room) = with_ana();
    let asked_at = ledger.now;
    ledger.pass(SECOND);
    ledger.read_back(&room, Seen::Waiting);
    ledger.pass(SECOND);
    ledger.assign(&room, BUDI);

    assert_eq!(ledger.read_back_as_of(&room, Seen::Waiting, asked_at), Settled::Stale);
    assert_eq!(ledger.load(BUDI), 1);
}

#[test]
fn a_reading_that_may_lag_behind_the_assignment_frees_no_slot() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);

    assert_eq!(ledger.read_back(&room, Seen::Waiting), Settled::Stale);
    assert_eq!(ledger.load(ANA), 1);
}
