//! `sebastian backup` and `sebastian restore`.

use sebastian_store::{
    backup::{self, Pages},
    postgres,
};
use secrecy::ExposeSecret;

use super::{
    Backup, Restore,
    progress::{Line, percent},
};
use crate::{
    compose::folder::DataFolder,
    config::{Config, Loaded, Problem},
    failure::Failure,
};

/// Copies the ledger, and returns what to say of it.
pub(crate) fn backup(loaded: &Loaded, Backup { file, force }: &Backup) -> Result<String, Failure> {
    let command = |database: &str| format!("pg_dump --format=custom --file={} {database}", file.display());
    let folder = folder(&loaded.config, command)?;
    folder.look_for_ledger()?;
    let line = Line::new();
    let copied = backup::backup(&folder.ledger(), file, *force, &mut |pages| copying(&line, pages))?;
    drop(line);
    let (bytes, schema, file) = (copied.bytes, copied.schema, file.display());
    Ok(format!("copied and checked: {file}, {}, schema version {schema}\n", size(bytes)))
}

/// Puts a copy in the ledger's place, and returns what to say of it.
pub(crate) fn restore(loaded: &Loaded, Restore { file }: &Restore) -> Result<String, Failure> {
    let command = |database: &str| {
        format!("pg_restore --clean --if-exists --single-transaction --dbname={database} {}", file.display())
    };
    let folder = folder(&loaded.config, command)?;
    let _held = folder.hold()?;
    let line = Line::new();
    let (copied, aside) = backup::restore(file, &folder.ledger(), &mut |pages| copying(&line, pages))?;
    drop(line);
    let (ledger, size) = (folder.ledger(), size(copied.bytes));
    let mut text = format!("checked and put in place: {}, {size}\n", ledger.display());
    if let Some(aside) = aside {
        text += &format!("the ledger that was there is {}\n", aside.display());
    }
    Ok(text + "`sebastian -e all` serves from it; what the platform knows better, the reconciler brings in\n")
}

/// The folder of the embedded ledger. With servers, tells which `command` does the same there.
fn folder(config: &Config, command: impl Fn(&str) -> String) -> Result<DataFolder, Problem> {
    if let Some(connection_string) = &config.db.connection_string {
        let address = postgres::address(connection_string.expose_secret());
        let command = command(&address.unwrap_or_else(|| "postgres://…".to_owned()));
        return Err(Problem::new(format!(
            "the settings name a ledger in PostgreSQL, which has tools of its own: {command}"
        )));
    }
    DataFolder::of(config.data.as_deref())
}

fn copying(line: &Line, Pages { done, of }: Pages) {
    line.show(|_| format!("copying: {} %", percent(done, of)));
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
