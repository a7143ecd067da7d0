//! The port to the ledger.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use sebastian_core::{
    AccountId, Adopted, AgentId, AgentLoad, Answers, Astray, Conversation, ConversationId, Decision, InboxId,
    Listing, NewEvent, Policy, RateWindow, RoomId, Roster, Rulebook, Seen, Settled, Settlement, Snapshot,
    Timestamp,
};
use serde::Serialize;

/// Most events folded in one transaction: keeps the account's lock short under a flood.
pub(crate) const FOLD_EVENTS_MAX: usize = 500;

/// Heads read of each queue beyond the free slots, so that a few that nobody free may take hide none behind them.
pub(crate) const SPARE_HEADS: usize = 8;

/// Most heads read of a queue when nobody may be given those in front: what lies deeper waits until these are gone. Keeps
/// a round to milliseconds.
pub(crate) const HEADS_MAX: usize = 4_096;

/// Conversations put into another place in one transaction after a change of the rules, or when their time has come: keeps
/// the account's lock to a fraction of a second, however many wait.
pub(crate) const MOVED_MAX: usize = 2_000;

/// How long changes of the rulebook stay in the audit, whatever else is kept: long enough to be asked about at the end of
/// a year.
pub const AUDIT_KEPT: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Chooses over a snapshot at a time; `sebastian_core::decide` with its policy bound.
pub type DecideRule<'a> = &'a (dyn Fn(&Snapshot, Timestamp) -> Vec<Decision> + Send + Sync);

/// The ledger of accepted events, conversations and loads.
///
/// Every call is short, bounded in time, and never spans a network call to a platform. Calls that
/// change an agent's load or the order of things hold the account's lock; [`accept`](Store::accept) and
/// [`confirm`](Store::confirm) do not, so neither webhooks nor answers ever wait for a decision.
#[async_trait]
pub trait Store: Send + Sync {
    /// Whether the ledger answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The ledger's clock: the only one compared with stored times.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// The account of this platform tenant; created when first asked for.
    async fn open_account(&self, platform: &str, tenant: &str) -> Result<AccountId, StoreError>;

    /// Appends events, in order, in one transaction. They are durable when this returns. Calls of one process are stored in
    /// the order in which they were first polled.
    async fn accept(&self, account: AccountId, events: &[NewEvent]) -> Result<(), StoreError>;

    /// Folds accepted events into conversations, shows `rule` the result, and takes the slots it chose: one
    /// transaction under the account's lock.
    async fn decide(&self, request: &Decide<'_>, rule: DecideRule<'_>) -> Result<Decided, StoreError>;

    /// Turns reservations into assignments, without the account's lock. Returns those that were; for the rest (the
    /// session ended meanwhile, or a later attempt took over) call [`settle`](Store::settle).
    async fn confirm(&self, account: AccountId, attempts: &[Attempt]) -> Result<Vec<Attempt>, StoreError>;

    /// Ends attempts. One answer per settlement, in order.
    async fn settle(
        &self,
        account: AccountId,
        settlements: &[Settlement],
    ) -> Result<Vec<Settled>, StoreError>;

    /// Takes over up to `limit` reservations past their deadline: each gets a new attempt, which fences the old
    /// one off, and a new deadline. No slot moves.
    async fn take_over(&self, account: AccountId, limit: u32) -> Result<Vec<Reservation>, StoreError>;

    /// Claims up to `limit` assigned conversations whose room is due to be read back. A claim lasts for the
    /// settle window; then they are due again.
    async fn claim_suspects(&self, account: AccountId, limit: u32) -> Result<Vec<Suspect>, StoreError>;

    /// Applies the read-back of a conversation's room.
    async fn verified(
        &self,
        account: AccountId,
        id: ConversationId,
        seen: Seen,
        asked_at: Timestamp,
    ) -> Result<Settled, StoreError>;

    /// Puts assigned conversations back to their places: each, while this agent still serves it, and as often as
    /// [`Rooms::put_back_stray`](sebastian_core::Rooms::put_back_stray) lets it. Returns how many.
    async fn put_back(
        &self,
        account: AccountId,
        strays: &[(ConversationId, AgentId, Astray)],
    ) -> Result<u32, StoreError>;

    /// Brings the ledger in step with the rooms the platform lists for an agent.
    async fn adopt(&self, account: AccountId, listing: &Listing) -> Result<Adopted, StoreError>;

    /// Moves an assigned conversation from one agent to another. False when the ledger has moved on.
    async fn transfer(
        &self,
        account: AccountId,
        room: &RoomId,
        from: AgentId,
        to: AgentId,
    ) -> Result<bool, StoreError>;

    /// Those of `rooms` that have no unresolved conversation, no event still to be folded, and none closed
    /// within the settle window.
    async fn unknown_rooms(&self, account: AccountId, rooms: &[RoomId]) -> Result<Vec<RoomId>, StoreError>;

