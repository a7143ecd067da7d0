//! A worker dies at each step of its work, whatever the platform makes of its calls, and another goes on.
//!
//! The steps are those at which something has just become true in one place and not yet in the next. Where a plan for
//! allocators in general names a step that this one does not have, the step in its place is given:
//! a job is not acknowledged, so the end of a run stands for that; counters move in the transaction that moves the
//! conversation, so a committed fold stands for a counter's update; a confirmation is one statement, of which only the
//! moment before it can be told from the moment after.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use sebastian_core::{EventKind, Hints, NewEvent, RoomId, Source};
use sebastian_platform::simulated::{Answer, Endpoint, Fault, FaultKind, Request, SimulatedConfig, State};
use sebastian_testkit::Child;
use serde_json::json;

use super::desk::Desk;
use crate::acceptance::house::{House, PATIENCE, QUICK, WA, ours, rooms};

/// Three agents with room for three each, and more customers than that.
const AGENTS: u32 = 3;
const CAPACITY: u32 = 3;
const ROOMS: usize = 14;

/// What `abort` ends a process with.
const SIGABRT: i32 = 6;

/// Beyond the time a call has in these tests, and within what a late call may take to land.
const LATE: Duration = Duration::from_millis(600);

/// Within the time a call has: while the first are answered, others are under way.
const SLOW: FaultKind =
    FaultKind::Latency { min: Duration::from_millis(20), max: Duration::from_millis(200) };

/// What the desk stands on.
#[derive(Debug, Clone, Copy)]
enum Ground {
    Servers,
    Folder,
}

/// What the platform makes of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Applied,
    Refused,
    Unknown,
}

impl Outcome {
    /// For the first `calls`.
    fn faults(self, calls: u32) -> Vec<Fault> {
        let refusal =
            Answer::Json(400, json!({"errors": {"message": "Agent is not assigned to this channel"}}));
        let at = Endpoint::Assign;
        match self {
            Self::Applied => vec![],
            Self::Refused => vec![Fault::instead(at, refusal).times(calls)],
            // Some took effect and some did not, and none of the answers tells which.
            Self::Unknown => vec![
                Fault::after_apply(at, Answer::Status(500)).times(calls.div_ceil(2)),
                Fault::instead(at, Answer::Status(502)).times(calls.div_ceil(2)),
                Fault::after_apply(at, Answer::Hang).times(1),
                Fault::instead(at, Answer::Drop).times(1),
            ],
        }
    }
}

/// What goes wrong at the platform around the death at `point`.
fn faults(point: &str, outcome: Outcome) -> Vec<Fault> {
    match (point, outcome) {
        ("unanswered", Outcome::Unknown) => {
            let hangs = |fault: fn(Endpoint, Answer) -> Fault| fault(Endpoint::Assign, Answer::Hang);
            vec![hangs(Fault::after_apply).times(4), hangs(Fault::instead)]
        }
        ("unanswered", _) => {
            [outcome.faults(u32::MAX), vec![Fault::latency(Endpoint::Assign, LATE)]].concat()
        }
        ("in_grace", _) => [outcome.faults(2), vec![Fault::new(Endpoint::Assign, SLOW)]].concat(),
        // Whichever call gets there first: it is one of these.
        ("answered" | "recording" | "recorded", _) => outcome.faults(AGENTS * CAPACITY),
        _ => outcome.faults(2),
    }
}

fn assigns(request: &Request) -> bool {
    request.endpoint == Endpoint::Assign
}

/// What it takes for a worker to get to `point`, beyond customers who wait.
async fn lead_up_to(point: &str, desk: &Desk, worker: &Child) {
    match point {
        "folded:2" => {
            let platform = &desk.house.platform;
            platform.wait_until(PATIENCE, |state| ours(state).next().is_some()).await.unwrap();
            let room = platform.read(|state| ours(state).next().map(|change| change.room.to_string()));
            // A process that takes webhooks too may die of this one before it answers.
            platform.agent_resolves(&room.unwrap()).await;
        }
        "in_grace" => {
            let platform = &desk.house.platform;
            platform.wait_until(PATIENCE, |state| state.requests().iter().any(assigns)).await.unwrap();
            worker.terminate();
        }
        _ => {}
    }
}

