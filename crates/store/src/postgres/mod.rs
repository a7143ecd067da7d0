//! The ledger in PostgreSQL.
//!
//! Every statement has a limit set on its connection: 5 s to run, 2 s to wait for a lock, 1 s idle inside a
//! transaction, so a stopped process frees its locks. Every call has one around the whole, for connections that
//! have gone quiet. Statements of the running ledger are prepared once a connection and stand next to the function
//! that runs them.

mod accept;
pub(crate) mod auditing;
mod conversations;
mod decide;
mod error;
mod listing;
mod loads;
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
mod tls;
mod transaction;
mod turns;
mod working_set;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use deadpool_postgres::{
    ClientWrapper, Hook, HookError, ManagerConfig, Metrics, Object, Pool, RecyclingMethod, Runtime,
};
use sebastian_core::{
    AccountId, Adopted, AgentId, AgentLoad, Astray, Conversation, ConversationId, Listing, NewEvent, Policy,
    RoomId, Rulebook, Seen, Seq, Settled, Settlement, Timestamp, Timing,
};
use tokio::sync::Mutex;
use tokio_postgres::config::Host;

use self::error::{broken, unavailable};
pub use self::migrate::migrate;
use crate::{
    Amendment, Attempt, Audited, Counts, Decide, DecideRule, Decided, Facts, Keep, Migrated, Page,
    PauseReason, Recorded, Reservation, SchemaVersion, Selection, Store, StoreError, Suspect, known::Books,
};

/// A call that takes longer has lost its connection.
const CALL_MAX: Duration = Duration::from_secs(8);

/// To get a connection, new or pooled.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// What the server goes by on our connections. `tcp_user_timeout` below is the like of these limits on the wire.
///
/// - A statement has 5 s to run, 2 s to wait for a lock, and 1 s to follow the one before in its transaction.
/// - A statement is planned once a connection, not once a call: the planner finds arrays of known length cheaper each
///   time, and to plan takes longer than to run. Such a plan may be made while a table is small and used when it is not,
///   so it never reads a whole table, nor joins by one, where there is an index; and it is made anew as its
///   connection grows old.
/// - No statement runs long enough to be worth compiling.
pub const SESSION: &str = "-c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=1000 \
                           -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off \
                           -c enable_mergejoin=off -c jit=off";

/// Every statement of the ledger; a test prepares each against the migrated schema.
pub const ALL_SQL: &[&[&str]] = &[
    accept::ALL_SQL,
    auditing::ALL_SQL,
    conversations::ALL_SQL,
    decide::ALL_SQL,
    listing::ALL_SQL,
    loads::ALL_SQL,
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

/// The ledger in PostgreSQL, over a pool of connections.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    timing: Timing,
    policy: Arc<Policy>,
    books: Arc<Books>,
    /// The connection that webhooks are written by, beside the pool's: one answers in the order it was asked.
    accepting: Arc<Mutex<Option<Arc<ClientWrapper>>>>,
}

impl PostgresStore {
    /// A ledger at `connection_string` (a `postgres://` URL or keywords) with at most `pool_size` connections, and
    /// one more once it accepts.
    /// Connects on first use, so a database that is down now is no error. Fails when the string does not parse.
    /// `sslmode=require` encrypts and verifies the server's certificate.
    pub fn new(connection_string: &str, pool_size: usize, timing: Timing) -> Result<Self, StoreError> {
        let config = connection_config(connection_string)?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(tls::manager(config, recycling)?)
            .max_size(pool_size)
            .wait_timeout(Some(CONNECT_MAX))
            .create_timeout(Some(CONNECT_MAX))
            .recycle_timeout(Some(CONNECT_MAX))
            .post_recycle(Hook::sync_fn(plan_anew))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| broken("the connection pool cannot be built", e))?;
        let accepting = Arc::default();
        Ok(Self { pool, timing, policy: Arc::default(), books: Arc::default(), accepting })
    }

    /// The same ledger, going by `policy` where the rulebook says nothing and no decision of this process has named
    /// another yet. Without this: by the default policy.
    #[must_use]
    pub fn governed_by(self, policy: Policy) -> Self {
        Self { policy: policy.into(), ..self }
    }

    /// Runs what is missing of the migrations. Safe to run from several processes at once.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        migrate(self.client().await?).await
    }

    /// The schema's version. Fails with [`StoreError::Schema`] unless every migration this program brings has been applied.
    pub async fn check_schema(&self) -> Result<SchemaVersion, StoreError> {
        let client = self.client().await?;
        within(migrate::check(&client)).await
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(unavailable)
    }

    /// A connection that is the caller's alone and never goes back to the pool.
    pub(crate) async fn session(&self) -> Result<ClientWrapper, StoreError> {
        Ok(Object::take(self.client().await?))
    }
}

/// Forgets a connection's statements, and with them their plans, when another generation of these is due.
fn plan_anew(client: &mut ClientWrapper, metrics: &Metrics) -> Result<(), HookError> {
    let used_at = metrics.recycled.unwrap_or(metrics.created);
    if generation(used_at.duration_since(metrics.created)) != generation(metrics.age()) {
        client.statement_cache.clear();
    }
    Ok(())
}

/// By which plans a connection of this age goes: they are made anew when it is 2, 8, 32 and 128 seconds old, then every 512
/// seconds. As long as tables are small, one index is as good as another to the planner, and nobody tells it when a burst
/// has filled them. Not more often: to plan all that a round asks takes longer than the round.
fn generation(age: Duration) -> u64 {
    match age.as_secs() {
        0..2 => 0,
        2..8 => 1,
        8..32 => 2,
        32..128 => 3,
        seconds => 4 + seconds / 512,
    }
}

