//! The words explanations are made of.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use super::Candidate;
use crate::{Agent, AgentId, Order, Preset, Roster, Strategy, Timestamp, rulebook::Paused};

/// A sentence names each agent up to so many; beyond, it counts them by reason.
const NAMED_MAX: usize = 6;

/// Whether something holds now, or held when a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tense {
    Now,
    Then,
}

/// What is said of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clause {
    /// What they are: follows "is" or "was".
    State(String),
    /// What they did, or could do, in words of its own.
    Deed(String),
}

impl Clause {
    /// As said of one agent.
    pub fn of_one(&self, tense: Tense) -> String {
        match (self, tense) {
            (Self::State(what), Tense::Now) => format!("is {what}"),
            (Self::State(what), Tense::Then) => format!("was {what}"),
            (Self::Deed(what), Tense::Now | Tense::Then) => what.clone(),
        }
    }

    fn of(&self, count: usize, tense: Tense) -> String {
        match (self, tense) {
            (Self::State(what), Tense::Now) if count > 1 => format!("are {what}"),
            (Self::State(what), Tense::Then) if count > 1 => format!("were {what}"),
            (Self::State(_) | Self::Deed(_), _) => self.of_one(tense),
        }
    }
}

/// Each agent with what is said of them, or when they are many, how many there are of each reason.
pub(super) fn roll_call(agents: &[&Candidate], tense: Tense) -> String {
    if agents.len() <= NAMED_MAX {
        let named = agents.iter().map(|agent| format!("{} {}", agent.name, agent.detail));
        return named.collect::<Vec<_>>().join(", ");
    }
    let mut counts: BTreeMap<&Clause, (bool, usize)> = BTreeMap::new();
    for agent in agents {
        counts.entry(&agent.kind).or_insert((agent.reason.is_some(), 0)).1 += 1;
    }
    let mut counts: Vec<(&Clause, (bool, usize))> = counts.into_iter().collect();
    counts.sort_by_key(|(_, (is_rejected, count))| (*is_rejected, Reverse(*count)));
    let counted = counts.into_iter().map(|(kind, (_, count))| format!("{count} {}", kind.of(count, tense)));
    format!("of {} agents {}", agents.len(), counted.collect::<Vec<_>>().join(", "))
}

/// A pause in words, after what is paused: `the account is paused until …: reason`.
pub(super) fn paused(paused: &Paused) -> String {
    let until = paused.until.map_or_else(String::new, |until| format!(" until {}", until.in_words()));
    match paused.reason.as_deref().map(printable).filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("paused{until}: {reason}"),
        None => format!("paused{until}"),
    }
}

/// The name of an agent as the roster has it, else their number.
pub(super) fn name_of(id: AgentId, roster: Option<&Roster>) -> String {
    roster.and_then(|roster| roster.agent(id)).map_or_else(|| format!("agent {id}"), shown_name)
}

fn shown_name(agent: &Agent) -> String {
    let name = printable(&agent.name);
    if name.is_empty() { format!("agent {}", agent.id) } else { name }
}

/// What somebody typed: nothing in it may move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    text.trim().to_owned()
}

/// A span as people say it, in its two largest units at most, and to the second below two minutes.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0..2) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{days} d {} h", hours % 24),
    }
}

/// A span that somebody set, exactly, in the largest unit that divides it.
pub(super) fn setting(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let whole = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "s"));
    format!("{} {name}", seconds / unit)
}

/// A time of the day of `now`, to the minute where that is exact; of another day, with its date.
pub(super) fn clock(at: Timestamp, now: Timestamp) -> String {
    let (words, today) = (at.in_words(), now.in_words());
    let date = |words: &str| words.split(' ').next().map(str::to_owned);
    if date(&words) != date(&today) {
        return words;
    }
    let time = words.split(' ').nth(1).unwrap_or_default();
    format!("{} UTC", time.strip_suffix(":00").unwrap_or(time))
}

/// The day of `at`, in UTC.
pub(super) fn day(at: Timestamp) -> String {
    at.in_words().split(' ').next().unwrap_or_default().to_owned()
}

/// The word by which an operator sets a strategy.
pub(super) fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Balanced => "balanced",
        Strategy::RoundRobin => "round robin",
        Strategy::LeastLoaded => "least loaded",
        Strategy::LongestIdle => "longest idle",
        Strategy::FirstFit => "first fit",
        Strategy::Random => "random",
        Strategy::Platform => "whom the platform proposes",
    }
}

/// How an order is said.
pub(super) fn order(order: Order) -> &'static str {
    match order {
        Order::EarliestCreated => "earliest first",
        Order::LongestWaiting => "longest without activity first",
        Order::Priority => "by priority",
    }
}

/// Why one who could have been given a conversation was not, by how it was chosen. Follows "was".
pub(super) fn not_preferred(chosen_by: Strategy, figures: Option<String>) -> String {
    let figures = figures.map_or_else(String::new, |figures| format!(" ({figures})"));
    match chosen_by {
        Strategy::Balanced | Strategy::LeastLoaded => format!("preferred less{figures}"),
        Strategy::RoundRobin => format!("not next in turn{figures}"),
        Strategy::LongestIdle => "given one more lately".into(),
        Strategy::FirstFit => format!("later in line{figures}"),
        Strategy::Random => format!("not drawn{figures}"),
        Strategy::Platform => "not proposed by the platform".into(),
    }
}

/// Whether fills are compared by the inbox alone.
pub(super) fn counts_inbox_only(preset: Preset, chosen_by: Strategy) -> bool {
    chosen_by == Strategy::Balanced && preset == Preset::Chatwoot
}
