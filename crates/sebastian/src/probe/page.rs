//! One page over HTTP: asked for once, through no proxy, following no redirect.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use reqwest::header::DATE;
use serde_json::Value;

/// Our own answers stay under 1 kB; of a stranger's no more is of interest.
const BODY_BYTES_MAX: usize = 64 << 10;

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Page {
    /// The HTTP status.
    pub status: u16,
    /// What the answering machine's clock said, to the second, if it told.
    pub date: Option<SystemTime>,
    /// The body, where it is JSON; else null.
    pub body: Value,
    /// Our own clock just before the request and just after the head of the answer.
    pub asked: (SystemTime, SystemTime),
}

/// Why there is no answer, in a few words that quote neither URL nor body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPage {
    /// Nothing listens there.
    #[error("nobody listens there")]
    Refused,
    /// No answer within the time given.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The name, the way there or TLS: as the system told it.
    #[error("{0}")]
    Failed(String),
}

impl Page {
    /// Whether it is an answer of a Sebastian: health, or an error in our own shape.
    pub fn is_ours(&self) -> bool {
        let has = |key: &str| self.body.get(key).is_some_and(|value| !value.is_null());
        (has("status") && has("checks")) || (has("error") && has("request_id"))
    }
}

/// Asks for `url` once, for at most `patience`.
pub(crate) async fn get(url: &str, patience: Duration) -> Result<Page, NoPage> {
    let client = reqwest::Client::builder()
        .timeout(patience)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(concat!("sebastian/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| told(&error, patience))?;
    let before = SystemTime::now();
    let mut response = client.get(url).send().await.map_err(|error| told(&error, patience))?;
    let asked = (before, SystemTime::now());
    let status = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let mut body = Vec::new();
    // The head has told enough: a body that breaks off is one that is not ours.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_BYTES_MAX {
            break;
        }
    }
    Ok(Page { status, date, body: serde_json::from_slice(&body).unwrap_or_default(), asked })
}

fn told(error: &reqwest::Error, patience: Duration) -> NoPage {
    if error.is_timeout() {
        return NoPage::Late(patience);
    }
    // The lowest cause is the system's own; those above it repeat that a request failed, and its URL.
    let below = std::iter::successors(error.source(), |error| (*error).source());
    let is_refused = |error: &(dyn Error + 'static)| {
        let error = error.downcast_ref::<std::io::Error>();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    if below.clone().any(is_refused) {
        return NoPage::Refused;
    }
    NoPage::Failed(below.last().map_or_else(|| "the request cannot be sent".to_owned(), ToString::to_string))
}
