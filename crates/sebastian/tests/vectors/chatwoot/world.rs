//! A row's world on a desk of ours: what Chatwoot's tables say, in the product's terms.
//!
//! Chatwoot's feature flags are licences: without `assignment_v2` nothing is dealt by policies, without
//! `advanced_assignment` nobody is under a capacity policy and `balanced` is a round robin.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sebastian_core::{
    Agent, AgentId, CapacityPolicyId, FairDistribution, InboxId, Label, LeaveId, Order, Policy, PolicyId,
    Presence, Preset, QueueRules, Role, RoomId, Rulebook, Status, Strategy, TeamId, Timestamp, Update,
    rulebook::{
        AgentRules, AssignmentPolicy, CapacityPolicy, Day, ExclusionRules, InboxRules, Leave, LeaveStatus,
        Paused, PriorityBoost, Team,
    },
};

use super::format::{self, Conversation, Given};
use crate::desk::{self, Desk};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A desk, and what Chatwoot's tables remember that the ledger need not.
pub struct World {
    pub desk: Desk,
    pub inbox: InboxId,
    pub conversations: BTreeMap<i64, Remembered>,
    given: Given,
}

/// A conversation as Chatwoot's tables have it.
pub struct Remembered {
    pub row: Conversation,
    pub status: String,
    /// Who had it when it was resolved.
    pub kept: Option<AgentId>,
    /// It arrived, and nothing else of what the row says of it is true yet.
    is_new: bool,
}

impl World {
    /// The world as a row begins. Of the conversations that `later` steps add, those dated before have been there all
    /// along, put off until then.
    pub fn new(given: Given, later: &[Conversation], policy: &Policy) -> Result<Self, String> {
        let now = format::time(&given.now)?;
        let later: Vec<Conversation> = later
            .iter()
            .filter(|one| format::time(&one.created_at).is_ok_and(|at| at < now))
            .cloned()
            .collect();
        let mut first = now;
        for text in
            given.conversations.iter().chain(&later).flat_map(|one| [&one.created_at, &one.last_activity_at])
        {
            first = first.min(format::time(text)?);
        }
        for logged in &given.assignment_log {
            first = first.min(format::time(&logged.at)?);
        }
        let mut desk = Desk::new(policy.clone(), first - 30 * DAY);
        let inbox = InboxId(given.inbox.id);
        let members: BTreeSet<i64> =
            given.agents.iter().filter(|agent| agent.inbox_member).map(|agent| agent.id).collect();
        let line = given.round_robin_next_first.iter().filter(|id| members.contains(id));
        desk.amend(|rules| warm_up(rules, inbox));
        desk.line_up(inbox, &line.map(|id| AgentId(*id)).collect::<Vec<_>>());
        desk.agents = given.agents.iter().map(|one| (AgentId(one.id), agent(one, inbox))).collect();
        let mut world = Self { desk, inbox, conversations: BTreeMap::new(), given };
        world.play_log(first - DAY)?;
        let rules = rulebook(&world.given, &world.desk.policy, now)?;
        world.desk.amend(|book| *book = rules);
        let all: Vec<Conversation> = world.given.conversations.iter().chain(&later).cloned().collect();
        world.arrive(&all, now)?;
        for one in &later {
            world.desk.set_time(format::time(&one.created_at)?);
            world.desk.set_status(&room(one.id), Status::Pending);
            world.conversations.entry(one.id).and_modify(|one| one.status = "still to come".to_owned());
        }
        world.desk.set_time(now);
        world.settle_in()?;
        Ok(world)
    }

