//! What an operator does by hand: commands that ask and change the ledger directly, as the API does over HTTP. They need
//! no process to run.

mod agents;
mod args;
mod parked;
mod pauses;
mod policies;
mod queue;
mod table;

use std::sync::Arc;

use sebastian_ingest::{Account, Done, Operator};
use sebastian_roster::{Doorbell, RosterCache};
use sebastian_store::Store;
use serde_json::Value;

pub use self::args::{Form, Parked, ParkedCommand, Pause, Policies, PoliciesCommand, Queue, Resume, What};
pub(crate) use self::{
    agents::agents,
    parked::parked,
    pauses::{pause, resume},
    policies::policies,
    queue::queue,
    table::table,
};
use crate::{
    compose::{PLATFORM, parts, storage::Opened},
    config::{Config, Loaded, Problem},
    failure::Failure,
};

/// Longest name of an operator in the audit, in characters.
const WHO_CHARS_MAX: usize = 64;

/// The ledger, the roster cache and the doorbell that the settings name.
pub(crate) struct Office<'a> {
    pub config: &'a Config,
    pub store: Arc<dyn Store>,
    pub cache: Arc<dyn RosterCache>,
    pub account: Account,
    doorbell: Arc<dyn Doorbell>,
}

impl<'a> Office<'a> {
    /// Fails where a setting is missing or the ledger is not there or not at our schema.
    pub async fn open(loaded: &'a Loaded) -> Result<Self, Failure> {
        let config = &loaded.config;
        let storage = parts::storage(config, None)?;
        let app_id = config.qiscus.app_id.clone().ok_or_else(|| Problem::missing("qiscus.app_id"))?;
        let Opened { ledger, shared, .. } = storage.visit(config)?;
        ledger.check_schema().await?;
        let store = ledger.store();
        let id = store.open_account(PLATFORM, &app_id).await?;
        let account = Account { id, app_id, default_inbox: config.qiscus.inbox };
        Ok(Self { config, store, cache: shared.cache(), account, doorbell: shared.doorbell() })
    }

    fn operator(&self) -> Operator<'_> {
        Operator {
            store: &*self.store,
            cache: &*self.cache,
            doorbell: &*self.doorbell,
            account: &self.account,
            policy: &self.config.policy,
            who: who(),
        }
    }
}

/// As the audit names whoever runs the command: `cli:` and their login name.
fn who() -> String {
    let name = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|key| std::env::var(key).ok());
    let name: String = name
        .unwrap_or_default()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || "-_.@".contains(*letter))
        .take(WHO_CHARS_MAX)
        .collect();
    if name.is_empty() { "cli".to_owned() } else { format!("cli:{name}") }
}

/// What holds after a change, in a line.
fn in_force(done: &Done) -> String {
    let Done { version, is_change, is_rung, .. } = done;
    match (is_change, is_rung) {
        (false, _) => format!("nothing changed; version {version} of the rules holds\n"),
        (true, true) => format!("version {version} of the rules holds from the next decision on\n"),
        (true, false) => {
            format!(
                "version {version} of the rules holds; the workers were not woken, and see it at their next sweep\n"
            )
        }
    }
}

/// A change for scripts: what it became and the version that holds.
fn changed_json(done: &Done) -> String {
    json(&serde_json::json!({ "changed": done.is_change, "version": done.version, "shown": done.shown }))
}

fn json(value: &Value) -> String {
    // A value has no form that cannot be printed.
    serde_json::to_string_pretty(value).map(|text| text + "\n").unwrap_or_default()
}

/// A value of a shown object as people read it: nothing is a dash.
fn field(shown: &Value, key: &str) -> String {
    match &shown[key] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().filter(|letter| !letter.is_control()).collect(),
        other => other.to_string(),
    }
}
