//! Conversations that sit out: until when, and back in line.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use sebastian_core::{ConversationId, Park};

use super::decide::Round;
use crate::{Decided, StoreError, port::MOVED_MAX, words};

pub(super) const ALL_SQL: &[&str] = &[UNPARK, UNPARK_EXCLUDED, SEEN, PARK];

/// Index conversations_parked. Who is snoozed is woken instead. $2 now, $3 most.
const UNPARK: &str = "
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

const SEEN: &str = "UPDATE accounts SET decided_version = $2 WHERE id = $1";

/// One array a column.
const PARK: &str = "
    UPDATE conversations c
    SET park_until = u.park_until, park_reason = u.park_reason
    FROM unnest($1::bigint[], $2::timestamptz[], $3::text[]) AS u (id, park_until, park_reason)
    WHERE c.id = u.id AND c.state = 'waiting'";

/// Lets conversations wait in their queues whose time has come, and after a change of the rules all that these kept
/// out, so many at a time. False while the rules still keep some out that they may no longer mean: whoever came later
/// must not be served before these stand in line again.
pub(super) async fn end(round: &Round<'_>, decided: &mut Decided) -> Result<bool, StoreError> {
    let (tx, account) = (round.tx, round.request.account);
    let most = i64::try_from(MOVED_MAX).unwrap_or(i64::MAX);
    let is_full = |ended: u64| ended >= MOVED_MAX as u64;
    let unpark = tx.prepare_cached(UNPARK).await?;
    let ended = tx.execute(&unpark, &[&account.0, &SystemTime::from(round.locked.now), &most]).await?;
    decided.more |= is_full(ended);
    if round.locked.decided_version == round.rules.version {
        return Ok(true);
    }
    let unpark = tx.prepare_cached(UNPARK_EXCLUDED).await?;
    if is_full(tx.execute(&unpark, &[&account.0, &most]).await?) {
        decided.more = true;
        return Ok(false);
    }
    let version = i64::try_from(round.rules.version).unwrap_or(i64::MAX);
    let seen = tx.prepare_cached(SEEN).await?;
    tx.execute(&seen, &[&account.0, &version]).await?;
    Ok(true)
}

/// Lets conversations sit out.
pub(super) async fn begin(tx: &Transaction<'_>, parked: &[(ConversationId, Park)]) -> Result<(), StoreError> {
    if parked.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = parked.iter().map(|(id, _)| id.0).collect();
    let until: Vec<SystemTime> = parked.iter().map(|(_, park)| park.until.into()).collect();
    let why: Vec<&str> = parked.iter().map(|(_, park)| words::park_reason_word(park.why)).collect();
    let statement = tx.prepare_cached(PARK).await?;
    tx.execute(&statement, &[&ids, &until, &why]).await?;
    Ok(())
}
