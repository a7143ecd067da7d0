//! Who may be given a conversation, in which order, and how to choose: what holds where no rule says otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Agent, Presence, Role, Status, Timestamp};

/// What holds for an account where its [rulebook](crate::Rulebook) says nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Whose way of assigning is followed where they differ.
    pub preset: Preset,
    /// How to choose among eligible agents.
    pub strategy: Strategy,
    /// Which waiting conversation comes first.
    pub order: Order,
    /// Most open conversations an agent may hold. `None`: no limit.
    pub capacity: Option<u32>,
    /// Most conversations an agent is given of one inbox in a window. `None`: no limit.
    pub fair_distribution: Option<FairDistribution>,
    /// A conversation silent for longer is not dealt. `None`: however long.
    pub exclude_older_than: Option<Duration>,
    /// Roles that are dealt conversations.
    pub roles: Vec<Role>,
    /// Presences that are dealt conversations.
    pub presences: Vec<Presence>,
    /// Whether conversations without a team are dealt.
    pub deals_without_team: bool,
    /// What a conversation that is put off counts for.
    pub slots: SlotRule,
    /// Whether a conversation goes back to its place when its agent is deleted or leaves its inbox.
    pub reassigns_strays: bool,
    /// What becomes of a conversation whose agent goes offline.
    pub absence: AbsenceRule,
    /// A roster older than this assigns to nobody.
    pub staleness_max: Duration,
}

impl Policy {
    /// The policy of `preset`, with its deliberate differences from the original (see [`Preset`]).
    #[must_use]
    pub fn of(preset: Preset) -> Self {
        let hour = Duration::from_secs(60 * 60);
        let ours = Self {
            preset,
            strategy: Strategy::Balanced,
            order: Order::EarliestCreated,
            capacity: Some(3),
            fair_distribution: None,
            exclude_older_than: None,
            roles: vec![Role::Agent],
            presences: vec![Presence::Online],
            deals_without_team: true,
            slots: SlotRule { pending_holds: false, snoozed_holds: false },
            reassigns_strays: false,
            absence: AbsenceRule { reassign: ReassignOffline::Never, grace: Duration::from_secs(300) },
            staleness_max: Duration::from_secs(60),
        };
        match preset {
            Preset::Sebastian => ours,
            Preset::Chatwoot => Self {
                strategy: Strategy::RoundRobin,
                capacity: None,
                fair_distribution: Some(FairDistribution { limit: 5, window: Duration::from_secs(300) }),
                exclude_older_than: Some(168 * hour),
                roles: vec![Role::Agent, Role::Supervisor, Role::Admin],
                ..ours
            },
            Preset::Libredesk => Self {
                strategy: Strategy::RoundRobin,
                capacity: None,
                presences: vec![Presence::Online, Presence::Busy, Presence::Away, Presence::Offline],
                deals_without_team: false,
                reassigns_strays: true,
                ..ours
            },
            Preset::QiscusOriginal => Self { strategy: Strategy::FirstFit, ..ours },
        }
    }

    /// Whether an agent is at their desk and of a kind that is dealt conversations, membership and load apart.
    #[must_use]
    pub fn deals_to(&self, agent: &Agent) -> bool {
        self.roles.contains(&agent.role) && !agent.forced_offline && self.presences.contains(&agent.presence)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::of(Preset::Sebastian)
    }
}

/// Whose way of assigning is followed where products differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Ours: nobody over capacity, first come first served, spread by load.
    #[default]
    Sebastian,
    /// Chatwoot's Assignment v2. An inbox without a policy is limited to 5 conversations an agent in 5 minutes and to
    /// conversations active within a week; the round robin serves whoever was served longest ago; `balanced` counts
    /// the conversations of the inbox; labels and ages are excluded by the inbox's oldest capacity limit.
    ///
    /// Differs on purpose: a policy that is not enabled assigns nothing; a batch counts assignments, not rows read; a
    /// lost claim costs nobody a turn; what changes meanwhile is seen; every change that could free a conversation
    /// is acted on at once.
    Chatwoot,
    /// Libredesk's automatic assigner. Only conversations of a team are dealt; agents who are offline or idle are
    /// given some unless they set themselves away; the round robin starts in order of joining.
    ///
    /// Differs on purpose: only what waits is dealt; whoever is full neither pays nor gains a turn; a team switched
    /// to manual stops at once; turns survive a restart.
    Libredesk,
    /// The Go original for Qiscus: the first agent with room, in order of their numbers.
    ///
    /// Differs on purpose: customers who come back are served, and nobody is ever over capacity.
    QiscusOriginal,
}

