//! Values as an operator sent them: absent, null, of the right kind or not.
//!
//! Reading never fails, so that everything wrong with a request is told at once.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::Invalid;
use crate::{Order, PolicyId, Priority, Strategy, Timestamp, policy, rulebook::Day};

/// One value of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Nothing was said of it.
    #[default]
    Absent,
    /// It is to be nothing.
    Null,
    /// It is to be this.
    Is(T),
    /// It was something else; why that will not do.
    Wrong(String),
}

impl<T> Field<T> {
    /// The value: `None` when nothing was said, `Some(None)` for nothing. What is of the wrong kind is noted in `wrong`
    /// and counts as not said.
    pub(super) fn take(self, name: &'static str, wrong: &mut Invalid) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Is(value) => Some(Some(value)),
            Self::Wrong(message) => {
                wrong.add(name, message);
                None
            }
        }
    }

    /// As [`Self::take`], where there must be something: nothing is `message`.
    pub(super) fn take_some(self, name: &'static str, message: &str, wrong: &mut Invalid) -> Option<T> {
        match self.take(name, wrong)? {
            Some(value) => Some(value),
            None => {
                wrong.add(name, message);
                None
            }
        }
    }
}

impl<T> From<Option<T>> for Field<T> {
    /// `None` says nothing.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Is)
    }
}

impl<'de, T: Read> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::Null,
            value => T::read(value).map_or_else(Self::Wrong, Self::Is),
        })
    }
}

#[cfg(feature = "schema")]
impl<T: Read> schemars::JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::schema(generator)
    }
}

/// A kind of value that a request may hold.
pub trait Read: Sized {
    /// Takes what was sent; anything but null. Fails with what is wrong, to follow the name of the field.
    fn read(value: Value) -> Result<Self, String>;

    /// What it looks like.
    #[cfg(feature = "schema")]
    fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema;
}

impl Read for i64 {
    fn read(value: Value) -> Result<Self, String> {
        let whole = match &value {
            // Forms send numbers as text.
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64(),
        };
        let is_number = value.is_number() || value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
        let message = if is_number { "must be an integer" } else { "is not a number" };
        whole.ok_or_else(|| message.to_owned())
    }

    #[cfg(feature = "schema")]
    fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["integer", "null"] })
    }
}

impl Read for bool {
    fn read(value: Value) -> Result<Self, String> {
        let text = value.as_str().map(str::to_owned);
        let said = value.as_bool().or_else(|| text?.parse().ok());
        said.ok_or_else(|| "must be true or false".to_owned())
    }

    #[cfg(feature = "schema")]
    fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "boolean" })
    }
}

impl Read for String {
    fn read(value: Value) -> Result<Self, String> {
        match value {
            // The ledger's JSON cannot hold it.
            Value::String(text) if text.contains('\0') => Err("must not contain U+0000".to_owned()),
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err("must be text".to_owned()),
        }
    }

    #[cfg(feature = "schema")]
    fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "null"] })
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: Value) -> Result<Self, String> {
        let Value::Array(values) = value else { return Err("must be a list".to_owned()) };
        values
            .into_iter()
            .map(T::read)
            .collect::<Result<_, _>>()
            .map_err(|wrong| format!("holds one that {wrong}"))
    }

    #[cfg(feature = "schema")]
    fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let items = T::schema(generator);
        schemars::json_schema!({ "type": "array", "items": items })
    }
}

/// Seconds since 1970, or text as RFC 3339 has it.
impl Read for Timestamp {
    fn read(value: Value) -> Result<Self, String> {
        let seconds = |seconds: i64| seconds.checked_mul(1_000).map(Self::from_millis);
        let instant = match &value {
            Value::String(text) => Self::parse_rfc3339(text),
            other => other.as_i64().and_then(seconds),
        };
        // PostgreSQL's calendar ends in the year 294276; ours well before.
        let year_9999 = Self::from_millis(253_402_300_799_999);
        let instant = instant.filter(|instant| (Self::default()..=year_9999).contains(instant));
        instant.ok_or_else(|| "must be seconds since 1970, or a time such as 2026-11-21T09:12:44Z".to_owned())
    }

    #[cfg(feature = "schema")]
    fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Seconds since 1970, or a time as RFC 3339 has it.",
            "type": ["integer", "string", "null"]
        })
    }
}

impl Read for Day {
    fn read(value: Value) -> Result<Self, String> {
        let day = value.as_str().and_then(Self::parse);
        day.ok_or_else(|| "must be a day such as 2026-11-21".to_owned())
    }

    #[cfg(feature = "schema")]
    fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date" })
    }
}

/// Takes a whole number as an id.
impl Read for PolicyId {
    fn read(value: Value) -> Result<Self, String> {
        i64::read(value).map(Self)
    }

    #[cfg(feature = "schema")]
    fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        i64::schema(generator)
    }
}

/// A word out of few.
pub trait Choice: Copy + 'static {
    /// Every word and what it stands for.
    const CHOICES: &'static [(&'static str, Self)];

    /// What `word` stands for. Fails with a sentence that names the choices, to follow the name of the field.
    fn choose(word: &str) -> Result<Self, String> {
        let found = Self::CHOICES.iter().find(|(name, _)| *name == word);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = Self::CHOICES.iter().map(|(name, _)| *name).collect();
            format!("is none of {}", names.join(", "))
        })
    }
}

impl Choice for Strategy {
    const CHOICES: &'static [(&'static str, Self)] = policy::STRATEGIES;
}

impl Choice for Order {
    const CHOICES: &'static [(&'static str, Self)] = policy::ORDERS;
}

impl Choice for Priority {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("low", Self::Low), ("medium", Self::Medium), ("high", Self::High), ("urgent", Self::Urgent)];
}

impl Choice for crate::Status {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("open", Self::Open), ("pending", Self::Pending), ("snoozed", Self::Snoozed)];
}

macro_rules! read_choice {
    ($($name:ty),*) => {$(
        impl Read for $name {
            fn read(value: Value) -> Result<Self, String> {
                Self::choose(value.as_str().unwrap_or_default())
            }

            #[cfg(feature = "schema")]
            fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let words: Vec<_> = Self::CHOICES.iter().map(|(name, _)| *name).collect();
                schemars::json_schema!({ "enum": words })
            }
        }
    )*};
}

read_choice!(Strategy, Order, Priority, crate::Status);

/// Takes an object as a whole.
pub(super) fn read_object<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    if !value.is_object() {
        return Err("must be an object".to_owned());
    }
    serde_json::from_value(value).map_err(|error| format!("is not understood: {error}"))
}

/// Makes types that serde knows fields of others.
macro_rules! read_by_serde {
    ($($name:ty),*) => {$(
        impl $crate::rulebook::edit::field::Read for $name {
            fn read(value: serde_json::Value) -> Result<Self, String> {
                $crate::rulebook::edit::field::read_object(value)
            }

            #[cfg(feature = "schema")]
            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        }
    )*};
}

pub(super) use read_by_serde;
