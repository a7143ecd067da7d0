//! Every statement fits the schema, none walks through a table that grows, and those that run often go by the index they
//! were written for. The file is never analysed, so plans are the same whatever it holds.

use rusqlite::{Connection, config::DbConfig};
use sebastian_store::sqlite::ALL_SQL;

use crate::desk::TimedFile;

/// Half an index: as good as walking through the account.
const HALF: &[&str] = &[
    "conversations_open (account_id=?)",
    "conversations_by_room (account_id=?)",
    "outbox_order (subscription_id=?)",
    "closed_services USING PRIMARY KEY (account_id=?)",
];

/// A part that only this statement has, and what its plan says.
const PLANS: &[(&str, &str)] = &[
    ("service_resolved, details\n    FROM events", "events_of (account_id=? AND seq>?)"),
    ("snoozed_until <= ?2", "conversations_snoozed (account_id=? AND snoozed_until<?)"),
    ("park_until <= ?2", "conversations_parked (account_id=? AND park_until<?)"),
    ("AND park_reason = 'excluded'", "conversations_parked (account_id=? AND park_until>?)"),
    ("AS waits", "conversations_heads (queue_id=?)"),
    ("AS key", "conversations_heads (queue_id=?)"),
    ("AS key", "conversations_parked (account_id=? AND park_until>?)"),
    (HEADS, "conversations_heads (queue_id=?)"),
    ("takeovers = takeovers + 1", "conversations_slots (account_id=? AND deadline_at<?)"),
    ("SET verify_at = ?3", "conversations_suspect (account_id=? AND verify_at<?)"),
    ("c.room_id = ?2 AND c.state <> 'resolved'", "conversations_unresolved (account_id=? AND room_id=?)"),
    ("SELECT room_id, service_id\n    FROM closed", "PRIMARY KEY (account_id=? AND room_id=?)"),
    ("SELECT id, rotation", "queues_key (account_id=? AND <expr>=? AND <expr>=? AND <expr>=? AND <expr>=?)"),
    ("AND agent_id = ?3", "rate_windows_key (account_id=? AND <expr>=? AND <expr>=? AND agent_id=?)"),
    ("COUNT(*) AS held", "conversations_slots (account_id=?)"),
    ("COUNT(*) AS held", "conversations_assigned (account_id=?)"),
    ("AS closed\n", "conversations_closed (account_id=? AND closed_at>?)"),
    ("AS put_off", "conversations_assigned (account_id=? AND agent_id=?)"),
    ("AS put_off", "conversations_replacing (account_id=? AND replaces_agent=?)"),
    ("AS oldest_untold_at", "conversations_heads (queue_id=?)"),
    ("AS oldest_untold_at", "conversations_slots (account_id=? AND deadline_at<?)"),
    ("AS oldest_told_at", "conversations_unresolved (account_id=?)"),
    ("AS unfolded", "events_of (account_id=? AND seq>?)"),
    ("DELETE FROM events", "events_of (account_id=? AND seq<?)"),
    ("DELETE FROM conversations", "conversations_closed (account_id=? AND closed_at<?)"),
    ("DELETE FROM closed_services", "closed_services_age (account_id=? AND closed_at<?)"),
    ("DELETE FROM decision_rounds", "decision_rounds_age (account_id=? AND decided_at<?)"),
    ("DELETE FROM rosters", "decision_rounds_roster (account_id=? AND roster=?)"),
    ("DELETE FROM rulebooks", "decision_rounds_version (account_id=? AND rulebook_version=?)"),
    ("DELETE FROM audit", "audit_of (account_id=?)"),
    ("FROM audit\n    WHERE account_id = ?1 AND id < ?2", "audit_of (account_id=? AND id<?)"),
    ("CROSS JOIN decision_rounds r", "PRIMARY KEY (account_id=? AND conversation_id=?)"),
    (
        "SELECT room_id\n    FROM conversations INDEXED BY",
        "conversations_assigned (account_id=? AND agent_id=?)",
    ),
    ("room_id = ?2 AND state = 'resolved'", "conversations_by_room (account_id=? AND room_id=?)"),
    ("(state <> 'resolved' OR closed_at > ?3)", "conversations_by_room (account_id=? AND room_id=?)"),
    ("c.room_id = ?2\n      ORDER BY c.id DESC", "conversations_by_room (account_id=? AND room_id=?)"),
    ("ORDER BY decided_no", "conversations_decided (account_id=? AND decided_no>?)"),
    ("c.told_waiting = 0", "conversations_untold (account_id=? AND opened_at<?)"),
    ("AS due_at", "outbox_due (subscription_id=? AND next_at<?)"),
    ("e.seq < o.seq", "outbox_due (subscription_id=? AND next_at<?)"),
    ("e.seq < o.seq", "outbox_order (subscription_id=? AND conversation_id=? AND seq<?)"),
    ("MAX(next_at, ?4)", "outbox_order (subscription_id=? AND conversation_id=? AND seq>?)"),
    ("ORDER BY o.seq DESC", "outbox_dead (subscription_id=?)"),
    ("ahead.queue_id", "conversations_heads (queue_id=? AND rank<?)"),
    ("c.queue_id = ?1", "conversations_heads (queue_id=?)"),
];

