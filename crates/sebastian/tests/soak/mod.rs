//! The soak: an open-loop load on real processes and servers while anything may break at any time, and at the end every
//! promise. Started by `cargo xtask soak`.
//!
//! `people` are the load, `post` carries their webhooks, `havoc` breaks and repairs, `verdict` judges, `figures` measures.
//! All chance comes from one seed; when things happen also depends on the machine, so a seed plays much the same faults at
//! much the same times, not the same interleaving.
//!
//! What cannot hold under a fault is not asked for: a webhook that was lost, or answered 503, is not sent again, for Qiscus
//! publishes no repetition; the reconciler has to find the room. People in the dashboard may give an agent more than their
//! capacity. A chat that was over before anybody served it, and whose resolve was lost, stays in line until its turn. A
//! message that may belong to the session before it keeps its place while the room is read back, and is served
//! after others who came later. Waiting is judged at the end only, when the faults have been over for the time of recovery.

pub mod dice;
pub mod figures;
mod havoc;
pub mod people;
pub mod post;
pub mod verdict;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sebastian_core::{AgentId, InboxId, Role, invariants::Violation};
use sebastian_platform::simulated::{AgentSpec, Change, SimulatedConfig};
use sebastian_testkit::{Durability, Postgres};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use self::{
    dice::Dice,
    figures::Waits,
    havoc::Havoc,
    people::{People, Worked},
    post::{Mail, Post},
    verdict::{Books, Judge},
};
use crate::acceptance::house::{House, RECOVERY, WA};

/// Those who are dealt chats, and with room for how many. At ten seconds a chat they serve 24 customers a second.
const AGENTS: u32 = 40;
const CAPACITY: u32 = 6;
const WORKERS: usize = 3;

/// `reconcile.interval_ms` of the defaults: within it a lost webhook is made good.
const RECONCILE: Duration = Duration::from_secs(30);

/// Between two progress lines.
const PROGRESS: Duration = Duration::from_secs(10);

/// Between two faults, in ms.
const FAULT_EVERY_MS: (u64, u64) = (1_500, 6_000);

/// Agents to whom nothing must ever be given: one is offline all day, one forced offline, one serves another inbox, one is a
/// supervisor.
const NEVER: [i64; 4] = [400_001, 400_002, 400_003, 400_004];

/// How long, how much and by which seed.
struct Plan {
    span: Duration,
    rate: u32,
    seed: u64,
}

impl Plan {
    /// As `cargo xtask soak` hands it over; `None` when somebody else started this.
    fn given() -> Option<Self> {
        let number = |key: &str| env::var(key).ok()?.parse::<u64>().ok();
        Some(Self {
            span: Duration::from_secs(60 * number("SEBASTIAN_SOAK_MINUTES")?),
            rate: u32::try_from(number("SEBASTIAN_SOAK_RATE")?).ok()?,
            seed: number("SEBASTIAN_SOAK_SEED")?,
        })
    }

    fn command(&self) -> String {
        let Self { span, rate, seed } = self;
        format!("cargo xtask soak --minutes {} --rate {rate} --seed {seed}", span.as_secs() / 60)
    }

    /// The first stretch is without faults, to compare with.
    fn calm(&self) -> Duration {
        (self.span / 6).min(Duration::from_secs(60))
    }
}

fn tenant(seed: u64) -> SimulatedConfig {
    let mut tenant = SimulatedConfig { seed, ..SimulatedConfig::desk(AGENTS) };
    let never = |id, name| AgentSpec::online(id, name, &[WA]);
    tenant.agents.extend([
        AgentSpec { online: false, ..never(NEVER[0], "Nina Never") },
        AgentSpec { force_offline: true, ..never(NEVER[1], "Oki Off") },
        AgentSpec { channels: vec![InboxId(88_122)], ..never(NEVER[2], "Edo Elsewhere") },
        AgentSpec { role: Role::Supervisor, ..never(NEVER[3], "Sari Supervisor") },
    ]);
    tenant
}

