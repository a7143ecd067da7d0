//! The outbox in a file.

mod sql;

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use rusqlite::{Row, ToSql};
use sebastian_core::{
    AccountId, AgentId, ConversationId, InboxId, Notice, NoticeKind, QueueKey, RoomId, TeamId,
};
use secrecy::{ExposeSecret, SecretString};
use ulid::Ulid;

pub(super) use self::sql::ALL_SQL;
use self::sql::{
    BEHIND, BEHIND_IT, CHANGE, CLAIM, CLAIMABLE, DEAD, DEAD_LETTERS, DELETE_DEAD, DELETE_PENDING, DELIVERED,
    DISABLE, DISABLE_LETTERS, DUE, ENABLE, HOW_MANY, LATER, NOTE_ATTENDANCE, NOTE_DELIVERY, NUMBERED_SINCE,
    OVERDUE, POST, QUEUES, REDELIVER, ROTATE, SUBSCRIBE, SUBSCRIPTION, SUBSCRIPTIONS, TELL, TIDY_DEAD,
    UNSUBSCRIBE, WANTING,
};
use super::{
    Call, SqliteStore,
    rows::{self, millis},
};
use crate::{
    Claim, Claimed, DeadLetter, DisabledReason, Fate, Letter, NewSubscription, Outbox, StoreError,
    Subscription, SubscriptionChange, SubscriptionId, WaitingQueue, outbox::SUBSCRIPTIONS_MAX,
};

#[async_trait]
impl Outbox for SqliteStore {
    async fn subscriptions(&self, account: AccountId) -> Result<Vec<Subscription>, StoreError> {
        self.read(|call| rows::all(call.tx, SUBSCRIPTIONS, &[&account.0], subscription)).await
    }

    async fn subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        self.read(|call| call.subscription(account, id)).await
    }

    async fn subscribe(
        &self,
        account: AccountId,
        wanted: NewSubscription,
    ) -> Result<Option<Subscription>, StoreError> {
        self.write(|call| call.subscribe(account, &wanted)).await
    }

    async fn change_subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<Option<Subscription>, StoreError> {
        self.write(|call| call.change_subscription(account, id, &change)).await
    }

    async fn unsubscribe(&self, account: AccountId, id: SubscriptionId) -> Result<bool, StoreError> {
        self.write(|call| call.unsubscribe(account, id)).await
    }

    async fn disable(
        &self,
        account: AccountId,
        id: SubscriptionId,
        why: DisabledReason,
    ) -> Result<(), StoreError> {
        self.write(|call| call.disable(account, id, why)).await
    }

    async fn dead_letters(
        &self,
        account: AccountId,
        id: SubscriptionId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let letter = |row: &Row<'_>| {
            Ok(DeadLetter {
                id: row.get("letter")?,
                notice: notice(row)?,
                attempts: row.get("attempts")?,
                dead_at: rows::needed(row, "dead_at")?,
                trouble: row.get("trouble")?,
            })
        };
        let sql = DEAD_LETTERS;
        self.read(|call| rows::all(call.tx, sql, &[&account.0, &id.0, &before, &limit], letter)).await
    }

    async fn redeliver(
        &self,
        account: AccountId,
        id: SubscriptionId,
        letter: &str,
    ) -> Result<bool, StoreError> {
        self.write(|call| {
            let values: [&dyn ToSql; 4] = [&account.0, &id.0, &letter, &millis(call.now)];
            Ok(rows::run(call.tx, REDELIVER, &values)? > 0)
        })
        .await
    }

    async fn due(&self, account: AccountId) -> Result<Vec<(SubscriptionId, Duration)>, StoreError> {
        self.read(|call| call.due(account)).await
    }

    async fn claim(
        &self,
        account: AccountId,
        id: SubscriptionId,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        self.write(|call| call.claim(account, id, limit, lease)).await
    }

    async fn settle_letter(&self, account: AccountId, claim: &Claim, fate: Fate) -> Result<bool, StoreError> {
        self.write(|call| call.settle_letter(account, claim, &fate)).await
    }

    async fn tell_waiting(&self, account: AccountId, span: Duration, limit: u32) -> Result<u32, StoreError> {
        self.write(|call| call.tell_waiting(account, span, limit)).await
    }

    async fn queues(&self, account: AccountId) -> Result<Vec<WaitingQueue>, StoreError> {
        self.read(|call| call.waiting_queues(account)).await
    }

    async fn note_attendance(
        &self,
        account: AccountId,
        queue: QueueKey,
        unattended: bool,
    ) -> Result<bool, StoreError> {
        self.write(|call| call.note_attendance(account, queue, unattended)).await
    }

    async fn tidy(
        &self,
        account: AccountId,
        keep: Duration,
        pending_max: u32,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        self.write(|call| call.tidy(account, keep, pending_max)).await
    }
}

