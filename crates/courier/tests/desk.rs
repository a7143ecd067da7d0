//! A ledger in memory, events in it, and couriers that deliver them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sebastian_core::{
    AccountId, Agent, AgentId, Answers, EventKind, Hints, InboxId, NewEvent, NoticeKind, Policy, Presence,
    Role, RoomId, Roster, Settlement, Source, Timestamp, Timing, Verdict, decide,
};
use sebastian_courier::{Courier, CourierError, CourierSettings, Guard, Queue};
use sebastian_roster::{InProcessRosterCache, RosterCache};
use sebastian_store::{
    Attempt, DeadLetter, Decide, MemoryStore, NewSubscription, Outbox, Reservation, Store, Subscription,
    SubscriptionId,
};
use sebastian_testkit::eventually;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::receiver::Receiver;

/// Longer than anything here takes, by far: only a failing test waits for it.
pub const SOON: Duration = Duration::from_secs(30);
pub const SALES: InboxId = InboxId(7);
pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// A claim has run out by then.
pub const LEASED_OUT: Duration = Duration::from_secs(121);

const DAWN: i64 = 1_700_000_000_000;

pub struct Desk {
    pub store: Arc<MemoryStore>,
    pub cache: Arc<InProcessRosterCache>,
    pub account: AccountId,
    pub policy: Policy,
    time: Arc<AtomicI64>,
}

impl Desk {
    pub async fn open() -> Self {
        let time = Arc::new(AtomicI64::new(DAWN));
        let clock = time.clone();
        let now = move || Timestamp::from_millis(clock.load(Ordering::SeqCst));
        let store = Arc::new(MemoryStore::with_clock(Timing::default(), now));
        let account = store.open_account("qiscus", "test").await.unwrap();
        Self { store, cache: Arc::default(), account, policy: Policy::default(), time }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.load(Ordering::SeqCst))
    }

    pub fn pass(&self, span: Duration) {
        let ms = i64::try_from(span.as_millis()).unwrap();
        self.time.fetch_add(ms, Ordering::SeqCst);
    }

    pub async fn subscribe(&self, url: String, events: &[NoticeKind]) -> Subscription {
        let events = events.iter().copied().collect();
        let wanted = NewSubscription { url, events, secret: SECRET.into() };
        self.store.subscribe(self.account, wanted).await.unwrap().unwrap()
    }

    pub async fn subscribe_to_all(&self, receiver: &Receiver) -> Subscription {
        self.subscribe(receiver.url(), &NoticeKind::ALL).await
    }

    pub async fn subscription(&self, id: SubscriptionId) -> Subscription {
        self.store.subscription(self.account, id).await.unwrap().unwrap()
    }

    pub async fn dead_letters(&self, id: SubscriptionId) -> Vec<DeadLetter> {
        self.store.dead_letters(self.account, id, None, 100).await.unwrap()
    }

    /// Waits until nothing is due any more.
    pub async fn await_nothing_due(&self) {
        eventually("an empty outbox", SOON, || async {
            let due = self.store.due(self.account).await.unwrap();
            if due.is_empty() { Ok(()) } else { Err(due) }
        })
        .await;
    }

    pub async fn arrive(&self, room: &str) {
        let kind = EventKind::Allocate { inbox: Some(SALES), latest_service: None, hints: Hints::default() };
        let room = RoomId::parse(room).unwrap();
        self.store.accept(self.account, &[NewEvent { room, kind, source: Source::Webhook }]).await.unwrap();
    }

    pub async fn reserve(&self, agents: i64) -> Vec<Reservation> {
        let request = Decide {
            account: self.account,
            roster: Arc::new(self.roster(agents)),
            answers: Arc::new(Answers::default()),
            policy: &self.policy,
            limit: u32::MAX,
            record: false,
        };
        let rule = |snapshot: &_, now| decide(snapshot, &self.policy, now);
        self.store.decide(&request, &rule).await.unwrap().reserved
    }

    pub async fn confirm(&self, reserved: &[Reservation]) {
        let attempts: Vec<Attempt> = reserved.iter().map(|one| one.attempt).collect();
        assert_eq!(self.store.confirm(self.account, &attempts).await.unwrap().len(), attempts.len());
    }

    /// A conversation arrives in `room` and is assigned.
    pub async fn assign(&self, room: &str) {
        self.arrive(room).await;
        let reserved = self.reserve(1).await;
        assert_eq!(reserved.len(), 1);
        self.confirm(&reserved).await;
    }

    /// The platform refuses the agent of a reservation.
    pub async fn refuse(&self, reserved: &Reservation) {
        let Attempt { conversation, number } = reserved.attempt;
        let verdict = Verdict::Released { refused: true };
        let settlement = Settlement { conversation, attempt: number, verdict };
        self.store.settle(self.account, &[settlement]).await.unwrap();
    }

    /// Agents 1 to `agents`, online in [`SALES`].
    pub fn roster(&self, agents: i64) -> Roster {
        Roster::new(1, self.now(), (1..=agents).map(agent).collect())
    }

    pub async fn publish(&self, version: u64, agents: Vec<Agent>) {
        self.cache.publish(self.account, &Roster::new(version, self.now(), agents)).await.unwrap();
    }

    pub fn courier(&self) -> Running {
        self.courier_with("courier", Guard::new(true), Queue::InProcess)
    }

    pub fn courier_with(&self, name: &str, guard: Guard, queue: Queue) -> Running {
        self.courier_of_patience(name, guard, queue, Duration::from_secs(1))
    }

    pub fn courier_of_patience(&self, name: &str, guard: Guard, queue: Queue, patience: Duration) -> Running {
        let courier = Courier {
            account: self.account,
            outbox: self.store.clone(),
            store: self.store.clone(),
            cache: self.cache.clone(),
            policy: self.policy.clone(),
            queue,
            settings: CourierSettings {
                name: name.to_owned(),
                guard,
                sweep: Duration::from_millis(10),
                patience,
                waiting_too_long: Duration::from_secs(300),
                retention: Duration::from_secs(86_400),
                grace: Duration::from_secs(5),
            },
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(courier.run(stop.clone()));
        Running { task, stop }
    }
}

pub fn agent(id: i64) -> Agent {
    Agent {
        id: AgentId(id),
        name: String::new(),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        inboxes: Some(vec![SALES]),
        reported_load: Some(0),
        listed: false,
        online_since: None,
    }
}

/// A courier at work; dies when dropped.
pub struct Running {
    task: JoinHandle<Result<(), CourierError>>,
    stop: CancellationToken,
}

impl Running {
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Ends as a process does that is killed: nothing is settled any more.
    pub fn kill(self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}
