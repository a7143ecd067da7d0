//! The people of a run: customers who write and agents who finish chats, each when it is due, whatever the answers. On a
//! thread of its own that sleeps to the microsecond, for tokio's timers sleep to the millisecond.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sebastian_core::AgentId;
use sebastian_platform::simulated::{Change, Simulated, SimulatedConfig};
use tokio::sync::mpsc;

use super::client::{self, Job, What};
use crate::{
    acceptance::house::WA,
    soak::{dice::Dice, post::Kind},
};

/// How often to look for chats that were given to somebody. They are served for seconds, counted from when it happened.
const LOOK: Duration = Duration::from_millis(10);

/// The first room's number; all have as many digits.
pub const FIRST_ROOM: u64 = 470_000_001;

/// What is due next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Write,
    Resolve { room: u64, agent: AgentId },
}

/// Tells people to stop, and how far they are.
#[derive(Debug, Default)]
pub struct Watch {
    /// No more customers write, and nobody finishes a chat.
    pub is_over: AtomicBool,
    /// Customers who wrote.
    pub wrote: AtomicU64,
}

/// Who writes and who serves.
pub struct People {
    pub platform: Simulated,
    pub jobs: mpsc::UnboundedSender<Job>,
    pub dice: Dice,
    /// Customers a second.
    pub rate: u32,
    /// How long an agent serves a chat, in ms.
    pub serve_ms: (u64, u64),
    /// Of the first customer.
    pub first_room: u64,
    pub watch: Arc<Watch>,
}

impl People {
    /// Works until told to stop.
    pub fn start(self) -> thread::JoinHandle<()> {
        thread::Builder::new().name("load-people".to_owned()).spawn(move || self.work()).unwrap()
    }

    fn work(mut self) {
        let gap_us = u64::from(1_000_000 / self.rate.max(1)).max(1);
        let mut due = BinaryHeap::from([Reverse((Instant::now(), Deed::Write))]);
        let (mut seen, mut room) = (0, self.first_room);
        let mut next_look = Instant::now();
        while !self.watch.is_over.load(Ordering::Relaxed) {
            if next_look <= Instant::now() {
                self.look(&mut seen, &mut due);
                next_look = Instant::now() + LOOK;
            }
            let Some(Reverse((at, deed))) = due.peek().copied() else { continue };
            let now = Instant::now();
            if at > now {
                thread::sleep((at - now).min(next_look.saturating_duration_since(now)));
                continue;
            }
            due.pop();
            match deed {
                Deed::Write => {
                    self.write(room, at);
                    room += 1;
                    let gap = Duration::from_micros(self.dice.between(0, 2 * gap_us));
                    due.push(Reverse((at + gap, Deed::Write)));
                }
                Deed::Resolve { room, agent } => self.resolve(room, agent, at),
            }
        }
    }

    /// Whoever was given a chat serves it for a while.
    fn look(&mut self, seen: &mut usize, due: &mut BinaryHeap<Reverse<(Instant, Deed)>>) {
        let from = *seen;
        let (fresh, len) =
            self.platform.read(|state| (state.applied()[from..].to_vec(), state.applied().len()));
        *seen = len;
        for applied in fresh {
            if let Change::Assigned { agent, .. } = applied.change {
                let span = self.dice.ms(self.serve_ms.0, self.serve_ms.1);
                let room = applied.room.parse().unwrap();
                due.push(Reverse((applied.at + span, Deed::Resolve { room, agent })));
            }
        }
    }

    fn write(&self, room: u64, due: Instant) {
        let body = self.platform.new_chat(&room.to_string(), WA).unwrap();
        self.watch.wrote.fetch_add(1, Ordering::Relaxed);
        self.send(What { kind: Kind::Allocate, room, agent: None }, body.to_string().as_bytes(), due);
    }

    fn resolve(&self, room: u64, agent: AgentId, due: Instant) {
        if let Some(body) = self.platform.resolve(&room.to_string(), None) {
            self.send(
                What { kind: Kind::Resolve, room, agent: Some(agent) },
                body.to_string().as_bytes(),
                due,
            );
        }
    }

    fn send(&self, what: What, body: &[u8], due: Instant) {
        // Nobody listens any more when the run is cut short.
        self.jobs.send(Job { what, due, bytes: client::request(what.kind, body) }).ok();
    }
}

/// Allocations of rooms the platform need not know, written once and copied with another room's number.
pub struct Template {
    /// The request, cut at each place where the room's number stands.
    parts: Vec<Vec<u8>>,
    next: u64,
}

impl Template {
    /// As the platform writes one while somebody is online, whom it then proposes.
    pub fn of(tenant: &SimulatedConfig) -> Self {
        let mut tenant = tenant.clone();
        tenant.agents.iter_mut().for_each(|agent| agent.online = true);
        let platform = Simulated::start(tenant).unwrap();
        let room = FIRST_ROOM.to_string();
        let body = platform.new_chat(&room, WA).unwrap().to_string();
        let request = String::from_utf8(client::request(Kind::Allocate, body.as_bytes())).unwrap();
        let parts = request.split(&room).map(|part| part.as_bytes().to_vec()).collect();
        Self { parts, next: FIRST_ROOM }
    }

    /// The next room's.
    pub fn next(&mut self, due: Instant) -> Job {
        let room = self.next;
        self.next += 1;
        let bytes = self.parts.join(room.to_string().as_bytes());
        Job { what: What { kind: Kind::Allocate, room, agent: None }, due, bytes }
    }

    /// Sends so many a second until told to stop.
    pub fn start(
        mut self,
        rate: u32,
        jobs: mpsc::UnboundedSender<Job>,
        watch: Arc<Watch>,
    ) -> thread::JoinHandle<()> {
        let work = move || {
            let gap = Duration::from_secs(1) / rate.max(1);
            let mut due = Instant::now();
            while !watch.is_over.load(Ordering::Relaxed) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                jobs.send(self.next(due)).ok();
                due += gap;
            }
        };
        thread::Builder::new().name("load-people".to_owned()).spawn(work).unwrap()
    }
}
