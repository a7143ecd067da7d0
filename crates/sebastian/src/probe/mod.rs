//! What `init`, `doctor` and `healthcheck` ask of others, each call bounded in time, and the answers in an operator's words.

mod page;
mod platform;

pub(crate) use self::{
    page::{NoPage, get},
    platform::{Trouble, of_keys, of_login},
};