    /// Gives each logged conversation to its agent at its time, and resolves it: only the rate window remembers. All of
    /// it was accepted at `before`.
    fn play_log(&mut self, before: Timestamp) -> Result<(), String> {
        let mut log = self.given.assignment_log.clone();
        log.sort_by(|a, b| a.at.cmp(&b.at));
        let agents = std::mem::take(&mut self.desk.agents);
        let inbox_of = |logged: &format::Logged| logged.inbox_id.map_or(self.inbox, InboxId);
        let inboxes: BTreeSet<InboxId> = log.iter().map(inbox_of).collect();
        self.desk.amend(|rules| inboxes.iter().for_each(|inbox| logging(rules, *inbox)));
        for logged in &log {
            let (id, inbox, room) =
                (AgentId(logged.agent_id), inbox_of(logged), room(logged.conversation_id));
            self.desk.set_time(before);
            if self.desk.serves(&room).is_some() {
                self.desk.update(&room, Update { unassign: true, ..Update::default() });
            } else {
                self.desk.customer_writes(&room, Some(inbox), BTreeSet::new());
            }
            self.desk.set_time(format::time(&logged.at)?);
            let only = desk::agent(id, Role::Agent, Presence::Online, [inbox]);
            self.desk.agents = BTreeMap::from([(id, only)]);
            if self.desk.run(1).given.len() != 1 {
                return Err(format!("conversation {} of the log is not given", logged.conversation_id));
            }
        }
        self.desk.set_time(before);
        log.iter().for_each(|logged| self.desk.resolve(&room(logged.conversation_id)));
        self.desk.fold();
        self.desk.agents = agents;
        Ok(())
    }

    /// Adds conversations now, whatever their dates.
    pub fn add(&mut self, conversations: &[Conversation]) -> Result<(), String> {
        let is_here = |one: &&Conversation| self.conversations.contains_key(&one.id);
        let (here, new): (Vec<&Conversation>, Vec<&Conversation>) = conversations.iter().partition(is_here);
        for one in here {
            self.desk.set_status(&room(one.id), Status::Open);
            self.conversations.entry(one.id).and_modify(|one| one.status = "open".to_owned());
        }
        self.arrive(&new.into_iter().cloned().collect::<Vec<_>>(), self.desk.time())?;
        self.settle_in()
    }

    /// Lets conversations arrive, and their customers write, in the order of time.
    fn arrive(&mut self, conversations: &[Conversation], now: Timestamp) -> Result<(), String> {
        let mut happened = Vec::new();
        for one in conversations {
            let (created, active) = (format::time(&one.created_at)?, format::time(&one.last_activity_at)?);
            // Nobody writes in a conversation before it is there: where a row says so, what its rules read counts.
            let opened = if active < created && self.reads_activity(active, now) { active } else { created };
            happened.push((opened, one, true));
            if active > opened {
                happened.push((active, one, false));
            }
        }
        happened.sort_by_key(|(at, _, _)| *at);
        for (at, one, is_new) in happened {
            self.desk.set_time(at);
            if is_new {
                self.open(one)?;
            } else {
                self.desk.customer_writes(&room(one.id), Some(InboxId(one.inbox_id)), BTreeSet::new());
            }
        }
        self.desk.set_time(now);
        Ok(())
    }

    fn reads_activity(&self, active: Timestamp, now: Timestamp) -> bool {
        let rules = self.desk.rules();
        let rules = QueueRules::of(&rules, &self.desk.policy, (Some(self.inbox), None), now);
        let is_too_old = rules.excludes(&BTreeSet::new(), active, now).is_some();
        rules.order == Order::LongestWaiting || is_too_old
    }

    fn open(&mut self, one: &Conversation) -> Result<(), String> {
        let labels: Result<BTreeSet<Label>, _> = one.labels.iter().map(|text| Label::parse(text)).collect();
        let labels = labels.map_err(|error| error.to_string())?;
        let room = room(one.id);
        self.desk.customer_writes(&room, Some(InboxId(one.inbox_id)), labels);
        if one.team_id.is_some() {
            self.desk.set_team(&room, one.team_id);
        }
        let status = "open".to_owned();
        self.conversations.insert(one.id, Remembered { row: one.clone(), status, kept: None, is_new: true });
        Ok(())
    }

