//! Wake-ups in one process. The clock is paused: it moves only when everything sleeps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake},
    time::Duration,
};

use apalis_core::{backend::Backend, worker::context::WorkerContext};
use sebastian_core::AccountId;
use sebastian_roster::{Doorbell, WakeReason, WakeUp, WakeUps, WakeUpsConfig};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, NEVER, ring, wake};

fn desk(accounts: &[i64], sweep: Duration) -> Desk {
    Desk::open(accounts, sweep, WakeUps::in_process)
}

#[tokio::test(start_paused = true)]
async fn rings_during_a_run_cause_exactly_one_more_run() {
    let mut desk = desk(&[], NEVER).hold();
    ring(&desk.bell, 1, 10).await;
    assert_eq!(desk.next().await, wake(1, 10));
    for rung_at_ms in [30, 20, 40] {
        ring(&desk.bell, 1, rung_at_ms).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.started(), 0, "a second run of an account does not start beside the first");
    desk.release();
    assert_eq!(desk.next().await, wake(1, 20), "three rings are one run, for the earliest of them");
    desk.release();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.started(), 0);
}

#[tokio::test(start_paused = true)]
async fn rings_before_a_run_are_one_run() {
    let stop = CancellationToken::new();
    let wake_ups = WakeUps::in_process(WakeUpsConfig { accounts: vec![], sweep: NEVER, stop });
    let bell = wake_ups.bell();
    for (account, rung_at_ms) in [(2, 5), (1, 4), (2, 3), (1, 6)] {
        ring(&bell, account, rung_at_ms).await;
    }
    let mut desk = Desk::open(&[], NEVER, |_| wake_ups);
    assert_eq!(desk.next().await, wake(2, 3), "accounts run in the order of their first rings");
    assert_eq!(desk.next().await, wake(1, 4));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.started(), 0);
}

#[tokio::test(start_paused = true)]
async fn accounts_do_not_wait_for_each_other() {
    let mut desk = desk(&[], NEVER).hold();
    ring(&desk.bell, 1, 0).await;
    assert_eq!(desk.next().await, wake(1, 0));
    ring(&desk.bell, 2, 0).await;
    assert_eq!(desk.next().await, wake(2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_sweep_rings_each_account_at_once_and_at_each_interval() {
    let began = Instant::now();
    let mut desk = desk(&[1, 2], Duration::from_secs(1));
    for second in 0..5 {
        for account in [1, 2] {
            let wake = desk.next().await;
            assert_eq!((wake.account, wake.reason), (AccountId(account), WakeReason::Timer));
            assert_eq!(began.elapsed().as_secs(), second);
        }
    }
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_is_not_polled_and_a_ring_wakes_it_once() {
    let stop = CancellationToken::new();
    let mut wake_ups = WakeUps::in_process(WakeUpsConfig { accounts: vec![], sweep: NEVER, stop });
    let (worker, count) = (WorkerContext::new("matcher"), Arc::new(Count(AtomicUsize::new(0))));
    let waker = count.clone().into();
    let mut cx = Context::from_waker(&waker);
    assert!(wake_ups.poll_ready(&mut cx, &worker).is_ready());
    assert!(wake_ups.poll_next(&mut cx, &worker).is_pending());
    assert_eq!(wake_ups.health().last_wake(), None);

    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(count.0.load(Ordering::SeqCst), 0);

    ring(&wake_ups.bell(), 1, 0).await;
    ring(&wake_ups.bell(), 2, 0).await;
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Some(Ok(task))) = wake_ups.poll_next(&mut cx, &worker) else { panic!("no task") };
    assert_eq!(task.args, wake(1, 0));
    assert!(wake_ups.health().last_wake().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_frees_its_account() {
    let mut desk = desk(&[], NEVER);
    let panics = WakeUp { reason: WakeReason::Freed, ..wake(1, 0) };
    desk.bell.ring(panics).await.unwrap();
    assert_eq!(desk.next().await, panics);
    ring(&desk.bell, 1, 1).await;
    assert_eq!(desk.next().await, wake(1, 1), "by the worker that the monitor started anew");
}

#[tokio::test(start_paused = true)]
async fn a_bell_has_room_for_a_limited_number_of_accounts() {
    let stop = CancellationToken::new();
    let wake_ups = WakeUps::in_process(WakeUpsConfig { accounts: vec![], sweep: NEVER, stop });
    let bell = wake_ups.bell();
    for account in 0..1_024 {
        ring(&bell, account, 1).await;
    }
    assert!(bell.ring(wake(1_024, 1)).await.is_err());
    ring(&bell, 5, 0).await;
    let mut desk = Desk::open(&[], NEVER, |_| wake_ups);
    for account in 0..1_024 {
        assert_eq!(desk.next().await.account, AccountId(account));
    }
    ring(&desk.bell, 1_024, 1).await;
    assert_eq!(desk.next().await, wake(1_024, 1), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_handler_and_no_longer() {
    let mut desk = desk(&[1], Duration::from_secs(1)).hold();
    desk.next().await;
    desk.shut();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!desk.is_closed(), "a handler is at work");
    desk.release();
    desk.closed().await;
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_sweep_at_once_and_rings_still_work() {
    let mut desk = desk(&[1], Duration::from_secs(1));
    desk.next().await;
    desk.stop.cancel();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.started(), 0);
    ring(&desk.bell, 1, 1).await;
    assert_eq!(desk.next().await, wake(1, 1));
}
