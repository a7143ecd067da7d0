//! Several processes at work on one account.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use sebastian_core::{AccountId, RoomId, Seq, State, Verdict};
use sebastian_store::{Attempt, Reservation, Store};
use tokio::task::JoinSet;

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    events_of_many_writers_are_folded_in_order_and_none_is_skipped
    deciders_at_once_reserve_each_once_and_nobody_above_capacity
    deciders_and_resolvers_at_once_serve_everyone_within_capacity
    two_takers_share_no_reservation
    a_confirm_while_the_room_is_folded_is_not_lost
    a_take_over_while_the_room_is_folded_keeps_its_fence
    two_openers_of_an_account_get_the_same
    a_lease_many_ask_for_is_given_to_one
}

async fn events_of_many_writers_are_folded_in_order_and_none_is_skipped(desk: Desk) {
    const WRITERS: usize = 12;
    const BATCHES: usize = 20;
    let rooms_of = |writer: usize, batch: usize| {
        let first = (writer * BATCHES + batch) * 3;
        (first..first + 3).map(room).collect::<Vec<RoomId>>()
    };
    let stores: Vec<Arc<dyn Store>> = (0..3).map(|_| desk.another()).collect();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, account) = (stores[writer % stores.len()].clone(), desk.account);
        writers.spawn(async move {
            for batch in 0..BATCHES {
                let events: Vec<_> = rooms_of(writer, batch).iter().map(allocate).collect();
                store.accept(account, &events).await.unwrap();
            }
        });
    }

    let mut folded = 0;
    while folded < (WRITERS * BATCHES * 3) as u32 {
        folded += desk.fold().await.folded;
        assert!(!writers.is_empty() || desk.counts().await.unfolded > 0 || folded > 0);
    }
    writers.join_all().await;

    assert_eq!(desk.counts().await.waiting, (WRITERS * BATCHES * 3) as u64);
    for writer in 0..WRITERS {
        let mut last = Seq(0);
        for batch in 0..BATCHES {
            let mut places = Vec::new();
            for room in rooms_of(writer, batch) {
                places.push(desk.latest(&room).await.position);
            }
            assert!(last < places[0], "a writer's batches keep their order");
            assert!(places.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "a batch stays together");
            last = places[2];
        }
    }
}

async fn deciders_at_once_reserve_each_once_and_nobody_above_capacity(desk: Desk) {
    desk.accept((0..200).map(|n| allocate(&room(n)))).await;
    let mut deciders = JoinSet::new();
    for _ in 0..8 {
        let (store, account, now) = (desk.another(), desk.account, desk.now());
        deciders.spawn(async move {
            let mut reserved = Vec::new();
            for _ in 0..10 {
                reserved.extend(Crew::of(10).decide(&*store, account, now, 5).await.reserved);
            }
            reserved
        });
    }

    let reserved = deciders.join_all().await.concat();

    let once: HashSet<_> = reserved.iter().map(|one| one.attempt.conversation).collect();
    let mut each: BTreeMap<_, u32> = BTreeMap::new();
    reserved.iter().for_each(|one| *each.entry(one.agent).or_default() += 1);
    assert_eq!((reserved.len(), once.len()), (30, 30));
    assert!(each.values().all(|held| *held == 3), "{each:?}");
    let told = desk.store.first_reservations(desk.account, 100).await.unwrap();
    assert!(told.is_sorted() && told.len() == 30, "{told:?}");
}

/// Decides, confirms and resolves until everyone was served. Returns whom this one served.
async fn serve(store: Arc<dyn Store>, account: AccountId, now: sebastian_core::Timestamp) -> Vec<RoomId> {
    let crew = Crew::of(10);
    let mut served = Vec::new();
    loop {
        let reserved: Vec<Reservation> = crew.decide(&*store, account, now, 5).await.reserved;
        let attempts: Vec<Attempt> = reserved.iter().map(|one| one.attempt).collect();
        let confirmed = store.confirm(account, &attempts).await.unwrap();
        assert_eq!(confirmed.len(), attempts.len());
        let loads = store.loads(account, now).await.unwrap();
        assert!(loads.values().all(|load| load.open <= 3), "{loads:?}");
        let resolved: Vec<_> = rooms_of(&reserved).iter().map(resolve).collect();
        store.accept(account, &resolved).await.unwrap();
        served.extend(rooms_of(&reserved));
        let counts = store.counts(account).await.unwrap();
        if counts.waiting + counts.unfolded + counts.assigned == 0 {
            return served;
        }
    }
}

