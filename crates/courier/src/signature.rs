//! The signature of a letter.

use reqwest::header::HeaderMap;
use sebastian_core::Timestamp;
use sebastian_store::Subscription;
use secrecy::{ExposeSecret, SecretString};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

/// A secret does not sign: it is not base64.
#[derive(Debug)]
pub(crate) struct BadSecret;

/// The headers of the Standard Webhooks specification. While a rotated secret still counts, both sign.
pub(crate) fn headers(
    to: &Subscription,
    id: &str,
    now: Timestamp,
    body: &str,
) -> Result<HeaderMap, BadSecret> {
    let seconds = now.as_millis().div_euclid(1_000);
    let sign = |secret: &SecretString| {
        let webhook = Webhook::new(secret.expose_secret()).map_err(|_| BadSecret)?;
        webhook.sign(id, seconds, body.as_bytes()).map_err(|_| BadSecret)
    };
    let mut signature = sign(&to.secret)?;
    if let Some((previous, until)) = &to.previous
        && *until > now
    {
        signature = format!("{signature} {}", sign(previous)?);
    }
    let mut headers = HeaderMap::new();
    let values = [
        (HEADER_WEBHOOK_ID, id.to_owned()),
        (HEADER_WEBHOOK_TIMESTAMP, seconds.to_string()),
        (HEADER_WEBHOOK_SIGNATURE, signature),
    ];
    for (name, value) in values {
        headers.insert(name, value.parse().map_err(|_| BadSecret)?);
    }
    Ok(headers)
}
