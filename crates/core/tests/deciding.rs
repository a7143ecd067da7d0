//! Who may be given a conversation, and what becomes of one that nobody can take.

use std::{collections::BTreeMap, time::Duration};

use sebastian_core::{
    Agent, AgentId, AgentLoad, Answers, Decision, Head, Outcome, Park, ParkReason, Policy, Presence,
    QueueKey, Rejection, Role, Roster, Rulebook, Snapshot, Strategy, decide,
    decide::{PARK_MAX, explain, free_slots, servable},
};

use crate::support::*;

fn one_decision(snapshot: &Snapshot) -> Decision {
    decide(snapshot, &Policy::default(), NOW).remove(0)
}

fn answer(head: &Head, agents: impl IntoIterator<Item = Agent>) -> Answers {
    let agents = BTreeMap::from([(head.room.clone(), agents.into_iter().collect())]);
    Answers { agents, ..Answers::default() }
}

#[test]
fn every_reason_to_pass_an_agent_over_is_named() {
    type Spoil = fn(&mut Agent);
    let cases: Vec<(Rejection, Spoil)> = vec![
        (Rejection::Role, |agent| agent.role = Role::Supervisor),
        (Rejection::Role, |agent| agent.role = Role::Other),
        (Rejection::ForcedOffline, |agent| agent.forced_offline = true),
        (Rejection::Presence, |agent| agent.presence = Presence::Busy),
        (Rejection::Presence, |agent| agent.presence = Presence::Offline),
        (Rejection::NotInInbox, |agent| agent.inboxes = Some(vec![SUPPORT])),
        (Rejection::InboxUnknown, |agent| agent.inboxes = None),
        (Rejection::LoadUnknown, |agent| agent.reported_load = None),
        (Rejection::Full, |agent| agent.reported_load = Some(3)),
    ];
    for (why, spoil) in cases {
        let mut spoilt = agent(1);
        spoil(&mut spoilt);

        let decision = one_decision(&snapshot([spoilt, agent(2)], vec![head(1)]));

        assert_eq!(decision.outcome, to(2));
        assert_eq!(decision.rejected.iter().collect::<Vec<_>>(), [(ANA, why)]);
    }
}

#[test]
fn a_stale_roster_assigns_to_nobody_and_says_so() {
    let snapshot = snapshot([agent(1), agent(2)], vec![head(1)]);
    let policy = Policy::default();
    let too_late = NOW + policy.staleness_max + Duration::from_millis(1);

    let decision = decide(&snapshot, &policy, too_late).remove(0);

    assert_eq!(decision.outcome, Outcome::Pass);
    assert!(decision.rejected.iter().all(|(_, why)| why == Rejection::RosterStale));
    assert_eq!(decision.rejected.iter().count(), 2);
    assert_eq!(free_slots(&snapshot.roster, &snapshot.loads, &snapshot.rules, &policy, too_late), 0);
    assert_eq!(decide(&snapshot, &policy, NOW + policy.staleness_max)[0].outcome, to(1));
}

#[test]
fn no_reserve_takes_an_agent_above_capacity() {
    let mut snapshot = snapshot([agent(1)], (1..=5).map(head).collect());
    snapshot.loads = BTreeMap::from([load(1, 1)]);

    assert_eq!(outcomes(&snapshot), [to(1), to(1)]);
}

#[test]
fn capacity_zero_gives_nobody_anything_and_no_capacity_sets_no_limit() {
    let snapshot = snapshot([agent(1)], (1..=50).map(head).collect());
    let with = |capacity| decide(&snapshot, &Policy { capacity, ..Policy::default() }, NOW);

    assert_eq!(with(Some(0)), []);
    assert!(with(None).iter().all(|decision| decision.outcome == to(1)));
    assert_eq!(with(None).len(), 50);
}

#[test]
fn the_limit_of_a_round_is_respected() {
    let mut snapshot = snapshot((1..=9).map(agent), (1..=9).map(head).collect());
    for limit in [0, 1, 4] {
        snapshot.limit = limit;

        assert_eq!(outcomes(&snapshot).len(), limit as usize);
    }
}

