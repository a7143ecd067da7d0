//! What operators may do to a rulebook, and what may not be.

use std::{collections::BTreeSet, time::Duration};

use sebastian_core::{
    AgentId, CapacityPolicyId, FairDistribution, InboxId, LeaveId, Order, Policy, PolicyId, Preset, Rulebook,
    Strategy, TeamId, Timestamp,
    rulebook::{
        AgentRules, Day, LeaveStatus, Overrides, Route,
        edit::{
            AgentDraft, CapacityPolicyDraft, EditError, Field, InboxDraft, InboxLimitDraft, LeaveDraft,
            PauseDraft, Paused, PolicyDraft, TeamDraft,
        },
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_795_000_060_000);
const SALES: InboxId = InboxId(7);
const AYU: AgentId = AgentId(101);

fn draft<T: DeserializeOwned>(sent: Value) -> T {
    serde_json::from_value(sent).expect("a test sends what reads")
}

/// The fields an edit was refused for, each with its message.
fn refused<T>(edit: Result<T, EditError>) -> Vec<(String, String)> {
    match edit.map(drop).expect_err("the edit is refused") {
        EditError::Invalid(wrong) => wrong.fields().map(|(f, m)| (f.to_owned(), m.to_owned())).collect(),
        other => panic!("refused for another reason: {other}"),
    }
}

fn wrong(field: &str, message: &str) -> Vec<(String, String)> {
    vec![(field.to_owned(), message.to_owned())]
}

fn create(rules: &mut Rulebook, preset: Preset, sent: Value) -> Result<PolicyId, EditError> {
    rules.create_policy(draft(sent), &Policy::of(preset), NOW)
}

fn ours(rules: &mut Rulebook, sent: Value) -> Result<PolicyId, EditError> {
    create(rules, Preset::Sebastian, sent)
}

fn capacity(rules: &mut Rulebook, sent: Value) -> CapacityPolicyId {
    rules.create_capacity_policy(draft(sent), NOW).expect("the policy is sound")
}

#[test]
fn a_policy_of_a_name_alone_has_chatwoots_defaults_under_its_preset_and_the_accounts_under_ours() {
    let mut rules = Rulebook::default();
    let theirs = create(&mut rules, Preset::Chatwoot, json!({ "name": "P" })).unwrap();
    let theirs = rules.assignment_policy(theirs).unwrap().clone();
    assert_eq!(theirs.strategy, Strategy::RoundRobin);
    assert_eq!(theirs.order, Order::EarliestCreated);
    let fair = FairDistribution { limit: 100, window: Duration::from_secs(3_600) };
    assert_eq!((theirs.fair_distribution, theirs.exclude_older_than_hours), (Some(fair), Some(168)));
    assert!(theirs.enabled);

    let account = Policy { strategy: Strategy::LongestIdle, order: Order::Priority, ..Policy::default() };
    let id = rules.create_policy(draft(json!({ "name": "Q" })), &account, NOW).unwrap();
    let own = rules.assignment_policy(id).unwrap();
    assert_eq!((own.strategy, own.order), (Strategy::LongestIdle, Order::Priority));
    assert_eq!((own.fair_distribution, own.exclude_older_than_hours), (None, None));
    assert!(own.enabled);
}

#[test]
fn everything_wrong_with_a_policy_is_told_at_once_in_chatwoots_words() {
    let mut rules = Rulebook::default();
    let sent = json!({
        "name": " ", "description": "x".repeat(20_001), "assignment_order": "weighted",
        "conversation_priority": "newest", "fair_distribution_limit": 0, "fair_distribution_window": -1,
        "enabled": "perhaps", "exclude_older_than_hours": 0, "capacity": 1.5, "seed": -1,
    });
    let made = create(&mut rules, Preset::Chatwoot, sent);
    let strategies =
        "is none of balanced, round_robin, least_loaded, longest_idle, first_fit, random, platform";
    let expected = [
        ("name", "can't be blank"),
        ("description", "is too long (maximum is 20000 characters)"),
        ("assignment_order", strategies),
        ("conversation_priority", "is none of earliest_created, longest_waiting, priority"),
        ("enabled", "must be true or false"),
        ("fair_distribution_limit", "must be greater than 0"),
        ("fair_distribution_window", "must be greater than 0"),
        ("exclude_older_than_hours", "must be greater than 0"),
        ("capacity", "must be an integer"),
        ("seed", "must be greater than or equal to 0"),
    ];
    assert_eq!(refused(made), expected.map(|(f, m)| (f.to_owned(), m.to_owned())));
    assert_eq!(rules, Rulebook::default());
}

#[test]
fn an_error_reads_as_a_sentence_for_each_field() {
    let made = create(&mut Rulebook::default(), Preset::Chatwoot, json!({ "fair_distribution_limit": 0 }));
    let text = "Name can't be blank, Fair distribution limit must be greater than 0";
    assert_eq!(made.unwrap_err().to_string(), text);
}

#[test]
fn a_name_is_present_short_and_unique() {
    let mut rules = Rulebook::default();
    ours(&mut rules, json!({ "name": "é".repeat(255) })).unwrap();
    let night = ours(&mut rules, json!({ "name": "Night" })).unwrap();
    for (name, message) in [
        (json!(null), "can't be blank"),
        (json!(""), "can't be blank"),
        (json!("é".repeat(256)), "is too long (maximum is 255 characters)"),
        (json!("Night"), "has already been taken"),
        (json!("a\0b"), "must not contain U+0000"),
        (json!(["Night"]), "must be text"),
    ] {
        assert_eq!(refused(ours(&mut rules, json!({ "name": name }))), wrong("name", message), "{name}");
    }
    assert_eq!(refused(ours(&mut rules, json!({}))), wrong("name", "can't be blank"));
    let keeps_it = rules.update_policy(night, draft(json!({ "name": "Night" })), &Policy::default(), NOW);
    assert_eq!(keeps_it, Ok(()));
}

#[test]
fn under_ours_a_limit_of_nothing_is_no_limit_and_under_chatwoots_it_is_an_error() {
    let mut rules = Rulebook::default();
    let limited = json!({ "name": "P", "fair_distribution_limit": 5 });
    let id = ours(&mut rules, limited.clone()).unwrap();
    let fair = |limit, seconds| Some(FairDistribution { limit, window: Duration::from_secs(seconds) });
    let mut after = |sent: Value| {
        rules.update_policy(id, draft(sent), &Policy::default(), NOW).unwrap();
        rules.assignment_policies[&id].fair_distribution
    };
    assert_eq!(after(json!({})), fair(5, 3_600));
    assert_eq!(after(json!({ "fair_distribution_window": 300 })), fair(5, 300));
    assert_eq!(after(json!({ "fair_distribution_limit": "7" })), fair(7, 300));
    assert_eq!(after(json!({ "fair_distribution_window": null })), fair(7, 3_600));
    assert_eq!(after(json!({ "fair_distribution_limit": 0, "fair_distribution_window": 300 })), None);
    assert_eq!(after(json!({ "fair_distribution_limit": 2 })), fair(2, 3_600));
    assert_eq!(after(json!({ "fair_distribution_limit": null })), None);
    let alone =
        rules.update_policy(id, draft(json!({ "fair_distribution_window": 9 })), &Policy::default(), NOW);
    assert_eq!(refused(alone), wrong("fair_distribution_limit", "can't be blank where there is a window"));

    let mut theirs = Rulebook::default();
    let made = create(&mut theirs, Preset::Chatwoot, json!({ "name": "P", "fair_distribution_limit": null }));
    assert_eq!(refused(made), wrong("fair_distribution_limit", "is not a number"));
}

#[test]
fn an_update_changes_what_is_sent_and_nothing_else() {
    let mut rules = Rulebook::default();
    let sent = json!({ "name": "P", "assignment_order": "random", "seed": 9, "capacity": 4, "reassigns_strays": true });
    let id = ours(&mut rules, sent).unwrap();
    let before = rules.assignment_policy(id).unwrap().clone();

    rules.update_policy(id, PolicyDraft::default(), &Policy::default(), LATER).unwrap();
    assert_eq!(rules.assignment_policies[&id], before, "nothing was said, so not even the time moves");

    rules.update_policy(id, draft(json!({ "enabled": false })), &Policy::default(), LATER).unwrap();
    let after = rules.assignment_policies[&id].clone();
    assert_eq!((after.enabled, after.updated_at, after.seed), (false, LATER, 9));
    rules
        .update_policy(
            id,
            draft(json!({ "capacity": null, "reassigns_strays": null })),
            &Policy::default(),
            LATER,
        )
        .unwrap();
    let after = &rules.assignment_policies[&id];
    assert_eq!((after.capacity, after.reassigns_strays), (None, None));
}

#[test]
fn a_link_replaces_the_old_one_and_goes_with_its_policy() {
    let mut rules = Rulebook::default();
    let (day, night) = (
        ours(&mut rules, json!({ "name": "Day" })).unwrap(),
        ours(&mut rules, json!({ "name": "Night" })).unwrap(),
    );
    assert_eq!(rules.unlink(SALES), Err(EditError::NotLinked));
    assert_eq!(
        rules.link(SALES, PolicyId(99)),
        Err(EditError::Unknown { what: "assignment policy", id: 99 })
    );
    rules.link(SALES, day).unwrap();
    rules.link(SALES, night).unwrap();
    assert_eq!(rules.policy_of_inbox(SALES).unwrap().0, night);
    assert_eq!(rules.inboxes_of_policy(day).count(), 0);

    rules.delete_policy(night).unwrap();
    assert_eq!(rules.policy_of_inbox(SALES).unwrap_err(), EditError::NotLinked);
    assert!(rules.inboxes.is_empty(), "nothing is left of what nothing is said of");
    assert_eq!(
        rules.delete_policy(night),
        Err(EditError::Unknown { what: "assignment policy", id: night.0 })
    );
}

#[test]
fn an_inbox_is_limited_once_in_a_policy_and_as_often_as_there_are_policies() {
    let mut rules = Rulebook::default();
    let (a, b) = (capacity(&mut rules, json!({ "name": "A" })), capacity(&mut rules, json!({ "name": "A" })));
    let limit = || draft::<InboxLimitDraft>(json!({ "inbox_id": 7, "conversation_limit": 0 }));
    let id = rules.add_inbox_limit(a, limit(), NOW).unwrap();
    assert_eq!(rules.add_inbox_limit(a, limit(), NOW), Err(EditError::AlreadyLimited));
    rules.add_inbox_limit(b, limit(), NOW).unwrap();
    for (value, message) in [
        (json!(null), "is not a number"),
        (json!(1.5), "must be an integer"),
        (json!(-1), "must be greater than or equal to 0"),
        (json!("many"), "is not a number"),
    ] {
        let sent = json!({ "conversation_limit": value });
        assert_eq!(
            refused(rules.set_inbox_limit(a, id, draft(sent), NOW)),
            wrong("conversation_limit", message)
        );
    }
    rules.set_inbox_limit(a, id, draft(json!({ "conversation_limit": 15 })), NOW).unwrap();
    assert_eq!(rules.inbox_limit(a, id).unwrap().limit, 15);
    assert!(rules.inbox_limit(b, id).is_err(), "a limit is found in its own policy only");
    rules.remove_inbox_limit(a, id, NOW).unwrap();
    rules.add_inbox_limit(a, limit(), NOW).unwrap();
}

#[test]
fn exclusion_rules_read_hours_as_text_and_less_than_one_as_none() {
    let mut rules = Rulebook::default();
    let sent = json!({ "name": "A", "exclusion_rules":
        { "excluded_labels": ["VIP", "spam", "vip"], "exclude_older_than_hours": "24" } });
    let id = capacity(&mut rules, sent);
    let said = rules.capacity_policies[&id].exclusion_rules.clone();
    let labels: Vec<_> = said.excluded_labels.iter().map(|label| label.as_str()).collect();
    assert_eq!((labels, said.exclude_older_than_hours), (vec!["vip", "spam"], Some(24)));
    for off in [json!(0), json!(-3), json!(null)] {
        let sent = json!({ "exclusion_rules": { "exclude_older_than_hours": off } });
        rules.update_capacity_policy(id, draft(sent), NOW).unwrap();
        let said = &rules.capacity_policies[&id].exclusion_rules;
        assert_eq!((said.exclude_older_than_hours, said.excluded_labels.len()), (None, 0), "{off}");
    }
    let sent = json!({ "exclusion_rules": "none" });
    assert_eq!(refused(rules.update_capacity_policy(id, draft(sent), NOW))[0].0, "exclusion_rules");
}

#[test]
fn an_agent_is_under_one_capacity_policy_and_under_none_when_it_goes() {
    let mut rules = Rulebook::default();
    let (a, b) = (capacity(&mut rules, json!({ "name": "A" })), capacity(&mut rules, json!({ "name": "B" })));
    rules.put_under(AYU, a).unwrap();
    rules.put_under(AYU, b).unwrap();
    assert_eq!(rules.agents_under(a).count(), 0);
    assert!(rules.take_out(AYU, a).is_err());
    assert_eq!(rules.agents_under(b).collect::<Vec<_>>(), [AYU]);
    rules.delete_capacity_policy(b).unwrap();
    assert!(rules.agents.is_empty());
    assert!(rules.put_under(AYU, b).is_err());
}

#[test]
fn a_team_keeps_its_number_from_the_platform_and_its_going_empties_the_routes_to_it() {
    let mut rules = Rulebook::default();
    let billing = rules.create_team(draft(json!({ "id": 40, "name": "Billing" })), NOW).unwrap();
    assert_eq!(billing, TeamId(40));
    let again = rules.create_team(draft(json!({ "id": 40, "name": "Billing" })), NOW);
    assert_eq!(refused(again).len(), 2, "both its number and its name are taken");
    let unnumbered = rules.create_team(draft(json!({ "name": "Sales", "capacity": 0 })), NOW).unwrap();
    assert_ne!(unnumbered, billing);
    assert_eq!(rules.team(unnumbered).unwrap().capacity, None, "0 is no limit of a team's");

    rules.add_members(billing, &[AYU, AgentId(102)], NOW).unwrap();
    rules.remove_members(billing, &[AgentId(102), AgentId(999)], NOW).unwrap();
    assert_eq!(rules.team(billing).unwrap().members, BTreeSet::from([AYU]));
    let to = |team, language: Option<&str>| Route {
        team,
        language: language.map(str::to_owned),
        ..Route::default()
    };
    rules.set_routes(vec![to(Some(billing), None), to(Some(billing), Some("id"))]).unwrap();
    rules.delete_team(billing).unwrap();
    assert_eq!(rules.routes, [to(None, Some("id"))]);
}

#[test]
fn a_route_gives_something_and_to_a_team_that_is_there() {
    let mut rules = Rulebook::default();
    let routes = vec![
        Route { inbox: Some(SALES), ..Route::default() },
        Route { channel: Some(SALES), ..Route::default() },
        Route { team: Some(TeamId(40)), source: Some(String::new()), ..Route::default() },
    ];
    let fields: Vec<_> = refused(rules.set_routes(routes)).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["routes[1]", "routes[2].team", "routes[2].source"]);
    assert!(rules.routes.is_empty());
}

