//! The figures of a run: latencies from when each thing was due, so that a generator that was held up hides nothing
//! (no coordinated omission).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use sebastian_core::AgentId;
use sebastian_platform::simulated::{Endpoint, State};
use serde::Serialize;

use super::{
    client::Sent,
    meter::{Ledger, Statement, Usage},
};
use crate::soak::post::Kind;

/// The longest time that is told apart, in µs; longer ones count as it.
const LONGEST_US: u64 = 600_000_000;

/// Times from 1 µs on, to three digits.
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap())
    }
}

impl Times {
    pub fn record(&mut self, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap_or(LONGEST_US);
        self.0.saturating_record(us.max(1));
    }

    pub fn spread(&self) -> Spread {
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        Spread {
            count: self.0.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(self.0.max()),
        }
    }
}

/// How times lie, in ms.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spread {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl fmt::Display for Spread {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50_ms, p99_ms, p999_ms, max_ms } = self;
        write!(
            to,
            "p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, p99.9 {p999_ms:.2} ms, longest {max_ms:.1} ms of {count}"
        )
    }
}

/// The stretch that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
}

impl Window {
    pub fn has(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }

    pub fn seconds(&self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }
}

/// Of webhooks: those answered in the window count for the rate, those due in it for the latencies.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Webhooks {
    pub accepted_per_s: f64,
    /// From due to answered, of those accepted.
    pub latency: Spread,
    pub refused: BTreeMap<u16, u64>,
    pub unanswered: u64,
}

impl Webhooks {
    pub fn of(sent: &[Sent], window: Window) -> Self {
        let (mut times, mut accepted) = (Times::default(), 0_u64);
        let mut webhooks = Self::default();
        for one in sent {
            accepted += u64::from(one.is_accepted() && window.has(one.answered));
            match one.status {
                Some(_) if one.is_accepted() => {
                    if window.has(one.due) {
                        times.record(one.answered.saturating_duration_since(one.due));
                    }
                }
                Some(status) => *webhooks.refused.entry(status).or_default() += 1,
                None => webhooks.unanswered += 1,
            }
        }
        webhooks.accepted_per_s = accepted as f64 / window.seconds();
        webhooks.latency = times.spread();
        webhooks
    }
}

/// Of assignments. A call is the arrival of its request at the platform.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Assignments {
    /// First calls of a conversation that took effect, by the time they were answered.
    pub per_s: f64,
    /// From the moment the customer was due to write, where somebody had room then and nobody waited.
    pub arrival_to_call: Spread,
    /// Customers who had to wait for somebody to have room.
    pub had_to_wait: u64,
    /// From the moment the resolve webhook was due of an agent who was full, while more waited than there was room for, to
    /// the next call for that agent.
    pub freed_to_call: Spread,
    /// Calls that were repeated.
    pub repeated: u64,
}

/// One thing that happened to a chat, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Freed(AgentId),
    Arrived(u64),
    Called(u64, AgentId),
}

impl Assignments {
    /// `slots`: so many agents with room for so many each.
    pub fn of(sent: &[Sent], state: &State, (agents, capacity): (u32, u32), window: Window) -> Self {
        let mut steps: Vec<(Instant, Step)> = Vec::with_capacity(2 * sent.len());
        for one in sent.iter().filter(|one| one.is_accepted()) {
            match (one.what.kind, one.what.agent) {
                (Kind::Allocate, _) => steps.push((one.due, Step::Arrived(one.what.room))),
                (Kind::Resolve, Some(agent)) => steps.push((one.due, Step::Freed(agent))),
                (Kind::Resolve, None) => {}
            }
        }
        let (mut applied, mut asked) = (0_u64, 0_u64);
        for call in state.requests().iter().filter(|one| one.endpoint == Endpoint::Assign) {
            let (Some(room), Some(agent)) = (&call.room, call.agent) else { continue };
            asked += 1;
            applied += u64::from(call.applied && window.has(call.answered_at));
            steps.push((call.at, Step::Called(room.parse().unwrap(), agent)));
        }
        steps.sort_unstable();
        let mut story = Story { free: u64::from(agents) * u64::from(capacity), capacity, ..Story::default() };
        steps.iter().for_each(|(at, step)| story.tell(*at, *step, window));
        Self {
            per_s: applied as f64 / window.seconds(),
            arrival_to_call: story.arrival.spread(),
            had_to_wait: story.had_to_wait,
            freed_to_call: story.freed.spread(),
            repeated: asked - story.called,
        }
    }
}

/// Who waits and who holds how many, as the steps go by.
#[derive(Default)]
struct Story {
    free: u64,
    capacity: u32,
    /// When they arrived, and whether somebody had room.
    waiting: HashMap<u64, (Instant, bool)>,
    held: HashMap<AgentId, u32>,
    pending: HashMap<AgentId, VecDeque<Instant>>,
    arrival: Times,
    freed: Times,
    had_to_wait: u64,
    called: u64,
}

