//! Copies of a ledger in a file: made beside a running process, checked, and put in its place again.
//!
//! A copy is one state of the ledger, as a reader sees it; who writes meanwhile is not held up. It is whole on the disk
//! under a name of its own before it is called what it was to be called, so a name never leads to half a ledger.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rusqlite::{
    Connection, Error as Sqlite, ErrorCode, OpenFlags,
    backup::{Backup, StepResult},
};
use sebastian_core::Timestamp;

use crate::sqlite::migrate;

/// Pages copied at a time, between two words on how far it is: 4 MB.
const PAGES: i32 = 1_000;

/// Longest to wait for whoever writes at the same time.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Ledgers hold what concerns customers, and the secrets of subscriptions: a copy is its owner's alone.
const FILE_MODE: u32 = 0o600;

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Why there is no copy, or it was not put back. What was there before is there still.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something of that name.
    #[error("{} is there already: name another file, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// The copy would take the ledger's own place.
    #[error("{} is the ledger itself: name another file", .0.display())]
    Itself(PathBuf),
    /// It cannot be read as a ledger.
    #[error("{} is not a ledger that can be read", .file.display())]
    NotALedger {
        /// Which file.
        file: PathBuf,
        /// What SQLite said.
        #[source]
        source: Sqlite,
    },
    /// It is a database, and no ledger.
    #[error("{} is not a ledger: it has none of its tables", .0.display())]
    NoSchema(PathBuf),
    /// A newer program made it.
    #[error("{} is of a newer program: its schema is at version {found}, this program knows {needed}", .file.display())]
    Newer {
        /// Which file.
        file: PathBuf,
        /// Its newest migration.
        found: u32,
        /// The newest this program brings.
        needed: u32,
    },
    /// Its pages do not fit together.
    #[error("{} is damaged: {what}", .file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What SQLite found first.
        what: String,
    },
    /// Another process has it open.
    #[error("{} is in use by another process: stop that first", .0.display())]
    InUse(PathBuf),
    /// The file system refused.
    #[error("{} cannot be written", .file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// Pages copied.
    pub done: u64,
    /// Pages there are.
    pub of: u64,
}

/// A copy that was made and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// How large it is.
    pub bytes: u64,
    /// The version of its schema.
    pub schema: u32,
}

/// Copies the ledger in the file `ledger` into the file `to`, and checks the copy. Processes may serve from the ledger
/// meanwhile. What is called `to` already is replaced only when `replace` says so. Blocks.
pub fn backup(
    ledger: &Path,
    to: &Path,
    replace: bool,
    progress: &mut dyn FnMut(Pages),
) -> Result<Copied, BackupError> {
    if is_same(ledger, to) {
        return Err(BackupError::Itself(to.to_owned()));
    }
    if to.exists() && !replace {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let partial = beside(to, ".partial");
    let copied = copy(ledger, &partial, progress).and_then(|copied| {
        put(&partial, to)?;
        Ok(copied)
    });
    if copied.is_err() {
        // It may not have come to be.
        let _gone = fs::remove_file(&partial);
    }
    copied
}

/// Puts a copy of the ledger in the file `from` in the place of `ledger`, once it was checked. Nobody may serve from the ledger
/// meanwhile. Returns with it where the old one is kept, if there was one. Blocks.
pub fn restore(
    from: &Path,
    ledger: &Path,
    progress: &mut dyn FnMut(Pages),
) -> Result<(Copied, Option<PathBuf>), BackupError> {
    if is_same(ledger, from) {
        return Err(BackupError::Itself(from.to_owned()));
    }
    let partial = beside(ledger, ".restoring");
    let restored = copy(from, &partial, progress).and_then(|copied| {
        let aside = ledger.exists().then(|| keep_aside(ledger)).transpose()?;
        put(&partial, ledger)?;
        Ok((copied, aside))
    });
    if restored.is_err() {
        let _gone = fs::remove_file(&partial);
    }
    restored
}

/// Makes a checked copy that is on the disk, and one file: without a log beside it.
fn copy(from: &Path, to: &Path, progress: &mut dyn FnMut(Pages)) -> Result<Copied, BackupError> {
    let unreadable = |source| BackupError::NotALedger { file: from.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(unreadable)?;
    source.busy_timeout(BUSY_MAX).map_err(unreadable)?;
    // One state of the ledger throughout: without it every commit of others would begin the copy anew.
    source.execute_batch("BEGIN").map_err(unreadable)?;
    let schema = migrate::found(&source).map_err(unreadable)?;
    let needed = migrate::needed();
    match schema {
        0 => return Err(BackupError::NoSchema(from.to_owned())),
        found if found > needed => {
            return Err(BackupError::Newer { file: from.to_owned(), found, needed });
        }
        _ => {}
    }
    let target = |source| match sqlite_io(source) {
        Ok(source) => BackupError::File { file: to.to_owned(), source },
        Err(source) => BackupError::NotALedger { file: to.to_owned(), source },
    };
    // Left over from a copy that was cut short.
    let _gone = fs::remove_file(to);
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to);
    let file = file.map_err(|source| BackupError::File { file: to.to_owned(), source })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags).map_err(target)?;
    copy_pages(&source, &mut copy, progress).map_err(target)?;
    drop(source);
    copy.execute_batch("PRAGMA journal_mode = DELETE").map_err(target)?;
    let found: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(target)?;
    if found != "ok" || migrate::found(&copy).map_err(target)? != schema {
        let what = found.lines().last().unwrap_or_default().to_owned();
        return Err(BackupError::Damaged { file: from.to_owned(), what });
    }
    drop(copy);
    let bytes = file.sync_all().and_then(|()| file.metadata()).map(|about| about.len());
    let bytes = bytes.map_err(|source| BackupError::File { file: to.to_owned(), source })?;
    Ok(Copied { bytes, schema })
}

