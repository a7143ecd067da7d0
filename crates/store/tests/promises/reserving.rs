//! Slots are taken with their counters, in order, within every limit.

use sebastian_core::{AgentLoad, State, Timing};
use sebastian_store::PauseReason;

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    a_reservation_takes_the_slot_and_moves_the_counters
    a_full_desk_gives_nothing_out
    the_limit_of_a_round_is_kept_and_more_is_said
    those_nobody_free_may_take_hold_up_nobody
    a_rotation_outlives_the_round
    first_reservations_are_told_in_order
    a_new_shift_counts_assignments_anew
    a_stale_roster_gives_nothing_out
    a_paused_account_folds_and_gives_nothing_out
    pauses_while_paused_are_one_failure
    probation_tries_one_conversation_at_a_time
}

async fn a_reservation_takes_the_slot_and_moves_the_counters(desk: Desk) {
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    let mut crew = Crew::of(1);
    crew.agents[0].online_since = Some(desk.now());
    desk.pass(SECOND).await;

    let reserved = desk.reserve(&crew).await;

    let (now, loads) = (desk.now(), desk.store.loads(desk.account, desk.now()).await.unwrap());
    let expected = AgentLoad {
        open: 2,
        shift: crew.agents[0].online_since,
        shift_assignments: 2,
        last_assigned_at: Some(now),
        ..AgentLoad::none(ANA)
    };
    assert_eq!(loads[&ANA], expected);
    let deadline = now + Timing::default().reservation;
    assert_eq!(desk.latest(&room(1)).await.state, State::Reserved { agent: ANA, deadline });
    let first = &reserved[0];
    assert_eq!((first.attempt.number, first.takeovers, first.reserved_at), (1, 0, now));
    assert_eq!(first.opened_at, desk.latest(&room(1)).await.opened_at);
}

async fn a_full_desk_gives_nothing_out(desk: Desk) {
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;
    let crew = Crew::of(1).capacity(2);
    desk.assign(&crew).await;

    let decided = desk.decide(&crew, 10).await;

    assert_eq!(decided, Default::default());
    assert_eq!(desk.counts().await.waiting, 1);
}

async fn the_limit_of_a_round_is_kept_and_more_is_said(desk: Desk) {
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;

    let first = desk.decide(&Crew::of(1), 2).await;
    let last = desk.decide(&Crew::of(1), 2).await;

    assert_eq!(rooms_of(&first.reserved), [room(0), room(1)]);
    assert_eq!(rooms_of(&last.reserved), [room(2)]);
    assert!(first.more && !last.more);
}

async fn those_nobody_free_may_take_hold_up_nobody(desk: Desk) {
    desk.accept((0..100).map(|n| allocate_in(&room(n), Some(SUPPORT)))).await;
    desk.accept([allocate(&room(100))]).await;

    let decided = desk.decide(&Crew::of(1), 10).await;

    assert_eq!(rooms_of(&decided.reserved), [room(100)]);
}

async fn a_rotation_outlives_the_round(desk: Desk) {
    desk.accept((0..6).map(|n| allocate(&room(n)))).await;
    let crew = Crew::of(3).round_robin();

    let mut turns = Vec::new();
    for _ in 0..6 {
        let reserved = desk.decide(&crew, 1).await.reserved;
        turns.extend(agents_of(&reserved).into_iter().map(|agent| agent.0));
    }

    assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
}

async fn first_reservations_are_told_in_order(desk: Desk) {
    desk.accept((0..4).map(|n| allocate(&room(n)))).await;
    let crew = Crew::of(2);
    let reserved = desk.decide(&crew, 2).await.reserved;
    desk.release(&reserved, false).await;
    desk.reserve(&crew).await;

    let told = desk.store.first_reservations(desk.account, 3).await.unwrap();

    let mut places = Vec::new();
    for n in 0..3 {
        places.push(desk.latest(&room(n)).await.position);
    }
    assert_eq!(told, places);
}

async fn a_new_shift_counts_assignments_anew(desk: Desk) {
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;
    let mut crew = Crew::of(1);
    crew.agents[0].online_since = Some(desk.now());
    desk.decide(&crew, 2).await;
    crew.agents[0].online_since = Some(desk.now() + SECOND);

    desk.decide(&crew, 1).await;

    let load = &desk.store.loads(desk.account, desk.now()).await.unwrap()[&ANA];
    assert_eq!((load.open, load.shift_assignments, load.shift), (3, 1, Some(desk.now() + SECOND)));
}

async fn a_stale_roster_gives_nothing_out(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let polled_at = desk.now();
    desk.pass(FORGIVEN).await;

    let decided = Crew::of(1).decide(&*desk.store, desk.account, polled_at, 10).await;

    assert_eq!((decided.folded, decided.reserved.len()), (1, 0));
}

async fn a_paused_account_folds_and_gives_nothing_out(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.store.pause(desk.account, SECOND * 5, PauseReason::Denied).await.unwrap();

    let paused = desk.decide(&Crew::of(1), 10).await;
    desk.pass(SECOND * 5).await;
    let over = desk.decide(&Crew::of(1), 10).await;

    let pause = paused.pause.unwrap();
    assert_eq!((pause.until, pause.reason), (desk.now(), PauseReason::Denied));
    assert_eq!((paused.folded, paused.reserved.len()), (1, 0));
    assert_eq!((over.pause, over.reserved.len()), (None, 1));
}

async fn pauses_while_paused_are_one_failure(desk: Desk) {
    let pause = async |span, reason| desk.store.pause(desk.account, span, reason).await.unwrap();
    pause(SECOND * 5, PauseReason::Busy).await;
    pause(SECOND * 2, PauseReason::Busy).await;
    pause(SECOND * 9, PauseReason::Denied).await;
    let first = desk.fold().await;
    desk.pass(SECOND * 9).await;

    pause(SECOND, PauseReason::Busy).await;
    let second = desk.fold().await;
    desk.store.resume(desk.account).await.unwrap();
    let still_paused = desk.fold().await;
    desk.pass(SECOND).await;
    desk.store.resume(desk.account).await.unwrap();
    let resumed = desk.fold().await;

    assert_eq!(still_paused.pause, second.pause, "a success told before the pause does not lift it");
    assert_eq!((first.failures, first.pause.unwrap().until), (1, desk.now() - SECOND));
    assert_eq!((second.failures, second.pause.unwrap().reason), (2, PauseReason::Busy));
    assert_eq!((resumed.failures, resumed.pause), (0, None));
}

async fn probation_tries_one_conversation_at_a_time(desk: Desk) {
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;
    desk.store.pause(desk.account, SECOND, PauseReason::Busy).await.unwrap();
    desk.pass(SECOND).await;

    let trial = desk.decide(&Crew::of(1), 10).await;
    desk.store.resume(desk.account).await.unwrap();
    let rest = desk.decide(&Crew::of(1), 10).await;

    assert_eq!((trial.failures, trial.reserved.len(), trial.more), (1, 1, false));
    assert_eq!((rest.failures, rest.reserved.len()), (0, 2));
}
