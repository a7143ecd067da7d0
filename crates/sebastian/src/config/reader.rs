//! Reads values out of the layers, each by its key and type, and notes every problem met instead of stopping at one.
//!
//! Whichever key is asked for is a known one. What the layers hold beyond those is refused when reading is done.

use std::{fmt::Display, fs::File, io::Read, ops::RangeInclusive, time::Duration};

use secrecy::SecretString;

use super::{
    problem::{Origin, Problem},
    source::{Entry, Layer, Table, Value},
};

/// A key is a line; this stops a path that names a device or a log.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// What stands for a secret wherever settings are shown.
pub(crate) const HIDDEN: &str = "[hidden]";

/// One setting in force, fit for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `section.key`.
    pub key: &'static str,
    /// The value; a placeholder where it is a secret or personal.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

/// What reading brought up beside the values.
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub shown: Vec<Shown>,
    /// Every key there is.
    pub known: Vec<&'static str>,
}

/// The layers, strongest first, the last of them the defaults.
pub(super) struct Reader {
    layers: Vec<Layer>,
    findings: Findings,
}

impl Reader {
    pub fn new(layers: Vec<Layer>) -> Self {
        let findings = Findings { problems: vec![], warnings: vec![], shown: vec![], known: vec![] };
        Self { layers, findings }
    }

    /// Ends reading; keys nobody asked for become problems.
    pub fn finish(mut self) -> Findings {
        let known = &self.findings.known;
        let is_section = |name: &str| known.iter().find(|known| section(known) == name);
        for (key, entry) in self.layers.iter().flat_map(|layer| &layer.0) {
            if known.contains(&key.as_str()) {
                continue;
            }
            let text = match is_section(key) {
                Some(_) if entry.is_empty() => continue,
                Some(example) => format!("`{key}` is a section: it holds keys such as `{example}`"),
                None => format!("unknown key `{key}`; the nearest known one is `{}`", nearest(key, known)),
            };
            self.findings.problems.push(Problem::at(&entry.origin, text));
        }
        self.findings
    }

    /// A value without a default, taken by `parse`; `expected` completes "it must be …". A refused value is not quoted: it
    /// may be a secret that slipped a line.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        expected: impl Display,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.find(key, |value| match value {
            Value::Text(text) => match parse(text) {
                Some(taken) => Ok((taken, text.clone())),
                None => Err(format!("`{key}` must be {expected}")),
            },
            Value::List(_) | Value::Tables(_) => Err(format!("`{key}` is a list; it must be {expected}")),
        })
    }

    /// As [`Self::optional`], with a default. A value that cannot be taken gives way to the default, so that reading
    /// goes on; its problem is noted.
    pub fn defaulted<T>(
        &mut self,
        key: &'static str,
        expected: impl Display,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.optional(key, expected, parse).expect(DEFAULTED)
    }

    /// A whole number within `range`.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> u32 {
        self.defaulted(key, whole_number(&range), |text| in_range(text, &range))
    }

    /// A whole number within `range`, without a default.
    pub fn optional_number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        self.optional(key, whole_number(&range), |text| in_range(text, &range))
    }

    /// Milliseconds within `range`.
    pub fn millis(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Duration {
        Duration::from_millis(self.number(key, range).into())
    }

    /// Seconds within `range`.
    pub fn seconds(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Duration {
        Duration::from_secs(self.number(key, range).into())
    }

    /// Seconds within `range`, without a default.
    pub fn optional_seconds(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<Duration> {
        self.optional_number(key, range).map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> bool {
        self.choice(key, &[("true", true), ("false", false)])
    }

    /// One of `choices`.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> T {
        self.defaulted(key, one_of(choices), |text| chosen(text, choices))
    }

    /// `true` or `false`, without a default.
    pub fn optional_flag(&mut self, key: &'static str) -> Option<bool> {
        self.optional_choice(key, &[("true", true), ("false", false)])
    }

    /// One of `choices`, without a default.
    pub fn optional_choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.optional(key, one_of(choices), |text| chosen(text, choices))
    }

    /// At least one of `choices`, without a default: a YAML list, or text with commas, as the environment has it.
    pub fn optional_choices<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        self.find(key, |value| {
            let words: Vec<&str> = match value {
                Value::Text(text) => text.split(',').map(str::trim).collect(),
                Value::List(list) => list.iter().map(String::as_str).collect(),
                Value::Tables(_) => Vec::new(),
            };
            let taken: Option<Vec<T>> = words.iter().map(|word| chosen(word, choices)).collect();
            match taken.filter(|taken| !taken.is_empty()) {
                Some(taken) => Ok((taken, words.join(", "))),
                None => Err(format!("`{key}` must be a list of {}", one_of(choices))),
            }
        })
    }

    /// A list of things with keys of their own, each taken by `take`, without a default; as YAML in the environment. It
    /// returns each with how to show it, or what is wrong, which quotes no value.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        take: impl Fn(&Table) -> Result<(T, String), String>,
    ) -> Vec<T> {
        let found = self.find(key, |value| {
            let tables = match value {
                Value::Tables(tables) => tables.clone(),
                Value::List(list) if list.is_empty() => Vec::new(),
                Value::Text(text) => {
                    inline_tables(text).ok_or_else(|| format!("`{key}` {LIST_OF_TABLES}"))?
                }
                Value::List(_) => return Err(format!("`{key}` {LIST_OF_TABLES}")),
            };
            let taken: Result<Vec<_>, String> = tables.iter().map(&take).collect();
            let (taken, shown): (Vec<T>, Vec<String>) = taken?.into_iter().unzip();
            Ok((taken, shown.join(", ")))
        });
        found.unwrap_or_default()
    }

    /// Any text but the placeholder `xxxxx`.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.find(key, |value| Ok((own_text(key, value)?, plain_text(key, value)?)))
    }

    /// Text never shown, nor part of any message.
    pub fn personal(&mut self, key: &'static str) -> Option<SecretString> {
        self.find(key, |value| Ok((own_text(key, value)?.into(), HIDDEN.to_owned())))
    }

    /// A secret, given as `key` or in the file that `file_key` names.
    pub fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<SecretString> {
        let given = self.personal(key);
        let file = self.find(file_key, |value| {
            let path = plain_text(file_key, value)?;
            let secret = read_secret(&path).map_err(|reason| format!("`{file_key}`: {path} {reason}"))?;
            Ok((secret, path))
        });
        if given.is_some() && file.is_some() {
            self.problem(format!("`{key}` and `{file_key}` are both set: keep one of them"));
        }
        given.or(file)
    }

    /// Notes that values do not go together.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.findings.problems.push(Problem::new(text));
    }

    /// Notes what is odd about the value at `key`, which will do all the same.
    pub fn warn(&mut self, key: &str, text: &str) {
        let entry = self.layers.iter().filter_map(|layer| layer.0.get(key)).find(|entry| !entry.is_empty());
        let warning = entry.map_or_else(|| Problem::new(text), |entry| Problem::at(&entry.origin, text));
        self.findings.warnings.push(warning);
    }

    /// Takes the strongest value of `key`; while `take` refuses, the next weaker one. It returns the value and how to
    /// show it, or the problem.
    fn find<T>(
        &mut self,
        key: &'static str,
        take: impl Fn(&Value) -> Result<(T, String), String>,
    ) -> Option<T> {
        let Findings { problems, shown, known, .. } = &mut self.findings;
        known.push(key);
        let entries = self.layers.iter().filter_map(|layer| layer.0.get(key));
        for Entry { value, origin } in entries.filter(|entry| !entry.is_empty()) {
            match take(value) {
                Ok((taken, value)) => {
                    shown.push(Shown { key, value, origin: origin.clone() });
                    return Some(taken);
                }
                Err(text) => problems.push(Problem::at(origin, text)),
            }
        }
        None
    }
}