/// A subscription that is told, and of what.
type Wanting = (SubscriptionId, BTreeSet<NoticeKind>);

impl Call<'_> {
    /// Writes a letter for everybody who wants to be told, in the transaction of the change.
    pub(super) fn post(&self, account: AccountId, notices: &[Notice]) -> Result<(), StoreError> {
        if notices.is_empty() {
            return Ok(());
        }
        let wanting = self.wanting(account)?;
        for notice in notices {
            self.post_to(account, &wanting, notice)?;
        }
        Ok(())
    }

    fn wanting(&self, account: AccountId) -> Result<Vec<Wanting>, StoreError> {
        rows::all(self.tx, WANTING, &[&account.0], |row| Ok((SubscriptionId(row.get("id")?), events(row)?)))
    }

    fn post_to(&self, account: AccountId, wanting: &[Wanting], notice: &Notice) -> Result<(), StoreError> {
        let mut wanting = wanting.iter().filter(|(_, events)| events.contains(&notice.kind)).peekable();
        if wanting.peek().is_none() {
            return Ok(());
        }
        let room = notice.room.as_ref().map(RoomId::as_str);
        let conversation = match (notice.conversation, room) {
            (Some(id), _) => Some(id.0),
            (None, Some(room)) => {
                rows::first(self.tx, NUMBERED_SINCE, &[&account.0, &room], |row| Ok(row.get("id")?))?
            }
            (None, None) => None,
        };
        let waited = notice.waited.map(|span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
        for (subscription, _) in wanting {
            let values: [&dyn ToSql; 14] = [
                &letter_id(),
                &account.0,
                &subscription.0,
                &notice.kind.as_str(),
                &millis(notice.at),
                &conversation,
                &room,
                &notice.agent.map(|id| id.0),
                &notice.previous_agent.map(|id| id.0),
                &notice.inbox.map(|id| id.0),
                &notice.team.map(|id| id.0),
                &waited,
                &notice.load,
                &notice.capacity,
            ];
            rows::run(self.tx, POST, &values)?;
        }
        Ok(())
    }

    fn subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        rows::first(self.tx, SUBSCRIPTION, &[&account.0, &id.0], subscription)
    }

    fn subscribe(
        &self,
        account: AccountId,
        wanted: &NewSubscription,
    ) -> Result<Option<Subscription>, StoreError> {
        let found = rows::first(self.tx, HOW_MANY, &[&account.0], |row| Ok(row.get::<_, u32>("found")?))?;
        if found.is_some_and(|found| found >= SUBSCRIPTIONS_MAX) {
            return Ok(None);
        }
        let (events, secret) = (names(&wanted.events)?, wanted.secret.expose_secret());
        let values: [&dyn ToSql; 5] = [&account.0, &wanted.url, &events, &secret, &millis(self.now)];
        let id = rows::first(self.tx, SUBSCRIBE, &values, |row| Ok(SubscriptionId(row.get("id")?)))?;
        id.map_or(Ok(None), |id| self.subscription(account, id))
    }

    fn change_subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
        change: &SubscriptionChange,
    ) -> Result<Option<Subscription>, StoreError> {
        let events = change.events.as_ref().map(names).transpose()?;
        let values: [&dyn ToSql; 5] = [&account.0, &id.0, &change.url, &events, &millis(self.now)];
        if rows::run(self.tx, CHANGE, &values)? == 0 {
            return Ok(None);
        }
        if let Some((secret, overlap)) = &change.secret {
            let until = millis(self.now + *overlap);
            rows::run(self.tx, ROTATE, &[&account.0, &id.0, &secret.expose_secret(), &until])?;
        }
        match change.enabled {
            Some(true) => rows::run(self.tx, ENABLE, &[&account.0, &id.0]).map(drop)?,
            Some(false) => self.disable(account, id, DisabledReason::Operator)?,
            None => {}
        }
        self.subscription(account, id)
    }

    fn unsubscribe(&self, account: AccountId, id: SubscriptionId) -> Result<bool, StoreError> {
        if rows::run(self.tx, UNSUBSCRIBE, &[&account.0, &id.0])? == 0 {
            return Ok(false);
        }
        rows::run(self.tx, DELETE_PENDING, &[&id.0])?;
        rows::run(self.tx, DELETE_DEAD, &[&id.0])?;
        Ok(true)
    }

    fn disable(&self, account: AccountId, id: SubscriptionId, why: DisabledReason) -> Result<(), StoreError> {
        let (now, why) = (millis(self.now), why.as_str());
        if rows::run(self.tx, DISABLE, &[&account.0, &id.0, &why, &now])? > 0 {
            rows::run(self.tx, DISABLE_LETTERS, &[&id.0, &why, &now])?;
        }
        Ok(())
    }

    fn due(&self, account: AccountId) -> Result<Vec<(SubscriptionId, Duration)>, StoreError> {
        let due = |row: &Row<'_>| {
            let due_at = rows::time(row, "due_at")?;
            Ok(due_at.map(|at| Ok::<_, StoreError>((SubscriptionId(row.get("id")?), self.now.since(at)))))
        };
        let found = rows::all(self.tx, DUE, &[&account.0, &millis(self.now)], due)?;
        found.into_iter().flatten().collect()
    }

    fn claim(
        &self,
        account: AccountId,
        id: SubscriptionId,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        let Some(subscription) = self.subscription(account, id)?.filter(|one| one.disabled.is_none()) else {
            return Ok(None);
        };
        // A kind that only a later program knows is left to that: its claim runs out.
        let letter = |row: &Row<'_>| {
            let seq = row.get::<_, i64>("seq")?;
            if NoticeKind::parse(rows::text(row, "kind")?).is_none() {
                return Ok((seq, None));
            }
            let claim = Claim { letter: row.get("letter")?, attempt: row.get::<_, u32>("attempts")? + 1 };
            Ok((seq, Some(Letter { claim, notice: notice(row)? })))
        };
        let claimable = rows::all(self.tx, CLAIMABLE, &[&id.0, &millis(self.now), &limit], letter)?;
        let until = millis(self.now + lease);
        let mut letters = Vec::with_capacity(claimable.len());
        for (seq, letter) in claimable {
            rows::run(self.tx, CLAIM, &[&seq, &until])?;
            letters.extend(letter);
        }
        Ok(Some(Claimed { subscription, at: self.now, letters }))
    }

    fn settle_letter(&self, account: AccountId, claim: &Claim, fate: &Fate) -> Result<bool, StoreError> {
        let (letter, attempt, now) = (&claim.letter, claim.attempt, millis(self.now));
        match fate {
            Fate::Delivered => {
                let gone: Option<i64> =
                    rows::first(self.tx, DELIVERED, &[&account.0, letter, &attempt], |row| {
                        Ok(row.get("subscription_id")?)
                    })?;
                let Some(subscription) = gone else { return Ok(false) };
                rows::run(self.tx, NOTE_DELIVERY, &[&subscription, &now])?;
                Ok(true)
            }
            Fate::Later { after, trouble } => {
                let at = millis(self.now + *after);
                let values: [&dyn ToSql; 5] = [&account.0, letter, &attempt, &at, trouble];
                let put_off = |row: &Row<'_>| {
                    let of = row.get::<_, Option<i64>>("conversation_id")?;
                    Ok((row.get::<_, i64>("seq")?, row.get::<_, i64>("subscription_id")?, of))
                };
                let put_off = rows::first(self.tx, LATER, &values, put_off)?;
                if let Some((seq, subscription, Some(conversation))) = put_off {
                    rows::run(self.tx, BEHIND_IT, &[&subscription, &conversation, &seq, &at])?;
                }
                Ok(put_off.is_some())
            }
            Fate::Dead { trouble } => {
                Ok(rows::run(self.tx, DEAD, &[&account.0, letter, &attempt, trouble, &now])? > 0)
            }
        }
    }

    /// Who is told of a kind, and nobody else.
    fn wanting_only(&self, account: AccountId, kind: NoticeKind) -> Result<Vec<Wanting>, StoreError> {
        let mut wanting = self.wanting(account)?;
        wanting.retain(|(_, events)| events.contains(&kind));
        Ok(wanting)
    }

    fn tell_waiting(&self, account: AccountId, span: Duration, limit: u32) -> Result<u32, StoreError> {
        let wanting = self.wanting_only(account, NoticeKind::WaitingTooLong)?;
        if wanting.is_empty() {
            return Ok(0);
        }
        let overdue = |row: &Row<'_>| {
            let QueueKey { inbox, team } = rows::queue(row)?;
            Ok(Notice {
                conversation: Some(ConversationId(row.get("id")?)),
                room: Some(rows::room(row)?),
                inbox,
                team,
                waited: Some(self.now.since(rows::needed(row, "opened_at")?)),
                ..Notice::blank(NoticeKind::WaitingTooLong, self.now)
            })
        };
        let before = millis(self.now - span);
        let overdue = rows::all(self.tx, OVERDUE, &[&account.0, &before, &limit], overdue)?;
        for notice in &overdue {
            rows::run(self.tx, TELL, &[&notice.conversation.map(|id| id.0)])?;
            self.post_to(account, &wanting, notice)?;
        }
        Ok(u32::try_from(overdue.len()).unwrap_or(u32::MAX))
    }

    fn waiting_queues(&self, account: AccountId) -> Result<Vec<WaitingQueue>, StoreError> {
        if self.wanting_only(account, NoticeKind::NoAgents)?.is_empty() {
            return Ok(Vec::new());
        }
        let queue = |row: &Row<'_>| {
            Ok(WaitingQueue {
                queue: rows::queue(row)?,
                waiting: row.get("waiting")?,
                unattended: row.get("unattended")?,
            })
        };
        rows::all(self.tx, QUEUES, &[&account.0], queue)
    }

    fn note_attendance(
        &self,
        account: AccountId,
        queue: QueueKey,
        unattended: bool,
    ) -> Result<bool, StoreError> {
        let (inbox, team) = (queue.inbox.map(|id| id.0), queue.team.map(|id| id.0));
        if rows::run(self.tx, NOTE_ATTENDANCE, &[&account.0, &inbox, &team, &unattended])? == 0 {
            return Ok(false);
        }
        if unattended {
            let (inbox, team) = (queue.inbox, queue.team);
            self.post(account, &[Notice { inbox, team, ..Notice::blank(NoticeKind::NoAgents, self.now) }])?;
        }
        Ok(true)
    }

    fn tidy(
        &self,
        account: AccountId,
        keep: Duration,
        pending_max: u32,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        rows::run(self.tx, TIDY_DEAD, &[&account.0, &millis(self.now - keep)])?;
        let id = |row: &Row<'_>| Ok(SubscriptionId(row.get("id")?));
        let behind = rows::all(self.tx, BEHIND, &[&account.0, &pending_max], id)?;
        for id in &behind {
            self.disable(account, *id, DisabledReason::Behind)?;
        }
        Ok(behind)
    }
}

