//! The statements of the outbox.

pub(in crate::sqlite) const ALL_SQL: &[&str] = &[
    WANTING,
    NUMBERED_SINCE,
    POST,
    SUBSCRIPTIONS,
    SUBSCRIPTION,
    HOW_MANY,
    SUBSCRIBE,
    CHANGE,
    ROTATE,
    ENABLE,
    UNSUBSCRIBE,
    DELETE_PENDING,
    DELETE_DEAD,
    DISABLE,
    DISABLE_LETTERS,
    DEAD_LETTERS,
    REDELIVER,
    DUE,
    CLAIMABLE,
    CLAIM,
    DELIVERED,
    NOTE_DELIVERY,
    LATER,
    BEHIND_IT,
    DEAD,
    OVERDUE,
    TELL,
    QUEUES,
    NOTE_ATTENDANCE,
    TIDY_DEAD,
    BEHIND,
];

/// The columns a notice is read from, of the row `o`.
macro_rules! notice_columns {
    () => {
        "o.id AS letter, o.kind, o.at, o.conversation_id, o.room_id, o.agent_id, o.previous_agent_id, o.inbox_id, \
         o.team_id, o.waited_ms, o.load, o.capacity"
    };
}

/// The columns a subscription is read from, of the row `s`.
macro_rules! subscription_columns {
    () => {
        "s.id, s.url, s.events, s.secret, s.previous_secret, s.previous_until, s.disabled, s.delivered_at, \
         s.created_at, s.updated_at"
    };
}

/// Who is told of anything. Index subscriptions_of.
pub(super) const WANTING: &str = "
    SELECT id, events
    FROM subscriptions
    WHERE account_id = ?1 AND disabled IS NULL
    ORDER BY id";

/// A conversation numbered in this transaction is found by its room, ?2. Index conversations_open.
pub(super) const NUMBERED_SINCE: &str = "
    SELECT id
    FROM conversations INDEXED BY conversations_open
    WHERE account_id = ?1 AND room_id = ?2 AND state IN ('waiting', 'reserved', 'assigned') AND state = 'assigned'";

/// A column each; it is due at once.
pub(super) const POST: &str = "
    INSERT INTO outbox (id, account_id, subscription_id, kind, at, conversation_id, room_id, agent_id,
                        previous_agent_id, inbox_id, team_id, waited_ms, load, capacity, next_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?5)";

pub(super) const SUBSCRIPTIONS: &str = concat!(
    "SELECT ",
    subscription_columns!(),
    " FROM subscriptions s WHERE s.account_id = ?1 ORDER BY s.id"
);

pub(super) const SUBSCRIPTION: &str = concat!(
    "SELECT ",
    subscription_columns!(),
    " FROM subscriptions s WHERE s.account_id = ?1 AND s.id = ?2"
);

pub(super) const HOW_MANY: &str = "SELECT COUNT(*) AS found FROM subscriptions WHERE account_id = ?1";

/// ?2 URL, ?3 events, ?4 secret, ?5 now.
pub(super) const SUBSCRIBE: &str = "
    INSERT INTO subscriptions (account_id, url, events, secret, created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5)
    RETURNING id";

/// ?3 URL, ?4 events, each NULL to stay; ?5 now.
pub(super) const CHANGE: &str = "
    UPDATE subscriptions
    SET url = COALESCE(?3, url), events = COALESCE(?4, events), updated_at = ?5
    WHERE account_id = ?1 AND id = ?2";

/// ?3 secret, ?4 until when the old one goes on signing.
pub(super) const ROTATE: &str = "
    UPDATE subscriptions
    SET secret = ?3, previous_secret = secret, previous_until = ?4
    WHERE account_id = ?1 AND id = ?2";

pub(super) const ENABLE: &str = "UPDATE subscriptions SET disabled = NULL WHERE account_id = ?1 AND id = ?2";

pub(super) const UNSUBSCRIBE: &str = "DELETE FROM subscriptions WHERE account_id = ?1 AND id = ?2";

/// Index outbox_due.
pub(super) const DELETE_PENDING: &str = "
    DELETE FROM outbox INDEXED BY outbox_due
    WHERE subscription_id = ?1 AND dead_at IS NULL";

/// Index outbox_dead.
pub(super) const DELETE_DEAD: &str = "
    DELETE FROM outbox INDEXED BY outbox_dead
    WHERE subscription_id = ?1 AND dead_at IS NOT NULL";

/// ?3 reason, ?4 now.
pub(super) const DISABLE: &str = "
    UPDATE subscriptions
    SET disabled = ?3, updated_at = ?4
    WHERE account_id = ?1 AND id = ?2";

/// Index outbox_due. ?2 reason, ?3 now.
pub(super) const DISABLE_LETTERS: &str = "
    UPDATE outbox INDEXED BY outbox_due
    SET dead_at = ?3, trouble = COALESCE(trouble, 'disabled: ' || ?2)
    WHERE subscription_id = ?1 AND dead_at IS NULL";

/// Index outbox_dead. ?3 the letter to go on from, ?4 limit.
pub(super) const DEAD_LETTERS: &str = concat!(
    "SELECT ",
    notice_columns!(),
    ", o.attempts, o.dead_at, o.trouble
     FROM outbox o INDEXED BY outbox_dead
     WHERE o.account_id = ?1 AND o.subscription_id = ?2 AND o.dead_at IS NOT NULL
       AND (?3 IS NULL OR o.seq < (SELECT seq FROM outbox WHERE id = ?3))
     ORDER BY o.seq DESC
     LIMIT ?4"
);

