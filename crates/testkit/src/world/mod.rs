//! The world simulation: a support desk, played by a seed on one thread, with everything going wrong that may.
//!
//! The rules are the core's and the ledger is the store's own reference model; both run as they are. Played are the
//! platform, the network between, the processes (ingest, workers) as state machines that take the steps the real ones
//! take, the people, and the clocks. One queue of events in order of time holds all there is to happen, so a seed replays
//! to the bit. What must hold is checked at each decision, each minute, and at the end after the last fault.
//!
//! Not played: HTTP, SQL and Redis, which the black-box tests break; questions about single rooms, strays and deliveries.

mod dice;
mod executor;
mod history;
mod keeper;
mod many;
mod matcher;
mod people;
mod plan;
mod platform;
mod verdict;
mod watch;
mod weather;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use sebastian_core::{AccountId, AgentId, EventKind, Roster, Timestamp, Timing, invariants::Violation};
use sebastian_store::{MemoryStore, Store};

use self::{
    dice::Dice,
    history::{Note, Whose},
    matcher::{Step, Worker},
    plan::Plan,
    platform::{Ms, Platform},
    watch::Watch,
    weather::{Fate, Weather},
};
pub use self::{
    many::{Played, play},
    plan::{Bug, Settings},
};

/// When the world begins, by everybody's clock.
const DAWN: i64 = 1_700_000_000_000;

/// Broken promises kept of one run; the first tell the most.
const VIOLATIONS_MAX: usize = 10;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was played.
    pub seed: u64,
    /// Promises broken, the first few.
    pub broken: Vec<Broken>,
    /// Everything that happened, in order, as one number: equal for equal runs.
    pub digest: u64,
    /// Everything that happened, in words, when that was asked for.
    pub history: Vec<String>,
    /// How much happened.
    pub figures: Figures,
    /// How often what went wrong.
    pub faults: BTreeMap<&'static str, u64>,
}

/// A promise that was broken, and how it came to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which, and what was seen.
    pub violation: Violation,
    /// All that befell whom it names, and whatever befell everybody meanwhile; the last lines before it was seen.
    pub story: Vec<String>,
}

/// How much happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sessions customers opened.
    pub sessions: u64,
    /// Events played.
    pub events: u64,
    /// Decisions, those among them that gave nothing out.
    pub decisions: u64,
    /// Slots taken.
    pub reservations: u64,
    /// Assignments the platform made for us.
    pub assignments: u64,
    /// Calls whose outcome the worker was not told.
    pub unknown: u64,
    /// Workers that crashed, or were stopped for a while.
    pub strikes: u64,
    /// Recorded decisions made again.
    pub decided_again: u64,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        let Self { sessions, events, decisions, reservations, assignments, unknown, strikes, decided_again } =
            *other;
        self.sessions += sessions;
        self.events += events;
        self.decisions += decisions;
        self.reservations += reservations;
        self.assignments += assignments;
        self.unknown += unknown;
        self.strikes += strikes;
        self.decided_again += decided_again;
    }
}

impl Report {
    /// The seed, what was broken and how it came to the first, and how to see it again.
    #[must_use]
    pub fn in_words(&self) -> String {
        let lines =
            self.broken.iter().map(|Broken { violation: one, .. }| format!("  {}: {}\n", one.id, one.what));
        let story = self.broken.first().into_iter().flat_map(|first| &first.story);
        let story: String = story.map(|line| format!("    {line}\n")).collect();
        let (seed, lines) = (self.seed, lines.collect::<String>());
        format!(
            "seed {seed}:\n{lines}  how it came to the first:\n{story}  play it again: \
             cargo run -p sebastian-testkit --bin sim -- --seed {seed}\n"
        )
    }
}

/// Plays `seed`. A panic anywhere in the product is a broken promise too.
#[must_use]
pub fn run(seed: u64, settings: &Settings) -> Report {
    let mut world = World::new(seed, settings);
    let played = catch_unwind(AssertUnwindSafe(|| world.play()));
    if let Err(panic) = played {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        let id =
            if words.as_deref().is_some_and(|words| words.contains("slot given back")) { "I9" } else { "I0" };
        world.watch.breaks([Violation { id, what: format!("panicked: {}", words.unwrap_or_default()) }]);
    }
    let assignments = world.platform.applied.len() as u64;
    let Watch { history, broken, figures, .. } = world.watch;
    let told = |(seen, violation): (usize, Violation)| {
        let story = history.story(&violation, seen);
        Broken { violation, story }
    };
    let in_words = history.notes().iter().filter(|_| settings.tells).map(|note| history.in_words(note));
    Report {
        seed,
        broken: broken.into_iter().map(told).collect(),
        digest: history.digest(),
        history: in_words.collect(),
        figures: Figures { assignments, ..figures },
        faults: history.faults.clone(),
    }
}

/// Something that will happen.
#[derive(Debug, Clone)]
enum Event {
    /// A customer writes in a room nobody writes in.
    Customer,
    /// The customer of this room writes again, if they still wait.
    Nag(usize),
    /// The agent of this session is done, or will be later.
    Finish(usize, u64),
    /// Somebody moves something in the dashboard.
    Meddle,
    /// An agent comes or goes.
    Presence,
    /// An operator changes a rule or a conversation.
    Operate,
    /// The bad weather changes.
    Weather,
    /// A webhook arrives: room, session, what, which try.
    Deliver(usize, u64, EventKind, u32),
    /// A call of ours takes effect: whose, for which attempt, whether the worker hears of it, and what.
    Land { worker: usize, life: u32, key: u64, fate: Fate, call: Call },
    /// A worker goes on.
    Work(usize, u32, Step),
    /// A worker that crashed starts again.
    Restart(usize),
    /// What must hold at any time is checked.
    Check,
    /// No more faults for a while, or ever; everybody stops.
    Calm,
    /// Nobody may wait in vain from here on.
    Served,
    /// Everything must add up.
    End,
}

