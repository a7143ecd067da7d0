//! Reads JSON of whatever shape a platform sends.
//!
//! A caller names the fields it wants and gets each as the text it stands in; nothing else is looked at. So an
//! unused field may hold anything (1e400, a lone surrogate, 100,000 nested arrays) and rejects nothing, and
//! one pass with no tree built is enough. Of a key given twice the last counts.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{error::Category, value::RawValue};

/// One JSON value, as text not looked into yet. No `Debug`: it may hold personal data.
#[derive(Clone, Copy)]
pub(super) struct Json<'a>(&'a str);

/// Why a text has no fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoObject {
    /// It is not JSON.
    NotJson,
    /// It is JSON of another type.
    OtherType,
}

impl<'a> Json<'a> {
    /// What an absent field reads as.
    pub const NULL: Json<'static> = Json("null");

    /// A body, not yet known to be JSON.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The named fields of an object; absent ones read as null.
    pub fn object<const N: usize>(self, names: [&str; N]) -> Result<[Json<'a>; N], NoObject> {
        // Most often it is absent, and serde_json would first write a sentence about that.
        if self.is_null() {
            return Err(NoObject::OtherType);
        }
        let mut text = serde_json::Deserializer::from_str(self.0);
        let fields = text.deserialize_map(Fields(&names)).and_then(|fields| text.end().map(|()| fields));
        fields.map_err(|error| match error.classify() {
            Category::Data => NoObject::OtherType,
            Category::Io | Category::Syntax | Category::Eof => NoObject::NotJson,
        })
    }

    /// The elements of an array.
    pub fn array(self) -> Option<Vec<Json<'a>>> {
        if self.is_null() {
            return None;
        }
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.0).ok()?;
        Some(elements.into_iter().map(|element| Json(element.get())).collect())
    }

    /// Whether the field is null or absent.
    pub fn is_null(self) -> bool {
        self.0 == Self::NULL.0
    }

    /// A string's content.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inner))
    }

    /// An identifier as text: a string, or a whole number of at most 64 bits.
    pub fn id(self) -> Option<Cow<'a, str>> {
        self.text().or_else(|| self.0.parse::<u64>().is_ok().then_some(Cow::Borrowed(self.0)))
    }

    /// A whole number, or a string of one.
    pub fn int(self) -> Option<i64> {
        self.text().map_or_else(|| self.0.parse().ok(), |text| text.trim().parse().ok())
    }

    /// A truth value; 0, 1 and strings of either form count, as PHP back ends send them.
    pub fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" | "1" | "\"true\"" | "\"1\"" => Some(true),
            "false" | "0" | "\"false\"" | "\"0\"" => Some(false),
            _ => None,
        }
    }
}

struct Fields<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Json<'de>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = [Json::NULL; N];
        while let Some(place) = map.next_key_seed(Place(self.0))? {
            match place {
                Some(i) => fields[i] = Json(map.next_value::<&'de RawValue>()?.get()),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

/// Reads a key as its place among the wanted names.
struct Place<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Json<'_> {
        let [field] = Json::new(text).object(["a"]).expect("an object");
        field
    }

    #[test]
    fn unused_fields_may_hold_anything() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let text = format!(r#"{{"x":1e400,"y":"\ud800","z":{deep},"a":"7","x":"\u0000"}}"#);
        assert_eq!(field(&text).text().as_deref(), Some("7"));
    }

    #[test]
    fn the_last_of_a_key_given_twice_counts() {
        assert_eq!(field(r#"{"a":1,"\u0061":2}"#).int(), Some(2));
    }

    #[test]
    fn an_absent_field_reads_as_null() {
        assert!(field("{}").is_null());
        assert!(field(r#"{ "a" : null }"#).is_null());
    }

    #[test]
    fn text_that_is_no_object_says_which_way() {
        let no_object = |text| Json::new(text).object(["a"]).err();
        for text in ["", "{", "nul", r#"{"a":1} x"#, r#"{"a":}"#, "{\"a\":\"\n\"}"] {
            assert_eq!(no_object(text), Some(NoObject::NotJson), "{text:?}");
        }
        for text in ["null", "[]", "1e400", "\"a\""] {
            assert_ne!(no_object(text), None, "{text:?}");
        }
        assert_eq!(no_object("[]"), Some(NoObject::OtherType));
    }

    #[test]
    fn an_id_is_a_string_or_a_whole_number() {
        let id = |text: &str| field(text).id().map(Cow::into_owned);
        assert_eq!(id(r#"{"a":"47\u0030"}"#).as_deref(), Some("470"));
        assert_eq!(id(r#"{"a":18446744073709551615}"#).as_deref(), Some("18446744073709551615"));
        for refused in ["47.0", "-47", "1e3", "18446744073709551616", "true", "null", "[47]", r#""\ud800""#] {
            assert_eq!(id(&format!(r#"{{"a":{refused}}}"#)), None, "{refused}");
        }
    }

    #[test]
    fn a_number_may_come_as_a_string() {
        let int = |text: &str| field(text).int();
        assert_eq!(int(r#"{"a":"88121"}"#), Some(88121));
        assert_eq!(int(r#"{"a":-3}"#), Some(-3));
        for refused in ["1.5", "1e400", r#""x""#, "null", "9223372036854775808"] {
            assert_eq!(int(&format!(r#"{{"a":{refused}}}"#)), None, "{refused}");
        }
    }
}
