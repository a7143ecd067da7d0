//! The core's promises: by example, by exhaustion of a small scope, and by property against naive models.

mod adoption;
mod choosing;
mod deciding;
mod doubts;
mod explaining;
mod oracle;
mod reservations;
mod sequences;
mod sessions;
mod small_scope;
mod support;
