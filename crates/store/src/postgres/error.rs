//! Errors of the driver, by what the caller does next.

use std::error::Error;

use tokio_postgres::error::SqlState;

use crate::StoreError;

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else { return unavailable(error) };
        let contended = [
            &SqlState::LOCK_NOT_AVAILABLE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::UNIQUE_VIOLATION,
            &SqlState::QUERY_CANCELED,
        ];
        if contended.contains(&state) {
            return Self::Contended(Box::new(error));
        }
        // Connection trouble, too many connections, shutdown, read-only standby, disk full.
        let unavailable_classes = ["08", "53", "57", "58", "25"];
        if unavailable_classes.iter().any(|class| state.code().starts_with(class)) {
            return unavailable(error);
        }
        broken("a statement was refused", error)
    }
}

pub(super) fn unavailable(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(super) fn broken(what: &str, error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(what.to_owned(), Some(Box::new(error)))
}
