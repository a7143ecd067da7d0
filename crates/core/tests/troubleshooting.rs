//! "Why is nothing assigned?": the eight questions of Chatwoot's troubleshooting list, each answered by explain without
//! being asked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sebastian_core::{
    Agent, AgentId, CapacityPolicyId, Case, Closed, Conversation, ConversationId, Explanation,
    FairDistribution, InboxId, InboxLimitId, LeaveId, NoRoster, Origin, Policy, PolicyId, Presence, Preset,
    RateWindow, Rejection, Roster, Rulebook, Seq, State, Strategy, TeamId, Timestamp,
    rulebook::{
        AgentRules, AssignmentPolicy, CapacityPolicy, Day, ExclusionRules, InboxLimit, InboxRules, Leave,
        Paused, Team,
    },
};

use crate::support::{
    ANA, NOW, SALES, SECOND, SUPPORT, agent, assignment_policy, capacity_policy, label, leave, load, room,
    team,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A conversation of sales that has waited for two minutes, and three agents of sales.
struct Desk {
    conversation: Conversation,
    agents: Vec<Agent>,
    loads: Vec<(i64, u32)>,
    inbox_loads: BTreeMap<(Option<InboxId>, AgentId), u32>,
    windows: BTreeMap<(Option<InboxId>, AgentId), RateWindow>,
    rules: Rulebook,
    policy: Policy,
}

impl Desk {
    fn new() -> Self {
        let opened_at = NOW - SECOND * 120;
        let waiting = State::Waiting { park: None };
        let named = |id, name: &str| Agent { name: name.into(), ..agent(id) };
        Self {
            conversation: Conversation {
                id: ConversationId(9),
                inbox: Some(SALES),
                opened_at,
                last_activity_at: opened_at,
                ..Conversation::blank(room(1), Seq(5), Origin::Event, waiting)
            },
            agents: vec![named(1, "Ayu"), named(2, "Bima"), named(3, "Citra")],
            loads: Vec::new(),
            inbox_loads: BTreeMap::new(),
            windows: BTreeMap::new(),
            rules: Rulebook { version: 4, ..Rulebook::default() },
            policy: Policy::default(),
        }
    }

    /// As [`Desk::new`], its inbox linked to the policy Night.
    fn under(policy: AssignmentPolicy) -> Self {
        let mut desk = Self::new();
        desk.rules.assignment_policies.insert(PolicyId(3), policy);
        desk.rules.inboxes.insert(SALES, InboxRules { policy: Some(PolicyId(3)), ..InboxRules::default() });
        desk
    }

    fn in_team(members: &[i64]) -> Self {
        let mut desk = Self::new();
        let team = Team { name: "Billing".into(), ..team(members.iter().copied().map(AgentId)) };
        desk.rules.teams.insert(TeamId(2), team);
        desk.conversation.traits.team = Some(TeamId(2));
        desk
    }

    fn explain(&self) -> Explanation {
        let case = Case {
            conversation: &self.conversation,
            place: Some(3),
            served: None,
            pause: None,
            roster: Ok(Roster::new(1, NOW, self.agents.clone()).into()),
            loads: self.loads.iter().map(|(id, open)| load(*id, *open)).collect(),
            inbox_loads: self.inbox_loads.clone(),
            windows: self.windows.clone(),
            rules: Arc::new(self.rules.clone()),
            policy: &self.policy,
            decided: None,
            now: NOW,
        };
        case.explain()
    }

    /// What the sentence says after how long it waits and where.
    fn why(&self) -> String {
        let sentence = self.explain().sentence;
        let why = sentence.strip_prefix("waiting 2 min, position 3; ");
        why.unwrap_or_else(|| panic!("{sentence}")).to_owned()
    }

    fn each(&mut self, change: impl Fn(&mut Agent)) -> &mut Self {
        self.agents.iter_mut().for_each(change);
        self
    }
}

fn night() -> AssignmentPolicy {
    assignment_policy("Night")
}

/// Keeps `excluded` from its agents.
fn juniors(inbox_limits: Vec<InboxLimit>, excluded: &str) -> CapacityPolicy {
    let rules = ExclusionRules { excluded_labels: vec![label(excluded)], ..ExclusionRules::default() };
    CapacityPolicy { inbox_limits, exclusion_rules: rules, ..capacity_policy("Juniors") }
}

fn paused(until: Option<Timestamp>, reason: Option<&str>) -> Option<Paused> {
    Some(Paused { since: NOW, until, reason: reason.map(str::to_owned) })
}

#[test]
fn is_automatic_assignment_on() {
    let mut desk = Desk::new();
    desk.rules.inboxes.insert(SALES, InboxRules { manual: true, ..InboxRules::default() });
    assert_eq!(desk.why(), "automatic assignment is switched off for inbox 7");
    let held = serde_json::to_value(desk.explain().hold).unwrap();
    assert_eq!(held["reason"], "inbox_manual");

    let mut desk = Desk::new();
    desk.rules.inboxes.insert(SALES, InboxRules { paused: paused(None, None), ..InboxRules::default() });
    assert_eq!(desk.why(), "inbox 7 is paused");

    let mut desk = Desk::new();
    desk.rules.paused = paused(Some(NOW + SECOND * 60), Some("fire\u{1b} drill "));
    assert_eq!(desk.why(), "the account is paused until 2023-11-14 22:14:20 UTC: fire drill");

    let mut desk = Desk::in_team(&[1]);
    desk.rules.teams.get_mut(&TeamId(2)).unwrap().allow_auto_assign = false;
    assert_eq!(desk.why(), "team Billing assigns by hand");
    desk.rules.teams.clear();
    assert_eq!(desk.why(), "team 2 no longer exists");

    let desk = Desk { policy: Policy { deals_without_team: false, ..Policy::default() }, ..Desk::new() };
    assert_eq!(desk.why(), "it has no team, and only conversations of a team are dealt");
}

#[test]
fn is_a_policy_linked_and_enabled() {
    let desk = Desk::under(AssignmentPolicy { enabled: false, ..night() });
    assert_eq!(desk.why(), "assignment policy Night of inbox 7 is disabled");

    let rules = Desk::under(AssignmentPolicy { strategy: Strategy::RoundRobin, ..night() }).explain().rules;
    let told = serde_json::to_value(&rules).unwrap();
    let named = serde_json::json!({ "id": 3, "name": "Night" });
    assert_eq!(
        (&told["policy"], &told["strategy"], &told["version"]),
        (&named, &"round_robin".into(), &4.into())
    );
    assert_eq!(
        rules.in_words(),
        "assignment policy Night (version 4 of the rules): round robin, earliest first"
    );

    let unlinked = Desk::new().explain().rules;
    assert_eq!(unlinked.policy, None);
    let words = "the account's own policy (version 4 of the rules): balanced, earliest first";
    assert_eq!(unlinked.in_words(), words);
}

#[test]
fn is_anybody_online() {
    let mut desk = Desk::new();
    desk.each(|agent| agent.presence = Presence::Offline);
    desk.agents[1].presence = Presence::AwayManual;
    desk.agents[2].forced_offline = true;
    assert_eq!(
        desk.why(),
        "nobody is online: Ayu is offline, Bima is away by choice, Citra is forced offline"
    );

    let day = Day(i32::try_from(NOW.as_millis() / 86_400_000).unwrap());
    let leave = Leave { start: day, end: Day(day.0 + 2), ..leave(ANA) };
    let mut desk = Desk::new();
    desk.rules.leaves.insert(LeaveId(1), leave);
    let break_off =
        AgentRules { paused: paused(Some(NOW + HOUR), Some("training")), ..AgentRules::default() };
    desk.rules.agents.insert(AgentId(2), break_off);
    assert_eq!(
        desk.why(),
        "Ayu is on leave through 2023-11-16, Bima is paused until 2023-11-14 23:13:20 UTC: training, \
         Citra could take it"
    );
}

#[test]
fn is_anybody_a_member_of_the_inbox() {
    let mut desk = Desk::new();
    desk.each(|agent| agent.inboxes = Some(vec![SUPPORT]));
    desk.agents[2].presence = Presence::Offline;
    assert_eq!(
        desk.why(),
        "nobody of the roster is a member of inbox 7: Ayu is not in its inbox, Bima is not in its inbox, \
         Citra is offline"
    );
    desk.agents[0].inboxes = None;
    assert!(desk.why().starts_with("Ayu is not known to be in its inbox, "), "{}", desk.why());
}

#[test]
fn is_anybody_in_the_team() {
    let why = Desk::in_team(&[70]).why();
    assert!(why.starts_with("nobody of the roster is in team Billing: Ayu is not in its team, "), "{why}");
    let some = Desk { loads: vec![(1, 3)], ..Desk::in_team(&[1]) };
    assert_eq!(some.why(), "Ayu is full (3/3), Bima is not in its team, Citra is not in its team");
}

#[test]
fn is_everybody_at_capacity() {
    let desk = Desk { loads: vec![(1, 3), (2, 4), (3, 3)], ..Desk::new() };
    assert_eq!(desk.why(), "everybody is full: Ayu is full (3/3), Bima is full (4/3), Citra is full (3/3)");

    // Ayu may hold one of this inbox, whatever else she holds.
    let mut desk = Desk { loads: vec![(1, 2)], ..Desk::new() };
    let limit = InboxLimit { id: InboxLimitId(8), inbox: SALES, limit: 1 };
    desk.rules.capacity_policies.insert(CapacityPolicyId(7), juniors(vec![limit], "vip"));
    let under = AgentRules { capacity_policy: Some(CapacityPolicyId(7)), ..AgentRules::default() };
    desk.rules.agents.insert(ANA, under);
    desk.inbox_loads.insert((Some(SALES), ANA), 1);
    let agents = desk.explain().agents;
    assert_eq!(agents[0].detail, "is full (1/1 of inbox 7)");
    assert_eq!((agents[0].load, agents[0].capacity, agents[1].capacity), (Some(1), Some(1), Some(3)));
}

#[test]
fn has_everybody_hit_the_rate_limit() {
    let rule = FairDistribution { limit: 5, window: SECOND * 300 };
    let mut desk = Desk::under(AssignmentPolicy { fair_distribution: Some(rule), ..night() });
    desk.agents[1].presence = Presence::Offline;
    desk.loads = vec![(1, 3)];
    let given = (0..5).map(|n| (NOW - SECOND * (200 + n), ConversationId(100 + i64::from(n))));
    desk.windows.insert((Some(SALES), AgentId(3)), RateWindow::from_stored(given));

    // The oldest was given at 22:09:56, so the window has room again at 22:14:56.
    assert_eq!(desk.why(), "Ayu is full (3/3), Bima is offline, Citra hit 5 per 5 min, free at 22:14:56 UTC");
    let citra = serde_json::to_value(&desk.explain().agents[2]).unwrap();
    assert_eq!(citra["reason"], "rate_limited");
    let rate = serde_json::json!({
        "given": 5, "limit": 5, "window_s": 300, "free_at": "2023-11-14T22:14:56.000Z"
    });
    assert_eq!(citra["rate"], rate);
}

#[test]
fn is_it_excluded_or_served_or_not_open() {
    let mut desk = Desk::under(AssignmentPolicy { exclude_older_than_hours: Some(24), ..night() });
    desk.conversation.last_activity_at = NOW - HOUR * 26;
    let rules = "assignment policy Night (version 4 of the rules)";
    assert_eq!(desk.why(), format!("silent for 1 d 2 h, over the limit of 24 h of {rules}"));

    // Ours keeps a label from the agents under the policy, Chatwoot's from the inboxes it limits.
    let limit = InboxLimit { id: InboxLimitId(8), inbox: SALES, limit: 5 };
    let mut desk = Desk::new();
    desk.rules.capacity_policies.insert(CapacityPolicyId(7), juniors(vec![limit], "vip"));
    let under = AgentRules { capacity_policy: Some(CapacityPolicyId(7)), ..AgentRules::default() };
    desk.rules.agents.insert(ANA, under);
    desk.conversation.traits.labels.insert(label("VIP"));
    let kept = "Ayu is kept from label vip by capacity policy Juniors";
    assert_eq!(desk.why(), format!("{kept}, Bima could take it, Citra could take it"));
    assert_eq!(desk.explain().agents[0].reason, Some(Rejection::Excluded));
    desk.policy = Policy::of(Preset::Chatwoot);
    assert_eq!(desk.why(), "label vip is excluded by capacity policy Juniors");
    let excluded = serde_json::to_value(desk.explain().excluded).unwrap();
    assert_eq!((&excluded["rule"], &excluded["value"]), (&"label".into(), &"vip".into()));

    let mut desk = Desk::new();
    desk.conversation.state = State::Assigned { agent: ANA, at: NOW };
    assert_eq!(desk.explain().sentence, "assigned to Ayu since 2023-11-14 22:13:20 UTC");
    desk.conversation.state = State::Resolved { at: NOW, how: Closed::Resolved };
    assert!(desk.explain().sentence.starts_with("resolved at 2023-11-14 22:13:20 UTC"));
}

#[test]
fn a_hold_is_told_even_when_there_is_no_roster() {
    let (desk, policy) = (Desk::under(AssignmentPolicy { enabled: false, ..night() }), Policy::default());
    let case = Case {
        conversation: &desk.conversation,
        place: None,
        served: None,
        pause: None,
        roster: Err(NoRoster::Missing),
        loads: BTreeMap::new(),
        inbox_loads: BTreeMap::new(),
        windows: BTreeMap::new(),
        rules: Arc::new(desk.rules.clone()),
        policy: &policy,
        decided: None,
        now: NOW,
    };
    assert_eq!(case.explain().sentence, "waiting 2 min; assignment policy Night of inbox 7 is disabled");
}
