//! One conversation a session: what opens, repeats and ends one.

use sebastian_core::{AgentChange, Closed, ParkReason, Rooms, Seen, State, Timing, Verdict};

use crate::support::*;

#[test]
fn a_repeated_allocate_while_waiting_or_reserved_only_moves_last_activity() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_after(1));
    for reserved in [false, true] {
        if reserved {
            ledger.reserve(&room, ANA);
        }
        let before = ledger.open_in(&room).clone();
        ledger.pass(SECOND);

        ledger.fold(&room, allocate_after(1));

        let after = ledger.open_in(&room);
        assert_eq!(after.last_activity_at, ledger.now);
        assert_eq!(*after, sebastian_core::Conversation { last_activity_at: ledger.now, ..before });
        assert_eq!(ledger.opened_in(&room), 1);
    }
}

#[test]
fn a_hundred_copies_of_one_webhook_open_one_conversation() {
    let (mut ledger, room) = (Ledger::new(), room(1));

    ledger.fold_batch((0..100).map(|_| (&room, allocate())));

    assert_eq!(ledger.opened_in(&room), 1);
}

#[test]
fn a_returning_customer_opens_a_new_conversation_at_a_new_place() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);
    ledger.fold(&room, resolve_session(1));

    let place = ledger.fold(&room, allocate_after(1));

    assert_eq!(ledger.opened_in(&room), 2);
    assert_eq!(ledger.open_in(&room).position, place);
    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn a_session_that_comes_and_goes_within_one_batch_leaves_nothing_open() {
    let (mut ledger, room) = (Ledger::new(), room(1));

    ledger.fold_batch([(&room, allocate()), (&room, resolve_session(1)), (&room, allocate_after(1))]);

    assert_eq!(ledger.opened_in(&room), 2);
    assert_eq!(ledger.open_in(&room).opened_with, Some(session(1)));
}

#[test]
fn resolve_twice_decrements_once() {
    let (mut ledger, one, another) = (Ledger::new(), room(1), room(2));
    for room in [&one, &another] {
        ledger.fold(room, allocate());
        ledger.assign(room, ANA);
    }
    for _ in 0..2 {
        ledger.fold(&one, resolve_session(1));
    }

    assert_eq!(ledger.load(ANA), 1);
}

#[test]
fn a_resolve_moves_no_other_agents_load() {
    let (mut ledger, one, another) = (Ledger::new(), room(1), room(2));
    ledger.fold_batch([(&one, allocate()), (&another, allocate())]);
    ledger.assign(&one, ANA);
    ledger.assign(&another, BUDI);

    ledger.fold(&one, resolve());

    assert_eq!((ledger.load(ANA), ledger.load(BUDI)), (0, 1));
}

#[test]
fn resolve_of_a_waiting_conversation_withdraws_it() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());

    ledger.fold(&room, resolve_session(1));

    assert_eq!(ledger.find_open(&room), None);
}

#[test]
fn resolve_of_an_unknown_room_changes_no_conversation() {
    let mut ledger = Ledger::new();

    ledger.fold(&room(1), resolve_session(1));
    ledger.fold(&room(2), resolve());

    assert!(ledger.conversations.is_empty());
}

#[test]
fn a_resolve_that_names_an_older_session_changes_nothing() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.fold(&room, resolve_session(1));
    ledger.fold(&room, allocate_after(2));
    ledger.assign(&room, ANA);
    for (session, why) in [(1, "closed before"), (2, "the latest when ours opened")] {
        ledger.fold(&room, resolve_session(session));

        assert!(!ledger.changed, "session {session} was {why}");
        assert!(ledger.open_in(&room).is_assigned());
    }
}

#[test]
fn the_session_before_ours_is_an_old_one_even_when_the_list_of_those_was_purged() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_after(1));
    ledger.assign(&room, ANA);
    ledger.purge_closed_sessions();

    ledger.fold(&room, resolve_session(1));

    assert!(ledger.open_in(&room).is_assigned());
}

#[test]
fn a_resolve_that_names_another_session_than_ours_closes_nothing() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_in(2));
    ledger.assign(&room, ANA);

    ledger.fold(&room, resolve_session(1));

    assert!(ledger.open_in(&room).is_assigned());
}

