//! Rulebooks: versions, and who changed them.

use std::sync::Arc;

use rusqlite::{Connection, Row};
use sebastian_core::{AccountId, Policy, Rulebook, Timestamp};
use serde_json::Value;

use super::{
    Call, questions,
    rows::{self, millis},
};
use crate::{Amendment, AuditEntry, Audited, Facts, StoreError, round};

pub(super) const ALL_SQL: &[&str] = &[NEWEST, RULEBOOK, ADD_RULEBOOK, SET_NEWEST, ADD_AUDIT, AUDIT];

const NEWEST: &str = "SELECT rulebook_version FROM accounts WHERE id = ?1";

/// Primary key. ?2 version.
const RULEBOOK: &str = "
    SELECT body
    FROM rulebooks
    WHERE account_id = ?1 AND version = ?2";

/// ?2 version, ?3 now, ?4 body.
const ADD_RULEBOOK: &str = "
    INSERT INTO rulebooks (account_id, version, created_at, body)
    VALUES (?1, ?2, ?3, ?4)";

const SET_NEWEST: &str = "UPDATE accounts SET rulebook_version = ?2 WHERE id = ?1";

/// ?2 now, ?3 who, ?4 version; then a column each.
const ADD_AUDIT: &str = "
    INSERT INTO audit (account_id, at, who, version, action, resource, resource_id, before, after)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Index audit_of. ?2 before, ?3 most.
const AUDIT: &str = "
    SELECT id, at, who, version, action, resource, resource_id, before, after
    FROM audit
    WHERE account_id = ?1 AND id < ?2
    ORDER BY id DESC
    LIMIT ?3";

impl Call<'_> {
    /// The newest rulebook, which is this version.
    pub(super) fn rules(&self, account: AccountId, version: u64) -> Result<Arc<Rulebook>, StoreError> {
        if let Some(known) = self.store.books.rules(account, version) {
            return Ok(known);
        }
        let rules = read(self.tx, account, version)?.ok_or_else(|| {
            StoreError::Broken(format!("account {account} has no version {version} of its rulebook"), None)
        })?;
        self.store.books.keep_rules(account, rules.clone());
        Ok(rules)
    }

    /// A version of the rulebook, unless it was purged. The one that was read last is at hand even then.
    pub(super) fn rulebook_kept(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        match self.store.books.rules(account, version) {
            Some(known) => Ok(Some(known)),
            None => read(self.tx, account, version),
        }
    }

    pub(super) fn rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        read(self.tx, account, version)
    }

    pub(super) fn rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError> {
        match newest(self.tx, account)? {
            Some(version) => self.rules(account, version),
            None => Ok(Arc::default()),
        }
    }

    pub(super) fn amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError> {
        let version = newest(self.tx, account)?
            .ok_or_else(|| StoreError::Broken(format!("there is no account {account}"), None))?;
        let before = self.rules(account, version)?;
        let mut rules = Rulebook::clone(&before);
        let entries = change(&mut rules, self.now);
        if entries.is_empty() {
            return Ok(before);
        }
        if rules == *before {
            self.add_audit(account, who, signed(version), &entries)?;
            return Ok(before);
        }
        rules.version = version + 1;
        let version = signed(rules.version);
        let (now, body) = (millis(self.now), rows::json(&rules)?);
        rows::run(self.tx, ADD_RULEBOOK, &[&account.0, &version, &now, &body])?;
        rows::run(self.tx, SET_NEWEST, &[&account.0, &version])?;
        self.add_audit(account, who, version, &entries)?;
        Ok(rules.into())
    }

    fn add_audit(
        &self,
        account: AccountId,
        who: &str,
        version: i64,
        entries: &[AuditEntry],
    ) -> Result<(), StoreError> {
        let now = millis(self.now);
        for AuditEntry { action, resource, id, before, after } in entries {
            let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
            let (before, after) = (text(before), text(after));
            rows::run(
                self.tx,
                ADD_AUDIT,
                &[&account.0, &now, &who, &version, action, resource, id, &before, &after],
            )?;
        }
        Ok(())
    }

    pub(super) fn audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError> {
        // No entry has the last number there is.
        let before = before.unwrap_or(i64::MAX);
        rows::all(self.tx, AUDIT, &[&account.0, &before, &limit], audited)
    }

    pub(super) fn facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError> {
        let (loads, rules) = (self.loads(account, polled_at)?, self.rulebook(account)?);
        let mut windows = self.all_windows(account)?;
        let fair = round::fair_inboxes(&rules, policy, windows.keys().map(|(inbox, _)| *inbox), self.now);
        windows.retain(|(inbox, _), given| fair.contains_key(inbox) && given.iter().next().is_some());
        let inbox_loads = if round::counts_by_inbox(&rules, policy) {
            questions::inbox_loads(self.tx, account)?
        } else {
            Default::default()
        };
        Ok(Facts { loads, inbox_loads, windows, rules })
    }
}

/// The version of an account's newest rulebook. `None`: there is no such account.
fn newest(tx: &Connection, account: AccountId) -> Result<Option<u64>, StoreError> {
    rows::first(tx, NEWEST, &[&account.0], |row| version(row, "rulebook_version"))
}

fn read(tx: &Connection, account: AccountId, version: u64) -> Result<Option<Arc<Rulebook>>, StoreError> {
    if version == 0 {
        return Ok(Some(Arc::default()));
    }
    let body = |row: &Row<'_>| rows::parsed::<Rulebook>(row, "body");
    let found = rows::first(tx, RULEBOOK, &[&account.0, &signed(version)], body)?;
    Ok(found.flatten().map(Arc::new))
}

fn audited(row: &Row<'_>) -> Result<Audited, StoreError> {
    Ok(Audited {
        id: row.get("id")?,
        at: rows::needed(row, "at")?,
        who: row.get("who")?,
        version: version(row, "version")?,
        action: row.get("action")?,
        resource: row.get("resource")?,
        resource_id: row.get("resource_id")?,
        before: rows::parsed(row, "before")?,
        after: rows::parsed(row, "after")?,
    })
}

fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// A column that holds a version of a rulebook.
pub(super) fn version(row: &Row<'_>, column: &str) -> Result<u64, StoreError> {
    let version: i64 = row.get(column)?;
    u64::try_from(version).map_err(|_| StoreError::Broken(format!("column {column} holds {version}"), None))
}
