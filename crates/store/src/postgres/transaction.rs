//! A transaction that begins and ends in company.

use std::{
    ops::Deref,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use deadpool_postgres::Client;
use futures_util::{FutureExt, future::try_join_all};
use tokio_postgres::Statement;

use crate::StoreError;

/// A transaction whose `BEGIN` leaves together with its first statements and whose `COMMIT` with its last: neither is waited
/// for alone. Rolled back when it is dropped in between.
pub(super) struct Transaction {
    client: Client,
    is_open: AtomicBool,
}

impl Transaction {
    /// On a connection that is this transaction's alone.
    pub fn on(client: Client) -> Self {
        Self { client, is_open: AtomicBool::new(false) }
    }

    /// Sent at the first poll, as every statement is.
    pub async fn begin(&self) -> Result<(), StoreError> {
        self.is_open.store(true, Relaxed);
        Ok(self.client.batch_execute("BEGIN").await?)
    }

    /// The same. Where a statement before it failed, and was not waited for, this rolls back without an error.
    pub async fn commit(&self) -> Result<(), StoreError> {
        self.is_open.store(false, Relaxed);
        Ok(self.client.batch_execute("COMMIT").await?)
    }

    /// Prepares statements that are to be sent together: a connection answers in order and need not be waited for in between.
    /// They leave in the order in which they are first polled, and one that had yet to be prepared would fall behind.
    pub async fn prepared<const N: usize>(&self, texts: [&str; N]) -> Result<[Statement; N], StoreError> {
        let statements = try_join_all(texts.map(|text| self.client.prepare_cached(text))).await?;
        Ok(statements.try_into().unwrap_or_else(|_| unreachable!("a statement for each text")))
    }
}

impl Deref for Transaction {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if *self.is_open.get_mut() {
            // Sent, not waited for: whoever gets the connection next is answered behind it.
            drop(self.client.batch_execute("ROLLBACK").now_or_never());
        }
    }
}
