//! The ledger and the doorbell, with handles to hold, break and watch them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sebastian_core::{
    AccountId, Adopted, AgentId, AgentLoad, Astray, Conversation, ConversationId, Listing, NewEvent, Policy,
    RoomId, Rulebook, Seen, Seq, Settled, Settlement, Timestamp, Timing,
};
use sebastian_roster::{Doorbell, DoorbellError, WakeReason, WakeUp};
use sebastian_store::{
    Amendment, Attempt, Audited, Counts, Decide, DecideRule, Decided, Facts, Keep, MemoryStore, Page,
    PauseReason, Recorded, Reservation, Selection, Store, StoreError, Suspect,
};
use tokio::sync::watch;

/// What the ledger does when asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Serves,
    Fails,
    Panics,
}

/// The ledger in memory. What the ingest has no business asking for panics.
pub struct Ledger {
    /// The ledger itself, for a test to be the worker.
    pub inner: MemoryStore,
    /// How far its clock is ahead, in milliseconds.
    ahead_ms: Arc<AtomicI64>,
    fate: Mutex<Fate>,
    gate: watch::Sender<bool>,
    /// Events of each commit that began.
    begun: watch::Sender<Vec<usize>>,
    stored: Mutex<Vec<NewEvent>>,
}

impl Ledger {
    pub fn new() -> Self {
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let ahead = Arc::clone(&ahead_ms);
        let clock = move || {
            let now = Timestamp::from(SystemTime::now()).as_millis();
            Timestamp::from_millis(now + ahead.load(Ordering::SeqCst))
        };
        Self {
            inner: MemoryStore::with_clock(Timing::default(), clock),
            ahead_ms,
            fate: Mutex::new(Fate::Serves),
            gate: watch::Sender::new(true),
            begun: watch::Sender::new(Vec::new()),
            stored: Mutex::default(),
        }
    }

    /// What becomes of every call from now on.
    pub fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    /// Moves the clock.
    pub fn pass(&self, span: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// From now on commits begin and do not end.
    pub fn hold(&self) {
        self.gate.send_replace(false);
    }

    pub fn let_go(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until this many commits have begun.
    pub async fn begun(&self, commits: usize) {
        let mut begun = self.begun.subscribe();
        begun.wait_for(|begun| begun.len() >= commits).await.unwrap();
    }

    /// How many events each commit held, in order.
    pub fn batches(&self) -> Vec<usize> {
        self.begun.borrow().clone()
    }

    /// What was stored, in order.
    pub fn stored(&self) -> Vec<NewEvent> {
        self.stored.lock().unwrap().clone()
    }

    fn check(&self) -> Result<(), StoreError> {
        let fate = *self.fate.lock().unwrap();
        match fate {
            Fate::Serves => Ok(()),
            Fate::Fails => Err(StoreError::Unavailable("broken by the test".into())),
            Fate::Panics => panic!("the test told the ledger to panic"),
        }
    }
}

const NOT_OURS: &str = "the ingest only appends events, and reads loads and lists";

#[async_trait]
impl Store for Ledger {
    async fn ping(&self) -> Result<(), StoreError> {
        self.check()
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.check()?;
        self.inner.now().await
    }

    async fn accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        self.begun.send_modify(|begun| begun.push(events.len()));
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
        self.check()?;
        self.inner.accept(account, events).await?;
        self.stored.lock().unwrap().extend_from_slice(events);
        Ok(())
    }

    async fn loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        self.check()?;
        let mut loads = self.inner.loads(account, polled_at).await?;
        let agent = AgentId(210_431);
        loads.insert(agent, AgentLoad { open: 2, ..AgentLoad::none(agent) });
        Ok(loads)
    }

    async fn list(&self, account: AccountId, selection: &Selection, limit: u32) -> Result<Page, StoreError> {
        self.check()?;
        self.inner.list(account, selection, limit).await
    }

    async fn unknown_rooms(&self, account: AccountId, rooms: &[RoomId]) -> Result<Vec<RoomId>, StoreError> {
        self.check()?;
        self.inner.unknown_rooms(account, rooms).await
    }

    async fn open_account(&self, _: &str, _: &str) -> Result<AccountId, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn decide(&self, _: &Decide<'_>, _: DecideRule<'_>) -> Result<Decided, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn confirm(&self, _: AccountId, _: &[Attempt]) -> Result<Vec<Attempt>, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn settle(&self, _: AccountId, _: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn take_over(&self, _: AccountId, _: u32) -> Result<Vec<Reservation>, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn claim_suspects(&self, _: AccountId, _: u32) -> Result<Vec<Suspect>, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn verified(
        &self,
        _: AccountId,
        _: ConversationId,
        _: Seen,
        _: Timestamp,
    ) -> Result<Settled, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn adopt(&self, _: AccountId, _: &Listing) -> Result<Adopted, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn transfer(&self, _: AccountId, _: &RoomId, _: AgentId, _: AgentId) -> Result<bool, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn counts(&self, _: AccountId) -> Result<Counts, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn latest_in(&self, _: AccountId, _: &RoomId) -> Result<Option<Conversation>, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn first_reservations(&self, _: AccountId, _: u32) -> Result<Vec<Seq>, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn pause(&self, _: AccountId, _: Duration, _: PauseReason) -> Result<(), StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn resume(&self, _: AccountId) -> Result<(), StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn lease(&self, _: &str, _: &str, _: Duration) -> Result<bool, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn release_lease(&self, _: &str, _: &str) -> Result<(), StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn put_back(
        &self,
        _: AccountId,
        _: &[(ConversationId, AgentId, Astray)],
    ) -> Result<u32, StoreError> {
        unreachable!("{NOT_OURS}")
    }

    async fn facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError> {
        self.check()?;
        let facts = self.inner.facts(account, polled_at, policy).await?;
        Ok(Facts { loads: self.loads(account, polled_at).await?, ..facts })
    }

    async fn rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError> {
        self.check()?;
        self.inner.rulebook(account).await
    }

    async fn rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        self.check()?;
        self.inner.rulebook_at(account, version).await
    }

    async fn amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError> {
        self.check()?;
        self.inner.amend(account, who, change).await
    }

    async fn audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError> {
        self.check()?;
        self.inner.audit(account, before, limit).await
    }

    async fn decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.check()?;
        self.inner.decisions(account, id, limit).await
    }

    async fn purge(&self, _: AccountId, _: Keep, _: u32) -> Result<u64, StoreError> {
        unreachable!("{NOT_OURS}")
    }
}

/// What a doorbell does when rung.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bell {
    Rings,
    Fails,
    Hangs,
}

/// Counts rings, and behaves as told.
pub struct Bells {
    behaviour: Bell,
    rung: watch::Sender<Vec<WakeReason>>,
}

impl Bells {
    pub fn new(behaviour: Bell) -> Self {
        Self { behaviour, rung: watch::Sender::new(Vec::new()) }
    }

    /// Waits until it was rung this many times; the reasons.
    pub async fn rung(&self, times: usize) -> Vec<WakeReason> {
        let mut rung = self.rung.subscribe();
        rung.wait_for(|rung| rung.len() >= times).await.unwrap().clone()
    }
}

#[async_trait]
impl Doorbell for Bells {
    async fn ring(&self, wake: WakeUp) -> Result<(), DoorbellError> {
        self.rung.send_modify(|rung| rung.push(wake.reason));
        match self.behaviour {
            Bell::Rings => Ok(()),
            Bell::Fails => Err(DoorbellError("broken by the test".into())),
            Bell::Hangs => std::future::pending().await,
        }
    }
}
