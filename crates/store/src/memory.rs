//! The ledger in memory: the reference model of the conformance suite, and what the demo runs on.
//!
//! One mutex, plain maps, the same core rules as every store. Nothing survives the process.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sebastian_core::{
    AccountId, Adopted, AgentId, AgentLoad, Changes, Conversation, ConversationId, Event, Head, InboxId,
    Listing, NewEvent, Outcome, Park, RoomId, Rooms, Rotation, Seen, Seq, ServiceId, Settled, Settlement,
    Snapshot, State, Timestamp, Timing, decide::free_slots,
};

use crate::{
    Attempt, Counts, Decide, DecideRule, Decided, Pause, PauseReason, Reservation, Store, StoreError,
    Suspect,
    port::{FOLD_EVENTS_MAX, SPARE_HEADS},
};

/// A ledger that lives as long as the value.
pub struct MemoryStore {
    timing: Timing,
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
}

/// Everything of one account.
#[derive(Default)]
struct Desk {
    events: BTreeMap<Seq, Event>,
    folded: Seq,
    conversations: BTreeMap<ConversationId, Conversation>,
    unresolved: BTreeSet<ConversationId>,
    by_room: HashMap<RoomId, Vec<ConversationId>>,
    /// Who served a conversation; a resolved state no longer says.
    served_by: HashMap<ConversationId, AgentId>,
    closed_services: HashMap<(RoomId, ServiceId), Timestamp>,
    loads: BTreeMap<AgentId, AgentLoad>,
    rotations: BTreeMap<Option<InboxId>, Rotation>,
    first_reservations: Vec<ConversationId>,
    pause: Option<Pause>,
    failures: u32,
}

impl MemoryStore {
    /// An empty ledger on the system's clock.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self::with_clock(timing, || SystemTime::now().into())
    }

    /// An empty ledger on a clock of the caller's, for simulations.
    pub fn with_clock(timing: Timing, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { timing, clock: Box::new(clock), ledger: Mutex::default() }
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
        let now = (self.clock)();
        let mut ledger = self.lock();
        let Ledger { desks, last_conversation, .. } = &mut *ledger;
        let desk = desks.entry(account).or_default();
        let (rooms, picked) = pick(desk);
        let mut working_set = desk.load_rooms(&rooms, now, self.timing);
        let answer = rule(&mut working_set, picked);
        desk.write(working_set.finish(), now, last_conversation);
        answer
    }
}

impl Desk {
    fn load_rooms(&self, rooms: &HashSet<RoomId>, now: Timestamp, timing: Timing) -> Rooms {
        let ids = rooms.iter().filter_map(|room| self.by_room.get(room)).flatten();
        let unresolved =
            ids.filter(|id| self.unresolved.contains(id)).map(|id| self.conversations[id].clone());
        let closed = self.closed_services.keys().filter(|(room, _)| rooms.contains(room)).cloned();
        Rooms::new(now, timing, unresolved.collect(), closed)
    }

    fn rooms_of(&self, ids: impl IntoIterator<Item = ConversationId>) -> HashSet<RoomId> {
        let found = ids.into_iter().filter_map(|id| self.conversations.get(&id));
        found.map(|conversation| conversation.room.clone()).collect()
    }

    fn write(&mut self, changes: Changes, now: Timestamp, last_conversation: &mut i64) {
        for conversation in changes.updated {
            self.put(conversation);
        }
        for mut conversation in changes.opened {
            *last_conversation += 1;
            conversation.id = ConversationId(*last_conversation);
            self.by_room.entry(conversation.room.clone()).or_default().push(conversation.id);
            self.put(conversation);
        }
        self.closed_services.extend(changes.closed_services.into_iter().map(|key| (key, now)));
        for (agent, change) in changes.agents {
            let load = self.loads.entry(agent).or_insert_with(|| AgentLoad::none(agent));
            load.open = load.open.checked_add_signed(change.open).expect("a slot given back was taken");
            load.shift_assignments = load.shift_assignments.saturating_add_signed(change.assignments);
        }
        for refund in changes.refunds {
            self.rotations.entry(refund.inbox).or_default().refund(refund.agent, refund.charge);
        }
    }

    fn put(&mut self, conversation: Conversation) {
        let id = conversation.id;
        if let State::Assigned { agent, .. } = conversation.state {
            self.served_by.insert(id, agent);
        }
        match conversation.state {
            State::Resolved { .. } => self.unresolved.remove(&id),
            State::Waiting { .. }
            | State::Reserved { .. }
            | State::Closing { .. }
            | State::Assigned { .. } => self.unresolved.insert(id),
        };
        self.conversations.insert(id, conversation);
    }