fn leave(rules: &mut Rulebook, from: &str, to: &str) -> Result<LeaveId, EditError> {
    rules.file_leave(draft(json!({ "agent_id": AYU, "start_date": from, "end_date": to })), NOW)
}

#[test]
fn a_leave_may_not_share_a_day_with_one_that_was_granted() {
    let mut rules = Rulebook::default();
    let granted = leave(&mut rules, "2026-12-10", "2026-12-12").unwrap();
    let second = leave(&mut rules, "2026-12-12", "2026-12-20").unwrap();
    assert_eq!(rules.approve_leave(granted, LATER), Ok(()));
    assert_eq!(rules.leave(granted).unwrap().approved_at, Some(LATER));
    let overlaps = wrong("start_date", "overlaps with an approved leave");
    assert_eq!(refused(rules.approve_leave(second, LATER)), overlaps);
    assert_eq!(refused(leave(&mut rules, "2026-12-01", "2026-12-10")), overlaps);
    rules.update_leave(second, draft(json!({ "start_date": "2026-12-13" })), LATER).unwrap();
    assert_eq!(rules.approve_leave(second, LATER), Ok(()));
    leave(&mut rules, "2026-12-01", "2026-12-09").unwrap();
    let other = json!({ "user_id": 102, "start_date": "2026-12-10", "end_date": "2026-12-10" });
    rules.file_leave(draft(other), NOW).unwrap();
}

