//! Why the program ends without having done what it was asked, and with which exit code.

use std::{io, net::SocketAddr};

use metrics_exporter_prometheus::BuildError;
use sebastian_core::NoRoster;
use sebastian_courier::CourierError;
use sebastian_ingest::{NotDone, NotExplained, SetWebhookError};
use sebastian_store::{StoreError, backup::BackupError, moving::MoveError};
use sebastian_worker::WorkerError;

use crate::{
    compose::folder::FolderError,
    config::{Problem, Problems},
};

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings have to be changed first.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The ledger refused, or for a command did not answer.
    #[error("the ledger cannot be used")]
    Ledger(#[from] StoreError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The ledger was not copied, or not put back.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The ledger was not moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// There is nowhere to put the demo's ledger.
    #[error("no temporary folder can be made; with --memory the demo needs none")]
    Temporary(#[source] io::Error),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A server could not start, or broke.
    #[error("the {0} server failed")]
    Server(&'static str, #[source] io::Error),
    /// The worker broke down.
    #[error("the worker failed")]
    Worker(#[from] WorkerError),
    /// The courier broke down.
    #[error("the courier of events failed")]
    Courier(#[from] CourierError),
    /// A part of the process ended though nobody asked it to.
    #[error("the {0} ended without being asked to")]
    EndedEarly(&'static str),
    /// The platform did not take the webhooks.
    #[error("the webhooks are not, or not certainly, set; {}", .0.advice())]
    SetWebhook(#[from] SetWebhookError),
    /// Nothing can be said of a room.
    #[error(transparent)]
    Explain(#[from] NotExplained),
    /// What an operator asked for was not done.
    #[error(transparent)]
    Operate(#[from] NotDone),
    /// What an operator typed cannot be meant.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// Nobody can tell who the agents are.
    #[error("{}", match .0 {
        NoRoster::Missing => "there is no roster: a worker has to poll the platform first",
        NoRoster::Unreachable => "the roster cache does not answer, so who is there is unknown",
    })]
    NoRoster(NoRoster),
    /// The platform did not accept what a new desk was to be set up with.
    #[error("{found}; {mend}. Nothing was written")]
    NotAccepted {
        /// What the platform did.
        found: String,
        /// What to do about it.
        mend: String,
    },
    /// The person who was asked left.
    #[error("left: nothing was written and nothing set")]
    Left,
    /// The settings could not be written.
    #[error("{path} cannot be written")]
    Write {
        /// Where they were to go.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no random bytes to make secrets of.
    #[error("no secret can be made")]
    Random(#[from] getrandom::Error),
    /// A probe found the process not ready.
    #[error("{0}")]
    Unhealthy(String),
    /// Checks failed, each told already.
    #[error("{failed} of {of} checks failed")]
    Unwell {
        /// How many failed.
        failed: usize,
        /// How many there were.
        of: usize,
        /// The settings could not even be read.
        settings: bool,
    },
    /// Metrics could not be set up.
    #[error("metrics cannot be collected")]
    Metrics(#[from] BuildError),
    /// The system would not let us hear signals.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

impl Failure {
    /// 2 when settings, the command, the data folder or the ledger's schema have to be changed, so that supervisors can tell
    /// it from what a restart may cure; 130 when somebody left in the middle; else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_)
            | Self::Usage(_)
            | Self::Ledger(StoreError::Schema { .. })
            | Self::Unwell { settings: true, .. } => 2,
            Self::Folder(error) if !error.may_pass() => 2,
            Self::Left => 130,
            _ => 1,
        }
    }
}

/// What is wrong with a command's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Settings(problem.into())
    }
}