/// An assign on its way.
#[derive(Debug, Clone)]
struct Call {
    room: usize,
    agent: AgentId,
    replacing: Option<AgentId>,
    nth: u64,
}

struct Due {
    at: Ms,
    nth: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

struct World {
    now: Ms,
    nth: u64,
    due: BinaryHeap<Reverse<Due>>,
    dice: Dice,
    plan: Plan,
    bug: Option<Bug>,
    clock: Arc<AtomicI64>,
    store: MemoryStore,
    account: AccountId,
    platform: Platform,
    workers: Vec<Worker>,
    /// What the leader published last.
    cache: Arc<Roster>,
    weather: Weather,
    watch: Watch,
    /// Nothing goes wrong and nobody begins anything.
    is_calm: bool,
    /// When it is calm next.
    calm_at: Ms,
    /// Grows with whatever may give a sweep something to do.
    stirred: u64,
    /// What had stirred when a sweep last found nothing, and when that was.
    found_nothing: Option<(u64, Ms)>,
    /// Nothing in the ledger waits, is under way or in doubt: whoever sweeps finds nothing.
    is_at_rest: bool,
}

impl World {
    fn new(seed: u64, settings: &Settings) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice, settings);
        let clock = Arc::new(AtomicI64::new(DAWN));
        let ledger_clock = clock.clone();
        let store = MemoryStore::with_clock(Timing::default(), move || {
            Timestamp::from_millis(ledger_clock.load(Ordering::Relaxed))
        });
        let account =
            now(store.open_account("simulated", "world")).expect("the ledger in memory never fails");
        let workers = (0..plan.workers).map(|_| Worker::new(&mut dice)).collect();
        let mut world = Self {
            now: 0,
            nth: 0,
            due: BinaryHeap::new(),
            platform: plan.platform(&mut dice),
            dice,
            bug: settings.bug,
            clock,
            store,
            account,
            workers,
            cache: Arc::default(),
            weather: Weather::default(),
            watch: Watch::new(),
            is_calm: false,
            calm_at: plan.lulls[0],
            stirred: 0,
            found_nothing: None,
            is_at_rest: false,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for (after, event) in [
            (5_000, Event::Customer),
            (60_000, Event::Meddle),
            (30_000, Event::Presence),
            (90_000, Event::Operate),
            (20_000, Event::Weather),
            (60_000, Event::Check),
        ] {
            self.after(after, event);
        }
        for worker in 0..self.workers.len() {
            self.start(worker);
        }
        for nth in 0..self.plan.lulls.len() {
            let calm = self.plan.lulls[nth];
            self.after(calm, Event::Calm);
            self.after(calm + self.lull(), Event::Served);
        }
        let last = self.plan.lulls.last().copied().unwrap_or(0);
        self.after(last + self.lull() + 2 * self.plan.reconcile, Event::End);
    }

    /// From the last fault until nobody may wait in vain.
    fn lull(&self) -> Ms {
        20_000 + self.plan.reconcile
    }

    fn play(&mut self) {
        while let Some(Reverse(due)) = self.due.pop() {
            self.now = due.at;
            self.clock.store(DAWN + i64::try_from(due.at).unwrap_or(i64::MAX), Ordering::Relaxed);
            self.watch.figures.events += 1;
            if let Event::End = due.event {
                self.judge();
                return;
            }
            self.happen(due.event);
            if self.watch.broken.len() >= VIOLATIONS_MAX {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Customer => self.customer(),
            Event::Nag(room) => self.nag(room),
            Event::Finish(room, service) => self.finish(room, service),
            Event::Meddle => self.meddle(),
            Event::Presence => self.presence(),
            Event::Operate => self.operate(),
            Event::Weather => self.change_weather(),
            Event::Deliver(room, service, kind, tries) => self.deliver(room, service, kind, tries),
            Event::Land { worker, life, key, fate, call } => self.land(worker, life, key, fate, &call),
            Event::Work(worker, life, step) => self.work(worker, life, step),
            Event::Restart(worker) => self.start(worker),
            Event::Check => self.check(),
            Event::Calm => self.calm(),
            Event::Served => {
                self.judge_waiting();
                self.go_on();
            }
            Event::End => {}
        }
    }

    fn after(&mut self, span: Ms, event: Event) {
        self.nth += 1;
        self.due.push(Reverse(Due { at: self.now + span, nth: self.nth, event }));
    }

    /// The ledger's time at `ms`.
    fn time(&self, ms: Ms) -> Timestamp {
        Timestamp::from_millis(DAWN) + Duration::from_millis(ms)
    }

    /// Notes that something happened.
    fn note(&mut self, whose: Whose, what: &'static str, with: i64) {
        self.watch.history.note(Note { at: self.now, whose, what, with });
    }

    /// Notes that something went wrong.
    fn fault(&mut self, what: &'static str) {
        self.watch.history.fault(what);
    }

    /// Something changed: the next sweep has to look.
    fn stir(&mut self) {
        self.stirred += 1;
        self.is_at_rest = false;
    }
}

/// The value of a future that is always ready, as those of the ledger in memory are.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the ledger in memory waits for nothing"),
    }
}