#[test]
fn only_a_pending_leave_is_changed_and_a_granted_one_can_be_taken_back() {
    let mut rules = Rulebook::default();
    let id = leave(&mut rules, "2026-12-10", "2026-12-12").unwrap();
    rules.approve_leave(id, NOW).unwrap();
    for edit in [
        rules.clone().update_leave(id, LeaveDraft::default(), NOW),
        rules.clone().approve_leave(id, NOW),
        rules.clone().reject_leave(id, NOW),
    ] {
        assert_eq!(edit, Err(EditError::NotPending("approved")));
    }
    rules.cancel_leave(id, LATER).unwrap();
    assert_eq!(rules.leave(id).unwrap().status, LeaveStatus::Cancelled);
    assert_eq!(rules.cancel_leave(id, LATER), Err(EditError::NotPending("cancelled")));
}

#[test]
fn a_leave_has_an_agent_and_days_in_order() {
    let mut rules = Rulebook::default();
    let fields = |edit| refused::<LeaveId>(edit).into_iter().map(|(field, _)| field).collect::<Vec<_>>();
    assert_eq!(fields(rules.file_leave(LeaveDraft::default(), NOW)), ["user_id", "start_date", "end_date"]);
    assert_eq!(fields(leave(&mut rules, "2026-12-10", "2026-12-09")), ["end_date"]);
    assert_eq!(fields(leave(&mut rules, "2026-02-30", "2026-12-09")), ["start_date"]);
    let id = leave(&mut rules, "2026-12-10", "2026-12-10").unwrap();
    assert_eq!(
        (rules.leave(id).unwrap().days(), rules.leave(id).unwrap().start),
        (1, Day::parse("2026-12-10").unwrap())
    );
}

