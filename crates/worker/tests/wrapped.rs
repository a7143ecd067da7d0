//! A ledger and a platform that stop, fail or count on the way through.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};
use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use sebastian_core::{
    AccountId, Adopted, Agent, AgentId, AgentLoad, Conversation, ConversationId, Listing, NewEvent, Policy,
    RoomId, Roster, Rulebook, Seen, Seq, Settled, Settlement, Timestamp,
};
use sebastian_platform::{Platform, PlatformError, Room, RoomStatus, Webhook, WebhookUrls};
use sebastian_roster::{CacheError, RosterCache};
use sebastian_store::{
    Amendment, Attempt, Audited, Counts, Decide, DecideRule, Decided, Facts, Keep, Page, PauseReason,
    Recorded, Reservation, Selection, Store, StoreError, Suspect,
};
use tokio::sync::watch;

/// Holds whoever passes while it is shut.
pub struct Gate {
    open: watch::Sender<bool>,
    held: watch::Sender<u32>,
}

impl Gate {
    pub fn shut() -> Arc<Self> {
        Arc::new(Self { open: watch::Sender::new(false), held: watch::Sender::new(0) })
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until somebody stands at the gate.
    pub async fn somebody_held(&self) {
        self.held.subscribe().wait_for(|held| *held > 0).await.unwrap();
    }

    async fn pass(&self) {
        self.held.send_modify(|held| *held += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        self.held.send_modify(|held| *held -= 1);
    }
}

/// A ledger as one worker sees it.
pub struct Wrapped {
    pub inner: Arc<dyn Store>,
    /// A decision that reserved something is committed, and stays here on its way back.
    pub reserved: Option<Arc<Gate>>,
    /// Never takes over: whatever this worker leaves undone is another's.
    pub settles: bool,
    /// Gives no decisions.
    pub decides: bool,
    /// So many decisions panic.
    pub panics: AtomicU32,
    /// So many confirmations fail, one after it was written.
    pub confirms_failing: AtomicU32,
    /// How many settlements were asked for.
    pub settlements: AtomicU32,
    /// The reply of every write is lost, so that it is repeated.
    pub repeats: bool,
}

impl Wrapped {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            reserved: None,
            settles: true,
            decides: true,
            panics: AtomicU32::new(0),
            confirms_failing: AtomicU32::new(0),
            settlements: AtomicU32::new(0),
            repeats: false,
        }
    }
}

fn counted_down(counter: &AtomicU32) -> Option<u32> {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok()
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("the test says so".into())
}

#[async_trait]
impl Store for Wrapped {
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }

    async fn open_account(&self, platform: &str, tenant: &str) -> Result<AccountId, StoreError> {
        self.inner.open_account(platform, tenant).await
    }

    async fn accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        if self.repeats {
            self.inner.accept(account, events).await?;
        }
        self.inner.accept(account, events).await
    }

    async fn decide(&self, request: &Decide<'_>, rule: DecideRule<'_>) -> Result<Decided, StoreError> {
        if !self.decides {
            return Err(unavailable());
        }
        assert!(counted_down(&self.panics).is_none(), "the decision that panics");
        let decided = self.inner.decide(request, rule).await?;
        if let Some(gate) = &self.reserved
            && !decided.reserved.is_empty()
        {
            gate.pass().await;
        }
        Ok(decided)
    }

    async fn confirm(&self, account: AccountId, attempts: &[Attempt]) -> Result<Vec<Attempt>, StoreError> {
        if self.repeats {
            self.inner.confirm(account, attempts).await?;
        }
        match counted_down(&self.confirms_failing) {
            None => self.inner.confirm(account, attempts).await,
            Some(left) => {
                if left == 1 {
                    self.inner.confirm(account, attempts).await?;
                }
                Err(unavailable())
            }
        }
    }

    async fn settle(&self, account: AccountId, all: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.settlements.fetch_add(1, Ordering::SeqCst);
        if self.repeats {
            self.inner.settle(account, all).await?;
        }
        self.inner.settle(account, all).await
    }

    async fn take_over(&self, account: AccountId, limit: u32) -> Result<Vec<Reservation>, StoreError> {
        if self.settles { self.inner.take_over(account, limit).await } else { Ok(Vec::new()) }
    }

    async fn claim_suspects(&self, account: AccountId, limit: u32) -> Result<Vec<Suspect>, StoreError> {
        self.inner.claim_suspects(account, limit).await
    }

    async fn verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
        asked_at: Timestamp,
    ) -> Result<Settled, StoreError> {
        if self.repeats {
            self.inner.verified(account, id, seen, asked_at).await?;
        }
        self.inner.verified(account, id, seen, asked_at).await
    }

    async fn adopt(&self, account: AccountId, listing: &Listing) -> Result<Adopted, StoreError> {
        if self.repeats {
            self.inner.adopt(account, listing).await?;
        }
        self.inner.adopt(account, listing).await
    }

    async fn transfer(
        &self,
        account: AccountId,
        room: &RoomId,
        from: AgentId,
        to: AgentId,
    ) -> Result<bool, StoreError> {
        if self.repeats {
            self.inner.transfer(account, room, from, to).await?;
        }
        self.inner.transfer(account, room, from, to).await
    }

    async fn unknown_rooms(&self, account: AccountId, rooms: &[RoomId]) -> Result<Vec<RoomId>, StoreError> {
        self.inner.unknown_rooms(account, rooms).await
    }

    async fn loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        self.inner.loads(account, polled_at).await
    }

    async fn counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        self.inner.counts(account).await
    }

    async fn latest_in(&self, account: AccountId, room: &RoomId) -> Result<Option<Conversation>, StoreError> {
        self.inner.latest_in(account, room).await
    }

    async fn list(&self, account: AccountId, selection: &Selection, limit: u32) -> Result<Page, StoreError> {
        self.inner.list(account, selection, limit).await
    }

    async fn first_reservations(&self, account: AccountId, limit: u32) -> Result<Vec<Seq>, StoreError> {
        self.inner.first_reservations(account, limit).await
    }

    async fn pause(&self, account: AccountId, span: Duration, reason: PauseReason) -> Result<(), StoreError> {
        self.inner.pause(account, span, reason).await
    }

    async fn resume(&self, account: AccountId) -> Result<(), StoreError> {
        self.inner.resume(account).await
    }

    async fn lease(&self, name: &str, holder: &str, span: Duration) -> Result<bool, StoreError> {
        self.inner.lease(name, holder, span).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.inner.release_lease(name, holder).await
    }

    async fn put_back(
        &self,
        account: AccountId,
        strays: &[(ConversationId, AgentId, sebastian_core::Astray)],
    ) -> Result<u32, StoreError> {
        if self.repeats {
            self.inner.put_back(account, strays).await?;
        }
        self.inner.put_back(account, strays).await
    }

    async fn facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError> {
        self.inner.facts(account, polled_at, policy).await
    }

    async fn rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError> {
        self.inner.rulebook(account).await
    }

    async fn rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        self.inner.rulebook_at(account, version).await
    }

    async fn amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError> {
        self.inner.amend(account, who, change).await
    }

    async fn audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError> {
        self.inner.audit(account, before, limit).await
    }

    async fn decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        self.inner.decisions(account, id, limit).await
    }

    async fn purge(&self, account: AccountId, keep: Keep, limit: u32) -> Result<u64, StoreError> {
        self.inner.purge(account, keep, limit).await
    }
}