/// One line on how things stand.
fn progress(since: Duration, havoc: &Havoc, mail: &Mail) {
    let (opened, assigned, resolved, waiting) = havoc.house.platform.read(|state| {
        let of = |what: fn(&Change) -> bool| state.applied().iter().filter(|one| what(&one.change)).count();
        (
            of(|change| matches!(change, Change::Opened { .. })),
            of(|change| matches!(change, Change::Assigned { .. })),
            of(|change| matches!(change, Change::Resolved { .. })),
            state.waiting().len(),
        )
    });
    let faults: u32 = havoc.struck.values().sum();
    let refused: u64 = mail.refused.values().sum();
    println!(
        "{:>5} s: {opened} chats, {assigned} assigned, {resolved} resolved, {waiting} waiting; webhooks: {} accepted, \
         {refused} refused, {} unanswered, {} lost; {faults} faults",
        since.as_secs(),
        mail.took.len(),
        mail.unanswered,
        mail.lost,
    );
}

/// Breaks and repairs until the time is over.
async fn rage(plan: &Plan, began: Instant, havoc: &mut Havoc, post: &Post, dice: &mut Dice) {
    let end = began + plan.span;
    let mut next_fault = began + plan.calm();
    let mut next_line = began + PROGRESS;
    while Instant::now() < end {
        let next = [Some(next_fault), Some(next_line), Some(end), havoc.next_repair()];
        if let Some(next) = next.into_iter().flatten().min() {
            sleep_until(next.into()).await;
        }
        havoc.repair().await;
        havoc.look();
        if next_fault <= Instant::now() {
            let kind = havoc.strike().await;
            println!("{:>5} s:   {}", began.elapsed().as_secs(), kind.name());
            next_fault = Instant::now() + dice.ms(FAULT_EVERY_MS.0, FAULT_EVERY_MS.1);
        }
        if next_line <= Instant::now() {
            progress(began.elapsed(), havoc, &post.mail());
            next_line += PROGRESS;
        }
    }
}

/// How it ended.
pub struct Rest {
    /// Until nobody our ledger knew of waited while somebody had room.
    served: Duration,
    /// Until everything added up.
    at_rest: Duration,
    /// Conversations that are over, unheard of: they leave the line when their turn comes.
    over: usize,
    /// What did not add up.
    pub violations: Vec<Violation>,
}

/// Looks until everything adds up or the time for it is over.
pub async fn rest(judge: &Judge<'_>) -> Rest {
    let (store, account) = judge.house.ledger().await;
    let began = Instant::now();
    let (mut served, mut violations) = (None, Vec::new());
    let mut looks = tokio::time::interval(Duration::from_millis(250));
    loop {
        looks.tick().await;
        let books = Books::read(&*store, account).await.unwrap();
        let spent = began.elapsed();
        if served.is_none() {
            let in_vain = judge.in_vain(&books);
            if in_vain.is_empty() || spent > RECOVERY {
                served = Some(spent);
                violations.extend(in_vain);
            }
        }
        let broken = [judge.in_vain(&books), judge.at_rest(&books)].concat();
        if let Some(served) = served
            && (broken.is_empty() || spent > RECOVERY + RECONCILE)
        {
            violations.extend(broken);
            violations.extend(judge.history().await);
            return Rest { served, at_rest: spent, over: judge.over(&books), violations };
        }
    }
}

/// Writes down what every process printed, the dead ones too. Returns where.
fn write_logs(havoc: &Havoc, seed: u64) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{seed}"));
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).unwrap();
    let living =
        havoc.house.workers.iter().enumerate().map(|(at, one)| (format!("worker {at}"), one.output()));
    let living = living.chain([("ingest".to_owned(), havoc.house.ingest.output())]);
    for (life, (name, printed)) in havoc.graves.iter().cloned().chain(living).enumerate() {
        fs::write(folder.join(format!("{life:03} {name}.log")), printed).unwrap();
    }
    folder
}