    /// Events not yet folded, oldest first.
    fn unfolded(&self) -> impl Iterator<Item = &Event> {
        let after = Seq(self.folded.0 + 1);
        self.events.range(after..).map(|(_, event)| event)
    }

    fn unpark(&mut self, now: Timestamp) {
        for id in &self.unresolved {
            let Some(conversation) = self.conversations.get_mut(id) else { continue };
            if let State::Waiting { park: Some(Park { until, .. }) } = conversation.state
                && until <= now
            {
                conversation.state = State::Waiting { park: None };
            }
        }
    }

    /// The first `per_queue` waiting conversations of each queue, in order.
    fn heads(&self, per_queue: usize) -> Vec<Head> {
        let mut waiting: Vec<&Conversation> = self
            .unresolved
            .iter()
            .map(|id| &self.conversations[id])
            .filter(|conversation| matches!(conversation.state, State::Waiting { park: None }))
            .collect();
        waiting.sort_by_key(|conversation| (conversation.position, conversation.id));
        let mut taken: HashMap<Option<InboxId>, usize> = HashMap::new();
        waiting.retain(|conversation| {
            let taken = taken.entry(conversation.inbox).or_default();
            *taken += 1;
            *taken <= per_queue
        });
        waiting.into_iter().map(head).collect()
    }

    fn loads_since(&self, since: Timestamp) -> BTreeMap<AgentId, AgentLoad> {
        let mut loads = self.loads.clone();
        for (id, agent) in &self.served_by {
            if let State::Resolved { at, .. } = self.conversations[id].state
                && at > since
                && let Some(load) = loads.get_mut(agent)
            {
                load.closed_recently += 1;
            }
        }
        loads
    }

    fn closed_since(&self, since: Timestamp) -> HashSet<RoomId> {
        let closed = self.conversations.values().filter(|conversation| match conversation.state {
            State::Resolved { at, .. } => at > since,
            State::Waiting { .. }
            | State::Reserved { .. }
            | State::Closing { .. }
            | State::Assigned { .. } => false,
        });
        closed.map(|conversation| conversation.room.clone()).collect()
    }

    /// Takes the slot and returns what the platform is to be told.
    fn reserve(
        &mut self,
        id: ConversationId,
        agent: AgentId,
        turn_charge: i64,
        shift: Option<Timestamp>,
        (now, deadline): (Timestamp, Timestamp),
    ) -> Option<Reservation> {
        let conversation = self.conversations.get_mut(&id)?;
        if conversation.attempt == 0 {
            self.first_reservations.push(id);
        }
        conversation.attempt += 1;
        conversation.state = State::Reserved { agent, deadline };
        conversation.turn_charge = turn_charge;
        let load = self.loads.entry(agent).or_insert_with(|| AgentLoad::none(agent));
        load.open += 1;
        load.shift_assignments = load.assignments_since(shift) + 1;
        load.shift = shift;
        load.last_assigned_at = Some(now);
        Some(Reservation {
            attempt: Attempt { conversation: id, number: conversation.attempt },
            room: conversation.room.clone(),
            agent,
            opened_at: conversation.opened_at,
            reserved_at: now,
            overdue_since: None,
        })
    }
}

