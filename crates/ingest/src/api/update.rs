//! `PATCH …/conversations/{room}`: what a conversation carries, as an event like those of the platform.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use sebastian_core::{
    Label, Priority, Rulebook, Status, TeamId, Timestamp, Update,
    rulebook::edit::{Field, Invalid},
};
use serde::{Deserialize, Serialize};

use super::call::Refusal;

/// Most labels of a conversation.
const LABELS_MAX: usize = 100;

/// Longest language tag, in characters.
const LANGUAGE_CHARS_MAX: usize = 64;

/// What is sent of a conversation; what is left out stays as it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConversationDraft {
    /// All of its labels from now on.
    labels: Field<Vec<Label>>,
    /// Null: none.
    priority: Field<Priority>,
    /// Which team serves it; an agent who is not in it gives it back. Null or 0: none.
    team_id: Field<i64>,
    /// Which language it is in, as a BCP 47 tag. Null: not known.
    language: Field<String>,
    /// Whether it is being worked on. Resolving is the platform's.
    status: Field<Status>,
    /// When a snoozed one is taken up again; only with `status: snoozed`. Null or absent: once its customer writes.
    snoozed_until: Field<Timestamp>,
    /// Only null: its agent gives it back. Whom it is given to is decided by the policy, or on the platform.
    assignee_id: Field<i64>,
    /// True: it is tried again at once, whatever it sits out for but pending and snoozed, and whoever was refused for it.
    retry: Field<bool>,
}

/// What comes of it is seen once a worker has taken it up.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AcceptedView {
    /// The room, as the platform names it.
    pub room: String,
    pub status: &'static str,
}

impl ConversationDraft {
    /// The change to be made. Fails when it is none, or names what is not there.
    pub fn update(self, rules: &Rulebook, now: Timestamp) -> Result<Update, Refusal> {
        let labels = value("labels", self.labels)?.map(Option::unwrap_or_default);
        if labels.as_ref().is_some_and(|labels| labels.len() > LABELS_MAX) {
            return Err(
                Invalid::of("labels", &format!("is too long (maximum is {LABELS_MAX} labels)")).into()
            );
        }
        let team = value("team_id", self.team_id)?;
        let team = team.map(|team| team.filter(|team| *team != 0).map(TeamId));
        if let Some(Some(team)) = team
            && !rules.teams.contains_key(&team)
        {
            return Err(Invalid::of("team_id", "must exist").into());
        }
        let language = value("language", self.language)?;
        let is_fine = |text: &String| {
            let is_word = !text.trim().is_empty() && !text.contains(char::is_control);
            is_word && text.chars().count() <= LANGUAGE_CHARS_MAX
        };
        if language.as_ref().and_then(Option::as_ref).is_some_and(|text| !is_fine(text)) {
            let message = format!("must be 1 to {LANGUAGE_CHARS_MAX} characters that can be printed");
            return Err(Invalid::of("language", &message).into());
        }
        let status = value("status", self.status)?;
        if status == Some(None) {
            return Err(Invalid::of("status", "is none of open, pending, snoozed").into());
        }
        let status = status.flatten();
        let snoozed_until = value("snoozed_until", self.snoozed_until)?.flatten();
        if snoozed_until.is_some() && status != Some(Status::Snoozed) {
            return Err(Invalid::of("snoozed_until", "is only for status snoozed").into());
        }
        if snoozed_until.is_some_and(|until| until <= now) {
            return Err(Invalid::of("snoozed_until", "must lie ahead").into());
        }
        let unassign = match value("assignee_id", self.assignee_id)? {
            None => false,
            Some(None) => true,
            Some(Some(_)) => return Err(Invalid::of("assignee_id", "can only be null").into()),
        };
        let labels = labels.map(|labels| labels.into_iter().collect::<BTreeSet<_>>());
        let priority = value("priority", self.priority)?;
        let retry = value("retry", self.retry)?.flatten().unwrap_or_default();
        let update = Update { labels, priority, team, language, status, snoozed_until, unassign, retry };
        if update == Update::default() { Err(Refusal::Unwrapped("conversation")) } else { Ok(update) }
    }
}

fn value<T>(name: &str, field: Field<T>) -> Result<Option<Option<T>>, Refusal> {
    match field {
        Field::Absent => Ok(None),
        Field::Null => Ok(Some(None)),
        Field::Is(value) => Ok(Some(Some(value))),
        Field::Wrong(message) => Err(Invalid::of(name, &message).into()),
    }
}
