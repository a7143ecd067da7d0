//! The world simulation: the product in a world where everything goes wrong keeps every promise, and a product with a bug
//! planted in it is found out.

use std::env;

use sebastian_testkit::world::{Bug, Played, Settings, play, run};

/// Seeds of the test command; another number, and another first one, by these variables.
const SEEDS: u64 = 2_000;
const SEEDS_ENV: &str = "SEBASTIAN_SIM_SEEDS";
const FROM_ENV: &str = "SEBASTIAN_SIM_FROM";

/// What goes wrong in the world. A world in which one of these no longer happens proves less than it says.
const FAULTS: &[&str] = &[
    "account paused by an operator",
    "agent paused by an operator",
    "agent taken out of a room by hand",
    "attempt fenced off by a later one",
    "automatic assignment of an inbox switched",
    "call answered by a 401",
    "call answered by a 429",
    "call applied after its time-out",
    "call applied, answer lost",
    "call applied, answered by a 5xx",
    "call by a process that overslept its deadline",
    "call failed by a 5xx",
    "call lost",
    "call refused for no reason",
    "call refused: the agent",
    "call repeated, as nobody knew what became of the last",
    "capacity of an agent changed",
    "capacity policy of an agent changed",
    "commit of a decision not heard of",
    "commit of an end not heard of: written again",
    "conversation put off, labelled, ranked, given back or tried again by an operator",
    "fair distribution of an inbox changed",
    "inbox paused by an operator",
    "leave of an agent changed",
    "ledger down",
    "list behind by more than a second",
    "lost room found again",
    "platform fails now and then",
    "platform lets nobody in",
    "platform overloaded",
    "platform silent",
    "read answered by a 401",
    "read answered by a 429 or 503",
    "read failed by a 5xx",
    "read timed out",
    "reservation taken over",
    "room given or moved by hand",
    "room resolved by hand, served or not",
    "room that refuses everybody",
    "roster cache down",
    "roster cut short",
    "strategy of an inbox changed",
    "wake-up lost",
    "webhook answered by a 503",
    "webhook doubled",
    "webhook late, behind those after it",
    "webhook lost",
    "webhook repeated: its answer was lost",
    "worker crashes after the commit of a decision, or between two calls",
    "worker crashes between an answer and its record",
    "worker crashes during a call",
    "worker crashes during a read-back",
    "worker crashes right before a call",
    "worker stopped for a minute in the middle of an attempt",
];

fn number(variable: &str, usual: u64) -> u64 {
    env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

fn told(played: &Played) -> String {
    played.broken.iter().take(5).map(|report| report.in_words()).collect()
}

#[test]
fn every_promise_holds_through_every_fault() {
    let (from, seeds) = (number(FROM_ENV, 0), number(SEEDS_ENV, SEEDS));
    let played = play(from..from + seeds, &Settings::default());
    println!("{seeds} seeds from {from}: {}", played.in_words());
    assert!(played.broken.is_empty(), "{} seeds broke a promise\n{}", played.broken.len(), told(&played));
    let rare =
        FAULTS.iter().filter(|what| played.faults.get(**what).is_none_or(|times| *times < seeds / 100));
    assert_eq!(rare.collect::<Vec<_>>(), Vec::<&&str>::new(), "these hardly happen any more");
}

#[test]
fn the_same_seed_plays_the_same_history() {
    let settings = Settings { tells: true, ..Settings::default() };
    for seed in 0..4 {
        let (once, again) = (run(seed, &settings), run(seed, &settings));
        assert!(once.history.len() > 1_000, "seed {seed}: a day has more to tell");
        let apart = once.history.iter().zip(&again.history).position(|(one, other)| one != other);
        assert_eq!(apart, None, "seed {seed}: the histories part here");
        assert_eq!(once, again, "seed {seed}");
    }
    assert_ne!(run(0, &settings).digest, run(1, &settings).digest);
}

/// Plays seeds with a bug until one breaks this promise, and checks that what it says is of use.
fn is_found_out(bug: Bug, promise: &str) {
    let settings = Settings { bug: Some(bug), ..Settings::default() };
    for seed in 0..SEEDS {
        let report = run(seed, &settings);
        let Some(found) = report.broken.iter().find(|one| one.violation.id == promise) else { continue };
        println!("{bug:?} found by seed {seed}: {}", found.violation.what);
        let words = report.in_words();
        assert!(words.contains(&format!("sim -- --seed {seed}")), "how to play it again: {words}");
        assert!(!found.story.is_empty(), "how it came to that: {}", found.violation.what);
        return;
    }
    panic!("{SEEDS} seeds with {bug:?} broke {promise} never");
}

#[test]
fn i1_a_webhook_answered_before_it_is_kept_is_found_out() {
    is_found_out(Bug::SwallowedRetry, "I1");
}

#[test]
fn i2_a_second_agent_after_an_unanswered_call_is_found_out() {
    is_found_out(Bug::SecondAgent, "I2");
}

#[test]
fn i2_a_settlement_by_an_attempt_long_taken_over_is_found_out() {
    is_found_out(Bug::NoFence, "I2");
}

#[test]
fn i3_a_decision_that_knows_no_capacity_is_found_out() {
    is_found_out(Bug::NoCapacity, "I3");
}

#[test]
fn i4_last_come_first_served_is_found_out() {
    is_found_out(Bug::LastComeFirst, "I4");
}

#[test]
fn i5_counts_that_nobody_compares_with_the_platform_are_found_out() {
    is_found_out(Bug::NoHealing, "I5");
}

#[test]
fn i6_a_decision_blind_to_presence_is_found_out() {
    is_found_out(Bug::BlindToPresence, "I6");
}

#[test]
fn i7_resolves_that_do_not_name_their_session_are_found_out() {
    is_found_out(Bug::NamelessResolves, "I7");
}

#[test]
fn i8_reservations_that_nobody_takes_over_are_found_out() {
    is_found_out(Bug::NoTakeOver, "I8");
}

#[test]
fn i9_a_copy_of_a_resolve_that_ends_the_next_session_is_found_out() {
    is_found_out(Bug::NamelessResolves, "I9");
}

#[test]
fn i10_a_decision_that_looks_at_no_window_is_found_out() {
    is_found_out(Bug::NoWindow, "I10");
}

#[test]
fn i13_a_decision_by_other_rules_than_are_recorded_is_found_out() {
    is_found_out(Bug::OtherStrategy, "I13");
}
