//! Where the demo keeps its ledger: on disk, as the product does, and gone afterwards.

use std::{path::Path, sync::Arc};

use sebastian_core::Timing;
use sebastian_store::{MemoryStore, Outbox, SqliteStore, Store};
use tempfile::TempDir;

use crate::failure::Failure;

/// The ledger of a play, and the folder it is in. Dropping it removes that.
pub(crate) enum Home {
    Folder(TempDir),
    Memory,
}

/// The two sides of the ledger.
pub(crate) type Ledger = (Arc<dyn Store>, Arc<dyn Outbox>);

impl Home {
    /// A temporary folder of this play, unless it is to be in memory.
    pub fn new(in_memory: bool) -> Result<Self, Failure> {
        if in_memory {
            return Ok(Self::Memory);
        }
        tempfile::Builder::new()
            .prefix("sebastian-demo-")
            .tempdir()
            .map(Self::Folder)
            .map_err(Failure::Temporary)
    }

    /// The folder, for whoever ends the process without dropping this.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder.path()),
            Self::Memory => None,
        }
    }

    /// An empty ledger.
    pub async fn ledger(&self, timing: Timing) -> Result<Ledger, Failure> {
        match self {
            Self::Folder(folder) => {
                let store = SqliteStore::open(&folder.path().join("ledger.db"), timing)?;
                store.migrate().await?;
                let store = Arc::new(store);
                Ok((store.clone(), store))
            }
            Self::Memory => {
                let store = Arc::new(MemoryStore::new(timing));
                Ok((store.clone(), store))
            }
        }
    }

    /// What the ledger was, for the summary.
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::Folder(_) => {
                "embedded: each commit on disk before it was answered; its temporary folder goes with the demo"
            }
            Self::Memory => "in memory: nothing was written to disk",
        }
    }
}
