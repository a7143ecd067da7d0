//! The hour, written down before it is played: who comes when, how long each chat keeps an agent, what goes wrong.
//!
//! Everything here is a time of the desk's clock and follows from the arguments and the seed alone. What cannot be
//! known beforehand, as when somebody is served, is told by its distance: a customer returns so long *after* their
//! chat was resolved.

use std::time::Duration;

use sebastian_core::{AgentId, InboxId};
use sebastian_platform::simulated::{AgentSpec, Channel, SimulatedConfig};

use super::{dice::Dice, names};

/// The last customer comes at this minute; the rest of the hour drains the desk.
const DOORS_CLOSE: Duration = minutes(51);

/// Those who come back came early enough to be done and return within the hour.
const RETURNERS_COME_BY: Duration = minutes(30);

/// The lunch peak, when breaks are taken, and when somebody loses patience and moves chats about in the dashboard.
const PEAK: (Duration, Duration) = (minutes(6), minutes(34));
const BREAKS: (Duration, Duration) = (minutes(5), minutes(44));
const IMPATIENCE: (Duration, Duration) = (minutes(18), minutes(32));

/// So many of a hundred customers come in the peak, and so many together in a few bursts.
const PEAK_PERCENT: u64 = 42;
const BURST_PERCENT: u64 = 13;
const BURSTS: usize = 3;
const BURST_LENGTH: Duration = Duration::from_secs(40);

/// So many of a hundred chats are of somebody who was here before, and so many of somebody who cannot wait.
const RETURN_PERCENT: u32 = 12;
const IMPATIENT_PERCENT: u64 = 18;
const NUDGES_MAX: u64 = 3;
const NUDGE_AFTER: (Duration, Duration) = (Duration::from_secs(25), Duration::from_secs(70));
const RETURN_AFTER: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(480));

/// How much of the desk is needed on average while the doors are open: less, and no queue forms at the peak; more,
/// and none drains.
const LOAD_PERCENT: u64 = 76;

/// Whatever that gives, a chat takes about this long.
const HANDLING: (Duration, Duration) = (Duration::from_secs(20), minutes(9));

/// One chat of so many: its webhook never comes, neither the one that opens it nor, for another, the one that closes.
const CHATS_PER_LOST_WEBHOOK: u32 = 120;

/// One break, and one move in the dashboard of each kind, for so many agents.
const AGENTS_PER_BREAK: usize = 4;
const AGENTS_PER_MOVE: usize = 6;
const BREAK_LENGTH: (Duration, Duration) = (minutes(5), minutes(10));

const FIRST_AGENT: i64 = 300_001;
const FIRST_ROOM: u64 = 4_711_000;

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// What happens in the hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// What it follows from, beside the figures of the desk.
    pub seed: u64,
    /// Everybody who can log in at the platform; those who serve have role agent.
    pub staff: Vec<AgentSpec>,
    /// By the time they first write.
    pub customers: Vec<Customer>,
    /// By time.
    pub events: Vec<(Duration, Event)>,
    /// Most open chats an agent may hold.
    pub capacity: u32,
}

/// One who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Customer {
    pub name: &'static str,
    pub room: String,
    pub channel: InboxId,
    /// At least one, one after the other.
    pub chats: Vec<Chat>,
}

/// One chat of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chat {
    /// Since the beginning, or since the customer's chat before this one was resolved.
    pub after: Duration,
    /// Pauses after which the customer writes again while nobody has come.
    pub nudges: Vec<Duration>,
    /// How long it keeps its agent.
    pub handling: Duration,
    /// Webhooks the platform fails to send for it.
    pub lost: Lost,
}

/// Which of a chat's webhooks never come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub opening: bool,
    pub closing: bool,
}

/// What else happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An agent goes on a break, or is back.
    Presence { agent: AgentId, online: bool },
    /// Somebody gives whoever waits longest to an agent in the dashboard, full or not. The number picks the agent.
    Give { pick: u64 },
    /// Somebody moves a chat from its agent to another. The number picks both.
    Transfer { pick: u64 },
}

/// How much there is of what, the same for the same seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub chats: usize,
    pub customers: usize,
    pub returns: usize,
    pub nudges: usize,
    pub breaks: usize,
    pub moves: usize,
    pub lost_webhooks: usize,
}

