//! What operators set, by example: who is left out, how much each may hold, whom each strategy prefers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sebastian_core::{
    Agent, AgentId, AgentLoad, Answers, CapacityPolicyId, ConversationId, FairDistribution, Head, Hold,
    InboxId, InboxLimitId, LeaveId, Outcome, Park, ParkReason, Policy, Preset, RateWindow, Rejection,
    Rulebook, Snapshot, Strategy, TeamId, Timestamp, Traits, decide,
    decide::{EXCLUSION_PARK, PARK_MAX},
    rulebook::{
        AgentRules, CapacityPolicy, Day, InboxLimit, InboxRules, Leave, LeaveStatus, Overrides, Paused, Team,
    },
};

use crate::support::*;

const BILLING: TeamId = TeamId(1);
const CITRA: AgentId = AgentId(3);

fn strategy(strategy: Strategy) -> Policy {
    Policy { strategy, ..Policy::default() }
}

fn under(rules: Rulebook, mut snapshot: Snapshot) -> Snapshot {
    snapshot.rules = Arc::new(rules);
    snapshot
}

/// `n` agents in both inboxes, and conversations 1 to `heads` waiting in sales.
fn desk(n: i64, heads: i64) -> Snapshot {
    let both = |id| Agent { inboxes: Some(vec![SALES, SUPPORT]), listed: true, ..agent(id) };
    snapshot((1..=n).map(both), (1..=heads).map(head).collect())
}

fn chosen(snapshot: &Snapshot, policy: &Policy) -> Vec<i64> {
    let given = decide(snapshot, policy, NOW).into_iter().filter_map(|decision| match decision.outcome {
        Outcome::Reserve { agent, .. } => Some(agent.0),
        Outcome::Pass | Outcome::Ask | Outcome::Park(_) => None,
    });
    given.collect()
}

fn first(snapshot: &Snapshot, policy: &Policy) -> (Outcome, Option<Hold>) {
    let decision = decide(snapshot, policy, NOW).remove(0);
    (decision.outcome, decision.hold)
}

fn of_team(head: Head, team: TeamId) -> Head {
    Head { traits: Traits { team: Some(team), ..Traits::default() }, ..head }
}

fn labelled(head: Head, word: &str) -> Head {
    Head { traits: Traits { labels: [label(word)].into(), ..Traits::default() }, ..head }
}

fn with_agents(said: impl IntoIterator<Item = (AgentId, AgentRules)>) -> Rulebook {
    Rulebook { agents: said.into_iter().collect(), ..Rulebook::default() }
}

fn weight(weight: u32) -> AgentRules {
    AgentRules { weight, ..AgentRules::default() }
}

/// Everybody of 1 to 3 under one capacity policy.
fn all_under(policy: CapacityPolicy) -> Rulebook {
    let id = CapacityPolicyId(1);
    let said = AgentRules { capacity_policy: Some(id), ..AgentRules::default() };
    let mut rules = with_agents([ANA, BUDI, CITRA].map(|agent| (agent, said.clone())));
    rules.capacity_policies.insert(id, policy);
    rules
}

fn limit_of(inbox: InboxId, limit: u32) -> CapacityPolicy {
    let inbox_limits = vec![InboxLimit { id: InboxLimitId(1), inbox, limit }];
    CapacityPolicy { inbox_limits, ..capacity_policy("any") }
}

fn in_team(rules: Team) -> Rulebook {
    Rulebook { teams: [(BILLING, rules)].into(), ..Rulebook::default() }
}

#[test]
fn least_loaded_counts_conversations_and_not_how_full_somebody_is() {
    let roomy = AgentRules { capacity: Some(20), ..AgentRules::default() };
    let mut snapshot = under(with_agents([(ANA, roomy)]), desk(2, 1));
    snapshot.loads = BTreeMap::from([load(1, 2), load(2, 1)]);

    assert_eq!(chosen(&snapshot, &strategy(Strategy::LeastLoaded)), [2]);
    assert_eq!(
        chosen(&snapshot, &strategy(Strategy::Balanced)),
        [1],
        "two of twenty are less than one of three"
    );
}

