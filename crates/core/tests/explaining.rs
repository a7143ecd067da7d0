//! Why a conversation stands where it stands, in words.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sebastian_core::{
    Agent, Candidate, Case, Closed, Conversation, ConversationId, Explanation, NoRoster, Origin, Park,
    ParkReason, Policy, Presence, Rejection, Role, Roster, Seq, State,
};

use crate::support::{ANA, NOW, SALES, SECOND, SUPPORT, agent, load, room};

/// Opened two minutes ago, in sales.
fn conversation(state: State) -> Conversation {
    Conversation {
        id: ConversationId(9),
        inbox: Some(SALES),
        opened_at: NOW - SECOND * 120,
        last_activity_at: NOW - SECOND * 120,
        ..Conversation::blank(room(1), Seq(5), Origin::Event, state)
    }
}

fn named(id: i64, name: &str) -> Agent {
    Agent { name: name.into(), ..agent(id) }
}

fn case<'a>(conversation: &'a Conversation, policy: &'a Policy, agents: Vec<Agent>) -> Case<'a> {
    Case {
        conversation,
        place: None,
        served: None,
        pause: None,
        roster: Ok(Roster::new(1, NOW, agents).into()),
        loads: BTreeMap::new(),
        inbox_loads: BTreeMap::new(),
        windows: BTreeMap::new(),
        rules: Arc::default(),
        policy,
        decided: None,
        now: NOW,
    }
}

fn waiting() -> Conversation {
    conversation(State::Waiting { park: None })
}

fn sentence(state: State) -> String {
    let (conversation, policy) = (conversation(state), Policy::default());
    case(&conversation, &policy, vec![named(1, "Ayu")]).explain().sentence
}

#[test]
fn each_agent_is_named_with_the_reason_they_are_not_given_it() {
    let (mut conversation, policy) = (waiting(), Policy::default());
    conversation.refused = vec![(agent(4).id, NOW + SECOND)];
    let agents = vec![
        named(1, "Ayu"),
        Agent { presence: Presence::Offline, ..named(2, "Bima") },
        Agent { inboxes: Some(vec![SUPPORT]), ..named(3, "Citra") },
        named(4, "Dewi"),
        named(5, "Eka"),
    ];
    let full = BTreeMap::from([load(1, 3)]);
    let case = Case { place: Some(3), loads: full, ..case(&conversation, &policy, agents) };

    let Explanation { sentence, agents, .. } = case.explain();

    assert_eq!(
        sentence,
        "waiting 2 min, position 3; Ayu is full (3/3), Bima is offline, Citra is not in its inbox, Dewi is refused \
         for it by the platform, Eka could take it"
    );
    let reasons: Vec<Option<Rejection>> = agents.iter().map(|agent| agent.reason).collect();
    let [full, away, foreign, refused] =
        [Rejection::Full, Rejection::Presence, Rejection::NotInInbox, Rejection::Refused];
    assert_eq!(reasons, [Some(full), Some(away), Some(foreign), Some(refused), None]);
    assert_eq!((agents[0].load, agents[0].capacity, agents[4].load), (Some(3), Some(3), Some(0)));
}

#[test]
fn rarer_reasons_have_words_too() {
    let (conversation, policy) = (waiting(), Policy::default());
    let agents = vec![
        Agent { forced_offline: true, ..named(2, "Bima") },
        Agent { inboxes: None, ..named(3, "Citra") },
        Agent { reported_load: None, ..named(4, "Dewi") },
        Agent { presence: Presence::Busy, ..named(5, "") },
        Agent { presence: Presence::Away, ..named(6, "\u{1b}[2JEka ") },
    ];

    assert_eq!(
        case(&conversation, &policy, agents).explain().sentence,
        "waiting 2 min; Bima is forced offline, Citra is not known to be in its inbox, Dewi is \
         of unknown load, agent 5 is busy, [2JEka is away"
    );
}

#[test]
fn admins_and_supervisors_are_listed_and_not_spoken_of() {
    let (conversation, policy) = (waiting(), Policy::default());
    let admin = Agent { role: Role::Admin, ..named(1, "Ayu") };
    let supervisor = Agent { role: Role::Supervisor, ..named(2, "Bima") };

    let explained = case(&conversation, &policy, vec![admin, supervisor, named(3, "Citra")]).explain();

    assert_eq!(explained.sentence, "waiting 2 min; Citra could take it");
    let words: Vec<&str> = explained.agents.iter().map(Candidate::why).collect();
    assert_eq!(words, ["an admin", "a supervisor", "could take it"]);
}

#[test]
fn who_is_full_by_our_own_count_is_full_though_the_platform_tells_no_load() {
    let (conversation, policy) = (waiting(), Policy::default());
    let agents = vec![Agent { reported_load: None, ..named(1, "Ayu") }];
    let case = Case { loads: BTreeMap::from([load(1, 4)]), ..case(&conversation, &policy, agents) };

    assert_eq!(case.explain().sentence, "waiting 2 min; Ayu is full (4/3)");
}

