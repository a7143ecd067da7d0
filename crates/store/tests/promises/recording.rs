//! Decisions are recorded with all they rest on, and can be made again.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sebastian_core::{
    AgentId, ConversationId, Outcome, Presence, Strategy, TeamId, Timestamp, decide,
    rulebook::{InboxRules, Overrides, Team},
};
use sebastian_store::{Decide, Keep, Recorded};

use super::on_every_ledger;
use crate::desk::*;

on_every_ledger! {
    a_recorded_decision_is_made_again
    a_decision_is_made_again_under_the_version_it_names
    every_attempt_is_recorded_oldest_first
    nobodys_name_is_recorded
    an_answer_that_told_a_load_is_recorded
    nothing_is_recorded_unless_asked_for
    recorded_decisions_and_the_versions_they_name_go_when_they_are_old
}

/// Whom deciding again gives what.
fn again(recorded: &Recorded) -> BTreeMap<ConversationId, AgentId> {
    let decisions = decide(&recorded.snapshot, &recorded.policy, recorded.at);
    let given = |one: &sebastian_core::Decision| match one.outcome {
        Outcome::Reserve { agent, .. } => Some((one.conversation, agent)),
        Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
    };
    decisions.iter().filter_map(given).collect()
}

async fn a_recorded_decision_is_made_again(desk: Desk) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let strategies = [
        Strategy::Balanced,
        Strategy::RoundRobin,
        Strategy::LeastLoaded,
        Strategy::LongestIdle,
        Strategy::FirstFit,
        Strategy::Random,
    ];
    let mut told = Vec::new();
    for n in 0..60 {
        desk.accept((0..rng.random_range(0..5)).map(|m| {
            let inbox = [None, Some(SALES), Some(SUPPORT)][rng.random_range(0..3)];
            allocate_in(&room(n * 5 + m), inbox)
        }))
        .await;
        let mut crew = Crew::of(6).capacity(rng.random_range(1..5));
        crew.policy.strategy = strategies[rng.random_range(0..strategies.len())];
        if rng.random_bool(0.5) {
            crew = crew.fair(rng.random_range(1..4), SECOND * 20);
        }
        for agent in &mut crew.agents {
            agent.inboxes = rng.random_bool(0.8).then(|| vec![SALES, SUPPORT]);
            agent.presence = if rng.random_bool(0.8) { Presence::Online } else { Presence::Away };
            agent.reported_load = rng.random_bool(0.7).then(|| rng.random_range(0..4));
            agent.listed = rng.random_bool(0.3);
            agent.online_since = rng.random_bool(0.5).then_some(Timestamp::from_millis(1));
        }
        for _ in 0..3 {
            let answer = vec![agent(rng.random_range(1..=6)), agent(7)];
            crew.answers.agents.insert(room(rng.random_range(0..=n * 5 + 4)), answer);
        }
        if n % 7 == 0 {
            desk.amend(|rules| {
                let overrides =
                    Overrides { max_assignment_limit: Some(1 + n as u32 % 3), ..Overrides::default() };
                rules.inboxes.insert(SUPPORT, InboxRules { overrides, ..InboxRules::default() });
            })
            .await;
        }
        let reserved = desk.decide(&crew, rng.random_range(1..6)).await.reserved;
        let (kept, released) = reserved.split_at(rng.random_range(0..=reserved.len()));
        desk.confirm(kept).await;
        desk.release(released, rng.random_bool(0.5)).await;
        desk.accept(rooms_of(&reserved).iter().filter(|_| rng.random_bool(0.6)).map(resolve)).await;
        desk.pass(SECOND * rng.random_range(0..10)).await;
        told.extend(reserved);
    }

    assert!(told.len() > 30, "seed {seed}: {}", told.len());
    for one in told {
        let recorded = desk.decisions(one.attempt.conversation).await;
        let this = recorded.iter().find(|recorded| recorded.attempt == one.attempt.number).unwrap();
        assert_eq!((this.agent, this.at), (one.agent, one.reserved_at), "seed {seed}");
        assert_eq!(this.waited, one.reserved_at.since(one.opened_at));
        assert_eq!(again(this).get(&one.attempt.conversation), Some(&one.agent), "seed {seed}: {this:?}");
    }
}

async fn a_decision_is_made_again_under_the_version_it_names(desk: Desk) {
    let manual = |manual| InboxRules { manual, ..InboxRules::default() };
    desk.amend(|rules| drop(rules.inboxes.insert(SALES, manual(false)))).await;
    desk.accept([allocate(&room(1))]).await;
    let id = desk.assign(&Crew::of(1)).await[0].attempt.conversation;

    desk.amend(|rules| drop(rules.inboxes.insert(SALES, manual(true)))).await;

    let recorded = &desk.decisions(id).await[0];
    assert_eq!(recorded.snapshot.rules.version, 1);
    assert_eq!(again(recorded), BTreeMap::from([(id, ANA)]));
    let other = desk.another().decisions(desk.account, id, 10).await.unwrap();
    assert_eq!(other.first(), Some(recorded));
}

