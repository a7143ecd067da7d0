//! Why a conversation stands where it stands, in words for people.
//!
//! Pure, as the decision is: the same rules that choose an agent tell why nobody was chosen, and a recorded decision is
//! made again to tell why somebody was.

mod agents;
mod past;
mod reasons;
mod words;

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use serde::Serialize;

use self::{
    agents::View,
    words::{Tense, name_of, span},
};
pub use self::{
    agents::{Candidate, Lately},
    past::{Dealt, Key, Past},
    reasons::{Excluded, Governed, Held, Named},
};
use crate::{
    AgentId, AgentLoad, Answers, Closed, Conversation, Head, InboxId, Park, ParkReason, Policy, QueueRules,
    RateWindow, Roster, Rulebook, Snapshot, State, Status, Timestamp,
};

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
    /// How many of the conversations in `loads` are of which inbox, where a limit counts by inbox.
    pub inbox_loads: BTreeMap<(Option<InboxId>, AgentId), u32>,
    /// What each agent was given of an inbox, under fair distribution.
    pub windows: BTreeMap<(Option<InboxId>, AgentId), RateWindow>,
    /// What operators have set.
    pub rules: Arc<Rulebook>,
    /// Who is given conversations where no rule says otherwise.
    pub policy: &'a Policy,
    /// The newest recorded decision that gave it to somebody.
    pub decided: Option<Past<'a>>,
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// In one sentence.
    pub sentence: String,
    /// Its place in its queue, the first being 1; of one that waits and is not parked.
    pub position: Option<u64>,
    /// What its queue is dealt by today.
    pub rules: Governed,
    /// Why nothing of its queue is dealt, while it waits.
    pub hold: Option<Held>,
    /// Why it is not dealt for what it carries, while it waits.
    pub excluded: Option<Excluded>,
    /// Every agent of the roster, while it waits.
    pub agents: Vec<Candidate>,
    /// How it was last given to somebody, as recorded.
    pub decision: Option<Dealt>,
}

