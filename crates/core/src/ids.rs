//! Identifiers. Each is parsed once, at the edge, and never travels as a bare integer or string.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// One platform tenant, numbered by the ledger.
    AccountId
);
number_id!(
    /// An agent, by the platform's number. An e-mail address is no identity: a recreated agent keeps it.
    AgentId
);
number_id!(
    /// An inbox (a Qiscus channel), by the platform's number.
    InboxId
);
number_id!(
    /// A team (a Qiscus division), by the platform's number.
    TeamId
);
number_id!(
    /// An assignment policy, numbered by the rulebook.
    PolicyId
);
number_id!(
    /// An agent capacity policy, numbered by the rulebook.
    CapacityPolicyId
);
number_id!(
    /// An inbox's limit in an agent capacity policy, numbered by the rulebook.
    InboxLimitId
);
number_id!(
    /// A leave, numbered by the rulebook.
    LeaveId
);
number_id!(
    /// One open-to-resolved session, numbered by the ledger.
    ConversationId
);
number_id!(
    /// One (inbox, team) queue of waiting conversations, numbered by the ledger.
    QueueId
);
number_id!(
    /// A place in an account's order of acceptance. Later is larger; gaps are normal.
    #[derive(Default)]
    Seq
);

/// Why a string is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// Longer than the limit, in bytes.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// PostgreSQL cannot store U+0000, and no platform uses control characters in ids.
    #[error("contains a control character")]
    Control,
}

/// No platform's id comes near this; a longer one is an attack on the index.
const ID_BYTES_MAX: usize = 128;

pub(crate) fn parse(text: &str) -> Result<Box<str>, IdError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong(ID_BYTES_MAX));
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(text.into())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Trims `text` and takes it as an id. Fails when empty, over 128 bytes, or holding a control character.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_id!(
    /// The platform's name for the thread a conversation is held in. A room outlives its conversations:
    /// a returning customer opens a new conversation in the same room.
    RoomId
);
text_id!(
    /// The platform's name for one session in a room, where it has one (Qiscus `service.id`).
    ServiceId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_trimmed_and_bounded() {
        assert_eq!(RoomId::parse(" 47 ").unwrap().as_str(), "47");
        assert_eq!(RoomId::parse("  "), Err(IdError::Empty));
        assert_eq!(RoomId::parse("a\0b"), Err(IdError::Control));
        assert_eq!(RoomId::parse(&"9".repeat(129)), Err(IdError::TooLong(128)));
    }
}
