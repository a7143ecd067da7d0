//! What this crate promises, checked from outside: bodies as platforms send them, a server as bad as networks get.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod qiscus;
