//! How a conversation was given to somebody: a recorded decision, made again and put in words.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    agents::{Candidate, View, rfc3339},
    reasons::{Governed, governed},
    words::{Tense, counts_inbox_only, name_of, roll_call, span},
};
use crate::{
    AgentId, AgentLoad, ConversationId, Decision, Head, Outcome, Policy, QueueRules, Rejection, Roster,
    Snapshot, Standpoint, Strategy, Timestamp, decide,
};

/// A recorded decision.
#[derive(Debug, Clone)]
pub struct Past<'a> {
    /// Which attempt of the conversation.
    pub attempt: u32,
    /// Whom it was given to.
    pub agent: AgentId,
    /// When.
    pub at: Timestamp,
    /// How long it had waited.
    pub waited: Duration,
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// What held where the rulebook said nothing.
    pub policy: &'a Policy,
}

/// How a conversation was given to somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dealt {
    /// In one sentence: `given to Ayu after 12 s: …`.
    pub sentence: String,
    /// When, as RFC 3339 has it.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub at: Timestamp,
    /// Which attempt of the conversation.
    pub attempt: u32,
    /// The version of the rulebook it was decided under.
    pub policy_version: u64,
    /// What its queue was dealt by.
    pub rules: Governed,
    /// Whom it was given to.
    pub chosen: AgentId,
    /// What made them the one.
    pub key: Key,
    /// How long it had waited.
    pub waited_ms: u64,
    /// Every agent of the roster then, the chosen one too.
    pub candidates: Vec<Candidate>,
    /// What this program would choose today over the same facts, if it is not the same.
    pub differs: Option<String>,
}

/// What made an agent the one to be given a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Key {
    /// How it was chosen.
    pub strategy: Strategy,
    /// What they held before.
    pub load: Option<u32>,
    /// The limit nearest to being reached. `None`: no limit.
    pub capacity: Option<u32>,
    /// In words: `lowest load for capacity (1/3)`.
    pub detail: String,
}

