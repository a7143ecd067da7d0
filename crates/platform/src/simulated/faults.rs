//! What can go wrong, on demand. Faults are checked in the order they were set and combine: latencies add up,
//! of the faults that replace an answer the first wins.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sebastian_core::AgentId;

use super::{Endpoint, Target};

/// A fault, in force from when it is set until it is used up or cleared.
#[derive(Debug, Clone)]
pub struct Fault {
    on: Target,
    kind: FaultKind,
    times: Option<u32>,
    percent: u8,
    room: Option<String>,
    agent: Option<AgentId>,
}

/// Names a fault in force, to end it by [`super::Simulated::clear_fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// What a fault does to a request it strikes.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// The request is taken up after a time drawn evenly from this range; a client that leaves meanwhile does
    /// not stop it.
    Latency {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// The same with a time drawn from a lognormal distribution: many calls near the median, a few far above it.
    LognormalLatency {
        /// Half of the draws lie below it.
        median: Duration,
        /// Standard deviation of the logarithm: at 0.5, one of a hundred takes 3.2 times the median or longer.
        sigma: f64,
    },
    /// Nothing takes effect and this is answered.
    Instead(Answer),
    /// The request takes effect, and if it succeeded this is answered in place of the success.
    AfterApply(Answer),
    /// The true answer, one byte at a time.
    SlowBody {
        /// Pause before each byte.
        pause: Duration,
    },
    /// The first assigns of each session answer `Cant join room, exceed max agents` although nobody is there.
    /// Seen live (contract 2.6, point 4).
    ExceedOnFreshRoom {
        /// How many.
        first: u32,
    },
    /// Reported counts are wrong. Seen live (contract 2.6, points 1 and 2).
    Counts(CountFault),
    /// Lists of agents are wrong.
    Roster(RosterFault),
    /// Lists of rooms show how things stood this long ago.
    RoomsLag(Duration),
    /// `unserved` lists also hold rooms resolved lately, newest first, at most so many. Seen live (contract 2.6,
    /// point 6).
    DirtyRows(usize),
    /// Cursors of room lists are whole seconds, so that rows of the same second as a page's last are skipped.
    CoarseCursors,
}

/// How `current_customer_count` is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountFault {
    /// As it was this long ago; at most [`super::COUNT_HISTORY`].
    Lag(Duration),
    /// As it was when the fault was set.
    Frozen,
    /// Absent.
    Missing,
    /// Below zero.
    Negative,
}

/// How a list of agents is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RosterFault {
    /// 200 with nobody in it.
    Empty,
    /// Only the first so many agents, and no cursor to the rest.
    Partial(usize),
    /// The cursor of each page leads to the same page again.
    CursorLoop,
    /// Each agent twice in a row.
    Duplicates,
    /// `user_channels` absent.
    NoChannels,
    /// Ids as strings.
    TextIds,
    /// `meta` inside `data`, as one peer reads it.
    MetaInsideData,
}

/// An answer other than the true one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This status, with the body the fixtures show for it: JSON, HTML for 502, nothing for 503.
    Status(u16),
    /// This status with a `Retry-After` header, verbatim.
    RetryAfter(u16, String),
    /// 400 `Cant join room, exceed max agents`.
    ExceedMaxAgents,
    /// This status and this JSON.
    Json(u16, serde_json::Value),
    /// 200 with an HTML page.
    Html,
    /// 200 with so many bytes of `{"data": "xxx…`.
    Huge(usize),
    /// 302 to this location.
    Redirect(String),
    /// The connection is closed without an answer.
    Drop,
    /// The connection stays open and silent.
    Hang,
}

impl Fault {
    /// A fault that strikes every matching request until cleared.
    #[must_use]
    pub fn new(on: impl Into<Target>, kind: FaultKind) -> Self {
        Self { on: on.into(), kind, times: None, percent: 100, room: None, agent: None }
    }

