//! What people do in the dashboard becomes part of the ledger.

use sebastian_core::{Adopted, Origin, Seen, State, Timing, Verdict};

use crate::support::*;

#[test]
fn a_listed_room_nobody_told_us_of_becomes_a_conversation() {
    let (mut ledger, room) = (Ledger::new(), room(1));

    let adopted = ledger.adopt(ANA, std::slice::from_ref(&room));

    assert_eq!(adopted, Adopted { opened: 1, ..Adopted::default() });
    let ours = ledger.open_in(&room);
    assert_eq!((ours.origin, ours.holder()), (Origin::Platform, Some(ANA)));
    assert_eq!((ledger.load(ANA), ledger.assignments(ANA)), (1, 0));
}

#[test]
fn an_adopted_conversation_resolves_like_any_other() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.adopt(ANA, std::slice::from_ref(&room));

    ledger.fold(&room, resolve_session(1));

    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn a_listing_heard_twice_adopts_once() {
    let (mut ledger, one) = (Ledger::new(), room(1));
    ledger.adopt(ANA, &[one.clone(), one.clone()]);

    let again = ledger.adopt(ANA, &[one]);

    assert_eq!(again, Adopted::default());
    assert_eq!(ledger.load(ANA), 1);
}

#[test]
fn rooms_are_adopted_in_the_same_order_every_time() {
    let rooms: Vec<_> = (0..50).map(room).collect();
    let adopt = |rooms: &[sebastian_core::RoomId]| {
        let mut ledger = Ledger::new();
        ledger.adopt(ANA, rooms);
        ledger.conversations.into_values().map(|one| one.room).collect::<Vec<_>>()
    };

    let first = adopt(&rooms);

    assert!((0..4).all(|_| adopt(&rooms) == first));
}

#[test]
fn a_list_that_still_shows_a_session_just_resolved_takes_nobody_who_waits_for_the_next() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);
    ledger.fold(&room, allocate());
    ledger.pass(SETTLED);
    ledger.fold(&room, resolve());
    ledger.pass(SECOND);

    let adopted = ledger.adopt(ANA, std::slice::from_ref(&room));

    assert_eq!((adopted, ledger.load(ANA)), (Adopted::default(), 0));
    ledger.pass(SETTLED);
    assert_eq!(ledger.adopt(ANA, &[room]).taken, 1, "she serves the next one too");
}

#[test]
fn a_room_resolved_within_the_settle_window_is_not_adopted() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);
    ledger.fold(&room, resolve());

    let at_once = ledger.adopt(ANA, std::slice::from_ref(&room));
    assert_eq!(at_once, Adopted::default());

    ledger.pass(SETTLED);
    let later = ledger.adopt(ANA, std::slice::from_ref(&room));
    assert_eq!(later.opened, 1);
}

#[test]
fn a_room_whose_call_has_not_settled_is_not_adopted() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.reserve(&room, ANA);
    assert_eq!(ledger.adopt(BUDI, std::slice::from_ref(&room)), Adopted::default());
    ledger.fold(&room, resolve());

    assert_eq!(ledger.adopt(BUDI, std::slice::from_ref(&room)), Adopted::default());
}

#[test]
fn a_waiting_conversation_taken_in_the_dashboard_is_the_takers() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    let place = ledger.fold(&room, allocate());
    ledger.pass(SETTLED);

    let adopted = ledger.adopt(BUDI, std::slice::from_ref(&room));

    assert_eq!(adopted, Adopted { taken: 1, ..Adopted::default() });
    let ours = ledger.open_in(&room);
    assert_eq!((ours.holder(), ours.position), (Some(BUDI), place));
    assert_eq!((ledger.opened_in(&room), ledger.load(BUDI)), (1, 1));
}

#[test]
fn a_list_that_may_speak_of_the_previous_session_takes_nothing() {
    for asked_after in [0, 1, 9] {
        let (mut ledger, room) = (Ledger::new(), room(1));
        let asked_at = ledger.now + asked_after * SECOND;
        ledger.fold(&room, allocate());
        ledger.pass(SETTLED);

        let adopted = ledger.adopt_as_of(asked_at, ANA, std::slice::from_ref(&room));

        assert_eq!(adopted, Adopted::default(), "asked {asked_after} s after the customer came");
    }
}

