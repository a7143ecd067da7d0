//! Accepting events: the one write on the webhook's path.

use sebastian_core::{AccountId, EventKind, Hints, NewEvent, ServiceId};

use super::{
    Call,
    rows::{self, millis},
};
use crate::{StoreError, words};

pub(super) const ALL_SQL: &[&str] = &[INSERT];

/// Writers take turns, so numbers are drawn in the order of commits.
const INSERT: &str = "
    INSERT INTO events (account_id, received_at, kind, source, room_id, inbox_id, service_id, service_resolved, details)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

impl Call<'_> {
    pub(super) fn accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError> {
        let received_at = millis(self.now);
        for event in events {
            let (kind, inbox, service, service_resolved, details) = match &event.kind {
                EventKind::Allocate { inbox, latest_service, hints } => {
                    let latest = latest_service.as_ref();
                    let details = if *hints == Hints::default() { None } else { Some(rows::json(hints)?) };
                    ("allocate", *inbox, latest.map(|one| &one.id), latest.map(|one| one.resolved), details)
                }
                EventKind::Resolve { service } => ("resolve", None, service.as_ref(), None, None),
                EventKind::Update(update) => ("update", None, None, None, Some(rows::json(update)?)),
            };
            let (source, room) = (words::source_word(event.source), event.room.as_str());
            let (inbox, service) = (inbox.map(|inbox| inbox.0), service.map(ServiceId::as_str));
            rows::run(
                self.tx,
                INSERT,
                &[
                    &account.0,
                    &received_at,
                    &kind,
                    &source,
                    &room,
                    &inbox,
                    &service,
                    &service_resolved,
                    &details,
                ],
            )?;
        }
        Ok(())
    }
}
