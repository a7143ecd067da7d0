//! Every statement fits the schema, and those that run on every wake use the index they were written for.

use sebastian_store::postgres::{ALL_SQL, SESSION};
use tokio_postgres::Client;

use crate::desk::{TimedDatabase, connect};

/// Two accounts of equal size: 60,000 conversations, most of them over, and as many events.
const FILL: &str = "
    INSERT INTO accounts (platform, tenant, folded_seq) VALUES ('qiscus', 'a', 59000), ('qiscus', 'b', 59000);
    INSERT INTO queues (account_id, inbox_id) SELECT a, i FROM generate_series(1, 2) a, generate_series(1, 10) i;
    INSERT INTO conversations (account_id, queue_id, room_id, origin, position, state, agent_id, deadline_at,
                               assigned_at, closed_at, closed_how, park_until, park_reason, opened_at,
                               last_activity_at, verify_at, decided_no, rank, snoozed_until, replaces_agent)
    SELECT 1 + n % 2, 1 + n % 20, 'room-' || n, 'event', n, state,
           CASE WHEN state NOT IN ('waiting', 'parked') THEN n % 300 END,
           CASE WHEN state IN ('reserved', 'closing') THEN now() + make_interval(secs => n % 9) END,
           CASE WHEN state IN ('assigned', 'resolved') THEN now() END,
           CASE WHEN state = 'resolved' THEN now() - make_interval(secs => n) END,
           CASE WHEN state = 'resolved' THEN 'resolved' END,
           CASE WHEN n % 40 = 1 THEN now() END, CASE WHEN n % 40 = 1 THEN 'refused' END, now(), now(),
           CASE WHEN n % 100 = 7 THEN now() + make_interval(secs => n % 60) END,
           CASE WHEN state IN ('assigned', 'resolved') THEN n END, now() + make_interval(secs => n % 7000),
           CASE WHEN n % 100 = 7 THEN now() + make_interval(secs => n % 60) END,
           CASE WHEN n % 100 = 1 THEN n % 300 END
    FROM (SELECT n, CASE WHEN n % 20 < 2 THEN 'waiting' WHEN n % 100 = 2 THEN 'reserved'
                         WHEN n % 100 = 3 THEN 'closing' WHEN n % 20 = 7 THEN 'assigned'
                         ELSE 'resolved' END AS state
          FROM generate_series(1, 60000) n) made;
    INSERT INTO events (account_id, received_at, kind, source, room_id)
    SELECT 1 + n % 2, now() - make_interval(secs => 60000 - n), 'allocate', 'webhook', 'room-' || n
    FROM generate_series(1, 60000) n;
    INSERT INTO closed_services (account_id, room_id, service_id, closed_at)
    SELECT 1 + n % 2, 'room-' || n, 'session', now() - make_interval(secs => n) FROM generate_series(1, 60000) n;
    INSERT INTO agent_loads (account_id, agent_id, open)
    SELECT a, n, 3 FROM generate_series(1, 2) a, generate_series(1, 300) n;
    INSERT INTO rate_windows (account_id, inbox_id, agent_id, given)
    SELECT a, i, n, '[]' FROM generate_series(1, 2) a, generate_series(1, 10) i, generate_series(1, 300) n;
    INSERT INTO rulebooks (account_id, version, created_at, body)
    SELECT a, n, now() - make_interval(hours => 300 - n), '{}' FROM generate_series(1, 2) a, generate_series(1, 300) n;
    INSERT INTO audit (account_id, at, who, version, action, resource, resource_id)
    SELECT 1 + n % 2, now(), 'admin', n, 'update', 'team', n::text FROM generate_series(1, 10000) n;
    INSERT INTO rosters (account_id, hash, named_at, body)
    SELECT a, n::text::bytea, now(), '[]' FROM generate_series(1, 2) a, generate_series(0, 999) n;
    INSERT INTO decision_rounds (account_id, decided_at, rulebook_version, policy, snapshot, roster)
    SELECT 1 + n % 2, now() - make_interval(secs => 20000 - n), n % 300, '{}', '{}', (n % 1000)::text::bytea FROM generate_series(1, 20000) n;
    INSERT INTO decisions (account_id, conversation_id, attempt, round_id, agent_id, waited_ms)
    SELECT 1 + n % 2, n, 1, n, n % 300, 10 FROM generate_series(1, 20000) n;
    INSERT INTO subscriptions (account_id, url, events, secret, created_at, updated_at)
    SELECT 1 + n % 2, '', '{conversation.waiting_too_long,queue.no_agents}', '', now(), now() FROM generate_series(1, 8) n;
    INSERT INTO outbox (account_id, subscription_id, kind, at, conversation_id, next_at, dead_at)
    SELECT 1 + s % 2, s, 'conversation.assigned', now(), n / 2, now() + make_interval(secs => n % 600 - 5),
           CASE WHEN n % 3 = 0 THEN now() END
    FROM generate_series(1, 8) s, generate_series(1, 5000) n";

