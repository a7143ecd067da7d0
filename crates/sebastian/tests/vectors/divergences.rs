//! Where the product differs on purpose, with the reason.

use std::{collections::BTreeSet, path::Path, sync::Mutex};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::report::{Check, Tried};

pub struct Divergences {
    entries: Vec<Entry>,
    used: Mutex<BTreeSet<usize>>,
}

/// A difference. It covers a check when everything it names fits, however the row is called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `chatwoot` or `libredesk`.
    system: String,
    /// The presets or variants under which it shows. None: any.
    #[serde(default)]
    under: Option<Vec<String>>,
    /// What the row holds, at least. Of a list: each element is found somewhere in the row's.
    #[serde(default)]
    row: Option<Value>,
    /// Its profiles, all of them. None: any.
    #[serde(default)]
    profiles: Option<Vec<String>>,
    /// Each problem says one of these, among other things. None: anything.
    #[serde(default)]
    fails: Option<Vec<String>>,
    /// The row has one of these tags. None: any.
    #[serde(default)]
    tagged: Option<Vec<String>>,
    /// The product does just what the row expects of one of these variants.
    #[serde(default, rename = "as")]
    same_as: Option<Vec<String>>,
    reason: String,
}

impl Divergences {
    pub fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let entries =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { entries, used: Mutex::default() }
    }

    /// Why a check that found problems is no failure.
    pub fn reason(&self, row: &Tried, check: &Check) -> Option<&str> {
        let index = self.entries.iter().position(|entry| entry.covers(row, check))?;
        self.used.lock().expect("nobody else reads").insert(index);
        Some(&self.entries[index].reason)
    }

    /// Reasons of entries that covered nothing.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.lock().expect("nobody else reads");
        let entries = self.entries.iter().enumerate();
        entries.filter(|(index, _)| !used.contains(index)).map(|(_, entry)| entry.reason.clone()).collect()
    }
}

impl Entry {
    fn covers(&self, row: &Tried, check: &Check) -> bool {
        let says = |known: &Vec<String>| {
            check.problems.iter().all(|problem| known.iter().any(|part| problem.contains(part.as_str())))
        };
        let tags = row.row["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let tags: Vec<&str> = tags.collect();
        self.system == row.system
            && self.under.as_ref().is_none_or(|under| under.contains(&check.under))
            && self.row.as_ref().is_none_or(|part| holds(&row.row, part))
            && self.profiles.as_ref().is_none_or(|profiles| json!(profiles) == row.row["profiles"])
            && self.tagged.as_ref().is_none_or(|tagged| tagged.iter().any(|tag| tags.contains(&tag.as_str())))
            && self.fails.as_ref().is_none_or(says)
            && self.same_as.as_ref().is_none_or(|some| some.iter().any(|one| check.same_as.contains(one)))
    }
}

/// Whether `whole` holds `part`: equal, or an object with at least these fields, or a list with at least these elements.
pub fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| holds(found, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|value| whole.iter().any(|found| holds(found, value)))
        }
        _ => whole == part,
    }
}