impl Script {
    /// Writes the hour of `chats` chats for `agents` agents who may hold `capacity` each.
    pub fn write(chats: u32, agents: u32, capacity: u32, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut tenant = SimulatedConfig::tenant();
        let channels = std::mem::take(&mut tenant.channels);
        let agents = staff(tenant.agents, agents, &channels);
        let serving: Vec<AgentId> = agents.1;
        let returns = chats * RETURN_PERCENT / 100;
        let mean = mean_handling(chats, serving.len(), capacity);
        let mut customers = customers(chats - returns, mean, &channels, &mut dice);
        come_back(&mut customers, returns, mean, &mut dice);
        lose_webhooks(&mut customers, chats / CHATS_PER_LOST_WEBHOOK, &mut dice);
        Self { seed, staff: agents.0, customers, events: events(&serving, &mut dice), capacity }
    }

    /// How much there is of what.
    pub fn figures(&self) -> Figures {
        let chats = || self.customers.iter().flat_map(|customer| &customer.chats);
        let lost = |chat: &Chat| usize::from(chat.lost.opening) + usize::from(chat.lost.closing);
        let breaks = |event: &&(Duration, Event)| matches!(event.1, Event::Presence { online: false, .. });
        let moves =
            |event: &&(Duration, Event)| matches!(event.1, Event::Give { .. } | Event::Transfer { .. });
        Figures {
            chats: chats().count(),
            customers: self.customers.len(),
            returns: chats().count() - self.customers.len(),
            nudges: chats().map(|chat| chat.nudges.len()).sum(),
            breaks: self.events.iter().filter(breaks).count(),
            moves: self.events.iter().filter(moves).count(),
            lost_webhooks: chats().map(lost).sum(),
        }
    }

    /// How long the shortest chat keeps its agent.
    pub fn shortest_chat(&self) -> Duration {
        let chats = self.customers.iter().flat_map(|customer| &customer.chats);
        chats.map(|chat| chat.handling).min().unwrap_or_default()
    }

    /// The longest time in which nothing need happen though all is well.
    pub fn longest_pause(&self) -> Duration {
        let chats = self.customers.iter().flat_map(|customer| &customer.chats);
        chats.map(|chat| chat.handling).max().unwrap_or_default() + RETURN_AFTER.1
    }
}

/// The owner and the agents, each of whom serves every channel, so that there is one line for all.
fn staff(tenant: Vec<AgentSpec>, agents: u32, channels: &[Channel]) -> (Vec<AgentSpec>, Vec<AgentId>) {
    let all: Vec<InboxId> = channels.iter().map(|channel| channel.id).collect();
    let serving = (0..agents).map(|index| {
        let name = names::agent(usize::try_from(index).unwrap_or_default());
        let email = format!("agent{index}@tokosenja.example");
        AgentSpec { email, ..AgentSpec::online(FIRST_AGENT + i64::from(index), &name, &all) }
    });
    let serving: Vec<AgentSpec> = serving.collect();
    let ids = serving.iter().map(|agent| agent.id).collect();
    let others = tenant.into_iter().filter(|spec| spec.role != sebastian_core::Role::Agent);
    (others.chain(serving).collect(), ids)
}

/// As long as makes [`LOAD_PERCENT`] of the desk, within reason.
fn mean_handling(chats: u32, agents: usize, capacity: u32) -> Duration {
    let slots = agents as u64 * u64::from(capacity);
    let open_ms = u64::try_from(DOORS_CLOSE.as_millis()).unwrap_or(u64::MAX);
    let mean = Duration::from_millis(open_ms * slots / u64::from(chats.max(1)) * LOAD_PERCENT / 100);
    mean.clamp(HANDLING.0, HANDLING.1)
}

fn customers(count: u32, mean: Duration, channels: &[Channel], dice: &mut Dice) -> Vec<Customer> {
    let bursts: Vec<Duration> =
        (0..BURSTS).map(|_| dice.between(PEAK.0, PEAK.1.saturating_sub(BURST_LENGTH))).collect();
    let mut arrivals: Vec<Duration> = (0..count).map(|_| arrival(&bursts, dice)).collect();
    arrivals.sort_unstable();
    let customers = arrivals.into_iter().zip(0_u64..).map(|(arrives, index)| Customer {
        name: names::customer(usize::try_from(dice.below(1_000)).unwrap_or_default()),
        room: (FIRST_ROOM + index).to_string(),
        channel: dice.pick(channels).map_or(InboxId(0), |channel| channel.id),
        chats: vec![chat(arrives, mean, dice)],
    });
    customers.collect()
}

/// When somebody first writes: at any time, in the peak, or with many others at once.
fn arrival(bursts: &[Duration], dice: &mut Dice) -> Duration {
    if dice.percent(PEAK_PERCENT) {
        let (begin, end) = PEAK;
        // Three throws together gather in the middle.
        return (0..3).map(|_| dice.between(begin, end)).sum::<Duration>() / 3;
    }
    if dice.below(100 - PEAK_PERCENT) < BURST_PERCENT
        && let Some(burst) = dice.pick(bursts)
    {
        return *burst + dice.between(Duration::ZERO, BURST_LENGTH);
    }
    dice.between(Duration::ZERO, DOORS_CLOSE)
}

