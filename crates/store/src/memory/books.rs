//! What operators have set, and what was decided by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sebastian_core::{AgentId, ConversationId, Decision, Outcome, Policy, Rulebook, Snapshot, Timestamp};

use crate::{AuditEntry, Audited, Recorded, Reservation, round};

/// Every version of an account's rulebook that is kept, and who changed it.
#[derive(Default)]
pub(super) struct Books {
    newest: Arc<Rulebook>,
    /// By version, with when it was made.
    versions: BTreeMap<u64, (Timestamp, Arc<Rulebook>)>,
    pub audit: Vec<Audited>,
}

impl Books {
    pub fn newest(&self) -> Arc<Rulebook> {
        self.newest.clone()
    }

    pub fn at(&self, version: u64) -> Option<Arc<Rulebook>> {
        if version == 0 {
            return Some(Arc::default());
        }
        self.versions.get(&version).map(|(_, rules)| rules.clone())
    }

    /// Makes `rules` the next version, unless they are the newest as they stand, and writes `entries` down.
    pub fn amend(
        &mut self,
        mut rules: Rulebook,
        who: &str,
        entries: Vec<AuditEntry>,
        now: Timestamp,
        last_audit: &mut i64,
    ) {
        if rules != *self.newest {
            rules.version = self.newest.version + 1;
            self.newest = rules.into();
            self.versions.insert(self.newest.version, (now, self.newest.clone()));
        }
        let version = self.newest.version;
        for entry in entries {
            *last_audit += 1;
            let AuditEntry { action, resource, id, before, after } = entry;
            self.audit.push(Audited {
                id: *last_audit,
                at: now,
                who: who.to_owned(),
                version,
                action: action.to_owned(),
                resource: resource.to_owned(),
                resource_id: id,
                before,
                after,
            });
        }
    }

    /// Drops up to `limit` changes from the audit that were made before a time.
    pub fn purge_audit(&mut self, before: Timestamp, limit: usize) -> usize {
        let written = self.audit.len();
        let mut oldest = 0;
        self.audit.retain(|change| {
            oldest += 1;
            oldest > limit || change.at >= before
        });
        written - self.audit.len()
    }

    /// Drops up to `limit` versions made before a time that are neither the newest nor `named`.
    fn purge(&mut self, before: Timestamp, limit: usize, named: &BTreeSet<u64>) -> usize {
        let newest = self.newest.version;
        let old = self.versions.iter().filter(|(version, (made_at, _))| {
            *made_at < before && **version != newest && !named.contains(version)
        });
        let gone: Vec<u64> = old.map(|(version, _)| *version).take(limit).collect();
        gone.iter().for_each(|version| drop(self.versions.remove(version)));
        gone.len()
    }
}

/// Recorded decisions.
#[derive(Default)]
pub(super) struct Records {
    last: u64,
    rounds: BTreeMap<u64, Round>,
    made: BTreeMap<(ConversationId, u32), Made>,
}

struct Round {
    at: Timestamp,
    snapshot: Snapshot,
    policy: Policy,
}

struct Made {
    round: u64,
    agent: AgentId,
    waited: Duration,
}

impl Records {
    pub fn keep(
        &mut self,
        snapshot: &Snapshot,
        policy: &Policy,
        decisions: &[Decision],
        reserved: &[Reservation],
        now: Timestamp,
    ) {
        debug_assert!(
            reserved.is_empty() || decisions.iter().any(|one| matches!(one.outcome, Outcome::Reserve { .. })),
            "what was reserved was decided"
        );
        let Some(snapshot) = round::recordable(snapshot, decisions) else { return };
        self.last += 1;
        self.rounds.insert(self.last, Round { at: now, snapshot, policy: policy.clone() });
        for one in reserved {
            let made = Made { round: self.last, agent: one.agent, waited: now.since(one.opened_at) };
            self.made.insert((one.attempt.conversation, one.attempt.number), made);
        }
    }

    pub fn of(&self, id: ConversationId, limit: usize) -> Vec<Recorded> {
        let newest = self.made.range((id, 0)..=(id, u32::MAX)).rev().take(limit);
        let recorded = |((conversation, attempt), made): (&(ConversationId, u32), &Made)| {
            let round = self.rounds.get(&made.round)?;
            Some(Recorded {
                conversation: *conversation,
                attempt: *attempt,
                agent: made.agent,
                at: round.at,
                waited: made.waited,
                snapshot: round.snapshot.clone(),
                policy: round.policy.clone(),
            })
        };
        let mut found: Vec<Recorded> = newest.filter_map(recorded).collect();
        found.reverse();
        found
    }

    /// Drops up to `limit` rounds decided before a time, and then as many versions that none of the others names.
    pub fn purge(&mut self, books: &mut Books, before: Timestamp, limit: usize) -> usize {
        let old = self.rounds.iter().filter(|(_, round)| round.at < before).take(limit);
        let gone: BTreeSet<u64> = old.map(|(number, _)| *number).collect();
        self.rounds.retain(|number, _| !gone.contains(number));
        self.made.retain(|_, made| !gone.contains(&made.round));
        let named = self.rounds.values().map(|round| round.snapshot.rules.version).collect();
        gone.len() + books.purge(before, limit, &named)
    }
}