/// The heads of a queue that a decision reads.
const HEADS: &str = "ORDER BY rank, position\n";

/// Statements that stop at their limit: they read in the order they answer in.
const IN_ORDER: &[&str] = &[
    HEADS,
    "service_resolved, details\n    FROM events",
    "snoozed_until <= ?2",
    "park_until <= ?2",
    "takeovers = takeovers + 1",
    "SET verify_at = ?3",
    "e.seq < o.seq",
    "ORDER BY o.seq DESC",
    "c.told_waiting = 0",
    "c.queue_id = ?1",
    "DELETE FROM events",
    "DELETE FROM conversations",
];

fn statements() -> impl Iterator<Item = &'static str> {
    ALL_SQL.iter().flat_map(|module| module.iter().copied())
}

fn statement(part: &str) -> &'static str {
    let mut found = statements().filter(|sql| sql.contains(part));
    let statement = found.next().unwrap_or_else(|| panic!("no statement has {part:?}"));
    assert_eq!(found.next(), None, "two statements have {part:?}");
    statement
}

async fn migrated() -> (TimedFile, Connection) {
    let file = TimedFile::create(Default::default()).await;
    let connection = Connection::open(file.path()).unwrap();
    // As the store's own connections.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    (file, connection)
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = explained.raw_query();
    steps.mapped(|row| row.get("detail")).collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let (_file, connection) = migrated().await;

    for sql in statements() {
        connection.prepare(sql).unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    }
}

#[tokio::test]
async fn no_statement_walks_through_a_table_that_grows() {
    let (_file, connection) = migrated().await;

    let mut walking = Vec::new();
    for sql in statements() {
        let plan = plan(&connection, sql);
        // What a statement made itself may be walked through.
        let is_made = |name: &str| {
            plan.iter().any(|step| {
                step.strip_prefix("CO-ROUTINE ").or(step.strip_prefix("MATERIALIZE ")) == Some(name)
            })
        };
        let walks = |step: &String| {
            step.strip_prefix("SCAN ").is_some_and(|name| name != "CONSTANT ROW" && !is_made(name))
        };
        if plan.iter().any(|step| walks(step) || HALF.iter().any(|half| step.contains(half))) {
            walking.push((plan, sql));
        }
    }

    assert!(walking.is_empty(), "{walking:#?}");
}

#[tokio::test]
async fn statements_of_every_wake_use_their_index() {
    let (_file, connection) = migrated().await;

    let steps = |part: &str| plan(&connection, statement(part));
    let without = PLANS.iter().filter(|(part, step)| !steps(part).iter().any(|taken| taken.contains(step)));
    let without: Vec<_> = without.map(|(part, step)| (step, steps(part), part)).collect();
    let sorting = IN_ORDER.iter().filter(|part| steps(part).iter().any(|step| step.contains("TEMP B-TREE")));
    let sorting: Vec<_> = sorting.map(|part| (steps(part), part)).collect();

    assert!(without.is_empty() && sorting.is_empty(), "{without:#?} {sorting:#?}");
}
