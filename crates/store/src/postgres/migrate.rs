//! Migrations: forward only, under one advisory lock.

use deadpool_postgres::Object;
use tokio_postgres::Client;

use super::error::broken;
use crate::{Migrated, SchemaVersion, StoreError};

mod embedded {
    refinery::embed_migrations!("../../migrations/postgres");
}

/// Taken for as long as migrations run; any number that nobody else uses.
const MIGRATION_LOCK: i64 = 0x5eba_571a;

/// Runs what is missing. Waits for another process that is at it. A schema newer than this program is left alone.
pub async fn migrate(connection: Object) -> Result<Migrated, StoreError> {
    // The session's limits are changed and it holds a lock: the connection never goes back to the pool, and whoever
    // stops waiting for this call ends it.
    run(&mut Object::take(connection)).await
}

/// The same over a session of the caller's, which is left with other limits, and with the lock.
pub(crate) async fn run(client: &mut Client) -> Result<Migrated, StoreError> {
    // An index build may take longer than a statement of the running ledger may.
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = '30s'").await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    let runner = embedded::migrations::runner().set_abort_missing(false);
    let report = runner.run_async(client).await.map_err(|e| broken("a migration failed", e))?;
    let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
    Ok(Migrated { applied, version: needed() })
}

/// The schema's version. Fails unless it is at least the one this program brings.
pub(crate) async fn check(client: &Client) -> Result<SchemaVersion, StoreError> {
    let newest = "SELECT COALESCE(MAX(version), 0) FROM refinery_schema_history";
    let found = match client.query_one(newest, &[]).await {
        Ok(row) => u32::try_from(row.try_get::<_, i32>(0)?).unwrap_or(0),
        Err(e) if e.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE) => 0,
        Err(e) => return Err(e.into()),
    };
    let needed = needed();
    if found < needed {
        Err(StoreError::Schema { found, needed })
    } else {
        Ok(SchemaVersion { found, needed })
    }
}

fn needed() -> u32 {
    let versions = embedded::migrations::runner().get_migrations().iter().map(|m| m.version()).max();
    versions.and_then(|newest| u32::try_from(newest).ok()).unwrap_or(0)
}
