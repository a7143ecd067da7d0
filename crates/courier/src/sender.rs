//! One attempt to deliver one letter.

use std::time::{Duration, SystemTime};

use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
    redirect,
};
use sebastian_core::{AccountId, Timestamp};
use sebastian_store::{Letter, Subscription};

use crate::{Guard, guard::Refused, payload, signature};

/// To reach the receiver.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For the whole attempt.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// A receiver may ask to be left alone for no longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Connections kept to a receiver between deliveries.
const IDLE_PER_HOST: usize = 2;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The receiver took it.
    Taken,
    /// The receiver wants nothing more, ever.
    Gone,
    /// It did not take it.
    Refused {
        /// In words that say nothing of the receiver's answer but its status.
        trouble: String,
        /// It asked to be left alone for so long.
        after: Option<Duration>,
    },
}

impl Answer {
    fn refused(trouble: impl Into<String>) -> Self {
        Self::Refused { trouble: trouble.into(), after: None }
    }
}

/// Sends letters.
pub(crate) struct Sender {
    guard: Guard,
    client: reqwest::Client,
}

impl Sender {
    /// A sender to what `guard` lets through. Fails when TLS cannot be set up.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("sebastian/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // A proxy would resolve the name itself, past the guard.
            .no_proxy()
            .dns_resolver(guard.resolver())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ATTEMPT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build()?;
        Ok(Self { guard, client })
    }

    /// Sends `letter`. Ends within 15 s. The receiver's body is never read.
    pub async fn send(&self, account: AccountId, to: &Subscription, letter: &Letter) -> Answer {
        // An address written out is connected to without being resolved.
        let url = match self.guard.parse(&to.url) {
            Ok(url) => url,
            Err(refused) => return Answer::refused(format!("the URL {refused}")),
        };
        let body = payload::body(account, &letter.notice);
        let now = Timestamp::from(SystemTime::now());
        let Ok(signed) = signature::headers(to, &letter.claim.letter, now, &body) else {
            return Answer::refused("the secret cannot sign");
        };
        let request =
            self.client.post(url).headers(signed).header(CONTENT_TYPE, "application/json").body(body);
        match request.send().await {
            Ok(response) => answer(response.status(), response.headers()),
            Err(error) => Answer::refused(trouble(&error)),
        }
    }
}

fn answer(status: StatusCode, headers: &HeaderMap) -> Answer {
    if status.is_success() {
        return Answer::Taken;
    }
    if status == StatusCode::GONE {
        return Answer::Gone;
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = seconds.map(Duration::from_secs).map(|span| span.min(RETRY_AFTER_MAX));
    Answer::Refused { trouble: format!("status {}", status.as_u16()), after }
}

/// What went wrong, in words that quote nothing.
fn trouble(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(source) = cause {
        match source.downcast_ref::<Refused>() {
            Some(Refused::Unresolved) => return "the host does not resolve",
            Some(_) => return "the host leads to an address that is not public",
            None => cause = source.source(),
        }
    }
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    }
}
