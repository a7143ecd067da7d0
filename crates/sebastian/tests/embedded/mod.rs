//! One process, no servers: the ledger in a folder, tried as everything else is, from outside.

mod folder;
mod hand;
mod serving;
