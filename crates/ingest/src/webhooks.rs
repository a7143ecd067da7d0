//! The webhooks: check the secret, read the body, parse, wait for the commit, answer.

use std::{
    cell::OnceCell,
    rc::Rc,
    time::{Duration, Instant},
};

use ::metrics::{Counter, Histogram};
use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::{self, Data, Payload, ServiceConfig},
};
use sebastian_core::{EventKind, InboxId, NewEvent};
use sebastian_platform::{
    Webhook,
    qiscus::{WebhookError, parse_allocation, parse_resolve},
};

use crate::{
    accept::{Accepter, NotAccepted},
    answer,
    body::{self, NoBody},
    gate::WebhookGate,
    metrics,
    targets::verb,
};

/// When a refused sender may try again: longer than a commit, shorter than any sender's patience.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("2");

/// What an accepted webhook is answered with.
const ACCEPTED: &str = r#"{"status":"accepted"}"#;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the webhook routes work with.
pub(crate) struct Webhooks {
    pub gate: WebhookGate,
    pub accepter: Accepter,
    pub default_inbox: Option<InboxId>,
    pub body_timeout: Duration,
}

/// The metrics of one hook's answers. What every webhook counts is looked up once, and not before the first of them.
struct Meter {
    event: &'static str,
    seconds: OnceCell<Histogram>,
    accepted: OnceCell<Counter>,
}

impl Meter {
    fn new(hook: Webhook) -> Self {
        Self { event: verb(hook), seconds: OnceCell::new(), accepted: OnceCell::new() }
    }

    fn answered(&self, result: Result<(), &Refused>, took: Duration) {
        let event = self.event;
        let counter = |result| ::metrics::counter!(metrics::WEBHOOKS, "event" => event, "result" => result);
        match result {
            Ok(()) => self.accepted.get_or_init(|| counter("accepted")).increment(1),
            Err(refused) => counter(refused.label()).increment(1),
        }
        let histogram = || ::metrics::histogram!(metrics::WEBHOOK_SECONDS, "event" => event);
        self.seconds.get_or_init(histogram).record(took);
    }
}

#[derive(Clone, Copy)]
enum Form {
    Plain,
    Path,
}

/// Why a webhook was not accepted.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("not found")]
    NotFound,
    #[error("the webhook secret is missing or wrong")]
    Unauthorized,
    #[error(transparent)]
    Body(#[from] NoBody),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
}

/// The paths that take the secret from elsewhere, or none.
const PLAIN: [(Webhook, [&str; 2]); 2] = [
    (Webhook::Allocate, ["/webhook-incoming-message", "/allocate-agent/webhook"]),
    (Webhook::Resolve, ["/webhook-mark-as-resolved", "/mark-as-solved/webhook"]),
];

/// Where the paths that hold the secret begin.
const WITH_SECRET: &str = "/webhooks/";

/// Whether webhooks are taken at this path, as they are written most often; nothing else is.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with(WITH_SECRET) || PLAIN.iter().any(|(_, paths)| paths.contains(&path))
}

/// Adds the routes of both webhooks.
pub(crate) fn routes(config: &mut ServiceConfig) {
    for patterns in [exactly, with_a_slash] {
        for (hook, paths) in PLAIN {
            for path in paths {
                let plain = resource(hook, Form::Plain, patterns(path));
                config.service(plain.default_service(answer::only("POST")));
            }
        }
        for (hook, _) in PLAIN {
            let path = format!("{WITH_SECRET}{{account}}/{{secret}}/{}", verb(hook));
            // Another method is told nothing, whatever the secret.
            let secret = resource(hook, Form::Path, patterns(&path));
            config.service(secret.default_service(web::to(answer::not_found)));
        }
    }
}

/// The path alone. The router compares a path without parameters as text, and of a list each by a regular expression;
/// so these come first.
fn exactly(path: &str) -> Vec<String> {
    vec![path.to_owned()]
}

/// A path, or one with a slash at its end: dashboards are typed into by hand. The access log names both by the first.
fn with_a_slash(path: &str) -> Vec<String> {
    vec![path.to_owned(), format!("{path}/")]
}