    /// Gives conversations that arrived whom and what status the row says they have.
    fn settle_in(&mut self) -> Result<(), String> {
        let new = self.conversations.values_mut().filter(|one| one.is_new && one.status == "open");
        let new = new.map(|one| {
            one.is_new = false;
            one.row.clone()
        });
        let new: Vec<Conversation> = new.collect();
        for row in new {
            if let Some(assignee) = row.ai_assignee_id.or(row.assignee_id) {
                self.desk.show(&room(row.id), AgentId(assignee), Some(InboxId(row.inbox_id)));
            }
            if row.status != "open" {
                self.set_status(row.id, &row.status)?;
            }
        }
        self.desk.fold();
        Ok(())
    }

    pub fn set_status(&mut self, id: i64, status: &str) -> Result<(), String> {
        let room = room(id);
        let served_by = self.desk.serves(&room);
        let one = self.conversations.get_mut(&id).ok_or_else(|| format!("no conversation {id}"))?;
        let was_over = one.status == "resolved";
        status.clone_into(&mut one.status);
        let (row, kept) = (one.row.clone(), one.kept.take());
        if status == "resolved" {
            one.kept = if was_over { kept } else { served_by };
            self.desk.resolve(&room);
            self.desk.fold();
            return Ok(());
        }
        if was_over {
            // It comes back with whom it had, and waits when it had nobody.
            match kept {
                Some(agent) => self.desk.show(&room, agent, Some(InboxId(row.inbox_id))),
                None => self.open(&row)?,
            }
            // What it has by now counts, and not what the row began with.
            self.conversations.entry(id).and_modify(|one| one.is_new = false);
        }
        let status = match status {
            "open" => Status::Open,
            "pending" => Status::Pending,
            "snoozed" => Status::Snoozed,
            _ => return Err(format!("status {status} is not known")),
        };
        self.desk.set_status(&room, status);
        self.desk.fold();
        Ok(())
    }

    pub fn set_assignee(&mut self, id: i64, assignee: Option<i64>) -> Result<(), String> {
        let one = self.conversations.get_mut(&id).ok_or_else(|| format!("no conversation {id}"))?;
        if one.status == "resolved" {
            one.kept = assignee.map(AgentId);
        } else if let Some(assignee) = assignee {
            let inbox = InboxId(one.row.inbox_id);
            self.desk.show(&room(id), AgentId(assignee), Some(inbox));
        } else {
            self.desk.update(&room(id), Update { unassign: true, ..Update::default() });
            self.desk.fold();
        }
        Ok(())
    }

    /// Who has it, by the ledger; of a resolved one, who had it.
    pub fn assignee(&self, id: i64) -> Option<AgentId> {
        let one = self.conversations.get(&id)?;
        let holder = if one.status == "resolved" { one.kept } else { self.desk.serves(&room(id)) };
        holder.filter(|agent| !self.bots().contains(agent))
    }

    pub fn ai_assignee(&self, id: i64) -> Option<AgentId> {
        self.desk.serves(&room(id)).filter(|agent| self.bots().contains(agent))
    }

    fn bots(&self) -> BTreeSet<AgentId> {
        self.conversations.values().filter_map(|one| one.row.ai_assignee_id).map(AgentId).collect()
    }

    /// Conversations of the row's inbox with this status.
    pub fn with_status<'a>(&'a self, status: &'a str) -> impl Iterator<Item = i64> + 'a {
        let ours = self.conversations.iter().filter(|(_, one)| InboxId(one.row.inbox_id) == self.inbox);
        ours.filter(move |(_, one)| one.status == status).map(|(id, _)| *id)
    }
}

pub fn room(conversation: i64) -> RoomId {
    desk::room(&format!("c{conversation}"))
}

/// The conversation of a room.
pub fn conversation(room: &RoomId) -> Option<i64> {
    room.as_str().strip_prefix('c')?.parse().ok()
}

