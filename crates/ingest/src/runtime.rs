//! Work that must not live in an actix worker.

use tokio::runtime::Handle;

/// The process's own runtime.
///
/// Each actix worker runs a runtime of its own, which ends with the worker; a connection that a pool opened there
/// would die with it, and be unusable from elsewhere. So whatever touches PostgreSQL, Redis or the platform is
/// sent to this one.
#[derive(Debug, Clone)]
pub struct MainRuntime(Handle);

/// The work panicked, or the process is ending.
#[derive(Debug, thiserror::Error)]
#[error("the work ended without a result")]
pub struct Ended(#[source] tokio::task::JoinError);

impl MainRuntime {
    /// The runtime this is called on. Panics outside tokio.
    #[must_use]
    pub fn current() -> Self {
        Self(Handle::current())
    }

    /// Runs `work` there and waits for it. Dropping the wait does not stop the work.
    pub async fn run<F>(&self, work: F) -> Result<F::Output, Ended>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(work).await.map_err(Ended)
    }

    /// Starts `work` there.
    pub(crate) fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(work)
    }
}
