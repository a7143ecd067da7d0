//! PostgreSQL, taking a ledger in: one transaction, which holds everybody else off.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use deadpool_postgres::ClientWrapper;
use futures_util::TryStreamExt;
use tokio::sync::mpsc::Receiver;
use tokio_postgres::{Client, Transaction, binary_copy::BinaryCopyInWriter, types::Type};

use super::{
    MoveError,
    cell::{Cell, Digest},
    source::Part,
    tables::{self, STATES, States, TABLES, Table},
};
use crate::{PostgresStore, SchemaVersion, StoreError, crash_point, postgres};

/// The session's own limits: a copy takes longer than a statement of the running ledger may.
const SESSION: &str = "
    SET application_name = 'sebastian move';
    SET statement_timeout = 0;
    SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '120s'";

/// How long a process that was just stopped may take to leave the server.
const LEAVING: Duration = Duration::from_secs(2);

const OTHERS: &str = "
    SELECT COUNT(*)
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'sebastian'";

/// $1 which ledger.
const MOVED: &str = "SELECT digest FROM moves WHERE ledger = $1";

/// $1 which ledger, $2 the digest of all its tables.
const NOTE: &str = "INSERT INTO moves (ledger, moved_at, digest) VALUES ($1, clock_timestamp(), $2)";

/// A session of its own, at a schema this program knows.
pub(super) struct Target {
    client: ClientWrapper,
}

impl Target {
    /// Makes the schema where there is none; one that is older or newer is left alone.
    pub async fn open(store: &PostgresStore) -> Result<Self, MoveError> {
        let mut client = store.session().await.map_err(MoveError::Target)?;
        client.batch_execute(SESSION).await.map_err(target)?;
        match postgres::migrate::check(&client).await {
            Ok(SchemaVersion { found, needed }) if found > needed => {
                let newer = super::newer("the database", SchemaVersion { found, needed });
                return Err(MoveError::Target(newer));
            }
            Ok(_) => {}
            Err(StoreError::Schema { found: 0, .. }) => {
                postgres::migrate::run(&mut client).await.map_err(MoveError::Target)?;
                // Migrations have limits of their own.
                client.batch_execute(SESSION).await.map_err(target)?;
            }
            Err(error) => return Err(MoveError::Target(error)),
        }
        let target = Self { client };
        target.is_left_alone().await?;
        Ok(target)
    }

    /// Fails while other processes of ours are connected.
    async fn is_left_alone(&self) -> Result<(), MoveError> {
        let began = Instant::now();
        loop {
            let row = self.client.query_one(OTHERS, &[]).await.map_err(target)?;
            match row.try_get::<_, i64>(0).map_err(target)? {
                0 => return Ok(()),
                connections if began.elapsed() > LEAVING => return Err(MoveError::Served { connections }),
                _ => tokio::time::sleep(LEAVING / 20).await,
            }
        }
    }

    /// Begins, with every table locked.
    pub async fn begin(&mut self) -> Result<Intake<'_>, StoreError> {
        let client: &mut Client = &mut self.client;
        let tx = client.transaction().await?;
        tx.batch_execute(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables::names())).await?;
        let mut types = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            let statement = tx.prepare(&table.read_target()).await?;
            types.push(statement.columns().iter().map(|column| column.type_().clone()).collect());
        }
        Ok(Intake { tx, types })
    }
}

fn target(error: tokio_postgres::Error) -> MoveError {
    MoveError::Target(error.into())
}

/// What a database holds before a move.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// No row.
    Nothing,
    /// What an earlier move of the same ledger brought, and nothing has changed since.
    EarlierMove,
    /// Something else: rows of each table that has any.
    Another(Vec<(&'static str, u64)>),
}

/// The transaction that takes the ledger in. Dropped, it leaves everything as it was.
pub(super) struct Intake<'a> {
    tx: Transaction<'a>,
    /// Of the columns of each table.
    pub types: Vec<Vec<Type>>,
}

