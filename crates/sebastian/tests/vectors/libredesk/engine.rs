//! The engine: ticks over a help desk that changes in between.
//!
//! `seed` and `head` are played under preset `libredesk`, `proposed` under ours with a round robin for teams. What
//! Libredesk does by itself when a person, a customer or an administrator acts (it clears the agent of a conversation
//! that changes teams, say) reaches the ledger as a platform's events and listings do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sebastian_core::{
    AgentId, InboxId, Policy, Preset, Role, RoomId, SlotRule, Status, Strategy, TeamId, Timestamp, Update,
    Verdict, rulebook::Team,
};
use serde::Deserialize;
use serde_json::Value;

use super::format::{self, Given, Mode, Op, Then};
use crate::{
    desk::{self, Desk},
    report::{Check, Problems, expect},
};

const INBOX: InboxId = InboxId(1);
const START: Timestamp = Timestamp::from_millis(1_768_435_200_000);
/// Libredesk's sample interval, and a moment.
const INTERVAL: Duration = Duration::from_secs(301);

/// Plays a row of kind `engine`, once for each variant.
pub fn play(row: &Value) -> Vec<Check> {
    let variants = row["then"].as_object().into_iter().flatten();
    variants.map(|(variant, _)| against(row, variant)).collect()
}

fn against(row: &Value, variant: &str) -> Check {
    let mut same_as = Vec::new();
    let check = Check::of(variant, || {
        let then: BTreeMap<String, Then> = read(&row["then"])?;
        let outcome = outcome(row, variant)?;
        let same = then.iter().filter(|(_, wanted)| **wanted == outcome);
        same_as.extend(same.map(|(name, _)| name.clone()));
        let mut problems = Problems::new();
        expect(&mut problems, "ticks", &then[variant].ticks, &outcome.ticks);
        expect(&mut problems, "unassigned", &then[variant].unassigned, &outcome.unassigned);
        Ok(problems)
    });
    Check { same_as, ..check }
}

fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

fn outcome(row: &Value, variant: &str) -> Result<Then, String> {
    let mut engine = Engine::new(read(&row["given"])?, variant)?;
    for op in read::<Vec<Op>>(&row["when"])? {
        engine.apply(op)?;
    }
    engine.desk.fold();
    let unassigned = engine.conversations.iter().filter(|one| engine.assignee(one).is_none());
    Ok(Then {
        unassigned: unassigned.map(|one| one.id.clone()).collect(),
        ticks: std::mem::take(&mut engine.ticks),
    })
}

fn policy(variant: &str) -> Result<Policy, String> {
    let libredesk = Policy::of(Preset::Libredesk);
    // The first version counts everything that is not resolved.
    let all_hold = SlotRule { pending_holds: true, snoozed_holds: true };
    let strategy = Strategy::RoundRobin;
    match variant {
        "seed" => Ok(Policy { slots: all_hold, ..libredesk }),
        "head" => Ok(libredesk),
        "proposed" => Ok(Policy { strategy, capacity: None, deals_without_team: false, ..Policy::default() }),
        other => Err(format!("variant {other} is not known")),
    }
}

struct Engine {
    desk: Desk,
    /// The first version reads its work in no order at all: as it comes.
    is_unsorted: bool,
    /// What a failed reading of a team's members hides: with Libredesk's, how they are as well.
    hides_presence: bool,
    teams: BTreeMap<i64, format::Team>,
    agents: Vec<format::Agent>,
    conversations: Vec<Conversation>,
    statuses: BTreeMap<String, String>,
    ticks: Vec<Vec<(String, i64)>>,
}

/// A conversation as Libredesk's tables have it.
struct Conversation {
    id: String,
    team: Option<i64>,
    /// `open`, `waiting` or `resolved`.
    category: String,
    /// Who had it when it was resolved.
    kept: Option<i64>,
}

