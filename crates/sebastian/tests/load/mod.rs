//! The benches: the real processes under a load of webhooks or of whole chats, at rest, and with more and more workers.
//! Started by `cargo xtask bench`, which says what each setting means.
//!
//! `traffic` are the people, `client` carries their webhooks, `figures` and `meter` measure, and the judge of the soak says
//! whether every promise held.
//! Everything runs on one machine: the load and the simulated platform are among the processes whose CPU is shown, and take
//! it from those they measure.

mod client;
mod figures;
mod idle;
mod meter;
mod plan;
mod scale;
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use sebastian_platform::simulated::SimulatedConfig;
use sebastian_testkit::{Durability, Postgres, raise_open_files};
use serde::Serialize;
use tokio::{sync::mpsc, task::spawn_blocking, time::sleep};

use self::{
    client::{Job, Sent, Source, What},
    figures::{Assignments, Figures, Webhooks, Window},
    meter::{Ledger, Meter},
    plan::{Mix, Pace, Plan},
    traffic::{FIRST_ROOM, People, Template, Watch},
};
use crate::{
    acceptance::house::{House, PATIENCE, WA},
    soak::{
        self,
        dice::Dice,
        people::Worked,
        post::Kind,
        verdict::{Judge, admitted, in_words},
    },
};

/// Not measured: connections are made, statements prepared, memory is taken.
const WARM_UP: Duration = Duration::from_secs(2);

/// Who still waits when a run is over is served first, before it is judged, as long as one more is served in this time.
const STALLED: Duration = Duration::from_secs(5);

/// Connections that write the backlog.
const BACKLOG_CONNECTIONS: usize = 64;

/// A house as a plan has it. Nobody is online in it where nothing is to be assigned yet.
async fn house(plan: &Plan) -> House {
    raise_open_files();
    let mut tenant = SimulatedConfig { seed: plan.seed, ..SimulatedConfig::desk(plan.agents) };
    if plan.mix == Mix::Webhooks || plan.backlog > 0 {
        tenant.agents.iter_mut().for_each(|agent| agent.online = false);
    }
    tenant.faults.extend(plan.latency.fault());
    // A run's settings live as long as the process, which is little longer.
    let settings: Vec<(&'static str, &'static str)> =
        plan.settings.iter().map(|(key, value)| (&*key.clone().leak(), &*value.clone().leak())).collect();
    if plan.is_embedded {
        return House::embedded(tenant, plan.capacity, settings.leak(), &[]).await;
    }
    let postgres = Postgres::private(Durability::Fsync).await;
    if plan.statements {
        meter::count_statements(&postgres).await;
    }
    House::with(tenant, plan.capacity, plan.workers, Some(postgres), settings.leak()).await
}

/// Customers write in so many rooms, as fast as they are answered.
async fn write_backlog(house: &House, count: usize) -> Vec<Sent> {
    let platform = house.platform.clone();
    let mut rooms = FIRST_ROOM..FIRST_ROOM + count as u64;
    let next = move || {
        let room = rooms.next()?;
        let body = platform.new_chat(&room.to_string(), WA).unwrap().to_string();
        let bytes = client::request(Kind::Allocate, body.as_bytes());
        Some(Job { what: What { kind: Kind::Allocate, room, agent: None }, due: Instant::now(), bytes })
    };
    let sending = client::start(&house.ingest_address, BACKLOG_CONNECTIONS, Source::Supply(Box::new(next)));
    let sent = joined(sending).await;
    assert!(sent.iter().all(Sent::is_accepted), "the backlog was not taken");
    sent
}

async fn joined<T: Send + 'static>(thread: thread::JoinHandle<T>) -> T {
    spawn_blocking(move || thread.join().unwrap()).await.unwrap()
}

/// Everybody comes to their desk; returns when the first is given a chat.
async fn open_the_desk(house: &House) {
    for agent in house.agents() {
        house.platform.set_presence(agent, true);
    }
    house.assigned(1, PATIENCE).await;
}

/// What is under way: who makes the webhooks, where there are such, and who carries them.
struct Traffic {
    people: Option<thread::JoinHandle<()>>,
    client: thread::JoinHandle<Vec<Sent>>,
    watch: Arc<Watch>,
}

impl Traffic {
    fn start(plan: &Plan, house: &House) -> Self {
        let watch = Arc::new(Watch::default());
        let (jobs, queue) = mpsc::unbounded_channel();
        let (people, source) = match (plan.mix, plan.pace) {
            (Mix::Webhooks, Pace::Closed) => {
                let (mut template, watch) = (Template::of(&house.tenant), Arc::clone(&watch));
                let next = move || {
                    let goes_on = !watch.is_over.load(Ordering::Relaxed);
                    goes_on.then(|| template.next(Instant::now()))
                };
                (None, Source::Supply(Box::new(next)))
            }
            (Mix::Webhooks, Pace::Open { rate }) => {
                let started = Template::of(&house.tenant).start(rate, jobs, Arc::clone(&watch));
                (Some(started), Source::People(queue))
            }
            (Mix::Chats, pace) => {
                let people = People {
                    platform: house.platform.clone(),
                    jobs,
                    dice: Dice::new(plan.seed),
                    rate: if let Pace::Open { rate } = pace { rate } else { 1 },
                    serve_ms: plan.serve_ms,
                    first_room: FIRST_ROOM + plan.backlog as u64,
                    watch: Arc::clone(&watch),
                };
                (Some(people.start()), Source::People(queue))
            }
        };
        Self { people, client: client::start(&house.ingest_address, plan.connections, source), watch }
    }