fn copy_pages(
    source: &Connection,
    copy: &mut Connection,
    progress: &mut dyn FnMut(Pages),
) -> Result<(), Sqlite> {
    let copying = Backup::new(source, copy)?;
    loop {
        let step = copying.step(PAGES)?;
        let far = copying.progress();
        let count = |pages: i32| u64::try_from(pages).unwrap_or(0);
        progress(Pages { done: count(far.pagecount - far.remaining), of: count(far.pagecount) });
        match step {
            StepResult::Done => return Ok(()),
            // A transaction reads the source already, and nobody else knows of the copy: there is nobody to wait for.
            StepResult::Busy | StepResult::Locked => return Err(busy()),
            _ => {}
        }
    }
}

fn busy() -> Sqlite {
    Sqlite::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
}

/// A full or failing disk, as the error of the file system that it is.
fn sqlite_io(error: Sqlite) -> Result<io::Error, Sqlite> {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Ok(io::Error::new(ErrorKind::StorageFull, error)),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            Ok(io::Error::other(error))
        }
        _ => Err(error),
    }
}

/// Gives the ledger a second name, with all it holds under that, so that the first can be given to another. Returns that
/// second name.
fn keep_aside(ledger: &Path) -> Result<PathBuf, BackupError> {
    close_log(ledger)?;
    let at = Timestamp::from(SystemTime::now()).rfc3339();
    let second: String = at.chars().filter(|letter| *letter != '-' && *letter != ':').take(15).collect();
    let aside = beside(ledger, &format!(".before-restore-{second}Z"));
    let refused = |file: &Path| {
        let file = file.to_owned();
        |source| BackupError::File { file, source }
    };
    // A damaged ledger keeps its log: what is in there may be all that is left.
    let (log, shared) = (beside(ledger, "-wal"), beside(ledger, "-shm"));
    if log.exists() {
        let aside = beside(&aside, "-wal");
        name_again(&log, &aside).map_err(refused(&aside))?;
    }
    name_again(ledger, &aside).map_err(refused(&aside))?;
    sync_folder(ledger).map_err(refused(ledger))?;
    // Beside another file this log would be taken for that one's.
    for file in [&log, &shared] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(refused(file)(error)),
            _ => {}
        }
    }
    Ok(aside)
}

/// Folds the ledger's log into it, so that it is one file. Fails while another process has it open. What is no database any
/// more stays as it is: SQLite would throw its log away.
fn close_log(ledger: &Path) -> Result<(), BackupError> {
    let mut head = [0; MAGIC.len()];
    if File::open(ledger).and_then(|mut file| file.read_exact(&mut head)).is_err() || head != *MAGIC {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let closed = Connection::open_with_flags(ledger, flags).and_then(|connection| {
        connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0))
    });
    let is_in_use = |error: &Sqlite| {
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    };
    match closed {
        Err(error) if is_in_use(&error) => Err(BackupError::InUse(ledger.to_owned())),
        _ => Ok(()),
    }
}

/// A second name for a file, or a copy where the file system knows no second names.
fn name_again(file: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(file, name) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            fs::copy(file, name)?;
            File::open(name)?.sync_all()
        }
        linked => linked,
    }
}

/// Gives a file that is on the disk its name, for good.
fn put(file: &Path, name: &Path) -> Result<(), BackupError> {
    let put = fs::rename(file, name).and_then(|()| sync_folder(name));
    put.map_err(|source| BackupError::File { file: name.to_owned(), source })
}

fn sync_folder(of: &Path) -> io::Result<()> {
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}
