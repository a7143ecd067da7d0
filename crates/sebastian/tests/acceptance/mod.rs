//! What a support desk relies on, shown from outside: real processes, real servers, the platform's own ledger.

mod audit;
mod events;
mod faults;
pub mod house;
mod ledger_faults;
mod machine_faults;
mod order;
mod platform_faults;
mod privacy;
mod redis_faults;
mod sessions;
