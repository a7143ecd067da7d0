//! The core's promises: by example, by exhaustion of a small scope, and by property against naive models.

mod adoption;
mod choosing;
mod dealt;
mod deciding;
mod doubts;
mod explaining;
mod metamorphic;
mod noticing;
mod oracle;
mod policies;
mod reservations;
mod routes;
mod rulebook;
mod rules;
mod sequences;
mod sessions;
mod small_scope;
mod support;
mod troubleshooting;
mod updates;
mod worlds;
