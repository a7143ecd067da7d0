//! The outbox in PostgreSQL.

mod sql;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sebastian_core::{
    AccountId, AgentId, ConversationId, InboxId, Notice, NoticeKind, QueueKey, RoomId, TeamId,
};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Row, Statement, types::ToSql};

pub(super) use self::sql::{ALL_SQL, POST};
use self::sql::{
    ATTENDED, BEHIND, CHANGE, CLAIM, DEAD, DEAD_LETTERS, DELETE_LETTERS, DELIVERED, DISABLE, DUE, LATER,
    QUEUES, REDELIVER, SENDING, SUBSCRIBE, SUBSCRIPTION, SUBSCRIPTIONS, TELL_WAITING, TIDY_DEAD,
    TIDY_ORPHANS, UNATTENDED, UNSUBSCRIBE,
};
use super::{PostgresStore, rows, transaction::Transaction, within};
use crate::{
    Claim, Claimed, DeadLetter, DisabledReason, Fate, Letter, NewSubscription, Outbox, StoreError,
    Subscription, SubscriptionChange, SubscriptionId, WaitingQueue, outbox::SUBSCRIPTIONS_MAX,
};

/// Writes a letter for everybody who wants to be told, in the transaction of the change. `statement` is [`POST`], sent at
/// the first poll.
pub(super) async fn post(
    tx: &Transaction,
    statement: &Statement,
    account: AccountId,
    notices: &[Notice],
) -> Result<(), StoreError> {
    if notices.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(notices: &'a [Notice], of: impl Fn(&'a Notice) -> T) -> Vec<T> {
        notices.iter().map(of).collect()
    }
    let kinds = column(notices, |notice| notice.kind.as_str());
    let times = column(notices, |notice| SystemTime::from(notice.at));
    let conversations = column(notices, |notice| notice.conversation.map(|id| id.0));
    let rooms = column(notices, |notice| notice.room.as_ref().map(RoomId::as_str));
    let agents = column(notices, |notice| notice.agent.map(|id| id.0));
    let previous = column(notices, |notice| notice.previous_agent.map(|id| id.0));
    let inboxes = column(notices, |notice| notice.inbox.map(|id| id.0));
    let teams = column(notices, |notice| notice.team.map(|id| id.0));
    let waited = column(notices, |notice| {
        notice.waited.map(|span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
    });
    let signed = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let loads = column(notices, |notice| notice.load.map(signed));
    let capacities = column(notices, |notice| notice.capacity.map(signed));
    let values: [&(dyn ToSql + Sync); 12] = [
        &account.0,
        &kinds,
        &times,
        &conversations,
        &rooms,
        &agents,
        &previous,
        &inboxes,
        &teams,
        &waited,
        &loads,
        &capacities,
    ];
    tx.execute(statement, &values).await?;
    Ok(())
}

impl PostgresStore {
    async fn rows(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        within(async {
            let client = self.client().await?;
            let statement = client.prepare_cached(sql).await?;
            Ok(client.query(&statement, values).await?)
        })
        .await
    }
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn subscriptions(&self, account: AccountId) -> Result<Vec<Subscription>, StoreError> {
        self.rows(SUBSCRIPTIONS, &[&account.0]).await?.iter().map(subscription).collect()
    }

