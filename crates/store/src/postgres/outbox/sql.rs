//! The statements of the outbox.

pub(in crate::postgres) const ALL_SQL: &[&str] = &[
    POST,
    SUBSCRIPTIONS,
    SUBSCRIPTION,
    SUBSCRIBE,
    CHANGE,
    UNSUBSCRIBE,
    DELETE_LETTERS,
    DISABLE,
    DEAD_LETTERS,
    REDELIVER,
    DUE,
    SENDING,
    CLAIM,
    DELIVERED,
    LATER,
    DEAD,
    TELL_WAITING,
    QUEUES,
    ATTENDED,
    UNATTENDED,
    TIDY_DEAD,
    TIDY_ORPHANS,
    BEHIND,
];

/// The columns a notice is read from, of the row `o`.
macro_rules! notice_columns {
    () => {
        "o.id::text AS letter, o.kind, o.at, o.conversation_id, o.room_id, o.agent_id, o.previous_agent_id, o.inbox_id, \
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

/// One array a column, in order. A conversation numbered in this transaction is found by its room: index
/// conversations_unresolved.
pub(in crate::postgres) const POST: &str = "
    INSERT INTO outbox (account_id, subscription_id, kind, at, conversation_id, room_id, agent_id, previous_agent_id,
                        inbox_id, team_id, waited_ms, load, capacity, next_at)
    SELECT $1, s.id, u.kind, u.at,
           COALESCE(u.conversation_id, (SELECT c.id FROM conversations c
                                        WHERE c.account_id = $1 AND c.room_id = u.room_id AND c.state = 'assigned')),
           u.room_id, u.agent_id, u.previous_agent_id, u.inbox_id, u.team_id, u.waited_ms, u.load, u.capacity, u.at
    FROM (
        SELECT unnest($2::text[]) AS kind, unnest($3::timestamptz[]) AS at, unnest($4::bigint[]) AS conversation_id,
               unnest($5::text[]) AS room_id, unnest($6::bigint[]) AS agent_id,
               unnest($7::bigint[]) AS previous_agent_id, unnest($8::bigint[]) AS inbox_id,
               unnest($9::bigint[]) AS team_id, unnest($10::bigint[]) AS waited_ms, unnest($11::int[]) AS load,
               unnest($12::int[]) AS capacity, generate_series(1, cardinality($2)) AS place
    ) u
    JOIN subscriptions s ON s.account_id = $1 AND s.disabled IS NULL AND u.kind = ANY(s.events)
    ORDER BY u.place, s.id";

pub(super) const SUBSCRIPTIONS: &str = concat!(
    "SELECT ",
    subscription_columns!(),
    " FROM subscriptions s WHERE s.account_id = $1 ORDER BY s.id"
);

pub(super) const SUBSCRIPTION: &str = concat!(
    "SELECT ",
    subscription_columns!(),
    " FROM subscriptions s WHERE s.account_id = $1 AND s.id = $2"
);

/// $2 URL, $3 events, $4 secret, $5 most. Two at once may end one above the most.
pub(super) const SUBSCRIBE: &str = concat!(
    "INSERT INTO subscriptions AS s (account_id, url, events, secret, created_at, updated_at)
     SELECT $1, $2, $3, $4, clock_timestamp(), clock_timestamp()
     WHERE (SELECT COUNT(*) FROM subscriptions WHERE account_id = $1) < $5
     RETURNING ",
    subscription_columns!()
);

/// $3 URL, $4 events, $5 secret, each NULL to stay; $6 seconds the old secret goes on signing; $7 whether to enable.
pub(super) const CHANGE: &str = concat!(
    "UPDATE subscriptions s
     SET url = COALESCE($3, s.url),
         events = COALESCE($4, s.events),
         secret = COALESCE($5, s.secret),
         previous_secret = CASE WHEN $5::text IS NULL THEN s.previous_secret ELSE s.secret END,
         previous_until = CASE WHEN $5::text IS NULL THEN s.previous_until
                               ELSE clock_timestamp() + make_interval(secs => $6) END,
         disabled = CASE WHEN $7 THEN NULL ELSE s.disabled END,
         updated_at = clock_timestamp()
     WHERE s.account_id = $1 AND s.id = $2
     RETURNING ",
    subscription_columns!()
);

pub(super) const UNSUBSCRIBE: &str = "DELETE FROM subscriptions WHERE account_id = $1 AND id = $2";

/// Index outbox_due, or outbox_dead.
pub(super) const DELETE_LETTERS: &str = "DELETE FROM outbox WHERE account_id = $1 AND subscription_id = $2";

/// $3 reason. Index outbox_due.
pub(super) const DISABLE: &str = "
    WITH disabled AS (
        UPDATE subscriptions SET disabled = $3, updated_at = clock_timestamp() WHERE account_id = $1 AND id = $2
        RETURNING id
    )
    UPDATE outbox o
    SET dead_at = clock_timestamp(),
        trouble = COALESCE(o.trouble, 'disabled: ' || $3)
    FROM disabled
    WHERE o.subscription_id = disabled.id AND o.dead_at IS NULL";

/// $3 the letter to go on from, $4 limit. Index outbox_dead.
pub(super) const DEAD_LETTERS: &str = concat!(
    "SELECT ",
    notice_columns!(),
    ", o.attempts, o.dead_at, o.trouble
     FROM outbox o
     WHERE o.account_id = $1 AND o.subscription_id = $2 AND o.dead_at IS NOT NULL
       AND ($3::text IS NULL OR o.seq < (SELECT seq FROM outbox WHERE id::text = $3))
     ORDER BY o.seq DESC
     LIMIT $4"
);

/// Index outbox_dead: a letter's id is text to whoever asks, and may be anything.
pub(super) const REDELIVER: &str = "
    UPDATE outbox
    SET dead_at = NULL, attempts = 0, next_at = clock_timestamp()
    WHERE account_id = $1 AND subscription_id = $2 AND id::text = $3 AND dead_at IS NOT NULL";

/// Index outbox_due, once a subscription.
pub(super) const DUE: &str = "
    SELECT s.id, (EXTRACT(EPOCH FROM clock_timestamp() - o.next_at) * 1000)::bigint AS due_ms
    FROM subscriptions s
    CROSS JOIN LATERAL (
        SELECT next_at
        FROM outbox
        WHERE subscription_id = s.id AND dead_at IS NULL AND next_at <= clock_timestamp()
        ORDER BY next_at
        LIMIT 1
    ) o
    WHERE s.account_id = $1 AND s.disabled IS NULL
    ORDER BY s.id";

pub(super) const SENDING: &str = concat!(
    "SELECT ",
    subscription_columns!(),
    ", clock_timestamp() AS now FROM subscriptions s WHERE s.account_id = $1 AND s.id = $2 AND s.disabled IS NULL"
);

/// $3 limit, $4 lease in seconds. Indexes outbox_due and outbox_order. A letter that somebody else claims at this moment
/// is left to them.
pub(super) const CLAIM: &str = concat!(
    "WITH due AS (
         SELECT o.seq, o.next_at AS due_at
         FROM outbox o
         WHERE o.account_id = $1 AND o.subscription_id = $2 AND o.dead_at IS NULL AND o.next_at <= clock_timestamp()
           AND NOT EXISTS (
                   SELECT FROM outbox e
                   WHERE e.subscription_id = $2 AND e.conversation_id = o.conversation_id AND e.dead_at IS NULL
                     AND e.seq < o.seq)
         ORDER BY o.next_at, o.seq
         LIMIT $3
         FOR UPDATE SKIP LOCKED
     ), claimed AS (
         UPDATE outbox o
         SET attempts = o.attempts + 1,
             next_at = clock_timestamp() + make_interval(secs => $4)
         FROM due
         WHERE o.seq = due.seq
         RETURNING o.*, due.due_at
     )
     SELECT ",
    notice_columns!(),
    ", o.attempts FROM claimed o ORDER BY o.due_at, o.seq"
);

/// $2 the letter, $3 the attempt.
pub(super) const DELIVERED: &str = "
    WITH gone AS (
        DELETE FROM outbox
        WHERE account_id = $1 AND id = $2::text::uuid AND attempts = $3 AND dead_at IS NULL
        RETURNING subscription_id
    )
    UPDATE subscriptions s SET delivered_at = clock_timestamp() FROM gone WHERE s.id = gone.subscription_id
    RETURNING s.id";

/// $2 the letter, $3 the attempt, $4 seconds to wait, $5 what went wrong. Those after it about the same conversation need
/// not be looked at before. Index outbox_order.
pub(super) const LATER: &str = "
    WITH later AS (
        UPDATE outbox
        SET next_at = clock_timestamp() + make_interval(secs => $4), trouble = $5
        WHERE account_id = $1 AND id = $2::text::uuid AND attempts = $3 AND dead_at IS NULL
        RETURNING seq, subscription_id, conversation_id, next_at
    ), behind AS (
        UPDATE outbox o
        SET next_at = GREATEST(o.next_at, later.next_at)
        FROM later
        WHERE o.subscription_id = later.subscription_id AND o.conversation_id = later.conversation_id
          AND o.dead_at IS NULL AND o.seq > later.seq
    )
    SELECT seq FROM later";

/// $2 the letter, $3 the attempt, $4 what went wrong.
pub(super) const DEAD: &str = "
    UPDATE outbox
    SET dead_at = clock_timestamp(), trouble = $4
    WHERE account_id = $1 AND id = $2::text::uuid AND attempts = $3 AND dead_at IS NULL
    RETURNING seq";

/// $2 span in seconds, $3 limit, $4 the kind. Index conversations_untold.
pub(super) const TELL_WAITING: &str = "
    WITH overdue AS (
        SELECT c.id
        FROM conversations c
        WHERE c.account_id = $1 AND c.state = 'waiting' AND NOT c.told_waiting
          AND c.opened_at <= clock_timestamp() - make_interval(secs => $2)
          AND (c.park_reason IS NULL OR c.park_reason NOT IN ('pending', 'snoozed'))
          AND EXISTS (SELECT FROM subscriptions s
                      WHERE s.account_id = $1 AND s.disabled IS NULL AND $4 = ANY(s.events))
        ORDER BY c.opened_at, c.id
        LIMIT $3
        FOR NO KEY UPDATE SKIP LOCKED
    ), told AS (
        UPDATE conversations c
        SET told_waiting = true
        FROM overdue
        WHERE c.id = overdue.id
        RETURNING c.id, c.room_id, c.queue_id, c.opened_at, clock_timestamp() AS at
    ), posted AS (
        INSERT INTO outbox (account_id, subscription_id, kind, at, conversation_id, room_id, inbox_id, team_id,
                            waited_ms, next_at)
        SELECT $1, s.id, $4, t.at, t.id, t.room_id, q.inbox_id, q.team_id,
               (EXTRACT(EPOCH FROM t.at - t.opened_at) * 1000)::bigint, t.at
        FROM told t
        JOIN queues q ON q.id = t.queue_id
        JOIN subscriptions s ON s.account_id = $1 AND s.disabled IS NULL AND $4 = ANY(s.events)
    )
    SELECT COUNT(*) AS told FROM told";

/// $2 the kind. Index conversations_heads.
pub(super) const QUEUES: &str = "
    SELECT q.inbox_id, q.team_id, q.unattended, w.waiting
    FROM queues q
    CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM conversations
                       WHERE queue_id = q.id AND state = 'waiting' AND park_until IS NULL) AS waiting
    ) w
    WHERE q.account_id = $1 AND (q.unattended OR w.waiting)
      AND EXISTS (SELECT FROM subscriptions s
                  WHERE s.account_id = $1 AND s.disabled IS NULL AND $2 = ANY(s.events))";