impl Engine {
    fn new(given: Given, variant: &str) -> Result<Self, String> {
        let mut statuses: BTreeMap<String, String> = BTreeMap::new();
        for (name, category) in
            [("Open", "open"), ("Snoozed", "waiting"), ("Resolved", "resolved"), ("Closed", "resolved")]
        {
            statuses.insert(name.to_owned(), category.to_owned());
        }
        statuses.extend(given.statuses.clone());
        let mut engine = Self {
            desk: Desk::new(policy(variant)?, START),
            is_unsorted: variant == "seed",
            hides_presence: variant != "proposed",
            teams: given.teams.iter().map(|team| (team.id, team.clone())).collect(),
            agents: given.agents.clone(),
            conversations: Vec::new(),
            statuses,
            ticks: Vec::new(),
        };
        let mut rows: Vec<&format::Conversation> = given.conversations.iter().collect();
        if !engine.is_unsorted {
            rows.sort_by_key(|row| row.at);
        }
        for (place, row) in rows.into_iter().enumerate() {
            let at = if engine.is_unsorted { i64::try_from(place).unwrap_or(i64::MAX) } else { row.at };
            engine.desk.set_time(START + Duration::from_secs(at.unsigned_abs()));
            engine.arrive(&row.id, row.team);
        }
        engine.desk.set_time(START + Duration::from_secs(3_600));
        for row in &given.conversations {
            if let Some(assignee) = row.assignee {
                engine.assign(&row.id, assignee)?;
            }
            engine.set_status(&row.id, &row.status)?;
        }
        engine.load(&given)?;
        // The file lists conversations in an order of its own.
        let place = |id: &String| given.conversations.iter().position(|row| row.id == *id);
        engine.conversations.sort_by_key(|one| place(&one.id));
        Ok(engine)
    }