#[test]
fn longest_idle_goes_by_the_last_assignment_and_takes_everybody_in_turn() {
    let mut snapshot = desk(3, 6);
    let last = |agent: AgentId, at: Timestamp| {
        (agent, AgentLoad { last_assigned_at: Some(at), ..AgentLoad::none(agent) })
    };
    snapshot.loads = BTreeMap::from([last(ANA, NOW - SECOND), last(BUDI, NOW - 2 * SECOND)]);

    assert_eq!(chosen(&snapshot, &strategy(Strategy::LongestIdle)), [3, 2, 1, 3, 2, 1]);
}

#[test]
fn first_fit_fills_the_lowest_number_first() {
    assert_eq!(chosen(&desk(3, 7), &strategy(Strategy::FirstFit)), [1, 1, 1, 2, 2, 2, 3]);
}

#[test]
fn random_is_the_same_for_the_same_conversation_and_spread_over_all() {
    let unlimited = Policy { capacity: None, ..strategy(Strategy::Random) };
    let snapshot = desk(4, 4_000);

    let drawn = chosen(&snapshot, &unlimited);

    assert_eq!(drawn, chosen(&snapshot, &unlimited));
    for agent in 1..=4 {
        let share = drawn.iter().filter(|one| **one == agent).count();
        assert!((900..1_100).contains(&share), "agent {agent} has {share} of 4,000");
    }
}

#[test]
fn random_draws_otherwise_under_another_seed() {
    let seeded = |seed| {
        let mut policy = assignment_policy("any");
        (policy.strategy, policy.seed) = (Strategy::Random, seed);
        chosen(&under(linked(SALES, policy), desk(4, 12)), &Policy { capacity: None, ..Policy::default() })
    };

    assert_ne!(seeded(1), seeded(2));
}

#[test]
fn random_passes_over_whom_the_platform_refused() {
    let mut snapshot = desk(3, 300);
    for head in &mut snapshot.waiting {
        head.refused = vec![(ANA, NOW + SECOND), (CITRA, NOW + SECOND)];
    }

    assert_eq!(chosen(&snapshot, &Policy { capacity: None, ..strategy(Strategy::Random) }), [2; 300]);
}

#[test]
fn weights_are_shares_and_nought_is_only_for_when_nobody_else_can() {
    let rules = with_agents([(ANA, weight(2)), (BUDI, weight(0))]);
    let snapshot = under(rules, desk(3, 9));

    let policy = Policy { capacity: Some(3), ..strategy(Strategy::RoundRobin) };

    assert_eq!(chosen(&snapshot, &policy), [1, 3, 1, 1, 3, 3, 2, 2, 2]);
}

#[test]
fn nought_stays_behind_whoever_owes_turns() {
    let mut snapshot = under(with_agents([(ANA, weight(0))]), desk(2, 3));
    let owing = sebastian_core::Rotation::from_stored([(ANA, 0), (BUDI, -50)]);
    snapshot.rotations.insert(head(1).queue(), owing);

    assert_eq!(chosen(&snapshot, &strategy(Strategy::RoundRobin)), [2, 2, 2]);
}

#[test]
fn chatwoots_round_robin_serves_whoever_was_served_longest_ago() {
    let chatwoot = Policy { fair_distribution: None, ..Policy::of(Preset::Chatwoot) };
    let mut snapshot = desk(3, 2);
    let line = sebastian_core::Rotation::from_stored([(CITRA, 0), (ANA, -1), (BUDI, -2)]);
    snapshot.rotations.insert(head(1).queue(), line);

    let decisions = decide(&snapshot, &chatwoot, NOW);

    assert_eq!(chosen(&snapshot, &chatwoot), [3, 1]);
    let (_, line) = decisions[1].rotation.clone().unwrap();
    let mut turns: Vec<_> = line.iter().collect();
    turns.sort_by_key(|(_, turn)| -turn);
    assert_eq!(turns.iter().map(|(agent, _)| agent.0).collect::<Vec<_>>(), [2, 3, 1]);
}

#[test]
fn the_platform_is_asked_whom_it_proposes_and_its_proposal_is_taken() {
    let platform = strategy(Strategy::Platform);
    let mut snapshot = desk(2, 1);
    assert_eq!(first(&snapshot, &platform).0, Outcome::Ask);

    let proposing = |agent| Answers { proposed: [(head(1).room, agent)].into(), ..Answers::default() };
    snapshot.answers = proposing(Some(BUDI)).into();
    assert_eq!(first(&snapshot, &platform).0, to(2));

    let park = Outcome::Park(Park { until: NOW + PARK_MAX, why: ParkReason::NotProposed });
    for nobody in [None, Some(AgentId(99))] {
        snapshot.answers = proposing(nobody).into();
        assert_eq!(first(&snapshot, &platform).0, park);
    }

    snapshot.answers = proposing(Some(BUDI)).into();
    snapshot.loads = BTreeMap::from([load(2, 3)]);
    assert_eq!(first(&snapshot, &platform).0, park, "who is full is given nothing, whoever proposes them");
}

