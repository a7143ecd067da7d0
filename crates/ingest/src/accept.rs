//! The accepter: many requests, one commit.
//!
//! One task takes whatever events have queued, stores them in one transaction and answers all who wait; while it
//! commits, the next batch follows and another gathers. So a burst costs few transactions, nobody waits for a timer, and
//! the order of the queue is the order in which events are stored.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesOrdered};
use sebastian_core::{AccountId, EventKind, NewEvent, chain};
use sebastian_roster::WakeReason;
use sebastian_store::{Store, StoreError};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{bell::Bell, metrics, outage::Outage, runtime::MainRuntime};

/// Events that may wait for a commit: a fifth of a second at 20,000/s and under 2 MB. A longer queue would only
/// answer later what should be refused now.
const QUEUE_MAX: usize = 4_096;

/// Events in one commit: past this a larger transaction gains nothing and only holds the accept lock longer.
const BATCH_MAX: usize = 512;

/// Commits asked for at once: while the ledger flushes one, the next is already there. More would only make them smaller.
const COMMITS_MAX: usize = 2;

/// Why an event was not accepted, as far as the caller knows; it may have been stored after all, and a repetition
/// does no harm. Every case is the sender's to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAccepted {
    /// More waits already than will be stored in time.
    #[error("too many events are waiting to be stored")]
    Full,
    /// The ledger did not commit.
    #[error("the ledger could not store the event")]
    Failed,
    /// No commit in time.
    #[error("the event was not stored in time")]
    TimedOut,
    /// The process is ending.
    #[error("the server is stopping")]
    Stopped,
}

/// Hands events to the accepting task. Clones feed the same one.
#[derive(Clone)]
pub(crate) struct Accepter {
    queue: mpsc::Sender<Waiting>,
    timeout: Duration,
}

struct Waiting {
    event: NewEvent,
    caller: Caller,
}

/// Who waits for an event, and the runtime where.
struct Caller {
    home: Handle,
    reply: oneshot::Sender<Result<(), NotAccepted>>,
}

impl Accepter {
    /// Starts the accepting task on `runtime`. When `drain` is cancelled it takes nothing more, stores what is
    /// queued, and ends. `timeout` bounds each caller's wait.
    pub fn start(
        store: Arc<dyn Store>,
        account: AccountId,
        bell: Bell,
        timeout: Duration,
        drain: CancellationToken,
        runtime: &MainRuntime,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let committer = Committer { store, account, bell, outage: Outage::default() };
        let task = runtime.spawn(committer.run(waiting, drain));
        (Self { queue, timeout }, task)
    }

    /// Returns once `event` is durable. Cancelling the wait does not take the event back: a sender that hung up
    /// may never repeat it.
    pub async fn accept(&self, event: NewEvent) -> Result<(), NotAccepted> {
        let (reply, answer) = oneshot::channel();
        let caller = Caller { home: Handle::current(), reply };
        self.queue.try_send(Waiting { event, caller }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotAccepted::Full,
            mpsc::error::TrySendError::Closed(_) => NotAccepted::Stopped,
        })?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(NotAccepted::Stopped),
            Err(_) => Err(NotAccepted::TimedOut),
        }
    }
}

struct Committer {
    store: Arc<dyn Store>,
    account: AccountId,
    bell: Bell,
    outage: Outage,
}

impl Committer {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>, drain: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut under_way = FuturesOrdered::new();
        loop {
            tokio::select! {
                Some(committed) = under_way.next() => self.finish(committed),
                // A closed queue still gives what is in it, then zero.
                () = drain.cancelled(), if !queue.is_closed() => queue.close(),
                taken = queue.recv_many(&mut batch, BATCH_MAX), if under_way.len() < COMMITS_MAX => {
                    if taken == 0 {
                        break;
                    }
                    under_way.push_back(commit(Arc::clone(&self.store), self.account, std::mem::take(&mut batch)));
                    ::metrics::gauge!(metrics::ACCEPT_QUEUE).set(queue.len() as f64);
                }
            }
        }
        while let Some(committed) = under_way.next().await {
            self.finish(committed);
        }
        self.bell.close().await;
    }

    fn finish(&mut self, Committed { events, callers, stored }: Committed) {
        let result = match stored {
            Ok(()) => {
                if let Some(failures) = self.outage.ended() {
                    info!(failures, "the ledger accepts events again");
                }
                Ok(())
            }
            Err(error) => {
                if let Some(failures) = self.outage.failed() {
                    error!(error = %chain(&error), failures, "the ledger accepts no events; webhooks are refused");
                }
                Err(NotAccepted::Failed)
            }
        };
        if result.is_ok() {
            self.ring(&events);
        }
        answer(callers, result);
    }

    fn ring(&self, events: &[NewEvent]) {
        let is_allocate = |event: &NewEvent| matches!(event.kind, EventKind::Allocate { .. });
        if events.iter().any(is_allocate) {
            self.bell.ring(WakeReason::Allocate);
        }
        if !events.iter().all(is_allocate) {
            self.bell.ring(WakeReason::Resolve);
        }
    }
}

