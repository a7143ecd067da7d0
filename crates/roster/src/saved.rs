//! The roster cache of one process, kept in a file beside its ledger.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use sebastian_core::{AccountId, Roster};
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use crate::{CacheError, RosterCache};

/// Rosters hold people's names: the file is its owner's alone.
const FILE_MODE: u32 = 0o600;

type Rosters = BTreeMap<AccountId, Roster>;

/// Holds rosters in this process's memory and in a file: for the next start, which then need not wait for the platform, and
/// for commands run beside the process.
///
/// One process publishes; any number may read. The file is replaced as a whole, so nobody sees half of one. It is not
/// flushed: after a power failure it may be missing, and the next publication puts it back. A file that holds no rosters
/// reads as [`CacheError::Corrupt`] and is replaced by the next publication.
#[derive(Debug)]
pub struct SavedRosterCache {
    file: PathBuf,
    known: Mutex<Known>,
    writing: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    rosters: Rosters,
    /// The file whose rosters these are, or are newer than.
    seen: Option<Stamp>,
}

/// Tells one file at the path from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len_bytes: u64,
    modified: SystemTime,
}

impl SavedRosterCache {
    /// A cache in `file`, which need not be there, though its folder must. Reads nothing yet.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file, known: Mutex::default(), writing: AsyncMutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what another process has put into the file.
    async fn look(&self) -> Result<(), CacheError> {
        let stamp = match stamp(&self.file) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreachable(error)),
        };
        if self.known().seen == Some(stamp) {
            return Ok(());
        }
        let file = self.file.clone();
        let text = blocking(move || fs::read(file)).await?;
        let saved: Rosters = serde_json::from_slice(&text).map_err(CacheError::Corrupt)?;
        let mut known = self.known();
        for (account, roster) in saved {
            if known.rosters.get(&account).is_none_or(|stored| stored.version < roster.version) {
                // What another process wrote is put in order again: lookups are binary searches.
                let roster = Roster::new(roster.version, roster.polled_at, roster.agents);
                known.rosters.insert(account, roster);
            }
        }
        known.seen = Some(stamp);
        Ok(())
    }

    /// Takes `roster` and returns the text of all, unless one as new is here.
    fn take(&self, account: AccountId, roster: &Roster) -> Result<Option<Vec<u8>>, CacheError> {
        let mut known = self.known();
        if known.rosters.get(&account).is_some_and(|stored| stored.version >= roster.version) {
            return Ok(None);
        }
        known.rosters.insert(account, roster.clone());
        serde_json::to_vec(&known.rosters).map(Some).map_err(CacheError::Corrupt)
    }
}

#[async_trait]
impl RosterCache for SavedRosterCache {
    async fn publish(&self, account: AccountId, roster: &Roster) -> Result<bool, CacheError> {
        let _turn = self.writing.lock().await;
        // What does not read is replaced.
        let _unreadable = self.look().await;
        let Some(text) = self.take(account, roster)? else { return Ok(false) };
        let file = self.file.clone();
        let written = blocking(move || replace(&file, &text)).await?;
        self.known().seen = Some(written);
        Ok(true)
    }

    async fn newer_than(&self, account: AccountId, known: u64) -> Result<Option<Roster>, CacheError> {
        let looked = self.look().await;
        let newer = self.known().rosters.get(&account).filter(|stored| stored.version > known).cloned();
        // What is in memory is good whatever became of the file.
        if newer.is_some() { Ok(newer) } else { looked.map(|()| None) }
    }

    async fn ping(&self) -> Result<(), CacheError> {
        self.look().await
    }
}

fn stamp(file: &Path) -> io::Result<Stamp> {
    stamp_of(&fs::metadata(file)?)
}

fn stamp_of(metadata: &fs::Metadata) -> io::Result<Stamp> {
    Ok(Stamp { inode: metadata.ino(), len_bytes: metadata.len(), modified: metadata.modified()? })
}

/// Puts a file with `text` in the place of `file`.
fn replace(file: &Path, text: &[u8]) -> io::Result<Stamp> {
    let next = file.with_extension("new");
    let mut writing: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&next)?;
    writing.write_all(text)?;
    let stamp = stamp_of(&writing.metadata()?)?;
    fs::rename(&next, file)?;
    Ok(stamp)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, CacheError> {
    spawn_blocking(work).await.map_err(|ended| unreachable(io::Error::other(ended)))?.map_err(unreachable)
}

fn unreachable(error: io::Error) -> CacheError {
    CacheError::Unreachable(Box::new(error))
}
