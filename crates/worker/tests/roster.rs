//! The roster: who polls, what is believed, what happens without one.

use std::{sync::Arc, time::Duration};

use sebastian_core::{AgentId, State};
use sebastian_platform::simulated::{Answer, Endpoint, Fault, RosterFault, Target};
use sebastian_roster::RosterCache;
use sebastian_testkit::eventually;

use crate::{
    desk::{Desk, Hands, SOON},
    wrapped::{NoCache, Wrapped},
};

async fn published(desk: &Desk) -> (u64, usize) {
    let roster = desk.cache.newer_than(desk.account, 0).await.unwrap();
    roster.map_or((0, 0), |roster| (roster.version, roster.agents.len()))
}

async fn published_again(desk: &Desk) {
    let (version, _) = published(desk).await;
    eventually("a newer roster is published", SOON, async || published(desk).await.0 > version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_started_while_the_platform_is_down_begins_when_it_is_back() {
    let mut desk = Desk::of(2, 3).await;
    let down = desk.platform.set_fault(Fault::instead(Target::Everything, Answer::Drop));
    desk.add_worker();
    desk.chat("room-1").await;
    desk.called_again(Endpoint::Agents, 3).await;

    desk.platform.clear_fault(down);

    desk.assigned_in_ledger("room-1").await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_roster_cut_short_takes_nobody_away() {
    for fault in [RosterFault::Empty, RosterFault::Partial(1), RosterFault::Partial(3)] {
        let mut desk = Desk::of(4, 3).await;
        desk.add_worker();
        published_again(&desk).await;

        desk.platform.set_fault(Fault::roster(fault).times(1));
        let struck = |call: &&sebastian_platform::simulated::Request| call.faulted;
        desk.platform
            .wait_until(SOON, |state| state.requests().iter().any(|call| struck(&call)))
            .await
            .unwrap();
        published_again(&desk).await;

        // Four agents and the owner.
        assert_eq!(published(&desk).await.1, 5, "{fault:?}");
        desk.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_who_are_gone_for_good_leave_the_roster() {
    let mut desk = Desk::of(4, 3).await;
    desk.add_worker();
    published_again(&desk).await;

    desk.platform.set_fault(Fault::roster(RosterFault::Partial(3)));

    eventually("it is believed", SOON, async || published(&desk).await.1 == 3).await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_went_offline_is_given_nothing_after_the_next_poll() {
    let mut desk = Desk::of(2, 10).await;
    let [gone, stays] = desk.agents()[..] else { panic!("two agents") };
    desk.add_worker();
    published_again(&desk).await;
    desk.platform.set_presence(gone, false);
    published_again(&desk).await;
    published_again(&desk).await;

    for n in 0..6 {
        desk.chat(&format!("room-{n}")).await;
    }

    desk.assigned(6).await;
    assert_eq!((desk.platform.load(gone), desk.platform.load(stays)), (0, 6));
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_stops_another_polls() {
    let mut desk = Desk::of(2, 3).await;
    desk.add_worker();
    published_again(&desk).await;
    desk.add_worker();

    desk.stop_first().await;

    published_again(&desk).await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_dies_another_polls_and_reconciles() {
    let mut desk = Desk::of(2, 3).await;
    desk.add_worker();
    published_again(&desk).await;
    desk.add_worker();

    desk.crash_first();
    published_again(&desk).await;

    desk.platform.new_chat("unheard-of", crate::desk::WA);
    desk.assigned_in_ledger("unheard-of").await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_each_worker_polls_for_itself() {
    let mut desk = Desk::of(2, 3).await;
    let idle = Wrapped { decides: false, ..Wrapped::new(desk.store.clone()) };
    desk.add(Hands { store: Arc::new(idle), cache: Arc::new(NoCache), ..desk.hands() });
    desk.called_again(Endpoint::Agents, 2).await;

    desk.add(Hands { cache: Arc::new(NoCache), ..desk.hands() });

    desk.chat("room-1").await;
    desk.assigned_in_ledger("room-1").await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_roster_assigns_to_nobody_until_a_poll_succeeds() {
    let mut desk = Desk::of(2, 3).await;
    desk.policy.staleness_max = Duration::from_millis(600);
    desk.add_worker();
    desk.chat("room-1").await;
    desk.assigned_in_ledger("room-1").await;
    let down = desk.platform.set_fault(Fault::instead(Endpoint::Agents, Answer::Status(500)));
    desk.called_again(Endpoint::Agents, 5).await;

    desk.chat("room-2").await;
    desk.called_again(Endpoint::Agents, 2).await;
    assert!(matches!(desk.state("room-2").await, Some(State::Waiting { park: None })));
    desk.platform.clear_fault(down);

    desk.assigned_in_ledger("room-2").await;
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_comes_online_is_found_by_the_next_poll() {
    let mut desk = Desk::of(1, 3).await;
    let late: AgentId = desk.agents()[0];
    desk.platform.set_presence(late, false);
    desk.add_worker();
    desk.chat("room-1").await;
    desk.called_again(Endpoint::Agents, 2).await;
    assert!(!desk.is_assigned("room-1").await);

    desk.platform.set_presence(late, true);

    assert_eq!(desk.assigned_in_ledger("room-1").await, late);
    desk.stop().await;
}
