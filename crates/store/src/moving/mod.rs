//! Growing up: a ledger in a file becomes one in PostgreSQL, with every number it gave out.
//!
//! It goes over in one transaction, which is committed only when what was written, read back, is what the file holds, and
//! the promises that can be looked at hold over it. So a move that is interrupted, whenever, leaves the database as it
//! was; the file is only read.

mod cell;
mod source;
mod tables;
mod target;

use std::{path::Path, sync::Arc};

use self::{
    cell::Digest,
    source::{Facts, Source},
    tables::TABLES,
    target::{Holds, Intake, Target},
};
use crate::{PostgresStore, SchemaVersion, StoreError};

/// Batches of rows that are read ahead.
const AHEAD: usize = 8;

/// Why a ledger was not moved. Unless it says otherwise, the database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The ledger in the file.
    #[error("the ledger to move cannot be read")]
    Source(#[source] StoreError),
    /// The database.
    #[error("the database to move to cannot be used")]
    Target(#[source] StoreError),
    /// Other processes use the database.
    #[error(
        "the database is in use: processes of Sebastian hold {connections} connections to it; stop them all first"
    )]
    Served {
        /// How many they hold.
        connections: i64,
    },
    /// The database holds something else than an untouched earlier move of this ledger.
    #[error(
        "the database holds a ledger already ({}): move into an empty database, or drop this one and make it anew",
        .0.iter().map(|(table, rows)| format!("{table}: {rows}")).collect::<Vec<_>>().join(", ")
    )]
    Occupied(Vec<(&'static str, u64)>),
    /// What was written is not what was read, or a promise does not hold.
    #[error("nothing was moved, since not everything adds up: {}", .0.join("; "))]
    DoesNotAddUp(Vec<String>),
    /// The commit was not answered.
    #[error(
        "the database did not answer whether it has the ledger now: run the same command again, it finds out"
    )]
    Unknown(#[source] StoreError),
}

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// With which table.
    pub table: &'static str,
    /// Rows of it that are copied.
    pub table_rows: u64,
    /// Rows of all tables that are copied.
    pub rows: u64,
    /// Rows of all tables that there are.
    pub of: u64,
}

/// What a move does with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows go over.
    Copying,
    /// All of its rows are over.
    Copied,
    /// It is read back.
    Verifying,
}

/// A ledger that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Rows of each table.
    pub tables: Vec<(&'static str, u64)>,
    /// How many conversations stand where, by state, over all accounts; `unfolded` are events yet to be folded.
    pub states: Vec<(String, i64)>,
    /// Whether it took the place of an earlier move.
    pub is_again: bool,
}

/// Copies the whole ledger in `file`, leases apart, into the database of `to`, whose schema is made if there is none.
///
/// Nobody may use either meanwhile: whoever writes to the file is held off, and a database that processes of ours are
/// connected to is refused. So is one that holds anything but what an earlier call brought from the same ledger and nobody has
/// changed since; that is replaced. Takes as long as it takes, whatever other calls are bounded by.
pub async fn move_ledger(
    file: &Path,
    to: &PostgresStore,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Moved, MoveError> {
    let file = file.to_owned();
    let opened = blocking(move || {
        let source = Source::open(&file)?;
        Ok((source.facts()?, source))
    });
    let (facts, source) = opened.await.map_err(MoveError::Source)?;
    let mut target = Target::open(to).await?;
    let intake = target.begin().await.map_err(MoveError::Target)?;
    let is_again = match intake.holds(&facts.born).await.map_err(MoveError::Target)? {
        Holds::Nothing => false,
        Holds::EarlierMove => true,
        Holds::Another(rows) => return Err(MoveError::Occupied(rows)),
    };
    if is_again {
        intake.empty().await.map_err(MoveError::Target)?;
    }
    let (source, digests) = copy(source, &facts, &intake, progress).await?;
    intake.number_after(&facts.last_numbers).await.map_err(MoveError::Target)?;
    verify(&facts, &intake, &digests, progress).await?;
    intake.commit(&facts.born, &digests).await.map_err(MoveError::Unknown)?;
    // Until here nobody else could write to it.
    drop(source);
    let tables = TABLES.iter().zip(&digests).map(|(table, digest)| (table.name, digest.rows)).collect();
    Ok(Moved { tables, states: facts.states_in_all(), is_again })
}

/// Copies every table, the file being read on a thread of its own. Returns what the file's rows come to.
async fn copy(
    source: Source,
    facts: &Facts,
    intake: &Intake<'_>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(Source, Vec<Digest>), MoveError> {
    let of = facts.rows;
    let types = Arc::new(intake.types.clone());
    let (sender, mut parts) = tokio::sync::mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || {
        let digests = source.hand_over(&types, &sender);
        (source, digests)
    });
    let mut rows = 0;
    let mut taken = Ok(true);
    for (number, table) in TABLES.iter().enumerate() {
        let (before, table) = (rows, table.name);
        let tell = |step, rows: u64| progress(Progress { step, table, table_rows: rows - before, rows, of });
        taken = intake
            .take(number, &mut parts, |more| {
                rows += more as u64;
                tell(Step::Copying, rows);
            })
            .await;
        if !matches!(taken, Ok(true)) {
            break;
        }
        tell(Step::Copied, rows);
    }
    // The reader ends when nobody takes what it reads.
    drop(parts);
    let (source, digests) = reading.await.map_err(|e| MoveError::Source(ended(e)))?;
    taken.map_err(MoveError::Target)?;
    Ok((source, digests.map_err(MoveError::Source)?))
}

/// Reads everything back, and fails unless it is what the file holds and the promises hold over it.
async fn verify(
    facts: &Facts,
    intake: &Intake<'_>,
    digests: &[Digest],
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), MoveError> {
    let of = facts.rows;
    let verifying = |number: usize| {
        let (step, table, table_rows) = (Step::Verifying, TABLES[number].name, digests[number].rows);
        progress(Progress { step, table, table_rows, rows: of, of });
    };
    let read_back = intake.digests(verifying).await.map_err(MoveError::Target)?;
    let mut wrong = Vec::new();
    for (table, (ours, theirs)) in TABLES.iter().zip(digests.iter().zip(&read_back)) {
        if ours.rows != theirs.rows {
            wrong.push(format!("of {} rows of {} there are {}", ours.rows, table.name, theirs.rows));
        } else if ours != theirs {
            wrong.push(format!("the rows of {} are not the same", table.name));
        }
    }
    if facts.states != intake.states().await.map_err(MoveError::Target)? {
        wrong.push("the counts of conversations are not the same".to_owned());
    }
    wrong.extend(intake.broken_promises().await.map_err(MoveError::Target)?);
    if wrong.is_empty() { Ok(()) } else { Err(MoveError::DoesNotAddUp(wrong)) }
}

/// Every column that is moved, as PostgreSQL names it, with its table; a test holds them against the schema.
pub fn columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLES.iter().flat_map(|table| table.columns.iter().map(|column| (table.name, *column)))
}

/// What is to be said of a schema that a newer program made.
fn newer(whose: &str, SchemaVersion { found, needed }: SchemaVersion) -> StoreError {
    let text = format!(
        "the schema of {whose} is at version {found}, this program knows {needed}: use the newer program, so that \
         nothing it added is left behind"
    );
    StoreError::Broken(text, None)
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(call).await.map_err(ended)?
}

fn ended(error: tokio::task::JoinError) -> StoreError {
    StoreError::Broken("the thread that reads the file broke down".to_owned(), Some(error.into()))
}
