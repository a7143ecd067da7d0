//! Every statement fits the schema, and those that run on every wake use the index they were written for.

use sebastian_store::postgres::ALL_SQL;
use tokio_postgres::Client;

use crate::desk::{TimedDatabase, connect};

/// Two accounts of equal size: 60,000 conversations, most of them over, and as many events.
const FILL: &str = "
    INSERT INTO accounts (platform, tenant, folded_seq) VALUES ('qiscus', 'a', 59000), ('qiscus', 'b', 59000);
    INSERT INTO queues (account_id, inbox_id) SELECT a, i FROM generate_series(1, 2) a, generate_series(1, 10) i;
    INSERT INTO conversations (account_id, queue_id, room_id, origin, position, state, agent_id, deadline_at,
                               assigned_at, closed_at, closed_how, park_until, park_reason, opened_at,
                               last_activity_at, verify_at, decided_no)
    SELECT 1 + n % 2, 1 + n % 20, 'room-' || n, 'event', n, state,
           CASE WHEN state NOT IN ('waiting', 'parked') THEN n % 300 END,
           CASE WHEN state IN ('reserved', 'closing') THEN now() + make_interval(secs => n % 9) END,
           CASE WHEN state IN ('assigned', 'resolved') THEN now() END,
           CASE WHEN state = 'resolved' THEN now() - make_interval(secs => n) END,
           CASE WHEN state = 'resolved' THEN 'resolved' END,
           CASE WHEN n % 40 = 1 THEN now() END, CASE WHEN n % 40 = 1 THEN 'refused' END, now(), now(),
           CASE WHEN n % 100 = 7 THEN now() + make_interval(secs => n % 60) END,
           CASE WHEN state IN ('assigned', 'resolved') THEN n END
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
    SELECT a, n, 3 FROM generate_series(1, 2) a, generate_series(1, 300) n";

/// A part that only this statement has, arguments of a usual call, the index it is for (or either of two).
const PLANS: &[(&str, &str, &str)] = &[
    ("SELECT c.id, c.room_id, q.inbox_id, c.position,", "1, 42", "conversations_heads"),
    ("SELECT found.*", "1, '{room-1,room-2}'", "conversations_unresolved"),
    ("park_until <= $2", "1, now()", "conversations_parked"),
    ("AS taken_at", "1, 8, 16", "conversations_slots"),
    ("verify_at <= clock_timestamp()", "1, 8, 16", "conversations_suspect"),
    ("COUNT(*)::int AS closed", "1, '{1,2,3}', now() - interval '10 s'", "conversations_closed"),
    (
        "SELECT DISTINCT room_id\n    FROM conversations",
        "1, '{room-1,room-2}', now()",
        "conversations_closed|conversations_by_room",
    ),
    ("agent_id = $2 AND state = 'assigned'", "1, 5", "conversations_assigned"),
    ("room_id NOT IN (", "1, '{room-1,room-2}', 10", "conversations_by_room"),
    ("c.room_id = $2\n      ORDER BY c.id DESC", "1, 'room-5'", "conversations_by_room"),
    ("decided_no IS NOT NULL", "1, 100", "conversations_decided"),
    ("ORDER BY e.seq", "1, 500", "events_pkey"),
    ("COUNT(*) AS unfolded", "1", "events_pkey"),
    ("AS oldest_waiting_at", "1", "conversations_unresolved"),
    ("DELETE FROM events", "1, now() - interval '1 day', 100", "events_pkey"),
    ("DELETE FROM conversations", "1, now() - interval '1 day', 100", "conversations_closed"),
    ("DELETE FROM closed_services", "1, now() - interval '1 day', 100", "closed_services_age"),
    ("SELECT asked.room_id, closed.service_id", "1, '{room-1,room-2}'", "closed_services_pkey"),
    ("WHERE w.account_id = $1) c", "1, 100", "conversations_heads"),
    ("WHERE w.account_id = $1 UNION ALL", "1, 100", "conversations_heads"),
    ("account_id = $1 AND state = 'reserved'", "1, 100", "conversations_slots"),
    ("account_id = $1 AND state = 'closing'", "1, 100", "conversations_slots"),
    ("ORDER BY closed_at DESC, id DESC", "1, 100", "conversations_closed"),
    ("ahead.queue_id = n.queue_id", "1, 1, 'room-5'", "conversations_by_room"),
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
async fn statements_of_every_wake_use_their_index() {
    let database = TimedDatabase::create().await;
    let client = connect(&database.url()).await;
    client.batch_execute(FILL).await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();

    for mode in ["force_custom_plan", "force_generic_plan"] {
        client.batch_execute(&format!("SET plan_cache_mode = {mode}")).await.unwrap();
        for (part, arguments, index) in PLANS {
            let plan = plan(&client, statement(part), arguments).await;
            assert!(
                index.split('|').any(|index| plan.contains(index)),
                "{part:?} without {index} ({mode}):\n{plan}"
            );
            assert!(!plan.contains("Seq Scan on conversations"), "{part:?} ({mode}):\n{plan}");
            assert!(!plan.contains("Seq Scan on events"), "{part:?} ({mode}):\n{plan}");
        }
    }
}

#[tokio::test]
async fn rooms_are_looked_up_one_by_one_before_the_tables_are_first_analysed() {
    let database = TimedDatabase::create().await;
    let client = connect(&database.url()).await;
    client.batch_execute(FILL).await.unwrap();

    for part in ["SELECT found.*", "SELECT asked.room_id, closed.service_id"] {
        let plan = explain(&client, "EXPLAIN ANALYZE", statement(part), "1, '{room-1,room-61}'").await;
        assert!(!plan.contains("Removed by Filter"), "{plan}");
    }
}
