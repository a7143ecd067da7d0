//! Rings the worker after a commit, off the path of the answers.

use std::{sync::Arc, time::SystemTime};

use sebastian_core::{AccountId, chain};
use sebastian_roster::{Doorbell, WakeReason, WakeUp};
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{debug, info, warn};

use crate::{metrics, outage::Outage, runtime::MainRuntime};

/// One ring of each reason may wait while another is under way. A ring that finds both places taken is not needed:
/// those that wait have not begun, so they come after the commit it speaks of.
const WAITING_MAX: usize = 2;

/// Rings one account's doorbell from a task of its own: a slow or broken doorbell delays no webhook.
pub(crate) struct Bell {
    queue: mpsc::Sender<WakeReason>,
    ringer: JoinHandle<()>,
}

impl Bell {
    pub fn start(doorbell: Arc<dyn Doorbell>, account: AccountId, runtime: &MainRuntime) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let ringer = runtime.spawn(ring_all(doorbell, account, waiting));
        Self { queue, ringer }
    }

    /// Sees to a ring that begins after this call. Never waits.
    pub fn ring(&self, reason: WakeReason) {
        if let Err(error) = self.queue.try_send(reason) {
            debug!(reason = reason.as_str(), "no ring of its own: {error}");
        }
    }

    /// Waits for the last ring.
    pub async fn close(self) {
        drop(self.queue);
        if let Err(error) = self.ringer.await {
            warn!(error = %chain(&error), "the ringer ended early; the sweep finds what it did not ring for");
        }
    }
}

async fn ring_all(doorbell: Arc<dyn Doorbell>, account: AccountId, mut waiting: mpsc::Receiver<WakeReason>) {
    let mut outage = Outage::default();
    while let Some(reason) = waiting.recv().await {
        let wake = WakeUp { account, reason, rung_at: SystemTime::now().into() };
        let rung = doorbell.ring(wake).await;
        let result = if rung.is_ok() { "ok" } else { "failed" };
        ::metrics::counter!(metrics::RINGS, "result" => result).increment(1);
        match rung {
            Ok(()) => {
                if let Some(failures) = outage.ended() {
                    info!(failures, "the doorbell rings again");
                }
            }
            Err(error) => {
                if let Some(failures) = outage.failed() {
                    warn!(error = %chain(&error), failures, "the doorbell fails; chats wait for the sweep instead");
                }
            }
        }
    }
}
