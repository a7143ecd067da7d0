//! Each agent, as somebody who may or might have been given a conversation.

use serde::{Serialize, Serializer};

use super::words::{self, Clause, Tense};
use crate::{
    Agent, AgentId, AgentLoad, Exclusion, Head, Policy, Presence, QueueRules, Rejection, Role, Roster,
    Snapshot, Standpoint, Strategy, Timestamp, decide, rulebook::Leave,
};

const MS_PER_DAY: i64 = 86_400_000;

/// An agent, as somebody who may be given the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Candidate {
    /// The platform's number.
    pub id: AgentId,
    /// Display name as the roster has it today, of printable characters only; else `agent 7`.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// Whether they are at their desk.
    pub presence: Presence,
    /// What they hold of what `capacity` limits, as decisions count it. `None`: unknown.
    pub load: Option<u32>,
    /// The limit nearest to being reached. `None`: no limit.
    pub capacity: Option<u32>,
    /// Their share in a round robin; 1 is an ordinary one.
    pub weight: u32,
    /// What they were given of the inbox lately; under fair distribution.
    pub rate: Option<Lately>,
    /// Why they are not given the conversation; `None` when they could take it, or were given it.
    pub reason: Option<Rejection>,
    /// The reason in words that follow the name: `is full (3/3)`.
    pub detail: String,
    /// The reason without figures, to count agents by.
    #[serde(skip)]
    pub(super) kind: Clause,
}

/// What an agent was given of an inbox in their window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lately {
    /// How many they were given.
    pub given: u32,
    /// How many they may be.
    pub limit: u32,
    /// In how many seconds.
    pub window_s: u64,
    /// When the next may be given, as RFC 3339 has it. `None`: now.
    #[serde(serialize_with = "rfc3339_if_any")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub free_at: Option<Timestamp>,
}

impl Candidate {
    /// Why they are not given the conversation, for a table: the detail without its "is" or "was".
    #[must_use]
    pub fn why(&self) -> &str {
        let verbless = self.detail.strip_prefix("is ").or_else(|| self.detail.strip_prefix("was "));
        verbless.unwrap_or(&self.detail)
    }
}

pub(super) fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.rfc3339())
}

pub(super) fn rfc3339_if_any<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(Timestamp::rfc3339).serialize(serializer)
}

/// A conversation before a desk, at one time.
pub(super) struct View<'a> {
    pub snapshot: &'a Snapshot,
    pub policy: &'a Policy,
    pub now: Timestamp,
    pub head: &'a Head,
    /// Where names are looked up.
    pub names: Option<&'a Roster>,
    pub tense: Tense,
    /// Who was given it.
    pub chosen: Option<AgentId>,
}

