//! Why the program ends without having done what it was asked, and with which exit code.

use std::{error::Error, io, net::SocketAddr};

use metrics_exporter_prometheus::BuildError;
use sebastian_core::NoRoster;
use sebastian_courier::CourierError;
use sebastian_ingest::{NotDone, NotExplained, SetWebhookError};
use sebastian_store::StoreError;
use sebastian_worker::WorkerError;

use crate::config::{Problem, Problems};

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings have to be changed first.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The ledger refused, or for a command did not answer.
    #[error("the ledger cannot be used")]
    Ledger(#[from] StoreError),
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
    /// Metrics could not be set up.
    #[error("metrics cannot be collected")]
    Metrics(#[from] BuildError),
    /// The system would not let us hear signals.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

impl Failure {
    /// 2 when settings, the command or the ledger's schema have to be changed, so that supervisors can tell it from what a restart may
    /// cure; else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let needs_a_hand =
            matches!(self, Self::Settings(_) | Self::Usage(_) | Self::Ledger(StoreError::Schema { .. }));
        if needs_a_hand { 2 } else { 1 }
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

/// An error with everything below it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let below = std::iter::successors(error.source(), |error| (**error).source());
    below.fold(error.to_string(), |text, error| format!("{text}: {error}"))
}
