//! What is long is worked off in parts, in order, and hides nobody.

use sebastian_core::{
    EventKind, Hints, Label, Listing, NewEvent, Order, Priority, Source, TeamId, rulebook::Route,
};

use super::{
    governing::{keep_vip_from_ana, labelled, sort_sales},
    on_every_ledger,
};
use crate::desk::*;

on_every_ledger! {
    whoever_stands_behind_many_that_are_kept_from_the_one_with_room_is_served_in_the_same_round
    whoever_stands_behind_many_that_were_refused_is_served_in_the_same_round
    queues_that_nobody_can_serve_are_not_shown_to_the_rule
    all_that_the_rules_kept_out_stand_in_line_again_before_anybody_is_served
    a_queue_too_long_to_be_sorted_at_once_is_served_when_it_is_sorted
    a_process_that_has_not_decided_yet_goes_by_the_rules
}

/// More than are moved in one transaction.
const MANY: usize = 2_100;

/// Ana has room for one, Budi is full by the platform's count.
fn ana_has_room() -> Crew {
    let mut crew = Crew::of(2).capacity(1);
    crew.agents[1].reported_load = Some(1);
    crew
}

fn tagged(n: usize, tag: &str) -> NewEvent {
    let hints = Hints { tags: [Label::parse(tag).unwrap()].into(), ..Hints::default() };
    let kind = EventKind::Allocate { inbox: Some(SALES), latest_service: None, hints };
    NewEvent { room: room(n), kind, source: Source::Webhook }
}

async fn whoever_stands_behind_many_that_are_kept_from_the_one_with_room_is_served_in_the_same_round(
    desk: Desk,
) {
    desk.amend(keep_vip_from_ana).await;
    for n in 0..200 {
        desk.accept([allocate(&room(n)), labelled(n, &["vip"])]).await;
    }
    desk.accept([allocate(&room(200))]).await;

    let decided = desk.decide(&ana_has_room(), 10).await;

    assert_eq!(rooms_of(&decided.reserved), [room(200)]);
    assert_eq!(agents_of(&decided.reserved), [ANA]);
    let recorded = desk.decisions(decided.reserved[0].attempt.conversation).await;
    assert_eq!(recorded[0].snapshot.waiting.len(), 1, "those passed over are not recorded");
}

async fn whoever_stands_behind_many_that_were_refused_is_served_in_the_same_round(desk: Desk) {
    desk.accept((0..40).map(|n| allocate(&room(n)))).await;
    let refused = desk.reserve(&Crew::of(1).capacity(40)).await;
    assert_eq!(refused.len(), 40);
    desk.release(&refused, true).await;
    desk.accept([allocate(&room(40))]).await;

    let decided = desk.decide(&ana_has_room(), 10).await;

    assert_eq!(rooms_of(&decided.reserved), [room(40)]);
}

async fn queues_that_nobody_can_serve_are_not_shown_to_the_rule(desk: Desk) {
    desk.accept((0..50).map(|n| allocate_in(&room(n), Some(SUPPORT)))).await;
    desk.accept([allocate(&room(50))]).await;
    let crew = Crew::of(1);
    let request = sebastian_store::Decide {
        account: desk.account,
        roster: sebastian_core::Roster::new(1, desk.now(), crew.agents.clone()).into(),
        answers: std::sync::Arc::default(),
        policy: &crew.policy,
        limit: 10,
        record: false,
    };
    let shown = std::sync::Mutex::new(Vec::new());
    let rule = |snapshot: &sebastian_core::Snapshot, _| {
        shown.lock().unwrap().extend(snapshot.waiting.iter().map(|head| head.room.clone()));
        Vec::new()
    };
    desk.store.decide(&request, &rule).await.unwrap();

    assert_eq!(*shown.lock().unwrap(), [room(50)]);
}

async fn all_that_the_rules_kept_out_stand_in_line_again_before_anybody_is_served(desk: Desk) {
    desk.amend(keep_vip_from_ana).await;
    let crew = Crew::of(1).capacity(5_000);
    desk.accept((0..MANY).map(|n| tagged(n, "vip"))).await;
    while desk.decide(&crew, 5).await.more {}
    assert_eq!(desk.counts().await.parked, MANY as u64);
    desk.accept([allocate(&room(MANY))]).await;
    desk.amend(|rules| rules.capacity_policies.clear()).await;

    let first = desk.decide(&crew, 5).await;
    let second = desk.decide(&crew, 5).await;

    assert_eq!((first.reserved.len(), first.more), (0, true));
    assert_eq!(rooms_of(&second.reserved), [0, 1, 2, 3, 4].map(room));
    assert_eq!(desk.counts().await.parked, 0);
}

async fn a_queue_too_long_to_be_sorted_at_once_is_served_when_it_is_sorted(desk: Desk) {
    let high = Route {
        source: None,
        channel: Some(SALES),
        tag: None,
        inbox: None,
        team: None,
        priority: Some(Priority::High),
        label: None,
        language: None,
    };
    desk.amend(|rules| rules.routes = vec![high.clone()]).await;
    desk.accept((0..MANY).map(|n| allocate(&room(n)))).await;
    desk.accept([allocate_in(&room(MANY), Some(SUPPORT))]).await;
    while desk.fold().await.more {}
    let mut crew = Crew::of(1).capacity(100);
    crew.agents[0].inboxes = Some(vec![SALES, SUPPORT]);
    desk.amend(|rules| sort_sales(rules, Order::Priority)).await;

    let first = desk.decide(&crew, 5).await;
    let second = desk.decide(&crew, 5).await;

    assert_eq!((rooms_of(&first.reserved), first.more), (vec![room(MANY)], true));
    assert_eq!(rooms_of(&second.reserved), [0, 1, 2, 3, 4].map(room));
}

async fn a_process_that_has_not_decided_yet_goes_by_the_rules(desk: Desk) {
    let to_team = Route {
        source: None,
        channel: Some(SALES),
        tag: None,
        inbox: None,
        team: Some(TeamId(5)),
        priority: None,
        label: None,
        language: None,
    };
    desk.amend(|rules| rules.routes = vec![to_team.clone()]).await;
    let listing = Listing { agent: ANA, asked_at: desk.now(), rooms: [(room(1), Some(SALES))].into() };

    desk.another().adopt(desk.account, &listing).await.unwrap();

    assert_eq!(desk.latest(&room(1)).await.traits.team, Some(TeamId(5)));
}
