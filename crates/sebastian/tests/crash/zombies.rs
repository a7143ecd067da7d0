//! A worker that stands still for longer than its reservations and its lead last, and then goes on where it was.

use std::time::{Duration, Instant};

use sebastian_platform::simulated::{Endpoint, Fault, FaultKind};
use sebastian_testkit::eventually;
use tokio::time::MissedTickBehavior;

use super::desk::Desk;
use crate::acceptance::house::{House, PATIENCE, RECOVERY, ours, rooms};

const LEADS: &str = "polls and reconciles from now on";
const LEADS_NO_MORE: &str = "no longer polls and reconciles";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_after_others_took_over_changes_nothing() {
    let mut desk = Desk::open(5, 6, 40).await;
    let platform = desk.house.platform.clone();
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(220));
    let slow = platform.set_fault(Fault::new(Endpoint::Assign, FaultKind::Latency { min, max }));

    // Some of its calls were answered, the others are under way: it will find the answers when it wakes up.
    let zombie = desk.house.start_worker(&[]);
    platform.wait_until(PATIENCE, |state| ours(state).count() >= 5).await.unwrap();
    zombie.stop();
    desk.house.add_worker().await;
    desk.recovers("the other has settled what the zombie held").await;
    let said = |line: &str, what: &str| line.contains(what).then_some(());
    desk.house.workers[0].line("the other leads", RECOVERY, |line| said(line, LEADS)).await;
    let before = platform.applied();

    zombie.cont();
    zombie.line("it knows that it leads no more", RECOVERY, |line| said(line, LEADS_NO_MORE)).await;
    desk.recovers("nothing changed when it woke up").await;
    assert_eq!(platform.applied(), before);

    platform.clear_fault(slow);
    desk.serves_everyone().await;
}

/// A customer writes at each tick, and an agent resolves what they were given long ago. Returns how many rooms there are
/// afterwards.
async fn customers_keep_coming(house: &House, from: usize, span: Duration) -> usize {
    const OPEN: usize = 200;
    let (all, began) = (rooms(10_000), Instant::now());
    let mut ticks = tokio::time::interval(Duration::from_millis(40));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = from;
    while began.elapsed() < span {
        ticks.tick().await;
        house.customers_write(&all[count..=count]).await;
        count += 1;
        if let Some(done) = count.checked_sub(OPEN)
            && house.platform.agent_of(&all[done]).is_some()
        {
            house.resolve(&all[done]).await;
        }
    }
    count
}

#[ignore = "takes over a minute: cargo xtask test -- -p sebastian stood_still_for_a_minute -- --ignored"]
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_for_a_minute_under_load_gives_nobody_a_second_agent() {
    let house = House::open(30, 10, 3).await;
    let (min, max) = (Duration::from_millis(50), Duration::from_millis(700));
    house.platform.set_fault(Fault::new(Endpoint::Assign, FaultKind::Latency { min, max }));
    let before = customers_keep_coming(&house, 0, Duration::from_secs(5)).await;

    house.workers[0].stop();
    let during = customers_keep_coming(&house, before, Duration::from_secs(60)).await;
    house.workers[0].cont();
    let after = customers_keep_coming(&house, during, Duration::from_secs(5)).await;

    house.assigned(after, RECOVERY).await;
    let agree = async || {
        let (ours, agents) = (house.loads().await, house.agents());
        let theirs = agents.into_iter().map(|agent| (agent, house.platform.load(agent)));
        ours == theirs.filter(|(_, load)| *load > 0).collect()
    };
    eventually("loads agree", RECOVERY, agree).await;
    assert_eq!(house.violations().await, []);
    assert_eq!(house.count(), after);
    println!("{before} chats before, {} while it stood still, {} after", during - before, after - during);
}
