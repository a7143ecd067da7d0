//! Leaves: filed, granted or not, taken back.

use serde::Deserialize;

use super::{EditError, Field, Invalid, NAME_CHARS_MAX, REASON_CHARS_MAX, check_length, check_room};
use crate::{
    AgentId, LeaveId, Rulebook, Timestamp,
    rulebook::{Day, Leave, LeaveStatus},
};

/// Most leaves kept, the past ones included.
const LEAVES_MAX: usize = 10_000;

/// Longest leave, in days.
const DAYS_MAX: u32 = 3_660;

/// Furthest a clock is from UTC, in minutes.
const OFFSET_MAX: i64 = 14 * 60;

/// What is sent of a leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LeaveDraft {
    /// Whose; only of a new one.
    #[serde(alias = "agent_id")]
    pub user_id: Field<i64>,
    /// First day, as `2026-11-21`.
    pub start_date: Field<Day>,
    /// Last day, itself included.
    pub end_date: Field<Day>,
    /// Minutes by which the agent's clock is ahead of UTC; 0 unless given.
    pub utc_offset_minutes: Field<i64>,
    /// What it is for, in a word (`annual`, `sick`); `annual` unless given.
    pub leave_type: Field<String>,
    /// Why, in the agent's words; at most 500 characters.
    pub reason: Field<String>,
}

impl Rulebook {
    /// Files a leave; it counts once it is approved.
    pub fn file_leave(&mut self, draft: LeaveDraft, now: Timestamp) -> Result<LeaveId, EditError> {
        let mut wrong = Invalid::default();
        check_room("leaves", self.leaves.len(), LEAVES_MAX, &mut wrong);
        let agent = draft.user_id.clone().take("user_id", &mut wrong).flatten();
        for (name, is_missing) in [
            ("user_id", draft.user_id == Field::Absent || draft.user_id == Field::Null),
            ("start_date", draft.start_date == Field::Absent),
            ("end_date", draft.end_date == Field::Absent),
        ] {
            if is_missing {
                wrong.add(name, "can't be blank");
            }
        }
        let blank = Leave {
            agent: AgentId(agent.unwrap_or_default()),
            start: Day(0),
            end: Day(0),
            utc_offset_minutes: 0,
            kind: "annual".to_owned(),
            reason: None,
            status: LeaveStatus::Pending,
            approved_at: None,
            created_at: now,
            updated_at: now,
        };
        let made = self.drafted_leave(blank, draft, wrong)?;
        let id = LeaveId(self.next_id());
        self.leaves.insert(id, made);
        Ok(id)
    }

    /// Changes of a pending leave what the draft holds.
    pub fn update_leave(&mut self, id: LeaveId, draft: LeaveDraft, now: Timestamp) -> Result<(), EditError> {
        let old = self.pending(id)?;
        let new = self.drafted_leave(old.clone(), draft, Invalid::default())?;
        if new != *old {
            self.leaves.insert(id, Leave { updated_at: now, ..new });
        }
        Ok(())
    }

    /// Grants a pending leave. Fails when another one granted to the same agent has a day in common with it.
    pub fn approve_leave(&mut self, id: LeaveId, now: Timestamp) -> Result<(), EditError> {
        let leave = self.pending(id)?.clone();
        let mut wrong = Invalid::default();
        self.check_overlap(&leave, &mut wrong);
        let granted =
            Leave { status: LeaveStatus::Approved, approved_at: Some(now), updated_at: now, ..leave };
        let granted = wrong.unless_empty(granted)?;
        self.leaves.insert(id, granted);
        Ok(())
    }

    /// Does not grant a pending leave.
    pub fn reject_leave(&mut self, id: LeaveId, now: Timestamp) -> Result<(), EditError> {
        let leave = self.pending(id)?.clone();
        self.leaves.insert(id, Leave { status: LeaveStatus::Rejected, updated_at: now, ..leave });
        Ok(())
    }