const LIST_OF_TABLES: &str = "must be a list of `{name: …}`";

/// A list of tables written on one line, as a variable has it.
fn inline_tables(text: &str) -> Option<Vec<Table>> {
    let mut layer = Layer::yaml(&format!("a:\n  b: {text}"), None).ok()?;
    match layer.0.remove("a.b")?.value {
        Value::Tables(tables) => Some(tables),
        Value::Text(_) | Value::List(_) => None,
    }
}

const DEFAULTED: &str =
    "config.example.yml holds a valid default for every key read this way, which a test checks";

fn plain_text(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::List(_) | Value::Tables(_) => Err(format!("`{key}` is a list; it must be text")),
    }
}

/// Text that is the operator's own, not the `xxxxx` of an example file.
fn own_text(key: &str, value: &Value) -> Result<String, String> {
    let text = plain_text(key, value)?;
    if text.len() >= 3 && text.bytes().all(|byte| matches!(byte, b'x' | b'X')) {
        return Err(format!("`{key}` still holds the placeholder `{text}`: put your own value in its place"));
    }
    Ok(text)
}

/// The text of a file that holds one secret; one newline at its end is dropped. An error completes "the file …".
pub(crate) fn read_secret(path: &str) -> Result<SecretString, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(format!("is larger than {SECRET_FILE_BYTES_MAX} bytes: it cannot be a secret"));
    }
    let secret =
        text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if secret.is_empty() { Err("is empty".to_owned()) } else { Ok(secret.into()) }
}

fn in_range(text: &str, range: &RangeInclusive<u32>) -> Option<u32> {
    text.parse().ok().filter(|number| range.contains(number))
}

fn whole_number(range: &RangeInclusive<u32>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

fn chosen<T: Copy>(word: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

fn one_of<T>(choices: &[(&str, T)]) -> String {
    choices.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

fn section(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

/// The known key most like `key`: by spelling, or by its last part when only the section differs.
fn nearest<'a>(key: &str, known: &[&'a str]) -> &'a str {
    let leaf = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let distance = |known: &str| {
        let whole = strsim::damerau_levenshtein(key, known);
        let last = strsim::damerau_levenshtein(&leaf(key), &leaf(known));
        whole.min(last + 1)
    };
    known.iter().copied().min_by_key(|known| distance(known)).unwrap_or_default()
}
