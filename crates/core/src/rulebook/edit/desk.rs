//! What is said of the account, its inboxes and its agents: pauses, switches, overrides, weights; and the routes.

use serde::Deserialize;

use super::{
    EditError, FIGURE_MAX, Field, Invalid, REASON_CHARS_MAX, THINGS_MAX, check_length, count,
    field::read_by_serde, optional_count, policies::fair_distribution,
};
use crate::{
    AgentId, InboxId, Order, Rulebook, Strategy, Timestamp,
    rulebook::{self, AgentRules, Overrides, Route},
};

/// Largest weight: shares finer than a thousandth mean nothing on a desk.
const WEIGHT_MAX: i64 = 1_000;

/// Longest source or language of a route, in characters.
const WORD_CHARS_MAX: usize = 64;

/// What is sent of an inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct InboxDraft {
    /// Whether it is dealt.
    pub enable_auto_assignment: Field<bool>,
    /// What differs in it from the policy it is linked to; replaces all that was said before.
    pub auto_assignment_config: Field<OverridesDraft>,
}

/// What is sent of an inbox's differences from its policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OverridesDraft {
    /// Most open conversations of this inbox an agent may hold, at least 1.
    pub max_assignment_limit: Field<i64>,
    /// How to choose among eligible agents.
    pub assignment_order: Field<Strategy>,
    /// Which waiting conversation comes first.
    pub conversation_priority: Field<Order>,
    /// Most conversations an agent is given in a window.
    pub fair_distribution_limit: Field<i64>,
    /// Length of that window, in seconds; 3,600 unless given.
    pub fair_distribution_window: Field<i64>,
}

read_by_serde!(OverridesDraft);

/// What is sent of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AgentDraft {
    /// Their share in a round robin, 0 to 1,000; 1 is an ordinary one, 0 none while anybody else can. Null: 1.
    pub weight: Field<i64>,
    /// Most open conversations they may hold in all; 0 is none ever. Null: their policy's, their team's or the account's.
    pub capacity: Field<i64>,
}

/// What is sent to pause something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PauseDraft {
    /// Until when. Null or absent: until resumed.
    pub until: Field<Timestamp>,
    /// Why, in the operator's words; at most 500 characters.
    pub reason: Field<String>,
    /// Of an agent: a conversation whose customer writes again meanwhile goes to somebody else.
    pub reassigns: Field<bool>,
}

/// What can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// Everything.
    Account,
    /// An inbox.
    Inbox(InboxId),
    /// An agent.
    Agent(AgentId),
}

impl Rulebook {
    /// Gives `what` nothing until the draft's time, from now on; pausing again replaces the time and the reason.
    pub fn pause(&mut self, what: Paused, draft: PauseDraft, now: Timestamp) -> Result<(), EditError> {
        let mut wrong = Invalid::default();
        let until = draft.until.take("until", &mut wrong).flatten();
        if until.is_some_and(|until| until <= now) {
            wrong.add("until", "must lie ahead");
        }
        let reason =
            draft.reason.take("reason", &mut wrong).flatten().filter(|reason| !reason.trim().is_empty());
        check_length("reason", reason.as_deref().unwrap_or_default(), REASON_CHARS_MAX, &mut wrong);
        let reassigns = draft.reassigns.take("reassigns", &mut wrong).flatten();
        if reassigns.is_some() && !matches!(what, Paused::Agent(_)) {
            wrong.add("reassigns", "is only for agents");
        }
        wrong.unless_empty(())?;
        if let Paused::Agent(id) = what {
            self.agents.entry(id).or_default().reassigns = reassigns.unwrap_or_default();
        }
        let place = self.pause_mut(what);
        let since = place.as_ref().filter(|paused| paused.stands(now)).map_or(now, |paused| paused.since);
        *place = Some(rulebook::Paused { since, until, reason });
        Ok(())
    }

    /// Ends the pause of `what`, if there is one. Returns whether there was.
    pub fn resume(&mut self, what: Paused, now: Timestamp) -> bool {
        let was_paused = self.pause_mut(what).take().is_some_and(|paused| paused.stands(now));
        if let Paused::Agent(id) = what {
            self.agents.entry(id).or_default().reassigns = false;
        }
        self.drop_blank_inboxes();
        self.drop_blank_agents();
        was_paused
    }

