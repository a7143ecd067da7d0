//! Leaves: days on which an agent is given nothing.

use serde::{Deserialize, Serialize};

use crate::{AgentId, Timestamp};

const MS_PER_MINUTE: i64 = 60_000;
const MS_PER_DAY: i64 = 86_400_000;

/// A calendar day, counted from 1 January 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i32);

/// Days on which an agent is away, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Whose.
    pub agent: AgentId,
    /// First day.
    pub start: Day,
    /// Last day.
    pub end: Day,
    /// Minutes by which the agent's clock is ahead of UTC: where their days begin.
    pub utc_offset_minutes: i16,
    /// What it is for, in a word (`annual`, `sick`).
    pub kind: String,
    /// Why, in the agent's words.
    pub reason: Option<String>,
    /// Only an approved one counts.
    pub status: LeaveStatus,
    /// When it was approved.
    pub approved_at: Option<Timestamp>,
    /// When it was filed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where a leave stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaveStatus {
    /// Filed.
    Pending,
    /// Granted.
    Approved,
    /// Not granted.
    Rejected,
    /// Taken back.
    Cancelled,
}

impl Leave {
    /// Whether the agent is away now.
    #[must_use]
    pub fn covers(&self, now: Timestamp) -> bool {
        let local = now.as_millis() + i64::from(self.utc_offset_minutes) * MS_PER_MINUTE;
        let today = local.div_euclid(MS_PER_DAY);
        self.status == LeaveStatus::Approved
            && (i64::from(self.start.0)..=i64::from(self.end.0)).contains(&today)
    }

    /// How many days it takes, both ends included.
    #[must_use]
    pub fn days(&self) -> u32 {
        u32::try_from(i64::from(self.end.0) - i64::from(self.start.0) + 1).unwrap_or(0)
    }
}
