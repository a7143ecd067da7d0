//! Why a conversation stands where it stands, in words for people.
//!
//! Pure, as the decision is: the same rules that choose an agent tell why nobody was chosen.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    Agent, AgentId, AgentLoad, Answers, Closed, Conversation, Head, Park, ParkReason, Policy, Presence,
    Rejection, Role, Roster, Snapshot, State, Timestamp, decide,
};

/// A sentence names each agent up to so many; beyond, it counts them by reason.
const NAMED_MAX: usize = 6;

/// A conversation in question, and everything there is to know.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The conversation.
    pub conversation: &'a Conversation,
    /// Its place in its queue, the first being 1.
    pub place: Option<u64>,
    /// Who serves it and since when; of a resolved one, who did to its end.
    pub served: Option<(AgentId, Timestamp)>,
    /// Until when decisions are paused, and what the platform did to make us pause.
    pub pause: Option<(Timestamp, &'a str)>,
    /// The agents, if anybody can tell.
    pub roster: Result<Arc<Roster>, NoRoster>,
    /// What the ledger knows of their work.
    pub loads: BTreeMap<AgentId, AgentLoad>,
    /// Who is given conversations.
    pub policy: &'a Policy,
    /// The ledger's time.
    pub now: Timestamp,
}

/// Why there is no roster to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoster {
    /// None was published.
    Missing,
    /// The cache that holds it gives no answer; workers may have one all the same.
    Unreachable,
}

/// Why a conversation stands where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// In one sentence.
    pub sentence: String,
    /// Every agent of the roster, while the conversation waits.
    pub agents: Vec<Candidate>,
}

/// An agent, as somebody who may be given the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The platform's number.
    pub id: AgentId,
    /// Display name, of printable characters only.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// Whether they are at their desk.
    pub presence: Presence,
    /// Open conversations as decisions count them. `None`: unknown.
    pub load: Option<u32>,
    /// Most they may hold. `None`: no limit.
    pub capacity: Option<u32>,
    /// Why they are not given the conversation; `None` when they could take it.
    pub reason: Option<Rejection>,
}

impl Case<'_> {
    /// Puts the case in words.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let State::Waiting { park } = self.conversation.state else {
            return Explanation { sentence: self.past_waiting(), agents: Vec::new() };
        };
        let agents = self.candidates();
        Explanation { sentence: self.waiting(park, &agents), agents }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let Ok(roster) = &self.roster else { return Vec::new() };
        let snapshot = Snapshot {
            roster: roster.clone(),
            loads: self.loads.clone(),
            answers: Arc::new(Answers::default()),
            waiting: Vec::new(),
            rotations: BTreeMap::new(),
            limit: 0,
        };
        let head = Head {
            conversation: self.conversation.id,
            room: self.conversation.room.clone(),
            inbox: self.conversation.inbox,
            position: self.conversation.position,
            opened_at: self.conversation.opened_at,
            refused: self.conversation.refused.clone(),
        };
        let reasons = decide::explain(&snapshot, self.policy, self.now, &head);
        roster.agents.iter().zip(reasons).map(|(agent, (_, reason))| self.candidate(agent, reason)).collect()
    }

    fn candidate(&self, agent: &Agent, reason: Option<Rejection>) -> Candidate {
        let none = AgentLoad::none(agent.id);
        let load = self.loads.get(&agent.id).unwrap_or(&none);
        // Whoever is full by our own count is full, though the whole load be unknown.
        let full_by_ours = (reason == Some(Rejection::Full)).then_some(load.open);
        Candidate {
            id: agent.id,
            name: shown_name(agent),
            role: agent.role,
            presence: agent.presence,
            load: load.effective(agent).or(full_by_ours),
            capacity: self.policy.capacity,
            reason,
        }
    }

    fn waiting(&self, park: Option<Park>, agents: &[Candidate]) -> String {
        let mut sentence = format!("waiting {}", span(self.now.since(self.conversation.opened_at)));
        if let Some(place) = self.place {
            append(&mut sentence, format_args!(", place {place}"));
        }
        if let Some(Park { until, why }) = park {
            let why = match why {
                ParkReason::PreviousClosing => "the room's previous conversation is still being closed",
                ParkReason::NobodyEligible => "the platform names nobody for its room who is at their desk",
                ParkReason::Doubted => "the room is being read back, to see whether its customer still waits",
                ParkReason::Refused => "the platform refused every agent who could serve it",
            };
            append(&mut sentence, format_args!(", parked until {}: {why}", until.in_words()));
        }
        if let Some((until, why)) = self.pause {
            append(&mut sentence, format_args!("; decisions are paused until {}: {why}", until.in_words()));
        }
        append(&mut sentence, format_args!("; {}", self.why_nobody(agents)));
        sentence
    }

    fn why_nobody(&self, agents: &[Candidate]) -> String {
        let age = match &self.roster {
            Ok(roster) => self.now.since(roster.polled_at),
            Err(NoRoster::Missing) => {
                return "there is no roster: a worker has to poll the platform first".into();
            }
            Err(NoRoster::Unreachable) => {
                return "the roster cache does not answer, so who is there is unknown".into();
            }
        };
        if age > self.policy.staleness_max {
            let max = span(self.policy.staleness_max);
            return format!("the roster is {} old, and past {max} nobody is given chats", span(age));
        }
        // Supervisors and admins are no news: nobody expects them to take it.
        let agents: Vec<&Candidate> =
            agents.iter().filter(|agent| agent.reason != Some(Rejection::Role)).collect();
        if agents.is_empty() {
            return "the roster names nobody who is given chats".into();
        }
        if agents.len() > NAMED_MAX {
            return by_reason(&agents);
        }
        let named = agents.into_iter().map(|agent| match agent.reason {
            Some(_) => format!("{} is {}", agent.name, agent.why()),
            None => format!("{} {}", agent.name, agent.why()),
        });
        named.collect::<Vec<_>>().join(", ")
    }

    fn past_waiting(&self) -> String {
        match self.conversation.state {
            State::Waiting { .. } => "waiting".into(),
            State::Reserved { agent, deadline } => {
                format!(
                    "reserved for {}: the platform is being told{}",
                    self.name(agent),
                    self.overdue(deadline)
                )
            }
            State::Closing { agent, deadline } => format!(
                "resolved while the platform was being told of {}: the slot frees when that call settles{}",
                self.name(agent),
                self.overdue(deadline)
            ),
            State::Assigned { agent, at } => {
                format!("assigned to {} since {}", self.name(agent), at.in_words())
            }
            State::Resolved { at, how } => self.resolved(at, how),
        }
    }

    fn overdue(&self, deadline: Timestamp) -> String {
        if deadline >= self.now {
            return String::new();
        }
        format!("; the outcome is unknown since {}, and a worker asks", deadline.in_words())
    }

    fn resolved(&self, at: Timestamp, how: Closed) -> String {
        let at = at.in_words();
        match how {
            Closed::Resolved => match self.served {
                Some((agent, since)) => {
                    format!("resolved at {at}, served by {} since {}", self.name(agent), since.in_words())
                }
                None => format!("resolved at {at}, before anybody served it"),
            },
            Closed::ServedElsewhere => {
                format!("closed at {at}: somebody whom the platform did not name serves it")
            }
            Closed::RoomGone => format!("closed at {at}: the platform does not know the room"),
        }
    }

    fn name(&self, id: AgentId) -> String {
        let known = self.roster.as_ref().ok().and_then(|roster| roster.agent(id));
        known.map_or_else(|| format!("agent {id}"), shown_name)
    }
}

