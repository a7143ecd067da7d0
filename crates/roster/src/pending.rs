//! Wake-ups that wait for the worker: at most one an account, and at most one run of an account at a time.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use sebastian_core::AccountId;

use crate::{Doorbell, DoorbellError, WakeUp};

/// Accounts waiting or running at once. An installation has a handful; more than this is a corrupt doorbell, and the
/// sweep still serves the accounts that exist.
const ACCOUNTS_MAX: usize = 1_024;

/// A ring for one more account than [`ACCOUNTS_MAX`].
#[derive(Debug, thiserror::Error)]
#[error("wake-ups of {ACCOUNTS_MAX} accounts are waiting already")]
pub(crate) struct Full;

enum Account {
    /// Waits its turn in `State::order`.
    Waiting(WakeUp),
    /// A handler is at work; holds what was rung meanwhile.
    Running(Option<WakeUp>),
}

#[derive(Default)]
struct State {
    accounts: HashMap<AccountId, Account>,
    /// Exactly the waiting accounts, by first ring.
    order: VecDeque<AccountId>,
    waker: Option<Waker>,
}

#[derive(Default)]
pub(crate) struct Pending {
    state: Mutex<State>,
}

impl Pending {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `wake`, or merges it with what the account waits for already.
    pub(crate) fn ring(&self, wake: WakeUp) -> Result<(), Full> {
        let mut guard = self.state();
        let state = &mut *guard;
        let full = state.accounts.len() >= ACCOUNTS_MAX;
        let waker = match state.accounts.entry(wake.account) {
            Entry::Occupied(entry) => {
                match entry.into_mut() {
                    Account::Waiting(first) | Account::Running(Some(first)) => {
                        first.rung_at = first.rung_at.min(wake.rung_at);
                    }
                    Account::Running(next @ None) => *next = Some(wake),
                }
                None
            }
            Entry::Vacant(_) if full => return Err(Full),
            Entry::Vacant(entry) => {
                entry.insert(Account::Waiting(wake));
                state.order.push_back(wake.account);
                state.waker.take()
            }
        };
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// The wake-up that waited longest; its account is running from now on, until [`Run`] is dropped.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<WakeUp> {
        let mut state = self.state();
        while let Some(account) = state.order.pop_front() {
            if let Some(Account::Waiting(wake)) = state.accounts.insert(account, Account::Running(None)) {
                return Poll::Ready(wake);
            }
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn finish(&self, account: AccountId) {
        let mut state = self.state();
        let Some(Account::Running(Some(wake))) = state.accounts.remove(&account) else { return };
        state.accounts.insert(account, Account::Waiting(wake));
        state.order.push_back(account);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A run of one account. Dropping it, by whatever way the handler ended, lets the next run begin.
pub(crate) struct Run {
    pub(crate) pending: Arc<Pending>,
    pub(crate) account: AccountId,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.pending.finish(self.account);
    }
}

/// Rings the worker in this process. Clones ring the same worker.
#[derive(Clone)]
pub struct LocalBell {
    pub(crate) pending: Arc<Pending>,
}

impl std::fmt::Debug for LocalBell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBell").finish_non_exhaustive()
    }
}

#[async_trait]
impl Doorbell for LocalBell {
    /// Fails only when wake-ups of 1,024 other accounts wait.
    async fn ring(&self, wake: WakeUp) -> Result<(), DoorbellError> {
        self.pending.ring(wake).map_err(|full| DoorbellError(Box::new(full)))
    }
}