/// Rooms that are named, and rooms of unfolded events.
const ROOMS: &str = "AS closed_services\n             FROM unnest";
const ROOMS_UNFOLDED: &str = "AS closed_services\n             FROM (";

/// A part that only this statement has, arguments of a usual call, the indexes it is for (`|`: one of two).
const PLANS: &[(&str, &str, &[&str])] = &[
    (
        "q.team_id, c.traits, c.rank, c.position,",
        "1, '{1,3,5}', '{NULL,NULL,NULL}', '{42,42,168}'",
        &["conversations_heads", "queues_key"],
    ),
    ("due.to_be_woken", "1, 500", &["conversations_snoozed", "conversations_parked", "events_pkey"]),
    ("AND park_reason = 'excluded'", "1, 2000", &["conversations_parked"]),
    (
        "AS key",
        "1, 1, '{\"order\": \"longest_waiting\"}', 2000",
        &["conversations_heads", "conversations_parked"],
    ),
    ("AS waits", "1", &["conversations_heads"]),
    ("COUNT(*)::int AS held", "1", &["conversations_assigned"]),
    ("AS asked (inbox_id)", "1, '{3,4}'", &["rate_windows_key"]),
    ("FROM rate_windows\n    WHERE account_id = $1 AND", "1, 3, 42", &["rate_windows_key"]),
    ("FROM audit\n    WHERE account_id = $1 AND ($2", "1, 9000, 50", &["audit_pkey"]),
    ("DELETE FROM audit", "1, now() - interval '1 hour', 100", &["audit_pkey"]),
    ("JOIN decision_rounds r", "1, 42, 10", &["decisions_pkey"]),
    ("DELETE FROM decision_rounds", "1, now() - interval '1 hour', 100", &["decision_rounds_age"]),
    ("DELETE FROM rosters", "1, now() + interval '1 hour', 100", &["decision_rounds_roster"]),
    ("DELETE FROM rulebooks", "1, now() - interval '1 hour', 100", &["decision_rounds_version"]),
    ("CROSS JOIN LATERAL (\n        SELECT next_at", "1", &["outbox_due"]),
    ("AND e.seq < o.seq", "1, 1, 16, 120", &["outbox_due"]),
    (
        "GREATEST(o.next_at, later.next_at)",
        "1, '00000000-0000-0000-0000-000000000000', 1, 5, ''",
        &["outbox_order"],
    ),
    ("ORDER BY o.seq DESC", "1, 1, NULL, 50", &["outbox_dead"]),
    ("NOT c.told_waiting", "1, 300, 500, 'conversation.waiting_too_long'", &["conversations_untold"]),
    ("AS waiting\n", "1, 'queue.no_agents'", &["conversations_heads"]),
    // The same here, where no customer comes twice.
    (
        ROOMS,
        "1, '{room-1,room-2}'",
        &["conversations_unresolved|conversations_by_room", "closed_services_pkey"],
    ),
    (
        ROOMS_UNFOLDED,
        "1, 500",
        &[
            "conversations_unresolved|conversations_by_room",
            "closed_services_pkey",
            "conversations_snoozed",
            "events_pkey",
        ],
    ),
    ("park_until <= $2", "1, now(), 2000", &["conversations_parked"]),
    ("AS taken_at", "1, 8, 16", &["conversations_slots"]),
    ("verify_at <= clock_timestamp()", "1, 8, 16", &["conversations_suspect"]),
    (
        "COUNT(*)::int AS put_off",
        "1, '{1,2,3}', now() - interval '10 s'",
        &["conversations_put_off", "conversations_replacing", "conversations_closed_by"],
    ),
    (
        "SELECT DISTINCT room_id\n    FROM conversations",
        "1, '{room-1,room-2}', now()",
        &["conversations_closed|conversations_by_room"],
    ),
    ("agent_id = $2 AND state = 'assigned'", "1, 5", &["conversations_assigned"]),
    ("room_id NOT IN (", "1, '{room-1,room-2}', 10", &["conversations_by_room"]),
    ("c.room_id = $2\n      ORDER BY c.id DESC", "1, 'room-5'", &["conversations_by_room"]),
    ("decided_no IS NOT NULL", "1, 100", &["conversations_decided"]),
    ("COUNT(*) AS unfolded", "1", &["events_pkey"]),
    ("AS oldest_waiting_at", "1", &["conversations_unresolved"]),
    ("DELETE FROM events", "1, now() - interval '1 day', 100", &["events_pkey"]),
    ("DELETE FROM conversations", "1, now() - interval '1 day', 100", &["conversations_closed"]),
    ("DELETE FROM closed_services", "1, now() - interval '1 day', 100", &["closed_services_age"]),
    ("WHERE w.account_id = $1) c", "1, 100", &["conversations_heads"]),
    ("WHERE w.account_id = $1 UNION ALL", "1, 100", &["conversations_heads"]),
    ("account_id = $1 AND state = 'reserved'", "1, 100", &["conversations_slots"]),
    ("account_id = $1 AND state = 'closing'", "1, 100", &["conversations_slots"]),
    ("ORDER BY closed_at DESC, id DESC", "1, 100", &["conversations_closed"]),
    ("ahead.queue_id = n.queue_id", "1, 1, 'room-5'", &["conversations_by_room"]),
];

