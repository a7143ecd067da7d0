//! The file and the connections to it.
//!
//! One connection writes, the others read. What they do is short and blocks, so each call tells the runtime: other tasks
//! go on elsewhere meanwhile. Readers see the last commit and wait for nobody (write-ahead log).

use std::{
    cell::Cell,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Mutex as AsyncMutex, Semaphore},
    time::timeout,
};

use super::error::{broken, unavailable};
use crate::StoreError;

/// Longest to wait for one's turn. A call is milliseconds, so somebody who waits for longer waits for a disk that hangs.
const TURN_MAX: Duration = Duration::from_secs(8);

/// Longest to wait for another process that writes: a command run by hand, a backup.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// How often to look whether the other process is done. SQLite's own wait grows to 100 ms: beside a server that writes
/// without a break, whose pauses are microseconds, that many looks find none of them.
const BUSY_LOOK: Duration = Duration::from_millis(1);

/// Connections that read.
const READERS: usize = 2;

/// Statements kept prepared by each connection; the ledger has fewer.
const PREPARED_MAX: usize = 160;

/// A commit is on the disk when it returns: FULL flushes the write-ahead log at each. The log is folded into the file
/// every 1,000 pages, and cut back to 16 MB afterwards. On macOS a flush stops at the drive's cache unless it is asked to be
/// a full one. Temporary tables are small.
const WRITER: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA foreign_keys = ON;
    PRAGMA journal_size_limit = 16777216;
    PRAGMA temp_store = MEMORY;";

const READER: &str = "
    PRAGMA query_only = ON;
    PRAGMA temp_store = MEMORY;";

pub(super) struct Connections {
    writer: AsyncMutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    may_read: Semaphore,
}

impl Connections {
    /// Opens the file, which is made if it is not there.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let writer = connect(file, OpenFlags::SQLITE_OPEN_CREATE, WRITER)?;
        let reader = || connect(file, OpenFlags::empty(), READER);
        let readers = (0..READERS).map(|_| reader()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            writer: AsyncMutex::new(writer),
            readers: Mutex::new(readers),
            may_read: Semaphore::new(READERS),
        })
    }

    /// Runs `call` in a transaction of its own, which is committed, and on disk, when this returns `Ok`.
    pub async fn write<T>(
        &self,
        call: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut writer = timeout(TURN_MAX, self.writer.lock()).await.map_err(unavailable)?;
        blocking(|| {
            let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = call(&tx)?;
            tx.commit()?;
            Ok(answer)
        })
    }

    /// Runs `call`, which sees one state of the ledger throughout.
    pub async fn read<T>(
        &self,
        call: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let _permit = timeout(TURN_MAX, self.may_read.acquire()).await.map_err(unavailable)?;
        let mut reader = Lent::new(&self.readers)?;
        blocking(|| call(&reader.connection()?.transaction()?))
    }

    /// The connection that writes, outside any transaction: for what cannot run inside one.
    pub async fn exclusively<T>(
        &self,
        call: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut writer = timeout(TURN_MAX, self.writer.lock()).await.map_err(unavailable)?;
        blocking(|| call(&mut writer))
    }
}

/// A reader, given back when dropped, also by a call that panics.
struct Lent<'a> {
    readers: &'a Mutex<Vec<Connection>>,
    connection: Option<Connection>,
}

impl<'a> Lent<'a> {
    fn new(readers: &'a Mutex<Vec<Connection>>) -> Result<Self, StoreError> {
        let connection = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self { readers, connection })
    }

    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.connection.as_mut().ok_or_else(|| StoreError::Broken("a permit without a reader".into(), None))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.extend(self.connection.take());
    }
}

fn connect(file: &Path, more: OpenFlags, settings: &str) -> Result<Connection, StoreError> {
    // Each connection is used by one thread at a time: SQLite need not lock once more.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let mut connection = Connection::open_with_flags(file, flags)
        .map_err(|e| broken(&format!("{} cannot be opened", file.display()), e))?;
    connection.busy_handler(Some(wait_for_another))?;
    connection.set_prepared_statement_cache_capacity(PREPARED_MAX);
    // Plans go by the statement alone. Otherwise SQLite plans again for each value that is bound where an index covers part
    // of a table: that takes longer than the statement.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(settings)?;
    Ok(connection)
}

/// Runs what blocks where it holds nobody up. A runtime of one thread has nowhere else.
fn blocking<T>(call: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if flavor.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread) {
        tokio::task::block_in_place(call)
    } else {
        call()
    }
}

/// Called by SQLite on the thread that waits, with how often it was called for this wait before. Whether to look again.
fn wait_for_another(times: i32) -> bool {
    thread_local! {
        static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    if times == 0 {
        SINCE.set(Some(Instant::now()));
    }
    thread::sleep(BUSY_LOOK);
    SINCE.get().is_some_and(|since| since.elapsed() < BUSY_MAX)
}
