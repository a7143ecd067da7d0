//! Where values come from: YAML and the environment, each read into one flat layer of `section.key` entries.
//!
//! Scalars stay the text that was written, until the reader knows what they are for. A YAML library that guesses types
//! first would turn the password `0123` into 123, and `1e5` into 100000.

use std::{collections::BTreeMap, ffi::OsString, path::Path, str::Chars};

use yaml_rust2::{
    Event,
    parser::Parser,
    scanner::{Marker, ScanError, TScalarStyle},
};

use super::problem::{Origin, Problem};

const PREFIX: &str = "SEBASTIAN__";

/// A variable of Chatwoot's, and the key it stands for.
const FOREIGN: (&str, &str) = ("AUTO_ASSIGNMENT_BULK_LIMIT", "policy.batch_limit");

/// Sections hold keys, keys hold values; nothing nests deeper.
const DEPTH_MAX: usize = 2;

/// A value as written. No `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    List(Vec<String>),
    /// A list of things that have keys of their own, in the order they were written.
    Tables(Vec<Table>),
}

/// Keys of one thing in a list, with their values.
pub(super) type Table = Vec<(String, String)>;

pub(super) struct Entry {
    pub value: Value,
    pub origin: Origin,
}

impl Entry {
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Text(text) if text.is_empty())
    }
}

/// Values of one source, by `section.key`; a section given a value of its own stands there by its name alone.
#[derive(Default)]
pub(super) struct Layer(pub BTreeMap<String, Entry>);

impl Layer {
    /// The keys of a YAML text. `path` is for messages; without it the text is the built-in defaults.
    pub fn yaml(text: &str, path: Option<&Path>) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // The parser would take one for the end of the text.
        if let Some((before, _)) = text.split_once('\0') {
            let line = before.matches('\n').count() + 1;
            return Err(Problem::at(&origin(path, line), "this is not YAML: a NUL character stands here"));
        }
        let mut document = Document { parser: Parser::new_from_str(text), path, layer: Self::default() };
        document.read()?;
        Ok(document.layer)
    }

    /// The keys among `variables` that start with `SEBASTIAN__`, and the variable of Chatwoot's that is honoured; ours wins.
    pub fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Problem> {
        let mut layer = Self::default();
        for (name, value) in variables {
            let is_ours = |name: &&str| name.starts_with(PREFIX) || *name == FOREIGN.0;
            let Some(name) = name.to_str().filter(is_ours) else { continue };
            let origin = Origin::Environment(name.to_owned());
            let key = match name.strip_prefix(PREFIX) {
                Some(name) => name.replace("__", ".").to_lowercase(),
                None => FOREIGN.1.to_owned(),
            };
            let Ok(text) = value.into_string() else {
                return Err(Problem::at(&origin, "the value is not UTF-8 text"));
            };
            let entry = Entry { value: Value::Text(text), origin };
            if name == FOREIGN.0 {
                layer.0.entry(key).or_insert(entry);
            } else {
                layer.0.insert(key, entry);
            }
        }
        Ok(layer)
    }
}

/// The environment variable that sets `key`.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

struct Document<'a> {
    parser: Parser<Chars<'a>>,
    path: Option<&'a Path>,
    layer: Layer,
}

impl Document<'_> {
    fn read(&mut self) -> Result<(), Problem> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentStart, at) if !self.layer.0.is_empty() => {
                    return Err(self.problem(at, "a second document starts here; put everything in one"));
                }
                (Event::DocumentStart, _) => self.node("", 0)?,
                _ => {}
            }
        }
    }

    /// Reads what stands at `key`, `depth` levels below the root.
    fn node(&mut self, key: &str, depth: usize) -> Result<(), Problem> {
        let (event, at) = self.next()?;
        match event {
            Event::Scalar(text, style, ..) => self.insert(key, Value::Text(written(text, style)), at),
            Event::SequenceStart(..) => {
                let list = self.list(key)?;
                self.insert(key, list, at)
            }
            Event::MappingStart(..) if depth < DEPTH_MAX => self.mapping(key, depth),
            Event::MappingStart(..) => Err(self.problem(at, format!("`{key}` holds no keys of its own"))),
            Event::Alias(_) => Err(self.problem(at, "aliases are not supported; repeat the value")),
            _ => Err(self.problem(at, "expected a value")),
        }
    }

    fn mapping(&mut self, key: &str, depth: usize) -> Result<(), Problem> {
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(()),
                (Event::Scalar(name, ..), _) if key.is_empty() => self.node(&name, depth + 1)?,
                (Event::Scalar(name, ..), _) => self.node(&format!("{key}.{name}"), depth + 1)?,
                (_, at) => return Err(self.problem(at, "expected the name of a key")),
            }
        }
    }

    fn list(&mut self, key: &str) -> Result<Value, Problem> {
        let (mut list, mut tables) = (Vec::new(), Vec::new());
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) if tables.is_empty() => return Ok(Value::List(list)),
                (Event::SequenceEnd, _) => return Ok(Value::Tables(tables)),
                (Event::Scalar(text, style, ..), _) if tables.is_empty() => list.push(written(text, style)),
                (Event::MappingStart(..), _) if list.is_empty() => tables.push(self.table(key)?),
                (_, at) => {
                    return Err(self.problem(at, format!("`{key}` lists something that is no plain value")));
                }
            }
        }
    }

    fn table(&mut self, key: &str) -> Result<Table, Problem> {
        let mut table = Table::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(table),
                (Event::Scalar(name, ..), _) => match self.next()? {
                    (Event::Scalar(text, style, ..), _) => table.push((name, written(text, style))),
                    (_, at) => return Err(self.problem(at, format!("`{name}` in `{key}` is no plain value"))),
                },
                (_, at) => return Err(self.problem(at, "expected the name of a key")),
            }
        }
    }

    fn insert(&mut self, key: &str, value: Value, at: Marker) -> Result<(), Problem> {
        if key.is_empty() {
            // A file of comments alone reads as one empty scalar.
            let is_blank = matches!(&value, Value::Text(text) if text.is_empty());
            return if is_blank {
                Ok(())
            } else {
                Err(self.problem(at, "expected sections such as `listen:`"))
            };
        }
        let entry = Entry { value, origin: origin(self.path, at.line()) };
        match self.layer.0.insert(key.to_owned(), entry) {
            None => Ok(()),
            Some(first) => Err(self.problem(at, format!("`{key}` stands at {} already", first.origin))),
        }
    }

    fn next(&mut self) -> Result<(Event, Marker), Problem> {
        self.parser.next_token().map_err(|error: ScanError| {
            self.problem(*error.marker(), format!("this is not YAML: {}", error.info()))
        })
    }

    fn problem(&self, at: Marker, text: impl Into<String>) -> Problem {
        Problem::at(&origin(self.path, at.line()), text)
    }
}

fn origin(path: Option<&Path>, line: usize) -> Origin {
    match path {
        Some(path) => Origin::File { path: path.to_owned(), line },
        None => Origin::Default,
    }
}

/// The text of a scalar; YAML's words for "nothing" become the empty one.
fn written(text: String, style: TScalarStyle) -> String {
    let is_null = style == TScalarStyle::Plain && matches!(text.as_str(), "~" | "null" | "Null" | "NULL");
    if is_null { String::new() } else { text }
}
