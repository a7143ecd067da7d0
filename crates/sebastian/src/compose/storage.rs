//! Where a process keeps its ledger and what it shares with others: on servers, or in a folder of its own.

use std::sync::Arc;

use sebastian_core::AccountId;
use sebastian_courier::Queue;
use sebastian_roster::{
    Doorbell, DoorbellError, RedisDoorbell, RedisRosterCache, RedisServer, RosterCache, SavedRosterCache,
    WakeUp, WakeUps, WakeUpsConfig,
};
use sebastian_store::{Migrated, Outbox, PostgresStore, SchemaVersion, SqliteStore, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    folder::{DataFolder, Held},
    redis,
};
use crate::{config::Config, failure::Failure};

/// What the settings call for. Nothing of it is connected to or made yet.
#[derive(Debug)]
pub(crate) enum Storage {
    /// Any number of processes share these.
    Servers(Box<Servers>),
    /// One process serves from it.
    Folder(DataFolder),
}

/// PostgreSQL and Redis.
pub(crate) struct Servers {
    pub store: PostgresStore,
    pub redis: RedisServer,
}

/// Storage in use.
pub(crate) struct Opened {
    pub ledger: Ledger,
    pub shared: Shared,
    /// What keeps other processes away, where only one may serve.
    pub held: Option<Held>,
}

/// The ledger of a running desk.
#[derive(Clone)]
pub(crate) enum Ledger {
    Postgres(PostgresStore),
    Embedded(SqliteStore),
}

/// How rosters and wake-ups get from one process to another.
pub(crate) enum Shared {
    /// Through Redis.
    Redis(RedisServer),
    /// There is one process: rosters stand in its folder, for its next start and for commands by hand.
    Folder(DataFolder),
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

impl Storage {
    /// For a process that serves. A Redis that is there and set wrongly is refused, and so is a folder that cannot be
    /// held; `None` when told to stop meanwhile.
    pub async fn serve(self, config: &Config, stop: &CancellationToken) -> Result<Opened, Failure> {
        match self {
            Self::Servers(servers) => {
                let Servers { store, redis } = *servers;
                redis::check_memory(&redis, stop).await?;
                Ok(Opened { ledger: Ledger::Postgres(store), shared: Shared::Redis(redis), held: None })
            }
            Self::Folder(folder) => {
                let held = folder.hold()?;
                folder.still_serves()?;
                let ledger = Ledger::Embedded(folder.open(config)?);
                let shown = folder.path().display().to_string();
                info!(data = shown, "embedded ledger in {shown}");
                Ok(Opened { ledger, shared: Shared::Folder(folder), held: Some(held) })
            }
        }
    }

    /// For a command by hand, which may run beside processes that serve. Fails where there is no ledger yet.
    pub fn visit(self, config: &Config) -> Result<Opened, Failure> {
        match self {
            Self::Servers(servers) => {
                let Servers { store, redis } = *servers;
                Ok(Opened { ledger: Ledger::Postgres(store), shared: Shared::Redis(redis), held: None })
            }
            Self::Folder(folder) => {
                folder.look_for_ledger()?;
                let ledger = Ledger::Embedded(folder.open(config)?);
                Ok(Opened { ledger, shared: Shared::Folder(folder), held: None })
            }
        }
    }
}

impl Ledger {
    /// As the parts of a process take it.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Embedded(store) => Arc::new(store.clone()),
        }
    }

    /// The part of it that events go out from.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Embedded(store) => Arc::new(store.clone()),
        }
    }

    /// Runs what is missing of the migrations.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        match self {
            Self::Postgres(store) => store.migrate().await,
            Self::Embedded(store) => store.migrate().await,
        }
    }

    /// The schema's version. Fails unless every migration this program brings has been applied.
    pub async fn check_schema(&self) -> Result<SchemaVersion, StoreError> {
        match self {
            Self::Postgres(store) => store.check_schema().await,
            Self::Embedded(store) => store.check_schema().await,
        }
    }
}

impl Shared {
    /// Where rosters are published.
    pub fn cache(&self) -> Arc<dyn RosterCache> {
        match self {
            Self::Redis(server) => Arc::new(RedisRosterCache::new(server)),
            Self::Folder(folder) => Arc::new(SavedRosterCache::new(folder.roster())),
        }
    }

    /// What wakes workers in other processes.
    pub fn doorbell(&self) -> Arc<dyn Doorbell> {
        match self {
            Self::Redis(server) => Arc::new(RedisDoorbell::new(server)),
            Self::Folder(_) => Arc::new(NoDoorbell),
        }
    }

    /// What wakes the worker in this process: its own bell and the sweep in any case. Must be called within a tokio
    /// runtime.
    pub fn wakes(&self, config: &Config, account: AccountId, stop: &CancellationToken) -> WakeUps {
        let config =
            WakeUpsConfig { accounts: vec![account], sweep: config.worker.sweep, stop: stop.clone() };
        match self {
            Self::Redis(server) => WakeUps::redis(config, server),
            Self::Folder(_) => WakeUps::in_process(config),
        }
    }

    /// How couriers share the work.
    pub fn queue(&self) -> Queue {
        match self {
            Self::Redis(server) => Queue::Redis(server.clone()),
            Self::Folder(_) => Queue::InProcess,
        }
    }

    /// Whether there is a server between processes, which may be down.
    pub fn has_server(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

/// Nothing leads from a command by hand to the process that serves from the folder; its sweep finds what was changed.
struct NoDoorbell;

#[async_trait::async_trait]
impl Doorbell for NoDoorbell {
    async fn ring(&self, _: WakeUp) -> Result<(), DoorbellError> {
        Err(DoorbellError("no doorbell leads into another process without redis".into()))
    }
}