impl Intake<'_> {
    /// What there is. `born` tells the ledger from others.
    pub async fn holds(&self, born: &str) -> Result<Holds, StoreError> {
        let mut rows = Vec::new();
        for table in TABLES {
            let count: i64 = self.tx.query_one(&table.count(), &[]).await?.try_get(0)?;
            rows.push((table.name, u64::try_from(count).unwrap_or(0)));
        }
        rows.retain(|(_, count)| *count > 0);
        if rows.is_empty() {
            return Ok(Holds::Nothing);
        }
        let Some(moved) = self.tx.query_opt(MOVED, &[&born]).await? else { return Ok(Holds::Another(rows)) };
        let is_unchanged =
            moved.try_get::<_, &str>("digest")? == Digest::of_all(&self.digests(|_| ()).await?);
        Ok(if is_unchanged { Holds::EarlierMove } else { Holds::Another(rows) })
    }

    /// Empties what an earlier move brought.
    pub async fn empty(&self) -> Result<(), StoreError> {
        Ok(self.tx.batch_execute(&format!("TRUNCATE moves, {}", tables::names())).await?)
    }

    /// Takes a table in, and tells of every batch of rows. False: its rows end before the table does.
    pub async fn take(
        &self,
        number: usize,
        parts: &mut Receiver<Part>,
        mut taken: impl FnMut(usize),
    ) -> Result<bool, StoreError> {
        let sink = self.tx.copy_in(&TABLES[number].fill_target()).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &self.types[number]));
        loop {
            match parts.recv().await {
                Some(Part::Rows(rows)) => {
                    for row in &rows {
                        writer.as_mut().write_raw(row).await?;
                    }
                    taken(rows.len());
                    crash_point!("moving");
                }
                Some(Part::End) => break,
                None => return Ok(false),
            }
        }
        writer.finish().await?;
        Ok(true)
    }

    /// Lets each table go on numbering after the last number the file gave out.
    pub async fn number_after(&self, last: &[i64]) -> Result<(), StoreError> {
        for (Table { name, numbered, .. }, last) in TABLES.iter().zip(last) {
            if let Some(column) = numbered {
                let next = last.saturating_add(1);
                let restart = format!("ALTER TABLE {name} ALTER COLUMN {column} RESTART WITH {next}");
                self.tx.batch_execute(&restart).await?;
            }
        }
        Ok(())
    }

    /// Reads everything back, telling of each table before.
    pub async fn digests(&self, mut reading: impl FnMut(usize)) -> Result<Vec<Digest>, StoreError> {
        let mut digests = Vec::with_capacity(TABLES.len());
        for (number, table) in TABLES.iter().enumerate() {
            reading(number);
            let mut digest = Digest::default();
            let rows = self.tx.query_raw(&table.read_target(), std::iter::empty::<&Cell>()).await?;
            let mut rows = pin!(rows);
            while let Some(row) = rows.try_next().await? {
                let cells = (0..row.len()).map(|column| row.try_get(column));
                digest.add(&cells.collect::<Result<Vec<Cell>, _>>()?);
            }
            digests.push(digest);
        }
        Ok(digests)
    }

    /// How many conversations stand where.
    pub async fn states(&self) -> Result<States, StoreError> {
        let rows = self.tx.query(STATES, &[]).await?;
        let state = |row: &tokio_postgres::Row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?));
        rows.iter().map(state).collect()
    }

    /// What of the promises does not hold over what was taken in.
    pub async fn broken_promises(&self) -> Result<Vec<String>, StoreError> {
        postgres::auditing::broken_promises(&self.tx).await
    }

    /// Notes where it came from, refreshes what the planner knows, and commits. An error leaves open whether it did.
    pub async fn commit(self, born: &str, digests: &[Digest]) -> Result<(), StoreError> {
        self.tx.execute(NOTE, &[&born, &Digest::of_all(digests)]).await?;
        self.tx.batch_execute(&format!("ANALYZE {}", tables::names())).await?;
        crash_point!("moved");
        Ok(self.tx.commit().await?)
    }
}
