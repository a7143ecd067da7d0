//! Errors of the driver, by what the caller does next.

use std::{error::Error, io};

use tokio_postgres::error::SqlState;

use crate::StoreError;

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            let lost = error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>());
            return if lost { unavailable(error) } else { broken("an answer does not read", error) };
        };
        let contended = [
            &SqlState::LOCK_NOT_AVAILABLE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            &SqlState::T_R_SERIALIZATION_FAILURE,
        ];
        if contended.contains(&state) {
            return Self::Contended(Box::new(error));
        }
        // Connection trouble, too many connections or disk full, shutdown or no answer in time, read-only standby.
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
