//! Why a request to the API was not done, and how that is told: Chatwoot's shapes, with our `request_id` in each.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use sebastian_core::{
    chain,
    rulebook::edit::{EditError, Invalid},
};
use sebastian_store::StoreError;
use serde::Serialize;
use tracing::warn;

use super::call::Refusal;
use crate::{
    Ended,
    accept::NotAccepted,
    admin, answer,
    body::{self, NoBody},
    gate::AdminRefused,
    request_id,
};

/// Chatwoot's words for whatever is not there.
const NOT_FOUND: &str = "Resource could not be found";

/// When to try again while the ledger is away.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("2");

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Refused {
    Admin(AdminRefused),
    /// With what to make of it.
    NotFound(Option<String>),
    Query,
    NoBody(NoBody),
    NotJson,
    NotAnObject,
    /// What serde says of it.
    Body(String),
    /// The object that wraps what is sent is missing or empty.
    Unwrapped(&'static str),
    Edit(EditError),
    NotAccepted(NotAccepted),
    Store(StoreError),
    Ended(Ended),
}

#[derive(Serialize)]
struct InvalidBody<'a> {
    error: String,
    message: String,
    attributes: Vec<&'a str>,
    request_id: String,
}

impl Refused {
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
        let error = |status, text: &str| answer::error(request, status, text);
        match self {
            Self::Admin(refused) => leave_unread(admin::refusal(request, *refused)),
            Self::NotFound(advice) => {
                answer::error_with_advice(request, StatusCode::NOT_FOUND, NOT_FOUND, advice.as_deref())
            }
            Self::Query => error(StatusCode::BAD_REQUEST, "the query is not readable"),
            Self::NoBody(no_body) => leave_unread(error(no_body.status(), &no_body.to_string())),
            Self::NotJson => error(StatusCode::BAD_REQUEST, "the body is not JSON"),
            Self::NotAnObject => error(UNPROCESSABLE, "the body is not a JSON object"),
            Self::Body(why) => error(UNPROCESSABLE, &format!("the body is not understood: {why}")),
            Self::Unwrapped(name) => {
                error(UNPROCESSABLE, &format!("param is missing or the value is empty: {name}"))
            }
            Self::Edit(EditError::Invalid(wrong)) => invalid(request, wrong),
            Self::Edit(unknown @ EditError::Unknown { .. }) => {
                let advice = unknown.to_string();
                answer::error_with_advice(request, StatusCode::NOT_FOUND, NOT_FOUND, Some(&advice))
            }
            Self::Edit(not_linked @ EditError::NotLinked) => {
                error(StatusCode::NOT_FOUND, &not_linked.to_string())
            }
            Self::Edit(other @ (EditError::AlreadyLimited | EditError::NotPending(_))) => {
                error(UNPROCESSABLE, &other.to_string())
            }
            Self::NotAccepted(why) => unavailable(request, why, &why.to_string()),
            Self::Store(why) => unavailable(request, why, "the ledger does not answer"),
            Self::Ended(why) => unavailable(request, why, "not available"),
        }
    }
}

fn invalid(request: &HttpRequest, wrong: &Invalid) -> HttpResponse {
    let mut attributes: Vec<_> = wrong.fields().map(|(field, _)| field).collect();
    attributes.dedup();
    let (message, request_id) = (wrong.to_string(), request_id::of(request));
    let body = InvalidBody { error: message.clone(), message, attributes, request_id };
    HttpResponse::UnprocessableEntity().json(body)
}

fn unavailable(request: &HttpRequest, why: &dyn std::error::Error, text: &str) -> HttpResponse {
    warn!(error = %chain(why), "cannot answer an operator");
    let mut response = answer::error(request, StatusCode::SERVICE_UNAVAILABLE, text);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
    response
}

fn leave_unread(mut response: HttpResponse) -> HttpResponse {
    body::leave_unread(&mut response);
    response
}

macro_rules! refused_by {
    ($($error:ty => $variant:ident),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

refused_by!(AdminRefused => Admin, NoBody => NoBody, NotAccepted => NotAccepted, StoreError => Store, Ended => Ended);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Edit(error) => Self::Edit(error),
            Refusal::Unwrapped(name) => Self::Unwrapped(name),
        }
    }
}
