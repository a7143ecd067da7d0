//! What a process knows of accounts without asking the ledger again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use sebastian_core::{AccountId, Agent, AgentId, Changes, Policy, QueueKey, Roster, Rulebook, State};

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
    foreseen: Foreseen,
    /// Queues that are there, as of the last round. None is ever deleted.
    queues: Arc<BTreeSet<QueueKey>>,
}

/// How the last round left the desk, and what it had to ask once it knew who waits and who is free. The next most likely has
/// to ask the same, and asks before it knows.
#[derive(Default, Clone)]
pub(crate) struct Foreseen {
    /// Somebody waits.
    pub is_waiting: bool,
    /// Somebody has a free slot.
    pub is_free: bool,
    /// Of which queues it looked at the first, and at how many.
    pub heads: BTreeMap<QueueKey, usize>,
    /// Whom the platform credited with more than they held.
    pub over: BTreeSet<AgentId>,
}

impl Foreseen {
    /// The same after what is folded: nothing is asked where nobody waits, and of no queue where nobody is free.
    pub fn after(mut self, changes: &Changes) -> Self {
        let mut changed = changes.opened.iter().chain(&changes.updated);
        self.is_waiting |= changed.any(|one| matches!(one.state, State::Waiting { park: None }));
        if !self.is_waiting {
            return Self::default();
        }
        for (agent, _) in changes.agents.iter().filter(|(_, change)| change.open < 0) {
            self.is_free = true;
            self.over.insert(*agent);
        }
        if !self.is_free {
            self.heads.clear();
        }
        self
    }
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

    pub fn foreseen(&self, account: AccountId) -> Foreseen {
        self.with(account, |known| known.foreseen.clone())
    }

    pub fn foresee(&self, account: AccountId, foreseen: Foreseen) {
        self.with(account, |known| known.foreseen = foreseen);
    }

    pub fn queues(&self, account: AccountId) -> Arc<BTreeSet<QueueKey>> {
        self.with(account, |known| known.queues.clone())
    }

    pub fn keep_queues<'a>(&self, account: AccountId, queues: impl Iterator<Item = &'a QueueKey> + Clone) {
        self.with(account, |known| {
            if !known.queues.iter().eq(queues.clone()) {
                known.queues = Arc::new(queues.copied().collect());
            }
        });
    }

    pub fn forget_queues(&self, account: AccountId) {
        self.with(account, |known| known.queues = Arc::default());
    }

    pub fn keep_roster(&self, account: AccountId, roster: Arc<Roster>, hash: Vec<u8>) {
        self.with(account, |known| known.roster = Some((roster, hash)));
    }
}