    /// What the ledger knows of every agent's work. `closed_recently` counts since the settle window before
    /// `polled_at`.
    async fn loads(
        &self,
        account: AccountId,
        polled_at: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentLoad>, StoreError>;

    /// Everything a decision looks at in the ledger beside the queues; for explanations. Counts by inbox and windows are
    /// only read where the rules go by them.
    async fn facts(
        &self,
        account: AccountId,
        polled_at: Timestamp,
        policy: &Policy,
    ) -> Result<Facts, StoreError>;

    /// The account's rulebook, newest version.
    async fn rulebook(&self, account: AccountId) -> Result<Arc<Rulebook>, StoreError>;

    /// A version of the rulebook, unless it was purged.
    async fn rulebook_at(
        &self,
        account: AccountId,
        version: u64,
    ) -> Result<Option<Arc<Rulebook>>, StoreError>;

    /// Shows `change` the newest rulebook and, when it returns entries, makes what it left there the next version and
    /// writes the entries down as done by `who`: one transaction, one change of an account at a time. Entries about
    /// something else, which leave the rulebook as it was, make no version. Without entries nothing is changed. Returns
    /// the newest version.
    async fn amend(
        &self,
        account: AccountId,
        who: &str,
        change: Amendment<'_>,
    ) -> Result<Arc<Rulebook>, StoreError>;

    /// Changes of the rulebook, newest first, at most `limit`; those before `before`, when given.
    async fn audit(
        &self,
        account: AccountId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audited>, StoreError>;

    /// How conversation `id` was decided, oldest first, at most `limit` of the newest.
    async fn decisions(
        &self,
        account: AccountId,
        id: ConversationId,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError>;

    /// How many conversations stand where.
    async fn counts(&self, account: AccountId) -> Result<Counts, StoreError>;

    /// The newest conversation of `room`, whatever its state.
    async fn latest_in(&self, account: AccountId, room: &RoomId) -> Result<Option<Conversation>, StoreError>;

    /// At most `limit` conversations, for people who ask: those still to be resolved by place in line, then id; the
    /// resolved by when they closed, newest first. Reads no more of a queue than its first `limit`, and takes no lock.
    async fn list(&self, account: AccountId, selection: &Selection, limit: u32) -> Result<Page, StoreError>;

    /// Positions of conversations in the order of their first reservations, at most `limit`: what the check for
    /// first come, first served reads.
    async fn first_reservations(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<sebastian_core::Seq>, StoreError>;

    /// Stops decisions of an account for at least `span`. The first pause of a row of failures counts as a new
    /// failure; those that come while paused only extend it.
    async fn pause(&self, account: AccountId, span: Duration, reason: PauseReason) -> Result<(), StoreError>;

    /// Ends probation: the platform accepted a call again. A pause that stands is kept: it may be another worker's.
    async fn resume(&self, account: AccountId) -> Result<(), StoreError>;

    /// Takes or renews the lease `name` for `holder`. False when somebody else holds it.
    async fn lease(&self, name: &str, holder: &str, span: Duration) -> Result<bool, StoreError>;

    /// Gives a lease up, if `holder` has it.
    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError>;

    /// Deletes up to `limit` folded events, resolved conversations and closed sessions (each) older than `keep.ledger`,
    /// recorded decisions older than `keep.decisions` with the rosters and versions of the rulebook only they name, and
    /// changes in the audit older than [`AUDIT_KEPT`]. Returns how many rows went.
    async fn purge(&self, account: AccountId, keep: Keep, limit: u32) -> Result<u64, StoreError>;
}

/// Changes a rulebook and says what it changed.
pub type Amendment<'a> = &'a mut (dyn FnMut(&mut Rulebook, Timestamp) -> Vec<AuditEntry> + Send);

/// What was changed in a rulebook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// What was done (`create`, `update`, `delete`, `link`, `pause`).
    pub action: &'static str,
    /// To what (`assignment_policy`, `team`).
    pub resource: &'static str,
    /// To which, as the API names it.
    pub id: String,
    /// As it was.
    pub before: Option<serde_json::Value>,
    /// As it is.
    pub after: Option<serde_json::Value>,
}

/// A change of the rulebook as written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// Its number; later is larger.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who; the name of the token they came with.
    pub who: String,
    /// The version it made.
    pub version: u64,
    /// What was done (`create`).
    pub action: String,
    /// To what (`assignment_policy`).
    pub resource: String,
    /// To which.
    pub resource_id: String,
    /// As it was.
    pub before: Option<serde_json::Value>,
    /// As it is.
    pub after: Option<serde_json::Value>,
}

/// What a decision looks at in the ledger beside the queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// See [`Snapshot::loads`].
    pub loads: BTreeMap<AgentId, AgentLoad>,
    /// See [`Snapshot::inbox_loads`].
    pub inbox_loads: BTreeMap<(Option<InboxId>, AgentId), u32>,
    /// See [`Snapshot::windows`].
    pub windows: BTreeMap<(Option<InboxId>, AgentId), RateWindow>,
    /// What operators have set.
    pub rules: Arc<Rulebook>,
}

/// A reservation and everything it was decided by. Deciding over `snapshot` again chooses the same agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which attempt.
    pub attempt: u32,
    /// Whom it was given to.
    pub agent: AgentId,
    /// When.
    pub at: Timestamp,
    /// How long it had waited.
    pub waited: Duration,
    /// What was seen, without the agents' names.
    pub snapshot: Snapshot,
    /// What held where the rulebook said nothing.
    pub policy: Policy,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Events, resolved conversations and closed sessions.
    pub ledger: Duration,
    /// Recorded decisions. Zero: none are recorded.
    pub decisions: Duration,
}

