//! Bodies as nobody should send them: a good one with some of it dropped, doubled, renamed, replaced or cut.
//!
//! A [`Harm`] is plain numbers, so that proptest draws and shrinks them; the same numbers harm the same text alike.

use serde_json::Value;

/// One thing done to a text: what, where and with what, each taken modulo what there is.
pub type Harm = (u8, u16, u16);

/// JSON of every type, and what is nearly JSON: numbers out of every range, half a surrogate pair, U+0000, words of
/// other languages. None is longer than a few kB, so that a hundred thousand bodies take seconds.
pub const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "1.0",
    "1.5",
    "1e400",
    "-1e400",
    "1e-400",
    "1E3",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    r#""""#,
    r#"" ""#,
    r#""0""#,
    r#""1""#,
    r#""-1""#,
    r#""+1""#,
    r#"" 7 ""#,
    r#""true""#,
    r#""false""#,
    r#""null""#,
    r#""1e400""#,
    r#""\u0000""#,
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud83d\ude00""#,
    r#""\u001b[2J""#,
    r#""\u202eabc""#,
    r#""\ufeff1""#,
    r#""a\nb""#,
    r#""\\""#,
    r#""'; DROP TABLE events; --""#,
    r#""{\"id\": 1}""#,
    r#""resolved agent room exceed max agents""#,
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[{}]",
    r#"{"id": null}"#,
    r#"{"id": 1, "id": 2}"#,
    r#"{"id": "a\u0000", "is_resolved": true}"#,
    r#"{"\u0069d": 5, "is_resolved": "1"}"#,
    r#"{"": ""}"#,
    "NaN",
    "Infinity",
    "undefined",
    "None",
    "01",
    ".5",
    "+1",
    "0x10",
    "'a'",
    "\"a\tb\"",
    r#""\x41""#,
    r#""open"#,
    "1 2",
    "",
    "/* */ 1",
    "[1,]",
    "\u{feff}1",
];

/// Bytes put into a text where they do not belong.
const BYTES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"1",
    b"e",
    b"\\u0000",
    b"\\ud800",
];

/// A long text, deep nesting both closed and open: too large to list among [`VALUES`].
fn large(which: usize) -> String {
    match which % 5 {
        0 => format!("\"{}\"", "9".repeat(129)),
        1 => format!("\"{}\"", "é".repeat(2_000)),
        2 => "[".repeat(600) + &"]".repeat(600),
        3 => "{\"a\":".repeat(300) + "1" + &"}".repeat(300),
        _ => "[".repeat(600),
    }
}

/// JSON that may have gone wrong: scalars and keys as they are written.
enum Node {
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    fn of(value: &Value) -> Self {
        match value {
            Value::Array(list) => Self::List(list.iter().map(Self::of).collect()),
            Value::Object(map) => Self::Map(
                map.iter()
                    .map(|(key, value)| (Value::from(key.as_str()).to_string(), Self::of(value)))
                    .collect(),
            ),
            scalar => Self::Scalar(scalar.to_string()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Scalar(_) => 0,
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
        }
    }

    fn child(&mut self, i: usize) -> &mut Self {
        match self {
            Self::Scalar(_) => unreachable!("a scalar holds nothing"),
            Self::List(list) => &mut list[i],
            Self::Map(map) => &mut map[i].1,
        }
    }

    /// Where everything within stands, itself left out.
    fn places(&mut self, above: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        for i in 0..self.len() {
            above.push(i);
            found.push(above.clone());
            self.child(i).places(above, found);
            above.pop();
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(text) => out.push_str(text),
            Self::List(list) => {
                out.push('[');
                for (i, node) in list.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    node.write(out);
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push('{');
                for (i, (key, node)) in map.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    out.push_str(key);
                    out.push(':');
                    node.write(out);
                }
                out.push('}');
            }
        }
    }

    fn harm(&mut self, (what, place, with): Harm) {
        let mut places = Vec::new();
        self.places(&mut Vec::new(), &mut places);
        let Some(place) = places.get(usize::from(place) % places.len().max(1)) else { return };
        let Some((&last, above)) = place.split_last() else { return };
        let parent = above.iter().fold(self, |node, i| node.child(*i));
        let with = usize::from(with);
        match what % TREE_HARMS {
            0 => match parent {
                Self::Scalar(_) => {}
                Self::List(list) => drop(list.remove(last)),
                Self::Map(map) => drop(map.remove(last)),
            },
            1 => match parent {
                Self::Scalar(_) => {}
                Self::List(list) => list.insert(last, value(with)),
                Self::Map(map) => {
                    let key = map[last].0.clone();
                    map.insert(last + with % 2, (key, value(with / 2)));
                }
            },
            2 => {
                if let Self::Map(map) = parent {
                    map[last].0 = renamed(&map[last].0, with);
                }
            }
            3 => {
                let node = parent.child(last);
                let inner = std::mem::replace(node, Self::List(Vec::new()));
                *node = match with % 3 {
                    0 => Self::List(vec![inner]),
                    1 => Self::Map(vec![("\"id\"".to_owned(), inner)]),
                    _ => {
                        let mut text = String::new();
                        inner.write(&mut text);
                        Self::Scalar(Value::from(text).to_string())
                    }
                };
            }
            _ => *parent.child(last) = value(with),
        }
    }
}

fn value(which: usize) -> Node {
    let which = which % (VALUES.len() + 5);
    Node::Scalar(VALUES.get(which).map_or_else(|| large(which), |text| (*text).to_owned()))
}

fn renamed(key: &str, how: usize) -> String {
    let inner = key.trim_matches('"');
    match how % 8 {
        0 => format!("\"{}\"", inner.to_uppercase()),
        1 => format!("\" {inner}\""),
        2 => format!("\"{inner}\\u0000\""),
        3 => format!("\"\\ufeff{inner}\""),
        // The same name, written otherwise.
        4 => format!("\"{}\"", inner.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<String>()),
        5 => "\"id\"".to_owned(),
        6 => "\"\"".to_owned(),
        _ => inner.to_owned(),
    }
}

/// Harms to what the text says; the others are to its bytes.
const TREE_HARMS: u8 = 8;

/// `text` after all of `harms`. One that is no JSON is harmed in its bytes alone.
#[must_use]
pub fn harmed(text: &[u8], harms: &[Harm]) -> Vec<u8> {
    let is_to_bytes = |harm: &&Harm| harm.0 % (TREE_HARMS + 3) >= TREE_HARMS;
    let mut bytes = match serde_json::from_slice(text) {
        Ok(value) => {
            let mut node = Node::of(&value);
            harms.iter().filter(|harm| !is_to_bytes(harm)).for_each(|harm| {
                node.harm((harm.0 % (TREE_HARMS + 3), harm.1, harm.2));
            });
            let mut out = String::new();
            node.write(&mut out);
            out.into_bytes()
        }
        Err(_) => text.to_vec(),
    };
    for (what, place, with) in harms.iter().filter(is_to_bytes) {
        let at = usize::from(*place) % (bytes.len() + 1);
        let with = usize::from(*with);
        match what % (TREE_HARMS + 3) - TREE_HARMS {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (with % 8);
                }
            }
            _ => {
                bytes.splice(at..at, BYTES[with % BYTES.len()].iter().copied());
            }
        }
    }
    bytes
}
