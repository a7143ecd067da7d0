//! Errors of the driver, by what the caller does next.

use std::error::Error;

use rusqlite::{Error as Sqlite, ErrorCode};

use crate::StoreError;

impl From<Sqlite> for StoreError {
    fn from(error: Sqlite) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Contended(Box::new(error)),
            // The disk is full, gone or read-only.
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory,
            ) => unavailable(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                broken("the file of the ledger is damaged: restore a backup", error)
            }
            Some(_) => broken("a statement was refused", error),
            None => broken("an answer does not read", error),
        }
    }
}

pub(super) fn unavailable(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(crate) fn broken(what: &str, error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(what.to_owned(), Some(Box::new(error)))
}