    async fn subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        self.rows(SUBSCRIPTION, &[&account.0, &id.0]).await?.first().map(subscription).transpose()
    }

    async fn subscribe(
        &self,
        account: AccountId,
        wanted: NewSubscription,
    ) -> Result<Option<Subscription>, StoreError> {
        let (events, most) = (names(&wanted.events), i64::from(SUBSCRIPTIONS_MAX));
        let secret = wanted.secret.expose_secret();
        let made = self.rows(SUBSCRIBE, &[&account.0, &wanted.url, &events, &secret, &most]).await?;
        made.first().map(subscription).transpose()
    }

    async fn change_subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<Option<Subscription>, StoreError> {
        let events = change.events.as_ref().map(names);
        let secret = change.secret.as_ref().map(|(secret, _)| secret.expose_secret());
        let overlap = change.secret.as_ref().map_or(0.0, |(_, overlap)| overlap.as_secs_f64());
        let enables = change.enabled == Some(true);
        let values: [&(dyn ToSql + Sync); 7] =
            [&account.0, &id.0, &change.url, &events, &secret, &overlap, &enables];
        let mut changed = self.rows(CHANGE, &values).await?;
        if change.enabled == Some(false) && !changed.is_empty() {
            self.disable(account, id, DisabledReason::Operator).await?;
            changed = self.rows(SUBSCRIPTION, &[&account.0, &id.0]).await?;
        }
        changed.first().map(subscription).transpose()
    }

    async fn unsubscribe(&self, account: AccountId, id: SubscriptionId) -> Result<bool, StoreError> {
        within(async {
            let mut client = self.client().await?;
            let tx = client.transaction().await?;
            let gone = tx.execute(UNSUBSCRIBE, &[&account.0, &id.0]).await?;
            tx.execute(DELETE_LETTERS, &[&account.0, &id.0]).await?;
            tx.commit().await?;
            Ok(gone > 0)
        })
        .await
    }

    async fn disable(
        &self,
        account: AccountId,
        id: SubscriptionId,
        why: DisabledReason,
    ) -> Result<(), StoreError> {
        self.rows(DISABLE, &[&account.0, &id.0, &why.as_str()]).await?;
        Ok(())
    }

    async fn dead_letters(
        &self,
        account: AccountId,
        id: SubscriptionId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let found = self.rows(DEAD_LETTERS, &[&account.0, &id.0, &before, &i64::from(limit)]).await?;
        let letter = |row: &Row| {
            Ok(DeadLetter {
                id: row.try_get("letter")?,
                notice: notice(row)?,
                attempts: rows::count(row, "attempts")?,
                dead_at: rows::needed(row, "dead_at")?,
                trouble: row.try_get("trouble")?,
            })
        };
        found.iter().map(letter).collect()
    }

    async fn redeliver(
        &self,
        account: AccountId,
        id: SubscriptionId,
        letter: &str,
    ) -> Result<bool, StoreError> {
        within(async {
            let client = self.client().await?;
            let statement = client.prepare_cached(REDELIVER).await?;
            Ok(client.execute(&statement, &[&account.0, &id.0, &letter]).await? > 0)
        })
        .await
    }

    async fn due(&self, account: AccountId) -> Result<Vec<(SubscriptionId, Duration)>, StoreError> {
        let found = self.rows(DUE, &[&account.0]).await?;
        let due = |row: &Row| {
            let due_for = u64::try_from(row.try_get::<_, i64>("due_ms")?).unwrap_or(0);
            Ok((SubscriptionId(row.try_get("id")?), Duration::from_millis(due_for)))
        };
        found.iter().map(due).collect()
    }

    async fn claim(
        &self,
        account: AccountId,
        id: SubscriptionId,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        let sending = self.rows(SENDING, &[&account.0, &id.0]).await?;
        let Some(sending) = sending.first() else { return Ok(None) };
        let values: [&(dyn ToSql + Sync); 4] = [&account.0, &id.0, &i64::from(limit), &lease.as_secs_f64()];
        let claimed = self.rows(CLAIM, &values).await?;
        // A kind that only a later program knows is left to that: its claim runs out.
        let known = claimed
            .iter()
            .filter(|row| row.try_get("kind").is_ok_and(|kind| NoticeKind::parse(kind).is_some()));
        let letter = |row: &Row| {
            let claim = Claim { letter: row.try_get("letter")?, attempt: rows::count(row, "attempts")? };
            Ok(Letter { claim, notice: notice(row)? })
        };
        Ok(Some(Claimed {
            subscription: subscription(sending)?,
            at: rows::needed(sending, "now")?,
            letters: known.map(letter).collect::<Result<_, StoreError>>()?,
        }))
    }

    async fn settle_letter(&self, account: AccountId, claim: &Claim, fate: Fate) -> Result<bool, StoreError> {
        let attempt = i32::try_from(claim.attempt).unwrap_or(i32::MAX);
        let (account, letter) = (account.0, claim.letter.as_str());
        let settled = match fate {
            Fate::Delivered => self.rows(DELIVERED, &[&account, &letter, &attempt]).await?,
            Fate::Later { after, trouble } => {
                let after = after.as_secs_f64();
                self.rows(LATER, &[&account, &letter, &attempt, &after, &trouble]).await?
            }
            Fate::Dead { trouble } => self.rows(DEAD, &[&account, &letter, &attempt, &trouble]).await?,
        };
        Ok(!settled.is_empty())
    }

    async fn tell_waiting(&self, account: AccountId, span: Duration, limit: u32) -> Result<u32, StoreError> {
        let kind = NoticeKind::WaitingTooLong.as_str();
        let values: [&(dyn ToSql + Sync); 4] = [&account.0, &span.as_secs_f64(), &i64::from(limit), &kind];
        let told = self.rows(TELL_WAITING, &values).await?;
        let told = told.first().map(|row| row.try_get::<_, i64>("told")).transpose()?.unwrap_or(0);
        Ok(u32::try_from(told).unwrap_or(u32::MAX))
    }

    async fn queues(&self, account: AccountId) -> Result<Vec<WaitingQueue>, StoreError> {
        let found = self.rows(QUEUES, &[&account.0, &NoticeKind::NoAgents.as_str()]).await?;
        let queue = |row: &Row| {
            Ok(WaitingQueue {
                queue: QueueKey {
                    inbox: row.try_get::<_, Option<i64>>("inbox_id")?.map(InboxId),
                    team: row.try_get::<_, Option<i64>>("team_id")?.map(TeamId),
                },
                waiting: row.try_get("waiting")?,
                unattended: row.try_get("unattended")?,
            })
        };
        found.iter().map(queue).collect()
    }

    async fn note_attendance(
        &self,
        account: AccountId,
        queue: QueueKey,
        unattended: bool,
    ) -> Result<bool, StoreError> {
        let (inbox, team) = (queue.inbox.map(|id| id.0), queue.team.map(|id| id.0));
        let noted = if unattended {
            let kind = NoticeKind::NoAgents.as_str();
            self.rows(UNATTENDED, &[&account.0, &inbox, &team, &kind]).await?
        } else {
            self.rows(ATTENDED, &[&account.0, &inbox, &team]).await?
        };
        Ok(!noted.is_empty())
    }

    async fn tidy(
        &self,
        account: AccountId,
        keep: Duration,
        pending_max: u32,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        self.rows(TIDY_DEAD, &[&account.0, &keep.as_secs_f64()]).await?;
        self.rows(TIDY_ORPHANS, &[&account.0]).await?;
        let found = self.rows(BEHIND, &[&account.0, &i64::from(pending_max)]).await?;
        let mut behind = Vec::with_capacity(found.len());
        for row in &found {
            let id = SubscriptionId(row.try_get("id")?);
            self.disable(account, id, DisabledReason::Behind).await?;
            behind.push(id);
        }
        Ok(behind)
    }
}