/// What a decision is made with, beside the ledger.
#[derive(Debug, Clone)]
pub struct Decide<'a> {
    /// Whose conversations.
    pub account: AccountId,
    /// The agents.
    pub roster: Arc<Roster>,
    /// The platform's answers for single rooms.
    pub answers: Arc<Answers>,
    /// What holds where the rulebook says nothing; what else happens to the account's conversations goes by it from now on.
    pub policy: &'a Policy,
    /// Most conversations to give out.
    pub limit: u32,
    /// Whether to record what was decided and why.
    pub record: bool,
}

/// What a decision did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// Slots taken, in order; the platform is to be told of each.
    pub reserved: Vec<Reservation>,
    /// Rooms the platform should be asked about.
    pub ask: Vec<RoomId>,
    /// Events folded.
    pub folded: u32,
    /// There is more to do at once: the limit was reached, or events, conversations to be sorted or parks that are over were
    /// left.
    pub more: bool,
    /// Decisions are paused.
    pub pause: Option<Pause>,
    /// Failures in a row; above zero the account is on probation, and each worker tries one conversation at a time.
    pub failures: u32,
}

/// A slot taken for a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Which conversation, which attempt.
    pub attempt: Attempt,
    /// Where it is held.
    pub room: RoomId,
    /// Whose slot.
    pub agent: AgentId,
    /// When the conversation opened.
    pub opened_at: Timestamp,
    /// When the slot was taken or taken over.
    pub reserved_at: Timestamp,
    /// How often it was taken over since the slot was taken. Zero: fresh, and nothing has been sent yet.
    pub takeovers: u32,
    /// Whom the platform still shows in the room: the call puts `agent` in their place.
    pub replaces: Option<AgentId>,
}

/// One attempt for one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which attempt; only the latest may confirm.
    pub number: u32,
}

/// A conversation whose room is to be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Where it is held.
    pub room: RoomId,
    /// When it was claimed: the reading is of no earlier time.
    pub claimed_at: Timestamp,
}

/// How many conversations stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting in a queue.
    pub waiting: u64,
    /// Waiting and parked.
    pub parked: u64,
    /// Reserved or closing.
    pub reserved: u64,
    /// Reserved or closing past their deadline.
    pub overdue: u64,
    /// Assigned.
    pub assigned: u64,
    /// Accepted events not yet folded.
    pub unfolded: u64,
    /// When the oldest waiting conversation opened.
    pub oldest_waiting_at: Option<Timestamp>,
}

/// Which conversations to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that are not resolved.
    Unresolved,
    /// Waiting in a queue.
    Waiting,
    /// Waiting and parked.
    Parked,
    /// Reserved: the platform is being told.
    Reserved,
    /// Resolved while the platform was being told.
    Closing,
    /// Assigned.
    Assigned,
    /// Resolved.
    Resolved,
    /// The newest of a room, whatever its state.
    NewestIn(RoomId),
}

/// Conversations, and what held for all of them when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// When this was read.
    pub now: Timestamp,
    /// Decisions are paused.
    pub pause: Option<Pause>,
    /// What was found, in order.
    pub conversations: Vec<Listed>,
}

/// A conversation and what is known of it beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The conversation.
    pub conversation: Conversation,
    /// Its place in its queue, the first being 1; of those that wait and are not parked.
    pub place: Option<u64>,
    /// Who serves it and since when; of a resolved one, who did to its end.
    pub served: Option<(AgentId, Timestamp)>,
}

/// Why decisions stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Until when.
    pub until: Timestamp,
    /// What for.
    pub reason: PauseReason,
}

/// What a platform did to make us pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PauseReason {
    /// Too many calls.
    Busy,
    /// Credentials or subscription not accepted: somebody must act.
    Denied,
}

impl PauseReason {
    /// The word rows, logs and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Denied => "denied",
        }
    }
}

/// Why the ledger did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, or no answer in time. Nothing is known of what was asked: safe to repeat.
    #[error("the ledger is not reachable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Others are at work on the same rows; repeat soon.
    #[error("the ledger is contended")]
    Contended(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema is not the one this program knows.
    #[error(
        "the ledger's schema is at version {found}, this program needs {needed}: run `sebastian migrate`"
    )]
    Schema {
        /// The newest migration applied; zero when none is.
        found: u32,
        /// The newest this program brings.
        needed: u32,
    },
    /// The ledger refused a statement, or a row does not read back: a bug, or a hand in the tables.
    #[error("the ledger refused or holds something unreadable: {0}")]
    Broken(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}
