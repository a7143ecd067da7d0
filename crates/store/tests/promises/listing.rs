//! Conversations are listed in order, with their places, a page at a time.

use sebastian_core::{Listing, RoomId, State};
use sebastian_store::{Listed, Page, PauseReason, Selection};

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    a_list_is_in_order_and_tells_places_in_each_queue
    a_list_has_those_of_a_state_and_no_others
    a_list_is_no_longer_than_its_limit
    who_served_a_conversation_stays_known_after_it_closed
    the_last_to_close_are_listed_first
    of_a_room_the_newest_is_listed_with_its_place
    a_list_tells_a_pause_and_the_time
    a_list_has_nothing_of_another_account
}

async fn list(desk: &Desk, selection: Selection) -> Vec<Listed> {
    page(desk, selection, 100).await.conversations
}

async fn page(desk: &Desk, selection: Selection, limit: u32) -> Page {
    desk.store.list(desk.account, &selection, limit).await.unwrap()
}

fn rooms(listed: &[Listed]) -> Vec<RoomId> {
    listed.iter().map(|one| one.conversation.room.clone()).collect()
}

fn places(listed: &[Listed]) -> Vec<Option<u64>> {
    listed.iter().map(|one| one.place).collect()
}

/// Rooms 1 and 2 with Ana, 3 reserved for Budi and resolved meanwhile, 4 reserved for Budi, 3 again and parked, 5
/// resolved, 6 to 8 waiting, 6 and 8 in sales.
async fn a_bit_of_everything(desk: &Desk) {
    desk.accept((1..=2).map(|n| allocate(&room(n)))).await;
    desk.assign(&Crew::of(1)).await;
    desk.accept((3..=4).map(|n| allocate(&room(n)))).await;
    let mut budi = Crew::of(2);
    budi.agents.remove(0);
    assert_eq!(desk.reserve(&budi).await.len(), 2);
    desk.accept([resolve(&room(3)), allocate(&room(3)), allocate(&room(5)), resolve(&room(5))]).await;
    desk.accept([allocate(&room(6)), allocate_in(&room(7), Some(SUPPORT)), allocate(&room(8))]).await;
    desk.fold().await;
}

async fn a_list_is_in_order_and_tells_places_in_each_queue(desk: Desk) {
    a_bit_of_everything(&desk).await;
    let adopted = Listing { agent: ANA, asked_at: desk.now(), rooms: vec![(room(9), Some(SALES))] };
    desk.store.adopt(desk.account, &adopted).await.unwrap();

    let listed = list(&desk, Selection::Unresolved).await;

    // What was adopted has no place in line, and comes first.
    assert_eq!(rooms(&listed), [9, 1, 2, 3, 4, 3, 6, 7, 8].map(room));
    let none = [None; 6];
    assert_eq!(places(&listed), [&none[..], &[Some(1), Some(1), Some(2)]].concat());
    for one in &listed {
        let same_room = desk.latest(&one.conversation.room).await;
        assert!(one.conversation == same_room || one.conversation.id < same_room.id);
    }
}

async fn a_list_has_those_of_a_state_and_no_others(desk: Desk) {
    a_bit_of_everything(&desk).await;

    for (selection, expected) in [
        (Selection::Waiting, vec![6, 7, 8]),
        (Selection::Parked, vec![3]),
        (Selection::Reserved, vec![4]),
        (Selection::Closing, vec![3]),
        (Selection::Assigned, vec![1, 2]),
        (Selection::Resolved, vec![5]),
    ] {
        let listed = list(&desk, selection.clone()).await;
        assert_eq!(rooms(&listed), expected.into_iter().map(room).collect::<Vec<_>>(), "{selection:?}");
        let is_queued = selection == Selection::Waiting;
        assert!(listed.iter().all(|one| one.place.is_some() == is_queued), "{selection:?}");
    }
}

async fn a_list_is_no_longer_than_its_limit(desk: Desk) {
    a_bit_of_everything(&desk).await;

    let waiting = page(&desk, Selection::Waiting, 2).await.conversations;
    let unresolved = page(&desk, Selection::Unresolved, 4).await.conversations;

    assert_eq!((rooms(&waiting), places(&waiting)), ([6, 7].map(room).to_vec(), vec![Some(1); 2]));
    assert_eq!(rooms(&unresolved), [1, 2, 3, 4].map(room));
    assert_eq!(page(&desk, Selection::Unresolved, 0).await.conversations, []);
}

async fn who_served_a_conversation_stays_known_after_it_closed(desk: Desk) {
    a_bit_of_everything(&desk).await;
    let since = desk.now();
    desk.pass(SECOND).await;
    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;

    let resolved = list(&desk, Selection::NewestIn(room(1))).await;
    let never_served = list(&desk, Selection::NewestIn(room(5))).await;
    let assigned = list(&desk, Selection::Assigned).await;
    let reserved = list(&desk, Selection::Reserved).await;

    assert!(matches!(resolved[0].conversation.state, State::Resolved { .. }));
    assert_eq!((resolved[0].served, assigned[0].served), (Some((ANA, since)), Some((ANA, since))));
    assert_eq!((never_served[0].served, reserved[0].served), (None, None));
}

async fn the_last_to_close_are_listed_first(desk: Desk) {
    desk.accept((1..=3).map(|n| allocate(&room(n)))).await;
    for n in [2, 3, 1] {
        desk.pass(SECOND).await;
        desk.accept([resolve(&room(n))]).await;
        desk.fold().await;
    }

    assert_eq!(rooms(&page(&desk, Selection::Resolved, 2).await.conversations), [1, 3].map(room));
}

async fn of_a_room_the_newest_is_listed_with_its_place(desk: Desk) {
    desk.accept((1..=3).map(|n| allocate(&room(n)))).await;
    desk.accept([resolve(&room(1)), allocate(&room(1))]).await;
    desk.accept([allocate_in(&room(4), Some(SUPPORT))]).await;
    desk.fold().await;

    for (n, place) in [(2, 1), (3, 2), (1, 3), (4, 1)] {
        let found = list(&desk, Selection::NewestIn(room(n))).await;
        assert_eq!((found.len(), &found[0].conversation), (1, &desk.latest(&room(n)).await));
        assert_eq!(found[0].place, Some(place), "room {n}");
    }
    assert_eq!(list(&desk, Selection::NewestIn(room(5))).await, []);
}

async fn a_list_tells_a_pause_and_the_time(desk: Desk) {
    desk.store.pause(desk.account, SECOND * 5, PauseReason::Denied).await.unwrap();
    let paused = page(&desk, Selection::Waiting, 1).await;
    desk.pass(SECOND * 5).await;
    let over = page(&desk, Selection::Waiting, 1).await;

    let pause = paused.pause.unwrap();
    assert_eq!((pause.until, pause.reason), (desk.now(), PauseReason::Denied));
    assert_eq!((over.pause, over.now), (None, desk.now()));
}

async fn a_list_has_nothing_of_another_account(desk: Desk) {
    a_bit_of_everything(&desk).await;
    let other = desk.store.open_account("qiscus", "other").await.unwrap();

    for selection in [Selection::Unresolved, Selection::Resolved, Selection::NewestIn(room(1))] {
        let page = desk.store.list(other, &selection, 100).await.unwrap();
        assert_eq!(page.conversations, [], "{selection:?}");
    }
}
