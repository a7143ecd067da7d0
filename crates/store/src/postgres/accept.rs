//! Accepting events: the one write on the webhook's path.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use sebastian_core::{AccountId, EventKind, Hints, NewEvent, ServiceId};
use serde_json::Value;

use super::{PostgresStore, rows};
use crate::{StoreError, words};

pub(super) const ALL_SQL: &[&str] = &[INSERT];

/// Class of the advisory lock that orders acceptance; never the lock that orders decisions.
const ACCEPT_LOCK_CLASS: i32 = 1;

/// Identity values are not commit order: two writers can commit 2 before 1, and a reader at 2 would never see 1. So
/// writers of one account take turns: no row leaves the join, and so draws its number, before the lock is held, and it is
/// held until the statement, a transaction of its own, has committed. $1 account, $2 and $3 the lock; the rest one array a
/// column, in order of acceptance.
const INSERT: &str = "
    WITH turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock($2, $3)
    )
    INSERT INTO events (account_id, received_at, kind, source, room_id, inbox_id, service_id, service_resolved, details)
    SELECT $1, clock_timestamp(), kind, source, room_id, inbox_id, service_id, service_resolved, details
    FROM turn
    CROSS JOIN (
        SELECT unnest($4::text[]) AS kind, unnest($5::text[]) AS source, unnest($6::text[]) AS room_id,
               unnest($7::bigint[]) AS inbox_id, unnest($8::text[]) AS service_id,
               unnest($9::boolean[]) AS service_resolved, unnest($10::jsonb[]) AS details,
               generate_series(1, cardinality($4)) AS place
    ) event
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
    async fn accepting(&self) -> Result<Arc<ClientWrapper>, StoreError> {
        let mut kept = self.accepting.lock().await;
        if let Some(client) = kept.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.session().await?);
        *kept = Some(Arc::clone(&client));
        Ok(client)
    }

    /// One statement, so one round trip and one flush. Calls are stored in the order in which they are made, without a wait
    /// in between: they leave by one connection. A caller who goes away leaves a whole transaction behind, never half of
    /// one.
    pub(super) async fn run_accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let client = self.accepting().await?;
        let insert = client.prepare_cached(INSERT).await?;
        let mut columns = Columns::default();
        events.iter().try_for_each(|event| columns.push(event))?;
        let Columns { kind, source, room, inbox, service, service_resolved, details } = &columns;
        let lock_key = i32::try_from(account.0).unwrap_or(i32::MAX);
        client
            .execute(
                &insert,
                &[
                    &account.0,
                    &ACCEPT_LOCK_CLASS,
                    &lock_key,
                    kind,
                    source,
                    room,
                    inbox,
                    service,
                    service_resolved,
                    details,
                ],
            )
            .await?;
        Ok(())
    }
}