#[test]
fn days_are_read_as_they_are_written() {
    for day in [-141_428, -1, 0, 11_016, 20_778, 2_932_896] {
        assert_eq!(Day::parse(&Day(day).to_string()), Some(Day(day)));
    }
    assert_eq!(Day::parse("2026-01-15"), Some(Day(20_468)));
    for not in ["", "2026-1-15", "2026-02-29", "15-01-2026", "2026-01-15T00:00:00Z"] {
        assert_eq!(Day::parse(not), None, "{not}");
    }
}

#[test]
fn a_pause_lies_ahead_and_its_end_leaves_nothing_behind() {
    let mut rules = Rulebook::default();
    let past = draft::<PauseDraft>(json!({ "until": NOW.as_millis() / 1_000 }));
    assert_eq!(refused(rules.pause(Paused::Account, past, NOW)), wrong("until", "must lie ahead"));
    let reassigns = draft::<PauseDraft>(json!({ "reassigns": true }));
    assert_eq!(refused(rules.pause(Paused::Inbox(SALES), reassigns.clone(), NOW))[0].0, "reassigns");

    let mut rules = Rulebook::default();
    rules.pause(Paused::Agent(AYU), reassigns, NOW).unwrap();
    let until = draft::<PauseDraft>(json!({ "until": "2030-01-01T00:00:00+07:00", "reason": "training" }));
    rules.pause(Paused::Agent(AYU), until, LATER).unwrap();
    let said = rules.agent(AYU);
    let paused = said.paused.clone().unwrap();
    assert_eq!((paused.since, paused.reason.as_deref(), said.reassigns), (NOW, Some("training"), false));
    for what in [Paused::Account, Paused::Inbox(SALES)] {
        rules.pause(what, PauseDraft::default(), NOW).unwrap();
    }
    for what in [Paused::Account, Paused::Inbox(SALES), Paused::Agent(AYU)] {
        assert!(rules.resume(what, LATER));
        assert!(!rules.resume(what, LATER));
    }
    assert_eq!(rules, Rulebook::default());
}

