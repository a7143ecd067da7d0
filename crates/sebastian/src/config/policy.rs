//! Section `policy`: who is given conversations where no assignment policy says otherwise.

use std::time::Duration;

use sebastian_core::{
    AbsenceRule, FairDistribution, Policy, Presence, Role, SlotRule,
    policy::{ORDERS, PRESETS, REASSIGN_OFFLINE, STRATEGIES},
};

use super::reader::Reader;

const ROLES: &[(&str, Role)] =
    &[("agent", Role::Agent), ("supervisor", Role::Supervisor), ("admin", Role::Admin)];
const PRESENCES: &[(&str, Presence)] = &[
    ("online", Presence::Online),
    ("busy", Presence::Busy),
    ("away", Presence::Away),
    ("offline", Presence::Offline),
];

/// The window of a limit given without one.
const WINDOW: Duration = Duration::from_secs(3_600);

/// The preset's policy, with what the operator sets differently. `capacity` stands in another section.
pub(super) fn read(from: &mut Reader, capacity: Option<u32>, staleness_max: Duration) -> Policy {
    let preset = from.choice("policy.preset", PRESETS);
    let defaults = Policy::of(preset);
    let strategy = from.optional_choice("policy.strategy", STRATEGIES);
    let order = from.optional_choice("policy.order", ORDERS);
    let roles = from.optional_choices("policy.roles", ROLES);
    let presences = from.optional_choices("policy.presences", PRESENCES);
    let limit = from.optional_number("policy.fair_distribution_limit", 0..=100_000);
    let window = from.optional_seconds("policy.fair_distribution_window_s", 1..=2_678_400);
    let hours = from.optional_number("policy.exclude_older_than_hours", 0..=87_600);
    let reassigns_strays = from.optional_flag("policy.reassign_strays");
    let absence = AbsenceRule {
        reassign: from.choice("policy.reassign_offline", REASSIGN_OFFLINE),
        grace: from.seconds("policy.offline_grace_s", 1..=604_800),
    };
    let slots = SlotRule {
        pending_holds: from.flag("policy.pending_holds_slot"),
        snoozed_holds: from.flag("policy.snoozed_holds_slot"),
    };
    let fair = defaults.fair_distribution;
    if limit.is_none() && fair.is_none() && window.is_some() {
        from.problem(
            "`policy.fair_distribution_window_s` is set and `policy.fair_distribution_limit` is not: set both or neither",
        );
    }
    let limit = limit.map_or(fair.map(|fair| fair.limit), |limit| Some(limit).filter(|limit| *limit > 0));
    let window = window.or(fair.map(|fair| fair.window)).unwrap_or(WINDOW);
    Policy {
        strategy: strategy.unwrap_or(defaults.strategy),
        order: order.unwrap_or(defaults.order),
        capacity: capacity.or(defaults.capacity),
        fair_distribution: limit.map(|limit| FairDistribution { limit, window }),
        exclude_older_than: hours.map_or(defaults.exclude_older_than, |hours| {
            (hours > 0).then(|| Duration::from_secs(u64::from(hours) * 3_600))
        }),
        roles: roles.unwrap_or(defaults.roles),
        presences: presences.unwrap_or(defaults.presences),
        slots,
        reassigns_strays: reassigns_strays.unwrap_or(defaults.reassigns_strays),
        absence,
        staleness_max,
        preset,
        deals_without_team: defaults.deals_without_team,
    }
}
