//! The ledger in memory: the reference model of the conformance suite, and what `demo --memory` runs on.
//!
//! One mutex, plain maps, the same core rules as every store. Nothing survives the process.

mod books;
mod deciding;
mod desk;
mod listing;
mod outbox;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sebastian_core::{
    AccountId, Adopted, AgentId, AgentLoad, Astray, Conversation, ConversationId, Event, Listing, NewEvent,
    Notice, NoticeKind, Policy, QueueKey, RoomId, Rooms, Rotation, Rulebook, Seen, Seq, Settled, Settlement,
    State, Status, Timestamp, Timing,
};

use self::desk::Desk;
use crate::{
    AUDIT_KEPT, Amendment, Attempt, Audited, Counts, Decide, DecideRule, Decided, Facts, Keep, Page, Pause,
    PauseReason, Recorded, Reservation, Selection, Store, StoreError, Suspect, round,
};

/// A ledger that lives as long as the value.
pub struct MemoryStore {
    timing: Timing,
    policy: Policy,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    accounts: Vec<(String, String)>,
    desks: HashMap<AccountId, Desk>,
    leases: HashMap<String, (String, Timestamp)>,
    last_seq: i64,
    last_conversation: i64,
    last_audit: i64,
}

impl MemoryStore {
    /// An empty ledger on the system's clock.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self::with_clock(timing, || SystemTime::now().into())
    }

    /// An empty ledger on a clock of the caller's, for simulations.
    pub fn with_clock(timing: Timing, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { timing, policy: Policy::default(), clock: Box::new(clock), ledger: Mutex::default() }
    }

    /// The same ledger, going by `policy` where the rulebook says nothing and no decision has named another yet.
    /// Without this: by the default policy.
    #[must_use]
    pub fn governed_by(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The rotation of a queue as the next decision will see it; for whoever compares it with another's.
    #[must_use]
    pub fn rotation(&self, account: AccountId, key: QueueKey) -> Rotation {
        let ledger = self.lock();
        let queue = ledger.desks.get(&account).and_then(|desk| desk.queues.get(&key));
        queue.map(|queue| queue.rotation.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a core rule over the unresolved conversations of the rooms that `pick` names, and writes what it changed.
    /// Whatever else `pick` read goes to the rule.
    fn with_rooms<P, T>(
        &self,
        account: AccountId,
        pick: impl FnOnce(&Desk) -> (HashSet<RoomId>, P),
        rule: impl FnOnce(&mut Rooms, P) -> T,
    ) -> T {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let Ledger { desks, last_conversation, .. } = &mut *ledger;
        let desk = desks.entry(account).or_default();
        let (rooms, picked) = pick(desk);
        let mut working_set = desk.load_rooms(&rooms, now, self.timing);
        let (rules, policy) =
            (desk.books.newest(), desk.policy.clone().unwrap_or_else(|| self.policy.clone()));
        working_set = working_set.governed_by(rules.clone(), &policy);
        let answer = rule(&mut working_set, picked);
        let changes = working_set.finish();
        let sortings = round::sortings(&changes, &rules, &policy, now);
        desk.write(changes, now, last_conversation);
        // The rules may be others than the queue was sorted by: the next decision sorts it anew.
        for (key, sorting) in sortings {
            let queue = desk.queues.entry(key).or_default();
            queue.sorting = queue.sorting.filter(|sorted_by| *sorted_by == sorting);
        }
        answer
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok((self.clock)())
    }

    async fn open_account(&self, platform: &str, tenant: &str) -> Result<AccountId, StoreError> {
        let mut ledger = self.lock();
        let name = (platform.to_owned(), tenant.to_owned());
        let index = ledger.accounts.iter().position(|known| *known == name).unwrap_or_else(|| {
            ledger.accounts.push(name);
            ledger.accounts.len() - 1
        });
        Ok(AccountId(i64::try_from(index).unwrap_or(i64::MAX - 1) + 1))
    }

    async fn accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        let mut ledger = self.lock();
        let received_at = (self.clock)();
        for event in events.iter().cloned() {
            ledger.last_seq += 1;
            let seq = Seq(ledger.last_seq);
            let NewEvent { room, kind, source } = event;
            let desk = ledger.desks.entry(account).or_default();
            desk.events.insert(seq, Event { seq, received_at, room, kind, source });
        }
        Ok(())
    }

    async fn decide(&self, request: &Decide<'_>, rule: DecideRule<'_>) -> Result<Decided, StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let Ledger { desks, last_conversation, .. } = &mut *ledger;
        let desk = desks.entry(request.account).or_default();
        Ok(desk.decide(request, rule, (now, self.timing), last_conversation))
    }

    async fn confirm(&self, account: AccountId, attempts: &[Attempt]) -> Result<Vec<Attempt>, StoreError> {
        let mut ledger = self.lock();
        let at = (self.clock)();
        let desk = ledger.desks.entry(account).or_default();
        let mut confirmed = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let Some(conversation) = desk.conversations.get_mut(&attempt.conversation) else { continue };
            if let State::Reserved { agent, .. } = conversation.state
                && conversation.attempt == attempt.number
                && is_as_reserved(conversation)
            {
                conversation.state = State::Assigned { agent, at };
                conversation.refused.clear();
                (conversation.turn, conversation.replaces, conversation.refusals) = (None, None, 0);
                desk.served_by.insert(attempt.conversation, (agent, at));
                let about = Notice::about(NoticeKind::Assigned, at, conversation);
                desk.mail.post([Notice { agent: Some(agent), ..about }]);
                confirmed.push(*attempt);
            }
        }
        Ok(confirmed)
    }

    async fn settle(
        &self,
        account: AccountId,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError> {
        let pick = |desk: &Desk| (desk.rooms_of(settlements.iter().map(|one| one.conversation)), ());
        Ok(self
            .with_rooms(account, pick, |rooms, ()| settlements.iter().map(|one| rooms.settle(one)).collect()))
    }

    async fn take_over(&self, account: AccountId, limit: u32) -> Result<Vec<Reservation>, StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let desk = ledger.desks.entry(account).or_default();
        Ok(desk.take_over(limit, now, now + self.timing.reservation))
    }

    async fn claim_suspects(&self, account: AccountId, limit: u32) -> Result<Vec<Suspect>, StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let desk = ledger.desks.entry(account).or_default();
        Ok(desk.claim_suspects(limit, now, now + self.timing.settle_window))
    }

    async fn verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
        asked_at: Timestamp,
    ) -> Result<Settled, StoreError> {
        Ok(self.with_rooms(
            account,
            |desk| (desk.rooms_of([id]), ()),
            |rooms, ()| rooms.verified(id, seen, asked_at),
        ))
    }

    async fn put_back(
        &self,
        account: AccountId,
        strays: &[(ConversationId, AgentId, Astray)],
    ) -> Result<u32, StoreError> {
        let pick = |desk: &Desk| (desk.rooms_of(strays.iter().map(|(id, ..)| *id)), ());
        Ok(self.with_rooms(account, pick, |rooms, ()| {
            let put_back = strays.iter().filter(|(id, agent, why)| rooms.put_back_stray(*id, *agent, *why));
            u32::try_from(put_back.count()).unwrap_or(u32::MAX)
        }))
    }

    async fn adopt(&self, account: AccountId, listing: &Listing) -> Result<Adopted, StoreError> {
        let since = listing.asked_at - self.timing.settle_window;
        let pick = |desk: &Desk| {
            let unresolved = desk.unresolved.iter().map(|id| &desk.conversations[id]);
            let ours = unresolved.filter(|one| one.holder() == Some(listing.agent)).map(|one| &one.room);
            let listed = listing.rooms.iter().map(|(room, _)| room);
            (ours.chain(listed).cloned().collect(), desk.closed_since(since))
        };
        Ok(self.with_rooms(account, pick, |rooms, closed| rooms.adopt(listing, &closed)))
    }

    async fn transfer(
        &self,
        account: AccountId,
        room: &RoomId,
        from: AgentId,
        to: AgentId,
    ) -> Result<bool, StoreError> {
        let pick = |_: &Desk| (HashSet::from([room.clone()]), ());
        Ok(self.with_rooms(account, pick, |rooms, ()| rooms.transfer(room, from, to)))
    }

    async fn unknown_rooms(&self, account: AccountId, rooms: &[RoomId]) -> Result<Vec<RoomId>, StoreError> {
        let ledger = self.lock();
        let since = (self.clock)() - self.timing.settle_window;
        let Some(desk) = ledger.desks.get(&account) else { return Ok(rooms.to_vec()) };
        let mut known = desk.closed_since(since);
        known.extend(desk.unresolved.iter().map(|id| desk.conversations[id].room.clone()));
        known.extend(desk.unfolded().map(|event| event.room.clone()));
        Ok(rooms.iter().filter(|room| !known.contains(room)).cloned().collect())
    }

    async fn loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError> {
        let since = polled_at - self.timing.settle_window;
        Ok(self.lock().desks.get(&account).map(|desk| desk.loads_since(since)).unwrap_or_default())
    }

    async fn facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError> {
        let ledger = self.lock();
        let (now, since) = ((self.clock)(), polled_at - self.timing.settle_window);
        Ok(ledger.desks.get(&account).map(|desk| desk.facts(since, policy, now)).unwrap_or_default())
    }

    async fn rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError> {
        Ok(self.lock().desks.get(&account).map(|desk| desk.books.newest()).unwrap_or_default())
    }

    async fn rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        let mut ledger = self.lock();
        Ok(ledger.desks.entry(account).or_default().books.at(version))
    }

    async fn amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let Ledger { desks, last_audit, .. } = &mut *ledger;
        let books = &mut desks.entry(account).or_default().books;
        let mut rules = Rulebook::clone(&books.newest());
        let entries = change(&mut rules, now);
        if !entries.is_empty() {
            books.amend(rules, who, entries, now, last_audit);
        }
        Ok(books.newest())
    }

    async fn audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError> {
        let ledger = self.lock();
        let Some(desk) = ledger.desks.get(&account) else { return Ok(Vec::new()) };
        let newest = desk.books.audit.iter().rev();
        let newest = newest.filter(|entry| before.is_none_or(|before| entry.id < before));
        Ok(newest.take(limit as usize).cloned().collect())
    }

    async fn decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        let ledger = self.lock();
        Ok(ledger.desks.get(&account).map(|desk| desk.records.of(id, limit as usize)).unwrap_or_default())
    }

    async fn counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        let ledger = self.lock();
        let now = (self.clock)();
        Ok(ledger.desks.get(&account).map(|desk| desk.counts(now)).unwrap_or_default())
    }

    async fn latest_in(&self, account: AccountId, room: &RoomId) -> Result<Option<Conversation>, StoreError> {
        let ledger = self.lock();
        Ok(ledger.desks.get(&account).and_then(|desk| desk.latest_in(room)).cloned())
    }

    async fn list(&self, account: AccountId, selection: &Selection, limit: u32) -> Result<Page, StoreError> {
        let ledger = self.lock();
        let now = (self.clock)();
        let Some(desk) = ledger.desks.get(&account) else {
            return Ok(Page { now, pause: None, conversations: Vec::new() });
        };
        let pause = desk.pause.filter(|pause| pause.until > now);
        Ok(Page { now, pause, conversations: desk.list(selection, limit as usize) })
    }

    async fn first_reservations(&self, account: AccountId, limit: u32) -> Result<Vec<Seq>, StoreError> {
        let ledger = self.lock();
        let Some(desk) = ledger.desks.get(&account) else { return Ok(Vec::new()) };
        let reserved = desk.first_reservations.iter().take(limit as usize);
        Ok(reserved.map(|id| desk.conversations[id].position).collect())
    }

    async fn pause(&self, account: AccountId, span: Duration, reason: PauseReason) -> Result<(), StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let desk = ledger.desks.entry(account).or_default();
        let standing = desk.pause.filter(|pause| pause.until > now);
        desk.failures += u32::from(standing.is_none());
        let until = standing.map_or(now, |pause| pause.until).max(now + span);
        desk.pause = Some(Pause { until, reason });
        Ok(())
    }

    async fn resume(&self, account: AccountId) -> Result<(), StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let desk = ledger.desks.entry(account).or_default();
        if desk.pause.is_none_or(|pause| pause.until <= now) {
            (desk.pause, desk.failures) = (None, 0);
        }
        Ok(())
    }

    async fn lease(&self, name: &str, holder: &str, span: Duration) -> Result<bool, StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let served_by_another =
            ledger.leases.get(name).is_some_and(|(who, until)| who != holder && *until > now);
        if !served_by_another {
            ledger.leases.insert(name.to_owned(), (holder.to_owned(), now + span));
        }
        Ok(!served_by_another)
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let mut ledger = self.lock();
        if ledger.leases.get(name).is_some_and(|(who, _)| who == holder) {
            ledger.leases.remove(name);
        }
        Ok(())
    }

    async fn purge(&self, account: AccountId, keep: Keep, limit: u32) -> Result<u64, StoreError> {
        let mut ledger = self.lock();
        let now = (self.clock)();
        let Some(desk) = ledger.desks.get_mut(&account) else { return Ok(0) };
        let Desk { records, books, .. } = desk;
        let limit = limit as usize;
        let decisions = records.purge(books, now - keep.decisions, limit);
        let changes = books.purge_audit(now - AUDIT_KEPT, limit);
        Ok((decisions + changes + desk.purge(now - keep.ledger, limit)) as u64)
    }
}

/// Whether nothing happened to a reserved conversation that may move its slot once it is assigned.
fn is_as_reserved(conversation: &Conversation) -> bool {
    let is_moved = conversation.turn.is_some_and(|turn| turn.team != conversation.traits.team);
    conversation.status == Status::Open && !is_moved
}