async fn deciders_and_resolvers_at_once_serve_everyone_within_capacity(desk: Desk) {
    desk.accept((0..200).map(|n| allocate(&room(n)))).await;
    let mut servers = JoinSet::new();
    for _ in 0..4 {
        servers.spawn(serve(desk.another(), desk.account, desk.now()));
    }

    let served = servers.join_all().await.concat();

    assert_eq!(served.len(), 200);
    assert_eq!(served.iter().collect::<HashSet<_>>().len(), 200);
    let loads = desk.store.loads(desk.account, desk.now()).await.unwrap();
    assert!(loads.values().all(|load| load.open == 0), "{loads:?}");
}

async fn two_takers_share_no_reservation(desk: Desk) {
    desk.accept((0..60).map(|n| allocate(&room(n)))).await;
    desk.reserve(&Crew::of(20)).await;
    desk.pass(OVERDUE).await;
    let mut takers = JoinSet::new();
    for _ in 0..2 {
        let (store, account) = (desk.another(), desk.account);
        takers.spawn(async move {
            let mut taken = Vec::new();
            while store.counts(account).await.unwrap().overdue > 0 {
                taken.extend(store.take_over(account, 7).await.unwrap());
            }
            taken
        });
    }

    let taken = takers.join_all().await.concat();

    assert_eq!(taken.len(), 60);
    assert!(taken.iter().all(|one| (one.attempt.number, one.takeovers) == (2, 1)));
    assert_eq!(desk.counts().await.reserved, 60);
}

/// Repeats the allocate of every room, and folds, until told to stop.
async fn fold_repeats(store: Arc<dyn Store>, account: AccountId, now: sebastian_core::Timestamp) {
    let repeats: Vec<_> = (0..60).map(|n| allocate(&room(n))).collect();
    loop {
        store.accept(account, &repeats).await.unwrap();
        Crew::of(0).decide(&*store, account, now, 1).await;
        tokio::task::yield_now().await;
    }
}

async fn a_confirm_while_the_room_is_folded_is_not_lost(desk: Desk) {
    desk.accept((0..60).map(|n| allocate(&room(n)))).await;
    let reserved = desk.reserve(&Crew::of(20)).await;
    let folding = tokio::spawn(fold_repeats(desk.another(), desk.account, desk.now()));

    for one in &reserved {
        let confirmed = desk.store.confirm(desk.account, &[one.attempt]).await.unwrap();
        assert_eq!(confirmed, [one.attempt]);
    }
    folding.abort();
    desk.fold().await;

    assert_eq!((desk.counts().await.assigned, desk.counts().await.reserved), (60, 0));
}

async fn a_take_over_while_the_room_is_folded_keeps_its_fence(desk: Desk) {
    desk.accept((0..60).map(|n| allocate(&room(n)))).await;
    let reserved = desk.reserve(&Crew::of(20)).await;
    desk.pass(OVERDUE).await;
    let folding = tokio::spawn(fold_repeats(desk.another(), desk.account, desk.now()));

    let mut taken = Vec::new();
    while taken.len() < 60 {
        taken.extend(desk.store.take_over(desk.account, 3).await.unwrap());
    }
    folding.abort();
    desk.fold().await;

    let asleep: Vec<Attempt> = reserved.iter().map(|one| one.attempt).collect();
    assert_eq!(desk.store.confirm(desk.account, &asleep).await.unwrap(), []);
    desk.confirm(&taken).await;
    assert_eq!(
        desk.settle(asleep[0], Verdict::Released { refused: false }).await,
        sebastian_core::Settled::Stale
    );
    assert!(matches!(desk.latest(&room(0)).await.state, State::Assigned { .. }));
}

async fn two_openers_of_an_account_get_the_same(desk: Desk) {
    let mut openers = JoinSet::new();
    for _ in 0..8 {
        let store = desk.another();
        openers.spawn(async move { store.open_account("qiscus", "new").await.unwrap() });
    }

    let opened: HashSet<AccountId> = openers.join_all().await.into_iter().collect();

    assert_eq!(opened.len(), 1);
}

async fn a_lease_many_ask_for_is_given_to_one(desk: Desk) {
    let mut asking = JoinSet::new();
    for holder in 0..8 {
        let store = desk.another();
        asking.spawn(async move { store.lease("poller", &holder.to_string(), SECOND).await.unwrap() });
    }

    let given = asking.join_all().await.into_iter().filter(|given| *given).count();

    assert_eq!(given, 1);
}