/// A batch, and what became of it.
struct Committed {
    events: Vec<NewEvent>,
    callers: Vec<Caller>,
    stored: Result<(), StoreError>,
}

async fn commit(store: Arc<dyn Store>, account: AccountId, batch: Vec<Waiting>) -> Committed {
    let (events, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.event, one.caller)).unzip();
    let began = Instant::now();
    let stored = store.accept(account, &events).await;
    let label = if stored.is_ok() { "ok" } else { "failed" };
    ::metrics::histogram!(metrics::ACCEPT_COMMIT_SECONDS, "result" => label).record(began.elapsed());
    ::metrics::histogram!(metrics::ACCEPT_BATCH_SIZE).record(events.len() as f64);
    Committed { events, callers, stored }
}

/// Tells all callers of a batch. Each actix worker is a runtime of its own, and to wake one of its tasks from elsewhere
/// is a system call; so each runtime is woken once, for a task that tells its own callers.
fn answer(callers: Vec<Caller>, result: Result<(), NotAccepted>) {
    let mut homes: Vec<(Handle, Vec<oneshot::Sender<_>>)> = Vec::new();
    for Caller { home, reply } in callers {
        match homes.iter_mut().find(|(known, _)| known.id() == home.id()) {
            Some((_, replies)) => replies.push(reply),
            None => homes.push((home, vec![reply])),
        }
    }
    for (home, replies) in homes {
        home.spawn(async move {
            for reply in replies {
                // Whoever waited may have given up; what is stored stays stored.
                reply.send(result).ok();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join_all};
    use sebastian_core::{Hints, RoomId, Source};

    use super::*;
    use crate::doubles::{self, Bells, Fate, Ledger};

    const ACCOUNT: AccountId = AccountId(1);

    struct Desk {
        ledger: Arc<Ledger>,
        bells: Arc<Bells>,
        accepter: Accepter,
        drain: CancellationToken,
        task: JoinHandle<()>,
    }

    fn desk() -> Desk {
        desk_with(doubles::Bell::Rings)
    }

    fn desk_with(behaviour: doubles::Bell) -> Desk {
        let (ledger, bells) = (Arc::new(Ledger::new()), Arc::new(Bells::new(behaviour)));
        let (runtime, drain) = (MainRuntime::current(), CancellationToken::new());
        let bell = Bell::start(bells.clone(), ACCOUNT, &runtime);
        let timeout = Duration::from_secs(5);
        let (accepter, task) =
            Accepter::start(ledger.clone(), ACCOUNT, bell, timeout, drain.clone(), &runtime);
        Desk { ledger, bells, accepter, drain, task }
    }

    fn resolve(room: usize) -> NewEvent {
        let room = RoomId::parse(&room.to_string()).unwrap();
        NewEvent { room, kind: EventKind::Resolve { service: None }, source: Source::Webhook }
    }

    impl Desk {
        /// Queues events one after the other; each future is that caller's wait.
        fn queue(
            &self,
            rooms: std::ops::Range<usize>,
        ) -> Vec<impl Future<Output = Result<(), NotAccepted>> + use<'_>> {
            let mut waits: Vec<_> = rooms.map(|room| Box::pin(self.accepter.accept(resolve(room)))).collect();
            waits.iter_mut().for_each(|wait| assert_eq!(wait.now_or_never(), None));
            waits
        }
    }

    #[tokio::test]
    async fn events_that_gather_during_a_commit_share_the_next_one_in_their_order() {
        let desk = desk();
        desk.ledger.hold();
        let mut waits = desk.queue(0..1);
        desk.ledger.begun(1).await;
        waits.extend(desk.queue(1..700));

        desk.ledger.let_go();

        assert!(join_all(waits).await.iter().all(Result::is_ok));
        assert_eq!(desk.ledger.batches(), [1, BATCH_MAX, 699 - BATCH_MAX]);
        assert_eq!(desk.ledger.stored(), (0..700).map(resolve).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_batch_rings_once_for_each_reason() {
        let desk = desk();
        let kind = EventKind::Allocate { inbox: None, latest_service: None, hints: Hints::default() };
        let allocate = |room| NewEvent { kind: kind.clone(), ..resolve(room) };
        let events = [resolve(0), allocate(1), allocate(2), resolve(3)];

        let waits = events.map(|event| desk.accepter.accept(event));

        assert!(join_all(waits).await.iter().all(Result::is_ok));
        desk.drain.cancel();
        desk.task.await.unwrap();
        assert_eq!(desk.ledger.batches(), [4]);
        assert_eq!(desk.bells.rung(2).await, [WakeReason::Allocate, WakeReason::Resolve]);
    }

    #[tokio::test]
    async fn a_doorbell_that_fails_or_hangs_holds_nobody_up() {
        for behaviour in [doubles::Bell::Fails, doubles::Bell::Hangs] {
            let desk = desk_with(behaviour);
            for room in 0..10 {
                assert_eq!(desk.accepter.accept(resolve(room)).await, Ok(()));
            }
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_loses_nothing() {
        let desk = desk();
        desk.ledger.hold();
        let mut waits = desk.queue(0..1);
        desk.ledger.begun(1).await;
        waits.extend(desk.queue(1..QUEUE_MAX + 1));

        assert_eq!(desk.accepter.accept(resolve(QUEUE_MAX + 1)).await, Err(NotAccepted::Full));

        desk.ledger.let_go();
        assert!(join_all(waits).await.iter().all(Result::is_ok));
        assert_eq!(desk.ledger.stored().len(), QUEUE_MAX + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_in_time_and_its_event_is_stored_all_the_same() {
        let desk = desk();
        desk.ledger.hold();

        assert_eq!(desk.accepter.accept(resolve(0)).await, Err(NotAccepted::TimedOut));

        desk.ledger.let_go();
        desk.accepter.accept(resolve(1)).await.unwrap();
        assert_eq!(desk.ledger.stored(), [resolve(0), resolve(1)]);
    }

    #[tokio::test]
    async fn a_failed_commit_refuses_every_one_of_its_waiters_and_the_next_one_works() {
        let desk = desk();
        desk.ledger.set(Fate::Fails);
        let refused = join_all(desk.queue(0..10)).await;
        desk.ledger.set(Fate::Serves);
        let accepted = desk.accepter.accept(resolve(10)).await;

        assert_eq!((refused, accepted), (vec![Err(NotAccepted::Failed); 10], Ok(())));
        assert_eq!(desk.ledger.stored(), [resolve(10)]);
    }

    #[test]
    fn each_runtime_tells_its_own_callers_and_one_that_has_ended_holds_up_no_other() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (ended, one, other) = (runtime(), runtime(), runtime());
        let caller = |home: &Handle| {
            let (reply, answer) = oneshot::channel();
            (Caller { home: home.clone(), reply }, answer)
        };
        let homes = [&ended, &one, &other, &one].map(|runtime| runtime.handle().clone());
        let (callers, answers): (Vec<_>, Vec<_>) = homes.iter().map(caller).unzip();
        drop(ended);

        answer(callers, Ok(()));

        let [of_ended, first, of_other, last] = answers.try_into().unwrap();
        assert_eq!(one.block_on(async { (first.await, last.await) }), (Ok(Ok(())), Ok(Ok(()))));
        assert_eq!(other.block_on(of_other), Ok(Ok(())));
        assert!(one.block_on(of_ended).is_err());
    }

    #[tokio::test]
    async fn a_panic_in_a_commit_refuses_its_waiters_and_ends_the_task() {
        let desk = desk();
        desk.ledger.set(Fate::Panics);

        assert_eq!(join_all(desk.queue(0..3)).await, [Err(NotAccepted::Stopped); 3]);

        assert!(desk.task.await.unwrap_err().is_panic());
    }

    #[tokio::test]
    async fn a_drain_stores_what_is_queued_and_takes_nothing_more() {
        let desk = desk();
        desk.ledger.hold();
        let mut waits = desk.queue(0..1);
        desk.ledger.begun(1).await;
        waits.extend(desk.queue(1..50));

        desk.drain.cancel();
        desk.ledger.let_go();

        assert!(join_all(waits).await.iter().all(Result::is_ok));
        desk.task.await.unwrap();
        assert_eq!(desk.ledger.stored().len(), 50);
        assert_eq!(desk.accepter.accept(resolve(50)).await, Err(NotAccepted::Stopped));
    }
}
