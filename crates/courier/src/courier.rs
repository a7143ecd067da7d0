//! The rounds of a courier: what is due, to whom, and what became of it.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use metrics::{counter, histogram};
use sebastian_core::{AccountId, Policy, Timestamp, chain};
use sebastian_roster::RosterCache;
use sebastian_store::{
    Claimed, DisabledReason, Fate, Letter, Outbox, Store, StoreError, Subscription, SubscriptionId,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    Guard, Queue,
    metrics::{DELIVERIES_TOTAL, DELIVERY_SECONDS, DISABLED_TOTAL, LAG_SECONDS},
    queue,
    sender::{ATTEMPT_TIMEOUT, Answer, Sender},
    watch,
};

/// Waits between attempts: the schedule that the Standard Webhooks specification proposes, about three days in all.
const SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(5 * 60 * 60),
    Duration::from_secs(10 * 60 * 60),
    Duration::from_secs(14 * 60 * 60),
    Duration::from_secs(20 * 60 * 60),
    Duration::from_secs(24 * 60 * 60),
];

/// Letters claimed at once for one receiver.
const BATCH: u32 = 16;

/// Requests to one receiver at once.
const AT_ONCE: usize = 4;

/// Requests of this process at once. More than there are subscriptions, and a receiver that took nothing last time is
/// tried with one: however many hang, there is room for the others.
const REQUESTS_MAX: usize = 256;

/// A claim outlives everything a batch may take: its requests one after the other in each lane, with time to wait for
/// permits. What has not been begun by then is not sent any more. It bounds how late a letter comes whose courier died.
const LEASE: Duration = Duration::from_secs(120);

/// Brings events to their receivers.
pub struct Courier {
    /// Whose events.
    pub account: AccountId,
    /// Where letters stand.
    pub outbox: Arc<dyn Outbox>,
    /// The ledger: its clock, its leases, the rulebook.
    pub store: Arc<dyn Store>,
    /// Where the roster is shared.
    pub cache: Arc<dyn RosterCache>,
    /// What holds where the rulebook says nothing.
    pub policy: Policy,
    /// How couriers of several processes share the work.
    pub queue: Queue,
    /// How this courier goes about it.
    pub settings: CourierSettings,
}

/// How a courier goes about it.
#[derive(Debug, Clone)]
pub struct CourierSettings {
    /// Names this courier in leases; unique among all that run.
    pub name: String,
    /// Which addresses may be called.
    pub guard: Guard,
    /// How often to look for letters that are due, and for what nobody rings for.
    pub sweep: Duration,
    /// A letter due for longer was announced in vain: whoever finds it delivers it without the queue.
    pub patience: Duration,
    /// A conversation that waits for longer is told of.
    pub waiting_too_long: Duration,
    /// How long dead letters are kept.
    pub retention: Duration,
    /// How long deliveries under way may take after a stop.
    pub grace: Duration,
}

impl CourierSettings {
    /// Announcements are read several times a second; one that was not by then never is.
    pub const PATIENCE: Duration = Duration::from_secs(5);
}

/// Why a courier ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// TLS could not be set up.
    #[error("the sender of events could not be set up")]
    Sender(#[source] reqwest::Error),
    /// One of the loops ended, by a panic.
    #[error("a loop of the courier ended")]
    Loop,
}

impl Courier {
    /// Runs until `stop` is cancelled, then lets deliveries under way end within the grace. What does not end in time
    /// is delivered by another courier once the claim has run out.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CourierError> {
        let Self { account, outbox, store, cache, policy, queue, settings } = self;
        let sender = Sender::new(settings.guard).map_err(CourierError::Sender)?;
        let (grace, pace) = (settings.grace, (settings.sweep, settings.patience));
        let office = Arc::new(Office {
            account,
            outbox,
            sender,
            rounds: Mutex::default(),
            struck: Mutex::default(),
            permits: Semaphore::new(REQUESTS_MAX),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        });
        let watcher = watch::Watcher::new(store, cache, policy, settings.clone());
        let mut loops = JoinSet::new();
        loops.spawn(sweep(office.clone(), queue::Announcer::new(&queue, account), pace));
        loops.spawn(watch::run(office.clone(), watcher));
        loops.spawn(queue::listen(office.clone(), queue, settings.name));
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            _ = loops.join_next() => if stop.is_cancelled() { Ok(()) } else { Err(CourierError::Loop) },
        };
        loops.shutdown().await;
        office.stop.cancel();
        office.tasks.close();
        if tokio::time::timeout(grace, office.tasks.wait()).await.is_err() {
            warn!("deliveries did not end within the grace; they are repeated");
        }
        ended
    }
}

