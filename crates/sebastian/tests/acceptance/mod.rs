//! What a support desk relies on, shown from outside: real processes, real servers, the platform's own ledger.

mod events;
mod faults;
mod house;
mod order;
mod privacy;
mod sessions;
