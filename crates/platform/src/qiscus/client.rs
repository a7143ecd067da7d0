//! The client: [`Platform`] over the Qiscus REST API.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Method, RequestBuilder, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use sebastian_core::{Agent, AgentId, RoomId};
use secrecy::{ExposeSecret, SecretString};

use super::{
    auth::{Login, Token},
    http::{ANSWER_BYTES_MAX, Answer, Effect, Endpoint, Http},
    lists::{self, RoomQuery},
    refusal::{is_not_found, refusal},
    wire,
};
use crate::{Platform, PlatformError, Refusal, Room, RoomStatus, UnknownOutcome, Webhook, WebhookUrls};

const ASSIGN: Endpoint =
    Endpoint { name: "assign_agent", effect: Effect::Write, bytes_max: ANSWER_BYTES_MAX };
const PROPOSE: Endpoint =
    Endpoint { name: "allocate_agent", effect: Effect::Read, bytes_max: ANSWER_BYTES_MAX };
const ROOM: Endpoint = Endpoint { name: "customer_room", effect: Effect::Read, bytes_max: ANSWER_BYTES_MAX };
const SET_WEBHOOK: Endpoint =
    Endpoint { name: "set_webhook", effect: Effect::Write, bytes_max: ANSWER_BYTES_MAX };

/// How to reach one Qiscus app.
#[derive(Clone)]
pub struct QiscusConfig {
    /// `https://omnichannel.qiscus.com`, or where the account lives. A trailing slash or a path before the API's is fine.
    pub base_url: String,
    /// The app id, also called app code.
    pub app_id: String,
    /// The app's secret key.
    pub secret_key: SecretString,
    /// An admin's address. With [`Self::password`], needed to read webhook URLs back, and used to set them.
    pub email: Option<String>,
    /// That admin's password.
    pub password: Option<SecretString>,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Limit for a whole call, connecting and the answer's body included.
    pub timeout: Duration,
}

impl QiscusConfig {
    /// The app with default timeouts (2 s to connect, 4 s in all) and no admin login.
    #[must_use]
    pub fn new(base_url: &str, app_id: &str, secret_key: SecretString) -> Self {
        Self {
            base_url: base_url.to_owned(),
            app_id: app_id.to_owned(),
            secret_key,
            email: None,
            password: None,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(4),
        }
    }
}

