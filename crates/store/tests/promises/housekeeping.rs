//! Loads, counts, leases and retention.

use std::time::Duration;

use sebastian_core::{Seen, State, Status, Timestamp, Update};
use sebastian_store::{AUDIT_KEPT, Keep};

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    the_ledger_answers_and_tells_its_time
    loads_tell_what_closed_since_the_settle_window_before_the_poll
    a_conversation_taken_from_an_agent_and_withdrawn_did_not_close_with_them
    what_an_agent_puts_off_explains_their_count_and_takes_up_no_slot
    a_room_an_agent_was_put_out_of_explains_their_count_until_somebody_takes_their_place
    counts_tell_how_many_stand_where
    a_lease_is_one_holders_until_it_expires
    a_lease_given_up_is_free_at_once
    a_purge_keeps_the_young_and_the_open
    a_purge_takes_no_more_than_its_limit
    the_audit_is_kept_for_a_year_whatever_else_is_not
}

/// The ledger for a span, decisions for ever.
fn keep(ledger: Duration) -> Keep {
    Keep { ledger, decisions: Duration::from_secs(u64::from(u32::MAX)) }
}

async fn the_ledger_answers_and_tells_its_time(desk: Desk) {
    desk.store.ping().await.unwrap();
    desk.pass(SECOND).await;

    assert_eq!(desk.store.now().await.unwrap(), desk.now());
}

async fn loads_tell_what_closed_since_the_settle_window_before_the_poll(desk: Desk) {
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    desk.assign(&Crew::of(1)).await;
    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;
    let closed_recently = async |polled_at: Timestamp| {
        let load = &desk.store.loads(desk.account, polled_at).await.unwrap()[&ANA];
        (load.open, load.closed_recently)
    };

    assert_eq!(closed_recently(desk.now()).await, (1, 1));
    assert_eq!(closed_recently(desk.now() + SETTLED).await, (1, 0));
}

async fn a_conversation_taken_from_an_agent_and_withdrawn_did_not_close_with_them(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let id = desk.assign(&Crew::of(1)).await[0].attempt.conversation;
    desk.store.verified(desk.account, id, Seen::Waiting, desk.now() + SETTLED).await.unwrap();

    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;

    let load = &desk.store.loads(desk.account, desk.now()).await.unwrap()[&ANA];
    assert_eq!((load.open, load.closed_recently), (0, 0));
}

async fn what_an_agent_puts_off_explains_their_count_and_takes_up_no_slot(desk: Desk) {
    let mut crew = Crew::of(1).capacity(2);
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    desk.assign(&crew).await;
    let pending = Update { status: Some(Status::Pending), ..Update::default() };
    desk.accept([update(&room(1), pending), allocate(&room(3))]).await;
    crew.agents[0].reported_load = Some(2);

    assert_eq!(rooms_of(&desk.assign(&crew).await), [room(3)]);

    let load = &desk.store.loads(desk.account, desk.now()).await.unwrap()[&ANA];
    assert_eq!((load.open, load.put_off), (2, 1));
    assert_eq!((load.excess(3), load.excess(4)), (0, 1));
    desk.accept([update(&room(1), Update { status: Some(Status::Open), ..Update::default() })]).await;
    desk.fold().await;
    let load = &desk.store.loads(desk.account, desk.now()).await.unwrap()[&ANA];
    assert_eq!((load.open, load.put_off), (3, 0), "taken up again");
}

async fn a_room_an_agent_was_put_out_of_explains_their_count_until_somebody_takes_their_place(desk: Desk) {
    let mut crew = Crew::of(1).capacity(1);
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&crew).await;
    desk.accept([update(&room(1), Update { unassign: true, ..Update::default() })]).await;
    desk.fold().await;
    let ana = async || {
        let load = &desk.store.loads(desk.account, desk.now()).await.unwrap()[&ANA];
        (load.open, load.put_off)
    };
    assert_eq!(ana().await, (0, 1));
    crew.agents[0].reported_load = Some(1);

    let reserved = desk.reserve(&crew).await;

    assert_eq!(agents_of(&reserved), [ANA], "she has room");
    assert_eq!(ana().await, (1, 0), "a room counts once");
    desk.release(&reserved, true).await;
    assert_eq!(ana().await, (0, 1));
    let reserved = desk.reserve(&Crew::of(2)).await;
    assert_eq!((agents_of(&reserved), ana().await), (vec![BUDI], (0, 1)));
    desk.confirm(&reserved).await;
    assert_eq!(ana().await, (0, 0));
}

