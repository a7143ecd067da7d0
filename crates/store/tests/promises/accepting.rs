//! Accepted events become conversations, in the order of their acceptance.

use futures_util::future::join_all;
use sebastian_core::{InboxId, Seq};

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    accepted_events_are_served_in_order
    calls_at_once_are_stored_in_the_order_they_were_made
    an_empty_batch_is_no_event
    a_repeated_allocate_opens_one_conversation
    a_backlog_is_folded_over_several_rounds
    an_event_is_folded_once
    accounts_share_nothing
    a_conversation_without_an_inbox_is_asked_about_and_served_by_the_answer
    an_inbox_learned_later_moves_the_conversation_to_its_queue
    no_inbox_and_inbox_zero_are_two_queues
    what_an_event_says_reads_back
}

async fn accepted_events_are_served_in_order(desk: Desk) {
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;
    desk.accept([allocate(&room(9))]).await;
    desk.accept([allocate(&room(4)), allocate(&room(3))]).await;

    let decided = desk.decide(&Crew::of(2), 10).await;

    assert_eq!(decided.folded, 6);
    assert_eq!(rooms_of(&decided.reserved), [0, 1, 2, 9, 4, 3].map(room));
    assert!(!decided.more);
}

async fn calls_at_once_are_stored_in_the_order_they_were_made(desk: Desk) {
    join_all((0..50).map(|n| desk.accept([allocate(&room(n))]))).await;

    assert_eq!(
        rooms_of(&desk.decide(&Crew::of(50), 50).await.reserved),
        (0..50).map(room).collect::<Vec<_>>()
    );
}

async fn an_empty_batch_is_no_event(desk: Desk) {
    desk.accept([]).await;

    assert_eq!(desk.counts().await.unfolded, 0);
}

async fn a_repeated_allocate_opens_one_conversation(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;
    let first = desk.latest(&room(1)).await;
    desk.pass(SECOND).await;

    desk.accept((0..50).map(|_| allocate(&room(1)))).await;
    desk.fold().await;

    let same = desk.latest(&room(1)).await;
    assert_eq!((same.id, same.position, same.opened_at), (first.id, first.position, first.opened_at));
    assert_eq!(same.last_activity_at, desk.now());
    assert_eq!(desk.counts().await.waiting, 1);
}

async fn a_backlog_is_folded_over_several_rounds(desk: Desk) {
    desk.accept((0..1_500).map(|n| allocate(&room(n)))).await;

    let mut rounds = vec![desk.fold().await];
    while rounds.last().unwrap().more {
        rounds.push(desk.fold().await);
    }

    assert!(rounds.len() > 2, "one transaction folds no backlog whole");
    assert_eq!(rounds.iter().map(|round| round.folded).sum::<u32>(), 1_500);
    let counts = desk.counts().await;
    assert_eq!((counts.waiting, counts.unfolded), (1_500, 0));
}

async fn an_event_is_folded_once(desk: Desk) {
    desk.accept([allocate(&room(1)), resolve(&room(1))]).await;

    assert_eq!(desk.fold().await.folded, 2);
    assert_eq!(desk.fold().await.folded, 0);
}

async fn accounts_share_nothing(desk: Desk) {
    let other = desk.store.open_account("qiscus", "other").await.unwrap();
    assert_eq!(desk.store.open_account("qiscus", "other").await.unwrap(), other);
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;

    let decided = Crew::of(1).decide(&*desk.store, other, desk.now(), 10).await;

    assert_ne!(other, desk.account);
    assert_eq!(decided, Default::default());
    assert!(desk.store.loads(other, desk.now()).await.unwrap().is_empty());
    assert_eq!(desk.store.latest_in(other, &room(1)).await.unwrap(), None);
    assert_eq!(desk.store.unknown_rooms(other, &[room(1)]).await.unwrap(), [room(1)]);
}

async fn a_conversation_without_an_inbox_is_asked_about_and_served_by_the_answer(desk: Desk) {
    desk.accept([allocate_in(&room(1), None), allocate(&room(2))]).await;
    let mut crew = Crew::of(1);

    let asked = desk.decide(&crew, 10).await;
    crew.answers.agents.insert(room(1), vec![agent(1)]);
    let answered = desk.decide(&crew, 10).await;

    assert_eq!(asked.ask, [room(1)]);
    assert_eq!(rooms_of(&asked.reserved), [room(2)]);
    assert_eq!(rooms_of(&answered.reserved), [room(1)]);
}

async fn an_inbox_learned_later_moves_the_conversation_to_its_queue(desk: Desk) {
    desk.accept([allocate_in(&room(1), None)]).await;
    desk.fold().await;

    desk.accept([allocate(&room(1))]).await;
    let decided = desk.decide(&Crew::of(1), 10).await;

    assert_eq!(rooms_of(&decided.reserved), [room(1)]);
    assert_eq!(desk.latest(&room(1)).await.inbox, Some(SALES));
}

async fn no_inbox_and_inbox_zero_are_two_queues(desk: Desk) {
    desk.accept([allocate_in(&room(1), None), allocate_in(&room(2), Some(InboxId(0)))]).await;

    desk.fold().await;

    assert_eq!(desk.latest(&room(1)).await.inbox, None);
    assert_eq!(desk.latest(&room(2)).await.inbox, Some(InboxId(0)));
}

async fn what_an_event_says_reads_back(desk: Desk) {
    desk.accept([allocate_naming(&room(1), 1, true), allocate_naming(&room(2), 2, false)]).await;
    desk.fold().await;

    let (returning, under_way) = (desk.latest(&room(1)).await, desk.latest(&room(2)).await);

    assert_eq!((returning.opened_with, returning.service), (Some(session(1)), None));
    assert_eq!((under_way.opened_with, under_way.service), (None, Some(session(2))));
    assert!(Seq(0) < returning.position && returning.position < under_way.position);
    assert_eq!((returning.opened_at, returning.last_activity_at), (desk.now(), desk.now()));
}