    /// What agents hold outside the row.
    fn load(&mut self, given: &Given) -> Result<(), String> {
        for agent in &given.agents {
            let id = self.number(agent.id)?;
            for (status, count) in &agent.load {
                let category = self.category(status)?;
                let rooms =
                    (0..*count).map(|place| desk::room(&format!("load-{}-{status}-{place}", agent.id)));
                for room in rooms.filter(|_| category != "resolved") {
                    self.desk.show(&room, id, Some(INBOX));
                    if category == "waiting" {
                        self.desk.set_status(&room, Status::Snoozed);
                    }
                }
            }
        }
        self.desk.fold();
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Tick {
                times,
                after_list,
                count_error_for,
                assign_error_for,
                // An error after the write is no refusal: the room is read back, and the agent is found in it.
                assign_late_error_for: _,
                members_error_for,
            } => {
                self.refresh(&members_error_for);
                // Reading the work and giving it out are one step here: what happens in between has happened before.
                for op in after_list {
                    self.apply(op)?;
                }
                self.forget_loads(&count_error_for);
                let mut tick = Vec::new();
                for _ in 0..times {
                    self.desk.set_time(self.desk.time() + INTERVAL);
                    tick.extend(self.tick(&assign_error_for)?);
                }
                self.ticks.push(tick);
            }
            // What has to outlive a process is in the ledger.
            Op::Restart {} => {}
            Op::SetStatus { agent, to } => self.agent_mut(agent)?.status = to,
            Op::AddMember { agent, team } => self.agent_mut(agent)?.teams.push(team),
            Op::RemoveMember { agent, team } => self.agent_mut(agent)?.teams.retain(|other| *other != team),
            Op::SetEnabled { agent, to } => self.agent_mut(agent)?.enabled = to,
            Op::DeleteAgent { agent } => self.delete_agent(agent)?,
            Op::DeleteTeam { team } => self.delete_team(team)?,
            Op::SetMax { team, to } => self.team_mut(team)?.max = to,
            Op::SetMode { team, to } => self.team_mut(team)?.mode = to,
            Op::AddConversation { id, team, at } => {
                let now = self.desk.time();
                if !self.is_unsorted {
                    self.desk.set_time(START + Duration::from_secs(at.unsigned_abs()));
                }
                self.arrive(&id, team);
                self.desk.set_time(now);
            }
            Op::SetConversationStatus { conversation, to } => self.set_status(&conversation, &to)?,
            Op::Assign { conversation, agent } => self.assign(&conversation, agent)?,
            Op::Unassign { conversation } => self.unassign(&conversation)?,
            Op::MoveTeam { conversation, team } => self.move_team(&conversation, Some(team))?,
            Op::CustomerReply { conversation } => self.customer_reply(&conversation)?,
        }
        Ok(())
    }

    fn tick(&mut self, assign_error_for: &[i64]) -> Result<Vec<(String, i64)>, String> {
        let failing: Result<BTreeSet<AgentId>, String> =
            assign_error_for.iter().map(|id| self.number(*id)).collect();
        let failing = failing?;
        let platform = |_: &RoomId, agent: AgentId| {
            if failing.contains(&agent) { Verdict::Released { refused: true } } else { Verdict::Assigned }
        };
        // Its engine learns of an error before it turns to the next conversation.
        let batch = if failing.is_empty() { desk::NO_LIMIT } else { 1 };
        let given = self.desk.run_on(desk::NO_LIMIT, batch, &platform).given;
        let named = |(room, agent): (RoomId, AgentId)| Some((room.as_str().to_owned(), self.id_of(agent)?));
        given.into_iter().map(named).collect::<Option<_>>().ok_or_else(|| "given to a stranger".to_owned())
    }

    /// Shows the desk how teams and agents are by now, but for what a failed reading of some teams' members hides.
    fn refresh(&mut self, unread: &[i64]) {
        let before = self.desk.rules();
        let known =
            |team: i64| before.teams.get(&TeamId(team)).map(|team| team.members.clone()).unwrap_or_default();
        let members = |team: i64| -> BTreeSet<AgentId> {
            let members = (0..).zip(&self.agents).filter(|(_, agent)| agent.teams.contains(&team));
            members.map(|(place, _)| AgentId(place)).collect()
        };
        let teams = self.teams.values().map(|row| {
            let members = if unread.contains(&row.id) { known(row.id) } else { members(row.id) };
            (TeamId(row.id), team(row, members))
        });
        let teams: BTreeMap<TeamId, Team> = teams.collect();
        self.desk.amend(|rules| rules.teams = teams);
        let hidden = unread.iter().filter(|_| self.hides_presence).flat_map(|team| known(*team));
        self.refresh_agents(&hidden.collect());
    }

    fn refresh_agents(&mut self, hidden: &BTreeSet<AgentId>) {
        let agents = (0..).zip(&self.agents).filter(|(_, agent)| agent.enabled && !agent.deleted);
        let mut agents: BTreeMap<AgentId, _> =
            agents.map(|(place, row)| (AgentId(place), agent(AgentId(place), row))).collect();
        for id in hidden {
            agents.extend(self.desk.agents.get(id).map(|agent| (*id, agent.clone())));
        }
        self.desk.agents = agents;
    }

    /// Nobody can tell what these hold. It is only asked of agents whose team has a limit.
    fn forget_loads(&mut self, ids: &[i64]) {
        let is_limited = |id: &i64| self.teams.get(id).is_some_and(|team| team.max > 0);
        for (place, row) in (0..).zip(&self.agents) {
            if ids.contains(&row.id)
                && row.teams.iter().any(is_limited)
                && let Some(agent) = self.desk.agents.get_mut(&AgentId(place))
            {
                (agent.reported_load, agent.listed) = (None, false);
            }
        }
    }

    fn arrive(&mut self, id: &str, team: Option<i64>) {
        let new = Conversation { id: id.to_owned(), team, category: "open".to_owned(), kept: None };
        self.open(&new);
        self.conversations.push(new);
    }

    fn open(&self, conversation: &Conversation) {
        let room = desk::room(&conversation.id);
        self.desk.customer_writes(&room, Some(INBOX), BTreeSet::new());
        if conversation.team.is_some() {
            self.desk.set_team(&room, conversation.team);
        }
    }

    fn set_status(&mut self, id: &str, status: &str) -> Result<(), String> {
        let category = self.category(status)?;
        let room = desk::room(id);
        self.desk.fold();
        let served_by = self.desk.serves(&room).and_then(|agent| self.id_of(agent));
        let index = self.index(id)?;
        let before = std::mem::replace(&mut self.conversations[index].category, category.clone());
        match (before.as_str(), category.as_str()) {
            (before, after) if before == after => {}
            (_, "resolved") => {
                self.conversations[index].kept = served_by;
                self.desk.resolve(&room);
            }
            (before, after) => {
                if before == "resolved" {
                    self.reopen(index)?;
                }
                let status = if after == "open" { Status::Open } else { Status::Snoozed };
                self.desk.set_status(&room, status);
            }
        }
        self.desk.fold();
        Ok(())
    }

    /// A resolved one comes back with whom it had, and waits when it had nobody.
    fn reopen(&mut self, index: usize) -> Result<(), String> {
        let kept = self.conversations[index].kept.take();
        match kept {
            Some(agent) => {
                let (room, agent) = (desk::room(&self.conversations[index].id), self.number(agent)?);
                self.desk.show(&room, agent, Some(INBOX));
                self.desk.set_team(&room, self.conversations[index].team);
            }
            None => self.open(&self.conversations[index]),
        }
        Ok(())
    }

    fn assign(&mut self, id: &str, agent: i64) -> Result<(), String> {
        let index = self.index(id)?;
        if self.conversations[index].category == "resolved" {
            self.conversations[index].kept = Some(agent);
        } else {
            self.desk.show(&desk::room(id), self.number(agent)?, Some(INBOX));
        }
        Ok(())
    }

    fn unassign(&mut self, id: &str) -> Result<(), String> {
        let index = self.index(id)?;
        self.conversations[index].kept = None;
        self.desk.update(&desk::room(id), Update { unassign: true, ..Update::default() });
        Ok(())
    }

    fn move_team(&mut self, id: &str, team: Option<i64>) -> Result<(), String> {
        let index = self.index(id)?;
        self.conversations[index].team = team;
        self.conversations[index].kept = None;
        let team = Some(team.map(TeamId));
        self.desk.update(&desk::room(id), Update { team, unassign: true, ..Update::default() });
        Ok(())
    }

    fn customer_reply(&mut self, id: &str) -> Result<(), String> {
        let index = self.index(id)?;
        let before = std::mem::replace(&mut self.conversations[index].category, "open".to_owned());
        if before == "resolved" {
            let kept = self.conversations[index].kept;
            let leaves =
                |id: i64| self.agents.iter().any(|one| one.id == id && one.status == "away_and_reassigning");
            self.conversations[index].kept = kept.filter(|id| !leaves(*id));
            self.reopen(index)
        } else {
            // Whoever is absent is for the ledger to see.
            self.refresh_agents(&BTreeSet::new());
            self.desk.customer_writes(&desk::room(id), Some(INBOX), BTreeSet::new());
            self.desk.fold();
            Ok(())
        }
    }

    fn delete_agent(&mut self, id: i64) -> Result<(), String> {
        let number = self.number(id)?;
        let agent = self.agent_mut(id)?;
        (agent.deleted, agent.teams) = (true, Vec::new());
        let theirs = self.conversations.iter().filter(|one| one.category != "resolved");
        let rooms = theirs.map(|one| desk::room(&one.id));
        for room in rooms.filter(|room| self.desk.serves(room) == Some(number)) {
            self.desk.update(&room, Update { unassign: true, ..Update::default() });
        }
        Ok(())
    }

    fn delete_team(&mut self, id: i64) -> Result<(), String> {
        self.teams.remove(&id).ok_or_else(|| format!("no team {id}"))?;
        self.agents.iter_mut().for_each(|agent| agent.teams.retain(|team| *team != id));
        for one in self.conversations.iter_mut().filter(|one| one.team == Some(id)) {
            one.team = None;
            self.desk.set_team(&desk::room(&one.id), None);
        }
        Ok(())
    }

    fn assignee(&self, one: &Conversation) -> Option<i64> {
        if one.category == "resolved" {
            return one.kept;
        }
        self.desk.serves(&desk::room(&one.id)).and_then(|agent| self.id_of(agent))
    }

    fn category(&self, status: &str) -> Result<String, String> {
        self.statuses.get(status).cloned().ok_or_else(|| format!("status {status} is not known"))
    }

    fn index(&self, id: &str) -> Result<usize, String> {
        self.conversations.iter().position(|one| one.id == id).ok_or_else(|| format!("no conversation {id}"))
    }

    /// Agents enter a pool in the order listed, and ours in the order of their numbers: so theirs is their place.
    fn number(&self, id: i64) -> Result<AgentId, String> {
        let place = (0..).zip(&self.agents).find(|(_, agent)| agent.id == id);
        place.map(|(place, _)| AgentId(place)).ok_or_else(|| format!("no agent {id}"))
    }

    fn id_of(&self, agent: AgentId) -> Option<i64> {
        usize::try_from(agent.0).ok().and_then(|place| self.agents.get(place)).map(|agent| agent.id)
    }

    fn agent_mut(&mut self, id: i64) -> Result<&mut format::Agent, String> {
        self.agents.iter_mut().find(|agent| agent.id == id).ok_or_else(|| format!("no agent {id}"))
    }

    fn team_mut(&mut self, id: i64) -> Result<&mut format::Team, String> {
        self.teams.get_mut(&id).ok_or_else(|| format!("no team {id}"))
    }
}

/// For Libredesk, a limit of zero is none.
fn team(row: &format::Team, members: BTreeSet<AgentId>) -> Team {
    Team {
        name: format!("team {}", row.id),
        description: String::new(),
        allow_auto_assign: row.mode == Mode::RoundRobin,
        capacity: (row.max > 0).then_some(row.max),
        members,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

fn agent(id: AgentId, row: &format::Agent) -> sebastian_core::Agent {
    let role = if row.kind == "agent" { Role::Agent } else { Role::Other };
    desk::agent(id, role, crate::chatwoot::presence(&row.status), [INBOX])
}