    /// Nothing more is written; returns what became of all webhooks when the last is answered.
    async fn stop(self) -> Vec<Sent> {
        self.watch.is_over.store(true, Ordering::Relaxed);
        if let Some(people) = self.people {
            joined(people).await;
        }
        joined(self.client).await
    }
}

/// Runs a plan and measures.
async fn run(plan: &Plan) -> Figures {
    let house = house(plan).await;
    let mut sent = Vec::new();
    if plan.backlog > 0 {
        sent = write_backlog(&house, plan.backlog).await;
        open_the_desk(&house).await;
    }
    let traffic = Traffic::start(plan, &house);
    sleep(WARM_UP).await;
    let client = match house.postgres {
        Some(_) => Some(meter::connect(&house.database_url()).await),
        None => None,
    };
    if let (Some(own), true) = (&house.postgres, plan.statements) {
        meter::forget_statements(&own.url()).await;
    }
    let before = Ledger::read(client.as_ref()).await;
    let (meter, from) = (Meter::start(&house), Instant::now());
    sleep(plan.span).await;
    let (window, processes) = (Window { from, to: Instant::now() }, meter.stop());
    let waiting_at_the_end = house.platform.read(|state| state.waiting().len());
    let load_average = meter::load_average();
    // PostgreSQL's processes tell their counters once a second.
    let postgresql = Ledger::read(client.as_ref()).await.zip(before).map(|(now, before)| now.since(&before));
    let (store, account) = house.ledger().await;
    let unfolded_at_the_end = store.counts(account).await.unwrap().unfolded;
    let statements = match (&house.postgres, plan.statements) {
        (Some(own), true) => meter::statements(&own.url()).await,
        _ => Vec::new(),
    };
    sent.extend(traffic.stop().await);
    let assignments =
        house.platform.read(|state| Assignments::of(&sent, state, (plan.agents, plan.capacity), window));
    Figures {
        command: plan.command.clone(),
        measured_s: window.seconds(),
        webhooks: Webhooks::of(&sent, window),
        assignments,
        waiting_at_the_end,
        unfolded_at_the_end,
        processes,
        postgresql,
        statements,
        load_average,
        violations: verdict(&house, &sent, plan.mix).await,
    }
}

/// Waits until nobody waits, or nobody more is served.
async fn drained(house: &House) {
    let (mut least, mut since) = (usize::MAX, Instant::now());
    while since.elapsed() < STALLED {
        let waiting = house.platform.read(|state| state.waiting().len());
        match waiting {
            0 => return,
            fewer if fewer < least => (least, since) = (fewer, Instant::now()),
            _ => {}
        }
        sleep(STALLED / 10).await;
    }
}

/// Every promise: over the whole history, and at rest where chats were assigned.
async fn verdict(house: &House, sent: &[Sent], mix: Mix) -> Vec<String> {
    let mut accepted: BTreeMap<(Kind, String), u64> = BTreeMap::new();
    for one in sent.iter().filter(|one| one.is_accepted()) {
        *accepted.entry((one.what.kind, one.what.room.to_string())).or_default() += 1;
    }
    let rooms: BTreeSet<u64> = match mix {
        Mix::Chats => sent.iter().map(|one| one.what.room).collect(),
        // The platform has not heard of them.
        Mix::Webhooks => BTreeSet::new(),
    };
    let worked = Worked {
        rooms: rooms.into_iter().map(|room| room.to_string().into()).collect(),
        ..Worked::default()
    };
    let eligible = house.agents().into_iter().collect();
    let judge = Judge { house, worked: &worked, accepted, eligible };
    let mut violations = match mix {
        Mix::Chats => {
            drained(house).await;
            soak::rest(&judge).await.violations
        }
        Mix::Webhooks => judge.history().await,
    };
    violations.extend(admitted(&house.said()));
    if violations.is_empty() { Vec::new() } else { vec![in_words(&violations)] }
}

/// Shows figures to people, and writes them where a program wants them.
fn report<T: Serialize + std::fmt::Display>(figures: &T) {
    println!("\n{figures}");
    if let Some(path) = plan::given("JSON") {
        fs::write(path, serde_json::to_string(figures).unwrap()).unwrap();
    }
}

#[ignore = "takes a machine for a while: cargo xtask bench load"]
#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_under_load() {
    let Some(plan) = Plan::given() else {
        return println!("started by `cargo xtask bench load`, which says what to measure");
    };
    let figures = run(&plan).await;
    report(&figures);
    assert!(figures.violations.is_empty(), "{}", figures.violations.join("\n"));
}
