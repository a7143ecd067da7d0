//! The shape of answers: small JSON, and for errors always `{"error", "request_id"}`.

use actix_web::{
    HttpRequest, HttpResponse, Route,
    http::{StatusCode, header},
    web,
};
use serde::Serialize;

use crate::request_id;

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'a str>,
}

/// An error answer. `error` is shown to whoever asked: no detail of a failure of ours belongs in it.
pub(crate) fn error(request: &HttpRequest, status: StatusCode, error: &str) -> HttpResponse {
    error_with_advice(request, status, error, None)
}

/// An error answer that tells what to do.
pub(crate) fn error_with_advice(
    request: &HttpRequest,
    status: StatusCode,
    error: &str,
    advice: Option<&str>,
) -> HttpResponse {
    HttpResponse::build(status).json(ErrorBody { error, request_id: request_id::of(request), advice })
}

/// Answers 404 to whatever it is given.
pub(crate) async fn not_found(request: HttpRequest) -> HttpResponse {
    error(&request, StatusCode::NOT_FOUND, "not found")
}

/// A route that answers 405 and names the methods that are allowed.
pub(crate) fn only(allowed: &'static str) -> Route {
    web::to(move |request: HttpRequest| async move { method_not_allowed(&request, allowed, None) })
}

/// Answers 405 and names the methods that are allowed.
pub(crate) fn method_not_allowed(request: &HttpRequest, allowed: &str, advice: Option<&str>) -> HttpResponse {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = error_with_advice(request, status, "method not allowed", advice);
    if let Ok(allowed) = header::HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