/// Neither secrets nor the admin's address.
impl fmt::Debug for QiscusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QiscusConfig")
            .field("app_id", &self.app_id)
            .field("has_login", &(self.email.is_some() && self.password.is_some()))
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an absolute http or https URL of a host, or one with a user, a query or a fragment.
    #[error("base_url must be like https://omnichannel.qiscus.com, without user, query or fragment")]
    BaseUrl,
    /// Empty, or with characters no HTTP header can hold.
    #[error("{0} is empty or holds characters a header cannot")]
    Header(&'static str),
    /// An e-mail without a password, or the reverse.
    #[error("email and password are needed together")]
    HalfLogin,
    /// TLS or the resolver could not be set up.
    #[error("cannot set up the http client")]
    Client(#[source] reqwest::Error),
}

/// One Qiscus app, over HTTP. Cheap to share behind an `Arc`; holds its connection pool.
pub struct Qiscus {
    pub(super) http: Http,
    app_id: HeaderValue,
    secret_key: HeaderValue,
    login: Option<Login>,
}

impl Qiscus {
    /// A client for the app. Calls nothing yet.
    pub fn new(config: QiscusConfig) -> Result<Self, ConfigError> {
        let base = base_url(&config.base_url)?;
        let login = match (config.email, config.password) {
            (Some(email), Some(password)) => Some(Login::new(email, password)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(ConfigError::HalfLogin),
        };
        Ok(Self {
            http: Http::new(base, config.connect_timeout, config.timeout).map_err(ConfigError::Client)?,
            app_id: header("app_id", &config.app_id)?,
            secret_key: header("secret_key", config.secret_key.expose_secret())?,
            login,
        })
    }

    /// A request signed with the REST token, which opens everything an allocator needs.
    pub(super) fn request(&self, method: Method, path: &str, segments: &[&str]) -> RequestBuilder {
        let headers = HeaderMap::from_iter([
            (APP_ID_HEADER, self.app_id.clone()),
            (SECRET_KEY_HEADER, self.secret_key.clone()),
        ]);
        self.http.request(method, path, segments).headers(headers)
    }

    /// The answer that shows one room. `None`: Qiscus does not know it.
    async fn room_row(&self, room: &RoomId) -> Result<Option<String>, PlatformError> {
        // A URL cannot end in these; no room is called so.
        if matches!(room.as_str(), "." | "..") {
            return Ok(None);
        }
        let request = self.request(Method::GET, "api/v2/customer_rooms", &[room.as_str()]);
        match self.http.send(ROOM, request).await? {
            Answer::Success(body) => Ok(Some(body)),
            Answer::Refused { status: 404, body } if is_not_found(&body) => Ok(None),
            Answer::Refused { status, .. } => Err(PlatformError::Rejected(Refusal::Other(status))),
        }
    }

    async fn register(
        &self,
        hook: Webhook,
        url: &str,
        admin: Option<&Token>,
    ) -> Result<WebhookUrls, PlatformError> {
        let path = match hook {
            Webhook::Allocate => "api/v1/app/webhook/agent_allocation",
            Webhook::Resolve => "api/v1/app/webhook/mark_as_resolved",
        };
        let request = match admin {
            Some(token) => self
                .http
                .request(Method::POST, path, &[])
                .header(APP_ID_HEADER, self.app_id.clone())
                .header(AUTHORIZATION, token.header.clone()),
            None => self.request(Method::POST, path, &[]),
        };
        let request = request.form(&[("webhook_url", url), ("is_webhook_enabled", "true")]);
        let body = self.http.send(SET_WEBHOOK, request).await?.success()?;
        wire::app_webhooks(&body).ok_or(NOT_UNDERSTOOD)
    }

    /// Registers with the admin token; one that is refused is renewed once.
    async fn register_as_admin(
        &self,
        login: &Login,
        hook: Webhook,
        url: &str,
    ) -> Result<WebhookUrls, PlatformError> {
        let token = login.token(&self.http, None).await?;
        match self.register(hook, url, Some(&token)).await {
            Err(PlatformError::Denied { status: 401 | 403 }) => {
                let renewed = login.token(&self.http, Some(&token)).await?;
                self.register(hook, url, Some(&renewed)).await
            }
            answer => answer,
        }
    }
}

#[async_trait]
impl Platform for Qiscus {
    fn name(&self) -> &'static str {
        "qiscus"
    }

    async fn agents(&self) -> Result<Vec<Agent>, PlatformError> {
        lists::agents(self, "agents", "api/v2/admin/agents", None).await
    }

    async fn agents_for(&self, room: &RoomId) -> Result<Vec<Agent>, PlatformError> {
        let path = "api/v2/admin/service/available_agents";
        lists::agents(self, "available_agents", path, Some(room)).await
    }

    /// `max_agent` 1 without replacement makes Qiscus refuse a room that has an agent: the first call wins.
    ///
    /// With replacement it puts the agent in the place of whoever came last, and cannot be told whom to expect there. So
    /// that is asked for only while `replacing` is listed with the room; somebody who took it over since is not put out.
    async fn assign(
        &self,
        room: &RoomId,
        agent: AgentId,
        replacing: Option<AgentId>,
    ) -> Result<(), PlatformError> {
        let replaces = match replacing.filter(|replaced| *replaced != agent) {
            Some(replaced) => self.rooms_served_by(replaced).await?.iter().any(|listed| listed.id == *room),
            None => false,
        };
        let agent_id = agent.to_string();
        let form = [
            ("room_id", room.as_str()),
            ("agent_id", &agent_id),
            ("max_agent", "1"),
            ("replace_latest_agent", if replaces { "true" } else { "false" }),
        ];
        let request = self.request(Method::POST, "api/v1/admin/service/assign_agent", &[]).form(&form);
        match self.http.send(ASSIGN, request).await? {
            Answer::Success(body) if wire::added_agent(&body) == Some(agent) => Ok(()),
            Answer::Success(_) => Err(NOT_UNDERSTOOD),
            Answer::Refused { status, body } => Err(PlatformError::Rejected(refusal(status, &body))),
        }
    }

    /// Qiscus proposes by channel and source, which the room's row tells.
    async fn propose(&self, room: &RoomId) -> Result<Option<AgentId>, PlatformError> {
        let unknown = PlatformError::Rejected(Refusal::RoomUnknown);
        let row = self.room_row(room).await?.ok_or(unknown)?;
        let origin = wire::room_origin(&row).ok_or(NOT_UNDERSTOOD)?;
        let mut form = vec![("ignore_availability", "false".to_owned())];
        form.extend(origin.source.map(|source| ("source", source.into_owned())));
        form.extend(origin.channel.map(|channel| ("channel_id", channel.to_string())));
        let request = self.request(Method::POST, "api/v1/admin/service/allocate_agent", &[]).form(&form);
        match self.http.send(PROPOSE, request).await? {
            Answer::Success(body) => wire::proposed_agent(&body).map(Some).ok_or(NOT_UNDERSTOOD),
            Answer::Refused { status, body } => match refusal(status, &body) {
                Refusal::Agent => Ok(None),
                refused => Err(PlatformError::Rejected(refused)),
            },
        }
    }

    async fn room(&self, room: &RoomId) -> Result<RoomStatus, PlatformError> {
        match self.room_row(room).await? {
            Some(body) => wire::room_status(&body).ok_or(NOT_UNDERSTOOD),
            None => Ok(RoomStatus::NotFound),
        }
    }

    async fn rooms_served_by(&self, agent: AgentId) -> Result<Vec<Room>, PlatformError> {
        let query = RoomQuery { user_ids: Some([agent]), serve_status: "served", status: "unresolved" };
        lists::rooms(self, "rooms_served", &query, |row| !row.resolved).await
    }

    async fn rooms_waiting(&self) -> Result<Vec<Room>, PlatformError> {
        let query = RoomQuery { user_ids: None, serve_status: "unserved", status: "unresolved" };
        lists::rooms(self, "rooms_unserved", &query, |row| row.waiting && !row.resolved).await
    }

    async fn webhook_urls(&self) -> Result<WebhookUrls, PlatformError> {
        match &self.login {
            Some(login) => login.webhook_urls(&self.http).await,
            None => Err(PlatformError::Unsupported(
                "Qiscus shows webhook URLs to an admin only: set qiscus.email and qiscus.password",
            )),
        }
    }

    async fn set_webhook(&self, hook: Webhook, url: &str) -> Result<(), PlatformError> {
        let now = match &self.login {
            Some(login) => self.register_as_admin(login, hook, url).await?,
            None => self.register(hook, url, None).await?,
        };
        let set = match hook {
            Webhook::Allocate => now.allocate,
            Webhook::Resolve => now.resolve,
        };
        if set.as_deref() == Some(url) { Ok(()) } else { Err(NOT_UNDERSTOOD) }
    }
}

const NOT_UNDERSTOOD: PlatformError = PlatformError::Unknown(UnknownOutcome::Body);

const APP_ID_HEADER: HeaderName = HeaderName::from_static("qiscus-app-id");
const SECRET_KEY_HEADER: HeaderName = HeaderName::from_static("qiscus-secret-key");

fn base_url(text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text).map_err(|_| ConfigError::BaseUrl)?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain { Ok(url) } else { Err(ConfigError::BaseUrl) }
}

fn header(name: &'static str, value: &str) -> Result<HeaderValue, ConfigError> {
    if value.is_empty() {
        return Err(ConfigError::Header(name));
    }
    let mut header = HeaderValue::from_str(value).map_err(|_| ConfigError::Header(name))?;
    header.set_sensitive(true);
    Ok(header)
}