async fn every_attempt_is_recorded_oldest_first(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    for _ in 0..3 {
        let reserved = desk.reserve(&Crew::of(3)).await;
        desk.release(&reserved, true).await;
        desk.pass(SECOND).await;
    }
    let id = desk.latest(&room(1)).await.id;

    let recorded = desk.decisions(id).await;
    let newest = desk.store.decisions(desk.account, id, 2).await.unwrap();

    let told: Vec<_> = recorded.iter().map(|one| (one.attempt, one.agent, one.waited)).collect();
    assert_eq!(told, [(1, AgentId(1), Duration::ZERO), (2, AgentId(2), SECOND), (3, AgentId(3), SECOND * 2)]);
    assert_eq!(newest, recorded[1..]);
}

async fn nobodys_name_is_recorded(desk: Desk) {
    let mut crew = Crew::of(2);
    crew.agents.iter_mut().for_each(|agent| agent.name = "Ana Wijaya".into());
    crew.answers.agents.insert(room(1), crew.agents.clone());
    desk.accept([allocate_in(&room(1), None)]).await;
    let id = desk.reserve(&crew).await[0].attempt.conversation;

    let recorded = desk.decisions(id).await;

    assert_eq!(recorded[0].snapshot.roster.agents.len(), 2);
    assert_eq!(recorded[0].snapshot.answers.agents[&room(1)].len(), 2);
    let told = format!("{recorded:?}");
    assert!(!told.contains("Wijaya"), "{told}");
}

async fn an_answer_that_told_a_load_is_recorded(desk: Desk) {
    let mut crew = Crew::of(2);
    crew.agents[0].reported_load = None;
    crew.answers.agents.insert(room(7), vec![agent(1)]);
    crew.answers.agents.insert(room(8), vec![agent(2)]);
    desk.accept([allocate(&room(1))]).await;

    let reserved = desk.reserve(&crew).await;

    assert_eq!(agents_of(&reserved), [ANA]);
    let recorded = desk.decisions(reserved[0].attempt.conversation).await;
    assert_eq!(again(&recorded[0]), BTreeMap::from([(reserved[0].attempt.conversation, ANA)]));
    assert_eq!(recorded[0].snapshot.answers.agents.keys().collect::<Vec<_>>(), [&room(7)]);
}

async fn nothing_is_recorded_unless_asked_for(desk: Desk) {
    desk.accept([allocate(&room(1))]).await;
    let crew = Crew::of(1);
    let request = Decide {
        account: desk.account,
        roster: sebastian_core::Roster::new(1, desk.now(), crew.agents.clone()).into(),
        answers: std::sync::Arc::default(),
        policy: &crew.policy,
        limit: 1,
        record: false,
    };
    let rule = |snapshot: &_, now| decide(snapshot, &crew.policy, now);
    let decided = desk.store.decide(&request, &rule).await.unwrap();

    assert_eq!(desk.decisions(decided.reserved[0].attempt.conversation).await, []);
}

async fn recorded_decisions_and_the_versions_they_name_go_when_they_are_old(desk: Desk) {
    const LONG: Duration = Duration::from_secs(1_000_000);
    let rename = async |n: i64| {
        desk.amend(|rules| {
            let team = Team {
                name: n.to_string(),
                description: String::new(),
                allow_auto_assign: true,
                capacity: None,
                members: [].into(),
                created_at: Timestamp::default(),
                updated_at: Timestamp::default(),
            };
            rules.teams.insert(TeamId(1), team);
        })
        .await
    };
    let mut ids = Vec::new();
    for n in 1..=3 {
        rename(n).await;
        desk.accept([allocate(&room(n as usize))]).await;
        let reserved = desk.assign(&Crew::of(1)).await;
        ids.push(reserved[0].attempt.conversation);
        desk.pass(SECOND * 10).await;
    }
    let purge = async |kept: Duration, limit| {
        let keep = Keep { ledger: LONG, decisions: kept };
        desk.store.purge(desk.account, keep, limit).await.unwrap()
    };
    let versions = async || {
        let mut kept = Vec::new();
        for version in 1..=4 {
            kept.push(desk.store.rulebook_at(desk.account, version).await.unwrap().is_some());
        }
        kept
    };

    assert_eq!(purge(SECOND * 31, 100).await, 0);
    assert_eq!(purge(SECOND * 15, 1).await, 2, "a round, and the version that only it named");
    assert_eq!((desk.decisions(ids[0]).await.len(), desk.decisions(ids[1]).await.len()), (0, 1));
    assert_eq!(versions().await, [false, true, true, false]);
    rename(4).await;
    desk.pass(SECOND).await;
    assert_eq!(purge(Duration::ZERO, 100).await, 2 + 2, "two rounds and their versions; the newest stays");
    assert_eq!(versions().await, [false, false, false, true]);
    assert_eq!(desk.store.rulebook(desk.account).await.unwrap().version, 4);
}
