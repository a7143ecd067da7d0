//! How a process is told to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What shells report of a program ended by Ctrl-C.
const EXIT_CODE_AT_ONCE: i32 = 130;

/// A token that the first SIGTERM or SIGINT cancels. The second ends the process at once, with code 130.
pub(crate) fn stop_on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        info!("stopping on {name}; another signal stops at once");
        told.cancel();
        let name = next(&mut terminate, &mut interrupt).await;
        warn!("stopped at once by {name}");
        std::process::exit(EXIT_CODE_AT_ONCE);
    });
    Ok(stop)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