/// Everything a row has that operators set.
pub fn rulebook(given: &Given, policy: &Policy, now: Timestamp) -> Result<Rulebook, String> {
    let is_licensed = |feature: &str| given.account.features.iter().any(|name| name == feature);
    let is_advanced = is_licensed("advanced_assignment");
    let inbox = InboxId(given.inbox.id);
    let mut rules = Rulebook::default();
    if !is_licensed("assignment_v2") {
        rules.paused = Some(Paused { since: Timestamp::default(), until: None, reason: None });
    }
    let said = InboxRules {
        manual: !given.inbox.enable_auto_assignment,
        policy: given.policy.as_ref().map(|policy| PolicyId(policy.id)),
        ..InboxRules::default()
    };
    rules.inboxes.insert(inbox, said);
    if let Some(row) = &given.policy {
        enter_policy(&mut rules, row, policy, is_advanced)?;
    }
    for one in &given.teams {
        rules.teams.insert(TeamId(one.id), team(one.allow_auto_assign, &one.members));
    }
    for one in &given.capacity_policies {
        enter_capacity_policy(&mut rules, one)?;
    }
    for one in given.agents.iter().filter(|one| one.capacity_policy_id.is_some() && is_advanced) {
        let capacity_policy = one.capacity_policy_id.map(CapacityPolicyId);
        rules.agents.insert(AgentId(one.id), AgentRules { capacity_policy, ..AgentRules::default() });
    }
    for one in given.agents.iter().filter(|one| one.on_leave) {
        let today = i32::try_from(now.as_millis() / 86_400_000).map_err(|error| error.to_string())?;
        rules
            .leaves
            .insert(LeaveId(one.id), leave(AgentId(one.id), (today - 1, today + 7), LeaveStatus::Approved));
    }
    Ok(rules)
}

/// Enters a policy as an operator would, under the row's number.
fn enter_policy(
    rules: &mut Rulebook,
    row: &format::AssignmentPolicy,
    policy: &Policy,
    is_advanced: bool,
) -> Result<(), String> {
    let order = if is_advanced { row.assignment_order.as_str() } else { "round_robin" };
    let draft = serde_json::json!({
        "name": format!("policy {}", row.id), "enabled": row.enabled, "assignment_order": order,
        "conversation_priority": row.conversation_priority,
        "exclude_older_than_hours": row.exclude_older_than_hours,
    });
    rules.last_id = row.id - 1;
    let made = rules.create_policy(format::read(&draft)?, policy, Timestamp::default());
    let id = made.map_err(|error| error.to_string())?;
    let fair = fair_distribution(row.fair_distribution_limit, row.fair_distribution_window, policy);
    rules.assignment_policies.entry(id).and_modify(|policy| policy.fair_distribution = fair);
    Ok(())
}

