//! Every slot that was taken is confirmed, given back or taken over; only its latest attempt counts.

use sebastian_core::{Closed, ParkReason, Settled, Settlement, State, Timing, Verdict};
use sebastian_store::Attempt;

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    a_confirmed_reservation_is_an_assignment
    confirming_twice_confirms_once
    only_the_latest_attempt_confirms
    a_stale_confirm_after_a_take_over_is_fenced_off
    a_confirm_of_another_account_is_none
    settlements_are_answered_in_order
    a_released_conversation_is_first_in_line_again
    a_refused_agent_is_left_out_for_a_while
    a_conversation_that_all_were_refused_for_sits_out_and_wakes
    a_release_gives_the_turn_back
    a_room_that_needs_nobody_frees_the_slot
    a_take_over_takes_a_new_attempt_and_deadline
    the_longest_overdue_are_taken_over_first
    resolve_twice_decrements_once
    a_resolve_of_a_waiting_conversation_withdraws_it
    a_resolve_of_an_old_session_is_ignored
    a_resolve_during_the_call_keeps_the_slot_until_it_settles
    the_next_conversation_of_a_room_waits_until_the_last_one_settled
}

async fn a_confirmed_reservation_is_an_assignment(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let reserved = desk.reserve(&Crew::of(1)).await;
    desk.pass(SECOND).await;

    desk.confirm(&reserved).await;

    assert_eq!(desk.latest(&room(1)).await.state, State::Assigned { agent: ANA, at: desk.now() });
    assert_eq!(desk.open_of(ANA).await, 1);
}

async fn confirming_twice_confirms_once(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let attempt = desk.assign(&Crew::of(1)).await[0].attempt;

    let again = desk.store.confirm(desk.account, &[attempt]).await.unwrap();

    assert_eq!(again, []);
    assert_eq!(desk.open_of(ANA).await, 1);
}

async fn only_the_latest_attempt_confirms(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let first = desk.reserve(&Crew::of(1)).await;
    desk.release(&first, false).await;
    let second = desk.reserve(&Crew::of(1)).await;

    let attempts = [first[0].attempt, second[0].attempt];
    let confirmed = desk.store.confirm(desk.account, &attempts).await.unwrap();

    assert_eq!(confirmed, [second[0].attempt]);
}

async fn a_stale_confirm_after_a_take_over_is_fenced_off(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let asleep = desk.reserve(&Crew::of(1)).await[0].attempt;
    desk.pass(OVERDUE).await;
    let taken = desk.store.take_over(desk.account, 10).await.unwrap();

    let confirmed = desk.store.confirm(desk.account, &[asleep]).await.unwrap();
    let settled = desk.settle(asleep, Verdict::Released { refused: false }).await;

    assert_eq!((confirmed.len(), settled), (0, Settled::Stale));
    desk.confirm(&taken).await;
    assert_eq!(desk.open_of(ANA).await, 1);
}

async fn a_confirm_of_another_account_is_none(desk: Desk) {
    let other = desk.store.open_account("qiscus", "other").await.unwrap();
    desk.accept([allocate(&room(1))]).await;
    let attempt = desk.reserve(&Crew::of(1)).await[0].attempt;

    assert_eq!(desk.store.confirm(other, &[attempt]).await.unwrap(), []);
}

async fn settlements_are_answered_in_order(desk: Desk) {
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;
    let reserved = desk.reserve(&Crew::of(1)).await;
    let settlement = |n: usize, late: u32| Settlement {
        conversation: reserved[n].attempt.conversation,
        attempt: reserved[n].attempt.number + late,
        verdict: Verdict::Assigned,
    };

    let settlements = [settlement(2, 0), settlement(0, 1), settlement(1, 0)];
    let settled = desk.store.settle(desk.account, &settlements).await.unwrap();

    assert_eq!(settled, [Settled::Applied, Settled::Stale, Settled::Applied]);
    assert_eq!(desk.counts().await.assigned, 2);
}

async fn a_released_conversation_is_first_in_line_again(desk: Desk) {
    desk.accept((0..3).map(|n| allocate(&room(n)))).await;
    let crew = Crew::of(1).capacity(1);
    let reserved = desk.reserve(&crew).await;

    desk.release(&reserved, false).await;

    assert_eq!(desk.open_of(ANA).await, 0);
    let again = desk.reserve(&crew).await;
    assert_eq!(rooms_of(&again), [room(0)]);
    assert_eq!(again[0].attempt, Attempt { number: 2, ..reserved[0].attempt });
}

async fn a_refused_agent_is_left_out_for_a_while(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let crew = Crew::of(2);
    let to_ana = desk.reserve(&crew).await;

    desk.release(&to_ana, true).await;
    let to_budi = desk.reserve(&crew).await;
    desk.pass(FORGIVEN).await;
    desk.release(&to_budi, true).await;
    let to_ana_again = desk.reserve(&crew).await;

    assert_eq!(agents_of(&[to_ana, to_budi, to_ana_again].concat()), [ANA, BUDI, ANA]);
}

async fn a_conversation_that_all_were_refused_for_sits_out_and_wakes(desk: Desk) {
    desk.accept([allocate(&room(1)), allocate(&room(2))]).await;
    let crew = Crew::of(1).capacity(1);
    let refused = desk.reserve(&crew).await;
    desk.release(&refused, true).await;

    let behind = desk.reserve(&crew).await;
    let parked = desk.counts().await;
    desk.release(&behind, false).await;
    desk.pass(FORGIVEN).await;
    let woken = desk.reserve(&crew).await;

    assert_eq!((rooms_of(&behind), parked.parked), (vec![room(2)], 1));
    assert_eq!(rooms_of(&woken), [room(1)]);
}

