//! Many seeds at once, on as many threads as there are cores.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{Figures, Report, Settings, run};

/// What became of many seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Played {
    /// Those that broke a promise, ascending.
    pub broken: Vec<Report>,
    /// How much happened in all of them.
    pub figures: Figures,
    /// How often what went wrong in all of them.
    pub faults: BTreeMap<&'static str, u64>,
}

/// Plays every seed.
#[must_use]
pub fn play(seeds: Range<u64>, settings: &Settings) -> Played {
    let next = AtomicU64::new(seeds.start);
    let played = Mutex::new(Played::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(seed, settings);
                    played.lock().unwrap_or_else(PoisonError::into_inner).take(report);
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.broken.sort_by_key(|report| report.seed);
    played
}

impl Played {
    fn take(&mut self, report: Report) {
        self.figures.add(&report.figures);
        for (what, times) in &report.faults {
            *self.faults.entry(what).or_default() += times;
        }
        if !report.broken.is_empty() {
            self.broken.push(report);
        }
    }

    /// How much happened, and how often what went wrong, a line each.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Figures {
            sessions,
            events,
            decisions,
            reservations,
            assignments,
            unknown,
            strikes,
            decided_again,
        } = self.figures;
        let faults = self.faults.iter().map(|(what, times)| format!("\n  {times:>9}  {what}"));
        format!(
            "{sessions} sessions, {reservations} reservations, {assignments} assignments, {events} events, \
             {decisions} decisions, {decided_again} decisions made again, {unknown} calls nobody answered for, {strikes} workers struck{}",
            faults.collect::<String>()
        )
    }
}
