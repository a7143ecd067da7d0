//! Figures of a play, counted from the platform's own ledger.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use sebastian_core::AgentId;
use sebastian_platform::simulated::{Applied, By, Change, Endpoint, Request};

use super::{desk::SWITCH_NOTICED_WITHIN, play::Notes, script::Script};

/// What the platform did to us and we got over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Survived {
    /// Allocation webhooks beyond the first of their session.
    pub duplicates: u64,
    /// "Exceed max agents" for rooms nobody was in.
    pub false_refusals: u64,
    /// Assignments that took effect and were never answered.
    pub lost_replies: u64,
    /// 502 instead of an assignment.
    pub bad_gateways: u64,
    /// Webhooks that never came.
    pub lost_webhooks: u64,
    /// Assignments and transfers by hand.
    pub moves: u64,
}

impl Survived {
    pub fn count<'a>(requests: impl IntoIterator<Item = &'a Request>, notes: &Notes) -> Self {
        let mut survived = Self {
            duplicates: notes.accepted.saturating_sub(notes.told),
            lost_webhooks: notes.untold.len() as u64,
            moves: notes.moves,
            ..Self::default()
        };
        let assigns =
            requests.into_iter().filter(|request| request.endpoint == Endpoint::Assign && request.faulted);
        for request in assigns {
            match request.status {
                Some(400) => survived.false_refusals += 1,
                Some(502) => survived.bad_gateways += 1,
                None if request.applied => survived.lost_replies += 1,
                Some(_) | None => {}
            }
        }
        survived
    }
}

/// How long things took, each ascending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    /// From a customer's first message to an agent of our choice, here.
    pub waits: Vec<Duration>,
    /// From when somebody waited *and* somebody was free to the assignment at the platform: our own share, here.
    pub reactions: Vec<Duration>,
}

impl Times {
    pub fn measure(
        applied: &[Applied],
        notes: &Notes,
        capacity: u32,
        moves_noticed_within: Duration,
    ) -> Self {
        let mut times = Self::default();
        let mut opened: HashMap<i64, Instant> = HashMap::new();
        let mut desk: BTreeMap<AgentId, Seat> = BTreeMap::new();
        for Applied { at, service, change, .. } in applied {
            match change {
                Change::Opened { .. } => drop(opened.insert(*service, *at)),
                Change::Assigned { agent, by, load, .. } => {
                    let since = opened.remove(service);
                    let seat = desk.entry(*agent).or_default();
                    seat.load = *load;
                    if *by == By::Dashboard {
                        seat.moved_at = Some(*at);
                    } else if let Some(since) = since {
                        times.waits.push(at.duration_since(since));
                        let told = !notes.untold.contains(service) && !notes.switched_lately(*agent, *at);
                        if told && !seat.was_moved_lately(*at, moves_noticed_within) {
                            let begin = seat.free_since.map_or(since, |free| free.max(since));
                            times.reactions.push(at.duration_since(begin));
                        }
                    }
                }
                Change::Transferred { from, to, .. } => {
                    desk.entry(*from).or_default().leave(*at, capacity, false);
                    let seat = desk.entry(*to).or_default();
                    (seat.load, seat.moved_at) = (seat.load + 1, Some(*at));
                }
                Change::Removed { agent, .. } => desk.entry(*agent).or_default().leave(*at, capacity, false),
                Change::Resolved { served_by, .. } => {
                    let told = !notes.untold.contains(service);
                    for agent in served_by {
                        desk.entry(*agent).or_default().leave(*at, capacity, told);
                    }
                }
            }
        }
        times.waits.sort_unstable();
        times.reactions.sort_unstable();
        times
    }
}

/// What an agent holds, and since when there is room for more.
#[derive(Default)]
struct Seat {
    load: u32,
    /// `None`: since the beginning.
    free_since: Option<Instant>,
    /// When this changed without a word to us. A comparison has to find it, which is no reaction.
    moved_at: Option<Instant>,
}

impl Seat {
    fn leave(&mut self, at: Instant, capacity: u32, told: bool) {
        if self.load == capacity {
            self.free_since = Some(at);
        }
        if !told {
            self.moved_at = Some(at);
        }
        self.load = self.load.saturating_sub(1);
    }

    fn was_moved_lately(&self, at: Instant, noticed_within: Duration) -> bool {
        self.moved_at.is_some_and(|moved| at.duration_since(moved) <= noticed_within)
    }
}

impl Notes {
    /// Whether the agent came or went so lately that no poll need have seen it.
    fn switched_lately(&self, agent: AgentId, at: Instant) -> bool {
        let lately =
            |switched: Instant| switched <= at && at.duration_since(switched) <= SWITCH_NOTICED_WITHIN;
        self.presence.get(&agent).is_some_and(|log| log.iter().any(|(switched, _)| lately(*switched)))
    }
}

/// The value that so many of a hundred do not exceed; zero of nothing.
pub(crate) fn percentile(ascending: &[Duration], percent: usize) -> Duration {
    let rank = (ascending.len() * percent).div_ceil(100).max(1);
    ascending.get(rank - 1).copied().unwrap_or_default()
}

/// How many chats each agent was given or took over, in the order of the script.
pub(crate) fn served(applied: &[Applied], script: &Script) -> Vec<(String, u32)> {
    let mut served: BTreeMap<AgentId, u32> = BTreeMap::new();
    for applied in applied {
        match applied.change {
            Change::Assigned { agent, .. } | Change::Transferred { to: agent, .. } => {
                *served.entry(agent).or_default() += 1;
            }
            Change::Opened { .. } | Change::Removed { .. } | Change::Resolved { .. } => {}
        }
    }
    let agents = script.staff.iter().filter(|agent| agent.role == sebastian_core::Role::Agent);
    agents.map(|agent| (agent.name.clone(), served.get(&agent.id).copied().unwrap_or_default())).collect()
}

/// The most that waited at once.
pub(crate) fn most_waiting(applied: &[Applied]) -> usize {
    let mut waiting: HashSet<i64> = HashSet::new();
    let waited = applied.iter().map(|Applied { service, change, .. }| {
        match change {
            Change::Opened { .. } => drop(waiting.insert(*service)),
            Change::Assigned { .. } | Change::Resolved { .. } => drop(waiting.remove(service)),
            Change::Transferred { .. } | Change::Removed { .. } => {}
        }
        waiting.len()
    });
    waited.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let ms = Duration::from_millis;
        let ascending: Vec<Duration> = (1..=100).map(ms).collect();
        assert_eq!((percentile(&ascending, 50), percentile(&ascending, 99)), (ms(50), ms(99)));
        assert_eq!((percentile(&ascending[..1], 95), percentile(&[], 50)), (ms(1), Duration::ZERO));
    }

    #[test]
    fn our_share_of_a_wait_begins_when_somebody_is_free() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let agent = AgentId(1);
        let applied = |ms, service, change| Applied { seq: 0, at: at(ms), room: "7".into(), service, change };
        let assigned = |load| Change::Assigned { agent, by: By::Api, load, online: true };
        let history = [
            applied(0, 1, Change::Opened { channel: None }),
            applied(4, 1, assigned(1)),
            applied(10, 2, Change::Opened { channel: None }),
            applied(500, 1, Change::Resolved { by: agent, served_by: vec![agent] }),
            applied(503, 2, assigned(1)),
        ];
        let times = Times::measure(&history, &Notes::default(), 1, Duration::ZERO);
        let ms = Duration::from_millis;
        assert_eq!((times.waits, times.reactions), (vec![ms(4), ms(493)], vec![ms(3), ms(4)]));
    }
}
