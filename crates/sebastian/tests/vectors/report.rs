//! What became of each row.

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde_json::Value;

use crate::divergences::Divergences;

/// What did not hold, in words. Nothing: all of it held.
pub type Problems = Vec<String>;

/// A row, tried.
pub struct Tried {
    pub system: &'static str,
    pub id: String,
    pub row: Value,
    /// The file itself says that this is a defect, a divergence or a quirk.
    pub marked: bool,
    pub checks: Vec<Check>,
}

/// A row, tried under one preset or against one variant.
pub struct Check {
    pub under: String,
    pub problems: Problems,
    /// Variants of the row that expect just what the product did.
    pub same_as: Vec<String>,
}

impl Check {
    /// Tries a row. What cannot be understood, and a panic, are problems like any other.
    pub fn of(under: impl Into<String>, attempt: impl FnOnce() -> Result<Problems, String>) -> Self {
        let problems = match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(problems)) => problems,
            Ok(Err(unclear)) => vec![format!("cannot be played: {unclear}")],
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
                vec![format!("panicked: {}", said.unwrap_or("without a word"))]
            }
        };
        Self { under: under.into(), problems, same_as: Vec::new() }
    }
}

/// Compares, and says what differs.
pub fn expect<T: PartialEq + std::fmt::Debug>(problems: &mut Problems, what: &str, expected: &T, found: &T) {
    if expected != found {
        problems.push(format!("{what}: expected {expected:?}, found {found:?}"));
    }
}

/// The rows of one file, or of all.
#[derive(Default)]
pub struct Tally {
    pub passed: usize,
    /// Each with why.
    pub diverged: Vec<String>,
    /// Those of `diverged` that their file does not mark.
    pub unmarked: usize,
    /// Each with what did not hold.
    pub failed: Vec<String>,
}

impl Tally {
    pub fn of(rows: &[Tried], divergences: &Divergences) -> Self {
        let mut tally = Self::default();
        for row in rows {
            tally.judge(row, divergences);
        }
        tally
    }

    fn judge(&mut self, row: &Tried, divergences: &Divergences) {
        let mut reasons = Vec::new();
        let mut failures = String::new();
        let mut is_marked = true;
        for check in row.checks.iter().filter(|check| !check.problems.is_empty()) {
            let known = divergences.reason(row, check);
            if known.is_none() && row.marked {
                reasons.push(format!("{}: marked in the file", check.under));
            } else if let Some(reason) = known {
                is_marked &= row.marked;
                reasons.push(format!("{}: {reason}", check.under));
            } else {
                let _ = write!(failures, "\n    under {}: {}", check.under, check.problems.join("; "));
            }
        }
        if !failures.is_empty() {
            self.failed.push(format!("{}{failures}", row.id));
        } else if reasons.is_empty() {
            self.passed += 1;
        } else {
            self.unmarked += usize::from(!is_marked);
            self.diverged.push(format!("{}: {}", row.id, reasons.join("; ")));
        }
    }

    pub fn rows(&self) -> usize {
        self.passed + self.diverged.len() + self.failed.len()
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.diverged.extend(other.diverged);
        self.unmarked += other.unmarked;
        self.failed.extend(other.failed);
    }

    pub fn print(&self, name: &str) {
        for (word, rows) in [("diverged", &self.diverged), ("FAILED", &self.failed)] {
            rows.iter().for_each(|row| println!("{word} {row}"));
        }
        println!(
            "{name}: {} passed, {} diverged, {} failed ({} of the diverged are not marked in the file)",
            self.passed,
            self.diverged.len(),
            self.failed.len(),
            self.unmarked,
        );
    }
}
