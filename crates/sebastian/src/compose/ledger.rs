//! Getting the ledger ready, however long it takes to come up.

use std::time::Duration;

use sebastian_core::{AccountId, chain};
use sebastian_store::{SchemaVersion, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{PLATFORM, storage::Ledger};

/// Between attempts: short at first, for a database that starts beside us, then no more than a line in a while.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Brings the schema up to date, or with `migrate` off makes sure it is, and opens the tenant's account.
///
/// A ledger that cannot be reached is tried again until `stop`, whereupon it returns `None`. One that can and refuses
/// is an error.
pub(crate) async fn open_account(
    ledger: &Ledger,
    migrate: bool,
    tenant: &str,
    stop: &CancellationToken,
) -> Result<Option<AccountId>, StoreError> {
    let mut pause = PAUSE_MIN;
    loop {
        let Some(opened) = stop.run_until_cancelled(try_open(ledger, migrate, tenant)).await else {
            return Ok(None);
        };
        match opened {
            Err(error @ (StoreError::Unavailable(_) | StoreError::Contended(_))) => {
                let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                warn!(error = %chain(&error), retry_ms, "the ledger is not ready, trying again in {retry_ms} ms");
            }
            opened => return opened.map(Some),
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(None);
        }
        pause = PAUSE_MAX.min(pause * 2);
    }
}

async fn try_open(ledger: &Ledger, migrate: bool, tenant: &str) -> Result<AccountId, StoreError> {
    match ledger.check_schema().await {
        Err(StoreError::Schema { found, .. }) if migrate => {
            let migrated = ledger.migrate().await?;
            // Another process that started beside this one may have done it.
            if !migrated.applied.is_empty() {
                info!("brought the ledger's schema from version {found} to {}", migrated.version);
            }
        }
        Ok(SchemaVersion { found, needed }) if found > needed => warn!(
            "the ledger's schema is at version {found}, which a newer program than this one brought; this one knows \
             version {needed}: fine during a roll-out or after rolling one back, no state to stay in"
        ),
        checked => {
            checked?;
        }
    }
    ledger.store().open_account(PLATFORM, tenant).await
}
