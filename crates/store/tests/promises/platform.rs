//! The ledger follows what people do on the platform.

use sebastian_core::{Adopted, Closed, Listing, Origin, RoomId, Seen, Settled, State, Timing};

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    a_room_we_never_saw_is_adopted_once
    a_waiting_conversation_somebody_took_is_theirs
    a_listing_tells_what_is_elsewhere_and_what_is_missing
    a_room_that_closed_a_moment_ago_is_not_adopted
    a_transfer_moves_the_load_once
    rooms_the_ledger_knows_are_not_unknown
    a_room_seen_served_is_doubted_no_more
    what_was_seen_before_the_customer_wrote_again_is_stale
    a_room_seen_waiting_goes_back_to_its_place
    a_room_seen_over_frees_the_slot
    a_doubt_is_due_after_the_settle_window_and_claimed_by_one
    a_session_that_may_never_have_begun_takes_no_slot_and_is_read_back
    a_reopened_session_is_served_before_those_who_came_after_its_first_message
}

fn listing(desk: &Desk, agent: sebastian_core::AgentId, rooms: &[RoomId]) -> Listing {
    let rooms = rooms.iter().map(|room| (room.clone(), Some(SALES))).collect();
    Listing { agent, asked_at: desk.now(), rooms }
}

async fn adopt(desk: &Desk, agent: sebastian_core::AgentId, rooms: &[RoomId]) -> Adopted {
    desk.store.adopt(desk.account, &listing(desk, agent, rooms)).await.unwrap()
}

async fn a_room_we_never_saw_is_adopted_once(desk: Desk) {
    let first = adopt(&desk, ANA, &[room(1), room(2), room(1)]).await;
    let again = adopt(&desk, ANA, &[room(1), room(2)]).await;

    assert_eq!((first.opened, again.opened), (2, 0));
    assert_eq!(desk.open_of(ANA).await, 2);
    let adopted = desk.latest(&room(1)).await;
    assert_eq!((adopted.origin, adopted.inbox), (Origin::Platform, Some(SALES)));
    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;
    assert_eq!(desk.open_of(ANA).await, 1);
}

async fn a_waiting_conversation_somebody_took_is_theirs(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;
    desk.pass(SETTLED).await;

    let adopted = adopt(&desk, BUDI, &[room(1)]).await;

    assert_eq!((adopted.opened, adopted.taken), (0, 1));
    assert_eq!(desk.latest(&room(1)).await.state, State::Assigned { agent: BUDI, at: desk.now() });
    assert_eq!(desk.open_of(BUDI).await, 1);
    assert_eq!(desk.reserve(&Crew::of(2)).await, []);
}

async fn a_listing_tells_what_is_elsewhere_and_what_is_missing(desk: Desk) {
    desk.accept((1..=2).map(|n| allocate(&room(n)))).await;
    let to_ana = desk.assign(&Crew::of(1)).await;
    desk.pass(SETTLED).await;

    let of_ana = adopt(&desk, ANA, &[room(1)]).await;
    let of_budi = adopt(&desk, BUDI, &[room(2)]).await;

    assert_eq!(of_ana.missing, [(to_ana[1].attempt.conversation, room(2))]);
    assert_eq!(of_budi.elsewhere, [(room(2), ANA)]);
    assert_eq!((of_budi.opened, desk.open_of(BUDI).await), (0, 0));
}

async fn a_room_that_closed_a_moment_ago_is_not_adopted(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;
    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;
    desk.pass(SECOND).await;

    let at_once = adopt(&desk, ANA, &[room(1)]).await;
    desk.pass(SETTLED).await;
    let later = adopt(&desk, ANA, &[room(1)]).await;

    assert_eq!((at_once.opened, later.opened), (0, 1));
}

async fn a_transfer_moves_the_load_once(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;

    let transfer = async || desk.store.transfer(desk.account, &room(1), ANA, BUDI).await.unwrap();
    let (first, again) = (transfer().await, transfer().await);

    assert!(first && !again);
    assert_eq!((desk.open_of(ANA).await, desk.open_of(BUDI).await), (0, 1));
    assert!(!desk.store.transfer(desk.account, &room(9), ANA, BUDI).await.unwrap());
}

async fn rooms_the_ledger_knows_are_not_unknown(desk: Desk) {
    let (waiting, closed, accepted, never) = (room(1), room(2), room(3), room(4));
    desk.accept([allocate(&waiting), allocate(&closed), resolve(&closed)]).await;
    desk.fold().await;
    desk.accept([allocate(&accepted)]).await;
    let asked = [&never, &waiting, &closed, &accepted].map(Clone::clone);

    let at_once = desk.store.unknown_rooms(desk.account, &asked).await.unwrap();
    desk.pass(SETTLED).await;
    let mut later = desk.store.unknown_rooms(desk.account, &asked).await.unwrap();

    later.sort();
    assert_eq!((at_once, later), (vec![never.clone()], vec![closed, never]));
}

