//! The conformance suite: each promise is three tests, `memory::<promise>`, `postgres::<promise>` and
//! `sqlite::<promise>`.

mod accepting;
mod bounds;
mod governing;
mod housekeeping;
mod listing;
mod outbox;
mod platform;
mod recording;
mod reserving;
mod settling;
mod together;

/// Tries each promise on every ledger.
macro_rules! on_every_ledger {
    ($($promise:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                super::$promise($crate::desk::Ledger::Memory.desk().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                super::$promise($crate::desk::Ledger::Postgres.desk().await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                super::$promise($crate::desk::Ledger::Sqlite.desk().await).await;
            })*
        }
    };
}
use on_every_ledger;