/// Every preset, by the word operators use.
pub const PRESETS: &[(&str, Preset)] = &[
    ("sebastian", Preset::Sebastian),
    ("chatwoot", Preset::Chatwoot),
    ("libredesk", Preset::Libredesk),
    ("qiscus-original", Preset::QiscusOriginal),
];

/// How to choose among the agents who may be given a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Lowest load for its capacity; then fewest assignments per hour online; then longest since the last.
    Balanced,
    /// Smooth weighted round robin, one rotation a queue.
    RoundRobin,
    /// Fewest open conversations; then longest since the last.
    LeastLoaded,
    /// Longest since the last conversation was given; who never was comes first.
    LongestIdle,
    /// The lowest number.
    FirstFit,
    /// Any, by a seed: the same conversation and the same agents give the same choice.
    Random,
    /// Whom the platform proposes, within our limits.
    Platform,
}

/// Every strategy, by the word operators use.
pub const STRATEGIES: &[(&str, Strategy)] = &[
    ("balanced", Strategy::Balanced),
    ("round_robin", Strategy::RoundRobin),
    ("least_loaded", Strategy::LeastLoaded),
    ("longest_idle", Strategy::LongestIdle),
    ("first_fit", Strategy::FirstFit),
    ("random", Strategy::Random),
    ("platform", Strategy::Platform),
];

/// Which waiting conversation comes first. Ties go to the earlier accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// First come, first served.
    EarliestCreated,
    /// Longest without activity.
    LongestWaiting,
    /// By when it opened, moved forward by what its [priority](crate::Priority) is worth; so a low one is overtaken, but
    /// only by those that come soon after it.
    Priority,
}

/// Every order, by the word operators use.
pub const ORDERS: &[(&str, Order)] = &[
    ("earliest_created", Order::EarliestCreated),
    ("longest_waiting", Order::LongestWaiting),
    ("priority", Order::Priority),
];

/// Most conversations an agent is given of one inbox in a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FairDistribution {
    /// How many; at least one.
    pub limit: u32,
    /// In how long.
    pub window: Duration,
}

/// Whether an agent's conversation that is put off still takes up a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRule {
    /// While it is pending.
    pub pending_holds: bool,
    /// While it is snoozed.
    pub snoozed_holds: bool,
}

impl SlotRule {
    /// Whether a conversation of this status takes up a slot of its agent.
    #[must_use]
    pub fn holds(self, status: Status) -> bool {
        match status {
            Status::Open => true,
            Status::Pending => self.pending_holds,
            Status::Snoozed => self.snoozed_holds,
        }
    }
}

/// What becomes of an agent's conversations when they go offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsenceRule {
    /// Which of them go back to their places.
    pub reassign: ReassignOffline,
    /// How long the agent has to be offline first, in every roster of that time: who flaps loses nothing.
    pub grace: Duration,
}

/// Which conversations of an agent who is offline go to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReassignOffline {
    /// None.
    Never,
    /// Those whose customer wrote since the agent went.
    WaitingReply,
    /// All.
    After,
}

/// Every rule for absent agents, by the word operators use.
pub const REASSIGN_OFFLINE: &[(&str, ReassignOffline)] = &[
    ("never", ReassignOffline::Never),
    ("waiting_reply", ReassignOffline::WaitingReply),
    ("after", ReassignOffline::After),
];

impl AbsenceRule {
    /// Whether a conversation whose customer last wrote at `wrote_at` leaves an agent who is offline since `since`.
    #[must_use]
    pub fn moves(self, since: Timestamp, wrote_at: Timestamp, now: Timestamp) -> bool {
        now.since(since) >= self.grace
            && match self.reassign {
                ReassignOffline::Never => false,
                ReassignOffline::WaitingReply => wrote_at > since,
                ReassignOffline::After => true,
            }
    }
}

/// How long things take to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The platform's lists and counts may lag behind its writes by this much.
    pub settle_window: Duration,
    /// From taking a slot to the last moment a call for it may be sent.
    pub reservation: Duration,
    /// How long an agent the platform refused for a conversation is left out for it.
    pub refusal: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            settle_window: Duration::from_secs(10),
            reservation: Duration::from_secs(8),
            refusal: Duration::from_secs(300),
        }
    }
}
