//! Who is at work: customers who write at a given rate whatever the answers, agents who serve for a while and go for
//! lunch, and people in the dashboard who take, move and close chats by hand.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::{Duration, Instant},
};

use sebastian_core::AgentId;
use sebastian_platform::simulated::{Change, Simulated};
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    dice::Dice,
    post::{Kind, Letter, Post},
};
use crate::acceptance::house::WA;

/// How often to look for chats that were given to somebody.
const LOOK: Duration = Duration::from_millis(50);

/// How long an agent serves a customer, in ms.
const SERVED_MS: (u64, u64) = (2_000, 10_000);

/// Rooms whose chat was over lately: returning customers are among them.
const OLD_ROOMS: usize = 2_000;

/// Between two agents who leave their desk, and for how long they do, in ms.
const AWAY_EVERY_MS: (u64, u64) = (4_000, 12_000);
const AWAY_MS: (u64, u64) = (3_000, 25_000);

/// A room's session.
type Session = (Arc<str>, i64);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Write,
    WriteAgain(Session),
    Take(Session),
    Move(Session),
    Resolve(Session),
    Leave,
    Return(AgentId),
    Copy(Letter),
}

/// What the load was.
#[derive(Debug, Default)]
pub struct Worked {
    /// When each session was due to open.
    pub opened: BTreeMap<i64, Instant>,
    /// Rooms that ever were.
    pub rooms: Vec<Arc<str>>,
    /// Deeds of people in the dashboard that took effect.
    pub taken: u64,
    pub moved: u64,
    pub resolved: u64,
    pub returned: u64,
}

pub struct People {
    platform: Simulated,
    post: Arc<Post>,
    dice: Dice,
    /// Those who are dealt chats, and may leave.
    agents: Vec<AgentId>,
    /// Whom people in the dashboard move chats to.
    targets: Vec<AgentId>,
    gap_us: u64,
    due: BinaryHeap<Reverse<(Instant, Deed)>>,
    seen: usize,
    old: Vec<Arc<str>>,
    sending: JoinSet<()>,
    worked: Worked,
}

impl People {
    /// `rate` customers write a second.
    pub fn new(
        platform: Simulated,
        post: Arc<Post>,
        dice: Dice,
        agents: Vec<AgentId>,
        targets: Vec<AgentId>,
        rate: u32,
    ) -> Self {
        let due = [Deed::Write, Deed::Leave].map(|deed| Reverse((Instant::now(), deed)));
        Self {
            platform,
            post,
            dice,
            agents,
            targets,
            gap_us: 1_000_000 / u64::from(rate.max(1)),
            due: BinaryHeap::from(due),
            seen: 0,
            old: Vec::new(),
            sending: JoinSet::new(),
            worked: Worked::default(),
        }
    }

