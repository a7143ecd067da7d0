//! The data folder: the ledger of a process that has no servers, and what stands beside it.
//!
//! `ledger.db` is the ledger, `roster.json` the roster as it was last published, and `lock` is held by the process that
//! serves from the folder; `moved` says that the ledger is elsewhere now. Commands by hand hold nothing: SQLite itself
//! orders those who write.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use directories::ProjectDirs;
use sebastian_core::Timestamp;
use sebastian_store::{SqliteStore, StoreError};
use tracing::warn;

use crate::config::{Config, Problem};

/// What is in the folder concerns customers and agents: it is its owner's alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Tells where the ledger was moved to.
const MOVED: &str = "moved";

/// Names the folder where `--data` does not.
pub(crate) const VARIABLE: &str = "SEBASTIAN_DATA";

/// The data folder, which need not be there yet.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder(PathBuf);

/// Holds a folder for the process that serves from it, until it is dropped or the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Held {
    /// Closing it gives the folder free.
    _lock: File,
}

/// Why a folder cannot be served from, or holds nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Its path leads to something else.
    #[error("{} is not a folder: name another with --data", .0.display())]
    NotAFolder(PathBuf),
    /// It cannot be made, or nothing can be written there.
    #[error("nothing can be written in the data folder {}: mend that, or name another with --data", .folder.display())]
    Unusable {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file system knows no locks.
    #[error("the data folder {} cannot be locked: it has to be on a disk of this machine", .folder.display())]
    CannotLock {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process serves from it.
    #[error(
        "the data folder {} is in use by {}: stop that first, or name another with --data",
        .folder.display(),
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// Which.
        folder: PathBuf,
        /// The process that serves from it, if it can be told.
        pid: Option<u32>,
    },
    /// Its ledger is elsewhere now.
    #[error(
        "the ledger of {} was {note}: serve from there, or, to serve from this folder again as it was then, remove {}",
        .folder.display(),
        .folder.join(MOVED).display()
    )]
    Moved {
        /// Which.
        folder: PathBuf,
        /// Where to and when.
        note: String,
    },
    /// No process has made a ledger there yet.
    #[error("there is no ledger in {}: `sebastian -e all` makes one; --data names another folder", .0.display())]
    Empty(PathBuf),
}

impl FolderError {
    /// Whether starting again later may help: whoever is in the way may be about to end.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}

impl DataFolder {
    /// The folder `named`, else the one this platform keeps a program's data in. Fails where there is no such place.
    pub fn of(named: Option<&Path>) -> Result<Self, Problem> {
        let usual = || ProjectDirs::from("", "", "sebastian").map(|dirs| dirs.data_dir().to_owned());
        let nowhere = || {
            Problem::new(format!(
                "there is no home folder to keep the ledger in: name a folder with --data or {VARIABLE}, or set \
                 `db.connection_string` and `redis.url`"
            ))
        };
        let folder = named.map(Path::to_owned).or_else(usual).ok_or_else(nowhere)?;
        // Only an empty path is not made absolute, and then the system says so.
        Ok(Self(std::path::absolute(&folder).unwrap_or(folder)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of the ledger.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    /// The file of the roster.
    pub fn roster(&self) -> PathBuf {
        self.0.join("roster.json")
    }

    /// Notes that the ledger has gone to `to`: [`still_serves`](Self::still_serves) fails from now on.
    pub fn note_moved(&self, to: &str) -> Result<(), FolderError> {
        let at = Timestamp::from(SystemTime::now()).in_words();
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(self.0.join(MOVED));
        let written = written.and_then(|mut note| {
            writeln!(note, "moved to {to} at {at}")?;
            note.sync_all()
        });
        written.map_err(|source| self.unusable(source))
    }

    /// Fails where the ledger has gone elsewhere: two ledgers would go apart.
    pub fn still_serves(&self) -> Result<(), FolderError> {
        match fs::read_to_string(self.0.join(MOVED)) {
            Ok(note) => Err(FolderError::Moved { folder: self.0.clone(), note: note.trim().to_owned() }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(source) => Err(self.unusable(source)),
        }
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Makes the folder, if it is not there.
    pub fn make(&self) -> Result<(), FolderError> {
        if self.0.exists() && !self.0.is_dir() {
            return Err(FolderError::NotAFolder(self.0.clone()));
        }
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.0);
        made.map_err(|source| self.unusable(source))
    }

    /// Makes the folder, if it is not there, and holds it. Fails when another process does.
    pub fn hold(&self) -> Result<Held, FolderError> {
        self.make()?;
        let path = self.lock();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path);
        let mut lock = opened.map_err(|source| self.unusable(source))?;
        let folder = self.0.clone();
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse { folder, pid: self.holder() }),
            Err(TryLockError::Error(source)) => return Err(FolderError::CannotLock { folder, source }),
        }
        let named = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        named.map_err(|source| self.unusable(source))?;
        if self.is_on_network() {
            warn!(
                "the data folder {} is on a network file system, where a commit may be lost with the server: keep it on a \
                 disk of this machine, or use PostgreSQL",
                self.0.display()
            );
        }
        Ok(Held { _lock: lock })
    }

    /// The process that last held the folder.
    fn holder(&self) -> Option<u32> {
        fs::read_to_string(self.lock()).ok()?.trim().parse().ok()
    }

    /// Who serves from the folder at this moment, in words. The lock is tried, and given back at once.
    pub fn who_holds(&self) -> Option<String> {
        match File::open(self.lock()).ok()?.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                let pid = self.holder().map(|pid| format!("process {pid}"));
                Some(pid.unwrap_or_else(|| "another process".to_owned()))
            }
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    /// Whether it is on another machine's disk: what SQLite writes there is not certain to stay.
    pub fn is_on_network(&self) -> bool {
        is_on_network(&self.0)
    }

    /// Fails where no process has made a ledger yet.
    pub fn look_for_ledger(&self) -> Result<(), FolderError> {
        match fs::metadata(self.ledger()) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(FolderError::Empty(self.0.clone()))
            }
            Err(source) => Err(self.unusable(source)),
        }
    }

    /// The ledger in the folder, which is made if it is not there; its schema is left as it is.
    pub fn open(&self, config: &Config) -> Result<SqliteStore, StoreError> {
        // SQLite would let everybody read it. What is wrong with the file it tells itself.
        let _made = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(self.ledger());
        Ok(SqliteStore::open(&self.ledger(), config.timing)?.governed_by(config.policy.clone()))
    }

    fn unusable(&self, source: io::Error) -> FolderError {
        FolderError::Unusable { folder: self.0.clone(), source }
    }
}

#[cfg(target_os = "linux")]
fn is_on_network(folder: &Path) -> bool {
    /// NFS, SMB, CIFS, SMB2, 9P, Ceph, AFS, as `statfs(2)` numbers them.
    const NETWORK: [u64; 7] =
        [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400, 0x5346_414f];
    let found = rustix::fs::statfs(folder);
    found.is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| NETWORK.contains(&kind)))
}

#[cfg(not(target_os = "linux"))]
fn is_on_network(_: &Path) -> bool {
    false
}
