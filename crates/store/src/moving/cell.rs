//! Values on their way from one ledger to the other, and what tells whether all arrived.

use std::{error::Error, time::SystemTime};

use rusqlite::types::ValueRef;
use sebastian_core::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use crate::StoreError;

/// A value of a row. What it is in the file follows from what it is in PostgreSQL.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Number(i64),
    Flag(bool),
    Time(Timestamp),
    Text(String),
    /// Kept to the letter.
    Json(String),
    /// Kept by its meaning: PostgreSQL writes it in its own way.
    Jsonb(String),
    Bytes(Vec<u8>),
    Uuid([u8; 16]),
    Numbers(Vec<i64>),
    Texts(Vec<String>),
}

type Failed = Box<dyn Error + Send + Sync>;

impl Cell {
    /// What the file holds, for a column that is of type `of` in PostgreSQL.
    pub fn in_file(value: ValueRef<'_>, of: &Type) -> Result<Self, StoreError> {
        let unreadable = || StoreError::Broken(format!("{value:?} does not read as {of}"), None);
        let broken = |error: serde_json::Error| StoreError::Broken(format!("no {of}"), Some(error.into()));
        let text = || value.as_str().map(str::to_owned).map_err(|_| unreadable());
        Ok(match (value, of) {
            (ValueRef::Null, _) => Self::Null,
            (ValueRef::Integer(number), &Type::INT8 | &Type::INT4) => Self::Number(number),
            (ValueRef::Integer(flag @ (0 | 1)), &Type::BOOL) => Self::Flag(flag == 1),
            (ValueRef::Integer(ms), &Type::TIMESTAMPTZ) => Self::Time(Timestamp::from_millis(ms)),
            (ValueRef::Text(_), &Type::TEXT) => Self::Text(text()?),
            (ValueRef::Text(_), &Type::JSON) => Self::Json(text()?),
            (ValueRef::Text(_), &Type::JSONB) => Self::Jsonb(text()?),
            (ValueRef::Blob(bytes), &Type::BYTEA) => Self::Bytes(bytes.to_owned()),
            (ValueRef::Text(_), &Type::UUID) => Self::Uuid(uuid(&text()?).ok_or_else(unreadable)?),
            (ValueRef::Text(list), &Type::INT8_ARRAY) => {
                Self::Numbers(serde_json::from_slice(list).map_err(broken)?)
            }
            (ValueRef::Text(list), &Type::TEXT_ARRAY) => {
                Self::Texts(serde_json::from_slice(list).map_err(broken)?)
            }
            _ => return Err(unreadable()),
        })
    }

    /// Feeds the value to a hash, the same from either ledger. Each part brings its length or ends of itself.
    fn hash(&self, hash: &mut Sha256) {
        match self {
            Self::Null => hash.update([0]),
            Self::Number(number) => part(hash, 1, &number.to_be_bytes()),
            Self::Flag(flag) => part(hash, 2, &[u8::from(*flag)]),
            Self::Time(at) => part(hash, 3, &at.as_millis().to_be_bytes()),
            Self::Text(text) => part(hash, 4, text.as_bytes()),
            Self::Json(text) => part(hash, 5, text.as_bytes()),
            Self::Jsonb(text) => match serde_json::from_str(text) {
                Ok(value) => hash_json(hash, &value),
                // As the text it is: PostgreSQL would not have taken it.
                Err(_) => part(hash, 6, text.as_bytes()),
            },
            Self::Bytes(bytes) => part(hash, 7, bytes),
            Self::Uuid(bytes) => part(hash, 8, bytes),
            Self::Numbers(numbers) => {
                part(hash, 9, &numbers.len().to_be_bytes());
                numbers.iter().for_each(|number| hash.update(number.to_be_bytes()));
            }
            Self::Texts(texts) => {
                part(hash, 10, &texts.len().to_be_bytes());
                texts.iter().for_each(|text| part(hash, 4, text.as_bytes()));
            }
        }
    }
}

fn part(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash.update(bytes.len().to_be_bytes());
    hash.update(bytes);
}

/// A value by its meaning: keys in order, and `1.0` as `1`.
fn hash_json(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null | Value::Bool(_) => part(hash, 11, value.to_string().as_bytes()),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15);
            match whole {
                Some(float) if number.is_f64() => part(hash, 12, format!("{float:.0}").as_bytes()),
                _ => part(hash, 12, number.to_string().as_bytes()),
            }
        }
        Value::String(text) => part(hash, 13, text.as_bytes()),
        Value::Array(values) => {
            part(hash, 14, &values.len().to_be_bytes());
            values.iter().for_each(|value| hash_json(hash, value));
        }
        Value::Object(fields) => {
            part(hash, 15, &fields.len().to_be_bytes());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            for (key, value) in fields {
                part(hash, 13, key.as_bytes());
                hash_json(hash, value);
            }
        }
    }
}