/// A UUID, so that the letter may go on in a ledger that keeps ids as such.
fn letter_id() -> String {
    let digits = format!("{:032x}", Ulid::new().0);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn names(events: &BTreeSet<NoticeKind>) -> Result<String, StoreError> {
    rows::json(&events.iter().map(|kind| kind.as_str()).collect::<Vec<_>>())
}

/// What a subscription is told of. Kinds that only a later program knows are left out.
fn events(row: &Row<'_>) -> Result<BTreeSet<NoticeKind>, StoreError> {
    let names: Vec<String> = rows::parsed(row, "events")?.unwrap_or_default();
    Ok(names.iter().filter_map(|name| NoticeKind::parse(name)).collect())
}

/// The subscription in a row of its columns.
fn subscription(row: &Row<'_>) -> Result<Subscription, StoreError> {
    let secret = |text: String| SecretString::from(text);
    let disabled = |word: &str| DisabledReason::ALL.into_iter().find(|why| why.as_str() == word);
    let is_disabled = row.get_ref("disabled")? != rusqlite::types::ValueRef::Null;
    Ok(Subscription {
        id: SubscriptionId(row.get("id")?),
        url: row.get("url")?,
        events: events(row)?,
        secret: secret(row.get("secret")?),
        previous: row
            .get::<_, Option<String>>("previous_secret")?
            .map(secret)
            .zip(rows::time(row, "previous_until")?),
        disabled: is_disabled.then(|| rows::word(row, "disabled", disabled)).transpose()?,
        delivered_at: rows::time(row, "delivered_at")?,
        created_at: rows::needed(row, "created_at")?,
        updated_at: rows::needed(row, "updated_at")?,
    })
}

/// The notice in a row of its columns.
fn notice(row: &Row<'_>) -> Result<Notice, StoreError> {
    let number = |column| row.get::<_, Option<i64>>(column);
    let count = |column| row.get::<_, Option<u32>>(column);
    let has_room = row.get_ref("room_id")? != rusqlite::types::ValueRef::Null;
    let waited = number("waited_ms")?.and_then(|ms| u64::try_from(ms).ok());
    Ok(Notice {
        kind: rows::word(row, "kind", NoticeKind::parse)?,
        at: rows::needed(row, "at")?,
        conversation: number("conversation_id")?.map(ConversationId),
        room: has_room.then(|| rows::room(row)).transpose()?,
        agent: number("agent_id")?.map(AgentId),
        previous_agent: number("previous_agent_id")?.map(AgentId),
        inbox: number("inbox_id")?.map(InboxId),
        team: number("team_id")?.map(TeamId),
        waited: waited.map(Duration::from_millis),
        load: count("load")?,
        capacity: count("capacity")?,
    })
}
