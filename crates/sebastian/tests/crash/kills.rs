//! Processes killed, or told to stop, in the middle of a burst, with the settings an installation has.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, future::join, stream};
use sebastian_core::RoomId;
use sebastian_platform::simulated::{Endpoint, Fault, FaultKind};
use sebastian_testkit::eventually;
use tokio_postgres::NoTls;

use crate::{
    acceptance::house::{House, PATIENCE, RECOVERY, WA, is_accepted, ours, rooms},
    processes::SOON,
};

/// Webhooks under way at once.
const SENDERS: usize = 16;

/// Customers write in `rooms`, and the ingest is killed as soon as `is_time`, which is told how many were accepted. Returns
/// the rooms whose webhook was accepted, and those whose was not.
pub async fn write_and_kill_the_ingest(
    house: &House,
    rooms: &[String],
    is_time: impl Fn(usize) -> bool,
) -> (Vec<String>, Vec<String>) {
    let accepted = AtomicUsize::new(0);
    let sending = stream::iter(rooms).map(|room| async {
        let is_accepted = is_accepted(&house.platform.customer_writes(room, WA).await);
        accepted.fetch_add(usize::from(is_accepted), Ordering::SeqCst);
        (room.clone(), is_accepted)
    });
    let killing = async {
        eventually("it is time to kill", PATIENCE, async || is_time(accepted.load(Ordering::SeqCst))).await;
        house.ingest.kill9();
    };
    let (sent, ()) = join(sending.buffered(SENDERS).collect::<Vec<_>>(), killing).await;
    let (accepted, lost): (Vec<_>, Vec<_>) = sent.into_iter().partition(|(_, is_accepted)| *is_accepted);
    let names = |sent: Vec<(String, bool)>| sent.into_iter().map(|(room, _)| room).collect();
    (names(accepted), names(lost))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_workers_killed_then_all_then_the_ingest_loses_and_doubles_nothing() {
    let mut house = House::open(20, 30, 3).await;
    house.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_millis(150)));
    let all = rooms(600);
    house.customers_write(&all[..400]).await;
    house.assigned(50, PATIENCE).await;

    house.workers.remove(0).kill9();
    house.assigned(150, RECOVERY).await;
    house.workers.drain(..).for_each(|worker| worker.kill9());

    let (accepted, lost) = write_and_kill_the_ingest(&house, &all[400..], |accepted| accepted >= 50).await;
    assert!(!lost.is_empty(), "the ingest was killed too late");
    let (store, account) = house.ledger().await;
    let accepted: Vec<RoomId> = accepted.iter().map(|room| RoomId::parse(room).unwrap()).collect();
    assert_eq!(store.unknown_rooms(account, &accepted).await.unwrap(), []);

    house.replace_ingest().await;
    house.customers_write(&lost).await;
    for _ in 0..2 {
        house.add_worker().await;
    }
    house.settled(all.len() as u64, RECOVERY).await;
    assert_eq!(house.violations().await, []);
    assert_eq!(house.count(), all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_replaced_while_the_platform_is_slow_sends_each_call_once_and_leaves_nobody_out() {
    const ROOMS: usize = 400;
    let mut house = House::open(20, 20, 1).await;
    let (min, max) = (Duration::from_millis(200), Duration::from_millis(1_500));
    house.platform.set_fault(Fault::new(Endpoint::Assign, FaultKind::Latency { min, max }));
    house.customers_write(&rooms(ROOMS)).await;
    house.assigned(ROOMS / 8, PATIENCE).await;

    let old = house.workers.remove(0);
    old.terminate();
    house.add_worker().await;

    assert_eq!(old.wait(SOON).await.code(), Some(0), "{}", old.output());
    house.settled(ROOMS as u64, RECOVERY).await;
    assert_eq!(house.violations().await, []);
    let calls = house.platform.requests().into_iter().filter(|request| request.endpoint == Endpoint::Assign);
    assert_eq!(calls.count(), ROOMS, "{}", old.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_confirmed_after_the_death_of_whoever_confirmed_it_counts_once() {
    let mut house = House::open(2, 3, 1).await;
    house.platform.set_fault(Fault::latency(Endpoint::Assign, Duration::from_secs(1)));
    let (store, account) = house.ledger().await;
    let (client, connection) = tokio_postgres::connect(&house.database_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    house.customers_write(&rooms(1)).await;
    let counts = async || store.counts(account).await.unwrap();
    eventually("a reservation", PATIENCE, async || counts().await.reserved == 1).await;

    // The statement reaches the server, waits there for the row, and outlives its worker.
    client.batch_execute("BEGIN; SELECT 1 FROM conversations FOR UPDATE").await.unwrap();
    house.platform.wait_until(PATIENCE, |state| ours(state).count() == 1).await.unwrap();
    let waiting =
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually("the confirmation waits", PATIENCE, async || {
        !client.query(waiting, &[]).await.unwrap().is_empty()
    })
    .await;
    house.workers.remove(0).kill9();
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("it is confirmed", PATIENCE, async || counts().await.assigned == 1).await;

    house.add_worker().await;
    house.customers_write(&rooms(2)[1..]).await;
    house.settled(2, RECOVERY).await;
    let calls = house.platform.requests().into_iter().filter(|request| request.endpoint == Endpoint::Assign);
    assert_eq!(calls.count(), 2);
    assert_eq!(house.violations().await, []);
}
