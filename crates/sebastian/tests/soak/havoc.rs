//! What goes wrong, when, and how it is put right again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use sebastian_platform::simulated::{Answer, CountFault, Endpoint, Fault, FaultKind, RosterFault, Target};
use sebastian_testkit::Child;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{dice::Dice, post::Post};
use crate::{acceptance::house::House, processes::address};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    WorkerKilled,
    WorkerStopped,
    IngestKilled,
    AllKilled,
    RedisKilled,
    RedisEmptied,
    RedisStopped,
    PostgresStopped,
    ErrorAfterApply,
    ErrorBeforeApply,
    HangAfterApply,
    HangBeforeApply,
    ConnectionDropped,
    Busy,
    Denied,
    TokensExpired,
    Slow,
    RefusedFresh,
    CountsWrong,
    RosterCut,
    ListsLag,
    WebhooksLost,
    WebhooksDoubled,
    WebhooksLate,
}

impl Kind {
    /// All there are, each as often as it is drawn.
    const DRAWN: [(Kind, usize); 24] = [
        (Kind::WorkerKilled, 4),
        (Kind::WorkerStopped, 3),
        (Kind::IngestKilled, 2),
        (Kind::AllKilled, 1),
        (Kind::RedisKilled, 2),
        (Kind::RedisEmptied, 2),
        (Kind::RedisStopped, 2),
        (Kind::PostgresStopped, 2),
        (Kind::ErrorAfterApply, 3),
        (Kind::ErrorBeforeApply, 2),
        (Kind::HangAfterApply, 3),
        (Kind::HangBeforeApply, 2),
        (Kind::ConnectionDropped, 2),
        (Kind::Busy, 2),
        (Kind::Denied, 2),
        (Kind::TokensExpired, 1),
        (Kind::Slow, 2),
        (Kind::RefusedFresh, 2),
        (Kind::CountsWrong, 2),
        (Kind::RosterCut, 2),
        (Kind::ListsLag, 2),
        (Kind::WebhooksLost, 2),
        (Kind::WebhooksDoubled, 2),
        (Kind::WebhooksLate, 2),
    ];

    fn draw(dice: &mut Dice) -> Self {
        let mut at = dice.below(Self::DRAWN.iter().map(|(_, times)| times).sum());
        let drawn = Self::DRAWN.iter().find(|(_, times)| match at.checked_sub(*times) {
            Some(left) => {
                at = left;
                false
            }
            None => true,
        });
        drawn.map(|(kind, _)| *kind).unwrap()
    }

    /// How it stands in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "kill -9 of a worker",
            Self::WorkerStopped => "SIGSTOP of a worker",
            Self::IngestKilled => "kill -9 of the ingest",
            Self::AllKilled => "kill -9 of everything",
            Self::RedisKilled => "kill -9 of Redis",
            Self::RedisEmptied => "FLUSHALL",
            Self::RedisStopped => "SIGSTOP of Redis",
            Self::PostgresStopped => "PostgreSQL stopped at once",
            Self::ErrorAfterApply => "500 after the assignment",
            Self::ErrorBeforeApply => "502 instead of the assignment",
            Self::HangAfterApply => "no answer after the assignment",
            Self::HangBeforeApply => "no answer and no assignment",
            Self::ConnectionDropped => "connection dropped",
            Self::Busy => "429 with Retry-After",
            Self::Denied => "401",
            Self::TokensExpired => "tokens expired",
            Self::Slow => "slow platform",
            Self::RefusedFresh => "fresh rooms refused",
            Self::CountsWrong => "counts wrong",
            Self::RosterCut => "rosters cut short or empty",
            Self::ListsLag => "lists lag",
            Self::WebhooksLost => "webhooks lost",
            Self::WebhooksDoubled => "webhooks doubled",
            Self::WebhooksLate => "webhooks late",
        }
    }
}

