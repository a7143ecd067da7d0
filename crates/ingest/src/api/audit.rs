//! What was changed, by whom.

use schemars::JsonSchema;
use sebastian_core::rulebook::edit::Invalid;
use sebastian_store::Audited;
use serde::Serialize;
use serde_json::Value;

use super::call::Refusal;

/// Changes on a page unless asked otherwise.
const LIMIT_DEFAULT: u32 = 50;

/// Most changes on a page; each may hold two pictures of a large team.
const LIMIT_MAX: u32 = 200;

/// A page of changes, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AuditView {
    entries: Vec<EntryView>,
    /// What to send as `before` for the next page. Null: this is the last.
    next_before: Option<i64>,
}

/// A change.
#[derive(Debug, Serialize, JsonSchema)]
struct EntryView {
    id: i64,
    /// As RFC 3339 has it.
    at: String,
    /// The name of the token that was brought, or `loopback`.
    who: String,
    /// The version of the rules that held after it.
    rules_version: u64,
    action: String,
    resource: String,
    resource_id: String,
    /// Null: it was not.
    before: Option<Value>,
    /// Null: it is no more.
    after: Option<Value>,
}

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub before: Option<i64>,
    pub limit: u32,
}

impl Asked {
    pub fn of(query: &[(String, String)]) -> Result<Self, Refusal> {
        let mut asked = Self { before: None, limit: LIMIT_DEFAULT };
        for (name, value) in query {
            match name.as_str() {
                "before" => {
                    let number = value.parse().map_err(|_| Invalid::of("before", "is not a number"))?;
                    asked.before = Some(number);
                }
                "limit" => {
                    let number = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    let message = format!("must be from 1 to {LIMIT_MAX}");
                    asked.limit = number.ok_or_else(|| Invalid::of("limit", &message))?;
                }
                other => return Err(Invalid::of(other, "is no parameter: there are before and limit").into()),
            }
        }
        Ok(asked)
    }
}

impl AuditView {
    pub fn of(found: Vec<Audited>, limit: u32) -> Self {
        let is_full = u32::try_from(found.len()).is_ok_and(|found| found >= limit);
        let next_before = found.last().map(|last| last.id).filter(|_| is_full);
        let entry = |audited: Audited| EntryView {
            id: audited.id,
            at: audited.at.rfc3339(),
            who: audited.who,
            rules_version: audited.version,
            action: audited.action,
            resource: audited.resource,
            resource_id: audited.resource_id,
            before: audited.before,
            after: audited.after,
        };
        Self { entries: found.into_iter().map(entry).collect(), next_before }
    }
}
