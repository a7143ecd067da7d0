//! How long it takes to sign a letter as each attempt to deliver it does, with one secret and with two while a rotated one
//! still counts.
//!
//! `cargo bench -p sebastian-courier --bench sign`.

use std::{
    collections::BTreeSet,
    hint::black_box,
    time::{Duration, SystemTime},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sebastian_core::Timestamp;
use sebastian_store::{Subscription, SubscriptionId};
use secrecy::SecretString;
use standardwebhooks::Webhook;

#[path = "../src/signature.rs"]
mod signature;

const LETTER: &str = "msg_01J9ZQ5S0V4W8D3T7B6K2M1N0P";
const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw5x1r7QpG2bA=",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDb1Zr0k9y8zQ=",
];
/// An event with all that one may carry.
const BODY: &str = r#"{"type":"conversation.assigned","timestamp":"2026-11-21T09:12:44.250Z","data":{"account":1,"conversation":918273,"room":"123456789","agent":210431,"previous_agent":210432,"inbox":88121,"team":5501,"waited_ms":12345,"load":2,"capacity":3}}"#;

fn subscription(previous: Option<&str>, now: Timestamp) -> Subscription {
    let until = now + Duration::from_secs(3_600);
    Subscription {
        id: SubscriptionId(1),
        url: String::new(),
        events: BTreeSet::new(),
        secret: SecretString::from(SECRETS[0]),
        previous: previous.map(|secret| (SecretString::from(secret), until)),
        disabled: None,
        delivered_at: None,
        created_at: now,
        updated_at: now,
    }
}

fn signatures(c: &mut Criterion) {
    let mut group = c.benchmark_group("sign");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(BODY.len() as u64));
    // A receiver takes nothing old.
    let now = Timestamp::from(SystemTime::now());
    for (secrets, previous) in [(1, None), (2, Some(SECRETS[1]))] {
        let to = subscription(previous, now);
        let headers = signature::headers(&to, LETTER, now, BODY).expect("the secrets are base64");
        for secret in &SECRETS[..secrets] {
            let webhook = Webhook::new(secret).expect("the secret is base64");
            webhook.verify(BODY.as_bytes(), &headers).expect("it is signed");
        }
        group.bench_function(format!("secrets/{secrets}"), |b| {
            b.iter(|| signature::headers(black_box(&to), LETTER, now, BODY));
        });
    }
    group.finish();
}

criterion_group!(benches, signatures);
criterion_main!(benches);