/// What puts a fault right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Repair {
    StartWorker(usize),
    ContinueWorker(usize),
    StartIngest,
    StartRedis,
    ContinueRedis,
    StartPostgres,
    /// By its place in [`Havoc::faults`].
    Platform(usize),
    Weather(Kind),
}

/// How a process or a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Up,
    Stopped,
    Down,
}

pub struct Havoc {
    pub house: House,
    /// How often each kind struck.
    pub struck: BTreeMap<Kind, u32>,
    /// What processes that are gone had printed.
    pub graves: Vec<(String, String)>,
    /// Processes that ended though nobody had ended them.
    pub ended: Vec<String>,
    post: Arc<Post>,
    dice: Dice,
    repairs: BinaryHeap<Reverse<(Instant, Repair)>>,
    faults: Vec<sebastian_platform::simulated::FaultId>,
    workers: Vec<Stand>,
    ingest: Stand,
    redis: Stand,
    postgres: Stand,
}

impl Havoc {
    pub fn new(house: House, post: Arc<Post>, dice: Dice) -> Self {
        Self {
            workers: vec![Stand::Up; house.workers.len()],
            house,
            struck: BTreeMap::new(),
            graves: Vec::new(),
            ended: Vec::new(),
            post,
            dice,
            repairs: BinaryHeap::new(),
            faults: Vec::new(),
            ingest: Stand::Up,
            redis: Stand::Up,
            postgres: Stand::Up,
        }
    }

    /// When the next repair is due.
    pub fn next_repair(&self) -> Option<Instant> {
        self.repairs.peek().map(|Reverse((at, _))| *at)
    }

    /// Lets one thing go wrong; another one where the first drawn is under way already.
    pub async fn strike(&mut self) -> Kind {
        loop {
            let kind = Kind::draw(&mut self.dice);
            if self.happens(kind).await {
                *self.struck.entry(kind).or_default() += 1;
                return kind;
            }
        }
    }

    /// Puts right what is due by now.
    pub async fn repair(&mut self) {
        while self.next_repair().is_some_and(|at| at <= Instant::now()) {
            if let Some(Reverse((_, repair))) = self.repairs.pop() {
                self.put_right(repair).await;
            }
        }
    }

    /// Puts everything right and returns when every process is up.
    pub async fn heal(&mut self) {
        let mut repairs: Vec<Repair> = self.repairs.drain().map(|Reverse((_, repair))| repair).collect();
        // Servers before those who wait for them.
        repairs.sort_by_key(|repair| !matches!(repair, Repair::StartPostgres | Repair::StartRedis));
        for repair in repairs {
            self.put_right(repair).await;
        }
        self.house.platform.clear_faults();
        for worker in &self.house.workers {
            address(worker).await;
        }
    }

    /// Writes down who ended by themselves, and starts them again.
    pub fn look(&mut self) {
        for worker in 0..self.workers.len() {
            if self.workers[worker] == Stand::Up
                && let Some(status) = self.house.workers[worker].exited()
            {
                self.ended.push(format!("worker {worker} ended by itself: {status}"));
                self.start_worker(worker);
            }
        }
        if self.ingest == Stand::Up
            && let Some(status) = self.house.ingest.exited()
        {
            self.ended.push(format!("the ingest ended by itself: {status}"));
            self.ingest = Stand::Down;
            self.repairs.push(Reverse((Instant::now(), Repair::StartIngest)));
        }
    }

    fn later(&mut self, least_ms: u64, most_ms: u64, repair: Repair) {
        let at = Instant::now() + self.dice.ms(least_ms, most_ms);
        self.repairs.push(Reverse((at, repair)));
    }

