//! Ctrl-C, SIGTERM and a terminal that is closed: the first asks, the second insists.

use std::{fs, path::Path};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::live;
use crate::failure::Failure;

/// What shells report of a program ended by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Whether somebody wants us to stop.
pub(crate) struct Interrupts(CancellationToken);

impl Interrupts {
    /// Listens from now on. Whoever insists has `folder` removed all the same.
    pub fn listen(folder: Option<&Path>) -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::Signals);
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let folder = folder.map(Path::to_owned);
        let first = CancellationToken::new();
        let heard = first.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if heard.is_cancelled() {
                    live::give_back();
                    // Nobody is left to be told of a folder that stays.
                    let _removed = folder.as_ref().map(fs::remove_dir_all);
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
