//! What processes and PostgreSQL spent between two looks.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::{acceptance::house::House, soak::figures::TICKS};

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(1);

/// Bytes of a megabyte, as the kernel counts memory.
const MB: f64 = 1_048_576.0;

/// What a process spent.
#[derive(Debug, Clone, Serialize)]
pub struct Usage {
    pub name: String,
    pub cpu_s: f64,
    /// Of one core.
    pub cpu_percent: f64,
    /// At the end. Of PostgreSQL the sum over its processes, each page they share counted once (PSS).
    pub rss_mb: f64,
    /// The most seen, once a second.
    pub rss_peak_mb: f64,
}

/// The processes of a house, and this one.
struct Group {
    name: String,
    of: Of,
}

#[derive(Clone, Copy)]
enum Of {
    Process(u32),
    /// A process and its children.
    Family(u32),
    /// Threads of this process: those of the simulated platform, or the others.
    Threads {
        platform: bool,
    },
}

/// Looks at processes for a while.
pub struct Meter {
    groups: Vec<Group>,
    began: Instant,
    spent: Vec<f64>,
    peaks: Arc<Mutex<Vec<f64>>>,
    is_over: Arc<AtomicBool>,
    sampler: thread::JoinHandle<()>,
}

impl Meter {
    pub fn start(house: &House) -> Self {
        let group = |name: &str, of| Group { name: name.to_owned(), of };
        let is_embedded = house.ledger_file().is_some();
        let first = if is_embedded { "sebastian -e all" } else { "ingest" };
        let mut groups = vec![group(first, Of::Process(house.ingest.pid()))];
        for (at, worker) in house.workers.iter().enumerate() {
            groups.push(group(&format!("worker {at}"), Of::Process(worker.pid())));
        }
        groups.extend(
            house.postgres.as_ref().and_then(|own| own.pid()).map(|pid| group("postgresql", Of::Family(pid))),
        );
        if !is_embedded {
            groups.extend(house.redis().pid().map(|pid| group("redis", Of::Process(pid))));
        }
        groups.push(group("load", Of::Threads { platform: false }));
        groups.push(group("simulated platform", Of::Threads { platform: true }));
        let spent = groups.iter().map(|one| one.of.cpu_s()).collect();
        let peaks = Arc::new(Mutex::new(vec![0.0_f64; groups.len()]));
        let is_over = Arc::new(AtomicBool::new(false));
        let sampler = {
            let (peaks, is_over) = (Arc::clone(&peaks), Arc::clone(&is_over));
            let watched: Vec<Of> = groups.iter().map(|one| one.of).collect();
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for (at, of) in watched.iter().enumerate() {
                        let now = of.rss_mb();
                        let mut peaks = peaks.lock().unwrap();
                        peaks[at] = peaks[at].max(now);
                    }
                    thread::park_timeout(SAMPLE);
                }
            })
        };
        Self { groups, began: Instant::now(), spent, peaks, is_over, sampler }
    }

    pub fn stop(self) -> Vec<Usage> {
        let span = self.began.elapsed().as_secs_f64();
        self.is_over.store(true, Ordering::Relaxed);
        self.sampler.thread().unpark();
        let peaks = self.peaks.lock().unwrap().clone();
        let spent = self.groups.iter().zip(&self.spent).zip(peaks);
        let usage = spent.map(|((group, before), peak)| {
            let cpu_s = group.of.cpu_s() - before;
            let rss_mb = group.of.rss_mb();
            Usage {
                name: group.name.clone(),
                cpu_s,
                cpu_percent: 100.0 * cpu_s / span,
                rss_mb,
                rss_peak_mb: peak.max(rss_mb),
            }
        });
        usage.collect()
    }
}

impl Of {
    /// CPU seconds so far, of a family with its children that have ended.
    fn cpu_s(self) -> f64 {
        let ticks = match self {
            Self::Process(pid) => ticks(&format!("/proc/{pid}/stat"), &[14, 15]),
            Self::Family(pid) => {
                let own = ticks(&format!("/proc/{pid}/stat"), &[14, 15, 16, 17]);
                let of_children = children(pid);
                own + of_children
                    .iter()
                    .map(|pid| ticks(&format!("/proc/{pid}/stat"), &[14, 15]))
                    .sum::<f64>()
            }
            Self::Threads { platform } => threads()
                .filter(|(name, _)| name.starts_with("actix") == platform)
                .map(|(_, stat)| ticks(&stat, &[14, 15]))
                .sum(),
        };
        ticks / TICKS
    }

