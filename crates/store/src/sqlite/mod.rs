//! The ledger in a file, for one process: SQLite.
//!
//! The tables, the rules and the answers are those of [`postgres`](crate::postgres); what differs is that one writer at a
//! time needs no lock on a row. Every call is one transaction, on the disk when it returns. Webhooks that come at the same
//! time share one: the ingest hands them over together.
//!
//! Statements stand next to the function that runs them.

mod accept;
mod connections;
mod conversations;
mod decide;
pub(crate) mod error;
mod listing;
pub(crate) mod migrate;
mod outbox;
mod parks;
mod questions;
mod queues;
mod records;
mod reservations;
mod rows;
mod rulebooks;
mod slots;
mod turns;
mod working_set;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use rusqlite::Transaction;
use sebastian_core::{
    AccountId, Adopted, AgentId, AgentLoad, Astray, Conversation, ConversationId, Listing, NewEvent, Policy,
    RoomId, Rulebook, Seen, Seq, Settled, Settlement, Timestamp, Timing,
};

use self::connections::Connections;
use crate::{
    Amendment, Attempt, Audited, Counts, Decide, DecideRule, Decided, Facts, Keep, Migrated, Page,
    PauseReason, Recorded, Reservation, SchemaVersion, Selection, Store, StoreError, Suspect, known::Books,
};

/// Every statement of the ledger; a test prepares each against the migrated schema.
pub const ALL_SQL: &[&[&str]] = &[
    accept::ALL_SQL,
    conversations::ALL_SQL,
    decide::ALL_SQL,
    listing::ALL_SQL,
    outbox::ALL_SQL,
    parks::ALL_SQL,
    questions::ALL_SQL,
    queues::ALL_SQL,
    records::ALL_SQL,
    reservations::ALL_SQL,
    rulebooks::ALL_SQL,
    slots::ALL_SQL,
    turns::ALL_SQL,
    working_set::ALL_SQL,
];

/// The ledger in a file. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    connections: Arc<Connections>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    timing: Timing,
    policy: Arc<Policy>,
    books: Arc<Books>,
}

impl SqliteStore {
    /// The ledger in `file`, which is made if it is not there. Its schema is left as it is: see
    /// [`migrate`](Self::migrate).
    pub fn open(file: &Path, timing: Timing) -> Result<Self, StoreError> {
        Self::with_clock(file, timing, || SystemTime::now().into())
    }

    /// The same on a clock of the caller's, for tests.
    pub fn with_clock(
        file: &Path,
        timing: Timing,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let connections = Arc::new(Connections::open(file)?);
        let clock = Arc::new(clock);
        Ok(Self { connections, clock, timing, policy: Arc::default(), books: Arc::default() })
    }

    /// The same ledger, going by `policy` where the rulebook says nothing and no decision of this process has named
    /// another yet. Without this: by the default policy.
    #[must_use]
    pub fn governed_by(self, policy: Policy) -> Self {
        Self { policy: policy.into(), ..self }
    }

