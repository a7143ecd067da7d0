//! The outbox in memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use sebastian_core::{
    AccountId, Conversation, ConversationId, Notice, NoticeKind, Park, ParkReason, QueueKey, State, Timestamp,
};
use ulid::Ulid;

use super::{MemoryStore, desk::Desk};
use crate::{
    Claim, Claimed, DeadLetter, DisabledReason, Fate, Letter, NewSubscription, Outbox, StoreError,
    Subscription, SubscriptionChange, SubscriptionId, WaitingQueue, outbox::SUBSCRIPTIONS_MAX,
    round::queue_of,
};

/// One account's subscriptions and letters.
#[derive(Default)]
pub(super) struct Mail {
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    last_subscription: i64,
    /// By the order they were written in.
    letters: BTreeMap<u64, Row>,
    last_letter: u64,
    told_waiting: HashSet<ConversationId>,
    unattended: BTreeSet<QueueKey>,
}

struct Row {
    id: String,
    subscription: SubscriptionId,
    notice: Notice,
    attempts: u32,
    next_at: Timestamp,
    dead: Option<Timestamp>,
    trouble: Option<String>,
}

impl Mail {
    /// Writes a letter for everybody who wants to be told.
    pub fn post(&mut self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            let wanting = self.subscriptions.values();
            let wanting = wanting.filter(|one| one.disabled.is_none() && one.events.contains(&notice.kind));
            for subscription in wanting {
                self.last_letter += 1;
                let row = Row {
                    id: Ulid::new().to_string(),
                    subscription: subscription.id,
                    notice: notice.clone(),
                    attempts: 0,
                    next_at: notice.at,
                    dead: None,
                    trouble: None,
                };
                self.letters.insert(self.last_letter, row);
            }
        }
    }

    /// Forgets a conversation that is purged.
    pub fn forget(&mut self, conversation: ConversationId) {
        self.told_waiting.remove(&conversation);
    }

    fn is_wanted(&self, kind: NoticeKind) -> bool {
        self.subscriptions.values().any(|one| one.disabled.is_none() && one.events.contains(&kind))
    }

    /// The letters still to be delivered to a subscription, in order.
    fn pending(&self, id: SubscriptionId) -> impl Iterator<Item = (&u64, &Row)> {
        self.letters.iter().filter(move |(_, row)| row.subscription == id && row.dead.is_none())
    }

    fn disable(&mut self, id: SubscriptionId, why: DisabledReason, now: Timestamp) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        (subscription.disabled, subscription.updated_at) = (Some(why), now);
        for row in self.letters.values_mut().filter(|row| row.subscription == id && row.dead.is_none()) {
            row.dead = Some(now);
            row.trouble.get_or_insert_with(|| format!("disabled: {}", why.as_str()));
        }
    }

    fn claim(&mut self, id: SubscriptionId, limit: usize, now: Timestamp, lease: Duration) -> Vec<Letter> {
        let mut taken = HashSet::new();
        // Of each conversation the first letter only, due or not.
        let firsts =
            self.pending(id).filter(|(_, row)| row.notice.conversation.is_none_or(|of| taken.insert(of)));
        let mut due: Vec<(Timestamp, u64)> =
            firsts.filter(|(_, row)| row.next_at <= now).map(|(seq, row)| (row.next_at, *seq)).collect();
        due.sort_unstable();
        due.truncate(limit);
        let claim = |(_, seq)| {
            let row = self.letters.get_mut(&seq)?;
            row.attempts += 1;
            row.next_at = now + lease;
            let claim = Claim { letter: row.id.clone(), attempt: row.attempts };
            Some(Letter { claim, notice: row.notice.clone() })
        };
        due.into_iter().filter_map(claim).collect()
    }

    /// Lets those after a letter about the same conversation wait for it.
    fn put_off(&mut self, seq: u64, until: Timestamp) {
        let Some((subscription, Some(conversation))) =
            self.letters.get(&seq).map(|row| (row.subscription, row.notice.conversation))
        else {
            return;
        };
        let behind = self.letters.range_mut(seq + 1..).map(|(_, row)| row);
        let behind = behind.filter(|row| row.subscription == subscription && row.dead.is_none());
        for row in behind.filter(|row| row.notice.conversation == Some(conversation)) {
            row.next_at = row.next_at.max(until);
        }
    }

    fn settle(&mut self, claim: &Claim, fate: Fate, now: Timestamp) -> bool {
        let held = |row: &Row| row.id == claim.letter && row.attempts == claim.attempt && row.dead.is_none();
        let Some((&seq, _)) = self.letters.iter().find(|(_, row)| held(row)) else { return false };
        match fate {
            Fate::Delivered => {
                let row = self.letters.remove(&seq);
                let subscription = row.and_then(|row| self.subscriptions.get_mut(&row.subscription));
                if let Some(subscription) = subscription {
                    subscription.delivered_at = Some(now);
                }
            }
            Fate::Later { after, trouble } => {
                self.put_off(seq, now + after);
                if let Some(row) = self.letters.get_mut(&seq) {
                    (row.next_at, row.trouble) = (now + after, Some(trouble));
                }
            }
            Fate::Dead { trouble } => {
                if let Some(row) = self.letters.get_mut(&seq) {
                    (row.dead, row.trouble) = (Some(now), Some(trouble));
                }
            }
        }
        true
    }
}