fn report(plan: &Plan, havoc: &Havoc, worked: &Worked, mail: &Mail, calm_until: Instant) {
    let applied = havoc.house.platform.applied();
    let ours = havoc.house.count();
    println!("\n{}", plan.command());
    let Worked { returned, taken, moved, resolved, .. } = worked;
    println!(
        "chats {} ({returned} of returning customers), assigned {ours}, resolved {resolved}; in the dashboard {taken} taken, \
         {moved} moved",
        worked.opened.len(),
    );
    println!(
        "webhooks {} accepted; not sent again: refused {:?}, unanswered {}, lost {}; doubled {}, late {}",
        mail.took.len(),
        mail.refused,
        mail.unanswered,
        mail.lost,
        mail.doubled,
        mail.late,
    );
    println!("faults {}:", havoc.struck.values().sum::<u32>());
    for (kind, times) in &havoc.struck {
        println!("  {times} × {}", kind.name());
    }
    println!("webhook, due to answered: {}", figures::spread(mail.took.clone()));
    let waits = Waits::of(&applied, worked, &mail.heard_of, calm_until);
    println!("arrival to agent, before the faults: {}", figures::spread(waits.calm));
    println!("arrival to agent, among the faults: {}", figures::spread(waits.rough));
    println!("arrival to agent, no webhook accepted: {}", figures::spread(waits.unheard));
    let workers = havoc.house.workers.iter().enumerate();
    let named = workers.map(|(at, child)| (format!("worker {at}"), child));
    println!(
        "at the end:\n{}",
        figures::processes(named.chain([("ingest".to_owned(), &havoc.house.ingest)]))
    );
}

#[ignore = "takes minutes, and two cores: cargo xtask soak --minutes 10"]
#[tokio::test(flavor = "multi_thread")]
async fn no_promise_is_broken_while_anything_breaks() {
    let Some(plan) = Plan::given() else {
        return println!("started by `cargo xtask soak`, which says how long it takes");
    };
    println!("{}", plan.command());
    let mut dice = Dice::new(plan.seed);
    let postgres = Postgres::private(Durability::Fsync).await;
    let house = House::of(tenant(plan.seed), CAPACITY, WORKERS, Some(postgres)).await;
    let post = Arc::new(Post::to(&house.ingest_address));
    let platform = house.platform.clone();
    let agents: Vec<AgentId> = house.agents().into_iter().filter(|agent| !NEVER.contains(&agent.0)).collect();
    let targets: Vec<AgentId> = agents.iter().copied().chain([AgentId(NEVER[3])]).collect();
    let people = People::new(platform, Arc::clone(&post), dice.split(), agents.clone(), targets, plan.rate);
    let mut havoc = Havoc::new(house, Arc::clone(&post), dice.split());

    let (began, stop) = (Instant::now(), CancellationToken::new());
    let at_work = tokio::spawn(people.work(stop.clone()));
    rage(&plan, began, &mut havoc, &post, &mut dice).await;
    stop.cancel();
    havoc.heal().await;
    let worked = at_work.await.unwrap();
    println!("{:>5} s: faults and load are over", began.elapsed().as_secs());

    let eligible: BTreeSet<AgentId> = agents.into_iter().collect();
    let accepted = post.mail().accepted.clone();
    let judge = Judge { house: &havoc.house, worked: &worked, accepted, eligible };
    let Rest { served, at_rest, over, mut violations } = rest(&judge).await;
    let folder = write_logs(&havoc, plan.seed);
    havoc.look();
    let printed = havoc.graves.iter().map(|(_, printed)| printed.clone()).chain([havoc.house.said()]);
    violations.extend(printed.flat_map(|printed| verdict::admitted(&printed)));
    let ended = havoc.ended.iter().cloned();
    violations.extend(ended.map(|what| Violation { id: "ended", what }));

    report(&plan, &havoc, &worked, &post.mail(), began + plan.calm());
    println!(
        "after the faults: nobody known waits in vain after {:.1} s, everything adds up after {:.1} s; {over} in line whose \
         resolve was lost; logs in {}",
        served.as_secs_f64(),
        at_rest.as_secs_f64(),
        folder.display(),
    );
    let broken = verdict::in_words(&violations);
    println!("violations: {}\n{broken}", violations.len());
    assert!(violations.is_empty(), "seed {}: {}\n{broken}", plan.seed, plan.command());
}