    async fn happens(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::WorkerKilled => self.kill_worker(),
            Kind::WorkerStopped => self.stop_worker(),
            Kind::IngestKilled => self.kill_ingest(),
            Kind::AllKilled => {
                if !self.kill_ingest() {
                    return false;
                }
                while self.kill_worker() {}
                true
            }
            Kind::RedisKilled | Kind::RedisStopped => self.break_redis(kind),
            Kind::RedisEmptied => self.empty_redis().await,
            Kind::PostgresStopped => self.stop_postgres().await,
            Kind::WebhooksLost | Kind::WebhooksDoubled | Kind::WebhooksLate => self.change_weather(kind),
            Kind::TokensExpired => {
                self.house.platform.expire_tokens();
                true
            }
            _ => {
                let (faults, least, most) = self.platform_fault(kind);
                for fault in faults {
                    self.faults.push(self.house.platform.set_fault(fault));
                    let place = self.faults.len() - 1;
                    self.later(least, most, Repair::Platform(place));
                }
                true
            }
        }
    }

    fn kill_worker(&mut self) -> bool {
        let up: Vec<usize> = (0..self.workers.len()).filter(|one| self.workers[*one] == Stand::Up).collect();
        if up.is_empty() {
            return false;
        }
        let worker = self.dice.pick(&up);
        self.house.workers[worker].kill9();
        self.workers[worker] = Stand::Down;
        self.later(500, 5_000, Repair::StartWorker(worker));
        true
    }

    /// One at a time, and never the last one up.
    fn stop_worker(&mut self) -> bool {
        let up: Vec<usize> = (0..self.workers.len()).filter(|one| self.workers[*one] == Stand::Up).collect();
        if up.len() < 2 || self.workers.contains(&Stand::Stopped) {
            return false;
        }
        let worker = self.dice.pick(&up);
        self.house.workers[worker].stop();
        self.workers[worker] = Stand::Stopped;
        self.later(2_000, 60_000, Repair::ContinueWorker(worker));
        true
    }

    /// Not while PostgreSQL is down: the one that follows could not start.
    fn kill_ingest(&mut self) -> bool {
        if self.ingest != Stand::Up || self.postgres != Stand::Up {
            return false;
        }
        self.house.ingest.kill9();
        self.ingest = Stand::Down;
        self.later(200, 3_000, Repair::StartIngest);
        true
    }

    fn break_redis(&mut self, kind: Kind) -> bool {
        if self.redis != Stand::Up {
            return false;
        }
        if kind == Kind::RedisStopped {
            self.house.redis().pause();
            self.redis = Stand::Stopped;
            self.later(1_000, 10_000, Repair::ContinueRedis);
        } else {
            self.house.redis().kill9();
            self.redis = Stand::Down;
            self.later(100, 10_000, Repair::StartRedis);
        }
        true
    }

    /// Without waiting for the answer, which may take a while on a busy machine.
    async fn empty_redis(&mut self) -> bool {
        if self.redis != Stand::Up {
            return false;
        }
        let Ok(mut redis) = TcpStream::connect(self.house.redis().address()).await else { return false };
        redis.write_all(b"FLUSHALL\r\n").await.is_ok()
    }

    async fn stop_postgres(&mut self) -> bool {
        if self.postgres != Stand::Up || self.ingest != Stand::Up {
            return false;
        }
        self.house.postgres.as_ref().unwrap().stop_immediate().await;
        self.postgres = Stand::Down;
        self.later(0, 10_000, Repair::StartPostgres);
        true
    }

    fn change_weather(&mut self, kind: Kind) -> bool {
        let percent = self.dice.between(10, 60);
        let mut weather = self.post.weather();
        let which = match kind {
            Kind::WebhooksLost => &mut weather.lost,
            Kind::WebhooksDoubled => &mut weather.doubled,
            _ => &mut weather.late,
        };
        if *which > 0 {
            return false;
        }
        *which = percent;
        drop(weather);
        self.later(2_000, 10_000, Repair::Weather(kind));
        true
    }

    /// What goes wrong on the platform, and for how long, in ms.
    fn platform_fault(&mut self, kind: Kind) -> (Vec<Fault>, u64, u64) {
        let assign = Endpoint::Assign;
        let percent = u8::try_from(self.dice.between(10, 60)).unwrap();
        let some = |fault: Fault| vec![fault.percent(percent)];
        match kind {
            Kind::ErrorAfterApply => (some(Fault::after_apply(assign, Answer::Status(500))), 1_000, 8_000),
            Kind::ErrorBeforeApply => (some(Fault::instead(assign, Answer::Status(502))), 1_000, 8_000),
            Kind::HangAfterApply => (some(Fault::after_apply(assign, Answer::Hang)), 1_000, 6_000),
            Kind::HangBeforeApply => (some(Fault::instead(assign, Answer::Hang)), 1_000, 6_000),
            Kind::ConnectionDropped => {
                (some(Fault::after_apply(Target::Everything, Answer::Drop)), 1_000, 8_000)
            }
            Kind::Busy => {
                let after = self.dice.between(1, 5).to_string();
                let fault = Fault::instead(Target::Everything, Answer::RetryAfter(429, after));
                (vec![fault], 500, 4_000)
            }
            Kind::Denied => (vec![Fault::instead(Target::Everything, Answer::Status(401))], 1_000, 15_000),
            Kind::Slow => {
                let (min, max) = (Duration::from_millis(50), Duration::from_millis(900));
                (vec![Fault::new(assign, FaultKind::Latency { min, max })], 2_000, 15_000)
            }
            Kind::RefusedFresh => {
                (some(Fault::new(assign, FaultKind::ExceedOnFreshRoom { first: 1 })), 2_000, 10_000)
            }
            Kind::CountsWrong => {
                let lag = CountFault::Lag(Duration::from_secs(3));
                let how = [lag, CountFault::Frozen, CountFault::Missing, CountFault::Negative];
                (vec![Fault::counts(self.dice.pick(&how))], 2_000, 15_000)
            }
            Kind::RosterCut => {
                let how = [RosterFault::Empty, RosterFault::Partial(5), RosterFault::Duplicates];
                (vec![Fault::roster(self.dice.pick(&how))], 2_000, 15_000)
            }
            _ => {
                let lag = FaultKind::RoomsLag(self.dice.ms(500, 4_000));
                let dirty = Fault::new(Endpoint::Rooms, FaultKind::DirtyRows(3));
                (vec![Fault::new(Endpoint::Rooms, lag), dirty], 5_000, 20_000)
            }
        }
    }

    async fn put_right(&mut self, repair: Repair) {
        match repair {
            Repair::StartWorker(worker) => self.start_worker(worker),
            Repair::ContinueWorker(worker) => {
                self.house.workers[worker].cont();
                self.workers[worker] = Stand::Up;
            }
            Repair::StartIngest => {
                self.graves.push(("ingest".to_owned(), self.house.ingest.output()));
                self.house.replace_ingest().await;
                self.post.moved(&self.house.ingest_address);
                self.ingest = Stand::Up;
            }
            Repair::StartRedis => {
                self.house.redis().restart().await;
                self.redis = Stand::Up;
            }
            Repair::ContinueRedis => {
                self.house.redis().resume();
                self.redis = Stand::Up;
            }
            Repair::StartPostgres => {
                self.house.postgres.as_ref().unwrap().start().await;
                self.postgres = Stand::Up;
            }
            Repair::Platform(place) => drop(self.house.platform.clear_fault(self.faults[place])),
            Repair::Weather(Kind::WebhooksLost) => self.post.weather().lost = 0,
            Repair::Weather(Kind::WebhooksDoubled) => self.post.weather().doubled = 0,
            Repair::Weather(_) => self.post.weather().late = 0,
        }
    }

    /// It may take a while to come up, as when PostgreSQL is down: nobody waits for it here.
    fn start_worker(&mut self, worker: usize) {
        let fresh: Child = self.house.start_worker(&[]);
        let gone = mem::replace(&mut self.house.workers[worker], fresh);
        self.graves.push((format!("worker {worker}"), gone.output()));
        self.workers[worker] = Stand::Up;
    }
}