impl Desk {
    /// Conversations that wait in a queue and are not put off.
    fn in_line(&self) -> impl Iterator<Item = &Conversation> {
        let waiting = self.unresolved.iter().map(|id| &self.conversations[id]);
        waiting.filter(|one| match one.state {
            State::Waiting { park: Some(Park { why: ParkReason::Pending | ParkReason::Snoozed, .. }) } => {
                false
            }
            State::Waiting { .. } => true,
            State::Reserved { .. }
            | State::Closing { .. }
            | State::Assigned { .. }
            | State::Resolved { .. } => false,
        })
    }
}

impl MemoryStore {
    fn at_desk<T>(&self, account: AccountId, act: impl FnOnce(&mut Desk, Timestamp) -> T) -> T {
        let mut ledger = self.lock();
        let now = (self.clock)();
        act(ledger.desks.entry(account).or_default(), now)
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn subscriptions(&self, account: AccountId) -> Result<Vec<Subscription>, StoreError> {
        Ok(self.at_desk(account, |desk, _| desk.mail.subscriptions.values().cloned().collect()))
    }

    async fn subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        Ok(self.at_desk(account, |desk, _| desk.mail.subscriptions.get(&id).cloned()))
    }

    async fn subscribe(
        &self,
        account: AccountId,
        wanted: NewSubscription,
    ) -> Result<Option<Subscription>, StoreError> {
        Ok(self.at_desk(account, |Desk { mail, .. }, now| {
            if mail.subscriptions.len() >= SUBSCRIPTIONS_MAX as usize {
                return None;
            }
            mail.last_subscription += 1;
            let id = SubscriptionId(mail.last_subscription);
            let NewSubscription { url, events, secret } = wanted;
            let made = Subscription {
                id,
                url,
                events,
                secret,
                previous: None,
                disabled: None,
                delivered_at: None,
                created_at: now,
                updated_at: now,
            };
            mail.subscriptions.insert(id, made.clone());
            Some(made)
        }))
    }

    async fn change_subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<Option<Subscription>, StoreError> {
        Ok(self.at_desk(account, |Desk { mail, .. }, now| {
            let subscription = mail.subscriptions.get_mut(&id)?;
            let SubscriptionChange { url, events, enabled, secret } = change;
            subscription.url = url.unwrap_or_else(|| subscription.url.clone());
            subscription.events = events.unwrap_or_else(|| subscription.events.clone());
            if let Some((secret, overlap)) = secret {
                let old = std::mem::replace(&mut subscription.secret, secret);
                subscription.previous = Some((old, now + overlap));
            }
            subscription.updated_at = now;
            match enabled {
                Some(true) => subscription.disabled = None,
                Some(false) => mail.disable(id, DisabledReason::Operator, now),
                None => {}
            }
            mail.subscriptions.get(&id).cloned()
        }))
    }

    async fn unsubscribe(&self, account: AccountId, id: SubscriptionId) -> Result<bool, StoreError> {
        Ok(self.at_desk(account, |Desk { mail, .. }, _| {
            mail.letters.retain(|_, row| row.subscription != id);
            mail.subscriptions.remove(&id).is_some()
        }))
    }

    async fn disable(
        &self,
        account: AccountId,
        id: SubscriptionId,
        why: DisabledReason,
    ) -> Result<(), StoreError> {
        self.at_desk(account, |desk, now| desk.mail.disable(id, why, now));
        Ok(())
    }

    async fn dead_letters(
        &self,
        account: AccountId,
        id: SubscriptionId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let letter = |row: &Row| {
            Some(DeadLetter {
                id: row.id.clone(),
                notice: row.notice.clone(),
                attempts: row.attempts,
                dead_at: row.dead?,
                trouble: row.trouble.clone(),
            })
        };
        Ok(self.at_desk(account, |desk, _| {
            let rows = desk.mail.letters.values().filter(|row| row.subscription == id);
            let older = rows.take_while(|row| before != Some(row.id.as_str()));
            let mut found: Vec<DeadLetter> = older.filter_map(letter).collect();
            found.reverse();
            found.truncate(limit as usize);
            found
        }))
    }