impl View<'_> {
    pub fn rules(&self) -> QueueRules<'_> {
        let queue = self.head.queue();
        QueueRules::of(&self.snapshot.rules, self.policy, (queue.inbox, queue.team), self.now)
    }

    pub fn verdicts(&self) -> decide::Verdicts {
        decide::explain(self.snapshot, self.policy, self.now, self.head)
    }

    /// Every agent of the roster, as `standpoints` tells of each in the same order.
    pub fn candidates(&self, standpoints: &[Standpoint]) -> Vec<Candidate> {
        let rules = self.rules();
        let agents = self.snapshot.roster.agents.iter().zip(standpoints);
        agents.map(|(agent, standpoint)| self.candidate(&rules, agent, standpoint)).collect()
    }

    fn candidate(&self, rules: &QueueRules<'_>, agent: &Agent, standpoint: &Standpoint) -> Candidate {
        let is_chosen = self.chosen == Some(agent.id);
        let lost = (self.chosen.is_some() && !is_chosen).then_some(Rejection::NotPreferred);
        let reason = if is_chosen { None } else { standpoint.rejection.or(lost) };
        let weight = self.snapshot.rules.agents.get(&agent.id).map_or(1, |said| said.weight);
        let kind = kind(reason, agent, rules.strategy, self.tense);
        let figures = self.figures(rules, standpoint);
        let clause = match reason {
            None if is_chosen => Clause::State("chosen".into()),
            None if weight == 0 && rules.strategy == Strategy::RoundRobin => {
                Clause::Deed("could take it if nobody else can (weight 0)".into())
            }
            Some(Rejection::OnLeave) => Clause::State(self.on_leave(agent.id)),
            Some(Rejection::Paused) => Clause::State(self.paused(agent.id)),
            Some(Rejection::RateLimited) => Clause::Deed(self.rate_limited(standpoint)),
            Some(Rejection::Full) => Clause::State(match figures {
                Some(figures) => format!("full ({figures})"),
                None => "full".into(),
            }),
            Some(Rejection::Excluded) => Clause::State(self.kept_from(agent.id, standpoint)),
            Some(Rejection::Refused) => Clause::State("refused for it by the platform".into()),
            Some(Rejection::NotPreferred) => Clause::State(words::not_preferred(rules.strategy, figures)),
            Some(
                Rejection::RosterStale
                | Rejection::Role
                | Rejection::ForcedOffline
                | Rejection::Presence
                | Rejection::NotInInbox
                | Rejection::NotInTeam
                | Rejection::InboxUnknown
                | Rejection::LoadUnknown,
            )
            | None => kind.clone(),
        };
        Candidate {
            id: agent.id,
            name: words::name_of(agent.id, self.names),
            role: agent.role,
            presence: agent.presence,
            load: standpoint.load.or_else(|| self.load(agent)),
            capacity: standpoint.limit,
            weight,
            rate: standpoint.rate.map(|rate| Lately {
                given: rate.given,
                limit: rate.limit,
                window_s: rate.window.as_secs(),
                free_at: rate.free_at,
            }),
            reason,
            detail: clause.of_one(self.tense),
            kind,
        }
    }

    /// What an agent holds in all. `None`: unknown.
    pub fn load(&self, agent: &Agent) -> Option<u32> {
        let none = AgentLoad::none(agent.id);
        self.snapshot.loads.get(&agent.id).unwrap_or(&none).effective(agent)
    }

    /// What they hold of what they may: `2/3`, and of which inbox where the nearest limit is of one.
    pub fn figures(&self, rules: &QueueRules<'_>, standpoint: &Standpoint) -> Option<String> {
        let (load, limit) = (standpoint.load?, standpoint.limit);
        let Some(limit) = limit else { return Some(load.to_string()) };
        let of_inbox = rules.total_limit(standpoint.agent) != Some(limit);
        Some(match self.head.inbox {
            Some(inbox) if of_inbox => format!("{load}/{limit} of inbox {inbox}"),
            Some(_) | None => format!("{load}/{limit}"),
        })
    }

    fn on_leave(&self, agent: AgentId) -> String {
        let leaves = self.snapshot.rules.leaves.values();
        let now: Option<&Leave> = leaves
            .filter(|leave| leave.agent == agent && leave.covers(self.now))
            .max_by_key(|leave| leave.end);
        let last = now.map(|leave| Timestamp::from_millis(i64::from(leave.end.0) * MS_PER_DAY));
        last.map_or_else(|| "on leave".into(), |last| format!("on leave through {}", words::day(last)))
    }

    fn paused(&self, agent: AgentId) -> String {
        let said = self.snapshot.rules.agents.get(&agent).and_then(|said| said.paused.as_ref());
        said.map_or_else(|| "paused".into(), words::paused)
    }

    fn rate_limited(&self, standpoint: &Standpoint) -> String {
        let Some(rate) = standpoint.rate else { return words_for_rate(self.tense) };
        let limit = format!("hit {} per {}", rate.limit, words::setting(rate.window));
        let limit = match self.tense {
            Tense::Now => limit,
            Tense::Then => format!("had {limit}"),
        };
        match rate.free_at {
            Some(at) => format!("{limit}, free at {}", words::clock(at, self.now)),
            None => limit,
        }
    }

    fn kept_from(&self, agent: AgentId, standpoint: &Standpoint) -> String {
        let policy =
            self.snapshot.rules.capacity_policy_of(agent).map(|policy| words::printable(&policy.name));
        let by = policy
            .map_or_else(|| "by their capacity policy".into(), |name| format!("by capacity policy {name}"));
        match &standpoint.excluded {
            Some(Exclusion::Label(label)) => format!("kept from label {label} {by}"),
            Some(Exclusion::Silent(hours)) => format!("kept from what is silent for over {hours} h {by}"),
            None => format!("kept from it {by}"),
        }
    }
}

fn words_for_rate(tense: Tense) -> String {
    match tense {
        Tense::Now => "hit the limit of fair distribution".into(),
        Tense::Then => "had hit the limit of fair distribution".into(),
    }
}

/// The reason without figures.
fn kind(reason: Option<Rejection>, agent: &Agent, chosen_by: Strategy, tense: Tense) -> Clause {
    let state = |what: &str| Clause::State(what.into());
    let Some(reason) = reason else { return Clause::Deed("could take it".into()) };
    match reason {
        Rejection::RosterStale => state("on a roster too old to trust"),
        Rejection::Role => state(match agent.role {
            Role::Agent => "an agent, a role that is given no chats",
            Role::Supervisor => "a supervisor",
            Role::Admin => "an admin",
            Role::Other => "of an unknown role",
        }),
        Rejection::ForcedOffline => state("forced offline"),
        Rejection::Presence => state(match agent.presence {
            Presence::Online => "online, a presence that is given no chats",
            Presence::Busy => "busy",
            Presence::Away => "away",
            Presence::Offline => "offline",
            Presence::AwayManual => "away by choice",
            Presence::AwayAndReassigning => "away and handing over",
        }),
        Rejection::OnLeave => state("on leave"),
        Rejection::Paused => state("paused"),
        Rejection::NotInTeam => state("not in its team"),
        Rejection::NotInInbox => state("not in its inbox"),
        Rejection::InboxUnknown => state("not known to be in its inbox"),
        Rejection::LoadUnknown => state("of unknown load"),
        Rejection::RateLimited => Clause::Deed(words_for_rate(tense)),
        Rejection::Full => state("full"),
        Rejection::Excluded => state("kept from it by their capacity policy"),
        Rejection::Refused => state("refused for it by the platform"),
        Rejection::NotPreferred => Clause::State(words::not_preferred(chosen_by, None)),
    }
}