    /// Works until told to stop, then calls everybody back to their desks and waits for the last webhook's answer.
    pub async fn work(mut self, stop: CancellationToken) -> Worked {
        while !stop.is_cancelled() {
            self.look();
            while let Some(Reverse((at, _))) = self.due.peek()
                && *at <= Instant::now()
                && let Some(Reverse((at, deed))) = self.due.pop()
            {
                self.perform(at, deed);
            }
            while self.sending.try_join_next().is_some() {}
            let soon = Instant::now() + LOOK;
            let next = self.due.peek().map_or(soon, |Reverse((at, _))| soon.min(*at));
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(next.into()) => {}
            }
        }
        for agent in &self.agents {
            self.platform.set_presence(*agent, true);
        }
        // What is late comes now: no webhook is under way afterwards.
        for Reverse((at, deed)) in std::mem::take(&mut self.due) {
            if let Deed::Copy(_) = deed {
                self.perform(at.min(Instant::now()), deed);
            }
        }
        while self.sending.join_next().await.is_some() {}
        self.worked
    }

    fn plan(&mut self, at: Instant, deed: Deed) {
        self.due.push(Reverse((at, deed)));
    }

    /// Whoever was given a chat serves it for a while.
    fn look(&mut self) {
        let seen = self.seen;
        let (fresh, len) =
            self.platform.read(|state| (state.applied()[seen..].to_vec(), state.applied().len()));
        self.seen = len;
        for applied in fresh {
            if let Change::Assigned { .. } = applied.change {
                let span = self.dice.ms(SERVED_MS.0, SERVED_MS.1);
                let session = (applied.room, applied.service);
                if self.dice.percent(4) {
                    self.plan(applied.at + span / 2, Deed::Move(session.clone()));
                }
                self.plan(applied.at + span, Deed::Resolve(session));
            }
        }
    }

    fn perform(&mut self, at: Instant, deed: Deed) {
        match deed {
            Deed::Write => {
                self.customer_writes(at);
                let gap = Duration::from_micros(self.dice.between(0, 2 * self.gap_us));
                self.plan(at + gap, Deed::Write);
            }
            Deed::WriteAgain(session) => {
                if self.is_open(&session)
                    && let Some(body) = self.platform.new_chat(&session.0, WA)
                {
                    self.send(Kind::Allocate, &session, &body, at);
                }
            }
            Deed::Take(session) => {
                let agent = self.dice.pick(&self.targets);
                let is_free = self.platform.agent_of(&session.0).is_none() && self.is_open(&session);
                if is_free && self.platform.dashboard_assign(&session.0, agent) {
                    self.worked.taken += 1;
                }
            }
            Deed::Move(session) => {
                let to = self.dice.pick(&self.targets);
                if self.is_open(&session) && self.platform.dashboard_transfer(&session.0, to) {
                    self.worked.moved += 1;
                }
            }
            Deed::Resolve(session) => self.resolve(&session, at),
            Deed::Leave => {
                let agent = self.dice.pick(&self.agents);
                self.platform.set_presence(agent, false);
                let span = self.dice.ms(AWAY_MS.0, AWAY_MS.1);
                self.plan(at + span, Deed::Return(agent));
                let next = self.dice.ms(AWAY_EVERY_MS.0, AWAY_EVERY_MS.1);
                self.plan(at + next, Deed::Leave);
            }
            Deed::Return(agent) => drop(self.platform.set_presence(agent, true)),
            Deed::Copy(letter) => self.post(letter, at),
        }
    }

    /// A new customer, or one who was here before.
    fn customer_writes(&mut self, at: Instant) {
        let back = self.dice.percent(15).then(|| self.dice.below(self.old.len()));
        let back = back.and_then(|one| (one < self.old.len()).then(|| self.old.swap_remove(one)));
        let room = match back {
            Some(room) => {
                self.worked.returned += 1;
                room
            }
            None => {
                let room: Arc<str> = (470_000_001 + self.worked.rooms.len()).to_string().into();
                self.worked.rooms.push(room.clone());
                room
            }
        };
        let Some(body) = self.platform.new_chat(&room, WA) else { return };
        let Some(service) = self.platform.read(|state| state.room(&room)?.service()) else { return };
        self.worked.opened.insert(service, at);
        let session = (room, service);
        self.send(Kind::Allocate, &session, &body, at);
        for (percent, (least, most), deed) in [
            (8, (300, 5_000), Deed::WriteAgain(session.clone())),
            (2, (0, 200), Deed::Take(session.clone())),
            (2, (0, 2_000), Deed::Resolve(session)),
        ] {
            if self.dice.percent(percent) {
                let span = self.dice.ms(least, most);
                self.plan(at + span, deed);
            }
        }
    }

    fn resolve(&mut self, session: &Session, at: Instant) {
        if !self.is_open(session) {
            return;
        }
        let Some(body) = self.platform.resolve(&session.0, None) else { return };
        self.worked.resolved += 1;
        if self.old.len() == OLD_ROOMS {
            let oldest = self.dice.below(OLD_ROOMS);
            self.old.swap_remove(oldest);
        }
        self.old.push(session.0.clone());
        self.send(Kind::Resolve, session, &body, at);
    }

    fn is_open(&self, (room, service): &Session) -> bool {
        self.platform.read(|state| state.room(room).is_some_and(|room| room.service() == Some(*service)))
    }

    /// Sends a webhook as the weather has it.
    fn send(&mut self, kind: Kind, (room, session): &Session, body: &Value, at: Instant) {
        let letter = Letter { kind, room: room.to_string(), session: *session, body: body.to_string() };
        let weather = *self.post.weather();
        if self.dice.percent(weather.lost) {
            self.post.mail().lost += 1;
            return;
        }
        if self.dice.percent(weather.doubled) {
            self.post.mail().doubled += 1;
            let span = self.dice.ms(0, 15_000);
            self.plan(at + span, Deed::Copy(letter.clone()));
        }
        if self.dice.percent(weather.late) {
            self.post.mail().late += 1;
            let span = self.dice.ms(500, 12_000);
            self.plan(at + span, Deed::Copy(letter));
            return;
        }
        self.post(letter, at);
    }

    fn post(&mut self, letter: Letter, at: Instant) {
        let post = Arc::clone(&self.post);
        self.sending.spawn(async move { post.send(letter, at).await });
    }
}