/// $2 inbox, $3 team.
pub(super) const ATTENDED: &str = "
    UPDATE queues
    SET unattended = false
    WHERE account_id = $1 AND inbox_id IS NOT DISTINCT FROM $2 AND team_id IS NOT DISTINCT FROM $3 AND unattended
    RETURNING id";

/// $2 inbox, $3 team, $4 the kind.
pub(super) const UNATTENDED: &str = "
    WITH noted AS (
        UPDATE queues
        SET unattended = true
        WHERE account_id = $1 AND inbox_id IS NOT DISTINCT FROM $2 AND team_id IS NOT DISTINCT FROM $3
          AND NOT unattended
        RETURNING id, clock_timestamp() AS at
    ), posted AS (
        INSERT INTO outbox (account_id, subscription_id, kind, at, inbox_id, team_id, next_at)
        SELECT $1, s.id, $4, noted.at, $2, $3, noted.at
        FROM noted
        JOIN subscriptions s ON s.account_id = $1 AND s.disabled IS NULL AND $4 = ANY(s.events)
    )
    SELECT id FROM noted";

/// $2 span in seconds.
pub(super) const TIDY_DEAD: &str = "
    DELETE FROM outbox WHERE account_id = $1 AND dead_at < clock_timestamp() - make_interval(secs => $2)";

/// Letters written while their subscription was being deleted.
pub(super) const TIDY_ORPHANS: &str = "
    DELETE FROM outbox o
    WHERE o.account_id = $1 AND NOT EXISTS (SELECT FROM subscriptions s WHERE s.id = o.subscription_id)";

/// $2 most letters that may wait; reads no more of each than that.
pub(super) const BEHIND: &str = "
    SELECT s.id
    FROM subscriptions s
    WHERE s.account_id = $1 AND s.disabled IS NULL
      AND EXISTS (SELECT FROM outbox WHERE subscription_id = s.id AND dead_at IS NULL OFFSET $2)";