/// Waits for the end of a worker that is to die at `point`, and makes sure that it did die there.
async fn died(worker: &Child, point: &str) {
    let status = worker.wait(PATIENCE).await;
    let (name, _) = point.split_once(':').unwrap_or((point, ""));
    assert_eq!(status.signal(), Some(SIGABRT), "{status:?} instead of {point}\n{}", worker.output());
    assert!(worker.output().contains(&format!("crash point {name} reached")), "{}", worker.output());
}

/// A desk in a folder, with no process at all: its customers stand in the ledger as if their webhooks had been taken.
async fn in_a_folder() -> Desk {
    let house = House::embedded(SimulatedConfig::desk(AGENTS), CAPACITY, QUICK, &[]).await;
    house.kill_ingest().await;
    let rooms = rooms(ROOMS);
    let (store, account) = house.ledger().await;
    for room in &rooms {
        // Nobody is there to take the webhook.
        let _refused = house.platform.customer_writes(room, WA).await;
        let kind = EventKind::Allocate { inbox: Some(WA), latest_service: None, hints: Hints::default() };
        let event = NewEvent { room: RoomId::parse(room).unwrap(), kind, source: Source::Webhook };
        store.accept(account, &[event]).await.unwrap();
    }
    Desk { house, rooms, store, account }
}

async fn survives(ground: Ground, point: &'static str, outcome: Outcome) {
    let mut desk = match ground {
        Ground::Servers => Desk::open(AGENTS, CAPACITY, ROOMS).await,
        Ground::Folder => in_a_folder().await,
    };
    for fault in faults(point, outcome) {
        desk.house.platform.set_fault(fault);
    }
    let worker = desk.house.start_worker(&[("SEBASTIAN_CRASH_POINT", point)]);
    lead_up_to(point, &desk, &worker).await;
    died(&worker, point).await;
    let dead_since = Instant::now();
    desk.house.add_worker().await;
    let struck = |request: &Request| assigns(request) && request.faulted;
    let is_struck = |state: &State| state.requests().iter().any(struck);
    if matches!(point, "unanswered" | "in_grace" | "answered" | "recording" | "recorded") {
        if outcome != Outcome::Applied {
            // A call may have been given up before it arrived.
            desk.house.platform.wait_until(PATIENCE, is_struck).await.unwrap();
        }
        desk.house.platform.clear_faults();
    }
    desk.recovers(&format!("{point}, calls {outcome:?}")).await;
    println!("{point}, calls {outcome:?}: at rest {} ms after the death", dead_since.elapsed().as_millis());
    desk.serves_everyone().await;
    assert_eq!(desk.house.platform.read(is_struck), outcome != Outcome::Applied, "{point}");
}

async fn survives_whatever_the_outcome(ground: Ground, point: &'static str) {
    let outcomes = [Outcome::Applied, Outcome::Refused, Outcome::Unknown];
    join_all(outcomes.map(|outcome| survives(ground, point, outcome))).await;
}

macro_rules! a_worker_that_dies {
    ($($when:ident: $point:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $when() {
                survives_whatever_the_outcome(Ground::Servers, $point).await;
            }
        )*

        /// The process that dies takes webhooks too, and its ledger is in a folder.
        mod in_a_folder {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $when() {
                    super::survives_whatever_the_outcome(super::Ground::Folder, $point).await;
                }
            )*
        }
    };
}

a_worker_that_dies! {
    dying_with_a_wake_up_taken_loses_and_doubles_nothing: "wake_taken",
    dying_with_the_queues_read_loses_and_doubles_nothing: "snapshot_read",
    dying_with_the_choice_made_loses_and_doubles_nothing: "decided",
    dying_inside_the_transaction_that_takes_slots_loses_and_doubles_nothing: "slots_taken",
    dying_with_slots_taken_and_the_platform_not_told_loses_and_doubles_nothing: "reserved",
    dying_with_the_platform_told_and_no_answer_loses_and_doubles_nothing: "unanswered",
    dying_with_the_answer_read_loses_and_doubles_nothing: "answered",
    dying_while_the_outcome_is_written_loses_and_doubles_nothing: "recording",
    dying_with_the_outcome_written_loses_and_doubles_nothing: "recorded",
    dying_with_a_resolve_counted_loses_and_doubles_nothing: "folded:2",
    dying_at_the_end_of_a_run_loses_and_doubles_nothing: "run_over:2",
    dying_within_the_grace_of_a_stop_loses_and_doubles_nothing: "in_grace",
}