    fn rss_mb(self) -> f64 {
        match self {
            Self::Process(pid) => rss_mb(pid),
            Self::Family(pid) => children(pid)
                .into_iter()
                .chain([pid])
                .map(|pid| pss_mb(pid).unwrap_or_else(|| rss_mb(pid)))
                .sum(),
            // They share their memory; it is shown once.
            Self::Threads { platform: true } => 0.0,
            Self::Threads { platform: false } => rss_mb(std::process::id()),
        }
    }
}

/// The sum of fields of a `stat` file, numbered from 1.
fn ticks(path: &str, fields: &[usize]) -> f64 {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The second field is a name in parentheses and may hold spaces: fields are counted from behind it.
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0.0 };
    let values: Vec<&str> = rest.split_whitespace().collect();
    let value = |field: &usize| values.get(field - 3)?.parse::<f64>().ok();
    fields.iter().filter_map(value).sum()
}

/// Name and `stat` file of each thread of this process.
fn threads() -> impl Iterator<Item = (String, String)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| {
        let path = task.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((name, path.join("stat").to_str()?.to_owned()))
    })
}

fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn rss_mb(pid: u32) -> f64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or_default() * 1024.0 / MB
}

fn pss_mb(pid: u32) -> Option<f64> {
    Some(kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")? * 1024.0 / MB)
}

fn kilobytes(path: &str, key: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

/// The machine's load average over the last minute, which tells whether somebody else was at work.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

/// PostgreSQL's own counters.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    pub commits: f64,
    /// Flushes of the log; `None` before PostgreSQL 14, and where it does not count them there.
    pub flushes: Option<f64>,
    pub wal_mb: Option<f64>,
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Ledger {
    /// `None` where there is no PostgreSQL.
    pub async fn read(client: Option<&Client>) -> Option<Self> {
        let client = client?;
        let commits = "SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()";
        let commits = client.query_one(commits, &[]).await.unwrap().get(0);
        // As text: the columns differ from version to version.
        let wal =
            client.query_opt("SELECT to_jsonb(wal)::text FROM pg_stat_wal wal", &[]).await.ok().flatten();
        let wal: Option<Value> = wal.and_then(|row| serde_json::from_str(row.get(0)).ok());
        let number = |key: &str| wal.as_ref()?.get(key)?.as_f64();
        let wal_mb = number("wal_bytes").map(|bytes| bytes / MB);
        Some(Self { commits, flushes: number("wal_sync"), wal_mb })
    }

    pub fn since(&self, before: &Self) -> Self {
        let less = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Self {
            commits: self.commits - before.commits,
            flushes: less(self.flushes, before.flushes),
            wal_mb: less(self.wal_mb, before.wal_mb),
        }
    }
}

/// A statement and what it took.
#[derive(Debug, Clone, Serialize)]
pub struct Statement {
    pub calls: i64,
    pub total_ms: f64,
    pub mean_ms: f64,
    pub rows: i64,
    pub statement: String,
}

/// Lets PostgreSQL count statements. It starts anew.
pub async fn count_statements(postgres: &sebastian_testkit::Postgres) {
    let client = connect(&postgres.url()).await;
    client.batch_execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'").await.unwrap();
    drop(client);
    postgres.restart().await;
    let client = connect(&postgres.url()).await;
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
}

/// Counts anew.
pub async fn forget_statements(postgres_url: &str) {
    let client = connect(postgres_url).await;
    client.query("SELECT pg_stat_statements_reset()", &[]).await.unwrap();
}

/// The statements that took most.
pub async fn statements(postgres_url: &str) -> Vec<Statement> {
    let client = connect(postgres_url).await;
    let sql = "
        SELECT calls, total_exec_time, mean_exec_time, rows, regexp_replace(query, '\\s+', ' ', 'g')
        FROM pg_stat_statements
        ORDER BY total_exec_time DESC
        LIMIT 24";
    let rows = client.query(sql, &[]).await.unwrap();
    let statement = |row: &tokio_postgres::Row| Statement {
        calls: row.get(0),
        total_ms: row.get(1),
        mean_ms: row.get(2),
        rows: row.get(3),
        statement: row.get::<_, &str>(4).chars().take(110).collect(),
    };
    rows.iter().map(statement).collect()
}
