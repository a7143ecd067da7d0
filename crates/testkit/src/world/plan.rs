//! What a seed is about: how large the desk is, how busy, how bad the weather.

use std::time::Duration;

use sebastian_core::{AgentId, FairDistribution, InboxId, Order, Policy, RoomId, Strategy};

use super::{
    dice::Dice,
    platform::{Ms, Person, Platform, Room},
};

/// How to play.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Simulated hours until the last fault.
    pub hours: u64,
    /// A bug to play with, to see that it is found.
    pub bug: Option<Bug>,
    /// Print everything that happens.
    pub tells: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hours: 8, bug: None, tells: false }
    }
}

/// A bug that can be planted in the worker or the ingest of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Ingest answers success although the ledger did not take the event (I1).
    SwallowedRetry,
    /// An attempt nobody answered for is given up at once, and the next agent put in whoever is there (I2).
    SecondAgent,
    /// Decisions see nobody's load (I3).
    NoCapacity,
    /// Last come, first served (I4).
    LastComeFirst,
    /// Nobody compares lists with the ledger (I5).
    NoHealing,
    /// Everybody is taken to be online (I6).
    BlindToPresence,
    /// Resolves lose the name of their session, so that a copy ends the next one (I7, I9).
    NamelessResolves,
    /// Nobody takes over what is overdue (I8).
    NoTakeOver,
    /// Windows are not looked at (I10).
    NoWindow,
    /// Decisions go by another strategy than is recorded (I13).
    OtherStrategy,
    /// Whoever settles does so for the newest attempt, whoever holds it (I2).
    NoFence,
}

pub(super) struct Plan {
    pub workers: usize,
    pub agents: usize,
    pub inboxes: usize,
    pub policy: Policy,
    /// Mean time between sessions, and how long one is served.
    pub arrival: Ms,
    pub service: Ms,
    /// Most that lists and counts lag.
    pub lag: Ms,
    /// One webhook in so many is lost, and one is delayed or doubled.
    pub lost: u64,
    pub disturbed: u64,
    pub sweep: Ms,
    pub poll: Ms,
    pub reconcile: Ms,
    /// When faults stop for as long as it takes to see that nobody waits in vain; the last time for good.
    pub lulls: [Ms; LULLS],
}

/// How often a run is calm.
const LULLS: usize = 4;

const STRATEGIES: [Strategy; 5] = [
    Strategy::Balanced,
    Strategy::LeastLoaded,
    Strategy::RoundRobin,
    Strategy::LongestIdle,
    Strategy::FirstFit,
];

impl Plan {
    pub fn draw(dice: &mut Dice, settings: &Settings) -> Self {
        let agents = 2 + dice.index(4);
        let capacity = 1 + u32::try_from(dice.index(3)).unwrap_or(0);
        let service = dice.pick(&[240_000, 480_000, 720_000]);
        let slots = agents as u64 * u64::from(capacity);
        // Between half and all of what the desk can serve, a part of which is away.
        let load = dice.between(50, 100);
        let limit = 1 + u32::try_from(dice.index(3)).unwrap_or(0);
        let window = Duration::from_secs(dice.between(300, 900));
        let policy = Policy {
            strategy: dice.pick(&STRATEGIES),
            order: if dice.one_in(3) { Order::Priority } else { Order::EarliestCreated },
            capacity: Some(capacity),
            fair_distribution: dice.one_in(4).then_some(FairDistribution { limit, window }),
            staleness_max: Duration::from_secs(150),
            ..Policy::default()
        };
        Self {
            workers: 1 + dice.index(3),
            agents,
            inboxes: 1 + dice.index(2),
            policy,
            arrival: (service * 100 / (slots * load)).max(75_000),
            service,
            lag: dice.pick(&[0, 1_000, 5_000]),
            lost: dice.pick(&[0, 20, 60]),
            disturbed: dice.pick(&[0, 4, 12]),
            sweep: dice.between(1_000, 4_000),
            poll: 30_000,
            reconcile: 120_000,
            lulls: std::array::from_fn(|nth| settings.hours * 3_600_000 * (nth as Ms + 1) / LULLS as Ms),
        }
    }

    pub fn platform(&self, dice: &mut Dice) -> Platform {
        let inboxes: Vec<InboxId> = (1..).map(InboxId).take(self.inboxes).collect();
        let person = |id| Person {
            id: AgentId(id),
            // The last of several agents serves one inbox of the two.
            inboxes: inboxes.iter().copied().take(if id == 2 { 1 } else { inboxes.len() }).collect(),
            is_online: true,
        };
        let rooms = (0..self.agents * 6 + 6).map(|nth| {
            let id = RoomId::parse(&format!("room-{nth}")).expect("a short name is an id");
            Room::new(id, dice.pick(&inboxes))
        });
        Platform {
            rooms: rooms.collect(),
            people: (1..).map(person).take(self.agents).collect(),
            refuses_offline: dice.one_in(2),
            ..Platform::default()
        }
    }
}
