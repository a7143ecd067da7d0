//! Conversations that sit out: until when, and back in line.

use std::time::SystemTime;

use sebastian_core::{ConversationId, Park};
use tokio_postgres::Statement;

use super::{decide::Round, transaction::Transaction};
use crate::{StoreError, port::MOVED_MAX, words};

pub(super) const ALL_SQL: &[&str] = &[UNPARK, UNPARK_EXCLUDED, SEEN, PARK];

/// Index conversations_parked. Who is snoozed is woken instead. $2 now, $3 most.
pub(super) const UNPARK: &str = "
    UPDATE conversations
    SET park_until = NULL, park_reason = NULL, verify_at = NULL
    WHERE id = ANY (ARRAY (
        SELECT id
        FROM conversations
        WHERE account_id = $1 AND state = 'waiting' AND park_until <= $2 AND park_reason <> 'snoozed'
        ORDER BY park_until, id
        LIMIT $3))";

/// Index conversations_parked. $2 most.
const UNPARK_EXCLUDED: &str = "
    UPDATE conversations
    SET park_until = NULL, park_reason = NULL, verify_at = NULL
    WHERE id = ANY (ARRAY (
        SELECT id
        FROM conversations
        WHERE account_id = $1 AND state = 'waiting' AND park_until IS NOT NULL AND park_reason = 'excluded'
        ORDER BY park_until, id
        LIMIT $2))";

/// [`MOVED_MAX`], as the statements take it.
const MOST: i64 = MOVED_MAX as i64;

const SEEN: &str = "UPDATE accounts SET decided_version = $2 WHERE id = $1";

/// One array a column.
pub(super) const PARK: &str = "
    UPDATE conversations c
    SET park_until = u.park_until, park_reason = u.park_reason
    FROM unnest($1::bigint[], $2::timestamptz[], $3::text[]) AS u (id, park_until, park_reason)
    WHERE c.id = u.id AND c.state = 'waiting'";

/// Lets conversations wait in their queues whose time has come, so many at a time. Returns whether some may be left.
/// `unpark` is [`UNPARK`], sent at the first poll.
pub(super) async fn end(round: &Round<'_>, unpark: &Statement) -> Result<bool, StoreError> {
    let (account, now) = (round.request.account, SystemTime::from(round.locked.now));
    Ok(is_full(round.tx.execute(unpark, &[&account.0, &now, &MOST]).await?))
}

/// After a change of the rules: lets those wait in their queues whom the rules kept out, so many at a time. False while
/// some are left: whoever came later must not be served before these stand in line again.
pub(super) async fn end_exclusions(round: &Round<'_>) -> Result<bool, StoreError> {
    let (tx, account) = (round.tx, round.request.account);
    let unpark = tx.prepare_cached(UNPARK_EXCLUDED).await?;
    if is_full(tx.execute(&unpark, &[&account.0, &MOST]).await?) {
        return Ok(false);
    }
    let version = i64::try_from(round.rules.version).unwrap_or(i64::MAX);
    let seen = tx.prepare_cached(SEEN).await?;
    tx.execute(&seen, &[&account.0, &version]).await?;
    Ok(true)
}

fn is_full(moved: u64) -> bool {
    moved >= MOVED_MAX as u64
}

/// Lets conversations sit out. `statement` is [`PARK`].
pub(super) async fn begin(
    tx: &Transaction,
    statement: &Statement,
    parked: &[(ConversationId, Park)],
) -> Result<(), StoreError> {
    if parked.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = parked.iter().map(|(id, _)| id.0).collect();
    let until: Vec<SystemTime> = parked.iter().map(|(_, park)| park.until.into()).collect();
    let why: Vec<&str> = parked.iter().map(|(_, park)| words::park_reason_word(park.why)).collect();
    tx.execute(statement, &[&ids, &until, &why]).await?;
    Ok(())
}