#[test]
fn of_many_agents_the_reasons_are_counted() {
    let (conversation, policy) = (waiting(), Policy::default());
    let offline = |id| Agent { presence: Presence::Offline, ..agent(id) };
    let agents = (1..=3).map(agent).chain((4..=300).map(offline)).collect();
    let case = Case { loads: BTreeMap::from([load(1, 3)]), ..case(&conversation, &policy, agents) };

    let explained = case.explain();

    let counted = "of 300 agents 2 could take it, 297 are offline, 1 is full";
    assert_eq!(explained.sentence, format!("waiting 2 min; {counted}"));
    assert_eq!(explained.agents.len(), 300);
}

#[test]
fn a_roster_that_is_missing_old_or_empty_is_the_reason() {
    let (conversation, policy) = (waiting(), Policy::default());
    let with = |roster| Case { roster, ..case(&conversation, &policy, vec![]) }.explain();
    let old = Roster::new(1, NOW - SECOND * 90, vec![named(1, "Ayu")]);

    for (roster, reason) in [
        (Err(NoRoster::Missing), "there is no roster: a worker has to poll the platform first"),
        (Err(NoRoster::Unreachable), "the roster cache does not answer, so who is there is unknown"),
        (Ok(Roster::new(1, NOW, vec![]).into()), "the roster names nobody who is given chats"),
        (Ok(old.clone().into()), "the roster is 90 s old, and past 60 s nobody is given chats"),
    ] {
        assert_eq!(with(roster).sentence, format!("waiting 2 min; {reason}"));
    }
    assert_eq!(with(Ok(old.into())).agents[0].reason, Some(Rejection::RosterStale));
}

#[test]
fn a_pause_and_a_park_come_before_the_agents() {
    let park = Some(Park { until: NOW + SECOND * 4, why: ParkReason::Refused });
    let (conversation, policy) = (conversation(State::Waiting { park }), Policy::default());
    let paused = Some((NOW + SECOND * 10, "the platform is busy"));
    let case = Case { pause: paused, ..case(&conversation, &policy, vec![named(1, "Ayu")]) };

    assert_eq!(
        case.explain().sentence,
        "waiting 2 min, parked until 2023-11-14 22:13:24 UTC: the platform refused every agent who could serve it; \
         decisions are paused until 2023-11-14 22:13:30 UTC: the platform is busy; Ayu could take it"
    );
    let park = Some(Park { until: NOW, why: ParkReason::PreviousClosing });
    let told = sentence(State::Waiting { park });
    assert!(told.contains("UTC: the room's previous conversation is still being closed; "), "{told}");
}

#[test]
fn one_that_waits_no_more_has_a_sentence_and_no_candidates() {
    let (agent, at, deadline) = (ANA, NOW - SECOND * 60, NOW + SECOND);
    for (state, told) in [
        (State::Reserved { agent, deadline }, "reserved for Ayu: the platform is being told"),
        (
            State::Reserved { agent, deadline: NOW - SECOND },
            "reserved for Ayu: the platform is being told; the outcome is unknown since 2023-11-14 22:13:19 UTC, and \
             a worker asks",
        ),
        (
            State::Closing { agent, deadline },
            "resolved while the platform was being told of Ayu: the slot frees when that call settles",
        ),
        (State::Assigned { agent, at }, "assigned to Ayu since 2023-11-14 22:12:20 UTC"),
        (
            State::Resolved { at, how: Closed::Resolved },
            "resolved at 2023-11-14 22:12:20 UTC, before anybody served it",
        ),
        (
            State::Resolved { at, how: Closed::ServedElsewhere },
            "closed at 2023-11-14 22:12:20 UTC: somebody whom the platform did not name serves it",
        ),
        (
            State::Resolved { at, how: Closed::RoomGone },
            "closed at 2023-11-14 22:12:20 UTC: the platform does not know the room",
        ),
    ] {
        assert_eq!(sentence(state), told);
    }
    let over = conversation(State::Resolved { at: NOW, how: Closed::Resolved });
    let policy = Policy::default();
    let served = Some((ANA, NOW - SECOND * 60));
    let case = Case { served, roster: Err(NoRoster::Missing), ..case(&over, &policy, vec![]) };
    let Explanation { sentence, agents, .. } = case.explain();
    assert_eq!(
        sentence,
        "resolved at 2023-11-14 22:13:20 UTC, served by agent 1 since 2023-11-14 22:12:20 UTC"
    );
    assert_eq!(agents, []);
}

#[test]
fn a_span_is_told_in_its_two_largest_units() {
    for (seconds, told) in [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3_599, "59 min"),
        (3_600, "1 h 0 min"),
        (180_000, "2 d 2 h"),
    ] {
        let (mut conversation, policy) = (waiting(), Policy::default());
        conversation.opened_at = NOW - Duration::from_secs(seconds);
        let sentence = case(&conversation, &policy, vec![]).explain().sentence;
        assert!(sentence.starts_with(&format!("waiting {told};")), "{sentence}");
    }
}

#[test]
fn without_a_limit_nobody_is_full() {
    let (conversation, policy) = (waiting(), Policy { capacity: None, ..Policy::default() });
    let loads = BTreeMap::from([load(1, 40)]);
    let case = Case { loads, ..case(&conversation, &policy, vec![agent(1)]) };

    let able = &case.explain().agents[0];

    assert_eq!((able.reason, able.load, able.capacity), (None, Some(40), None));
}
