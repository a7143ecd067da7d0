//! The commands that run no process.

use sebastian_core::RoomId;
use sebastian_ingest::set_webhooks;

use crate::{
    cli::Process,
    compose::{
        parts::{self, Parts},
        storage::{Ledger, Storage},
    },
    config::{Loaded, Problem, Shown},
    explain,
    failure::Failure,
    ledgers::{self, Backup, Move, Restore},
    operate::{self, Form, Parked, Pause, Policies, Queue, Resume},
    print,
};

/// Brings the ledger's schema up to date and prints what was done.
pub(crate) async fn migrate(loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    // The schema needs no Redis.
    let ledger = match &config.db.connection_string {
        Some(_) => Ledger::Postgres(parts::postgres(config)?),
        None => match parts::storage(config, None)? {
            Storage::Servers(servers) => Ledger::Postgres(servers.store),
            Storage::Folder(folder) => {
                folder.make()?;
                Ledger::Embedded(folder.open(config)?)
            }
        },
    };
    let migrated = ledger.migrate().await?;
    for name in &migrated.applied {
        print(&format!("applied {name}\n"));
    }
    print(&format!("the ledger's schema is at version {}\n", migrated.version));
    Ok(())
}

/// Points the platform's webhooks at us, or shows what that would change.
pub(crate) async fn set_webhook(loaded: &Loaded, dry_run: bool) -> Result<(), Failure> {
    let (app_id, platform) = parts::qiscus(&loaded.config)?;
    let targets = parts::targets(&loaded.config, &app_id)?;
    let targets = targets.ok_or_else(|| Problem::missing("webhook.base_url"))?;
    print(&set_webhooks(&platform, &targets, dry_run).await?.to_string());
    Ok(())
}

/// Prints why the room's conversation stands where it stands.
pub(crate) async fn explain(loaded: &Loaded, room: &RoomId, form: Form) -> Result<(), Failure> {
    print(&explain::explain(loaded, room, form).await?);
    Ok(())
}

/// Shows or changes assignment policies.
pub(crate) async fn policies(loaded: &Loaded, asked: Policies) -> Result<(), Failure> {
    print(&operate::policies(loaded, asked).await?);
    Ok(())
}

/// Prints every agent.
pub(crate) async fn agents(loaded: &Loaded, form: Form) -> Result<(), Failure> {
    print(&operate::agents(loaded, form).await?);
    Ok(())
}

/// Prints what waits.
pub(crate) async fn queue(loaded: &Loaded, asked: Queue) -> Result<(), Failure> {
    print(&operate::queue(loaded, asked).await?);
    Ok(())
}

/// Prints what is parked, or tries it again.
pub(crate) async fn parked(loaded: &Loaded, asked: Parked) -> Result<(), Failure> {
    print(&operate::parked(loaded, asked).await?);
    Ok(())
}

/// Pauses an agent, an inbox or the account.
pub(crate) async fn pause(loaded: &Loaded, asked: Pause) -> Result<(), Failure> {
    print(&operate::pause(loaded, asked).await?);
    Ok(())
}

/// Ends a pause.
pub(crate) async fn resume(loaded: &Loaded, asked: Resume) -> Result<(), Failure> {
    print(&operate::resume(loaded, asked).await?);
    Ok(())
}

/// Copies the embedded ledger.
pub(crate) fn backup(loaded: &Loaded, asked: &Backup) -> Result<(), Failure> {
    print(&ledgers::backup(loaded, asked)?);
    Ok(())
}

/// Puts a copy of the embedded ledger back.
pub(crate) fn restore(loaded: &Loaded, asked: &Restore) -> Result<(), Failure> {
    print(&ledgers::restore(loaded, asked)?);
    Ok(())
}

/// Moves the embedded ledger to PostgreSQL.
pub(crate) async fn move_ledger(loaded: &Loaded, asked: &Move) -> Result<(), Failure> {
    print(&ledgers::move_ledger(loaded, asked).await?);
    Ok(())
}

/// Prints every setting in force, then fails if `process`, or without one any, could not run with them. Connects to nothing.
pub(crate) fn check_config(loaded: &Loaded, process: Option<Process>) -> Result<(), Failure> {
    let width =
        loaded.shown.iter().map(|shown| shown.key.len() + shown.value.len()).max().unwrap_or_default();
    for Shown { key, value, origin } in &loaded.shown {
        let gap = width.saturating_sub(key.len() + value.len());
        print(&format!("{key}: {value}{:gap$}  # {origin}\n", ""));
    }
    for warning in &loaded.warnings {
        print(&format!("warning: {warning}\n"));
    }
    let parts = Parts::new(&loaded.config, process.unwrap_or(Process::All))?;
    if let Storage::Folder(folder) = parts.storage {
        print(&format!("the ledger is embedded, in {}\n", folder.path().display()));
    }
    Ok(())
}