#[test]
fn the_platform_is_not_asked_while_everybody_is_full() {
    let mut snapshot = desk(2, 1);
    // Somebody has room elsewhere, so that the round goes on.
    snapshot.roster = sebastian_core::Roster::new(
        1,
        NOW,
        vec![agent(1), Agent { inboxes: Some(vec![SUPPORT]), ..agent(2) }],
    )
    .into();
    snapshot.loads = BTreeMap::from([load(1, 3)]);

    assert_eq!(first(&snapshot, &strategy(Strategy::Platform)).0, Outcome::Pass);
}

#[test]
fn of_all_limits_the_nearest_to_the_agent_counts() {
    let mut policy = assignment_policy("any");
    policy.capacity = Some(4);
    let mut rules = linked(SALES, policy);
    let head = || of_team(head(1), BILLING);
    let held = |rules: &Rulebook, most: u32| {
        let mut snapshot = under(rules.clone(), desk(1, 1));
        snapshot.waiting = vec![head()];
        let mut full = |open| {
            snapshot.loads = BTreeMap::from([load(1, open)]);
            snapshot.inbox_loads = BTreeMap::from([((Some(SALES), ANA), open)]);
            chosen(&snapshot, &Policy::default()).is_empty()
        };
        assert!(!full(most - 1) && full(most), "not held to {most}");
    };

    rules.teams.insert(BILLING, team([ANA]));
    held(&rules, 4);
    rules.teams.insert(BILLING, Team { capacity: Some(5), ..team([ANA]) });
    held(&rules, 5);
    let mut own = AgentRules { capacity_policy: Some(CapacityPolicyId(1)), ..AgentRules::default() };
    rules.agents.insert(ANA, own.clone());
    rules.capacity_policies.insert(CapacityPolicyId(1), limit_of(SALES, 6));
    held(&rules, 6);
    rules
        .capacity_policies
        .insert(CapacityPolicyId(1), CapacityPolicy { total_limit: Some(2), ..limit_of(SALES, 6) });
    held(&rules, 2);
    own.capacity = Some(1);
    rules.agents.insert(ANA, own);
    held(&rules, 1);
}

#[test]
fn a_limit_of_an_inbox_counts_what_this_round_gave_though_nobody_held_anything_before() {
    let snapshot = under(all_under(limit_of(SALES, 1)), desk(2, 5));

    assert_eq!(chosen(&snapshot, &Policy::default()), [1, 2]);
}

#[test]
fn a_limit_of_one_inbox_leaves_the_others_alone() {
    let mut snapshot = under(all_under(limit_of(SALES, 0)), desk(1, 2));
    snapshot.waiting[1].inbox = Some(SUPPORT);

    let outcomes: Vec<_> =
        decide(&snapshot, &Policy::default(), NOW).into_iter().map(|decision| decision.outcome).collect();

    assert_eq!(outcomes, [Outcome::Pass, to(1)]);
}

#[test]
fn conversations_only_the_platform_counts_may_be_of_any_inbox() {
    let counted = Agent { reported_load: Some(1), ..agent(1) };
    let snapshot = under(all_under(limit_of(SALES, 2)), snapshot([counted], (1..=3).map(head).collect()));

    assert_eq!(chosen(&snapshot, &Policy::default()), [1]);
}

#[test]
fn an_inbox_may_differ_from_its_policy() {
    let mut rules = linked(SALES, assignment_policy("any"));
    let said = rules.inboxes.get_mut(&SALES).unwrap();
    said.overrides = Overrides {
        strategy: Some(Strategy::FirstFit),
        max_assignment_limit: Some(2),
        ..Overrides::default()
    };

    assert_eq!(chosen(&under(rules, desk(2, 9)), &Policy::default()), [1, 1, 2, 2]);
}

