//! Workers added while the platform is slow: what each can do is bounded by the calls it may have under way.

use std::fmt;

use serde::Serialize;

use super::{
    figures::{self, Figures},
    plan::Plan,
    report, run,
};

/// So many workers, one step after the other.
const STEPS: [usize; 3] = [1, 2, 4];

/// How many seconds' worth of customers wait beyond those of the measurement: for the warm-up, and so that the line does
/// not run out.
const SPARE_S: usize = 4;

/// Figures of each step.
#[derive(Debug, Serialize)]
struct Scale {
    command: String,
    /// Most calls under way at once, of each worker.
    max_inflight: usize,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    workers: usize,
    assignments_per_s: f64,
    /// Of the first step's assignments.
    ratio: f64,
    figures: Figures,
}

impl fmt::Display for Scale {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}\nat most {} calls under way for each worker", self.command, self.max_inflight)?;
        for Step { workers, assignments_per_s, ratio, figures } in &self.steps {
            let load = figures.load_average;
            writeln!(
                to,
                "\n{workers} workers: {assignments_per_s:.0} assignments a second, {ratio:.2} times those of one; \
                 load average {load:.1}"
            )?;
            figures::processes(to, &figures.processes)?;
        }
        Ok(())
    }
}

#[ignore = "takes a machine for a while: cargo xtask bench scale"]
#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds_with_more_and_more_workers() {
    let (Some(mut plan), Some(max_inflight)) =
        (Plan::given(), super::plan::given("MAX_INFLIGHT").and_then(|text| text.parse::<usize>().ok()))
    else {
        return println!("started by `cargo xtask bench scale`, which says what to measure");
    };
    plan.settings.push(("SEBASTIAN__WORKER__MAX_INFLIGHT".to_owned(), max_inflight.to_string()));
    let seconds = usize::try_from(plan.span.as_secs()).unwrap() + SPARE_S;
    let mut scale = Scale { command: plan.command.clone(), max_inflight, steps: Vec::new() };
    for workers in STEPS {
        plan.workers = workers;
        // More than ten calls a second, at 100 ms each, is nobody's.
        plan.backlog = workers * max_inflight * 10 * seconds;
        plan.capacity = u32::try_from(plan.backlog).unwrap().div_ceil(plan.agents) + 1;
        let figures = run(&plan).await;
        let assignments_per_s = figures.assignments.per_s;
        let first = scale.steps.first().map_or(assignments_per_s, |one| one.assignments_per_s);
        scale.steps.push(Step { workers, assignments_per_s, ratio: assignments_per_s / first, figures });
    }
    report(&scale);
    let violations: Vec<&String> = scale.steps.iter().flat_map(|step| &step.figures.violations).collect();
    assert!(violations.is_empty(), "{violations:?}");
}
