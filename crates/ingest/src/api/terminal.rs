//! The API for an operator at a terminal: the same endpoints on the same ledger, without HTTP.

use std::{sync::Arc, time::SystemTime};

use sebastian_core::{
    EventKind, InboxId, NewEvent, Policy, PolicyId, RoomId, Roster, Rulebook, Source, Update, chain,
    rulebook::edit::{EditError, Paused},
};
use sebastian_roster::{Doorbell, RosterCache, WakeReason, WakeUp};
use sebastian_store::{Store, StoreError};
use serde_json::{Value, json};
use tracing::debug;

use super::{
    Change, RING_TIMEOUT, Read,
    call::{Call, Changed, Refusal, Reply},
    desk, policies,
};
use crate::Account;

/// An operator at a terminal.
pub struct Operator<'a> {
    /// The ledger.
    pub store: &'a dyn Store,
    /// Where the agents are looked up, to know whom and which inbox there is.
    pub cache: &'a dyn RosterCache,
    /// Rung after a change.
    pub doorbell: &'a dyn Doorbell,
    /// Whose rules.
    pub account: &'a Account,
    /// What holds where they say nothing.
    pub policy: &'a Policy,
    /// As the audit names them.
    pub who: String,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The rules cannot become so; in words.
    #[error("{0}")]
    Refused(String),
    /// The ledger gave no answer.
    #[error("the ledger does not answer")]
    Store(#[from] StoreError),
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// What it became, as the API shows it; null where nothing is left to show.
    pub shown: Value,
    /// The version of the rules that holds now.
    pub version: u64,
    /// Something was changed.
    pub is_change: bool,
    /// The workers were woken; otherwise their sweep finds it within a second.
    pub is_rung: bool,
}

impl From<Refusal> for NotDone {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(match refusal {
            Refusal::Edit(error @ EditError::Unknown { what, .. }) => {
                let command = match what {
                    "assignment policy" => "sebastian policies list",
                    "agent" => "sebastian agents",
                    _ => return Self::Refused(error.to_string()),
                };
                format!("{error}; `{command}` shows which there are")
            }
            Refusal::Edit(EditError::NotLinked) => "this inbox is linked to no policy".to_owned(),
            Refusal::Edit(error) => error.to_string(),
            Refusal::Unwrapped(_) => "nothing to set: name a field and its value".to_owned(),
        })
    }
}

