//! The words of these commands.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

const MOVE_EXAMPLES: &str = "\
The whole ledger goes over in one transaction: conversations, history, rules, subscriptions and what they are still
to be told, with every number. It is read back and compared before it counts; a move that is interrupted changes
nothing and can be run again. The folder stays as it is, with a note that keeps `-e all` from serving from it.

Examples:
  sebastian move --from /srv/desk                             to db.connection_string of the settings
  sebastian move --from /srv/desk --to-file /run/secrets/db   to what stands in that file";

const BACKUP_EXAMPLES: &str = "\
Examples:
  sebastian backup /backups/monday.db                     beside `sebastian -e all`, which goes on serving
  sebastian backup --force --data /srv/desk /backups/last.db";

const RESTORE_EXAMPLES: &str = "\
The copy is checked first. The ledger that is there is kept beside it, as ledger.db.before-restore-<time>.

Examples:
  sebastian restore /backups/monday.db";

/// Move the embedded ledger to PostgreSQL, while nothing runs
#[derive(Debug, Args)]
#[command(after_help = MOVE_EXAMPLES)]
pub struct Move {
    /// Folder of the embedded ledger; without it SEBASTIAN_DATA, else the platform's data folder.
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,

    /// The database; without it db.connection_string. Lists of processes show it: a password goes into --to-file.
    #[arg(long, value_name = "URL", conflicts_with = "to_file", value_parser = secret)]
    pub to: Option<SecretString>,

    /// File that holds what --to would say.
    #[arg(long, value_name = "FILE")]
    pub to_file: Option<PathBuf>,
}

/// Copy the embedded ledger into a file, beside a running process
#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub struct Backup {
    /// The file to make.
    pub file: PathBuf,

    /// Replace it, if it is there.
    #[arg(long)]
    pub force: bool,
}

/// Put a copy in the place of the embedded ledger, while nothing runs
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub struct Restore {
    /// What `sebastian backup` made.
    pub file: PathBuf,
}

#[expect(clippy::unnecessary_wraps, reason = "the parser of an argument may fail")]
fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}