impl Candidate {
    /// What follows "is", or for one who could take it, what follows the name.
    #[must_use]
    pub fn why(&self) -> String {
        let Some(reason) = self.reason else { return "could take it".into() };
        match reason {
            Rejection::RosterStale => "on a roster too old to trust".into(),
            Rejection::Role => match self.role {
                Role::Agent => "an agent, a role that is given no chats".into(),
                Role::Supervisor => "a supervisor".into(),
                Role::Admin => "an admin".into(),
                Role::Other => "of an unknown role".into(),
            },
            Rejection::ForcedOffline => "forced offline".into(),
            Rejection::Presence => match self.presence {
                Presence::Online => "online, a presence that is given no chats".into(),
                Presence::Busy => "busy".into(),
                Presence::Away => "away".into(),
                Presence::Offline => "offline".into(),
            },
            Rejection::NotInInbox => "not in its inbox".into(),
            Rejection::InboxUnknown => "not known to be in its inbox".into(),
            Rejection::LoadUnknown => "of unknown load".into(),
            Rejection::Full => match (self.load, self.capacity) {
                (Some(load), Some(capacity)) => format!("full ({load}/{capacity})"),
                (None, _) | (_, None) => "full".into(),
            },
            Rejection::Refused => "refused for it by the platform".into(),
            Rejection::NotPreferred => "not preferred".into(),
        }
    }
}

/// How many agents there are of each reason; those who could take it first, then the most.
fn by_reason(agents: &[&Candidate]) -> String {
    let reason = |agent: &Candidate| {
        let is_full = agent.reason? == Rejection::Full;
        Some(if is_full { "full".to_owned() } else { agent.why() })
    };
    let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for agent in agents {
        *counts.entry(reason(agent)).or_default() += 1;
    }
    let mut counts: Vec<(Option<String>, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(reason, count)| (reason.is_some(), Reverse(*count)));
    let counted = counts.into_iter().map(|(reason, count)| match reason {
        Some(reason) => format!("{count} {} {reason}", if count == 1 { "is" } else { "are" }),
        None => format!("{count} could take it"),
    });
    format!("of {} agents {}", agents.len(), counted.collect::<Vec<_>>().join(", "))
}

/// A name is what somebody typed on the platform: nothing in it may move a terminal's cursor.
fn shown_name(agent: &Agent) -> String {
    let name: String = agent.name.chars().filter(|char| !char.is_control()).collect();
    let name = name.trim();
    if name.is_empty() { format!("agent {}", agent.id) } else { name.to_owned() }
}

/// A span as people say it, in its two largest units at most, and to the second below two minutes.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0..2) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{days} d {} h", hours % 24),
    }
}

fn append(sentence: &mut String, more: std::fmt::Arguments<'_>) {
    sentence.write_fmt(more).expect("writing to a string cannot fail");
}