fn names(events: &BTreeSet<NoticeKind>) -> Vec<&'static str> {
    events.iter().map(|kind| kind.as_str()).collect()
}

fn unreadable(column: &str) -> StoreError {
    StoreError::Broken(format!("column {column}"), None)
}

fn room(row: &Row) -> Result<Option<RoomId>, StoreError> {
    let room: Option<&str> = row.try_get("room_id")?;
    let room = room.map(RoomId::parse).transpose();
    room.map_err(|error| StoreError::Broken("column room_id".into(), Some(error.into())))
}

/// The subscription in a row of its columns. Kinds that only a later program knows are left out.
fn subscription(row: &Row) -> Result<Subscription, StoreError> {
    let secret = |text: String| SecretString::from(text);
    let previous: Option<String> = row.try_get("previous_secret")?;
    let disabled: Option<&str> = row.try_get("disabled")?;
    let reason =
        |word| DisabledReason::ALL.into_iter().find(|why| why.as_str() == word).ok_or(unreadable("disabled"));
    Ok(Subscription {
        id: SubscriptionId(row.try_get("id")?),
        url: row.try_get("url")?,
        events: row.try_get::<_, Vec<&str>>("events")?.into_iter().filter_map(NoticeKind::parse).collect(),
        secret: secret(row.try_get("secret")?),
        previous: previous.map(secret).zip(rows::time(row, "previous_until")?),
        disabled: disabled.map(reason).transpose()?,
        delivered_at: rows::time(row, "delivered_at")?,
        created_at: rows::needed(row, "created_at")?,
        updated_at: rows::needed(row, "updated_at")?,
    })
}

/// The notice in a row of its columns.
fn notice(row: &Row) -> Result<Notice, StoreError> {
    let number = |column| row.try_get::<_, Option<i64>>(column);
    let count = |column| {
        let count: Option<i32> = row.try_get(column)?;
        Ok::<_, StoreError>(count.and_then(|count| u32::try_from(count).ok()))
    };
    let waited = number("waited_ms")?.and_then(|ms| u64::try_from(ms).ok());
    Ok(Notice {
        kind: NoticeKind::parse(row.try_get("kind")?).ok_or_else(|| unreadable("kind"))?,
        at: rows::needed(row, "at")?,
        conversation: number("conversation_id")?.map(ConversationId),
        room: room(row)?,
        agent: number("agent_id")?.map(AgentId),
        previous_agent: number("previous_agent_id")?.map(AgentId),
        inbox: number("inbox_id")?.map(InboxId),
        team: number("team_id")?.map(TeamId),
        waited: waited.map(Duration::from_millis),
        load: count("load")?,
        capacity: count("capacity")?,
    })
}
