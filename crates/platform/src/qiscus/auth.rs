//! The admin login, which only webhook registration and its read-back need.
//!
//! How long a token lives is not published and differs by tenant: it is kept until refused. The answer to
//! a login carries the app's secret key, so nothing of it but the token and the webhook URLs is kept.

use reqwest::{Method, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::{
    http::{ANSWER_BYTES_MAX, Answer, Effect, Endpoint, Http},
    wire,
};
use crate::{PlatformError, UnknownOutcome, WebhookUrls};

/// A login changes nothing we care for, so an unavailable platform means "later".
const LOGIN: Endpoint = Endpoint { name: "login", effect: Effect::Read, bytes_max: ANSWER_BYTES_MAX };

const NO_TOKEN: &str =
    "Qiscus gave the admin no token: an account with a second factor cannot log in unattended";

/// An admin token, and which login it came from.
#[derive(Clone)]
pub(super) struct Token {
    number: u64,
    /// The `Authorization` header: the bare token, no scheme.
    pub header: HeaderValue,
}

#[derive(Default)]
struct Session {
    logins: u64,
    token: Option<Token>,
}

/// An admin's credentials and the session they opened.
pub(super) struct Login {
    email: String,
    password: SecretString,
    /// Held while logging in: whoever else needs a token waits for this one.
    session: Mutex<Session>,
}

impl Login {
    pub fn new(email: String, password: SecretString) -> Self {
        Self { email, password, session: Mutex::default() }
    }

    /// The token at hand, or a new one if there is none or it is the `refused` one.
    pub async fn token(&self, http: &Http, refused: Option<&Token>) -> Result<Token, PlatformError> {
        let mut session = self.session.lock().await;
        match &session.token {
            Some(token) if refused.is_none_or(|refused| refused.number != token.number) => Ok(token.clone()),
            _ => {
                self.log_in(http, &mut session).await?;
                session.token.clone().ok_or(PlatformError::Unsupported(NO_TOKEN))
            }
        }
    }

    /// Logs in to see where webhooks go now: Qiscus shows that nowhere else.
    pub async fn webhook_urls(&self, http: &Http) -> Result<WebhookUrls, PlatformError> {
        self.log_in(http, &mut *self.session.lock().await).await
    }

    async fn log_in(&self, http: &Http, session: &mut Session) -> Result<WebhookUrls, PlatformError> {
        session.token = None;
        let form = [("email", self.email.as_str()), ("password", self.password.expose_secret())];
        let request = http.request(Method::POST, "api/v1/auth", &[]).form(&form);
        let body = match http.send(LOGIN, request).await? {
            Answer::Success(body) => body,
            // Whichever 4xx it is, these credentials open nothing.
            Answer::Refused { status, .. } => return Err(PlatformError::Denied { status }),
        };
        let not_understood = || PlatformError::Unknown(UnknownOutcome::Body);
        let (token, urls) = wire::login(&body).ok_or_else(not_understood)?;
        if let Some(token) = token {
            let mut header = HeaderValue::from_str(&token).map_err(|_| not_understood())?;
            header.set_sensitive(true);
            session.logins += 1;
            session.token = Some(Token { number: session.logins, header });
        }
        Ok(urls)
    }
}
