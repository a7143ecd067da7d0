//! What the simulated platform applied and what it was asked: the facts tests compare our ledger with.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use sebastian_core::{AgentId, InboxId};

use super::Endpoint;

/// One change that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Place in the one order of all changes, from 0.
    pub seq: u64,
    /// When it took effect.
    pub at: Instant,
    /// The room it happened in.
    pub room: Arc<str>,
    /// The session it belongs to (`service.id`).
    pub service: i64,
    /// What happened.
    pub change: Change,
}

/// A kind of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A customer's first message of a session.
    Opened {
        /// The room's channel; `None` for a room first heard of in an API call.
        channel: Option<InboxId>,
    },
    /// An agent joined the room.
    Assigned {
        /// Who.
        agent: AgentId,
        /// Through which door.
        by: By,
        /// Open rooms the agent holds with this one: the truth, whatever any answer says.
        load: u32,
        /// Whether the agent was online and not forced offline at that moment.
        online: bool,
    },
    /// One agent took another's place.
    Transferred {
        /// Who left.
        from: AgentId,
        /// Who came.
        to: AgentId,
        /// Through which door.
        by: By,
    },
    /// An agent left the room without a successor.
    Removed {
        /// Who.
        agent: AgentId,
        /// Through which door.
        by: By,
    },
    /// The session ended.
    Resolved {
        /// Who clicked; often not the one who served.
        by: AgentId,
        /// Who was in the room, in the order they joined. Empty: the customer had still been waiting.
        served_by: Vec<AgentId>,
    },
}

/// The door a change came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// The HTTP API: in tests, us.
    Api,
    /// A person in the dashboard.
    Dashboard,
}

/// One API request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it arrived.
    pub at: Instant,
    /// When the answer was ready, or when it was decided that none will come.
    pub answered_at: Instant,
    /// What was asked.
    pub endpoint: Endpoint,
    /// The room it names.
    pub room: Option<Arc<str>>,
    /// The agent it names.
    pub agent: Option<AgentId>,
    /// The status sent; `None` when the answer was withheld.
    pub status: Option<u16>,
    /// Whether it changed anything.
    pub applied: bool,
    /// Whether a fault changed the answer, or whether it took effect.
    pub faulted: bool,
}

/// Requests kept: the last minutes of a heavy load test, at about 100 bytes each.
const REQUESTS_MAX: usize = 1_000_000;

/// Both records. Changes are never dropped, for they are the truth tests compare with: a simulation lives as
/// long as its test. Requests are kept up to [`REQUESTS_MAX`], oldest dropped first.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    applied: Vec<Applied>,
    requests: VecDeque<Request>,
}

impl Ledger {
    pub fn apply(&mut self, at: Instant, room: &Arc<str>, service: i64, change: Change) {
        let seq = self.applied.len() as u64;
        self.applied.push(Applied { seq, at, room: room.clone(), service, change });
    }

    pub fn record(&mut self, request: Request) {
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    pub fn applied(&self) -> &[Applied] {
        &self.applied
    }

    /// What was applied after `cutoff`, newest first.
    pub fn applied_since(&self, cutoff: Option<Instant>) -> impl Iterator<Item = &Applied> {
        self.applied.iter().rev().take_while(move |applied| cutoff.is_none_or(|cutoff| applied.at > cutoff))
    }

    pub fn requests(&self) -> &VecDeque<Request> {
        &self.requests
    }
}
