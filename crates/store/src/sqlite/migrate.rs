//! Migrations of the file: forward only, on every start.

use rusqlite::Connection;

use super::error::broken;
use crate::{Migrated, SchemaVersion, StoreError};

mod embedded {
    refinery::embed_migrations!("../../migrations/sqlite");
}

/// Runs what is missing, all of it or nothing: one transaction, with the note of it. A schema newer than this program is
/// left alone.
pub(super) fn migrate(connection: &mut Connection) -> Result<Migrated, StoreError> {
    let runner = embedded::migrations::runner().set_abort_missing(false).set_grouped(true);
    // Who looked before another process was done finds its tables there: the second time it sees why.
    let report = runner.run(connection).or_else(|_| runner.run(connection));
    let report = report.map_err(|e| broken("a migration failed", e))?;
    let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
    Ok(Migrated { applied, version: needed() })
}

/// The schema's version. Fails unless it is at least the one this program brings.
pub(crate) fn check(connection: &Connection) -> Result<SchemaVersion, StoreError> {
    let (found, needed) = (found(connection)?, needed());
    if found < needed {
        Err(StoreError::Schema { found, needed })
    } else {
        Ok(SchemaVersion { found, needed })
    }
}

/// The newest migration applied; zero where there is no ledger.
pub(crate) fn found(connection: &Connection) -> rusqlite::Result<u32> {
    let is_there = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'refinery_schema_history'";
    let newest = "SELECT COALESCE(MAX(version), 0) FROM refinery_schema_history";
    match connection.query_row(is_there, [], |row| row.get::<_, u32>(0))? {
        0 => Ok(0),
        _ => connection.query_row(newest, [], |row| row.get(0)),
    }
}

/// The newest migration this program brings.
pub(crate) fn needed() -> u32 {
    let versions = embedded::migrations::runner().get_migrations().iter().map(|m| m.version()).max();
    versions.and_then(|newest| u32::try_from(newest).ok()).unwrap_or(0)
}