/// A client whose assignments stand at a gate before they are sent, and are counted once they are.
pub struct HeldClient {
    pub inner: Arc<dyn Platform>,
    pub gate: Option<Arc<Gate>>,
    pub sent: Mutex<Vec<(RoomId, AgentId)>>,
    /// Every assignment is sent once more.
    pub repeats: bool,
}

impl HeldClient {
    pub fn new(inner: Arc<dyn Platform>, gate: Option<Arc<Gate>>) -> Arc<Self> {
        Arc::new(Self { inner, gate, sent: Mutex::default(), repeats: false })
    }
}

#[async_trait]
impl Platform for HeldClient {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn agents(&self) -> Result<Vec<Agent>, PlatformError> {
        self.inner.agents().await
    }

    async fn agents_for(&self, room: &RoomId) -> Result<Vec<Agent>, PlatformError> {
        self.inner.agents_for(room).await
    }

    async fn propose(&self, room: &RoomId) -> Result<Option<AgentId>, PlatformError> {
        self.inner.propose(room).await
    }

    async fn assign(
        &self,
        room: &RoomId,
        agent: AgentId,
        replacing: Option<AgentId>,
    ) -> Result<(), PlatformError> {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        self.sent.lock().unwrap().push((room.clone(), agent));
        if self.repeats {
            self.inner.assign(room, agent, replacing).await?;
        }
        self.inner.assign(room, agent, replacing).await
    }

    async fn room(&self, room: &RoomId) -> Result<RoomStatus, PlatformError> {
        self.inner.room(room).await
    }

    async fn rooms_served_by(&self, agent: AgentId) -> Result<Vec<Room>, PlatformError> {
        self.inner.rooms_served_by(agent).await
    }

    async fn rooms_waiting(&self) -> Result<Vec<Room>, PlatformError> {
        self.inner.rooms_waiting().await
    }

    async fn webhook_urls(&self) -> Result<WebhookUrls, PlatformError> {
        self.inner.webhook_urls().await
    }

    async fn set_webhook(&self, hook: Webhook, url: &str) -> Result<(), PlatformError> {
        self.inner.set_webhook(hook, url).await
    }
}

/// A roster cache that is down.
pub struct NoCache;

#[async_trait]
impl RosterCache for NoCache {
    async fn publish(&self, _: AccountId, _: &Roster) -> Result<bool, CacheError> {
        Err(CacheError::Unreachable("the test says so".into()))
    }

    async fn newer_than(&self, _: AccountId, _: u64) -> Result<Option<Roster>, CacheError> {
        Err(CacheError::Unreachable("the test says so".into()))
    }

    async fn ping(&self) -> Result<(), CacheError> {
        Err(CacheError::Unreachable("the test says so".into()))
    }
}