#[test]
fn one_that_nobody_can_take_holds_up_nobody() {
    let elsewhere = Head { inbox: Some(SUPPORT), ..head(1) };

    let outcomes = outcomes(&snapshot([agent(1)], vec![elsewhere, head(2)]));

    assert_eq!(outcomes, [Outcome::Pass, to(1)]);
}

#[test]
fn an_empty_desk_decides_nothing() {
    assert_eq!(outcomes(&snapshot([], vec![head(1)])), []);
    assert_eq!(outcomes(&snapshot([agent(1)], vec![])), []);
}

#[test]
fn an_unknown_load_is_asked_for_and_the_answer_used() {
    let unknown = Agent { reported_load: None, ..agent(1) };
    let mut snapshot = snapshot([unknown], vec![head(1)]);
    assert_eq!(outcomes(&snapshot), [Outcome::Ask]);

    for (told, then) in [(Some(2), to(1)), (Some(3), Outcome::Pass), (None, Outcome::Pass)] {
        let told = Agent { reported_load: told, ..agent(1) };
        snapshot.answers = answer(&head(1), [told]).into();
        assert_eq!(outcomes(&snapshot).first().copied().unwrap_or(Outcome::Pass), then);
    }
}

#[test]
fn a_load_told_for_one_room_holds_for_all() {
    let unknown = Agent { reported_load: None, ..agent(1) };
    let mut snapshot = snapshot([unknown], vec![head(1), head(2)]);

    snapshot.answers = answer(&head(2), [Agent { reported_load: Some(2), ..agent(1) }]).into();

    assert_eq!(outcomes(&snapshot), [to(1)], "the first in line has the slot");
}

#[test]
fn of_two_loads_told_the_higher_is_believed() {
    let told = |load| vec![Agent { reported_load: Some(load), ..agent(1) }];
    let mut snapshot = snapshot([Agent { reported_load: None, ..agent(1) }], vec![head(1), head(2)]);
    for (one, other) in [(0, 3), (3, 0)] {
        let agents = BTreeMap::from([(head(1).room, told(one)), (head(2).room, told(other))]);

        snapshot.answers = Answers { agents, ..Answers::default() }.into();

        assert_eq!(outcomes(&snapshot), []);
    }
}

#[test]
fn an_unknown_inbox_is_asked_for_and_only_those_answered_are_eligible() {
    let anywhere = Head { inbox: None, ..head(1) };
    let mut snapshot = snapshot([agent(1), agent(2)], vec![anywhere.clone()]);
    assert_eq!(outcomes(&snapshot), [Outcome::Ask]);

    snapshot.answers = answer(&anywhere, [agent(2)]).into();
    assert_eq!(outcomes(&snapshot), [to(2)]);

    // Nobody: it stands before no other room of unknown inbox.
    snapshot.answers = answer(&anywhere, []).into();
    let park = Park { until: NOW + PARK_MAX, why: ParkReason::NobodyEligible };
    assert_eq!(outcomes(&snapshot), [Outcome::Park(park)]);
}

#[test]
fn an_unknown_membership_is_asked_for_and_the_answer_used() {
    let somewhere = Agent { inboxes: None, ..agent(1) };
    let mut snapshot = snapshot([somewhere], vec![head(1)]);
    assert_eq!(outcomes(&snapshot), [Outcome::Ask]);

    snapshot.answers = answer(&head(1), [agent(1)]).into();
    assert_eq!(outcomes(&snapshot), [to(1)]);
}

#[test]
fn nobody_is_asked_about_while_a_known_agent_has_room() {
    let unknown = Agent { reported_load: None, ..agent(1) };

    assert_eq!(outcomes(&snapshot([unknown, agent(2)], vec![head(1)])), [to(2)]);
}

#[test]
fn a_count_the_ledger_cannot_explain_blocks_until_it_is_listed() {
    let counted = Agent { reported_load: Some(3), ..agent(1) };
    let mut snapshot = snapshot([counted.clone()], vec![head(1)]);
    assert_eq!(outcomes(&snapshot), []);

    let listed = Agent { listed: true, ..counted };
    snapshot.roster = Roster::new(2, NOW, vec![listed]).into();
    assert_eq!(outcomes(&snapshot), [to(1)]);
}

