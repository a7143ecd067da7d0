//! Ctrl-C and SIGTERM: the first asks, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::live;
use crate::failure::Failure;

/// What shells report of a program ended by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Whether somebody wants us to stop.
pub(crate) struct Interrupts(CancellationToken);

impl Interrupts {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Failure> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Signals)?;
        let first = CancellationToken::new();
        let heard = first.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if heard.is_cancelled() {
                    live::give_back();
                    std::process::exit(INTERRUPTED.into());
                }
                heard.cancel();
            }
        });
        Ok(Self(first))
    }

    /// Waits for the first. The second ends the process at once.
    pub async fn first(&self) {
        self.0.cancelled().await;
    }
}
