//! Why a conversation was given to whom it was given, from the recorded decision.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sebastian_core::{
    Agent, AgentId, AgentLoad, Case, Conversation, ConversationId, Decision, Explanation, FairDistribution,
    Head, NoRoster, Order, Origin, Outcome, Past, Policy, Presence, RateWindow, Rejection, Role, Roster,
    Rulebook, Seq, Snapshot, State, Strategy, Timestamp, decide,
};

use crate::support::{
    ANA, BUDI, NOW, SALES, SECOND, agent, assignment_policy, head, linked, load, room, snapshot,
};

/// Ayu, Bima, Citra and a supervisor, as a record has them: without their names.
fn crew() -> Vec<Agent> {
    let supervisor = Agent { role: Role::Supervisor, ..agent(4) };
    vec![agent(1), agent(2), agent(3), supervisor]
}

/// The same with their names.
fn roster() -> Roster {
    let named = crew().into_iter().zip(["Ayu", "Bima", "Citra", "Dewi"]);
    Roster::new(2, NOW, named.map(|(agent, name)| Agent { name: name.into(), ..agent }).collect())
}

fn loads(open: &[(i64, u32)]) -> BTreeMap<AgentId, AgentLoad> {
    open.iter().map(|(id, open)| load(*id, *open)).collect()
}

/// The conversation of head `n`, served by `agent` since a second after [`NOW`].
fn served(n: i64, agent: AgentId) -> Conversation {
    let state = State::Assigned { agent, at: NOW + SECOND };
    let blank = Conversation::blank(room(1), Seq(n), Origin::Event, state);
    Conversation { id: ConversationId(n), inbox: Some(SALES), ..blank }
}

fn past<'a>(snapshot: &'a Snapshot, policy: &'a Policy, agent: AgentId) -> Past<'a> {
    Past { attempt: 1, agent, at: NOW, waited: SECOND * 12, snapshot, policy }
}

fn explain(conversation: &Conversation, past: Past<'_>, roster: Result<Roster, NoRoster>) -> Explanation {
    let policy = Policy::default();
    let case = Case {
        conversation,
        place: None,
        served: None,
        pause: None,
        roster: roster.map(Arc::new),
        loads: BTreeMap::new(),
        inbox_loads: BTreeMap::new(),
        windows: BTreeMap::new(),
        rules: Arc::default(),
        policy: &policy,
        decided: Some(past),
        now: NOW + SECOND * 60,
    };
    case.explain()
}

/// Whom the head `n` of `snapshot` is given to, and why in one sentence.
fn told(snapshot: &Snapshot, policy: &Policy, n: i64) -> (AgentId, String) {
    let decisions = decide(snapshot, policy, NOW);
    let of_head = |decision: &&Decision| decision.conversation == ConversationId(n);
    let outcome = decisions.iter().find(of_head).map(|decision| decision.outcome);
    let Some(Outcome::Reserve { agent, .. }) = outcome else {
        panic!("{n} is given to nobody: {decisions:?}")
    };
    let conversation = served(n, agent);
    let explained = explain(&conversation, past(snapshot, policy, agent), Ok(roster()));
    (agent, explained.decision.map(|decision| decision.sentence).unwrap_or_default())
}

#[test]
fn the_chosen_one_is_named_with_the_key_and_each_other_with_the_reason() {
    let facts = Snapshot { loads: loads(&[(1, 1), (2, 3), (3, 2)]), ..snapshot(crew(), vec![head(1)]) };
    let (policy, conversation) = (Policy::default(), served(1, ANA));

    let explained = explain(&conversation, past(&facts, &policy, ANA), Ok(roster()));

    assert_eq!(
        explained.sentence,
        "assigned to Ayu since 2023-11-14 22:13:21 UTC; given to Ayu after 12 s: lowest load for capacity (1/3); \
         Bima was full (3/3), Citra was preferred less (2/3); under the account's own policy"
    );
    assert_eq!(explained.agents, []);
    let decision = serde_json::to_value(explained.decision).unwrap();
    assert_eq!(decision["at"], "2023-11-14T22:13:20.000Z");
    assert_eq!((&decision["chosen"], &decision["waited_ms"]), (&1.into(), &12_000.into()));
    let key = serde_json::json!({
        "strategy": "balanced", "load": 1, "capacity": 3, "detail": "lowest load for capacity (1/3)"
    });
    assert_eq!(decision["key"], key);
    let told = |n: usize, key: &str| decision["candidates"][n][key].clone();
    assert_eq!([told(0, "reason"), told(1, "reason")], [serde_json::Value::Null, "full".into()]);
    assert_eq!(told(0, "detail"), "was chosen: lowest load for capacity (1/3)");
    assert_eq!([told(2, "reason"), told(3, "reason")], ["not_preferred", "role"]);
    assert_eq!(decision["differs"], serde_json::Value::Null);
}

