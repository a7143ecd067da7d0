//! How long it takes to check what a caller presents: the secret of a webhook and the token of an operator's program,
//! right or wrong, where one is known and where ten are. Of what was presented the time tells its length and nothing else.
//!
//! Any argument is a part of the name of what to time: `cargo bench -p sebastian-ingest --bench secrets -- webhook`.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use secrecy::SecretString;

#[path = "../src/secret.rs"]
#[expect(dead_code, reason = "only the checks are timed")]
mod secret;
use secret::{AdminToken, Scope, Secret, find_token, is_one_of};

/// As long as a generated one.
fn text(n: usize) -> String {
    format!("{n:04}-5f0d1c6b9a8e4372b1c0d9e8f7a6b5c4")
}

/// Something to present, by how it compares with what is known.
fn presented() -> [(&'static str, String); 4] {
    let first = text(0);
    let almost = format!("{}x", &first[..first.len() - 1]);
    [("right", first), ("wrong_in_the_last", almost), ("nothing", String::new()), ("long", "x".repeat(4_096))]
}

fn checks(c: &mut Criterion) {
    let mut group = c.benchmark_group("check");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for known in [1, 10] {
        let secret = |n| Secret::new(SecretString::from(text(n))).expect("it is not empty");
        let secrets: Vec<Secret> = (0..known).map(secret).collect();
        let token = |n| {
            AdminToken::new("desk", &SecretString::from(text(n)), Scope::Operate).expect("it is not empty")
        };
        let tokens: Vec<AdminToken> = (0..known).map(token).collect();
        for (what, presented) in presented() {
            assert_eq!(is_one_of(&secrets, presented.as_bytes()), what == "right");
            assert_eq!(find_token(&tokens, presented.as_bytes()).is_some(), what == "right");
            group.bench_function(format!("webhook_secret/{known}/{what}"), |b| {
                b.iter(|| is_one_of(&secrets, black_box(presented.as_bytes())));
            });
            group.bench_function(format!("admin_token/{known}/{what}"), |b| {
                b.iter(|| find_token(&tokens, black_box(presented.as_bytes())).is_some());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, checks);
criterion_main!(benches);