#[test]
fn a_count_that_still_holds_what_just_closed_blocks_nobody() {
    let lagging = Agent { reported_load: Some(3), ..agent(1) };
    let mut snapshot = snapshot([lagging], (1..=2).map(head).collect());
    let known = AgentLoad { open: 2, closed_recently: 1, ..AgentLoad::none(ANA) };
    snapshot.loads = BTreeMap::from([(ANA, known)]);

    assert_eq!(outcomes(&snapshot), [to(1)]);
}

#[test]
fn a_count_that_holds_what_is_put_off_blocks_nobody() {
    let snoozing = Agent { reported_load: Some(3), ..agent(1) };
    let mut snapshot = snapshot([snoozing], (1..=2).map(head).collect());
    let known = AgentLoad { open: 2, put_off: 1, ..AgentLoad::none(ANA) };
    snapshot.loads = BTreeMap::from([(ANA, known)]);

    assert_eq!(outcomes(&snapshot), [to(1)]);
}

#[test]
fn a_lower_count_lowers_nothing() {
    let mut snapshot = snapshot([agent(1)], vec![head(1)]);
    snapshot.loads = BTreeMap::from([load(1, 3)]);

    assert_eq!(outcomes(&snapshot), []);
}

#[test]
fn the_largest_count_a_platform_can_send_overflows_nothing() {
    let hostile = Agent { reported_load: Some(u32::MAX), ..agent(1) };
    let mut snapshot = snapshot([hostile], vec![head(1)]);
    snapshot.loads = BTreeMap::from([load(1, 5)]);
    let policy = Policy { capacity: None, ..Policy::default() };

    assert_eq!(decide(&snapshot, &policy, NOW), []);
}

