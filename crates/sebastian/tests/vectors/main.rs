//! The conformance vectors: what Chatwoot's Assignment v2 and Libredesk's auto-assigner decide, row by row, through the
//! product's own code.
//!
//! A row passes, or its known difference stands in `divergences.json` with the reason. `SEBASTIAN_VECTORS=DIR` runs every
//! `*.json` of another folder of the same formats: `SEBASTIAN_VECTORS=DIR cargo test -p sebastian --test vectors --
//! --nocapture`.

mod chatwoot;
mod desk;
mod divergences;
mod libredesk;
mod report;

use std::path::{Path, PathBuf};

use divergences::Divergences;
use report::Tally;
use serde_json::Value;

/// Of a hundred rows, at most so many may differ beside those that their file itself marks.
const DIVERGED_PERCENT_MAX: usize = 8;

#[test]
fn every_row_holds_or_its_difference_is_written_down_with_the_reason() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let divergences = Divergences::read(&committed.join("divergences.json"));
    let other = std::env::var_os("SEBASTIAN_VECTORS").map(|folder| found(Path::new(&folder)));
    let folder = other.clone().unwrap_or_else(|| committed.join("data"));

    let mut all = Tally::default();
    for path in files_of(&folder) {
        let text = std::fs::read_to_string(&path).expect("a file of the folder can be read");
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(rows) = run(&document) else {
            println!("{name}: neither of the two formats, left out");
            continue;
        };
        let tally = Tally::of(&rows, &divergences);
        tally.print(&name);
        all.add(tally);
    }
    assert!(all.rows() > 0, "{} holds no vectors", folder.display());
    assert!(all.failed.is_empty(), "{} rows failed", all.failed.len());
    if other.is_none() {
        let most = all.rows() * DIVERGED_PERCENT_MAX / 100;
        assert!(all.unmarked <= most, "{} of {} rows differ, at most {most} may", all.unmarked, all.rows());
        assert_eq!(divergences.unused(), Vec::<String>::new(), "no row differs like this any more");
    }
}

/// Every row of a document and what became of it; `None` when it is in neither format.
fn run(document: &Value) -> Option<Vec<report::Tried>> {
    match (document.get("system").and_then(Value::as_str), document.get("subject").and_then(Value::as_str)) {
        (Some("chatwoot"), _) => Some(chatwoot::run(document)),
        (_, Some(subject)) if subject.contains("Libredesk") => Some(libredesk::run(document)),
        _ => None,
    }
}

/// A folder as whoever runs the tests names it: cargo runs them in their crate's.
fn found(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    if folder.is_relative() && !folder.is_dir() { root } else { folder.to_owned() }
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    files.sort();
    files
}