fn resource(hook: Webhook, form: Form, patterns: Vec<String>) -> Resource {
    let meter = Rc::new(Meter::new(hook));
    let handler = move |request: HttpRequest, payload: Payload, webhooks: Data<Webhooks>| {
        let meter = Rc::clone(&meter);
        async move { receive(hook, form, &request, payload, &webhooks, &meter).await }
    };
    web::resource(patterns).route(web::post().to(handler))
}

async fn receive(
    hook: Webhook,
    form: Form,
    request: &HttpRequest,
    payload: Payload,
    webhooks: &Webhooks,
    meter: &Meter,
) -> HttpResponse {
    let began = Instant::now();
    let taken = webhooks.take(hook, form, request, payload).await;
    meter.answered(taken.as_ref().copied(), began.elapsed());
    match taken {
        Ok(()) => HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).body(ACCEPTED),
        Err(refused) => refused.answer(request),
    }
}

impl Webhooks {
    async fn take(
        &self,
        hook: Webhook,
        form: Form,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<(), Refused> {
        self.check_secret(form, request).await?;
        let event = {
            // It lies in the connection's buffer, which cannot be used again while the body is held.
            let body = body::read(request, payload, self.body_timeout).await?;
            self.parse(hook, &body)?
        };
        Ok(self.accepter.accept(event).await?)
    }

    async fn check_secret(&self, form: Form, request: &HttpRequest) -> Result<(), Refused> {
        match form {
            Form::Plain if self.gate.opens_plain(request) => Ok(()),
            Form::Plain => Err(Refused::Unauthorized),
            Form::Path if self.gate.opens_path(request).await => Ok(()),
            Form::Path => Err(Refused::NotFound),
        }
    }

    fn parse(&self, hook: Webhook, body: &[u8]) -> Result<NewEvent, WebhookError> {
        match hook {
            Webhook::Resolve => parse_resolve(body, &self.gate.app_id),
            Webhook::Allocate => {
                let mut event = parse_allocation(body, &self.gate.app_id)?;
                if let EventKind::Allocate { inbox, .. } = &mut event.kind {
                    *inbox = inbox.or(self.default_inbox);
                }
                Ok(event)
            }
        }
    }
}

impl Refused {
    /// The word metrics use.
    fn label(&self) -> &'static str {
        match self {
            Self::NotFound | Self::Unauthorized => "bad_secret",
            Self::Body(NoBody::Encoded | NoBody::TooLarge) => "bad_body",
            Self::Body(NoBody::Slow | NoBody::Broken) => "broken_body",
            Self::Webhook(WebhookError::NotOurs) => "not_ours",
            Self::Webhook(_) => "invalid",
            Self::NotAccepted(NotAccepted::Full) => "overloaded",
            Self::NotAccepted(_) => "unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Body(no_body) => no_body.status(),
            Self::Webhook(WebhookError::NotJson) => StatusCode::BAD_REQUEST,
            Self::Webhook(WebhookError::NotOurs) => StatusCode::FORBIDDEN,
            Self::Webhook(
                WebhookError::Missing(_) | WebhookError::Invalid(..) | WebhookError::NotResolved,
            ) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotAccepted(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let mut response = answer::error(request, self.status(), &self.to_string());
        match self {
            Self::NotAccepted(_) => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
            }
            // The rest of the body is not worth reading.
            Self::NotFound | Self::Unauthorized | Self::Body(_) => body::leave_unread(&mut response),
            Self::Webhook(_) => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, test};

    use super::*;

    #[tokio::test]
    async fn both_spellings_of_a_path_have_one_name_in_the_access_log() {
        let app = test::init_service(App::new().configure(routes)).await;
        for path in PLAIN.iter().flat_map(|(_, paths)| *paths) {
            for spelling in [path.to_owned(), format!("{path}/")] {
                let request = test::TestRequest::post().uri(&spelling).to_request();
                let response = test::call_service(&app, request).await;
                assert_eq!(response.request().match_pattern().as_deref(), Some(path), "{spelling}");
            }
        }
    }
}
