//! The ledger in a file, held still while it is read.

use std::{collections::BTreeMap, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, Row};
use tokio::sync::mpsc::Sender;
use tokio_postgres::types::Type;

use super::{
    cell::{Cell, Digest},
    tables::{STATES, States, TABLES, Table},
};
use crate::{
    StoreError,
    sqlite::{error::broken, migrate},
};

/// Rows handed over at a time.
const BATCH_ROWS: usize = 1_000;

/// Longest to wait for a command by hand that writes.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// When the schema of a ledger was made, to the nanosecond: no two have the same, and a copy keeps it.
const BORN: &str = "SELECT applied_on FROM refinery_schema_history ORDER BY version LIMIT 1";

/// The largest number a column ever had: of rows deleted since, too.
const LAST: &str = "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = ?1";

/// Events that are folded and gone number the next ones all the same.
const FOLDED: &str = "SELECT COALESCE(MAX(folded_seq), 0) FROM accounts";

/// The file, in a transaction that no other writer gets past and that changes nothing.
pub(super) struct Source {
    connection: Connection,
}

/// What there is to know of a file beside its rows.
pub(super) struct Facts {
    /// What tells this ledger from every other.
    pub born: String,
    /// Of all tables.
    pub rows: u64,
    pub states: States,
    /// The number after which each table goes on; of those that are not numbered, zero.
    pub last_numbers: Vec<i64>,
}

impl Facts {
    /// By state, over all accounts.
    pub fn states_in_all(&self) -> Vec<(String, i64)> {
        let mut sums: BTreeMap<&String, i64> = BTreeMap::new();
        for ((_, state), count) in &self.states {
            *sums.entry(state).or_default() += count;
        }
        sums.into_iter().map(|(state, count)| (state.clone(), count)).collect()
    }
}

/// What comes of a table, in the order of [`TABLES`].
pub(super) enum Part {
    Rows(Vec<Vec<Cell>>),
    End,
}

impl Source {
    /// Fails with [`StoreError::Schema`] where the schema is older than this program's, and where a newer program was at
    /// it: what it added would be left behind.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)
            .map_err(|e| broken(&format!("{} cannot be opened", file.display()), e))?;
        connection.busy_timeout(BUSY_MAX)?;
        let schema = migrate::check(&connection)?;
        if schema.found > schema.needed {
            return Err(super::newer("the ledger in the folder", schema));
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Self { connection })
    }

    /// What there is to know beside the rows.
    pub fn facts(&self) -> Result<Facts, StoreError> {
        let count = |table: &Table| self.connection.query_row(&table.count(), [], |row| row.get::<_, i64>(0));
        let rows: i64 = TABLES.iter().map(count).sum::<Result<_, _>>()?;
        let mut statement = self.connection.prepare(STATES)?;
        let state = |row: &Row<'_>| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
        Ok(Facts {
            born: self.connection.query_row(BORN, [], |row| row.get(0))?,
            rows: u64::try_from(rows).unwrap_or(0),
            states: statement.query_map([], state)?.collect::<Result<_, _>>()?,
            last_numbers: self.last_numbers()?,
        })
    }

    fn last_numbers(&self) -> Result<Vec<i64>, StoreError> {
        let folded: i64 = self.connection.query_row(FOLDED, [], |row| row.get(0))?;
        let last = |table: &Table| -> Result<i64, StoreError> {
            if table.numbered.is_none() {
                return Ok(0);
            }
            let last = self.connection.query_row(LAST, [table.name], |row| row.get(0))?;
            Ok(if table.name == "events" { folded.max(last) } else { last })
        };
        TABLES.iter().map(last).collect()
    }

    /// Hands every row over, `types` being what its columns are in PostgreSQL, and returns what the rows come to. Ends
    /// early, and is of no use then, when nobody takes them any more. Blocks.
    pub fn hand_over(&self, types: &[Vec<Type>], to: &Sender<Part>) -> Result<Vec<Digest>, StoreError> {
        let mut digests = Vec::with_capacity(TABLES.len());
        for (table, types) in TABLES.iter().zip(types) {
            let mut statement = self.connection.prepare(&table.read_file())?;
            let (mut rows, mut digest) = (statement.query([])?, Digest::default());
            let mut batch = Vec::with_capacity(BATCH_ROWS);
            while let Some(row) = rows.next()? {
                let cells = cells(row, types).map_err(|e| in_table(table, e))?;
                digest.add(&cells);
                batch.push(cells);
                if batch.len() == BATCH_ROWS {
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                    if to.blocking_send(Part::Rows(full)).is_err() {
                        return Ok(digests);
                    }
                }
            }
            digests.push(digest);
            if to.blocking_send(Part::Rows(batch)).is_err() || to.blocking_send(Part::End).is_err() {
                return Ok(digests);
            }
        }
        Ok(digests)
    }
}

fn cells(row: &Row<'_>, types: &[Type]) -> Result<Vec<Cell>, StoreError> {
    types.iter().enumerate().map(|(column, of)| Cell::in_file(row.get_ref(column)?, of)).collect()
}

fn in_table(table: &Table, error: StoreError) -> StoreError {
    StoreError::Broken(format!("table {} of the ledger in the folder", table.name), Some(error.into()))
}