#[test]
fn refused_by_all_it_is_parked_until_the_earliest_expiry_and_not_for_long() {
    let parked_until = |ana, budi| {
        let refused = vec![(ANA, NOW + ana * SECOND), (BUDI, NOW + budi * SECOND)];
        let refused_by_all = Head { refused, ..head(1) };
        match one_decision(&snapshot([agent(1), agent(2)], vec![refused_by_all])).outcome {
            Outcome::Park(Park { until, why: ParkReason::Refused }) => until,
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(parked_until(9, 2), NOW + 2 * SECOND);
    assert_eq!(parked_until(300, 300), NOW + PARK_MAX);
}

#[test]
fn refused_by_some_it_goes_to_another_or_waits_for_one_who_is_full() {
    let refused = Head { refused: vec![(ANA, NOW + SECOND)], ..head(1) };
    let mut snapshot = snapshot([agent(1), agent(2)], vec![refused]);
    assert_eq!(outcomes(&snapshot), [to(2)]);

    snapshot.loads = BTreeMap::from([load(2, 3)]);
    let decision = one_decision(&snapshot);

    assert_eq!(decision.outcome, Outcome::Pass);
    let rejected: Vec<_> = decision.rejected.iter().collect();
    assert_eq!(rejected, [(ANA, Rejection::Refused), (BUDI, Rejection::Full)]);
}

#[test]
fn an_expired_refusal_counts_for_nothing() {
    let forgiven = Head { refused: vec![(ANA, NOW)], ..head(1) };

    assert_eq!(outcomes(&snapshot([agent(1)], vec![forgiven])), [to(1)]);
}

#[test]
fn a_policy_may_deal_to_other_roles_and_presences() {
    let busy_admin = Agent { role: Role::Admin, presence: Presence::Busy, ..agent(1) };
    let policy = Policy { roles: vec![Role::Admin], presences: vec![Presence::Busy], ..Policy::default() };

    let decisions = decide(&snapshot([busy_admin, agent(2)], vec![head(1)]), &policy, NOW);

    assert_eq!(decisions[0].outcome, to(1));
}

#[test]
fn free_slots_count_room_and_never_take_unknown_for_none() {
    let unknown = Agent { reported_load: None, ..agent(3) };
    let roster =
        Roster::new(1, NOW, vec![agent(1), agent(2), unknown, Agent { forced_offline: true, ..agent(4) }]);
    let (loads, rules) = (BTreeMap::from([load(1, 1), load(2, 7)]), Rulebook::default());

    assert_eq!(free_slots(&roster, &loads, &rules, &Policy::default(), NOW), 2 + 1);
    let unlimited = Policy { capacity: None, ..Policy::default() };
    assert_eq!(free_slots(&roster, &loads, &rules, &unlimited, NOW), u32::MAX);
}

#[test]
fn an_explanation_names_what_a_decision_would() {
    let mut snapshot = snapshot(
        [agent(1), Agent { reported_load: None, ..agent(2) }, agent(3), Agent { inboxes: None, ..agent(4) }],
        vec![head(1)],
    );
    snapshot.loads = BTreeMap::from([load(3, 3)]);
    let told = Agent { reported_load: Some(1), ..agent(2) };
    let explained = |snapshot: &Snapshot| -> Vec<Option<Rejection>> {
        let verdicts = explain(snapshot, &Policy::default(), NOW, &head(1));
        verdicts.agents.into_iter().map(|one| one.rejection).collect()
    };

    let unanswered = explained(&snapshot);
    snapshot.answers = answer(&head(1), [told, agent(4)]).into();

    use Rejection::{Full, InboxUnknown, LoadUnknown};
    assert_eq!(unanswered, [None, Some(LoadUnknown), Some(Full), Some(InboxUnknown)]);
    assert_eq!(explained(&snapshot), [None, None, Some(Full), None]);
}

#[test]
fn an_agent_listed_twice_in_a_poll_has_one_seat() {
    let twice = Roster::new(1, NOW, vec![agent(2), agent(1), agent(2)]);

    let ids: Vec<AgentId> = twice.agents.iter().map(|agent| agent.id).collect();

    assert_eq!(ids, [ANA, BUDI]);
    assert_eq!(twice.agent(BUDI).map(|agent| agent.id), Some(BUDI));
    assert_eq!(twice.agent(AgentId(3)), None);
}

const RANKED: [Strategy; 4] =
    [Strategy::Balanced, Strategy::LeastLoaded, Strategy::LongestIdle, Strategy::FirstFit];

#[test]
fn a_queue_whose_members_are_all_full_is_not_worth_reading() {
    let elsewhere = Agent { inboxes: Some(vec![SUPPORT]), ..agent(3) };
    let mut snapshot = snapshot([agent(1), agent(2), elsewhere], vec![]);
    snapshot.loads = BTreeMap::from([load(1, 3), load(2, 3)]);
    let queues = || [SALES, SUPPORT].map(|inbox| QueueKey { inbox: Some(inbox), team: None });

    for strategy in RANKED {
        let policy = Policy { strategy, ..Policy::default() };
        assert_eq!(servable(&snapshot, &policy, NOW, queues()), queues()[1..], "{strategy:?}");
    }
}

#[test]
fn a_conversation_is_blocked_only_while_somebody_has_room_for_another() {
    let refuses_one = Head { refused: vec![(ANA, NOW + SECOND)], ..head(1) };
    let elsewhere = Agent { inboxes: Some(vec![SUPPORT]), ..agent(3) };
    let mut snapshot = snapshot([agent(1), agent(2), elsewhere], vec![refuses_one]);

    for strategy in RANKED {
        let policy = Policy { strategy, ..Policy::default() };
        let mut blocked = |of_ana: u32| {
            snapshot.loads = BTreeMap::from([load(1, of_ana), load(2, 3)]);
            let decision = decide(&snapshot, &policy, NOW).remove(0);
            assert_eq!(decision.outcome, Outcome::Pass, "{strategy:?}");
            decision.blocked
        };
        assert!(blocked(2), "{strategy:?}");
        assert!(!blocked(3), "{strategy:?}");
    }
}
