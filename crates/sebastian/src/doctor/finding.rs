//! What a check found.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    /// As it should be.
    Ok,
    /// It works; somebody should look.
    Warn,
    /// Chats are not taken, not assigned, or will not be after the next start.
    Fail,
}

/// One line of the report. Holds no secret.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub grade: Grade,
    /// What was looked at, in a word or a key.
    pub check: &'static str,
    pub found: String,
    /// What to do about it; empty where there is nothing to do, or where `found` says it.
    pub mend: String,
}

impl Finding {
    pub fn ok(check: &'static str, found: impl ToString) -> Self {
        Self { grade: Grade::Ok, check, found: one_line(&found), mend: String::new() }
    }

    pub fn warn(check: &'static str, found: impl ToString, mend: impl ToString) -> Self {
        Self { grade: Grade::Warn, check, found: one_line(&found), mend: one_line(&mend) }
    }

    pub fn fail(check: &'static str, found: impl ToString, mend: impl ToString) -> Self {
        Self { grade: Grade::Fail, ..Self::warn(check, found, mend) }
    }

    /// For people, with the check's name as wide as the widest.
    pub fn line(&self, width: usize) -> String {
        let Self { grade, check, found, mend } = self;
        let grade = match grade {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        };
        let mend = if mend.is_empty() { String::new() } else { format!("; {mend}") };
        format!("{grade:4}  {check:width$}  — {found}{mend}\n")
    }
}

/// What a platform, a database or a file says may steer no terminal and begin no other line.
fn one_line(text: &impl ToString) -> String {
    text.to_string().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
