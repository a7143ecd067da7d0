//! What a process knows of accounts without asking the ledger again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sebastian_core::{AccountId, Agent, Policy, Roster, Rulebook};

/// What is known of each account. Shared by the clones of a store.
#[derive(Default)]
pub(crate) struct Books {
    accounts: Mutex<HashMap<AccountId, Known>>,
}

#[derive(Default)]
struct Known {
    /// The version of the rulebook that was read last. A version never changes, so it is as good as the row.
    rules: Arc<Rulebook>,
    /// The policy of the last decision. It comes from the configuration: one a process and account.
    policy: Option<Arc<Policy>>,
    /// The agents of the last recorded round, and the hash they are stored under.
    roster: Option<(Arc<Roster>, Vec<u8>)>,
}

impl Books {
    fn with<T>(&self, account: AccountId, f: impl FnOnce(&mut Known) -> T) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        f(accounts.entry(account).or_default())
    }

    /// The rulebook that was read last, if it is this version.
    pub fn rules(&self, account: AccountId, version: u64) -> Option<Arc<Rulebook>> {
        self.with(account, |known| (known.rules.version == version).then(|| known.rules.clone()))
    }

    pub fn keep_rules(&self, account: AccountId, rules: Arc<Rulebook>) {
        self.with(account, |known| known.rules = rules);
    }

    /// Notes what an account's decisions go by where the rulebook says nothing.
    pub fn remember(&self, account: AccountId, policy: &Policy) {
        self.with(account, |known| {
            if known.policy.as_deref() != Some(policy) {
                known.policy = Some(policy.clone().into());
            }
        });
    }

    /// What the last decision of this process went by; none before the first.
    pub fn policy(&self, account: AccountId) -> Option<Arc<Policy>> {
        self.with(account, |known| known.policy.clone())
    }

    /// The hash under which `agents` are stored, unless they are others than in the last recorded round.
    pub fn roster_kept(&self, account: AccountId, agents: &[Agent]) -> Option<Vec<u8>> {
        self.with(account, |known| {
            let (roster, hash) = known.roster.as_ref()?;
            (roster.agents == agents).then(|| hash.clone())
        })
    }

    pub fn keep_roster(&self, account: AccountId, roster: Arc<Roster>, hash: Vec<u8>) {
        self.with(account, |known| known.roster = Some((roster, hash)));
    }
}