#[test]
fn a_team_is_served_by_its_members_and_by_hand_as_soon_as_it_is_set_so() {
    let mut snapshot = under(in_team(team([BUDI])), desk(2, 1));
    snapshot.waiting = vec![of_team(head(1), BILLING)];
    let decision = decide(&snapshot, &Policy::default(), NOW).remove(0);
    assert_eq!(decision.outcome, to(2));
    assert_eq!(decision.rejected.iter().collect::<Vec<_>>(), [(ANA, Rejection::NotInTeam)]);

    let manual = under(in_team(Team { allow_auto_assign: false, ..team([BUDI]) }), snapshot.clone());
    assert_eq!(first(&manual, &Policy::default()), (Outcome::Pass, Some(Hold::TeamManual)));

    let gone = under(Rulebook::default(), snapshot);
    assert_eq!(first(&gone, &Policy::default()), (Outcome::Pass, Some(Hold::TeamGone)));
}

#[test]
fn every_switch_holds_a_queue_and_says_which() {
    let paused = |until| Some(Paused { since: NOW, until, reason: None });
    let inbox = |said: InboxRules| Rulebook { inboxes: [(SALES, said)].into(), ..Rulebook::default() };
    let mut disabled = assignment_policy("any");
    disabled.enabled = false;
    let cases = [
        (Rulebook { paused: paused(None), ..Rulebook::default() }, Hold::AccountPaused),
        (
            inbox(InboxRules { paused: paused(Some(NOW + SECOND)), ..InboxRules::default() }),
            Hold::InboxPaused,
        ),
        (inbox(InboxRules { manual: true, ..InboxRules::default() }), Hold::InboxManual),
        (linked(SALES, disabled), Hold::PolicyDisabled),
    ];
    for (rules, hold) in cases {
        assert_eq!(first(&under(rules, desk(1, 1)), &Policy::default()), (Outcome::Pass, Some(hold)));
    }
    let over = inbox(InboxRules { paused: paused(Some(NOW)), ..InboxRules::default() });
    assert_eq!(first(&under(over, desk(1, 1)), &Policy::default()), (to(1), None));
    let libredesk = Policy::of(Preset::Libredesk);
    assert_eq!(first(&desk(1, 1), &libredesk), (Outcome::Pass, Some(Hold::NoTeam)));
}

#[test]
fn an_excluded_label_keeps_a_conversation_from_the_agents_under_it_and_in_chatwoot_from_all() {
    let mut vip = limit_of(SALES, 9);
    vip.exclusion_rules.excluded_labels = vec![label("VIP")];
    let mut rules = all_under(vip);
    rules.agents.remove(&BUDI);
    let mut snapshot = under(rules, desk(2, 1));
    snapshot.waiting = vec![labelled(head(1), "vip")];

    let decision = decide(&snapshot, &Policy::default(), NOW).remove(0);
    assert_eq!(decision.outcome, to(2));
    assert_eq!(decision.rejected.iter().collect::<Vec<_>>(), [(ANA, Rejection::Excluded)]);

    let parked = Outcome::Park(Park { until: NOW + EXCLUSION_PARK, why: ParkReason::Excluded });
    assert_eq!(first(&snapshot, &Policy::of(Preset::Chatwoot)).0, parked);
}

#[test]
fn one_that_all_are_kept_from_is_looked_at_again_soon() {
    let mut vip = capacity_policy("any");
    vip.exclusion_rules.excluded_labels = vec![label("vip")];
    let mut snapshot = under(all_under(vip), desk(2, 1));
    snapshot.waiting = vec![labelled(head(1), "vip")];

    let parked = Outcome::Park(Park { until: NOW + PARK_MAX, why: ParkReason::Excluded });
    assert_eq!(first(&snapshot, &Policy::default()).0, parked);
}

#[test]
fn a_conversation_is_too_old_once_it_was_silent_for_longer() {
    let policy = Policy { exclude_older_than: Some(Duration::from_secs(5_400)), ..Policy::default() };
    let silent_for = |ms| {
        let mut snapshot = desk(1, 1);
        snapshot.waiting[0].last_activity_at = NOW - Duration::from_millis(ms);
        first(&snapshot, &policy).0
    };

    assert_eq!(silent_for(5_400_000), to(1));
    let parked = Outcome::Park(Park { until: NOW + EXCLUSION_PARK, why: ParkReason::Excluded });
    assert_eq!(silent_for(5_400_001), parked);
}