fn head(conversation: &Conversation) -> Head {
    Head {
        conversation: conversation.id,
        room: conversation.room.clone(),
        inbox: conversation.inbox,
        position: conversation.position,
        opened_at: conversation.opened_at,
        refused: conversation.refused.clone(),
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
        let received_at = (self.clock)();
        let mut ledger = self.lock();
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
        let now = (self.clock)();
        let mut ledger = self.lock();
        let Ledger { desks, last_conversation, .. } = &mut *ledger;
        let desk = desks.entry(request.account).or_default();

        let events: Vec<Event> = desk.unfolded().take(FOLD_EVENTS_MAX).cloned().collect();
        let mut rooms =
            desk.load_rooms(&events.iter().map(|event| event.room.clone()).collect(), now, self.timing);
        events.iter().for_each(|event| rooms.apply(event));
        desk.write(rooms.finish(), now, last_conversation);
        desk.folded = events.last().map_or(desk.folded, |event| event.seq);
        desk.unpark(now);

        let mut decided = Decided {
            folded: u32::try_from(events.len()).unwrap_or(u32::MAX),
            more: events.len() == FOLD_EVENTS_MAX,
            pause: desk.pause.filter(|pause| pause.until > now),
            failures: desk.failures,
            ..Decided::default()
        };
        if decided.pause.is_some() {
            return Ok(decided);
        }
        let roster = request.roster.clone();
        let loads = desk.loads_since(roster.polled_at - self.timing.settle_window);
        let limit = if desk.failures > 0 { request.limit.min(1) } else { request.limit };
        let slots = free_slots(&roster, &loads, request.policy, now).min(limit);
        if slots == 0 {
            return Ok(decided);
        }
        let waiting = desk.heads(slots as usize + SPARE_HEADS);
        let (answers, rotations) = (request.answers.clone(), desk.rotations.clone());
        let snapshot = Snapshot { roster, loads, answers, waiting, rotations, limit };
        for decision in rule(&snapshot, now) {
            let id = decision.conversation;
            match decision.outcome {
                Outcome::Reserve { agent, turn_charge } => {
                    let shift = snapshot.roster.agent(agent).and_then(|agent| agent.online_since);
                    let when = (now, now + self.timing.reservation);
                    decided.reserved.extend(desk.reserve(id, agent, turn_charge, shift, when));
                }
                Outcome::Ask => {
                    decided.ask.extend(desk.conversations.get(&id).map(|asked| asked.room.clone()))
                }
                Outcome::Park(park) => {
                    if let Some(conversation) = desk.conversations.get_mut(&id) {
                        conversation.state = State::Waiting { park: Some(park) };
                    }
                }
                Outcome::Pass => {}
            }
            desk.rotations.extend(decision.rotation);
        }
        decided.more |= desk.failures == 0 && decided.reserved.len() == limit as usize;
        Ok(decided)
    }

    async fn confirm(&self, account: AccountId, attempts: &[Attempt]) -> Result<Vec<Attempt>, StoreError> {
        let at = (self.clock)();
        let mut ledger = self.lock();
        let desk = ledger.desks.entry(account).or_default();
        let mut confirmed = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let Some(conversation) = desk.conversations.get_mut(&attempt.conversation) else { continue };
            if let State::Reserved { agent, .. } = conversation.state
                && conversation.attempt == attempt.number
            {
                conversation.state = State::Assigned { agent, at };
                conversation.refused.clear();
                desk.served_by.insert(attempt.conversation, agent);
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
        let now = (self.clock)();
        let mut ledger = self.lock();
        let desk = ledger.desks.entry(account).or_default();
        let mut taken = Vec::new();
        for id in &desk.unresolved {
            let Some(conversation) = desk.conversations.get_mut(id) else { continue };
            let (State::Reserved { agent, deadline } | State::Closing { agent, deadline }) =
                &mut conversation.state
            else {
                continue;
            };
            if *deadline >= now || taken.len() == limit as usize {
                continue;
            }
            let overdue_since = Some(*deadline);
            *deadline = now + self.timing.reservation;
            let agent = *agent;
            conversation.attempt += 1;
            taken.push(Reservation {
                attempt: Attempt { conversation: *id, number: conversation.attempt },
                room: conversation.room.clone(),
                agent,
                opened_at: conversation.opened_at,
                reserved_at: now,
                overdue_since,
            });
        }
        Ok(taken)
    }

    async fn claim_suspects(&self, account: AccountId, limit: u32) -> Result<Vec<Suspect>, StoreError> {
        let now = (self.clock)();
        let mut ledger = self.lock();
        let desk = ledger.desks.entry(account).or_default();
        let mut suspects = Vec::new();
        for id in &desk.unresolved {
            let Some(conversation) = desk.conversations.get_mut(id) else { continue };
            let due = conversation.verify_at.is_some_and(|due| due <= now);
            if let State::Assigned { agent, .. } = conversation.state
                && due
                && suspects.len() < limit as usize
            {
                conversation.verify_at = Some(now + self.timing.settle_window);
                suspects.push(Suspect { conversation: *id, room: conversation.room.clone(), agent });
            }
        }
        Ok(suspects)
    }

    async fn verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
    ) -> Result<Settled, StoreError> {
        Ok(self.with_rooms(account, |desk| (desk.rooms_of([id]), ()), |rooms, ()| rooms.verified(id, seen)))
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
        let since = (self.clock)() - self.timing.settle_window;
        let ledger = self.lock();
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

    async fn counts(&self, account: AccountId) -> Result<Counts, StoreError> {
        let now = (self.clock)();
        let ledger = self.lock();
        let Some(desk) = ledger.desks.get(&account) else { return Ok(Counts::default()) };
        let mut counts = Counts { unfolded: desk.unfolded().count() as u64, ..Counts::default() };
        for conversation in desk.unresolved.iter().map(|id| &desk.conversations[id]) {
            match conversation.state {
                State::Waiting { park } => {
                    counts.waiting += u64::from(park.is_none());
                    counts.parked += u64::from(park.is_some());
                    let oldest = counts.oldest_waiting_at.get_or_insert(conversation.opened_at);
                    *oldest = conversation.opened_at.min(*oldest);
                }
                State::Reserved { deadline, .. } | State::Closing { deadline, .. } => {
                    counts.reserved += 1;
                    counts.overdue += u64::from(deadline < now);
                }
                State::Assigned { .. } => counts.assigned += 1,
                State::Resolved { .. } => {}
            }
        }
        Ok(counts)
    }

    async fn latest_in(&self, account: AccountId, room: &RoomId) -> Result<Option<Conversation>, StoreError> {
        let ledger = self.lock();
        let Some(desk) = ledger.desks.get(&account) else { return Ok(None) };
        let latest = desk.by_room.get(room).and_then(|ids| ids.last());
        Ok(latest.map(|id| desk.conversations[id].clone()))
    }

    async fn first_reservations(&self, account: AccountId, limit: u32) -> Result<Vec<Seq>, StoreError> {
        let ledger = self.lock();
        let Some(desk) = ledger.desks.get(&account) else { return Ok(Vec::new()) };
        let reserved = desk.first_reservations.iter().take(limit as usize);
        Ok(reserved.map(|id| desk.conversations[id].position).collect())
    }

    async fn pause(&self, account: AccountId, span: Duration, reason: PauseReason) -> Result<(), StoreError> {
        let now = (self.clock)();
        let mut ledger = self.lock();
        let desk = ledger.desks.entry(account).or_default();
        let standing = desk.pause.filter(|pause| pause.until > now);
        desk.failures += u32::from(standing.is_none());
        let until = standing.map_or(now, |pause| pause.until).max(now + span);
        desk.pause = Some(Pause { until, reason });
        Ok(())
    }

    async fn resume(&self, account: AccountId) -> Result<(), StoreError> {
        let mut ledger = self.lock();
        let desk = ledger.desks.entry(account).or_default();
        (desk.pause, desk.failures) = (None, 0);
        Ok(())
    }

    async fn lease(&self, name: &str, holder: &str, span: Duration) -> Result<bool, StoreError> {
        let now = (self.clock)();
        let mut ledger = self.lock();
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

    async fn purge(&self, account: AccountId, keep: Duration, limit: u32) -> Result<u64, StoreError> {
        let before = (self.clock)() - keep;
        let mut ledger = self.lock();
        let Some(desk) = ledger.desks.get_mut(&account) else { return Ok(0) };
        let limit = limit as usize;
        let events: HashSet<Seq> = desk
            .events
            .range(..=desk.folded)
            .filter(|(_, event)| event.received_at < before)
            .map(|(seq, _)| *seq)
            .take(limit)
            .collect();
        let over = |conversation: &Conversation| matches!(conversation.state, State::Resolved { at, .. } if at < before);
        let resolved: Vec<ConversationId> =
            desk.conversations.values().filter(|one| over(one)).map(|one| one.id).take(limit).collect();
        let services: Vec<_> =
            desk.closed_services.iter().filter(|(_, at)| **at < before).take(limit).collect();
        let services: HashSet<(RoomId, ServiceId)> =
            services.into_iter().map(|(key, _)| key.clone()).collect();
        let gone = events.len() + resolved.len() + services.len();
        desk.events.retain(|seq, _| !events.contains(seq));
        desk.closed_services.retain(|key, _| !services.contains(key));
        for id in resolved {
            desk.served_by.remove(&id);
            desk.first_reservations.retain(|kept| *kept != id);
            if let Some(conversation) = desk.conversations.remove(&id)
                && let Some(ids) = desk.by_room.get_mut(&conversation.room)
            {
                ids.retain(|kept| *kept != id);
            }
        }
        Ok(gone as u64)
    }
}
