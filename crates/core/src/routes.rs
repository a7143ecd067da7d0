//! Routes: what an arriving conversation is given by where it comes from.

use crate::{InboxId, Rulebook, conversation::Traits, event::Hints, rulebook::Route};

/// What the routes made of an arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routed {
    /// The inbox it is filed under, when known.
    pub inbox: Option<InboxId>,
    /// What it carries.
    pub traits: Traits,
}

impl Rulebook {
    /// What a conversation is given that arrives by `inbox` with `hints`. Each route sees the arrival as it came. The first
    /// to set a thing wins; labels accumulate, and tags are labels.
    #[must_use]
    pub fn route(&self, inbox: Option<InboxId>, hints: &Hints) -> Routed {
        let mut routed = Routed::default();
        routed.traits.labels.clone_from(&hints.tags);
        for route in self.routes.iter().filter(|route| route.matches(inbox, hints)) {
            routed.inbox = routed.inbox.or(route.inbox);
            let traits = &mut routed.traits;
            traits.team = traits.team.or(route.team);
            traits.priority = traits.priority.or(route.priority);
            traits.labels.extend(route.label.clone());
            traits.language = traits.language.take().or_else(|| route.language.clone());
        }
        routed.inbox = routed.inbox.or(inbox);
        routed
    }
}

impl Route {
    fn matches(&self, inbox: Option<InboxId>, hints: &Hints) -> bool {
        let is_from = |source: &String| {
            hints.source.as_ref().is_some_and(|from| from.trim().eq_ignore_ascii_case(source.trim()))
        };
        self.source.as_ref().is_none_or(is_from)
            && self.channel.is_none_or(|channel| inbox == Some(channel))
            && self.tag.as_ref().is_none_or(|tag| hints.tags.contains(tag))
    }
}