    /// The same latency for every request on `on`.
    #[must_use]
    pub fn latency(on: impl Into<Target>, latency: Duration) -> Self {
        Self::new(on, FaultKind::Latency { min: latency, max: latency })
    }

    /// Answers `answer` and applies nothing.
    #[must_use]
    pub fn instead(on: impl Into<Target>, answer: Answer) -> Self {
        Self::new(on, FaultKind::Instead(answer))
    }

    /// Applies the request, then answers `answer`.
    #[must_use]
    pub fn after_apply(on: impl Into<Target>, answer: Answer) -> Self {
        Self::new(on, FaultKind::AfterApply(answer))
    }

    /// Wrong counts in both lists of agents.
    #[must_use]
    pub fn counts(fault: CountFault) -> Self {
        Self::new(Target::Rosters, FaultKind::Counts(fault))
    }

    /// Wrong answers of `GET /api/v2/admin/agents`.
    #[must_use]
    pub fn roster(fault: RosterFault) -> Self {
        Self::new(Endpoint::Agents, FaultKind::Roster(fault))
    }

    /// Strikes so many times, then is gone.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Strikes so many of a hundred matching requests, drawn from the simulation's seed.
    #[must_use]
    pub fn percent(self, percent: u8) -> Self {
        Self { percent, ..self }
    }

    /// Strikes only requests that name this room.
    #[must_use]
    pub fn for_room(self, room: &str) -> Self {
        Self { room: Some(room.to_owned()), ..self }
    }

    /// Strikes only requests that name this agent.
    #[must_use]
    pub fn for_agent(self, agent: AgentId) -> Self {
        Self { agent: Some(agent), ..self }
    }

    /// The account as public projects measured it live: counts lag, fresh rooms are refused once now and then,
    /// new rooms are missing from lists for a while, `unserved` holds dirty rows.
    #[must_use]
    pub fn seen_live() -> Vec<Self> {
        vec![
            Self::counts(CountFault::Lag(Duration::from_secs(2))),
            Self::new(Endpoint::Assign, FaultKind::ExceedOnFreshRoom { first: 1 }).percent(5),
            Self::new(Endpoint::Rooms, FaultKind::RoomsLag(Duration::from_secs(3))),
            Self::new(Endpoint::Rooms, FaultKind::DirtyRows(2)),
        ]
    }

    fn strikes(&self, endpoint: Endpoint, room: Option<&str>, agent: Option<AgentId>) -> bool {
        self.on.covers(endpoint)
            && self.room.as_deref().is_none_or(|only| Some(only) == room)
            && self.agent.is_none_or(|only| Some(only) == agent)
    }
}

/// The faults in force and the random source that picks among them.
#[derive(Debug)]
pub(super) struct Faults {
    active: Vec<Active>,
    set: u64,
    rng: SplitMix,
}

#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    frozen: Arc<HashMap<AgentId, u32>>,
}

/// What the faults in force do to one request.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub latency: Duration,
    pub outcome: Outcome,
    pub byte_pause: Option<Duration>,
    pub exceed_first: u32,
    pub counts: Counts,
    pub roster: Vec<RosterFault>,
    pub rooms_lag: Option<Duration>,
    pub dirty_rows: usize,
    pub coarse_cursors: bool,
}

/// Which answer is sent.
#[derive(Debug, Default)]
pub(super) enum Outcome {
    #[default]
    True,
    Instead(Answer),
    AfterApply(Answer),
}