    async fn redeliver(
        &self,
        account: AccountId,
        id: SubscriptionId,
        letter: &str,
    ) -> Result<bool, StoreError> {
        Ok(self.at_desk(account, |desk, now| {
            let mut rows = desk.mail.letters.values_mut();
            let found = rows.find(|row| row.id == letter && row.subscription == id && row.dead.is_some());
            let Some(row) = found else { return false };
            (row.dead, row.attempts, row.next_at) = (None, 0, now);
            true
        }))
    }

    async fn due(&self, account: AccountId) -> Result<Vec<(SubscriptionId, Duration)>, StoreError> {
        Ok(self.at_desk(account, |Desk { mail, .. }, now| {
            let sending = mail.subscriptions.values().filter(|one| one.disabled.is_none());
            let first_due = |id| mail.pending(id).map(|(_, row)| row.next_at).filter(|at| *at <= now).min();
            sending.filter_map(|one| Some((one.id, now.since(first_due(one.id)?)))).collect()
        }))
    }

    async fn claim(
        &self,
        account: AccountId,
        id: SubscriptionId,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        Ok(self.at_desk(account, |Desk { mail, .. }, now| {
            let subscription = mail.subscriptions.get(&id).filter(|one| one.disabled.is_none())?.clone();
            let letters = mail.claim(id, limit as usize, now, lease);
            Some(Claimed { subscription, at: now, letters })
        }))
    }

    async fn settle_letter(&self, account: AccountId, claim: &Claim, fate: Fate) -> Result<bool, StoreError> {
        Ok(self.at_desk(account, |desk, now| desk.mail.settle(claim, fate, now)))
    }

    async fn tell_waiting(&self, account: AccountId, span: Duration, limit: u32) -> Result<u32, StoreError> {
        Ok(self.at_desk(account, |desk, now| {
            if !desk.mail.is_wanted(NoticeKind::WaitingTooLong) {
                return 0;
            }
            let overdue = desk.in_line().filter(|one| now.since(one.opened_at) >= span);
            let untold = overdue.filter(|one| !desk.mail.told_waiting.contains(&one.id));
            let notice = |one: &Conversation| Notice::about(NoticeKind::WaitingTooLong, now, one);
            let notices: Vec<Notice> = untold.take(limit as usize).map(notice).collect();
            desk.mail.told_waiting.extend(notices.iter().filter_map(|notice| notice.conversation));
            let told = u32::try_from(notices.len()).unwrap_or(u32::MAX);
            desk.mail.post(notices);
            told
        }))
    }

    async fn queues(&self, account: AccountId) -> Result<Vec<WaitingQueue>, StoreError> {
        Ok(self.at_desk(account, |desk, _| {
            if !desk.mail.is_wanted(NoticeKind::NoAgents) {
                return vec![];
            }
            let mut queues: BTreeMap<QueueKey, bool> =
                desk.mail.unattended.iter().map(|queue| (*queue, false)).collect();
            let in_line = desk.in_line().filter(|one| one.state == State::Waiting { park: None });
            queues.extend(in_line.map(|one| (queue_of(one), true)));
            let unattended = |queue| desk.mail.unattended.contains(&queue);
            let queues = queues.into_iter();
            queues
                .map(|(queue, waiting)| WaitingQueue { queue, waiting, unattended: unattended(queue) })
                .collect()
        }))
    }

    async fn note_attendance(
        &self,
        account: AccountId,
        queue: QueueKey,
        unattended: bool,
    ) -> Result<bool, StoreError> {
        Ok(self.at_desk(account, |Desk { mail, .. }, now| {
            if !unattended {
                return mail.unattended.remove(&queue);
            }
            let is_new = mail.unattended.insert(queue);
            if is_new {
                let QueueKey { inbox, team } = queue;
                mail.post([Notice { inbox, team, ..Notice::blank(NoticeKind::NoAgents, now) }]);
            }
            is_new
        }))
    }

    async fn tidy(
        &self,
        account: AccountId,
        keep: Duration,
        pending_max: u32,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        Ok(self.at_desk(account, |Desk { mail, .. }, now| {
            mail.letters.retain(|_, row| row.dead.is_none_or(|at| at + keep >= now));
            let sending = mail.subscriptions.values().filter(|one| one.disabled.is_none());
            let behind = sending.filter(|one| mail.pending(one.id).count() > pending_max as usize);
            let behind: Vec<SubscriptionId> = behind.map(|one| one.id).collect();
            behind.iter().for_each(|id| mail.disable(*id, DisabledReason::Behind, now));
            behind
        }))
    }
}