    /// Takes a leave back, pending or granted; one that runs ends at once.
    pub fn cancel_leave(&mut self, id: LeaveId, now: Timestamp) -> Result<(), EditError> {
        let leave = self.leaves.get_mut(&id).ok_or_else(|| unknown(id))?;
        match leave.status {
            LeaveStatus::Pending | LeaveStatus::Approved => {}
            LeaveStatus::Rejected | LeaveStatus::Cancelled => {
                return Err(EditError::NotPending(word(leave.status)));
            }
        }
        leave.status = LeaveStatus::Cancelled;
        leave.updated_at = now;
        Ok(())
    }

    /// Forgets a leave.
    pub fn delete_leave(&mut self, id: LeaveId) -> Result<(), EditError> {
        self.leaves.remove(&id).map(|_| ()).ok_or_else(|| unknown(id))
    }

    /// A leave.
    pub fn leave(&self, id: LeaveId) -> Result<&Leave, EditError> {
        self.leaves.get(&id).ok_or_else(|| unknown(id))
    }

    fn pending(&self, id: LeaveId) -> Result<&Leave, EditError> {
        let leave = self.leave(id)?;
        match leave.status {
            LeaveStatus::Pending => Ok(leave),
            decided => Err(EditError::NotPending(word(decided))),
        }
    }

    fn drafted_leave(
        &self,
        mut leave: Leave,
        draft: LeaveDraft,
        mut wrong: Invalid,
    ) -> Result<Leave, EditError> {
        let blank = "can't be blank";
        leave.start = draft.start_date.take_some("start_date", blank, &mut wrong).unwrap_or(leave.start);
        leave.end = draft.end_date.take_some("end_date", blank, &mut wrong).unwrap_or(leave.end);
        if let Some(offset) = draft.utc_offset_minutes.take("utc_offset_minutes", &mut wrong) {
            let offset = offset.unwrap_or_default();
            match i16::try_from(offset) {
                Ok(minutes) if offset.abs() <= OFFSET_MAX => leave.utc_offset_minutes = minutes,
                _ => wrong.add("utc_offset_minutes", format!("must be from -{OFFSET_MAX} to {OFFSET_MAX}")),
            }
        }
        leave.kind = draft.leave_type.take_some("leave_type", blank, &mut wrong).unwrap_or(leave.kind);
        if leave.kind.trim().is_empty() {
            wrong.add("leave_type", blank);
        }
        check_length("leave_type", &leave.kind, NAME_CHARS_MAX, &mut wrong);
        leave.reason = draft.reason.take("reason", &mut wrong).unwrap_or(leave.reason);
        check_length("reason", leave.reason.as_deref().unwrap_or_default(), REASON_CHARS_MAX, &mut wrong);
        if wrong.fields().all(|(field, _)| field != "start_date" && field != "end_date") {
            match leave.days() {
                0 => wrong.add("end_date", "must be on or after the start date"),
                days if days > DAYS_MAX => wrong.add("end_date", format!("must be within {DAYS_MAX} days")),
                _ => self.check_overlap(&leave, &mut wrong),
            }
        }
        wrong.unless_empty(leave)
    }

    /// A leave that is pending itself overlaps with no other than granted ones.
    fn check_overlap(&self, leave: &Leave, wrong: &mut Invalid) {
        let granted = self
            .leaves
            .values()
            .filter(|other| other.agent == leave.agent && other.status == LeaveStatus::Approved);
        if granted.into_iter().any(|other| other.start <= leave.end && leave.start <= other.end) {
            wrong.add("start_date", "overlaps with an approved leave");
        }
    }
}

fn unknown(id: LeaveId) -> EditError {
    EditError::Unknown { what: "leave", id: id.0 }
}

fn word(status: LeaveStatus) -> &'static str {
    match status {
        LeaveStatus::Pending => "pending",
        LeaveStatus::Approved => "approved",
        LeaveStatus::Rejected => "rejected",
        LeaveStatus::Cancelled => "cancelled",
    }
}