impl Past<'_> {
    /// Decides again, and tells why `conversation` was given to whom it was given. Agents are called what `names` calls
    /// them today.
    pub(super) fn tell(&self, conversation: ConversationId, names: Option<&Roster>) -> Dealt {
        let decisions = decide(self.snapshot, self.policy, self.at);
        let place = decisions.iter().position(|decision| decision.conversation == conversation);
        let before = &decisions[..place.unwrap_or(0)];
        let stood = as_it_stood(self.snapshot, before, self.at);
        let head = self.snapshot.waiting.iter().find(|head| head.conversation == conversation);
        let differs = self.differs(place.map(|place| &decisions[place]), names);
        let Some(head) = head else { return self.bare(differs, names) };
        let view = View {
            snapshot: &stood,
            policy: self.policy,
            now: self.at,
            head,
            names,
            tense: Tense::Then,
            chosen: Some(self.agent),
        };
        let rules = view.rules();
        let standpoints = view.verdicts().agents;
        let key = self.key(&view, &rules, &standpoints);
        let mut candidates = view.candidates(&standpoints);
        if let Some(chosen) = candidates.iter_mut().find(|candidate| candidate.id == self.agent) {
            chosen.detail = format!("was chosen: {}", key.detail);
        }
        let governed = governed(&rules, &stood.rules, head.inbox);
        let sentence = self.sentence(&key, &candidates, &governed, differs.as_deref(), names);
        self.dealt(sentence, governed, key, candidates, differs)
    }

    fn dealt(
        &self,
        sentence: String,
        rules: Governed,
        key: Key,
        candidates: Vec<Candidate>,
        differs: Option<String>,
    ) -> Dealt {
        Dealt {
            sentence,
            at: self.at,
            attempt: self.attempt,
            policy_version: rules.version,
            rules,
            chosen: self.agent,
            key,
            waited_ms: u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX),
            candidates,
            differs,
        }
    }

    /// What can be told of a record that lacks the conversation.
    fn bare(&self, differs: Option<String>, names: Option<&Roster>) -> Dealt {
        let rulebook = &self.snapshot.rules;
        let rules = QueueRules::of(rulebook, self.policy, (None, None), self.at);
        let governed = governed(&rules, rulebook, None);
        let key = Key {
            strategy: rules.strategy,
            load: None,
            capacity: None,
            detail: "the record does not tell why".into(),
        };
        let sentence = self.sentence(&key, &[], &governed, None, names);
        self.dealt(sentence, governed, key, Vec::new(), differs)
    }

    fn sentence(
        &self,
        key: &Key,
        candidates: &[Candidate],
        rules: &Governed,
        differs: Option<&str>,
        names: Option<&Roster>,
    ) -> String {
        let name = name_of(self.agent, names);
        let mut sentence = format!("given to {name} after {}: {}", span(self.waited), key.detail);
        let others = candidates
            .iter()
            .filter(|other| other.id != self.agent && other.reason != Some(Rejection::Role))
            .collect::<Vec<_>>();
        if !others.is_empty() {
            sentence.push_str("; ");
            sentence.push_str(&roll_call(&others, Tense::Then));
        }
        sentence.push_str("; under ");
        sentence.push_str(&rules.name());
        if let Some(differs) = differs {
            sentence.push_str("; ");
            sentence.push_str(differs);
        }
        sentence
    }

    /// What is chosen today, when it is not what was.
    fn differs(&self, again: Option<&Decision>, names: Option<&Roster>) -> Option<String> {
        let outcome = again.map_or(Outcome::Pass, |decision| decision.outcome);
        match outcome {
            Outcome::Reserve { agent, .. } if agent == self.agent => None,
            Outcome::Reserve { agent, .. } => {
                Some(format!("today's program would give it to {}", name_of(agent, names)))
            }
            Outcome::Pass | Outcome::Ask | Outcome::Park(_) => {
                Some("today's program would give it to nobody".into())
            }
        }
    }

    /// What set the chosen one apart from the others who could have taken it.
    fn key(&self, view: &View<'_>, rules: &QueueRules<'_>, standpoints: &[Standpoint]) -> Key {
        let chosen = standpoints.iter().find(|standpoint| standpoint.agent == self.agent);
        let figures = chosen.and_then(|chosen| view.figures(rules, chosen));
        let in_brackets = figures.map_or_else(String::new, |figures| format!(" ({figures})"));
        let able = standpoints.iter().filter(|standpoint| standpoint.rejection.is_none());
        let able: Vec<Rank> = able.filter_map(|standpoint| Rank::of(standpoint.agent, view, rules)).collect();
        let ours = able.iter().find(|rank| rank.agent == self.agent);
        let others: Vec<&Rank> = able.iter().filter(|rank| rank.agent != self.agent).collect();
        let detail = match (ours, rules.strategy) {
            (_, Strategy::Platform) => "the platform proposed them, and they had room".into(),
            (Some(_), _) if others.is_empty() => format!("the only one who could take it{in_brackets}"),
            (Some(ours), Strategy::Balanced) if counts_inbox_only(self.policy.preset, rules.strategy) => {
                let open = view.head_load(ours.agent);
                format!("fewest open conversations of the inbox ({open})")
            }
            (Some(ours), Strategy::Balanced) => balanced(ours, &others, &in_brackets),
            (Some(ours), Strategy::LeastLoaded) => {
                let ties: Vec<&&Rank> = others.iter().filter(|other| other.load == ours.load).collect();
                let since = longest_since(ours, ties.iter().map(|rank| rank.last_assigned_at), self.at);
                let tie = if ties.is_empty() { String::new() } else { format!(", {since}") };
                format!("fewest open conversations ({}){tie}", ours.load)
            }
            (Some(ours), Strategy::LongestIdle) => {
                longest_since(ours, others.iter().map(|rank| rank.last_assigned_at), self.at)
            }
            (_, Strategy::RoundRobin) => format!("next in turn{in_brackets}"),
            (_, Strategy::FirstFit) => format!("the first with room{in_brackets}"),
            (_, Strategy::Random) => format!("drawn among {}", able.len()),
            (None, Strategy::Balanced | Strategy::LeastLoaded | Strategy::LongestIdle) => {
                format!("preferred{in_brackets}")
            }
        };
        let (load, capacity) = chosen.map_or((None, None), |chosen| (chosen.load, chosen.limit));
        Key { strategy: rules.strategy, load, capacity, detail }
    }
}

impl View<'_> {
    /// How many conversations of the inbox an agent holds.
    fn head_load(&self, agent: AgentId) -> u32 {
        self.snapshot.inbox_loads.get(&(self.head.inbox, agent)).copied().unwrap_or(0)
    }
}