/// Which counts are reported.
#[derive(Debug, Default)]
pub(super) enum Counts {
    #[default]
    True,
    Lag(Duration),
    Frozen(Arc<HashMap<AgentId, u32>>),
    Missing,
    Negative,
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self { active: Vec::new(), set: 0, rng: SplitMix(seed) }
    }

    /// Puts `fault` in force; `counts` are the true counts now, asked for when it freezes them.
    pub fn set(&mut self, fault: Fault, counts: impl FnOnce() -> HashMap<AgentId, u32>) -> FaultId {
        let frozen = match fault.kind {
            FaultKind::Counts(CountFault::Frozen) => counts(),
            _ => HashMap::new(),
        };
        let id = FaultId(self.set);
        self.set += 1;
        self.active.push(Active { id, fault, frozen: Arc::new(frozen) });
        id
    }

    /// Ends one fault. `false`: it was over already.
    pub fn clear_one(&mut self, id: FaultId) -> bool {
        let before = self.active.len();
        self.active.retain(|active| active.id != id);
        self.active.len() < before
    }

    pub fn clear(&mut self) {
        self.active.clear();
    }

    /// Draws what happens to a request, and uses up one strike of each fault that takes part.
    pub fn draw(&mut self, endpoint: Endpoint, room: Option<&str>, agent: Option<AgentId>) -> Effects {
        let mut effects = Effects::default();
        for Active { fault, frozen, .. } in &mut self.active {
            if fault.times == Some(0) || !fault.strikes(endpoint, room, agent) {
                continue;
            }
            if fault.percent < 100 && self.rng.below(100) >= u64::from(fault.percent) {
                continue;
            }
            if effects.add(&fault.kind, frozen, &mut self.rng) {
                fault.times = fault.times.map(|times| times - 1);
            }
        }
        self.active.retain(|active| active.fault.times != Some(0));
        effects
    }
}

impl Effects {
    /// Adds one fault; `false` when an earlier one of its kind keeps it from acting.
    fn add(&mut self, kind: &FaultKind, frozen: &Arc<HashMap<AgentId, u32>>, rng: &mut SplitMix) -> bool {
        match kind {
            FaultKind::Latency { min, max } => {
                let spread = u64::try_from(max.saturating_sub(*min).as_micros()).unwrap_or(u64::MAX);
                self.latency += *min + Duration::from_micros(rng.below(spread.saturating_add(1)));
            }
            FaultKind::LognormalLatency { median, sigma } => {
                self.latency += median.mul_f64((sigma * rng.normal()).exp());
            }
            FaultKind::Instead(answer) => {
                let Outcome::True = self.outcome else { return false };
                self.outcome = Outcome::Instead(answer.clone());
            }
            FaultKind::AfterApply(answer) => {
                let Outcome::True = self.outcome else { return false };
                self.outcome = Outcome::AfterApply(answer.clone());
            }
            FaultKind::SlowBody { pause } => self.byte_pause = Some(*pause),
            FaultKind::ExceedOnFreshRoom { first } => self.exceed_first = self.exceed_first.max(*first),
            FaultKind::Counts(fault) => {
                let Counts::True = self.counts else { return false };
                self.counts = match fault {
                    CountFault::Lag(lag) => Counts::Lag(*lag),
                    CountFault::Frozen => Counts::Frozen(frozen.clone()),
                    CountFault::Missing => Counts::Missing,
                    CountFault::Negative => Counts::Negative,
                };
            }
            FaultKind::Roster(fault) => self.roster.push(*fault),
            FaultKind::RoomsLag(lag) => self.rooms_lag = self.rooms_lag.max(Some(*lag)),
            FaultKind::DirtyRows(rows) => self.dirty_rows = self.dirty_rows.max(*rows),
            FaultKind::CoarseCursors => self.coarse_cursors = true,
        }
        true
    }
}

/// Sebastiano Vigna's splitmix64: small, seeded, the same everywhere.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    /// A number below `bound`; 0 when `bound` is 0. The bias of the remainder is below 2^-40 here.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or(0)
    }

    /// A draw from the normal distribution around 0 with deviation 1, by Box and Muller.
    fn normal(&mut self) -> f64 {
        const STEPS: u64 = 1 << 53;
        // Above 0, for its logarithm is taken.
        let [radius, angle] =
            [self.below(STEPS) + 1, self.below(STEPS)].map(|draw| draw as f64 / STEPS as f64);
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