/// Room 1, assigned to Ana, about which a later allocate raised a doubt.
async fn doubted(desk: &Desk) -> sebastian_core::Conversation {
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;
    desk.pass(SETTLED).await;
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;
    desk.latest(&room(1)).await
}

async fn a_room_seen_served_is_doubted_no_more(desk: Desk) {
    let doubted = doubted(&desk).await;
    assert_eq!(doubted.verify_at, Some(desk.now() + Timing::default().settle_window));
    desk.pass(SETTLED).await;

    let settled = desk.store.verified(desk.account, doubted.id, Seen::Served, desk.now()).await.unwrap();

    assert_eq!(settled, Settled::Applied);
    let served = desk.latest(&room(1)).await;
    assert_eq!((served.verify_at, served.verify_from, served.is_assigned()), (None, None, true));
}

async fn what_was_seen_before_the_customer_wrote_again_is_stale(desk: Desk) {
    let doubted = doubted(&desk).await;

    let seen = desk.store.verified(desk.account, doubted.id, Seen::Served, desk.now() - SECOND).await;

    assert_eq!(seen.unwrap(), Settled::Stale);
    assert_eq!(desk.latest(&room(1)).await, doubted);
}

async fn a_room_seen_waiting_goes_back_to_its_place(desk: Desk) {
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    let crew = Crew::of(1).capacity(1);
    let id = desk.assign(&crew).await[0].attempt.conversation;

    desk.store.verified(desk.account, id, Seen::Waiting, desk.now() + SETTLED).await.unwrap();

    assert_eq!(desk.open_of(ANA).await, 0);
    assert_eq!(rooms_of(&desk.reserve(&crew).await), [room(1)]);
}

async fn a_room_seen_over_frees_the_slot(desk: Desk) {
    let doubted = doubted(&desk).await;
    desk.pass(SETTLED).await;
    let over = async || {
        let seen = Seen::Over(Closed::Resolved);
        desk.store.verified(desk.account, doubted.id, seen, desk.now()).await.unwrap()
    };

    let (first, again) = (over().await, over().await);

    assert_eq!((first, again), (Settled::Applied, Settled::Stale));
    assert_eq!(desk.open_of(ANA).await, 0);
}

async fn a_session_that_may_never_have_begun_takes_no_slot_and_is_read_back(desk: Desk) {
    doubted(&desk).await;
    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;
    let reopened = desk.latest(&room(1)).await;
    assert!(reopened.is_doubted());
    assert!(desk.reserve(&Crew::of(1)).await.is_empty());

    desk.pass(Timing::default().settle_window).await;
    let due = desk.store.claim_suspects(desk.account, 10).await.unwrap();
    assert_eq!(due.iter().map(|one| one.conversation).collect::<Vec<_>>(), [reopened.id]);
    let over = Seen::Over(Closed::Resolved);
    desk.store.verified(desk.account, reopened.id, over, desk.now()).await.unwrap();

    assert!(matches!(desk.latest(&room(1)).await.state, State::Resolved { .. }));
    assert_eq!(desk.open_of(ANA).await, 0);
}

async fn a_reopened_session_is_served_before_those_who_came_after_its_first_message(desk: Desk) {
    let first = doubted(&desk).await;
    let began = desk.now();
    desk.pass(SECOND).await;
    desk.accept([allocate(&room(2))]).await;
    desk.pass(SECOND).await;
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;
    assert_eq!(desk.latest(&room(1)).await.verify_from, first.verify_from);
    let asked_at = desk.now() + SECOND;

    desk.store.verified(desk.account, first.id, Seen::Waiting, asked_at).await.unwrap();

    let reopened = desk.latest(&room(1)).await;
    assert_eq!((reopened.opened_at, reopened.last_activity_at), (began, desk.now()));
    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(1), room(2)]);
}

async fn a_doubt_is_due_after_the_settle_window_and_claimed_by_one(desk: Desk) {
    let doubted = doubted(&desk).await;
    let claim = async || desk.store.claim_suspects(desk.account, 10).await.unwrap();

    let too_early = claim().await;
    desk.pass(Timing::default().settle_window).await;
    let due = claim().await;
    let claimed = claim().await;
    desk.pass(Timing::default().settle_window).await;
    let due_again = claim().await;

    assert_eq!((too_early.len(), claimed.len()), (0, 0));
    assert_eq!((due[0].conversation, &due[0].room), (doubted.id, &room(1)));
    assert_eq!(due[0].claimed_at, desk.now() - Timing::default().settle_window);
    assert_eq!((due_again[0].conversation, due_again[0].claimed_at), (doubted.id, desk.now()));
}
