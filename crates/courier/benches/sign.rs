//! How long it takes to sign an event as each attempt to deliver it does, with one secret and with two while a rotated
//! one still counts, and how long a receiver takes to check it.
//!
//! Any argument is a part of the name of what to time: `cargo bench -p sebastian-courier --bench sign -- verify`.

use std::{
    hint::black_box,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reqwest::header::HeaderMap;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

const LETTER: &str = "msg_01J9ZQ5S0V4W8D3T7B6K2M1N0P";
const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw5x1r7QpG2bA=",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDb1Zr0k9y8zQ=",
];
/// An event with all that one may carry.
const BODY: &str = r#"{"type":"conversation.assigned","timestamp":"2026-11-21T09:12:44.250Z","data":{"account":1,"conversation":918273,"room":"123456789","agent":210431,"previous_agent":210432,"inbox":88121,"team":5501,"waited_ms":12345,"load":2,"capacity":3}}"#;

/// The signatures of [`BODY`]; a secret is read anew for each attempt, as it is stored.
fn sign(secrets: &[&str], seconds: i64) -> String {
    let sign = |secret: &&str| {
        let webhook = Webhook::new(secret).expect("the secret is base64");
        webhook.sign(LETTER, seconds, BODY.as_bytes()).expect("there is nothing that could not be signed")
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_secs()).expect("it is long before the end of time")
}

fn signatures(c: &mut Criterion) {
    let mut group = c.benchmark_group("event");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(BODY.len() as u64));
    let seconds = now_s();
    for secrets in [&SECRETS[..1], &SECRETS[..]] {
        group.bench_function(format!("sign/{}", secrets.len()), |b| {
            b.iter(|| sign(black_box(secrets), seconds));
        });
    }
    let mut headers = HeaderMap::new();
    headers.insert(HEADER_WEBHOOK_ID, LETTER.parse().expect("an id is a header"));
    headers.insert(HEADER_WEBHOOK_TIMESTAMP, seconds.into());
    headers.insert(HEADER_WEBHOOK_SIGNATURE, sign(&SECRETS, seconds).parse().expect("so are signatures"));
    for (which, secret) in (1..).zip(SECRETS) {
        let webhook = Webhook::new(secret).expect("the secret is base64");
        group.bench_function(format!("verify/{which}"), |b| {
            b.iter(|| webhook.verify(black_box(BODY.as_bytes()), &headers).expect("it is signed"));
        });
    }
    group.finish();
}

criterion_group!(benches, signatures);
criterion_main!(benches);