#[test]
fn a_resolve_during_a_call_closes_and_the_slot_frees_when_the_call_settles() {
    for verdict in [Verdict::Assigned, Verdict::Released { refused: true }, Verdict::Closed(Closed::RoomGone)]
    {
        let (mut ledger, room) = (Ledger::new(), room(1));
        ledger.fold(&room, allocate());
        let attempt = ledger.reserve(&room, ANA);

        ledger.fold(&room, resolve());
        assert_eq!(ledger.find_open(&room), None);
        assert_eq!(ledger.load(ANA), 1);

        ledger.settle(attempt, verdict);
        assert_eq!(ledger.load(ANA), 0);
        assert_eq!(ledger.unresolved().count(), 0);
    }
}

#[test]
fn a_successor_waits_until_the_call_of_its_predecessor_settles() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let attempt = ledger.reserve(&room, ANA);
    ledger.fold_batch([(&room, resolve_session(1)), (&room, allocate_after(1))]);
    let State::Waiting { park: Some(park) } = ledger.open_in(&room).state else { panic!("it is not parked") };
    let timing = Timing::default();
    assert_eq!(park.why, ParkReason::PreviousClosing);
    assert_eq!(park.until, ledger.now + timing.reservation + timing.settle_window);

    ledger.settle(attempt, Verdict::Assigned);

    assert_eq!(ledger.open_in(&room).state, State::Waiting { park: None });
}

#[test]
fn an_overtaken_resolve_closes_and_reopens_at_the_new_place() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_in(1));
    ledger.assign(&room, ANA);

    let place = ledger.fold(&room, allocate_after(1));
    let reopened = ledger.open_in(&room).clone();
    assert_eq!((reopened.position, reopened.state), (place, State::Waiting { park: None }));
    assert_eq!(ledger.load(ANA), 0);

    ledger.fold(&room, resolve_session(1));
    assert!(!ledger.changed, "the resolve that was overtaken is an old one");
}

#[test]
fn a_waiting_customer_is_not_withdrawn_by_a_resolve_their_own_message_overtook() {
    for known in [allocate(), allocate_in(1)] {
        let (mut ledger, room) = (Ledger::new(), room(1));
        let place = ledger.fold(&room, known);
        ledger.fold(&room, allocate_after(1));

        ledger.fold(&room, resolve_session(1));

        assert_eq!(ledger.open_in(&room).position, place);
    }
}

#[test]
fn a_customer_who_waits_on_in_their_next_session_is_withdrawn_by_its_resolve() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold_batch([(&room, allocate_in(1)), (&room, allocate_after(1))]);

    ledger.fold(&room, resolve_session(2));

    assert_eq!(ledger.find_open(&room), None);
}

#[test]
fn a_resolve_two_sessions_late_closes_nothing() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_in(1));
    ledger.assign(&room, ANA);
    ledger.fold(&room, allocate_after(1));
    ledger.fold(&room, resolve_session(2));
    ledger.fold(&room, allocate_after(2));

    ledger.fold(&room, resolve_session(1));

    assert!(ledger.find_open(&room).is_some());
}

#[test]
fn a_session_ended_without_a_name_is_remembered_by_the_name_it_had() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate_in(1));
    ledger.fold(&room, resolve());
    ledger.fold(&room, allocate());

    ledger.fold(&room, resolve_session(1));

    assert!(ledger.find_open(&room).is_some());
}

#[test]
fn an_allocate_that_names_a_session_already_over_does_not_deafen_the_next_to_its_resolve() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, resolve_session(1));
    ledger.fold(&room, allocate_in(1));
    ledger.assign(&room, ANA);

    ledger.fold(&room, resolve_session(2));

    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn events_of_other_rooms_leave_a_room_alone() {
    let (mut ledger, one) = (Ledger::new(), room(1));
    ledger.fold(&one, allocate());
    let before = ledger.open_in(&one).clone();

    ledger.fold_batch([(&room(2), allocate()), (&room(3), resolve()), (&room(2), resolve_session(4))]);

    assert_eq!(*ledger.open_in(&one), before);
}

#[test]
fn counters_that_end_where_they_began_are_not_written() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);
    let held = ledger.unresolved().cloned().collect();
    let mut rooms = Rooms::new(ledger.now, Timing::default(), held, []);
    let id = ledger.open_in(&room).id;

    rooms.transfer(&room, ANA, BUDI);
    rooms.verified(id, Seen::Over(Closed::Resolved), ledger.now);

    let agents = rooms.finish().agents;
    assert_eq!(agents.into_iter().collect::<Vec<_>>(), [(ANA, AgentChange { open: -1, assignments: 0 })]);
}