/// Enters a capacity policy as an operator would, under the row's number; the older its limits, the lower their numbers.
fn enter_capacity_policy(rules: &mut Rulebook, row: &format::CapacityPolicy) -> Result<(), String> {
    let now = Timestamp::default();
    let exclusion = &row.exclusion_rules;
    let draft = |hours: &Option<serde_json::Value>| {
        format::read(&serde_json::json!({
            "name": format!("capacity policy {}", row.id),
            "exclusion_rules": {
                "excluded_labels": exclusion.excluded_labels, "exclude_older_than_hours": hours,
            },
        }))
    };
    rules.last_id = row.id - 1;
    // Chatwoot takes any text for an age, and what is none for no limit. Ours refuses it, and there is no limit.
    let made = rules.create_capacity_policy(draft(&exclusion.exclude_older_than_hours)?, now);
    let made = match made {
        Ok(id) => Ok(id),
        Err(_) => rules.create_capacity_policy(draft(&None)?, now),
    };
    let id = made.map_err(|error| error.to_string())?;
    rules.last_id = row.id * 1_000;
    for limit in &row.inbox_limits {
        let sent = serde_json::json!({
            "inbox_id": limit.inbox_id, "conversation_limit": limit.conversation_limit,
        });
        rules.add_inbox_limit(id, format::read(&sent)?, now).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A limit and its window. What is not said is as for an inbox without a policy; a limit of zero is none.
pub fn fair_distribution(
    limit: Option<u32>,
    window_s: Option<u32>,
    policy: &Policy,
) -> Option<FairDistribution> {
    let (default, fallback) = (policy.fair_distribution, FairDistribution { limit: 100, window: HOUR });
    let FairDistribution { limit: usual, window } = default.unwrap_or(fallback);
    let window = window_s.map_or(window, |seconds| Duration::from_secs(u64::from(seconds)));
    let limit = limit.unwrap_or(usual);
    (limit > 0).then_some(FairDistribution { limit, window })
}

pub fn blank_policy() -> AssignmentPolicy {
    AssignmentPolicy {
        name: "a policy".to_owned(),
        description: String::new(),
        enabled: true,
        strategy: Strategy::RoundRobin,
        order: Order::EarliestCreated,
        boost: PriorityBoost::default(),
        fair_distribution: None,
        exclude_older_than_hours: None,
        capacity: None,
        reassigns_strays: None,
        seed: 0,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

pub fn team(allow_auto_assign: bool, members: &[i64]) -> Team {
    Team {
        name: "a team".to_owned(),
        description: String::new(),
        allow_auto_assign,
        capacity: None,
        members: members.iter().map(|id| AgentId(*id)).collect(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

pub fn blank_capacity_policy() -> CapacityPolicy {
    CapacityPolicy {
        name: "a capacity policy".to_owned(),
        description: String::new(),
        inbox_limits: Vec::new(),
        total_limit: None,
        exclusion_rules: ExclusionRules::default(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

pub fn leave(agent: AgentId, (start, end): (i32, i32), status: LeaveStatus) -> Leave {
    Leave {
        agent,
        start: Day(start),
        end: Day(end),
        utc_offset_minutes: 0,
        kind: "annual".to_owned(),
        reason: None,
        status,
        approved_at: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

/// An inbox under a round robin without limits: to line its agents up.
fn warm_up(rules: &mut Rulebook, inbox: InboxId) {
    rules.assignment_policies.insert(PolicyId(-1), blank_policy());
    rules.inboxes.insert(inbox, InboxRules { policy: Some(PolicyId(-1)), ..InboxRules::default() });
}

/// An inbox that counts what it gives and limits nothing, and whose choices leave the rotation alone.
fn logging(rules: &mut Rulebook, inbox: InboxId) {
    let year = FairDistribution { limit: desk::NO_LIMIT, window: 365 * DAY };
    let policy =
        AssignmentPolicy { strategy: Strategy::FirstFit, fair_distribution: Some(year), ..blank_policy() };
    rules.assignment_policies.insert(PolicyId(-2), policy);
    rules.inboxes.insert(inbox, InboxRules { policy: Some(PolicyId(-2)), ..InboxRules::default() });
}

pub fn presence(text: &str) -> Presence {
    match text {
        "online" => Presence::Online,
        "busy" => Presence::Busy,
        "away" => Presence::Away,
        "away_manual" => Presence::AwayManual,
        "away_and_reassigning" => Presence::AwayAndReassigning,
        // Chatwoot compares the word as it is; whatever else it says is not there.
        _ => Presence::Offline,
    }
}

fn agent(row: &format::Agent, inbox: InboxId) -> Agent {
    let role = match row.role.as_str() {
        "agent" => Role::Agent,
        "supervisor" => Role::Supervisor,
        "administrator" | "admin" => Role::Admin,
        _ => Role::Other,
    };
    desk::agent(AgentId(row.id), role, presence(&row.presence), row.inbox_member.then_some(inbox))
}

/// Whether a policy is Chatwoot's way.
pub fn is_chatwoot(policy: &Policy) -> bool {
    policy.preset == Preset::Chatwoot
}
