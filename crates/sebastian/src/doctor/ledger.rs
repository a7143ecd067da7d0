//! The ledger: whether it answers, whether its schema fits, and what its clock says or how much room it has.

use sebastian_core::chain;
use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::{Access, access, statvfs};
use sebastian_store::{PostgresStore, SchemaVersion, Store, StoreError};

use super::{clock, finding::Finding};
use crate::{
    compose::{
        folder::{DataFolder, FolderError},
        parts,
        storage::Storage,
    },
    config::Config,
};

const CHECK: &str = "ledger";
const FOLDER: &str = "data folder";

/// A month of a large desk; and what the write-ahead log, a backup and a restore need at least.
const FREE_WARN_MB: u64 = 1_000;
const FREE_FAIL_MB: u64 = 100;

/// Where the ledger is, and how it is. What is missing in the settings is told with them.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    const MODE: &str = "mode";
    let (mode, mut findings) = match parts::storage(config, None) {
        Ok(Storage::Servers(servers)) => {
            let mode = "servers: PostgreSQL and Redis, for any number of processes".to_owned();
            (mode, postgres(config, &servers.store).await)
        }
        Ok(Storage::Folder(folder)) => {
            let mode =
                format!("embedded: one process, `-e all`, with its ledger in {}", folder.path().display());
            let mut findings = vec![room(&folder)];
            findings.extend(embedded(config, &folder).await);
            (mode, findings)
        }
        Err(_) => return vec![],
    };
    findings.insert(0, Finding::ok(MODE, mode));
    findings
}

async fn postgres(config: &Config, store: &PostgresStore) -> Vec<Finding> {
    let schema = match store.check_schema().await {
        Ok(version) => fitting("PostgreSQL", version),
        Err(StoreError::Schema { found, needed }) => behind(config, "PostgreSQL", found, needed),
        Err(error) => {
            let mend = "start PostgreSQL, or correct `db.connection_string`";
            return vec![Finding::fail(CHECK, chain(&error), mend)];
        }
    };
    vec![schema, database_clock(store).await]
}

async fn embedded(config: &Config, folder: &DataFolder) -> Vec<Finding> {
    match folder.look_for_ledger() {
        Ok(()) => {}
        Err(FolderError::Empty(_)) => return vec![Finding::ok(CHECK, "none yet: the first start makes it")],
        // The folder's line has told.
        Err(_) => return vec![],
    }
    let schema = match folder.open(config) {
        Ok(store) => store.check_schema().await,
        Err(error) => Err(error),
    };
    let ledger = match schema {
        Ok(version) => fitting("its file", version),
        Err(StoreError::Schema { found, needed }) => behind(config, "its file", found, needed),
        Err(error) => {
            let mend = "see that ledger.db there is yours and whole; else bring back a backup: `sebastian restore FILE`";
            Finding::fail(CHECK, chain(&error), mend)
        }
    };
    vec![ledger]
}

fn fitting(whose: &str, SchemaVersion { found, needed }: SchemaVersion) -> Finding {
    if found > needed {
        let found = format!("its schema is at version {found}; this program knows version {needed}");
        return Finding::warn(
            CHECK,
            found,
            "fine during a roll-out; else install the newer program here too",
        );
    }
    Finding::ok(CHECK, format!("{whose} answers, with the schema of this program (version {found})"))
}

fn behind(config: &Config, whose: &str, found: u32, needed: u32) -> Finding {
    let told = match found {
        0 => format!("{whose} answers, and holds no ledger yet"),
        found => format!("its schema is at version {found}; this program needs version {needed}"),
    };
    match (config.db.migrate, found) {
        (true, 0) => Finding::ok(CHECK, format!("{told}: the first start makes it")),
        (true, _) => Finding::warn(CHECK, told, "the next start brings it there, or `sebastian migrate` now"),
        (false, _) => {
            Finding::fail(CHECK, told, "run `sebastian migrate` as somebody who may change the schema")
        }
    }
}

async fn database_clock(store: &PostgresStore) -> Finding {
    let before = SystemTime::now();
    let now = store.now().await;
    let asked = (before, SystemTime::now());
    match now {
        Ok(now) => {
            let since = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0));
            let theirs = SystemTime::UNIX_EPOCH + since;
            clock::compare("PostgreSQL", theirs, Duration::from_millis(1), asked)
        }
        Err(error) => Finding::warn("clock", chain(&error), "see the ledger's line"),
    }
}

/// Whether the folder can be written, how much room it has, and who serves from it. Makes nothing.
fn room(folder: &DataFolder) -> Finding {
    let path = folder.path();
    if path.exists() && !path.is_dir() {
        return Finding::fail(FOLDER, FolderError::NotAFolder(path.to_owned()), "");
    }
    if let Err(error) = folder.still_serves() {
        return Finding::fail(FOLDER, error, "");
    }
    // Before the first start, what it will be made in counts.
    let Some(there) = path.ancestors().find(|folder| folder.is_dir()) else {
        return Finding::fail(
            FOLDER,
            format!("{} leads nowhere", path.display()),
            "name another with --data",
        );
    };
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let found =
            format!("{} cannot be written by this user: {}", there.display(), std::io::Error::from(error));
        return Finding::fail(
            FOLDER,
            found,
            "run as the user who serves from it, mend its rights, or name another with --data",
        );
    }
    let who = match (folder.who_holds(), path == there) {
        (Some(who), _) => format!("{who} serves from it"),
        (None, true) => "no process serves from it now".to_owned(),
        (None, false) => "not there yet: the first start makes it".to_owned(),
    };
    if folder.is_on_network() {
        let found =
            format!("{who}; it is on a network file system, where a commit may be lost with the server");
        return Finding::warn(FOLDER, found, "keep it on a disk of this machine, or use PostgreSQL");
    }
    free_space(there, &who)
}

fn free_space(folder: &Path, who: &str) -> Finding {
    let Ok(found) = statvfs(folder) else {
        return Finding::warn(FOLDER, format!("{who}; how much room there is cannot be told"), "see `df`");
    };
    let free_mb = found.f_bavail.saturating_mul(found.f_frsize) / 1_000_000;
    let told = format!("{who}; {free_mb} MB free");
    if free_mb < FREE_FAIL_MB {
        Finding::fail(FOLDER, told, "a full disk refuses webhooks: make room")
    } else if free_mb < FREE_WARN_MB {
        Finding::warn(FOLDER, told, "a full disk refuses webhooks: make room, or lower `db.retention_days`")
    } else {
        Finding::ok(FOLDER, told)
    }
}
