//! What the processes cost while nothing happens: with nobody waiting, and with very many waiting whom nobody may serve.

use std::fmt;

use sebastian_testkit::eventually;
use serde::Serialize;
use tokio::time::sleep;

use super::{
    WARM_UP, figures, house,
    meter::{self, Meter, Usage},
    plan::{Mix, Plan},
    report, verdict, write_backlog,
};
use crate::acceptance::house::{House, PATIENCE};

#[derive(Debug, Serialize)]
struct Idle {
    command: String,
    agents: u32,
    waiting: usize,
    /// Nobody waits, everybody is online.
    quiet: Vec<Usage>,
    /// So many wait, nobody is online.
    crowded: Vec<Usage>,
    load_average: f64,
    violations: Vec<String>,
}

impl fmt::Display for Idle {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}\nload average {:.1}", self.command, self.load_average)?;
        writeln!(to, "\nnobody waits, {} agents online:", self.agents)?;
        figures::processes(to, &self.quiet)?;
        writeln!(to, "\n{} wait, nobody is online:", self.waiting)?;
        figures::processes(to, &self.crowded)
    }
}

/// Processes over the plan's span, after they came to rest.
async fn look(plan: &Plan, house: &House) -> Vec<Usage> {
    sleep(5 * WARM_UP).await;
    let meter = Meter::start(house);
    sleep(plan.span).await;
    meter.stop()
}

#[ignore = "takes a machine for a while: cargo xtask bench idle"]
#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_at_rest() {
    let Some(mut plan) = Plan::given() else {
        return println!("started by `cargo xtask bench idle`, which says what to measure");
    };
    let waiting = std::mem::take(&mut plan.backlog);
    let house = house(&plan).await;
    let quiet = look(&plan, &house).await;
    for agent in house.agents() {
        house.platform.set_presence(agent, false);
    }
    // Longer than the poller takes to hear of it.
    sleep(5 * WARM_UP).await;
    let sent = write_backlog(&house, waiting).await;
    let (store, account) = house.ledger().await;
    eventually("all are folded", 10 * PATIENCE, async || {
        let counts = store.counts(account).await.unwrap();
        if counts.unfolded == 0 { Ok(()) } else { Err(counts) }
    })
    .await;
    let crowded = look(&plan, &house).await;
    let idle = Idle {
        command: plan.command.clone(),
        agents: plan.agents,
        waiting,
        quiet,
        crowded,
        load_average: meter::load_average(),
        // Nobody comes back: what holds is judged over the history.
        violations: verdict(&house, &sent, Mix::Webhooks).await,
    };
    report(&idle);
    assert!(idle.violations.is_empty(), "{:?}", idle.violations);
}
