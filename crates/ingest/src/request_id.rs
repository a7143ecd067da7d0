//! An id, a span and an access line for every request.

use std::time::Instant;

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
};
use tracing::{Instrument, debug, info, info_span};
use ulid::Ulid;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone, Copy)]
struct RequestId(Ulid);

/// The id of a request, as errors show it.
pub(crate) fn of(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default()
}

/// Gives the request its id, echoes it in `X-Request-Id`, and logs one line when it is answered. The line shows the
/// pattern of the route and never the path or the query, which may hold the webhook secret.
pub(crate) async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let id = Ulid::new();
    request.extensions_mut().insert(RequestId(id));
    let id = id.to_string();
    let span = info_span!("request", request.id = id);
    let mut response = next.call(request).instrument(span.clone()).await?;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    span.in_scope(|| log(&response, began));
    Ok(response)
}

fn log<B>(response: &ServiceResponse<B>, began: Instant) {
    let method = response.request().method();
    let route = response.request().match_pattern();
    let route = route.as_deref().unwrap_or("none");
    let status = response.status().as_u16();
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if response.status().is_success() {
        debug!(%method, route, status, duration_ms, "{method} {route} answered {status}");
    } else {
        info!(%method, route, status, duration_ms, "{method} {route} answered {status}");
    }
}
