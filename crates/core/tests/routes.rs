//! What an arriving conversation is given by where it comes from.

use sebastian_core::{
    Conversation, EventKind, Hints, InboxId, Policy, Priority, Rulebook, TeamId, rulebook::Route,
};

use crate::{rules::label, support::*};

const CARE: TeamId = TeamId(41);
const VIP: TeamId = TeamId(42);

fn arrival(inbox: Option<InboxId>, source: &str, tags: &[&str]) -> EventKind {
    let hints = Hints { source: Some(source.to_owned()), tags: tags.iter().map(|tag| label(tag)).collect() };
    EventKind::Allocate { inbox, latest_service: None, hints }
}

/// A ledger under `routes`.
fn ledger(routes: impl IntoIterator<Item = Route>) -> Ledger {
    let rules = Rulebook { routes: routes.into_iter().collect(), ..Rulebook::default() };
    Ledger::under(rules, Policy::default())
}

/// The conversation that `kind` opens under `routes`.
fn routed(routes: impl IntoIterator<Item = Route>, kind: EventKind) -> Conversation {
    let mut ledger = ledger(routes);
    ledger.fold(&room(1), kind);
    ledger.open_in(&room(1)).clone()
}

#[test]
fn without_routes_tags_are_labels_and_the_inbox_is_the_channels() {
    let ours = routed([], arrival(Some(SALES), "wa", &["VIP", "late"]));

    assert_eq!(ours.inbox, Some(SALES));
    assert_eq!(ours.traits.labels, [label("vip"), label("late")].into());
    assert_eq!((ours.traits.team, ours.traits.priority, ours.traits.language), (None, None, None));
}

#[test]
fn a_route_matches_by_all_that_it_names_whatever_the_case() {
    let route = || Route {
        source: Some("WA".into()),
        channel: Some(SALES),
        tag: Some(label("vip")),
        team: Some(VIP),
        ..Route::default()
    };
    let team = |inbox, source, tags: &[&str]| routed([route()], arrival(inbox, source, tags)).traits.team;

    assert_eq!(team(Some(SALES), "wa", &["Vip"]), Some(VIP));
    assert_eq!(team(Some(SALES), "fb", &["vip"]), None);
    assert_eq!(team(Some(SUPPORT), "wa", &["vip"]), None);
    assert_eq!(team(None, "wa", &["vip"]), None);
    assert_eq!(team(Some(SALES), "wa", &["late"]), None);
}

#[test]
fn the_first_route_to_set_a_thing_wins_and_labels_accumulate() {
    let ours = routed(
        [
            Route { tag: Some(label("vip")), priority: Some(Priority::Urgent), ..Route::default() },
            Route { team: Some(VIP), label: Some(label("first")), ..Route::default() },
            Route {
                team: Some(CARE),
                priority: Some(Priority::Low),
                label: Some(label("second")),
                language: Some("id".into()),
                ..Route::default()
            },
        ],
        arrival(None, "wa", &["vip"]),
    );

    assert_eq!(ours.traits.team, Some(VIP));
    assert_eq!(ours.traits.priority, Some(Priority::Urgent));
    assert_eq!(ours.traits.labels, [label("vip"), label("first"), label("second")].into());
    assert_eq!(ours.traits.language.as_deref(), Some("id"));
}

#[test]
fn a_route_files_under_another_inbox_and_routes_see_the_channel_as_it_came() {
    let ours = routed(
        [
            Route { channel: Some(SALES), inbox: Some(SUPPORT), ..Route::default() },
            Route { channel: Some(SUPPORT), team: Some(CARE), ..Route::default() },
            Route { channel: Some(SALES), team: Some(VIP), ..Route::default() },
        ],
        arrival(Some(SALES), "wa", &[]),
    );

    assert_eq!((ours.inbox, ours.traits.team), (Some(SUPPORT), Some(VIP)));
}

#[test]
fn only_a_new_conversation_is_routed() {
    let mut ledger = ledger([]);
    ledger.fold(&room(1), arrival(Some(SALES), "wa", &[]));
    let route = Route { team: Some(CARE), label: Some(label("new")), ..Route::default() };
    ledger.rules = Rulebook { routes: vec![route], ..Rulebook::default() }.into();

    ledger.fold(&room(1), arrival(Some(SALES), "wa", &["vip"]));
    assert_eq!(ledger.open_in(&room(1)).traits, Default::default());

    ledger.fold(&room(1), resolve());
    ledger.fold(&room(1), arrival(Some(SALES), "wa", &["vip"]));
    assert_eq!(ledger.open_in(&room(1)).traits.team, Some(CARE));
}

#[test]
fn a_session_that_began_unseen_comes_from_where_the_last_one_did() {
    let route = Route { source: Some("wa".into()), team: Some(CARE), ..Route::default() };
    let mut ledger = ledger([route]);
    ledger.fold(&room(1), arrival(Some(SALES), "wa", &[]));
    ledger.assign(&room(1), ANA);
    ledger.pass(SETTLED);
    ledger.fold(&room(1), arrival(Some(SALES), "wa", &[]));

    ledger.fold(&room(1), resolve());

    let next = ledger.open_in(&room(1));
    assert!(next.is_doubted());
    assert_eq!((next.inbox, next.traits.team), (Some(SALES), Some(CARE)));
}

#[test]
fn an_adopted_conversation_is_routed_by_its_inbox() {
    let route = Route { channel: Some(SALES), team: Some(CARE), ..Route::default() };
    let mut ledger = ledger([route]);

    ledger.adopt_in(SALES, ANA, &[room(1)]);

    let ours = ledger.open_in(&room(1));
    assert_eq!((ours.inbox, ours.traits.team), (Some(SALES), Some(CARE)));
    assert_eq!(ours.rank, ours.opened_at);
}
