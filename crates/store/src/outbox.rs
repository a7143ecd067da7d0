//! The port to the outbox: who is told of what, and what they are still to be told.
//!
//! A letter is one notice on its way to one subscription. It is written in the transaction of the change it tells of,
//! and deleted once its receiver took it. Delivering repeats until then, so a receiver may see a letter twice, under
//! the same id; letters about one conversation come in the order of what happened to it.

use std::{collections::BTreeSet, fmt, time::Duration};

use async_trait::async_trait;
use sebastian_core::{AccountId, Notice, NoticeKind, QueueKey, Timestamp};
use secrecy::SecretString;

use crate::StoreError;

/// Subscriptions of an account. An event is written once for each that wants it.
pub const SUBSCRIPTIONS_MAX: u32 = 100;

/// Letters that may wait for one subscription. A receiver further behind than this is given up, so that the outbox
/// cannot fill the disk.
pub const PENDING_MAX: u32 = 100_000;

/// The outbox of the ledger.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Every subscription of an account, oldest first.
    async fn subscriptions(&self, account: AccountId) -> Result<Vec<Subscription>, StoreError>;

    /// One of them.
    async fn subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Adds one. `None`: the account has [`SUBSCRIPTIONS_MAX`].
    async fn subscribe(
        &self,
        account: AccountId,
        wanted: NewSubscription,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Changes one. `None`: there is none of this number.
    async fn change_subscription(
        &self,
        account: AccountId,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Deletes one with its letters. False: there is none of this number.
    async fn unsubscribe(&self, account: AccountId, id: SubscriptionId) -> Result<bool, StoreError>;

    /// Sends nothing more to a subscription; its letters become dead letters.
    async fn disable(
        &self,
        account: AccountId,
        id: SubscriptionId,
        why: DisabledReason,
    ) -> Result<(), StoreError>;

    /// Letters that were given up, newest first, at most `limit`; those older than letter `before`, when given.
    async fn dead_letters(
        &self,
        account: AccountId,
        id: SubscriptionId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Puts a dead letter back in line, with all its attempts before it. False: there is no such dead letter.
    async fn redeliver(
        &self,
        account: AccountId,
        id: SubscriptionId,
        letter: &str,
    ) -> Result<bool, StoreError>;

    /// Subscriptions that have a letter due, and for how long the first has been.
    async fn due(&self, account: AccountId) -> Result<Vec<(SubscriptionId, Duration)>, StoreError>;

    /// Claims up to `limit` due letters of a subscription for the span of `lease`; then they are due again. Of one
    /// conversation only the first. `None`: there is no such subscription, or it is disabled.
    async fn claim(
        &self,
        account: AccountId,
        id: SubscriptionId,
        limit: u32,
        lease: Duration,
    ) -> Result<Option<Claimed>, StoreError>;

    /// Ends a claim. False: the claim had run out and somebody else has the letter.
    async fn settle_letter(&self, account: AccountId, claim: &Claim, fate: Fate) -> Result<bool, StoreError>;

    /// Tells whoever subscribed to it of at most `limit` conversations that have waited for longer than `span`, each
    /// once. Those put off do not count as waiting. Returns how many.
    async fn tell_waiting(&self, account: AccountId, span: Duration, limit: u32) -> Result<u32, StoreError>;

    /// Queues in which something waits, and those told to be unattended; none while nobody has subscribed to that.
    async fn queues(&self, account: AccountId) -> Result<Vec<WaitingQueue>, StoreError>;

    /// Notes that a queue is or is no longer unattended, and tells subscribers when it becomes so. False: it was noted
    /// already.
    async fn note_attendance(
        &self,
        account: AccountId,
        queue: QueueKey,
        unattended: bool,
    ) -> Result<bool, StoreError>;

    /// Deletes dead letters older than `keep`, and disables subscriptions with more than `pending_max` letters.
    /// Returns the subscriptions disabled.
    async fn tidy(
        &self,
        account: AccountId,
        keep: Duration,
        pending_max: u32,
    ) -> Result<Vec<SubscriptionId>, StoreError>;
}

/// A subscription, numbered by the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub i64);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A receiver of events.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Its number.
    pub id: SubscriptionId,
    /// Where letters go.
    pub url: String,
    /// What it is told of.
    pub events: BTreeSet<NoticeKind>,
    /// What letters are signed with.
    pub secret: SecretString,
    /// What they are signed with as well, and until when: after a rotation.
    pub previous: Option<(SecretString, Timestamp)>,
    /// Why nothing is sent; `None` while it is.
    pub disabled: Option<DisabledReason>,
    /// When a letter was last taken.
    pub delivered_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A receiver to add.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// Where letters go.
    pub url: String,
    /// What it is told of.
    pub events: BTreeSet<NoticeKind>,
    /// What letters are signed with.
    pub secret: SecretString,
}

/// What changes of a subscription; the rest stays.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionChange {
    /// Where letters go.
    pub url: Option<String>,
    /// What it is told of, from now on.
    pub events: Option<BTreeSet<NoticeKind>>,
    /// Whether anything is sent.
    pub enabled: Option<bool>,
    /// A new secret, and for how long the old one signs beside it.
    pub secret: Option<(SecretString, Duration)>,
}

/// Why nothing is sent to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisabledReason {
    /// An operator said so.
    Operator,
    /// The receiver said that it is gone.
    Gone,
    /// Nothing was taken for as long as a letter is tried.
    Failing,
    /// Too many letters wait for it.
    Behind,
}

impl DisabledReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Gone, Self::Failing, Self::Behind];

    /// The word rows and answers use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Gone => "gone",
            Self::Failing => "failing",
            Self::Behind => "behind",
        }
    }
}

/// Letters claimed for delivery.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// To whom.
    pub subscription: Subscription,
    /// When, by the ledger's clock.
    pub at: Timestamp,
    /// What, the longest due first.
    pub letters: Vec<Letter>,
}

/// A notice on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Which one, and which attempt.
    pub claim: Claim,
    /// What it tells.
    pub notice: Notice,
}

/// One claim of one letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The letter's id, the same at every attempt.
    pub letter: String,
    /// How often it was claimed, this time included; only the latest may settle it.
    pub attempt: u32,
}

/// What becomes of a letter after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was taken.
    Delivered,
    /// It was not, and is tried again after a while; letters about the same conversation wait for it.
    Later {
        /// How long.
        after: Duration,
        /// What went wrong.
        trouble: String,
    },
    /// It was not, and was tried often enough.
    Dead {
        /// What went wrong.
        trouble: String,
    },
}

/// A letter that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The letter's id.
    pub id: String,
    /// What it tells.
    pub notice: Notice,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub dead_at: Timestamp,
    /// What went wrong last.
    pub trouble: Option<String>,
}

/// A queue that may be unattended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingQueue {
    /// Which one.
    pub queue: QueueKey,
    /// Whether anything waits in it now.
    pub waiting: bool,
    /// Subscribers were told that nobody serves it.
    pub unattended: bool,
}