/// What the loops of a courier share.
pub(crate) struct Office {
    pub account: AccountId,
    pub outbox: Arc<dyn Outbox>,
    sender: Sender,
    /// Receivers that are being served, and whether to look again after.
    rounds: Mutex<HashMap<SubscriptionId, bool>>,
    /// Receivers that took nothing last time: they are tried with one letter.
    struck: Mutex<HashSet<SubscriptionId>>,
    permits: Semaphore,
    tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// Looks for what is due, and sees to it that somebody delivers it.
async fn sweep(
    office: Arc<Office>,
    mut announcer: queue::Announcer,
    (interval, patience): (Duration, Duration),
) {
    while office.wait(interval).await {
        let due = match office.outbox.due(office.account).await {
            Ok(due) => due,
            Err(error) => {
                debug!(error = %chain(&error), "letters could not be looked for");
                continue;
            }
        };
        if due.is_empty() {
            continue;
        }
        let announced = announcer.announce(due.iter().map(|(id, _)| *id)).await;
        for (id, _) in due.iter().filter(|(_, due_for)| !announced || *due_for > patience) {
            office.serve(*id);
        }
    }
}

impl Office {
    /// Waits, unless told to stop first. False when it was.
    pub async fn wait(&self, span: Duration) -> bool {
        self.stop.run_until_cancelled(tokio::time::sleep(span)).await.is_some()
    }