async fn counts_tell_how_many_stand_where(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.assign(&Crew::of(1)).await;
    desk.accept([allocate(&room(2))]).await;
    desk.reserve(&Crew::of(1)).await;
    desk.pass(OVERDUE).await;
    let since = desk.now();
    desk.accept([allocate(&room(3)), resolve(&room(2)), allocate(&room(2))]).await;
    desk.fold().await;
    desk.pass(SECOND).await;
    desk.accept([allocate(&room(4))]).await;

    let counts = desk.counts().await;

    assert_eq!((counts.waiting, counts.parked, counts.assigned), (1, 1, 1));
    assert_eq!((counts.reserved, counts.overdue, counts.unfolded), (1, 1, 1));
    assert_eq!(counts.oldest_waiting_at, Some(since));
}

async fn a_lease_is_one_holders_until_it_expires(desk: Desk) {
    let lease = async |holder| desk.store.lease("poller", holder, SECOND * 5).await.unwrap();

    assert!(lease("a").await);
    assert!(!lease("b").await);
    desk.pass(SECOND * 4).await;
    assert!(lease("a").await, "it is renewed");
    desk.pass(SECOND * 4).await;
    assert!(!lease("b").await, "the renewal holds");
    desk.pass(SECOND).await;
    assert!(lease("b").await, "it has expired");
    assert!(!lease("a").await);
}

async fn a_lease_given_up_is_free_at_once(desk: Desk) {
    let lease = async |name, holder| desk.store.lease(name, holder, SECOND).await.unwrap();
    assert!(lease("poller", "a").await && lease("sweeper", "b").await);

    desk.store.release_lease("poller", "b").await.unwrap();
    assert!(!lease("poller", "b").await, "only its holder gives it up");
    desk.store.release_lease("poller", "a").await.unwrap();

    assert!(lease("poller", "b").await);
}

async fn a_purge_keeps_the_young_and_the_open(desk: Desk) {
    let (old, open, unfolded, young) = (room(1), room(2), room(3), room(4));
    desk.accept([allocate_naming(&old, 1, false), resolve_session(&old, 1), allocate(&open)]).await;
    desk.fold().await;
    desk.accept([allocate(&unfolded)]).await;
    desk.pass(SECOND * 60).await;
    let purge = async || desk.store.purge(desk.account, keep(SECOND * 30), 100).await.unwrap();

    // Three folded events, a conversation, a session.
    assert_eq!(purge().await, 5);
    desk.accept([allocate(&young), resolve(&young)]).await;
    desk.fold().await;
    assert_eq!(purge().await, 1, "the event that was still to be folded");

    assert_eq!(desk.find(&old).await, None);
    assert!(desk.is_waiting(&open).await && desk.is_waiting(&unfolded).await);
    assert!(matches!(desk.latest(&young).await.state, State::Resolved { .. }));
}

async fn a_purge_takes_no_more_than_its_limit(desk: Desk) {
    desk.accept((0..10).flat_map(|n| [allocate(&room(n)), resolve(&room(n))])).await;
    desk.fold().await;
    desk.pass(SECOND * 60).await;

    let purge = async || desk.store.purge(desk.account, keep(SECOND), 8).await.unwrap();
    let gone = [purge().await, purge().await, purge().await, purge().await];

    assert_eq!(gone, [8 + 8, 8 + 2, 4, 0]);
}

async fn the_audit_is_kept_for_a_year_whatever_else_is_not(desk: Desk) {
    for n in 1..=4 {
        desk.amend(|rules| rules.last_id = n).await;
        desk.pass(SECOND).await;
    }
    let none = Keep { ledger: Duration::ZERO, decisions: Duration::ZERO };
    let purge = async |limit| desk.store.purge(desk.account, none, limit).await.unwrap();
    let kept = async || {
        let audit = desk.store.audit(desk.account, None, 100).await.unwrap();
        audit.iter().map(|change| change.version).collect::<Vec<_>>()
    };

    assert_eq!(purge(100).await, 3, "the versions but the newest");
    assert_eq!(kept().await, [4, 3, 2, 1]);
    desk.pass(AUDIT_KEPT - SECOND * 4).await;
    assert_eq!((purge(100).await, kept().await), (0, vec![4, 3, 2, 1]), "the first is a year old");
    desk.pass(SECOND * 3).await;
    assert_eq!((purge(2).await, kept().await), (2, vec![4, 3]));
    assert_eq!((purge(2).await, kept().await), (1, vec![4]));
    assert_eq!(purge(2).await, 0);
    assert!(AUDIT_KEPT >= Duration::from_secs(365 * 24 * 3600));
}
