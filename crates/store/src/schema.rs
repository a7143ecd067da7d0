//! Versions of a ledger's schema.

/// What a migration run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Names of the migrations applied now, oldest first.
    pub applied: Vec<String>,
    /// The schema's version after it.
    pub version: u32,
}

/// The version a ledger's schema is at, and the one this program brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The newest migration applied.
    pub found: u32,
    /// The newest this program brings; never above `found`.
    pub needed: u32,
}
