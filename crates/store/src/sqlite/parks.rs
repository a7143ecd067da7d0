//! Conversations that sit out: until when, and back in line.

use sebastian_core::{ConversationId, Park};

use super::{
    Call,
    decide::Round,
    rows::{self, millis},
};
use crate::{Decided, StoreError, port::MOVED_MAX, words};

pub(super) const ALL_SQL: &[&str] = &[UNPARK, UNPARK_EXCLUDED, SEEN, PARK];

/// Index conversations_parked. Who is snoozed is woken instead. ?2 now, ?3 most.
const UNPARK: &str = "
    UPDATE conversations
    SET park_until = NULL, park_reason = NULL, verify_at = NULL
    WHERE id IN (
        SELECT id
        FROM conversations
        WHERE account_id = ?1 AND state = 'waiting' AND park_until <= ?2 AND park_reason <> 'snoozed'
        ORDER BY park_until, id
        LIMIT ?3)";

/// Index conversations_parked. ?2 most.
const UNPARK_EXCLUDED: &str = "
    UPDATE conversations
    SET park_until = NULL, park_reason = NULL, verify_at = NULL
    WHERE id IN (
        SELECT id
        FROM conversations
        WHERE account_id = ?1 AND state = 'waiting' AND park_until IS NOT NULL AND park_reason = 'excluded'
        ORDER BY park_until, id
        LIMIT ?2)";

const SEEN: &str = "UPDATE accounts SET decided_version = ?2 WHERE id = ?1";

/// ?1 conversation, ?2 until when, ?3 why.
const PARK: &str = "
    UPDATE conversations
    SET park_until = ?2, park_reason = ?3
    WHERE id = ?1 AND state = 'waiting'";

impl Call<'_> {
    /// Lets conversations wait in their queues whose time has come, and after a change of the rules all that these kept
    /// out, so many at a time. False while the rules still keep some out that they may no longer mean: whoever came later
    /// must not be served before these stand in line again.
    pub(super) fn end_parks(&self, round: &Round<'_>, decided: &mut Decided) -> Result<bool, StoreError> {
        let account = round.request.account.0;
        let most = i64::try_from(MOVED_MAX).unwrap_or(i64::MAX);
        let ended = rows::run(self.tx, UNPARK, &[&account, &millis(self.now), &most])?;
        decided.more |= ended >= MOVED_MAX;
        if round.locked.decided_version == round.rules.version {
            return Ok(true);
        }
        if rows::run(self.tx, UNPARK_EXCLUDED, &[&account, &most])? >= MOVED_MAX {
            decided.more = true;
            return Ok(false);
        }
        let version = i64::try_from(round.rules.version).unwrap_or(i64::MAX);
        rows::run(self.tx, SEEN, &[&account, &version])?;
        Ok(true)
    }

    /// Lets conversations sit out.
    pub(super) fn park(&self, parked: &[(ConversationId, Park)]) -> Result<(), StoreError> {
        for (id, park) in parked {
            let why = words::park_reason_word(park.why);
            rows::run(self.tx, PARK, &[&id.0, &millis(park.until), &why])?;
        }
        Ok(())
    }
}
