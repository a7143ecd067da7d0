//! A ledger of the first version is taken over as it is, while a worker of that version still runs.

use std::{fs, path::Path, sync::Arc};

use sebastian_core::{AccountId, Answers, Roster, Seq, Timing, decide};
use sebastian_store::{Decide, PostgresStore, Store};
use sebastian_testkit::Database;

use crate::desk::*;

/// What a worker of the first version writes when it folds: room, seconds since it was opened, place.
fn opened_by_old_code(room: usize, age_s: u32, position: i64) -> String {
    format!(
        "INSERT INTO queues (account_id, inbox_id) SELECT 1, {inbox} ON CONFLICT DO NOTHING;
         INSERT INTO conversations (account_id, queue_id, room_id, origin, position, state, opened_at, last_activity_at)
         SELECT 1, id, '{}', 'event', {position}, 'waiting', now() - interval '{age_s} s', now() FROM queues
         WHERE account_id = 1 AND inbox_id = {inbox} AND team_id IS NULL",
        crate::desk::room(room),
        inbox = SALES.0,
    )
}

fn migrations() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/postgres");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|ending| ending == "sql")).collect();
    files.sort();
    files.iter().map(|file| format!("BEGIN; {}; COMMIT", fs::read_to_string(file).unwrap())).collect()
}

#[tokio::test]
async fn a_doubt_that_old_code_raised_began_with_the_last_message() {
    let database = TimedDatabase::create().await;
    let client = connect(&database.url()).await;
    let tenant = "INSERT INTO accounts (platform, tenant) VALUES ('qiscus', 'test')";
    client.batch_execute(tenant).await.unwrap();
    client.batch_execute(&opened_by_old_code(1, 30, 11)).await.unwrap();
    client.batch_execute("UPDATE conversations SET verify_seq = 12").await.unwrap();

    let doubted = database.store(1).latest_in(AccountId(1), &room(1)).await.unwrap().unwrap();

    assert!(doubted.opened_at < doubted.last_activity_at);
    assert_eq!(doubted.verify_from, Some((Seq(12), doubted.last_activity_at)));
}

#[tokio::test]
async fn an_upgrade_keeps_places_in_line_and_old_workers_running() {
    let database = Database::create().await;
    let client = connect(&database.url()).await;
    let migrations = migrations();
    client.batch_execute(&migrations[0]).await.unwrap();
    let tenant = "INSERT INTO accounts (platform, tenant) VALUES ('qiscus', 'test')";
    client.batch_execute(tenant).await.unwrap();
    // Three wait, one is reserved with a turn charged by the old code.
    for (room, age, position) in [(1, 30, 11), (2, 20, 12), (3, 25, 13), (4, 40, 10)] {
        client.batch_execute(&opened_by_old_code(room, age, position)).await.unwrap();
    }
    let reserved = format!(
        "UPDATE conversations SET state = 'reserved', agent_id = 1, attempt = 1, turn_charge = 1,
                deadline_at = now() + interval '8 s' WHERE room_id = '{}';
         INSERT INTO agent_loads (account_id, agent_id, open) VALUES (1, 1, 1)",
        room(4)
    );
    client.batch_execute(&reserved).await.unwrap();

    for migration in &migrations[1..] {
        client.batch_execute(migration).await.unwrap();
    }
    client.batch_execute(&opened_by_old_code(5, 0, 14)).await.unwrap();

    let store = PostgresStore::new(&database.url(), 2, Timing::default()).unwrap();
    let account = store.open_account("qiscus", "test").await.unwrap();
    let held = store.latest_in(account, &room(4)).await.unwrap().unwrap();
    assert_eq!((held.holder(), held.turn, held.rank), (Some(ANA), None, held.opened_at));
    let released = sebastian_core::Settlement {
        conversation: held.id,
        attempt: 1,
        verdict: sebastian_core::Verdict::Released { refused: false },
    };
    store.settle(account, &[released]).await.unwrap();

    let crew = Crew::of(2);
    let roster = Arc::new(Roster::new(1, store.now().await.unwrap(), crew.agents.clone()));
    let answers = Arc::new(Answers::default());
    let request = Decide { account, roster, answers, policy: &crew.policy, limit: 10, record: true };
    let decided = store.decide(&request, &|snapshot, now| decide(snapshot, &crew.policy, now)).await.unwrap();

    // The oldest first; the last is the one that old code opened afterwards.
    assert_eq!(rooms_of(&decided.reserved), [4, 1, 3, 2, 5].map(room));
}
