//! Changes of a rulebook: what operators may do to it, what may not be, and what goes with what.
//!
//! Each does all it says, or returns an error and changes nothing. The words of errors are Chatwoot's where Chatwoot has
//! them.

mod capacity;
mod desk;
mod field;
mod leaves;
mod policies;
mod teams;

use std::fmt;

pub use self::{
    capacity::{CapacityPolicyDraft, ExclusionDraft, InboxLimitDraft},
    desk::{AgentDraft, InboxDraft, OverridesDraft, PauseDraft, Paused},
    field::{Choice, Field, Read},
    leaves::LeaveDraft,
    policies::PolicyDraft,
    teams::TeamDraft,
};
use super::Rulebook;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 255;

/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 20_000;

/// Longest reason of a pause or a leave, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Most things of a kind (policies, teams, routes, limits of a policy): the whole rulebook is read and stored as one.
const THINGS_MAX: usize = 1_000;

/// Largest figure taken where nothing smaller makes sense; what Chatwoot's columns hold.
const FIGURE_MAX: i64 = i32::MAX as i64;

/// Why a rulebook was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Values that cannot be.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// Nothing has this number.
    #[error("there is no {what} {id}")]
    Unknown {
        /// What it would be (`assignment policy`).
        what: &'static str,
        /// The number.
        id: i64,
    },
    /// An inbox without a policy has none to show or take away.
    #[error("Assignment policy not found")]
    NotLinked,
    /// A policy limits an inbox once.
    #[error("Inbox has already been assigned to this policy")]
    AlreadyLimited,
    /// A leave that was decided or taken back stays as it is.
    #[error("the leave is {0}: only a pending one can be changed")]
    NotPending(&'static str),
}

/// Everything wrong with what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invalid(Vec<(String, String)>);

impl Invalid {
    /// One thing wrong: the field, and a message to follow its name.
    #[must_use]
    pub fn of(field: &str, message: &str) -> Self {
        Self(vec![(field.to_owned(), message.to_owned())])
    }

    /// Each field that cannot be so, and why not.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(field, message)| (field.as_str(), message.as_str()))
    }

    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((field.into(), message.into()));
    }

    /// `value` when nothing is wrong.
    fn unless_empty<T>(self, value: T) -> Result<T, EditError> {
        if self.0.is_empty() { Ok(value) } else { Err(self.into()) }
    }
}

/// As sentences: `Name can't be blank, Fair distribution limit must be greater than 0`.
impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (field, message)) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{} {message}", humanized(field))?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// `fair_distribution_limit` as people say it: `Fair distribution limit`.
fn humanized(field: &str) -> String {
    let words = field.strip_suffix("_id").unwrap_or(field).replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl Rulebook {
    fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }
}

/// Puts what was sent of a name in its place. It must not be blank, nor in `taken`.
fn set_name<'a>(
    name: &mut String,
    sent: Field<String>,
    mut taken: impl Iterator<Item = &'a str>,
    wrong: &mut Invalid,
) {
    if let Some(sent) = sent.take("name", wrong) {
        *name = sent.unwrap_or_default();
    }
    if wrong.fields().any(|(field, _)| field == "name") {
        return;
    }
    if name.trim().is_empty() {
        wrong.add("name", "can't be blank");
    } else if taken.any(|taken| taken == name) {
        wrong.add("name", "has already been taken");
    }
    check_length("name", name, NAME_CHARS_MAX, wrong);
}

/// Puts what was sent of a text in its place; nothing makes it empty.
fn set_text(
    name: &'static str,
    text: &mut String,
    sent: Field<String>,
    chars_max: usize,
    wrong: &mut Invalid,
) {
    if let Some(sent) = sent.take(name, wrong) {
        *text = sent.unwrap_or_default();
        check_length(name, text, chars_max, wrong);
    }
}

fn check_length(name: &'static str, text: &str, chars_max: usize, wrong: &mut Invalid) {
    if text.chars().count() > chars_max {
        wrong.add(name, format!("is too long (maximum is {chars_max} characters)"));
    }
}

/// A count from `min` to `max`.
fn count(name: &'static str, value: i64, (min, max): (i64, i64), wrong: &mut Invalid) -> Option<u32> {
    if value < min {
        let message = match min {
            1 => "must be greater than 0".to_owned(),
            _ => format!("must be greater than or equal to {min}"),
        };
        wrong.add(name, message);
        return None;
    }
    if value > max {
        wrong.add(name, format!("must be less than or equal to {max}"));
        return None;
    }
    u32::try_from(value).ok()
}

/// An optional count from `min` up: outside `None` nothing was said, inside `None` there is to be none.
fn optional_count(
    name: &'static str,
    sent: Field<i64>,
    min: i64,
    wrong: &mut Invalid,
) -> Option<Option<u32>> {
    match sent.take(name, wrong)? {
        None => Some(None),
        Some(value) => count(name, value, (min, FIGURE_MAX), wrong).map(Some),
    }
}

/// One more thing of a kind there may be `max` of.
fn check_room(what: &'static str, have: usize, max: usize, wrong: &mut Invalid) {
    if have >= max {
        wrong.add(what, format!("are {max} already, and no more are kept"));
    }
}
