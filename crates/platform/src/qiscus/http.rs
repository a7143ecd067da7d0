//! One HTTP call, and what its status means.
//!
//! Every call ends at the client's total timeout, body included; redirects are answers, not orders; bodies are
//! cut at a cap. The status is judged before the body, whose shape proves nothing: gateways answer in
//! HTML. Errors carry no URL and no body, and only the endpoint's name, status and time are traced.

use std::time::{Duration, Instant, SystemTime};

use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{DATE, HeaderMap, RETRY_AFTER},
};
use tracing::debug;

use crate::{PlatformError, Refusal, UnknownOutcome};

/// An answer about one thing. Real ones stay under 10 kB.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A page of a list: 100 agents who each belong to 1,000 channels come to 6 MB.
pub(super) const PAGE_BYTES_MAX: usize = 8 << 20;
/// Of a refusal only the message is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// A longer pause is our operator's to decide, not a header's.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Below the idle timeouts of common gateways (60 and 75 s), lest a write meets a connection being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a call does on the platform, which decides what a 5xx means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: an unavailable platform can simply be asked later.
    Read,
    /// Something: no 5xx tells whether it was done.
    Write,
}

/// A call, for traces and for judging its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    /// Its name in traces.
    pub name: &'static str,
    /// What it does.
    pub effect: Effect,
    /// The longest body a success may have.
    pub bytes_max: usize,
}

/// An answer whose status leaves no doubt about the outcome.
pub(super) enum Answer {
    /// A 2xx with its whole body.
    Success(String),
    /// Another 4xx, with as much of its body as could be had.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Up to 64 kB, possibly cut or empty.
        body: String,
    },
}

impl Answer {
    /// The body of a success. For calls where no refusal has a meaning of its own.
    pub fn success(self) -> Result<String, PlatformError> {
        match self {
            Self::Success(body) => Ok(body),
            Self::Refused { status, .. } => Err(PlatformError::Rejected(Refusal::Other(status))),
        }
    }
}

/// The connection pool and where it leads.
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
}

impl Http {
    /// Fails only when TLS cannot be set up.
    pub fn new(base: Url, connect_timeout: Duration, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .timeout(timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("sebastian/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, base })
    }

    /// A request to `path`, under the base URL. Each of `segments` is appended percent-encoded.
    pub fn request(&self, method: Method, path: &str, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http URL has path segments")
            .pop_if_empty()
            .extend(path.split('/'))
            .extend(segments);
        self.client.request(method, url)
    }

    /// Sends `request` once. A status that says neither yes nor no to the request itself is an error.
    /// So is a 2xx that cannot be read whole.
    pub async fn send(&self, endpoint: Endpoint, request: RequestBuilder) -> Result<Answer, PlatformError> {
        let started = Instant::now();
        let elapsed_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let response = request.send().await.map_err(|error| {
            let outcome = outcome_of(&error);
            debug!(endpoint = endpoint.name, elapsed_ms = elapsed_ms(), outcome = %outcome, "qiscus call failed");
            PlatformError::Unknown(outcome)
        })?;
        let status = response.status().as_u16();
        let answer = judge(endpoint, response).await;
        debug!(endpoint = endpoint.name, status, elapsed_ms = elapsed_ms(), "qiscus answered");
        answer
    }
}

async fn judge(endpoint: Endpoint, mut response: Response) -> Result<Answer, PlatformError> {
    let status = response.status().as_u16();
    match status {
        200..=299 => {
            let body = whole_body(&mut response, endpoint.bytes_max).await.map_err(PlatformError::Unknown)?;
            String::from_utf8(body)
                .map(Answer::Success)
                .map_err(|_| PlatformError::Unknown(UnknownOutcome::Body))
        }
        401..=403 => Err(PlatformError::Denied { status }),
        429 => Err(busy(response.headers())),
        503 if endpoint.effect == Effect::Read => Err(busy(response.headers())),
        // Timeouts as a gateway tells them: the request may have been carried out.
        408 | 499 => Err(PlatformError::Unknown(UnknownOutcome::Status(status))),
        400..=499 => {
            let body = start_of_body(&mut response, REFUSAL_BYTES_MAX).await;
            Ok(Answer::Refused { status, body: String::from_utf8_lossy(&body).into_owned() })
        }
        _ => Err(PlatformError::Unknown(UnknownOutcome::Status(status))),
    }
}

async fn whole_body(response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, UnknownOutcome> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| outcome_of(&error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(UnknownOutcome::TooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What arrives of a body, in time and under the cap. The status stands, however the body ends.
async fn start_of_body(response: &mut Response, bytes_max: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= bytes_max {
            body.truncate(bytes_max);
            break;
        }
    }
    body
}

fn outcome_of(error: &reqwest::Error) -> UnknownOutcome {
    if error.is_timeout() { UnknownOutcome::Timeout } else { UnknownOutcome::Connection }
}

fn busy(headers: &HeaderMap) -> PlatformError {
    PlatformError::Busy { after: retry_after(headers, SystemTime::now()) }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3). A date is read by the sender's own clock where it gave one.
/// A pause that is zero, past or unreadable is none.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let pause = if is_number {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        let sent = headers.get(DATE).and_then(|sent| sent.to_str().ok()).and_then(date);
        date(value)?.duration_since(sent.unwrap_or(now)).ok()?
    };
    (!pause.is_zero()).then(|| pause.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn pause(value: &'static str, date: Option<&'static str>) -> Option<Duration> {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        headers.extend(date.map(|date| (DATE, HeaderValue::from_static(date))));
        let now = httpdate::parse_http_date("Tue, 18 Aug 2026 02:00:00 GMT").expect("a date");
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_ten_minutes() {
        let secs = |s| Some(Duration::from_secs(s));
        assert_eq!(pause("2", None), secs(2));
        assert_eq!(pause("86400", None), secs(600));
        assert_eq!(pause("99999999999999999999999", None), secs(600));
        assert_eq!(pause("Tue, 18 Aug 2026 02:00:30 GMT", None), secs(30));
        assert_eq!(pause("Wed, 19 Aug 2026 02:00:00 GMT", None), secs(600));
        assert_eq!(pause("Tue, 18 Aug 2026 02:00:30 GMT", Some("Tue, 18 Aug 2026 02:00:20 GMT")), secs(10));
    }

    #[test]
    fn a_retry_after_that_asks_for_nothing_is_none() {
        for value in ["", "0", "-5", "1.5", "soon", "Tue, 18 Aug 2026 01:00:00 GMT"] {
            assert_eq!(pause(value, None), None, "{value}");
        }
    }
}
