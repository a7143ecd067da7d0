//! Rulebooks: versions, who changed them, and the newest at hand.

use std::{sync::Arc, time::SystemTime};

use deadpool_postgres::GenericClient;
use sebastian_core::{AccountId, Policy, Rulebook, Timestamp};
use tokio_postgres::{Row, types::Json};

use super::{PostgresStore, loads, rows, turns, working_set};
use crate::{Amendment, AuditEntry, Audited, Facts, StoreError, round};

pub(super) const ALL_SQL: &[&str] = &[NEWEST, RULEBOOK, ADD_RULEBOOK, SET_NEWEST, ADD_AUDIT, AUDIT];

const NEWEST: &str = "SELECT rulebook_version FROM accounts WHERE id = $1";

/// Primary key. $2 version.
const RULEBOOK: &str = "
    SELECT body
    FROM rulebooks
    WHERE account_id = $1 AND version = $2";

/// $2 version, $3 now, $4 body.
const ADD_RULEBOOK: &str = "
    INSERT INTO rulebooks (account_id, version, created_at, body)
    VALUES ($1, $2, $3, $4)";

const SET_NEWEST: &str = "UPDATE accounts SET rulebook_version = $2 WHERE id = $1";

/// $2 now, $3 who, $4 version; then one array a column, in order.
const ADD_AUDIT: &str = "
    INSERT INTO audit (account_id, at, who, version, action, resource, resource_id, before, after)
    SELECT $1, $2, $3, $4, action, resource, resource_id, before, after
    FROM unnest($5::text[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[])
         WITH ORDINALITY AS u (action, resource, resource_id, before, after, place)
    ORDER BY place";

/// Primary key. $2 before, $3 most.
const AUDIT: &str = "
    SELECT id, at, who, version, action, resource, resource_id, before, after
    FROM audit
    WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2)
    ORDER BY id DESC
    LIMIT $3";

impl PostgresStore {
    /// The newest rulebook, which is this version.
    pub(super) async fn rules(
        &self,
        client: &impl GenericClient,
        account: AccountId,
        version: u64,
    ) -> Result<Arc<Rulebook>, StoreError> {
        if let Some(known) = self.books.rules(account, version) {
            return Ok(known);
        }
        let rules = read(client, account, version).await?.ok_or_else(|| {
            StoreError::Broken(format!("account {account} has no version {version} of its rulebook"), None)
        })?;
        self.books.keep_rules(account, rules.clone());
        Ok(rules)
    }

    /// A version of the rulebook, unless it was purged.
    pub(super) async fn rulebook_kept(
        &self,
        client: &impl GenericClient,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        match self.books.rules(account, version) {
            Some(known) => Ok(Some(known)),
            None => read(client, account, version).await,
        }
    }

    /// What the last decision of this process went by; before the first, what the store was made with.
    pub(super) fn policy_of(&self, account: AccountId) -> Arc<Policy> {
        self.books.policy(account).unwrap_or_else(|| self.policy.clone())
    }

    pub(super) async fn run_rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(NEWEST).await?;
        match client.query_opt(&statement, &[&account.0]).await? {
            Some(row) => self.rules(&client, account, rows::version(&row, "rulebook_version")?).await,
            None => Ok(Arc::default()),
        }
    }

    pub(super) async fn run_rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError> {
        read(&self.client().await?, account, version).await
    }

    pub(super) async fn run_amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError> {
        let (tx, locked) = working_set::lock(self.client().await?, account).await?;
        let before = self.rules(&*tx, account, locked.rulebook_version).await?;
        let mut rules = Rulebook::clone(&before);
        let entries = change(&mut rules, locked.now);
        if entries.is_empty() {
            return Ok(before);
        }
        let now = SystemTime::from(locked.now);
        if rules == *before {
            let version = i64::try_from(before.version).unwrap_or(i64::MAX);
            add_audit(&*tx, account, who, (version, now), &entries).await?;
            tx.commit().await?;
            return Ok(before);
        }
        rules.version = locked.rulebook_version + 1;
        let version = i64::try_from(rules.version).unwrap_or(i64::MAX);
        let statement = tx.prepare_cached(ADD_RULEBOOK).await?;
        tx.execute(&statement, &[&account.0, &version, &now, &Json(&rules)]).await?;
        let statement = tx.prepare_cached(SET_NEWEST).await?;
        tx.execute(&statement, &[&account.0, &version]).await?;
        add_audit(&*tx, account, who, (version, now), &entries).await?;
        tx.commit().await?;
        Ok(rules.into())
    }

    pub(super) async fn run_audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(AUDIT).await?;
        let found = client.query(&statement, &[&account.0, &before, &i64::from(limit)]).await?;
        found.iter().map(audited).collect()
    }

    pub(super) async fn run_facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError> {
        let held = self.run_loads(account, polled_at).await?;
        let (rules, now) = (self.run_rulebook(account).await?, self.run_now().await?);
        let client = self.client().await?;
        let mut windows = turns::all_windows(&client, account).await?;
        let fair = round::fair_inboxes(&rules, policy, windows.keys().map(|(inbox, _)| *inbox), now);
        windows.retain(|(inbox, _), given| fair.contains_key(inbox) && given.iter().next().is_some());
        let inbox_loads = if round::counts_by_inbox(&rules, policy) {
            loads::inbox_loads(&client, account).await?
        } else {
            Default::default()
        };
        Ok(Facts { loads: held, inbox_loads, windows, rules })
    }
}

async fn read(
    client: &impl GenericClient,
    account: AccountId,
    version: u64,
) -> Result<Option<Arc<Rulebook>>, StoreError> {
    if version == 0 {
        return Ok(Some(Arc::default()));
    }
    let statement = client.prepare_cached(RULEBOOK).await?;
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    let Some(row) = client.query_opt(&statement, &[&account.0, &version]).await? else { return Ok(None) };
    let Json(rules) = row.try_get::<_, Json<Rulebook>>("body")?;
    Ok(Some(rules.into()))
}

async fn add_audit(
    client: &impl GenericClient,
    account: AccountId,
    who: &str,
    (version, now): (i64, SystemTime),
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    let column = |of: fn(&AuditEntry) -> &str| entries.iter().map(of).collect::<Vec<&str>>();
    let (actions, resources) = (column(|entry| entry.action), column(|entry| entry.resource));
    let ids = column(|entry| &entry.id);
    let before: Vec<_> = entries.iter().map(|entry| entry.before.as_ref()).collect();
    let after: Vec<_> = entries.iter().map(|entry| entry.after.as_ref()).collect();
    let statement = client.prepare_cached(ADD_AUDIT).await?;
    client
        .execute(&statement, &[&account.0, &now, &who, &version, &actions, &resources, &ids, &before, &after])
        .await?;
    Ok(())
}

fn audited(row: &Row) -> Result<Audited, StoreError> {
    Ok(Audited {
        id: row.try_get("id")?,
        at: rows::needed(row, "at")?,
        who: row.try_get("who")?,
        version: rows::version(row, "version")?,
        action: row.try_get("action")?,
        resource: row.try_get("resource")?,
        resource_id: row.try_get("resource_id")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
    })
}