    /// Runs what is missing of the migrations.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        self.connections.exclusively(migrate::migrate).await
    }

    /// The schema's version. Fails with [`StoreError::Schema`] unless every migration this program brings has been applied.
    pub async fn check_schema(&self) -> Result<SchemaVersion, StoreError> {
        self.connections.read(|tx| migrate::check(tx)).await
    }

    async fn write<T>(
        &self,
        call: impl FnOnce(&Call<'_>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.connections.write(|tx| call(&Call { tx, store: self, now: (self.clock)() })).await
    }

    async fn read<T>(
        &self,
        call: impl FnOnce(&Call<'_>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.connections.read(|tx| call(&Call { tx, store: self, now: (self.clock)() })).await
    }
}

/// One call under way: its transaction, and the time that holds throughout.
struct Call<'a> {
    tx: &'a Transaction<'a>,
    store: &'a SqliteStore,
    now: Timestamp,
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.read(|call| call.ping()).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok((self.clock)())
    }

    async fn open_account(&self, platform: &str, tenant: &str) -> Result<AccountId, StoreError> {
        self.write(|call| call.open_account(platform, tenant)).await
    }

    async fn accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        self.write(|call| call.accept(account, events)).await
    }

    async fn decide(&self, request: &Decide<'_>, rule: DecideRule<'_>) -> Result<Decided, StoreError> {
        self.write(|call| call.decide(request, rule)).await
    }

    async fn confirm(&self, account: AccountId, attempts: &[Attempt]) -> Result<Vec<Attempt>, StoreError> {
        self.write(|call| call.confirm(account, attempts)).await
    }

    async fn settle(
        &self,
        account: AccountId,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError> {
        self.write(|call| call.settle(account, settlements)).await
    }

    async fn take_over(&self, account: AccountId, limit: u32) -> Result<Vec<Reservation>, StoreError> {
        self.write(|call| call.take_over(account, limit)).await
    }

    async fn claim_suspects(&self, account: AccountId, limit: u32) -> Result<Vec<Suspect>, StoreError> {
        self.write(|call| call.claim_suspects(account, limit)).await
    }

    async fn verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
        asked_at: Timestamp,
    ) -> Result<Settled, StoreError> {
        self.write(|call| call.verified(account, id, seen, asked_at)).await
    }

    async fn put_back(
        &self,
        account: AccountId,
        strays: &[(ConversationId, AgentId, Astray)],
    ) -> Result<u32, StoreError> {
        self.write(|call| call.put_back(account, strays)).await
    }

    async fn adopt(&self, account: AccountId, listing: &Listing) -> Result<Adopted, StoreError> {
        self.write(|call| call.adopt(account, listing)).await
    }

    async fn transfer(
        &self,
        account: AccountId,
        room: &RoomId,
        from: AgentId,
        to: AgentId,
    ) -> Result<bool, StoreError> {
        self.write(|call| call.transfer(account, room, from, to)).await
    }

    async fn unknown_rooms(&self, account: AccountId, rooms: &[RoomId]) -> Result<Vec<RoomId>, StoreError> {
        self.read(|call| call.unknown_rooms(account, rooms)).await
    }

    async fn loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        self.read(|call| call.loads(account, polled_at)).await
    }

    async fn facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError> {
        self.read(|call| call.facts(account, polled_at, policy)).await
    }

    async fn rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError> {
        self.read(|call| call.rulebook(account)).await
    }

    async fn rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        self.read(|call| call.rulebook_at(account, version)).await
    }

    async fn amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError> {
        self.write(|call| call.amend(account, who, change)).await
    }

    async fn audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError> {
        self.read(|call| call.audit(account, before, limit)).await
    }

    async fn decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.read(|call| call.decisions(account, id, limit)).await
    }

    async fn counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        self.read(|call| call.counts(account)).await
    }

    async fn latest_in(&self, account: AccountId, room: &RoomId) -> Result<Option<Conversation>, StoreError> {
        self.read(|call| call.latest_in(account, room)).await
    }

    async fn list(&self, account: AccountId, selection: &Selection, limit: u32) -> Result<Page, StoreError> {
        self.read(|call| call.list(account, selection, limit)).await
    }

    async fn first_reservations(&self, account: AccountId, limit: u32) -> Result<Vec<Seq>, StoreError> {
        self.read(|call| call.first_reservations(account, limit)).await
    }

    async fn pause(&self, account: AccountId, span: Duration, reason: PauseReason) -> Result<(), StoreError> {
        self.write(|call| call.pause(account, span, reason)).await
    }

    async fn resume(&self, account: AccountId) -> Result<(), StoreError> {
        self.write(|call| call.resume(account)).await
    }

    async fn lease(&self, name: &str, holder: &str, span: Duration) -> Result<bool, StoreError> {
        self.write(|call| call.lease(name, holder, span)).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.write(|call| call.release_lease(name, holder)).await
    }

    async fn purge(&self, account: AccountId, keep: Keep, limit: u32) -> Result<u64, StoreError> {
        self.write(|call| call.purge(account, keep, limit)).await
    }
}