impl Case<'_> {
    /// Puts the case in words.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let rules = self.queue();
        let mut explained = Explanation {
            sentence: String::new(),
            position: None,
            rules: reasons::governed(&rules, &self.rules, self.conversation.inbox),
            hold: None,
            excluded: None,
            agents: Vec::new(),
            decision: self.decided.as_ref().map(|past| past.tell(self.conversation.id, self.names())),
        };
        if let State::Waiting { park } = self.conversation.state {
            explained.position = self.place;
            explained.hold = rules.hold.map(|hold| self.held(hold));
            explained.excluded = self.excluded(&rules);
            explained.agents = self.candidates();
            explained.sentence = self.waiting(park, &explained);
        } else {
            explained.sentence = self.past_waiting(explained.decision.as_ref());
        }
        explained
    }

    fn queue(&self) -> QueueRules<'_> {
        let queue = (self.conversation.inbox, self.conversation.traits.team);
        QueueRules::of(&self.rules, self.policy, queue, self.now)
    }

    fn names(&self) -> Option<&Roster> {
        self.roster.as_deref().ok()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let Ok(roster) = &self.roster else { return Vec::new() };
        let snapshot = Snapshot {
            roster: roster.clone(),
            loads: self.loads.clone(),
            inbox_loads: self.inbox_loads.clone(),
            windows: self.windows.clone(),
            answers: Arc::new(Answers::default()),
            waiting: Vec::new(),
            rotations: BTreeMap::new(),
            rules: self.rules.clone(),
            limit: 0,
        };
        let head = Head::of(self.conversation);
        let view = View {
            snapshot: &snapshot,
            policy: self.policy,
            now: self.now,
            head: &head,
            names: self.names(),
            tense: Tense::Now,
            chosen: None,
        };
        view.candidates(&view.verdicts().agents)
    }

    fn waiting(&self, park: Option<Park>, explained: &Explanation) -> String {
        let mut sentence = format!("waiting {}", span(self.now.since(self.conversation.opened_at)));
        if let Some(place) = self.place {
            append(&mut sentence, format_args!(", position {place}"));
        }
        match park.map(|park| park.why) {
            Some(ParkReason::Pending) => {
                sentence.push_str("; it is pending: nobody is given it until somebody opens it");
                return sentence;
            }
            Some(ParkReason::Snoozed) => {
                append(&mut sentence, format_args!("; it is {}", self.snoozed()));
                return sentence;
            }
            Some(_) | None => {}
        }
        // What keeps it from being dealt is told below, as it is now.
        let is_told =
            park.is_some_and(|park| park.why == ParkReason::Excluded) && explained.excluded.is_some();
        if let Some(park) = park.filter(|_| !is_told) {
            append(
                &mut sentence,
                format_args!(", parked until {}: {}", park.until.in_words(), parked_for(park.why)),
            );
        }
        if let Some((until, why)) = self.pause {
            append(&mut sentence, format_args!("; decisions are paused until {}: {why}", until.in_words()));
        }
        append(&mut sentence, format_args!("; {}", self.why_nobody(explained)));
        sentence
    }

    fn why_nobody(&self, explained: &Explanation) -> String {
        if let Some(hold) = &explained.hold {
            return hold.detail.clone();
        }
        if let Some(excluded) = &explained.excluded {
            return excluded.detail.clone();
        }
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
        self.why_not_them(&explained.agents)
    }

    fn past_waiting(&self, decision: Option<&Dealt>) -> String {
        match self.conversation.state {
            State::Waiting { .. } => "waiting".into(),
            State::Reserved { agent, deadline } => {
                let told = format!("reserved for {}: the platform is being told", self.name(agent));
                self.with_decision(told + &self.overdue(deadline), decision, agent)
            }
            State::Closing { agent, deadline } => format!(
                "resolved while the platform was being told of {}: the slot frees when that call settles{}",
                self.name(agent),
                self.overdue(deadline)
            ),
            State::Assigned { agent, at } => {
                let told =
                    format!("assigned to {} since {}{}", self.name(agent), at.in_words(), self.put_off());
                self.with_decision(told, decision, agent)
            }
            State::Resolved { at, how } => {
                let told = self.resolved(at, how);
                match self.served {
                    Some((agent, _)) if how == Closed::Resolved => self.with_decision(told, decision, agent),
                    Some(_) | None => told,
                }
            }
        }
    }

    /// Adds how the conversation came to `agent`.
    fn with_decision(&self, told: String, decision: Option<&Dealt>, agent: AgentId) -> String {
        match decision {
            Some(decision) if decision.chosen == agent => format!("{told}; {}", decision.sentence),
            Some(decision) => {
                format!("{told}, by the platform or by hand; before that {}", decision.sentence)
            }
            None => told,
        }
    }

    fn put_off(&self) -> String {
        let what = match self.conversation.status {
            Status::Open => return String::new(),
            Status::Pending => "pending".to_owned(),
            Status::Snoozed => self.snoozed(),
        };
        let slot = if self.conversation.slot_freed { ", its slot is free meanwhile" } else { "" };
        format!(", {what}{slot}")
    }

    fn snoozed(&self) -> String {
        match self.conversation.snoozed_until {
            Some(until) => format!("snoozed until {} or until its customer writes", until.in_words()),
            None => "snoozed until its customer writes".into(),
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
        name_of(id, self.names())
    }

    /// How long its customer has been silent.
    fn silence(&self) -> Duration {
        self.now.since(self.conversation.last_activity_at)
    }
}

fn parked_for(why: ParkReason) -> &'static str {
    match why {
        ParkReason::PreviousClosing => "the room's previous conversation is still being closed",
        ParkReason::NobodyEligible => "the platform names nobody for its room who is at their desk",
        ParkReason::Doubted => "the room is being read back, to see whether its customer still waits",
        ParkReason::Refused => "the platform refused every agent who could serve it",
        ParkReason::Excluded => "its labels or its age kept it from being dealt",
        ParkReason::NotProposed => "the platform proposes nobody for it who may be given it",
        ParkReason::Poison => "the platform refused it again and again, whoever was to have it",
        ParkReason::Pending => "it is pending",
        ParkReason::Snoozed => "it is snoozed",
    }
}

fn append(sentence: &mut String, more: std::fmt::Arguments<'_>) {
    sentence.write_fmt(more).expect("writing to a string cannot fail");
}