#[test]
fn a_list_asked_for_before_the_assignment_says_nothing_of_a_transfer() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    let asked_at = ledger.now;
    ledger.pass(SECOND);
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);

    let adopted = ledger.adopt_as_of(asked_at, BUDI, std::slice::from_ref(&room));

    assert_eq!(adopted, Adopted::default());
}

#[test]
fn missing_rooms_are_reported_in_order() {
    let (mut ledger, rooms) = (Ledger::new(), [room(1), room(2), room(3)]);
    for room in &rooms {
        ledger.fold(room, allocate());
        ledger.assign(room, ANA);
    }
    ledger.pass(SETTLED);

    assert!(ledger.adopt(ANA, &[]).missing.is_sorted());
}

#[test]
fn a_transfer_moves_once() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);
    ledger.pass(SETTLED);
    let adopted = ledger.adopt(BUDI, std::slice::from_ref(&room));
    assert_eq!(adopted.elsewhere, [(room.clone(), ANA)]);

    assert!(ledger.transfer(&room, ANA, BUDI));
    assert!(!ledger.transfer(&room, ANA, BUDI), "the ledger has moved on");

    assert_eq!((ledger.load(ANA), ledger.load(BUDI)), (0, 1));
    assert!(!ledger.transfer(&room, BUDI, BUDI), "nobody transfers to themselves");
}

#[test]
fn only_an_assigned_conversation_is_transferred() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    assert!(!ledger.transfer(&room, ANA, BUDI));
    ledger.fold(&room, allocate());
    assert!(!ledger.transfer(&room, ANA, BUDI));
    ledger.reserve(&room, ANA);

    assert!(!ledger.transfer(&room, ANA, BUDI));
}

#[test]
fn two_agents_in_one_room_do_not_flap() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);
    for _ in 0..3 {
        ledger.pass(SETTLED);
        let (hers, his) =
            (ledger.adopt(ANA, std::slice::from_ref(&room)), ledger.adopt(BUDI, std::slice::from_ref(&room)));

        assert_eq!(hers, Adopted::default(), "her list still holds it, so nothing moves");
        assert_eq!(his.elsewhere, [(room.clone(), ANA)]);
        assert_eq!(ledger.open_in(&room).holder(), Some(ANA));
    }
}

#[test]
fn a_missing_room_is_reported_only_after_the_settle_window() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    ledger.assign(&room, ANA);
    let id = ledger.open_in(&room).id;
    assert_eq!(ledger.adopt(ANA, &[]).missing, []);

    ledger.pass(Timing::default().settle_window);

    assert_eq!(ledger.adopt(ANA, &[]).missing, [(id, room)]);
    assert_eq!(ledger.load(ANA), 1, "a list alone takes nothing away");
}

#[test]
fn an_adopted_room_seen_waiting_is_left_to_the_list_of_waiting_rooms() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.adopt(ANA, std::slice::from_ref(&room));
    ledger.pass(SETTLED);

    ledger.read_back(&room, Seen::Waiting);

    assert_eq!(ledger.find_open(&room), None, "it never had a place to be put back in");
    assert_eq!(ledger.load(ANA), 0);
}

#[test]
fn a_settlement_of_an_attempt_from_before_the_take_changes_nothing() {
    let (mut ledger, room) = (Ledger::new(), room(1));
    ledger.fold(&room, allocate());
    let attempt = ledger.reserve(&room, ANA);
    ledger.settle(attempt, Verdict::Released { refused: false });
    ledger.pass(SETTLED);
    ledger.adopt(BUDI, std::slice::from_ref(&room));

    ledger.settle(attempt, Verdict::Assigned);

    assert!(!ledger.changed);
    assert!(matches!(ledger.open_in(&room).state, State::Assigned { agent: BUDI, .. }));
}