#[test]
fn names_are_todays_and_who_is_gone_is_a_number() {
    let facts = snapshot(crew(), vec![head(1)]);
    let (policy, conversation) =
        (Policy { strategy: Strategy::FirstFit, ..Policy::default() }, served(1, ANA));
    let short = Roster::new(2, NOW, vec![Agent { name: "Ayu".into(), ..agent(1) }]);

    let sentence = explain(&conversation, past(&facts, &policy, ANA), Ok(short)).sentence;
    assert!(
        sentence.ends_with(
            "given to Ayu after 12 s: the first with room (0/3); agent 2 was later in line (0/3), \
         agent 3 was later in line (0/3); under the account's own policy"
        ),
        "{sentence}"
    );
    let sentence = explain(&conversation, past(&facts, &policy, ANA), Err(NoRoster::Unreachable)).sentence;
    assert!(sentence.starts_with("assigned to agent 1 since "), "{sentence}");
}

#[test]
fn the_policy_and_its_version_then_are_told() {
    let rule = FairDistribution { limit: 2, window: SECOND * 3_600 };
    let mut night = assignment_policy("Night");
    night.fair_distribution = Some(rule);
    let rules = Rulebook { version: 12, ..linked(SALES, night) };
    let given = [(NOW - SECOND * 60, ConversationId(90)), (NOW - SECOND * 30, ConversationId(91))];
    let mut facts = Snapshot { rules: Arc::new(rules), ..snapshot(crew(), vec![head(1)]) };
    facts.windows = BTreeMap::from([((Some(SALES), BUDI), RateWindow::from_stored(given))]);

    let (agent, sentence) = told(&facts, &Policy::default(), 1);

    assert_eq!(agent, ANA);
    assert_eq!(
        sentence,
        "given to Ayu after 12 s: lowest load for capacity (0/3), the first of equals; \
         Bima had hit 2 per 1 h, free at 23:12:20 UTC, Citra was preferred less (0/3); \
         under assignment policy Night (version 12 of the rules)"
    );
}

#[test]
fn what_the_round_gave_before_counts() {
    let heads = vec![head(1), head(2), head(3)];
    let crew = || [agent(1), Agent { reported_load: Some(2), ..agent(2) }];
    let policy = Policy { capacity: Some(2), ..Policy::default() };
    let sentence = told(&snapshot(crew(), heads.clone()), &policy, 2).1;
    assert!(sentence.contains("the only one who could take it (1/2); Bima was full (2/2); "), "{sentence}");
    let facts = snapshot([agent(1), agent(2)], heads);
    let sentence = told(&facts, &policy, 3).1;
    assert!(sentence.contains("lowest load for capacity (1/2), the first of equals; "), "{sentence}");
}

#[test]
fn every_strategy_has_words_for_its_choice() {
    let heads = vec![head(1)];
    let idle = |id: i64, s: u32| {
        let last_assigned_at = Some(NOW - SECOND * s);
        (AgentId(id), AgentLoad { open: 1, last_assigned_at, ..AgentLoad::none(AgentId(id)) })
    };
    let mut facts = snapshot(crew(), heads);
    facts.loads = BTreeMap::from([idle(1, 30), idle(2, 600), idle(3, 60)]);
    for (strategy, words) in [
        (Strategy::Balanced, "lowest load for capacity (1/3), longest without a new one"),
        (Strategy::LeastLoaded, "fewest open conversations (1), longest without a new one (10 min)"),
        (Strategy::LongestIdle, "longest without a new one (10 min)"),
        (Strategy::RoundRobin, "next in turn (1/3)"),
        (Strategy::FirstFit, "the first with room (1/3)"),
        (Strategy::Random, "drawn among 3"),
    ] {
        let policy = Policy { strategy, ..Policy::default() };
        let sentence = told(&facts, &policy, 1).1;
        assert!(sentence.contains(&format!(" after 12 s: {words}; ")), "{strategy:?}: {sentence}");
    }
    let mut answers = sebastian_core::Answers::default();
    answers.proposed.insert(head(1).room, Some(BUDI));
    facts.answers = Arc::new(answers);
    let policy = Policy { strategy: Strategy::Platform, ..Policy::default() };
    let (agent, sentence) = told(&facts, &policy, 1);
    assert_eq!(agent, BUDI);
    assert!(sentence.contains("the platform proposed them, and they had room; "), "{sentence}");
}

