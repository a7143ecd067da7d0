//! The confirmer: many answers of the platform, one commit.
//!
//! The first to come waits a moment for others, then writes down what all of them bring; whoever comes meanwhile is next.
//! No customer waits for this, only a permit, so a thousand answers a second cost less than a hundred commits.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sebastian_store::{Attempt, StoreError};
use tokio::sync::{
    Mutex as Turns,
    oneshot::{self, error::TryRecvError},
};

/// Attempts in one commit: past this a larger one gains nothing, and locks its rows longer.
const BATCH_MAX: usize = 256;

/// How long to wait for others before a commit: a fraction of what the platform took for its answer.
const LINGER: Duration = Duration::from_millis(10);

/// Confirms attempts together.
#[derive(Default)]
pub(crate) struct Confirmer {
    waiting: Mutex<Vec<Waiting>>,
    /// Held from the wait for others to the end of the commit.
    turn: Turns<()>,
}

struct Waiting {
    attempt: Attempt,
    reply: oneshot::Sender<bool>,
}

#[derive(Debug, thiserror::Error)]
#[error("a commit shared with others failed")]
struct SharedCommitFailed;

impl Confirmer {
    /// Whether the reservation of `attempt` is an assignment now; false when it is not this attempt's any more. `commit`
    /// confirms many and returns those that were; it may be called for others, or not at all. An error tells nothing: ask
    /// again.
    pub async fn confirm<F>(
        &self,
        attempt: Attempt,
        commit: impl Fn(Vec<Attempt>) -> F,
    ) -> Result<bool, StoreError>
    where
        F: Future<Output = Result<Vec<Attempt>, StoreError>>,
    {
        let (reply, mut answer) = oneshot::channel();
        self.lock().push(Waiting { attempt, reply });
        loop {
            let _turn = tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(|_| failed()),
                turn = self.turn.lock() => turn,
            };
            // It may have been written between the two.
            match answer.try_recv() {
                Ok(confirmed) => return Ok(confirmed),
                Err(TryRecvError::Closed) => return Err(failed()),
                Err(TryRecvError::Empty) => {
                    tokio::time::sleep(LINGER).await;
                    self.commit_first(&commit).await?;
                }
            }
        }
    }

    /// Confirms those who came first. Their replies are dropped when that fails.
    async fn commit_first<F>(&self, commit: impl Fn(Vec<Attempt>) -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<Vec<Attempt>, StoreError>>,
    {
        let batch: Vec<Waiting> = {
            let mut waiting = self.lock();
            let most = waiting.len().min(BATCH_MAX);
            waiting.drain(..most).collect()
        };
        let confirmed = commit(batch.iter().map(|one| one.attempt).collect()).await?;
        for Waiting { attempt, reply } in batch {
            // Whoever asked may be gone; what is written stays written.
            reply.send(confirmed.contains(&attempt)).ok();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed() -> StoreError {
    StoreError::Unavailable(Box::new(SharedCommitFailed))
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use futures_util::{FutureExt, future::join_all};
    use sebastian_core::ConversationId;
    use tokio::sync::Semaphore;

    use super::*;

    fn attempt(n: usize) -> Attempt {
        Attempt { conversation: ConversationId(n as i64), number: 1 }
    }

    /// A ledger that remembers its commits and makes each wait for a permit. It confirms even conversations only.
    struct Ledger {
        commits: Mutex<Vec<usize>>,
        permits: Semaphore,
        fails: bool,
    }

    impl Ledger {
        fn new(permits: usize) -> Arc<Self> {
            Arc::new(Self { commits: Mutex::default(), permits: Semaphore::new(permits), fails: false })
        }

        async fn confirm(&self, attempts: Vec<Attempt>) -> Result<Vec<Attempt>, StoreError> {
            self.commits.lock().unwrap().push(attempts.len());
            self.permits.acquire().await.unwrap().forget();
            if self.fails {
                return Err(StoreError::Unavailable("the test says so".into()));
            }
            Ok(attempts.into_iter().filter(|attempt| attempt.conversation.0 % 2 == 0).collect())
        }

        fn commits(&self) -> Vec<usize> {
            self.commits.lock().unwrap().clone()
        }
    }

    /// So many ask, one after the other; each future is that caller's wait.
    fn ask<'a>(
        confirmer: &'a Confirmer,
        ledger: &'a Ledger,
        attempts: std::ops::Range<usize>,
    ) -> Vec<impl Future<Output = Result<bool, StoreError>> + 'a> {
        let mut waits: Vec<_> = attempts
            .map(|n| Box::pin(confirmer.confirm(attempt(n), |attempts| ledger.confirm(attempts))))
            .collect();
        waits.iter_mut().for_each(|wait| assert!(wait.now_or_never().is_none()));
        waits
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_come_together_share_a_commit_and_each_hears_of_its_own() {
        let (confirmer, ledger) = (Confirmer::default(), Ledger::new(0));
        let waits = ask(&confirmer, &ledger, 0..BATCH_MAX + 11);

        ledger.permits.add_permits(2);

        for (n, confirmed) in join_all(waits).await.into_iter().enumerate() {
            assert_eq!(confirmed.unwrap(), n % 2 == 0, "{n}");
        }
        assert_eq!(ledger.commits(), [BATCH_MAX, 11]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_commit_is_an_error_to_everybody_in_it_and_to_nobody_else() {
        let confirmer = Confirmer::default();
        let failing = Ledger { commits: Mutex::default(), permits: Semaphore::new(9), fails: true };
        let refused = join_all(ask(&confirmer, &failing, 0..3)).await;
        assert!(refused.iter().all(Result::is_err));

        let ledger = Ledger::new(9);
        assert!(join_all(ask(&confirmer, &ledger, 3..5)).await.iter().all(Result::is_ok));
        assert_eq!((failing.commits(), ledger.commits()), (vec![3], vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_in_the_middle_of_a_commit_leaves_the_next_its_turn() {
        let (confirmer, ledger) = (Confirmer::default(), Ledger::new(9));
        let gone = confirmer.confirm(attempt(0), |_| pending());
        assert!(tokio::time::timeout(2 * LINGER, gone).await.is_err());

        assert!(confirmer.confirm(attempt(2), |attempts| ledger.confirm(attempts)).await.unwrap());

        assert_eq!(ledger.commits(), [1]);
    }
}