#[test]
fn an_inbox_is_switched_and_overridden_and_a_limit_of_none_is_left_out() {
    let mut rules = Rulebook::default();
    let mut edit = |sent: Value| rules.update_inbox(SALES, draft::<InboxDraft>(sent));
    edit(json!({ "auto_assignment_config": { "max_assignment_limit": 1 } })).unwrap();
    edit(json!({ "auto_assignment_config": {} })).unwrap();
    let zero = edit(json!({ "auto_assignment_config": { "max_assignment_limit": 0 } }));
    assert_eq!(refused(zero), wrong("max_assignment_limit", "must be greater than 0"));
    edit(json!({ "enable_auto_assignment": false, "auto_assignment_config":
        { "assignment_order": "first_fit", "fair_distribution_limit": 2 } }))
    .unwrap();
    let said = &rules.inboxes[&SALES];
    assert!(said.manual);
    let fair = FairDistribution { limit: 2, window: Duration::from_secs(3_600) };
    let expected = Overrides {
        strategy: Some(Strategy::FirstFit),
        fair_distribution: Some(fair),
        ..Overrides::default()
    };
    assert_eq!(said.overrides, expected);
}

#[test]
fn an_agents_weight_is_bounded_and_nothing_said_is_nothing_kept() {
    let mut rules = Rulebook::default();
    let mut edit = |sent: Value| rules.update_agent(AYU, draft::<AgentDraft>(sent));
    edit(json!({ "weight": 0, "capacity": 0 })).unwrap();
    assert_eq!(
        refused(edit(json!({ "weight": 1_001 }))),
        wrong("weight", "must be less than or equal to 1000")
    );
    assert_eq!(rules.agent(AYU), AgentRules { weight: 0, capacity: Some(0), ..AgentRules::default() });
    rules.update_agent(AYU, draft(json!({ "weight": null, "capacity": null }))).unwrap();
    assert!(rules.agents.is_empty());
}

#[test]
fn drafts_can_be_made_by_hand() {
    let mut rules = Rulebook::default();
    let made = PolicyDraft {
        name: Field::Is("P".to_owned()),
        enabled: Some(false).into(),
        ..PolicyDraft::default()
    };
    let id = rules.create_policy(made, &Policy::default(), NOW).unwrap();
    assert!(!rules.assignment_policies[&id].enabled);
    let team = TeamDraft { name: Field::Is("T".to_owned()), ..TeamDraft::default() };
    let policy = CapacityPolicyDraft { name: Field::Is("C".to_owned()), ..CapacityPolicyDraft::default() };
    rules.create_team(team, NOW).unwrap();
    rules.create_capacity_policy(policy, NOW).unwrap();
    assert_eq!(rules.last_id, 3, "nothing has the number of anything else");
}