    /// Changes of an inbox what the draft holds.
    pub fn update_inbox(&mut self, id: InboxId, draft: InboxDraft) -> Result<(), EditError> {
        let mut wrong = Invalid::default();
        let is_on = draft.enable_auto_assignment;
        let is_on = is_on.take_some("enable_auto_assignment", "must be true or false", &mut wrong);
        let overrides = draft.auto_assignment_config.take("auto_assignment_config", &mut wrong);
        let overrides = overrides.map(|draft| overrides_of(draft.unwrap_or_default(), &mut wrong));
        wrong.unless_empty(())?;
        let said = self.inboxes.entry(id).or_default();
        said.manual = is_on.map_or(said.manual, |is_on| !is_on);
        if let Some(overrides) = overrides {
            said.overrides = overrides;
        }
        self.drop_blank_inboxes();
        Ok(())
    }

    /// Changes of an agent what the draft holds.
    pub fn update_agent(&mut self, id: AgentId, draft: AgentDraft) -> Result<(), EditError> {
        let mut wrong = Invalid::default();
        let weight = draft.weight.take("weight", &mut wrong);
        let weight = weight.and_then(|sent| count("weight", sent.unwrap_or(1), (0, WEIGHT_MAX), &mut wrong));
        let capacity = optional_count("capacity", draft.capacity, 0, &mut wrong);
        wrong.unless_empty(())?;
        let said = self.agents.entry(id).or_default();
        said.weight = weight.unwrap_or(said.weight);
        said.capacity = capacity.unwrap_or(said.capacity);
        self.drop_blank_agents();
        Ok(())
    }

    /// Makes these the routes, in this order.
    pub fn set_routes(&mut self, routes: Vec<Route>) -> Result<(), EditError> {
        let mut wrong = Invalid::default();
        if routes.len() > THINGS_MAX {
            wrong.add("routes", format!("is too long (maximum is {THINGS_MAX} routes)"));
        }
        for (i, route) in routes.iter().enumerate().take(THINGS_MAX) {
            if !gives_something(route) {
                wrong.add(
                    format!("routes[{i}]"),
                    "gives nothing: name an inbox, team, priority, label or language",
                );
            }
            if route.team.is_some_and(|team| !self.teams.contains_key(&team)) {
                wrong.add(format!("routes[{i}].team"), "must exist");
            }
            for (name, inbox) in [("channel", route.channel), ("inbox", route.inbox)] {
                if inbox.is_some_and(|inbox| inbox.0 < 1) {
                    wrong.add(format!("routes[{i}].{name}"), "must be greater than 0");
                }
            }
            for (name, word) in [("source", &route.source), ("language", &route.language)] {
                let is_long = |word: &String| word.trim().is_empty() || word.chars().count() > WORD_CHARS_MAX;
                if word.as_ref().is_some_and(|word| is_long(word) || word.contains(char::is_control)) {
                    wrong.add(
                        format!("routes[{i}].{name}"),
                        format!("must be 1 to {WORD_CHARS_MAX} characters that can be printed"),
                    );
                }
            }
        }
        wrong.unless_empty(())?;
        self.routes = routes;
        Ok(())
    }

    /// An agent of whom nothing is said any more needs no entry.
    pub(super) fn drop_blank_agents(&mut self) {
        self.agents.retain(|_, said| *said != AgentRules::default());
    }

    fn pause_mut(&mut self, what: Paused) -> &mut Option<rulebook::Paused> {
        match what {
            Paused::Account => &mut self.paused,
            Paused::Inbox(id) => &mut self.inboxes.entry(id).or_default().paused,
            Paused::Agent(id) => &mut self.agents.entry(id).or_default().paused,
        }
    }
}

/// Whether a route does anything for those it matches.
pub(super) fn gives_something(route: &Route) -> bool {
    let Route { source: _, channel: _, tag: _, inbox, team, priority, label, language } = route;
    inbox.is_some() || team.is_some() || priority.is_some() || label.is_some() || language.is_some()
}

fn overrides_of(draft: OverridesDraft, wrong: &mut Invalid) -> Overrides {
    const LIMIT: &str = "max_assignment_limit";
    let limit = draft.max_assignment_limit.take(LIMIT, wrong).flatten();
    let limit = limit.and_then(|limit| count(LIMIT, limit, (1, FIGURE_MAX), wrong));
    Overrides {
        strategy: draft.assignment_order.take("assignment_order", wrong).flatten(),
        order: draft.conversation_priority.take("conversation_priority", wrong).flatten(),
        fair_distribution: fair_distribution(
            None,
            draft.fair_distribution_limit,
            draft.fair_distribution_window,
            false,
            wrong,
        ),
        max_assignment_limit: limit,
    }
}