fn chat(after: Duration, mean: Duration, dice: &mut Dice) -> Chat {
    let nudges = if dice.percent(IMPATIENT_PERCENT) { 1 + dice.below(NUDGES_MAX) } else { 0 };
    Chat {
        after,
        nudges: (0..nudges).map(|_| dice.between(NUDGE_AFTER.0, NUDGE_AFTER.1)).collect(),
        handling: dice.between(mean * 2 / 5, mean * 8 / 5),
        lost: Lost::default(),
    }
}

/// Gives `returns` of the early customers one chat more; some have several.
fn come_back(customers: &mut [Customer], returns: u32, mean: Duration, dice: &mut Dice) {
    let early = customers.partition_point(|customer| customer.chats[0].after <= RETURNERS_COME_BY);
    let candidates = early.max(1).min(customers.len());
    for _ in 0..returns {
        let index = usize::try_from(dice.below(candidates as u64)).unwrap_or_default();
        let after = dice.between(RETURN_AFTER.0, RETURN_AFTER.1);
        let chat = chat(after, mean, dice);
        if let Some(customer) = customers.get_mut(index) {
            customer.chats.push(chat);
        }
    }
}

/// Loses `count` webhooks that open chats and as many that close others.
fn lose_webhooks(customers: &mut [Customer], count: u32, dice: &mut Dice) {
    let mut unlucky: Vec<usize> = (0..customers.len()).collect();
    dice.shuffle(&mut unlucky);
    let mut unlucky = unlucky.into_iter();
    for _ in 0..count {
        for opening in [true, false] {
            let Some(index) = unlucky.next() else { return };
            customers[index].chats[0].lost = Lost { opening, closing: !opening };
        }
    }
}

fn events(agents: &[AgentId], dice: &mut Dice) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    let mut tired = agents.to_vec();
    dice.shuffle(&mut tired);
    tired.truncate(agents.len().div_ceil(AGENTS_PER_BREAK));
    for agent in tired {
        let goes = dice.between(BREAKS.0, BREAKS.1);
        let back = goes + dice.between(BREAK_LENGTH.0, BREAK_LENGTH.1);
        events.push((goes, Event::Presence { agent, online: false }));
        events.push((back, Event::Presence { agent, online: true }));
    }
    for _ in 0..agents.len().div_ceil(AGENTS_PER_MOVE) {
        events.push((dice.between(IMPATIENCE.0, IMPATIENCE.1), Event::Give { pick: dice.below(u64::MAX) }));
        events
            .push((dice.between(IMPATIENCE.0, IMPATIENCE.1), Event::Transfer { pick: dice.below(u64::MAX) }));
    }
    events.sort_by_key(|(at, _)| *at);
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::pace::HOUR;

    #[test]
    fn the_same_seed_writes_the_same_hour() {
        assert_eq!(Script::write(300, 12, 3, 7), Script::write(300, 12, 3, 7));
        assert_ne!(Script::write(300, 12, 3, 7), Script::write(300, 12, 3, 8));
    }

    #[test]
    fn an_hour_holds_what_was_asked_for_whatever_the_figures() {
        for (chats, agents, capacity) in
            [(1, 1, 1), (2, 1_000, 100), (40, 4, 3), (300, 12, 3), (20_000, 1, 1)]
        {
            for seed in 0..20 {
                let script = Script::write(chats, agents, capacity, seed);
                let figures = script.figures();
                assert_eq!(figures.chats, chats as usize);
                assert_eq!(figures.customers + figures.returns, figures.chats);
                assert_eq!(script.staff.len(), agents as usize + 2, "the owner and a supervisor stand by");
                assert!(script.customers.iter().all(|customer| customer.chats[0].after <= DOORS_CLOSE));
                assert!(script.events.iter().all(|(at, _)| *at < HOUR), "everybody is back by the end");
            }
        }
    }

    #[test]
    fn the_peak_needs_more_than_the_desk_has() {
        let script = Script::write(300, 12, 3, 7);
        let peak = |customer: &&Customer| (minutes(15)..minutes(25)).contains(&customer.chats[0].after);
        let asked: Duration = script.customers.iter().filter(peak).map(|one| one.chats[0].handling).sum();
        assert!(asked > minutes(10) * 36, "{asked:?}");
    }
}