impl Operator<'_> {
    /// All assignment policies.
    pub async fn policies(&self) -> Result<Value, NotDone> {
        self.read(&[], policies::list).await
    }

    /// One assignment policy and the inboxes linked to it.
    pub async fn policy(&self, id: PolicyId) -> Result<(Value, Value), NotDone> {
        Ok((self.read(&[id.0], policies::show).await?, self.read(&[id.0], policies::inboxes).await?))
    }

    /// Changes `fields` of a policy, or with no number makes one of them.
    pub async fn set_policy(&self, id: Option<PolicyId>, fields: Value) -> Result<Done, NotDone> {
        let body = json!({ "assignment_policy": fields });
        match id {
            Some(id) => self.change(&[id.0], &body, policies::update).await,
            None => self.change(&[], &body, policies::create).await,
        }
    }

    /// Links an inbox to a policy, in the place of whichever it was linked to.
    pub async fn link(&self, inbox: InboxId, policy: PolicyId) -> Result<Done, NotDone> {
        self.change(&[inbox.0], &json!({ "assignment_policy_id": policy }), policies::link).await
    }

    /// Takes its policy from an inbox.
    pub async fn unlink(&self, inbox: InboxId) -> Result<Done, NotDone> {
        self.change(&[inbox.0], &json!({}), policies::unlink).await
    }

    /// Gives something nothing for a while; `draft` as the API takes it.
    pub async fn pause(&self, what: Paused, draft: &Value) -> Result<Done, NotDone> {
        let (ids, change): (Vec<i64>, Change) = match what {
            Paused::Account => (Vec::new(), desk::pause_account),
            Paused::Inbox(inbox) => (vec![inbox.0], desk::pause_inbox),
            Paused::Agent(agent) => (vec![agent.0], desk::pause_agent),
        };
        self.change(&ids, draft, change).await
    }

    /// Ends a pause.
    pub async fn resume(&self, what: Paused) -> Result<Done, NotDone> {
        let (ids, change): (Vec<i64>, Change) = match what {
            Paused::Account => (Vec::new(), desk::resume_account),
            Paused::Inbox(inbox) => (vec![inbox.0], desk::resume_inbox),
            Paused::Agent(agent) => (vec![agent.0], desk::resume_agent),
        };
        self.change(&ids, &json!({}), change).await
    }

    /// Has conversations that sit out tried again at once. True when the workers were woken for it.
    pub async fn retry(&self, rooms: &[RoomId]) -> Result<bool, NotDone> {
        if rooms.is_empty() {
            return Ok(false);
        }
        let event = |room: &RoomId| NewEvent {
            room: room.clone(),
            kind: EventKind::Update(Update { retry: true, ..Update::default() }),
            source: Source::Operator,
        };
        let events: Vec<NewEvent> = rooms.iter().map(event).collect();
        self.store.accept(self.account.id, &events).await?;
        Ok(self.ring().await)
    }

    async fn read(&self, ids: &[i64], read: Read) -> Result<Value, NotDone> {
        let (roster, rules) = (self.roster().await, self.store.rulebook(self.account.id).await?);
        let now = self.store.now().await?;
        let body = Value::Null;
        let call = self.call(ids, &body, roster.as_deref(), now);
        Ok(read(&call, &rules)?.body.unwrap_or_default())
    }

    async fn change(&self, ids: &[i64], body: &Value, change: Change) -> Result<Done, NotDone> {
        let roster = self.roster().await;
        let mut done: Option<Result<Reply, Refusal>> = None;
        let mut is_change = false;
        let mut amendment = |rules: &mut Rulebook, now| {
            let changed = change(&self.call(ids, body, roster.as_deref(), now), rules);
            is_change = false;
            match changed {
                Ok(Changed { reply, entry }) => {
                    is_change = entry.is_some();
                    done = Some(Ok(reply));
                    entry.into_iter().collect()
                }
                Err(refusal) => {
                    done = Some(Err(refusal));
                    Vec::new()
                }
            }
        };
        let rules = self.store.amend(self.account.id, &self.who, &mut amendment).await?;
        let reply =
            done.ok_or_else(|| StoreError::Broken("nobody was shown the rules".to_owned(), None))??;
        let is_rung = is_change && self.ring().await;
        Ok(Done { shown: reply.body.unwrap_or_default(), version: rules.version, is_change, is_rung })
    }

    fn call<'b>(
        &'b self,
        ids: &'b [i64],
        body: &'b Value,
        roster: Option<&'b Roster>,
        now: sebastian_core::Timestamp,
    ) -> Call<'b> {
        Call { ids, body, query: &[], account: self.account, policy: self.policy, roster, now }
    }

    /// The agents as last published. Without them whatever is named is taken to be there.
    async fn roster(&self) -> Option<Arc<Roster>> {
        match self.cache.newer_than(self.account.id, 0).await {
            Ok(roster) => roster.map(Arc::new),
            Err(error) => {
                debug!(error = %chain(&error), "the roster cache gave no answer");
                None
            }
        }
    }

    async fn ring(&self) -> bool {
        let rung_at = SystemTime::now().into();
        let wake_up = WakeUp { account: self.account.id, reason: WakeReason::Rules, rung_at };
        match tokio::time::timeout(RING_TIMEOUT, self.doorbell.ring(wake_up)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                debug!(error = %chain(&error), "the doorbell fails");
                false
            }
            Err(_) => false,
        }
    }
}
