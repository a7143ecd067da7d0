//! Teams and their members.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{
    DESCRIPTION_CHARS_MAX, EditError, Field, Invalid, THINGS_MAX, check_room, optional_count, set_name,
    set_text,
};
use crate::{AgentId, Rulebook, TeamId, Timestamp, rulebook::Team};

/// Most members of one team; no desk has as many agents.
const MEMBERS_MAX: usize = 20_000;

/// What is sent of a team; of a new one all but the name may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TeamDraft {
    /// The platform's number, where it has one; only of a new team. Without it the team is given a number.
    pub id: Field<i64>,
    /// Unique in its account; at most 255 characters.
    pub name: Field<String>,
    /// What it is for; at most 20,000 characters.
    pub description: Field<String>,
    /// Whether its conversations are dealt; otherwise its members pick them.
    pub allow_auto_assign: Field<bool>,
    /// Most open conversations a member may hold in all. Null or 0: no limit of the team's.
    pub capacity: Field<i64>,
}

impl Rulebook {
    /// Makes a team.
    pub fn create_team(&mut self, draft: TeamDraft, now: Timestamp) -> Result<TeamId, EditError> {
        let mut wrong = Invalid::default();
        check_room("teams", self.teams.len(), THINGS_MAX, &mut wrong);
        let given = draft.id.clone().take("id", &mut wrong).flatten();
        match given {
            Some(id) if id < 1 => wrong.add("id", "must be greater than 0"),
            Some(id) if self.teams.contains_key(&TeamId(id)) => wrong.add("id", "has already been taken"),
            _ => {}
        }
        let blank = Team {
            name: String::new(),
            description: String::new(),
            allow_auto_assign: true,
            capacity: None,
            members: BTreeSet::new(),
            created_at: now,
            updated_at: now,
        };
        let made = self.drafted_team(blank, None, draft, wrong)?;
        let id = given.map_or_else(|| self.free_team_id(), TeamId);
        self.teams.insert(id, made);
        Ok(id)
    }

    /// Changes of a team what the draft holds.
    pub fn update_team(&mut self, id: TeamId, draft: TeamDraft, now: Timestamp) -> Result<(), EditError> {
        let old = self.team(id)?;
        let new = self.drafted_team(old.clone(), Some(id), draft, Invalid::default())?;
        if new != *old {
            self.teams.insert(id, Team { updated_at: now, ..new });
        }
        Ok(())
    }

    /// Deletes a team. Routes give nothing to it any more; one that did nothing else goes too.
    pub fn delete_team(&mut self, id: TeamId) -> Result<(), EditError> {
        self.teams.remove(&id).ok_or_else(|| unknown(id))?;
        for route in self.routes.iter_mut().filter(|route| route.team == Some(id)) {
            route.team = None;
        }
        self.routes.retain(super::desk::gives_something);
        Ok(())
    }

    /// Makes agents members of a team, beside those who are.
    pub fn add_members(&mut self, id: TeamId, agents: &[AgentId], now: Timestamp) -> Result<(), EditError> {
        let mut members = self.team(id)?.members.clone();
        members.extend(agents);
        self.set_members(id, members, now)
    }

    /// Takes agents out of a team; who is none of its members is passed over.
    pub fn remove_members(
        &mut self,
        id: TeamId,
        agents: &[AgentId],
        now: Timestamp,
    ) -> Result<(), EditError> {
        let mut members = self.team(id)?.members.clone();
        members.retain(|member| !agents.contains(member));
        self.set_members(id, members, now)
    }

    /// Makes these agents the members of a team, and nobody else.
    pub fn set_members(
        &mut self,
        id: TeamId,
        members: BTreeSet<AgentId>,
        now: Timestamp,
    ) -> Result<(), EditError> {
        if members.len() > MEMBERS_MAX {
            let message = format!("is too long (maximum is {MEMBERS_MAX} agents)");
            return Err(Invalid::of("user_ids", &message).into());
        }
        let team = self.teams.get_mut(&id).ok_or_else(|| unknown(id))?;
        if team.members != members {
            team.members = members;
            team.updated_at = now;
        }
        Ok(())
    }

    /// A team.
    pub fn team(&self, id: TeamId) -> Result<&Team, EditError> {
        self.teams.get(&id).ok_or_else(|| unknown(id))
    }

    /// The next number that no team of the platform's was entered under.
    fn free_team_id(&mut self) -> TeamId {
        loop {
            let id = TeamId(self.next_id());
            if !self.teams.contains_key(&id) {
                return id;
            }
        }
    }

    fn drafted_team(
        &self,
        mut team: Team,
        id: Option<TeamId>,
        draft: TeamDraft,
        mut wrong: Invalid,
    ) -> Result<Team, EditError> {
        let others = self.teams.iter().filter(|(other, _)| Some(**other) != id);
        set_name(&mut team.name, draft.name, others.map(|(_, other)| other.name.as_str()), &mut wrong);
        let description = (draft.description, DESCRIPTION_CHARS_MAX);
        set_text("description", &mut team.description, description.0, description.1, &mut wrong);
        let deals = draft.allow_auto_assign;
        let deals = deals.take_some("allow_auto_assign", "must be true or false", &mut wrong);
        team.allow_auto_assign = deals.unwrap_or(team.allow_auto_assign);
        if let Some(capacity) = optional_count("capacity", draft.capacity, 0, &mut wrong) {
            team.capacity = capacity.filter(|capacity| *capacity > 0);
        }
        wrong.unless_empty(team)
    }
}

fn unknown(id: TeamId) -> EditError {
    EditError::Unknown { what: "team", id: id.0 }
}
