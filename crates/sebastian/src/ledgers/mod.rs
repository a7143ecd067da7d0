//! What an operator does with a whole ledger: copy it, put a copy back, move it to PostgreSQL.

mod args;
mod copies;
mod moving;
mod progress;

pub use self::args::{Backup, Move, Restore};
pub(crate) use self::{
    copies::{backup, restore},
    moving::move_ledger,
};