#[test]
fn a_choice_that_would_fall_otherwise_today_says_so() {
    let facts = Snapshot { loads: loads(&[(1, 1)]), ..snapshot(crew(), vec![head(1)]) };
    let (policy, conversation) = (Policy::default(), served(1, ANA));
    let decision = explain(&conversation, past(&facts, &policy, ANA), Ok(roster())).decision.unwrap();
    assert_eq!(decision.differs.as_deref(), Some("today's program would give it to Bima"));
    assert!(decision.sentence.ends_with("; today's program would give it to Bima"), "{}", decision.sentence);

    let nobody = snapshot([Agent { presence: Presence::Offline, ..agent(1) }], vec![head(1)]);
    let decision = explain(&conversation, past(&nobody, &policy, ANA), Ok(roster())).decision.unwrap();
    assert_eq!(decision.differs.as_deref(), Some("today's program would give it to nobody"));
}

#[test]
fn one_who_serves_it_by_another_way_is_told_apart_from_the_decision() {
    let (facts, policy, conversation) = (snapshot(crew(), vec![head(1)]), Policy::default(), served(1, BUDI));
    let sentence = explain(&conversation, past(&facts, &policy, ANA), Ok(roster())).sentence;
    let told = "assigned to Bima since 2023-11-14 22:13:21 UTC, by the platform or by hand; before that given to Ayu";
    assert!(sentence.starts_with(told), "{sentence}");
}

#[test]
fn a_record_that_lacks_the_conversation_tells_what_it_can() {
    let (facts, policy, conversation) = (snapshot(crew(), vec![head(1)]), Policy::default(), served(2, ANA));
    let decision = explain(&conversation, past(&facts, &policy, ANA), Ok(roster())).decision.unwrap();
    assert_eq!(decision.candidates, []);
    assert!(decision.sentence.contains("the record does not tell why"), "{}", decision.sentence);
}

#[test]
fn the_reasons_are_the_decisions_own() {
    let rule = FairDistribution { limit: 2, window: Duration::from_secs(600) };
    let mut night = assignment_policy("Night");
    night.fair_distribution = Some(rule);
    let policy = Policy { capacity: Some(3), order: Order::EarliestCreated, ..Policy::default() };
    let crew = [
        agent(1),
        Agent { reported_load: Some(2), ..agent(2) },
        Agent { presence: Presence::Away, ..agent(3) },
        Agent { listed: true, ..agent(4) },
    ];
    let refusing = Head { refused: vec![(ANA, Timestamp::from_millis(i64::MAX))], ..head(2) };
    let heads = vec![head(1), refusing, head(3), head(4)];
    for strategy in [Strategy::Balanced, Strategy::RoundRobin, Strategy::FirstFit, Strategy::LeastLoaded] {
        night.strategy = strategy;
        let facts = Snapshot {
            rules: Arc::new(linked(SALES, night.clone())),
            loads: loads(&[(1, 1), (4, 1)]),
            ..snapshot(crew.clone(), heads.clone())
        };
        for decision in decide(&facts, &policy, NOW) {
            let Outcome::Reserve { agent, .. } = decision.outcome else { continue };
            let conversation = served(decision.conversation.0, agent);
            let dealt = explain(&conversation, past(&facts, &policy, agent), Ok(roster())).decision.unwrap();
            let told: BTreeMap<AgentId, Rejection> =
                dealt.candidates.iter().filter_map(|one| Some((one.id, one.reason?))).collect();
            assert_eq!(told, decision.rejected.iter().collect(), "{strategy:?} {}", decision.conversation);
            assert_eq!(dealt.differs, None);
        }
    }
}
