//! An id, a span and an access line for every request.

use std::time::Instant;

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
};
use tracing::{Instrument, Level, Span, debug, enabled, info, info_span};
use ulid::Ulid;

use crate::webhooks;

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
    // Nobody logs while a webhook is taken, and there are thousands a second: they get a span for the access line alone.
    let logs_one_line = webhooks::is_path(request.path()) && !enabled!(Level::DEBUG);
    let span = if logs_one_line { Span::none() } else { span(&id) };
    let mut response = next.call(request).instrument(span.clone()).await?;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    if !response.status().is_success() || enabled!(Level::DEBUG) {
        let span = if span.is_none() { self::span(&id) } else { span };
        span.in_scope(|| log(&response, began));
    }
    Ok(response)
}

fn span(id: &str) -> Span {
    info_span!("request", request.id = id)
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

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use actix_web::{App, middleware::from_fn, test, web};

    use super::*;
    use crate::answer;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_access_line_has_the_id_of_the_answer() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_max_level(Level::INFO).with_writer(move || writer.clone());
        let _log = tracing::subscriber::set_default(log.with_ansi(false).finish());
        let app = App::new().wrap(from_fn(trace)).default_service(web::to(answer::not_found));
        let app = test::init_service(app).await;
        for path in ["/webhook-incoming-message", "/webhooks/app/secret/resolve", "/agents"] {
            let response = test::call_service(&app, test::TestRequest::post().uri(path).to_request()).await;
            let id = response.headers().get(X_REQUEST_ID).unwrap().to_str().unwrap().to_owned();
            let written = std::mem::take(&mut *lines.0.lock().unwrap());
            let line = String::from_utf8(written).unwrap();
            assert!(line.contains(&id) && line.contains("POST none answered 404"), "{path}: {line}");
        }
    }
}