#[test]
fn a_leave_begins_and_ends_at_midnight_where_the_agent_is() {
    // 15 November 2023 in Jakarta, seven hours ahead of UTC.
    let midnight = Timestamp::from_millis(1_700_000_000_000 / 86_400_000 * 86_400_000 + 17 * 3_600_000);
    let on = |status| {
        let days =
            Leave { start: Day(19_676), end: Day(19_676), utc_offset_minutes: 420, status, ..leave(ANA) };
        let rules = Rulebook { leaves: [(LeaveId(1), days)].into(), ..Rulebook::default() };
        move |now: Timestamp| {
            let mut snapshot = under(rules.clone(), desk(1, 1));
            snapshot.roster = sebastian_core::Roster::new(1, now, snapshot.roster.agents.clone()).into();
            !decide(&snapshot, &Policy::default(), now).is_empty()
        }
    };
    let (a_ms, a_day) = (Duration::from_millis(1), Duration::from_secs(86_400));

    let deals = on(LeaveStatus::Approved);
    let around = [midnight - a_ms, midnight, midnight + a_day - a_ms, midnight + a_day];
    assert_eq!(around.map(deals), [true, false, false, true]);
    for status in [LeaveStatus::Pending, LeaveStatus::Rejected, LeaveStatus::Cancelled] {
        assert_eq!(around.map(on(status)), [true; 4], "{status:?}");
    }
}

#[test]
fn a_paused_agent_is_given_nothing_until_the_pause_is_over() {
    let until = |until| {
        let paused = Some(Paused { since: NOW - SECOND, until, reason: None });
        let rules = with_agents([(ANA, AgentRules { paused, ..AgentRules::default() })]);
        chosen(&under(rules, desk(2, 1)), &strategy(Strategy::FirstFit))
    };

    assert_eq!([until(None), until(Some(NOW + SECOND)), until(Some(NOW))], [vec![2], vec![2], vec![1]]);
}

#[test]
fn fair_distribution_is_exact_at_the_boundary_and_names_its_window() {
    let minute = Duration::from_secs(60);
    let rule = FairDistribution { limit: 2, window: minute };
    let policy = Policy { fair_distribution: Some(rule), ..Policy::default() };
    let given = |ages_ms: [u64; 2]| {
        let mut snapshot = desk(1, 1);
        let given = ages_ms.map(|age| NOW - Duration::from_millis(age));
        let window = RateWindow::from_stored(given.into_iter().zip([ConversationId(91), ConversationId(92)]));
        snapshot.windows.insert((Some(SALES), ANA), window);
        let decision = decide(&snapshot, &policy, NOW).remove(0);
        (decision.outcome, decision.rejected.iter().next())
    };

    assert_eq!(given([59_999, 10]), (Outcome::Pass, Some((ANA, Rejection::RateLimited))));
    let reserved = Outcome::Reserve { agent: ANA, turn_charge: 0, window: Some(minute) };
    assert_eq!(given([60_000, 10]), (reserved, None));
}

#[test]
fn teams_of_one_inbox_share_its_window_and_other_inboxes_do_not() {
    let mut rules = in_team(team([ANA]));
    rules.teams.insert(TeamId(2), team([ANA]));
    let mut snapshot = under(rules, desk(1, 4));
    snapshot.waiting[0] = of_team(head(1), BILLING);
    snapshot.waiting[1] = of_team(head(2), TeamId(2));
    snapshot.waiting[3].inbox = Some(SUPPORT);
    let rule = FairDistribution { limit: 2, window: Duration::from_secs(60) };
    let policy = Policy { fair_distribution: Some(rule), capacity: None, ..Policy::default() };

    let given: Vec<bool> = decide(&snapshot, &policy, NOW)
        .iter()
        .map(|decision| matches!(decision.outcome, Outcome::Reserve { .. }))
        .collect();

    assert_eq!(given, [true, true, false, true]);
}

#[test]
fn the_limit_of_a_round_counts_assignments_and_not_conversations_looked_at() {
    let mut snapshot = desk(2, 7);
    for head in &mut snapshot.waiting[..5] {
        head.inbox = Some(InboxId(99));
    }
    snapshot.limit = 2;

    assert_eq!(chosen(&snapshot, &Policy::default()), [1, 2]);
}

#[test]
fn the_go_original_takes_the_first_with_room_and_nobody_above_capacity() {
    assert_eq!(chosen(&desk(2, 9), &Policy::of(Preset::QiscusOriginal)), [1, 1, 1, 2, 2, 2]);
}