/// ?3 the letter, ?4 now.
pub(super) const REDELIVER: &str = "
    UPDATE outbox
    SET dead_at = NULL, attempts = 0, next_at = ?4
    WHERE account_id = ?1 AND subscription_id = ?2 AND id = ?3 AND dead_at IS NOT NULL";

/// When the first letter of each subscription was due. Index outbox_due. ?2 now.
pub(super) const DUE: &str = "
    SELECT s.id,
           (SELECT MIN(o.next_at)
            FROM outbox o INDEXED BY outbox_due
            WHERE o.subscription_id = s.id AND o.dead_at IS NULL AND o.next_at <= ?2) AS due_at
    FROM subscriptions s
    WHERE s.account_id = ?1 AND s.disabled IS NULL
    ORDER BY s.id";

/// Indexes outbox_due and outbox_order. ?1 subscription, ?2 now, ?3 limit.
pub(super) const CLAIMABLE: &str = concat!(
    "SELECT o.seq, ",
    notice_columns!(),
    ", o.attempts
     FROM outbox o INDEXED BY outbox_due
     WHERE o.subscription_id = ?1 AND o.dead_at IS NULL AND o.next_at <= ?2
       AND NOT EXISTS (
               SELECT 1
               FROM outbox e INDEXED BY outbox_order
               WHERE e.subscription_id = ?1 AND e.conversation_id = o.conversation_id AND e.dead_at IS NULL
                 AND e.seq < o.seq)
     ORDER BY o.next_at, o.seq
     LIMIT ?3"
);

/// ?2 until when.
pub(super) const CLAIM: &str = "UPDATE outbox SET attempts = attempts + 1, next_at = ?2 WHERE seq = ?1";

/// ?2 the letter, ?3 the attempt.
pub(super) const DELIVERED: &str = "
    DELETE FROM outbox
    WHERE account_id = ?1 AND id = ?2 AND attempts = ?3 AND dead_at IS NULL
    RETURNING subscription_id";

/// ?2 now.
pub(super) const NOTE_DELIVERY: &str = "UPDATE subscriptions SET delivered_at = ?2 WHERE id = ?1";

/// ?2 the letter, ?3 the attempt, ?4 when to try again, ?5 what went wrong.
pub(super) const LATER: &str = "
    UPDATE outbox
    SET next_at = ?4, trouble = ?5
    WHERE account_id = ?1 AND id = ?2 AND attempts = ?3 AND dead_at IS NULL
    RETURNING seq, subscription_id, conversation_id";

/// Those after a letter about the same conversation need not be looked at before it. Index outbox_order. ?1 subscription,
/// ?2 conversation, ?3 the letter's place, ?4 when it is tried again.
pub(super) const BEHIND_IT: &str = "
    UPDATE outbox INDEXED BY outbox_order
    SET next_at = MAX(next_at, ?4)
    WHERE subscription_id = ?1 AND conversation_id = ?2 AND dead_at IS NULL AND seq > ?3";

/// ?2 the letter, ?3 the attempt, ?4 what went wrong, ?5 now.
pub(super) const DEAD: &str = "
    UPDATE outbox
    SET dead_at = ?5, trouble = ?4
    WHERE account_id = ?1 AND id = ?2 AND attempts = ?3 AND dead_at IS NULL";

/// Index conversations_untold. ?2 the span ago, ?3 limit.
pub(super) const OVERDUE: &str = "
    SELECT c.id, c.room_id, q.inbox_id, q.team_id, c.opened_at
    FROM conversations c INDEXED BY conversations_untold
    CROSS JOIN queues q ON q.id = c.queue_id
    WHERE c.account_id = ?1 AND c.state = 'waiting' AND c.told_waiting = 0 AND c.opened_at <= ?2
      AND (c.park_reason IS NULL OR c.park_reason NOT IN ('pending', 'snoozed'))
    ORDER BY c.opened_at, c.id
    LIMIT ?3";

pub(super) const TELL: &str = "UPDATE conversations SET told_waiting = 1 WHERE id = ?1";

/// Index conversations_heads.
pub(super) const QUEUES: &str = "
    SELECT q.inbox_id, q.team_id, q.unattended,
           EXISTS (SELECT 1
                   FROM conversations c INDEXED BY conversations_heads
                   WHERE c.queue_id = q.id AND c.state = 'waiting' AND c.park_until IS NULL) AS waiting
    FROM queues q
    WHERE q.account_id = ?1 AND (q.unattended OR waiting)";

/// Index queues_key. ?2 inbox, ?3 team, ?4 whether nobody serves it.
pub(super) const NOTE_ATTENDANCE: &str = "
    UPDATE queues
    SET unattended = ?4
    WHERE account_id = ?1 AND inbox_id IS ?2 AND team_id IS ?3 AND unattended <> ?4";

/// Index outbox_dead. ?2 the oldest to stay.
pub(super) const TIDY_DEAD: &str = "
    DELETE FROM outbox INDEXED BY outbox_dead
    WHERE subscription_id IN (SELECT id FROM subscriptions WHERE account_id = ?1)
      AND dead_at IS NOT NULL AND dead_at < ?2";

/// Index outbox_due. ?2 most letters that may wait; reads no more of each than that.
pub(super) const BEHIND: &str = "
    SELECT s.id
    FROM subscriptions s
    WHERE s.account_id = ?1 AND s.disabled IS NULL
      AND (SELECT o.seq
           FROM outbox o INDEXED BY outbox_due
           WHERE o.subscription_id = s.id AND o.dead_at IS NULL
           LIMIT 1 OFFSET ?2) IS NOT NULL";