    fn rounds(&self) -> MutexGuard<'_, HashMap<SubscriptionId, bool>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn struck(&self) -> MutexGuard<'_, HashSet<SubscriptionId>> {
        self.struck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers what is due to a receiver, in a task of its own; at most one a receiver.
    pub fn serve(self: &Arc<Self>, id: SubscriptionId) {
        if self.stop.is_cancelled() {
            return;
        }
        if let Some(again) = self.rounds().get_mut(&id) {
            *again = true;
            return;
        }
        self.rounds().insert(id, false);
        let office = self.clone();
        self.tasks.spawn(async move {
            let _round = Round { office: office.clone(), id };
            while !office.stop.is_cancelled() {
                let more = match office.batch(id).await {
                    Ok(more) => more,
                    Err(error) => {
                        warn!(error = %chain(&error), subscription.id = %id, "letters could not be claimed or settled");
                        false
                    }
                };
                if !more && !office.looks_again(id) {
                    return;
                }
            }
        });
    }

    fn looks_again(&self, id: SubscriptionId) -> bool {
        self.rounds().get_mut(&id).is_some_and(std::mem::take)
    }

    /// Claims and delivers some letters. True when more may be due.
    async fn batch(&self, id: SubscriptionId) -> Result<bool, StoreError> {
        let limit = if self.struck().contains(&id) { 1 } else { BATCH };
        let until = Instant::now() + LEASE;
        let Some(claimed) = self.outbox.claim(self.account, id, limit, LEASE).await? else {
            return Ok(false);
        };
        if claimed.letters.is_empty() {
            return Ok(false);
        }
        let Claimed { subscription, letters, .. } = &claimed;
        let sending: Vec<_> =
            letters.iter().map(|letter| self.deliver(subscription, letter, until)).collect();
        let answers: Vec<Result<bool, StoreError>> =
            stream::iter(sending).buffer_unordered(AT_ONCE).collect().await;
        let mut taken = false;
        for answer in answers {
            taken |= answer?;
        }
        if taken {
            self.struck().remove(&id);
        } else {
            self.struck().insert(id);
        }
        Ok(taken)
    }

    /// Delivers one letter whose claim runs out at `until`, and writes down what became of it. True when it was taken.
    async fn deliver(&self, to: &Subscription, letter: &Letter, until: Instant) -> Result<bool, StoreError> {
        let Ok(_permit) = self.permits.acquire().await else { return Ok(false) };
        let began = Instant::now();
        // Another courier may have the letter by then, and those that come after it.
        if began + ATTEMPT_TIMEOUT > until {
            debug!(letter.id = %letter.claim.letter, "a claim runs out before its letter was sent; another takes it");
            return Ok(false);
        }
        let sending = self.sender.send(self.account, to, letter);
        let answer = tokio::time::timeout(ATTEMPT_TIMEOUT * 2, sending).await;
        let answer =
            answer.unwrap_or_else(|_| Answer::Refused { trouble: "no answer in time".into(), after: None });
        let kind = letter.notice.kind.as_str();
        let (fate, result, disables) = fate(to, letter, answer);
        histogram!(DELIVERY_SECONDS, "result" => result).record(began.elapsed());
        counter!(DELIVERIES_TOTAL, "event" => kind, "result" => result).increment(1);
        let taken = fate == Fate::Delivered;
        if taken {
            histogram!(LAG_SECONDS).record(Timestamp::from(SystemTime::now()).since(letter.notice.at));
        }
        if !self.outbox.settle_letter(self.account, &letter.claim, fate).await? {
            debug!(letter.id = %letter.claim.letter, "a claim had run out; the letter goes out twice");
        }
        if let Some(why) = disables {
            self.outbox.disable(self.account, to.id, why).await?;
            counter!(DISABLED_TOTAL, "reason" => why.as_str()).increment(1);
            info!(subscription.id = %to.id, reason = why.as_str(), "subscription {} is disabled", to.id);
        }
        Ok(taken)
    }
}

/// A receiver being served; dropping it, however the round ended, lets the next begin.
struct Round {
    office: Arc<Office>,
    id: SubscriptionId,
}

impl Drop for Round {
    fn drop(&mut self) {
        self.office.rounds().remove(&self.id);
    }
}

/// What becomes of a letter, the word for it, and whether its receiver is to be disabled.
fn fate(to: &Subscription, letter: &Letter, answer: Answer) -> (Fate, &'static str, Option<DisabledReason>) {
    match answer {
        Answer::Taken => (Fate::Delivered, "delivered", None),
        Answer::Gone => (Fate::Dead { trouble: "status 410".into() }, "gone", Some(DisabledReason::Gone)),
        Answer::Refused { trouble, after } => match SCHEDULE.get(letter.claim.attempt.max(1) as usize - 1) {
            Some(wait) => {
                let wait = jittered(*wait, letter).max(after.unwrap_or_default());
                (Fate::Later { after: wait, trouble }, "failed", None)
            }
            None => {
                let silent_since = to.delivered_at.is_none_or(|at| at < letter.notice.at);
                (Fate::Dead { trouble }, "dead", silent_since.then_some(DisabledReason::Failing))
            }
        },
    }
}

/// A wait made up to a fifth longer, by the letter, so that those that failed together are not tried together.
fn jittered(wait: Duration, letter: &Letter) -> Duration {
    let mut hasher = DefaultHasher::new();
    (&letter.claim.letter, letter.claim.attempt).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 1_000).unwrap_or(0);
    wait + wait / 5 * part / 1_000
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use sebastian_core::{InboxId, NoticeKind, QueueKey, Timing};
    use sebastian_store::{MemoryStore, NewSubscription};

    use super::*;

    #[tokio::test]
    async fn what_could_not_be_sent_while_its_claim_holds_is_not_sent() {
        let store = Arc::new(MemoryStore::new(Timing::default()));
        let account = store.open_account("qiscus", "test").await.unwrap();
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", receiver.local_addr().unwrap());
        let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned().into();
        let wanted = NewSubscription { url, events: [NoticeKind::NoAgents].into(), secret };
        let id = store.subscribe(account, wanted).await.unwrap().unwrap().id;
        let queue = QueueKey { inbox: Some(InboxId(7)), team: None };
        assert!(store.note_attendance(account, queue, true).await.unwrap());
        let Claimed { subscription, letters, .. } =
            store.claim(account, id, 1, LEASE).await.unwrap().unwrap();
        let office = Office {
            account,
            outbox: store,
            sender: Sender::new(Guard::new(true)).unwrap(),
            rounds: Mutex::default(),
            struck: Mutex::default(),
            permits: Semaphore::new(1),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };

        let until = Instant::now() + ATTEMPT_TIMEOUT - Duration::from_secs(1);
        assert!(!office.deliver(&subscription, &letters[0], until).await.unwrap());

        let nobody = receiver.accept().unwrap_err();
        assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    }
}
