//! Accepting events: the one write on the webhook's path.

use futures_util::future::try_join4;
use sebastian_core::{AccountId, EventKind, Hints, NewEvent, ServiceId};
use serde_json::Value;

use super::{PostgresStore, rows};
use crate::{StoreError, words};

pub(super) const ALL_SQL: &[&str] = &[LOCK, INSERT];

/// Class of the advisory lock that orders acceptance; never the lock that orders decisions.
const ACCEPT_LOCK_CLASS: i32 = 1;

/// Identity values are not commit order: two writers can commit 2 before 1, and a reader at 2 would never see 1.
/// So writers of one account take turns, and each draws its numbers only after the one before has committed.
const LOCK: &str = "SELECT pg_advisory_xact_lock($1, $2)";

/// $1 account; the rest one array a column, in order of acceptance.
const INSERT: &str = "
    INSERT INTO events (account_id, received_at, kind, source, room_id, inbox_id, service_id, service_resolved, details)
    SELECT $1, clock_timestamp(), kind, source, room_id, inbox_id, service_id, service_resolved, details
    FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::boolean[], $8::jsonb[])
         WITH ORDINALITY AS event (kind, source, room_id, inbox_id, service_id, service_resolved, details, place)
    ORDER BY place";

#[derive(Default)]
struct Columns<'a> {
    kind: Vec<&'static str>,
    source: Vec<&'static str>,
    room: Vec<&'a str>,
    inbox: Vec<Option<i64>>,
    service: Vec<Option<&'a str>>,
    service_resolved: Vec<Option<bool>>,
    details: Vec<Option<Value>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, event: &'a NewEvent) -> Result<(), StoreError> {
        self.room.push(event.room.as_str());
        self.source.push(words::source_word(event.source));
        let (kind, inbox, service, service_resolved, details) = match &event.kind {
            EventKind::Allocate { inbox, latest_service, hints } => {
                let latest = latest_service.as_ref();
                let details = if *hints == Hints::default() { None } else { Some(rows::json(hints)?) };
                ("allocate", *inbox, latest.map(|one| &one.id), latest.map(|one| one.resolved), details)
            }
            EventKind::Resolve { service } => ("resolve", None, service.as_ref(), None, None),
            EventKind::Update(update) => ("update", None, None, None, Some(rows::json(update)?)),
        };
        self.kind.push(kind);
        self.inbox.push(inbox.map(|inbox| inbox.0));
        self.service.push(service.map(ServiceId::as_str));
        self.service_resolved.push(service_resolved);
        self.details.push(details);
        Ok(())
    }
}

impl PostgresStore {
    /// One pipelined transaction: its four requests leave together, so it costs one round trip and one flush. They
    /// leave at the first poll, so a caller who goes away leaves a whole transaction behind, never half of one.
    pub(super) async fn run_accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let client = self.client().await?;
        let (lock, insert) = (client.prepare_cached(LOCK).await?, client.prepare_cached(INSERT).await?);
        let mut columns = Columns::default();
        events.iter().try_for_each(|event| columns.push(event))?;
        let Columns { kind, source, room, inbox, service, service_resolved, details } = &columns;
        let lock_key = i32::try_from(account.0).unwrap_or(i32::MAX);
        try_join4(
            client.batch_execute("BEGIN"),
            client.query(&lock, &[&ACCEPT_LOCK_CLASS, &lock_key]),
            client.execute(
                &insert,
                &[&account.0, kind, source, room, inbox, service, service_resolved, details],
            ),
            client.batch_execute("COMMIT"),
        )
        .await?;
        Ok(())
    }
}
