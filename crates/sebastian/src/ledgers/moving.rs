//! `sebastian move`: the embedded ledger grows up.

use std::{fmt::Write as _, fs, sync::Mutex};

use sebastian_store::{
    PostgresStore,
    moving::{self, Moved, Progress, Step},
    postgres,
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Move,
    progress::{Line, percent},
};
use crate::{
    compose::folder::DataFolder,
    config::{Config, Loaded, Problem},
    failure::Failure,
    print,
};

/// Moves the ledger, and returns what to say of it. Tells of every table meanwhile.
pub(crate) async fn move_ledger(loaded: &Loaded, asked: &Move) -> Result<String, Failure> {
    let config = &loaded.config;
    let folder = DataFolder::of(asked.from.as_deref().or(config.data.as_deref()))?;
    let to = target(config, asked)?;
    // The reason might quote the password.
    let unusable =
        || Problem::new("the database to move to must be a postgres:// URL or `host=… user=… dbname=…`");
    let address = postgres::address(to.expose_secret()).ok_or_else(unusable)?;
    let store = PostgresStore::new(to.expose_secret(), 1, config.timing).map_err(|_| unusable())?;
    folder.look_for_ledger()?;
    let held = folder.hold()?;
    let line = Mutex::new(Line::new());
    let moved = moving::move_ledger(&folder.ledger(), &store, &|progress| {
        // A line that broke down is not worth a move.
        if let Ok(line) = line.lock() {
            tell(&line, progress);
        }
    })
    .await;
    let took = line.into_inner().map(|line| line.elapsed()).unwrap_or_default();
    let moved = moved?;
    folder.note_moved(&address)?;
    drop(held);
    Ok(summary(&moved, &address, took.as_secs_f64(), &folder))
}

/// Where to: what was typed, else what the settings say.
fn target(config: &Config, asked: &Move) -> Result<SecretString, Problem> {
    if let Some(to) = &asked.to {
        return Ok(to.clone());
    }
    if let Some(file) = &asked.to_file {
        let read = fs::read_to_string(file);
        let unreadable = |error| Problem::new(format!("{} cannot be read: {error}", file.display()));
        return Ok(read.map_err(unreadable)?.trim_end().into());
    }
    config.db.connection_string.clone().ok_or_else(|| {
        Problem::new(
            "nothing says where to: name the database with --to or --to-file, or set `db.connection_string`",
        )
    })
}

/// Where a line can change it says how far everything is, elsewhere each table has one of its own.
fn tell(line: &Line, Progress { step, table, table_rows, rows, of }: Progress) {
    match step {
        Step::Copying => line.show(|elapsed| {
            let rate = u128::from(rows) * 1_000 / elapsed.as_millis().max(1);
            format!("copying {table}: {rows} of {of} rows, {} %, {rate} rows/s", percent(rows, of))
        }),
        Step::Copied if !line.is_shown() => print(&format!("copied {table}: {table_rows} rows\n")),
        Step::Copied => {}
        Step::Verifying => line.show(|_| format!("comparing {table}: {table_rows} rows")),
    }
}

fn summary(moved: &Moved, address: &str, seconds: f64, folder: &DataFolder) -> String {
    let rows: u64 = moved.tables.iter().map(|(_, rows)| rows).sum();
    let again = if moved.is_again { ", in the place of an earlier move" } else { "" };
    let mut text =
        format!("moved to {address}{again}: {rows} rows in {seconds:.1} s, read back and compared\n");
    for (state, count) in &moved.states {
        append(&mut text, format_args!("  {count} {state}\n"));
    }
    append(
        &mut text,
        format_args!(
            "Set db.connection_string and redis.url, then start `sebastian -e webhook` and `sebastian -e worker`.\n\
             {} is as it was, and no longer served from: keep it until you are content.\n",
            folder.path().display()
        ),
    );
    text
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("writing to a string cannot fail");
}
