//! The figures of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use sebastian_platform::simulated::{Applied, Change};
use sebastian_testkit::Child;

use super::people::Worked;

/// Ticks of a process's CPU time in a second, as Linux shows them to programs on every machine.
pub const TICKS: f64 = 100.0;

/// The value below which so many of a thousand lie, in ms; of nothing, 0.
fn quantile(sorted: &[Duration], per_mille: usize) -> f64 {
    let at = (sorted.len() * per_mille / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |value| value.as_secs_f64() * 1_000.0)
}

/// `p50 1.2 ms, p99 3.4 ms, p99.9 5.6 ms, longest 7.8 ms of 1000`.
pub fn spread(mut values: Vec<Duration>) -> String {
    values.sort();
    let [p50, p99, p999, longest] = [500, 990, 999, 1_000].map(|at| quantile(&values, at));
    format!(
        "p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, longest {longest:.1} ms of {}",
        values.len()
    )
}

/// How long customers waited, from the moment they were due to write to their first agent.
#[derive(Debug, Default)]
pub struct Waits {
    /// Of those who were given one before the faults began.
    pub calm: Vec<Duration>,
    /// Of the others, those whose webhook was accepted.
    pub rough: Vec<Duration>,
    /// Of those who had to be found.
    pub unheard: Vec<Duration>,
}

impl Waits {
    /// `faults` is when they began.
    pub fn of(applied: &[Applied], worked: &Worked, heard_of: &BTreeSet<i64>, faults: Instant) -> Self {
        let mut first: BTreeMap<i64, Instant> = BTreeMap::new();
        for change in applied {
            if let Change::Assigned { .. } = change.change {
                first.entry(change.service).or_insert(change.at);
            }
        }
        let mut waits = Self::default();
        for (session, at) in first {
            let Some(due) = worked.opened.get(&session) else { continue };
            let wait = at.saturating_duration_since(*due);
            if !heard_of.contains(&session) {
                waits.unheard.push(wait);
            } else if at < faults {
                waits.calm.push(wait);
            } else {
                waits.rough.push(wait);
            }
        }
        waits
    }
}

/// Memory and CPU of processes, one line each.
pub fn processes<'a>(named: impl IntoIterator<Item = (String, &'a Child)>) -> String {
    let mut lines = String::new();
    for (name, child) in named {
        writeln!(lines, "  {name}: {}", process(child.pid()).unwrap_or_else(|| "gone".to_owned())).unwrap();
    }
    let own = process(std::process::id()).unwrap_or_default();
    writeln!(lines, "  load and simulated platform: {own}").unwrap();
    lines
}

/// What `/proc` says of a process. `None` where there is no such process, or no `/proc`.
fn process(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let megabytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
    };
    let (now, peak) = (megabytes("VmRSS:")?, megabytes("VmHWM:")?);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses and may hold spaces: fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let cpu_s = (ticks(14)? + ticks(15)?) / TICKS;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let lived_s = uptime.split_whitespace().next()?.parse::<f64>().ok()? - ticks(22)? / TICKS;
    let percent = 100.0 * cpu_s / lived_s.max(0.01);
    Some(format!("RSS {now:.0} MB (most {peak:.0} MB), CPU {percent:.1} % of a core over {lived_s:.0} s"))
}