fn statement(part: &str) -> &'static str {
    let mut found = ALL_SQL.iter().flat_map(|module| module.iter()).filter(|sql| sql.contains(part));
    let statement = found.next().unwrap_or_else(|| panic!("no statement has {part:?}"));
    assert_eq!(found.next(), None, "two statements have {part:?}");
    statement
}

async fn plan(client: &Client, sql: &str, arguments: &str) -> String {
    explain(client, "EXPLAIN", sql, arguments).await
}

async fn explain(client: &Client, how: &str, sql: &str, arguments: &str) -> String {
    client.batch_execute(&format!("DEALLOCATE ALL; PREPARE planned AS {sql}")).await.unwrap();
    let rows = client.query(&format!("{how} EXECUTE planned ({arguments})"), &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let database = TimedDatabase::create().await;
    let client = connect(&database.url()).await;

    for sql in ALL_SQL.iter().flat_map(|module| module.iter()) {
        client.prepare(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    }
}

#[tokio::test]
async fn statements_of_every_wake_use_their_index_and_read_no_table_whole_whenever_they_were_planned() {
    let database = TimedDatabase::create().await;
    let client = connect(&database.url()).await;
    let settings = SESSION.split("-c ").filter_map(|setting| setting.trim().split_once('='));
    for (name, value) in settings.filter(|(name, _)| !name.ends_with("_timeout")) {
        client.batch_execute(&format!("SET {name} = {value}")).await.unwrap();
    }

    for (when, done) in [("empty", ""), ("full", FILL), ("analysed", "ANALYZE")] {
        client.batch_execute(done).await.unwrap();
        for (part, arguments, indexes) in PLANS {
            let plan = plan(&client, statement(part), arguments).await;
            // As long as the planner knows nothing of them, one index is as good as another.
            for index in indexes.iter().filter(|_| when == "analysed") {
                let is_used = index.split('|').any(|index| plan.contains(index));
                assert!(is_used, "{part:?} without {index}:\n{plan}");
            }
            for table in ["conversations", "events"] {
                assert!(!plan.contains(&format!("Seq Scan on {table}")), "{part:?} ({when}):\n{plan}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_looked_up_one_by_one_is_so_before_the_tables_are_first_analysed() {
    let database = TimedDatabase::create().await;
    let client = connect(&database.url()).await;

    for done in ["", FILL] {
        client.batch_execute(done).await.unwrap();
        let plan = plan(&client, statement("due.to_be_woken"), "1, 500").await;
        for index in ["conversations_snoozed", "conversations_parked"] {
            assert!(plan.contains(index), "{plan}");
        }
    }
    let plan = explain(&client, "EXPLAIN ANALYZE", statement(ROOMS), "1, '{room-1,room-61}'").await;
    assert!(!plan.contains("Removed by Filter"), "{plan}");
}