async fn a_release_gives_the_turn_back(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let crew = Crew::of(3).round_robin();

    let mut turns = Vec::new();
    for _ in 0..3 {
        let reserved = desk.reserve(&crew).await;
        desk.release(&reserved, false).await;
        turns.extend(agents_of(&reserved));
    }

    assert_eq!(turns, [ANA; 3]);
    let load = &desk.store.loads(desk.account, desk.now()).await.unwrap()[&ANA];
    assert_eq!((load.open, load.shift_assignments), (0, 0));
}

async fn a_room_that_needs_nobody_frees_the_slot(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let attempt = desk.reserve(&Crew::of(1)).await[0].attempt;

    desk.settle(attempt, Verdict::Closed(Closed::RoomGone)).await;

    let state = desk.latest(&room(1)).await.state;
    assert_eq!(state, State::Resolved { at: desk.now(), how: Closed::RoomGone });
    assert_eq!(desk.open_of(ANA).await, 0);
}

async fn a_take_over_takes_a_new_attempt_and_deadline(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let reserved = desk.reserve(&Crew::of(1)).await;
    assert_eq!(desk.store.take_over(desk.account, 10).await.unwrap(), []);
    desk.pass(OVERDUE).await;
    assert_eq!(desk.counts().await.overdue, 1);

    let taken = desk.store.take_over(desk.account, 10).await.unwrap();
    let at_once = desk.store.take_over(desk.account, 10).await.unwrap();
    desk.pass(OVERDUE).await;
    let again = desk.store.take_over(desk.account, 10).await.unwrap();

    assert_eq!(taken[0].attempt, Attempt { number: 2, ..reserved[0].attempt });
    assert_eq!((taken[0].reserved_at, taken[0].takeovers), (again[0].reserved_at - OVERDUE, 1));
    assert_eq!((at_once.len(), again[0].takeovers), (0, 2));
    let deadline = desk.now() + Timing::default().reservation;
    assert_eq!(desk.latest(&room(1)).await.state, State::Reserved { agent: ANA, deadline });
    assert_eq!(desk.open_of(ANA).await, 1);
}

async fn the_longest_overdue_are_taken_over_first(desk: Desk) {
    for n in [1, 2] {
        desk.accept([allocate(&room(n))]).await;
        desk.reserve(&Crew::of(1)).await;
        desk.pass(SECOND).await;
    }
    desk.pass(OVERDUE).await;
    desk.pass(SECOND).await;

    let first = desk.store.take_over(desk.account, 1).await.unwrap();
    let second = desk.store.take_over(desk.account, 10).await.unwrap();

    assert_eq!((rooms_of(&first), rooms_of(&second)), (vec![room(1)], vec![room(2)]));
}

async fn resolve_twice_decrements_once(desk: Desk) {
    desk.accept([allocate_naming(&room(1), 1, false), allocate(&room(2))]).await;
    desk.assign(&Crew::of(1)).await;

    desk.accept([resolve_session(&room(1), 1), resolve_session(&room(1), 1)]).await;
    desk.fold().await;
    desk.accept([resolve_session(&room(1), 1), resolve(&room(1))]).await;
    desk.fold().await;

    assert_eq!(desk.open_of(ANA).await, 1);
    assert_eq!(desk.counts().await.assigned, 1);
}

async fn a_resolve_of_a_waiting_conversation_withdraws_it(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;

    desk.accept([resolve(&room(1))]).await;

    assert_eq!(desk.reserve(&Crew::of(1)).await, []);
    let state = desk.latest(&room(1)).await.state;
    assert_eq!(state, State::Resolved { at: desk.now(), how: Closed::Resolved });
}

async fn a_resolve_of_an_old_session_is_ignored(desk: Desk) {
    desk.accept([allocate_naming(&room(1), 1, false), resolve_session(&room(1), 1)]).await;
    desk.fold().await;
    desk.accept([allocate_naming(&room(1), 1, true)]).await;
    desk.assign(&Crew::of(1)).await;

    desk.accept([resolve_session(&room(1), 1)]).await;
    desk.fold().await;

    assert_eq!(desk.open_of(ANA).await, 1);
    assert!(desk.latest(&room(1)).await.is_assigned());
}

async fn a_resolve_during_the_call_keeps_the_slot_until_it_settles(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let attempt = desk.reserve(&Crew::of(1)).await[0].attempt;

    desk.accept([resolve(&room(1))]).await;
    desk.fold().await;
    let confirmed = desk.store.confirm(desk.account, &[attempt]).await.unwrap();

    assert_eq!((confirmed.len(), desk.open_of(ANA).await), (0, 1));
    assert!(matches!(desk.latest(&room(1)).await.state, State::Closing { agent: ANA, .. }));
    assert_eq!(desk.settle(attempt, Verdict::Assigned).await, Settled::Applied);
    assert_eq!(desk.open_of(ANA).await, 0);
}

async fn the_next_conversation_of_a_room_waits_until_the_last_one_settled(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let attempt = desk.reserve(&Crew::of(1)).await[0].attempt;
    desk.accept([resolve(&room(1)), allocate(&room(1))]).await;

    assert_eq!(desk.reserve(&Crew::of(1)).await, []);
    let State::Waiting { park: Some(park) } = desk.latest(&room(1)).await.state else {
        panic!("the next one is parked")
    };
    assert_eq!(park.why, ParkReason::PreviousClosing);
    desk.settle(attempt, Verdict::Assigned).await;

    assert!(desk.is_waiting(&room(1)).await);
    assert_eq!(rooms_of(&desk.reserve(&Crew::of(1)).await), [room(1)]);
}