/// `0190c1a2-…` as bytes.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits = text.replace('-', "");
    let is_hex = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

impl ToSql for Cell {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Failed> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) if *of == Type::INT4 => i32::try_from(*number)?.to_sql(of, out),
            Self::Number(number) => number.to_sql(of, out),
            Self::Flag(flag) => flag.to_sql(of, out),
            Self::Time(at) => SystemTime::from(*at).to_sql(of, out),
            Self::Text(text) | Self::Json(text) => text.to_sql(of, out),
            Self::Jsonb(text) => {
                // The version of the format.
                out.extend_from_slice(&[1]);
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            Self::Bytes(bytes) => bytes.as_slice().to_sql(of, out),
            Self::Uuid(bytes) => bytes.as_slice().to_sql(of, out),
            Self::Numbers(numbers) => numbers.to_sql(of, out),
            Self::Texts(texts) => texts.to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Failed> {
        let text = || String::from_utf8(raw.to_vec());
        Ok(match *of {
            Type::INT8 => Self::Number(i64::from_sql(of, raw)?),
            Type::INT4 => Self::Number(i32::from_sql(of, raw)?.into()),
            Type::BOOL => Self::Flag(bool::from_sql(of, raw)?),
            Type::TIMESTAMPTZ => Self::Time(SystemTime::from_sql(of, raw)?.into()),
            Type::TEXT => Self::Text(text()?),
            Type::JSON => Self::Json(text()?),
            Type::JSONB => Self::Jsonb(String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            Type::UUID => Self::Uuid(raw.try_into()?),
            Type::INT8_ARRAY => Self::Numbers(Vec::from_sql(of, raw)?),
            Type::TEXT_ARRAY => Self::Texts(Vec::from_sql(of, raw)?),
            _ => return Err(format!("a value of type {of} is not moved").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failed> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Rows counted and hashed, in whatever order they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub rows: u64,
    sum: u128,
}

impl Digest {
    /// Counts a row in.
    pub fn add(&mut self, row: &[Cell]) {
        let mut hash = Sha256::new();
        row.iter().for_each(|cell| cell.hash(&mut hash));
        let half: [u8; 16] = std::array::from_fn({
            let whole = hash.finalize();
            move |n| whole[n]
        });
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(half));
    }

    /// The digests of all tables as one, in hexadecimal.
    pub fn of_all(tables: &[Self]) -> String {
        let mut hash = Sha256::new();
        for table in tables {
            hash.update(table.rows.to_be_bytes());
            hash.update(table.sum.to_be_bytes());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[&Cell]) -> Digest {
        let mut digest = Digest::default();
        rows.iter().for_each(|row| digest.add(std::slice::from_ref(*row)));
        digest
    }

    #[test]
    fn json_is_compared_by_its_meaning_and_rows_in_any_order() {
        let json = |text: &str| Cell::Jsonb(text.to_owned());
        let ours = json(r#"{"b":[1.0,"x"],"a":null}"#);
        let theirs = json(r#"{"a": null, "b": [1, "x"]}"#);
        assert_eq!(digest(&[&ours]), digest(&[&theirs]));
        assert_eq!(digest(&[&ours, &Cell::Null]), digest(&[&Cell::Null, &theirs]));
        assert_ne!(digest(&[&ours]), digest(&[&json(r#"{"b":[1.5,"x"],"a":null}"#)]));
        assert_ne!(digest(&[&ours]), digest(&[&ours, &ours]));
    }

    #[test]
    fn values_that_look_alike_are_told_apart() {
        let row =
            |cells: &[&str]| cells.iter().map(|text| Cell::Text((*text).to_owned())).collect::<Vec<_>>();
        let (mut one, mut other) = (Digest::default(), Digest::default());
        one.add(&row(&["ab", "c"]));
        other.add(&row(&["a", "bc"]));
        assert_ne!(one, other);
        assert_ne!(digest(&[&Cell::Number(1)]), digest(&[&Cell::Flag(true)]));
        assert_ne!(digest(&[&Cell::Null]), digest(&[&Cell::Text(String::new())]));
    }

    #[test]
    fn a_letters_id_is_read_in_one_form_only() {
        let id = "0190c1a2-7f3e-7abc-8def-0123456789ab";
        assert_eq!(uuid(id).map(|bytes| bytes[0]), Some(1));
        for wrong in ["", "0190c1a2", "+190c1a2-7f3e-7abc-8def-0123456789ab"] {
            assert_eq!(uuid(wrong), None, "{wrong}");
        }
    }
}