/// What the strategies compare.
struct Rank {
    agent: AgentId,
    load: u32,
    limit: Option<u32>,
    assignments: u32,
    online_ms: u128,
    last_assigned_at: Option<Timestamp>,
}

impl Rank {
    fn of(id: AgentId, view: &View<'_>, rules: &QueueRules<'_>) -> Option<Self> {
        let agent = view.snapshot.roster.agent(id)?;
        let none = AgentLoad::none(id);
        let known = view.snapshot.loads.get(&id).unwrap_or(&none);
        let online_ms = agent.online_since.map_or(0, |since| view.now.since(since).as_millis());
        Some(Self {
            agent: id,
            load: view.load(agent).unwrap_or(known.open),
            limit: rules.total_limit(id).or(rules.inbox_limit(id)),
            assignments: known.assignments_since(agent.online_since),
            online_ms: online_ms.max(1),
            last_assigned_at: known.last_assigned_at,
        })
    }

    fn fill(&self, other: &Self) -> Ordering {
        let most = self.limit.into_iter().chain(other.limit).max().unwrap_or(1);
        let (ours, theirs) = (self.limit.unwrap_or(most), other.limit.unwrap_or(most));
        (u64::from(self.load) * u64::from(theirs)).cmp(&(u64::from(other.load) * u64::from(ours)))
    }

    fn pace(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (u128::from(self.assignments), u128::from(other.assignments));
        (ours * other.online_ms).cmp(&(theirs * self.online_ms))
    }
}

/// What decided between `ours` and `others` when the lowest load for its capacity comes first.
fn balanced(ours: &Rank, others: &[&Rank], figures: &str) -> String {
    let as_full: Vec<&&Rank> = others.iter().filter(|other| ours.fill(other) == Ordering::Equal).collect();
    if as_full.is_empty() {
        return format!("lowest load for capacity{figures}");
    }
    let as_fast: Vec<&&&Rank> = as_full.iter().filter(|other| ours.pace(other) == Ordering::Equal).collect();
    let tie = if as_fast.is_empty() {
        "given the fewest for the time online"
    } else if as_fast.iter().any(|other| other.last_assigned_at == ours.last_assigned_at) {
        "the first of equals"
    } else {
        "longest without a new one"
    };
    format!("lowest load for capacity{figures}, {tie}")
}

fn longest_since(ours: &Rank, mut others: impl Iterator<Item = Option<Timestamp>>, now: Timestamp) -> String {
    if others.any(|other| other == ours.last_assigned_at) {
        return "the first of those longest without a new one".into();
    }
    match ours.last_assigned_at {
        Some(last) => format!("longest without a new one ({})", span(now.since(last))),
        None => "never given one before".into(),
    }
}

/// The facts as they were after the decisions `before` of the same round.
fn as_it_stood(snapshot: &Snapshot, before: &[Decision], now: Timestamp) -> Snapshot {
    let mut stood = snapshot.clone();
    let mut roster = Roster::clone(&stood.roster);
    for (decision, head) in before.iter().zip(&snapshot.waiting) {
        let Outcome::Reserve { agent: id, .. } = decision.outcome else { continue };
        take(&mut stood, &mut roster, id, head, now);
    }
    stood.roster = Arc::new(roster);
    stood
}

/// Counts `head` as given to the agent, as a round does.
fn take(stood: &mut Snapshot, roster: &mut Roster, id: AgentId, head: &Head, now: Timestamp) {
    let load = stood.loads.entry(id).or_insert_with(|| AgentLoad::none(id));
    if let Some(agent) = roster.agents.iter_mut().find(|agent| agent.id == id) {
        // What the platform counts beyond ours stays what it was.
        agent.reported_load = agent.reported_load.map(|reported| reported.saturating_add(1));
        load.shift_assignments = load.assignments_since(agent.online_since) + 1;
        load.shift = agent.online_since;
    }
    let is_told = stood.answers.agents.values().flatten().any(|agent| agent.id == id);
    if is_told {
        let told = Arc::make_mut(&mut stood.answers).agents.values_mut().flatten();
        for agent in told.filter(|agent| agent.id == id) {
            agent.reported_load = agent.reported_load.map(|reported| reported.saturating_add(1));
        }
    }
    load.open += 1;
    load.last_assigned_at = Some(now);
    *stood.inbox_loads.entry((head.inbox, id)).or_default() += 1;
    stood.windows.entry((head.inbox, id)).or_default().give(head.conversation, now);
}