/// Where a connection string leads, as people may see it: without its password. `None`: it does not parse.
#[must_use]
pub fn address(connection_string: &str) -> Option<String> {
    let config = tls::parse(connection_string).ok()?;
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    let host = match config.get_hosts().first()? {
        Host::Tcp(host) if host.contains(':') => format!("[{host}]"),
        Host::Tcp(host) => host.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    Some(format!("postgres://{user}{host}:{port}/{}", config.get_dbname().unwrap_or_default()))
}

fn connection_config(connection_string: &str) -> Result<tokio_postgres::Config, StoreError> {
    let mut config = tls::parse(connection_string)?;
    let options = match config.get_options() {
        Some(theirs) => format!("{SESSION} {theirs}"),
        None => SESSION.to_owned(),
    };
    config
        .options(options)
        .application_name("sebastian")
        .connect_timeout(CONNECT_MAX)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(Duration::from_secs(5));
    Ok(config)
}

/// Bounds a call in time. A call cut off rolls back, or its outcome is unknown; callers repeat either way.
async fn within<T>(call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_MAX, call).await.map_err(unavailable)?
}

#[async_trait]
impl Store for PostgresStore {
    async fn ping(&self) -> Result<(), StoreError> {
        within(self.run_ping()).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        within(self.run_now()).await
    }

    async fn open_account(&self, platform: &str, tenant: &str) -> Result<AccountId, StoreError> {
        within(self.run_open_account(platform, tenant)).await
    }

    async fn accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        let accepted = within(self.run_accept(account, events)).await;
        if accepted.is_err() {
            // The next may find a better connection.
            self.accepting.lock().await.take();
        }
        accepted
    }

    async fn decide(&self, request: &Decide<'_>, rule: DecideRule<'_>) -> Result<Decided, StoreError> {
        within(self.run_decide(request, rule)).await
    }

    async fn confirm(&self, account: AccountId, attempts: &[Attempt]) -> Result<Vec<Attempt>, StoreError> {
        within(self.run_confirm(account, attempts)).await
    }

    async fn settle(
        &self,
        account: AccountId,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError> {
        within(self.run_settle(account, settlements)).await
    }

    async fn take_over(&self, account: AccountId, limit: u32) -> Result<Vec<Reservation>, StoreError> {
        within(self.run_take_over(account, limit)).await
    }

    async fn claim_suspects(&self, account: AccountId, limit: u32) -> Result<Vec<Suspect>, StoreError> {
        within(self.run_claim_suspects(account, limit)).await
    }

    async fn verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
        asked_at: Timestamp,
    ) -> Result<Settled, StoreError> {
        within(self.run_verified(account, id, seen, asked_at)).await
    }

    async fn put_back(
        &self,
        account: AccountId,
        strays: &[(ConversationId, AgentId, Astray)],
    ) -> Result<u32, StoreError> {
        within(self.run_put_back(account, strays)).await
    }

    async fn adopt(&self, account: AccountId, listing: &Listing) -> Result<Adopted, StoreError> {
        within(self.run_adopt(account, listing)).await
    }

    async fn transfer(
        &self,
        account: AccountId,
        room: &RoomId,
        from: AgentId,
        to: AgentId,
    ) -> Result<bool, StoreError> {
        within(self.run_transfer(account, room, from, to)).await
    }

    async fn unknown_rooms(&self, account: AccountId, rooms: &[RoomId]) -> Result<Vec<RoomId>, StoreError> {
        within(self.run_unknown_rooms(account, rooms)).await
    }

    async fn loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        within(self.run_loads(account, polled_at)).await
    }

    async fn facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError> {
        within(self.run_facts(account, polled_at, policy)).await
    }

    async fn rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError> {
        within(self.run_rulebook(account)).await
    }

    async fn rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        within(self.run_rulebook_at(account, version)).await
    }

    async fn amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError> {
        within(self.run_amend(account, who, change)).await
    }

    async fn audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError> {
        within(self.run_audit(account, before, limit)).await
    }

    async fn decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        within(self.run_decisions(account, id, limit)).await
    }

    async fn counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        within(self.run_counts(account)).await
    }

    async fn latest_in(&self, account: AccountId, room: &RoomId) -> Result<Option<Conversation>, StoreError> {
        within(self.run_latest_in(account, room)).await
    }

    async fn list(&self, account: AccountId, selection: &Selection, limit: u32) -> Result<Page, StoreError> {
        within(self.run_list(account, selection, limit)).await
    }

    async fn first_reservations(&self, account: AccountId, limit: u32) -> Result<Vec<Seq>, StoreError> {
        within(self.run_first_reservations(account, limit)).await
    }

    async fn pause(&self, account: AccountId, span: Duration, reason: PauseReason) -> Result<(), StoreError> {
        within(self.run_pause(account, span, reason)).await
    }

    async fn resume(&self, account: AccountId) -> Result<(), StoreError> {
        within(self.run_resume(account)).await
    }

    async fn lease(&self, name: &str, holder: &str, span: Duration) -> Result<bool, StoreError> {
        within(self.run_lease(name, holder, span)).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        within(self.run_release_lease(name, holder)).await
    }

    async fn purge(&self, account: AccountId, keep: Keep, limit: u32) -> Result<u64, StoreError> {
        within(self.run_purge(account, keep, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_made_anew_soon_at_first_and_then_every_few_minutes() {
        let due = |seconds: &u64| {
            let at = |seconds| generation(Duration::from_secs(seconds));
            at(*seconds) != at(seconds - 1)
        };
        assert_eq!((1..1_600).filter(due).collect::<Vec<_>>(), [2, 8, 32, 128, 512, 1_024, 1_536]);
    }
}