impl Story {
    fn tell(&mut self, at: Instant, step: Step, window: Window) {
        match step {
            Step::Arrived(room) => {
                let has_room = self.free > self.waiting.len() as u64;
                self.had_to_wait += u64::from(!has_room && window.has(at));
                self.waiting.insert(room, (at, has_room));
            }
            Step::Freed(agent) => {
                let held = self.held.entry(agent).or_default();
                if *held == self.capacity && self.waiting.len() as u64 > self.free {
                    self.pending.entry(agent).or_default().push_back(at);
                }
                *held = held.saturating_sub(1);
                self.free += 1;
            }
            Step::Called(room, agent) => {
                // A repetition takes nobody's slot.
                let Some((arrived, had_room)) = self.waiting.remove(&room) else { return };
                self.called += 1;
                if had_room && window.has(arrived) {
                    self.arrival.record(at - arrived);
                }
                *self.held.entry(agent).or_default() += 1;
                self.free = self.free.saturating_sub(1);
                if let Some(freed) = self.pending.get_mut(&agent).and_then(VecDeque::pop_front)
                    && window.has(freed)
                {
                    self.freed.record(at - freed);
                }
            }
        }
    }
}

/// Everything a run showed.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub command: String,
    pub measured_s: f64,
    pub webhooks: Webhooks,
    pub assignments: Assignments,
    /// Chats that waited when the measurement was over.
    pub waiting_at_the_end: usize,
    /// Events the worker had not folded then.
    pub unfolded_at_the_end: u64,
    pub processes: Vec<Usage>,
    /// `None` where there is none.
    pub postgresql: Option<Ledger>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Statement>,
    /// Over the last minute: above the cores, somebody waited for one.
    pub load_average: f64,
    /// Broken promises, in words; empty when all held.
    pub violations: Vec<String>,
}

impl fmt::Display for Figures {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, measured_s, webhooks, assignments, .. } = self;
        writeln!(to, "{command}\nmeasured for {measured_s:.1} s; load average {:.1}", self.load_average)?;
        writeln!(to, "webhooks accepted      {:.0} a second", webhooks.accepted_per_s)?;
        writeln!(to, "webhook                {}", webhooks.latency)?;
        if !webhooks.refused.is_empty() || webhooks.unanswered > 0 {
            writeln!(to, "refused {:?}, unanswered {}", webhooks.refused, webhooks.unanswered)?;
        }
        if assignments.per_s > 0.0 {
            writeln!(
                to,
                "assignments            {:.0} a second, {} calls repeated",
                assignments.per_s, assignments.repeated
            )?;
            writeln!(to, "arrival to call        {}", assignments.arrival_to_call)?;
            writeln!(to, "  of those whom somebody had room for; {} had to wait", assignments.had_to_wait)?;
            writeln!(to, "freed to next call     {}", assignments.freed_to_call)?;
        }
        let (waiting, unfolded) = (self.waiting_at_the_end, self.unfolded_at_the_end);
        writeln!(to, "at the end             {waiting} waiting, {unfolded} events not folded")?;
        processes(to, &self.processes)?;
        if let Some(Ledger { commits, flushes, wal_mb }) = &self.postgresql {
            let or_unknown =
                |value: &Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.0}"));
            let (flushes, wal_mb) = (or_unknown(flushes), or_unknown(wal_mb));
            writeln!(
                to,
                "PostgreSQL             {commits:.0} commits, {flushes} flushes, {wal_mb} MB of log"
            )?;
        }
        for Statement { calls, total_ms, mean_ms, rows, statement } in &self.statements {
            writeln!(
                to,
                "  {total_ms:>9.0} ms = {calls:>7} × {mean_ms:>7.3} ms, {rows:>8} rows  {statement}"
            )?;
        }
        match self.violations.len() {
            0 => writeln!(to, "every promise held"),
            count => writeln!(to, "{count} broken promises:\n{}", self.violations.join("\n")),
        }
    }
}

/// A line for each process.
pub fn processes(to: &mut impl fmt::Write, usage: &[Usage]) -> fmt::Result {
    for Usage { name, cpu_s, cpu_percent, rss_mb, rss_peak_mb } in usage {
        let memory = match *rss_peak_mb {
            0.0 => String::new(),
            _ => format!(", {rss_mb:.0} MB (most {rss_peak_mb:.0} MB)"),
        };
        writeln!(to, "{name:<22} CPU {cpu_s:.2} s, {cpu_percent:.1} % of a core{memory}")?;
    }
    Ok(())
}

#[test]
fn a_call_is_measured_from_the_arrival_or_from_the_slot_that_made_it_possible() {
    let began = Instant::now();
    let at = |ms: u64| began + Duration::from_millis(ms);
    let window = Window { from: began, to: at(1_000) };
    let (ana, budi) = (AgentId(1), AgentId(2));
    let mut story = Story { free: 2, capacity: 1, ..Story::default() };
    for (ms, step) in [
        (0, Step::Arrived(1)),
        (5, Step::Called(1, ana)),
        (10, Step::Arrived(2)),
        (20, Step::Called(2, budi)),
        // Both are full.
        (30, Step::Arrived(3)),
        (100, Step::Freed(budi)),
        // Ana's slot is for whoever comes next: 3 is Budi's.
        (105, Step::Freed(ana)),
        (140, Step::Called(3, budi)),
        // The same call again, of which nobody answered.
        (150, Step::Called(3, budi)),
        (160, Step::Arrived(4)),
        (163, Step::Called(4, ana)),
    ] {
        story.tell(at(ms), step, window);
    }
    let of = |times: &Times| {
        let Spread { count, p50_ms, max_ms, .. } = times.spread();
        (count, p50_ms.round(), max_ms.round())
    };
    assert_eq!(of(&story.arrival), (3, 5.0, 10.0));
    assert_eq!(of(&story.freed), (1, 40.0, 40.0));
    assert_eq!((story.had_to_wait, story.called), (1, 4));
}
