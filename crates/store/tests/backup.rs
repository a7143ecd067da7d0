//! Copies of the embedded ledger: made while others write, checked, and put back.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sebastian_core::Timing;
use sebastian_store::{
    SqliteStore, Store,
    backup::{BackupError, Copied, backup, restore},
};

use crate::desk::*;

fn back_up(desk: &Desk, to: &Path, replace: bool) -> Result<Copied, BackupError> {
    backup(&desk.file(), to, replace, &mut |_| ())
}

fn put_back(from: &Path, desk: &Desk) -> Result<Option<std::path::PathBuf>, BackupError> {
    restore(from, &desk.file(), &mut |_| ()).map(|(_, aside)| aside)
}

async fn waiting_in(file: &Path, desk: &Desk) -> (u64, u64) {
    let store = SqliteStore::open(file, Timing::default()).unwrap();
    store.check_schema().await.unwrap();
    let counts = store.counts(desk.account).await.unwrap();
    (counts.waiting, counts.unfolded)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_webhooks_come_in_is_one_state_of_the_ledger() {
    let desk = Ledger::Sqlite.desk().await;
    desk.accept((0..3_000).map(|n| allocate(&room(n)))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monday.db");
    let (store, account, stop) = (desk.another(), desk.account, Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let writing = tokio::spawn(async move {
        let mut pairs = 0;
        while !stopped.load(Ordering::SeqCst) {
            // Two in one transaction: no copy may hold one of them alone.
            let n = 10_000 + pairs * 2;
            store.accept(account, &[allocate(&room(n)), allocate(&room(n + 1))]).await.unwrap();
            pairs += 1;
        }
        pairs
    });

    let mut told = Vec::new();
    let copied = backup(&desk.file(), &file, false, &mut |pages| told.push(pages)).unwrap();
    stop.store(true, Ordering::SeqCst);
    let pairs = writing.await.unwrap();

    assert_eq!(copied.bytes, fs::metadata(&file).unwrap().len());
    assert!(told.iter().all(|pages| pages.done <= pages.of) && told.last().unwrap().done == told[0].of);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let names = || fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names(), 1, "a copy is one file");
    let (_, unfolded) = waiting_in(&file, &desk).await;
    let most = 3_000 + pairs as u64 * 2;
    assert!((3_000..=most).contains(&unfolded) && unfolded % 2 == 0, "{unfolded} of {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_put_back_is_the_ledger_as_it_was_and_the_old_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monday.db");
    let mut desk = Ledger::Sqlite.desk().await;
    desk.accept([allocate(&room(1))]).await;
    desk.fold().await;
    back_up(&desk, &file, false).unwrap();
    desk.accept([allocate(&room(2))]).await;
    let in_use = put_back(&file, &desk);
    assert!(matches!(in_use, Err(BackupError::InUse(_))), "{in_use:?}");
    assert_eq!(desk.counts().await.unfolded, 1);
    desk.close();

    let aside = put_back(&file, &desk).unwrap().unwrap();

    assert_eq!(waiting_in(&desk.file(), &desk).await, (1, 0));
    assert_eq!(waiting_in(&aside, &desk).await, (1, 1), "nothing of the old one is lost");
    let name = aside.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("ledger.db.before-restore-20") && name.ends_with('Z'), "{name}");
    assert_eq!(waiting_in(&file, &desk).await, (1, 0), "the copy is there still");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_replaced_only_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monday.db");
    let desk = Ledger::Sqlite.desk().await;
    back_up(&desk, &file, false).unwrap();
    desk.accept([allocate(&room(1))]).await;

    let refused = back_up(&desk, &file, false).unwrap_err().to_string();
    assert!(refused.ends_with("monday.db is there already: name another file, or replace it with --force"));
    assert_eq!(waiting_in(&file, &desk).await, (0, 0));
    back_up(&desk, &file, true).unwrap();
    assert_eq!(waiting_in(&file, &desk).await, (0, 1));

    for itself in [back_up(&desk, &desk.file(), true).err(), put_back(&desk.file(), &desk).err()] {
        assert!(matches!(itself, Some(BackupError::Itself(_))), "{itself:?}");
    }
    assert_eq!(desk.counts().await.unfolded, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_no_ledger_is_not_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monday.db");
    let mut desk = Ledger::Sqlite.desk().await;
    desk.accept((0..2_000).map(|n| allocate(&room(n)))).await;
    let copied = back_up(&desk, &file, false).unwrap();
    desk.close();

    let mut scratched = fs::OpenOptions::new().write(true).open(&file).unwrap();
    for page in 10..20 {
        scratched.seek(SeekFrom::Start(page * 4_096)).unwrap();
        scratched.write_all(&[0x5e; 4_096]).unwrap();
    }
    let damaged = put_back(&file, &desk);
    assert!(
        matches!(damaged, Err(BackupError::Damaged { .. } | BackupError::NotALedger { .. })),
        "{damaged:?}"
    );
    scratched.set_len(copied.bytes / 2).unwrap();
    let cut = put_back(&file, &desk);
    assert!(matches!(cut, Err(BackupError::Damaged { .. } | BackupError::NotALedger { .. })), "{cut:?}");
    fs::write(&file, "no database at all").unwrap();
    let text = put_back(&file, &desk);
    assert!(matches!(text, Err(BackupError::NotALedger { .. })), "{text:?}");
    fs::write(&file, "").unwrap();
    let empty = put_back(&file, &desk);
    assert!(matches!(empty, Err(BackupError::NoSchema(_))), "{empty:?}");
    let absent = put_back(&folder.path().join("tuesday.db"), &desk);
    assert!(matches!(absent, Err(BackupError::NotALedger { .. })), "{absent:?}");

    assert_eq!(waiting_in(&desk.file(), &desk).await, (0, 2_000));
    let names = fs::read_dir(desk.file().parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_str().unwrap().contains("restor")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_gives_way_and_is_kept_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monday.db");
    let mut desk = Ledger::Sqlite.desk().await;
    desk.accept([allocate(&room(1))]).await;
    back_up(&desk, &file, false).unwrap();
    desk.close();
    fs::write(desk.file(), "a disk that lied").unwrap();
    let log = desk.file().with_file_name("ledger.db-wal");
    fs::write(&log, "and its log").unwrap();

    let aside = put_back(&file, &desk).unwrap().unwrap();

    assert_eq!(waiting_in(&desk.file(), &desk).await, (0, 1));
    assert_eq!(fs::read_to_string(&aside).unwrap(), "a disk that lied");
    let kept = format!("{}-wal", aside.display());
    assert_eq!(fs::read_to_string(kept).unwrap(), "and its log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_newer_program_is_not_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monday.db");
    let desk = Ledger::Sqlite.desk().await;
    back_up(&desk, &file, false).unwrap();
    let newer = "INSERT INTO refinery_schema_history VALUES (999, 'newer', '2030-01-01T00:00:00Z', '1')";
    rusqlite::Connection::open(&file).unwrap().execute_batch(newer).unwrap();

    let refused = put_back(&file, &desk);

    assert!(matches!(refused, Err(BackupError::Newer { found: 999, .. })), "{refused:?}");
}
