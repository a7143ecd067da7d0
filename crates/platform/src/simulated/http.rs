//! The HTTP server: reads requests, holds them back as faults demand, sends what [`super::answers`] decided.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServerHandle,
    http::{StatusCode, header},
    web,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Sleep;

use super::{
    Endpoint, Shared,
    answers::{Credentials, Sent},
    api::{Call, Params},
    control,
};

/// Binds 127.0.0.1 and serves until stopped. Returns the port. Needs a tokio runtime.
pub(super) fn serve(shared: Arc<Shared>, port: u16) -> io::Result<(ServerHandle, u16)> {
    let shared = web::Data::from(shared);
    let server = HttpServer::new(move || {
        App::new().app_data(shared.clone()).configure(control::routes).default_service(web::to(api))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(0)
    .h1_allow_half_closed(false)
    .bind(("127.0.0.1", port))?;
    let port = server.addrs().first().map_or(port, |address| address.port());
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok((handle, port))
}

async fn api(request: HttpRequest, body: Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let at = Instant::now();
    let Some((endpoint, room)) = Endpoint::route(request.method(), request.path()) else {
        return HttpResponse::NotFound().finish();
    };
    let Some(mut params) = read_params(&request, &body) else {
        return HttpResponse::BadRequest().finish();
    };
    if let Some(room) = room {
        params.insert("room_id".to_owned(), room.into());
    }
    let call = Call { endpoint, params };
    let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let credentials = Credentials {
        app_id: header("Qiscus-App-Id"),
        secret_key: header("Qiscus-Secret-Key"),
        token: header("Authorization"),
    };
    let shared = shared.into_inner();
    // A request that arrived is carried out whether or not its client stays: as a task of its own.
    let carried_out = actix_web::rt::spawn(async move {
        let mut effects = shared.lock().faults.draw(endpoint, call.room().as_deref(), call.agent());
        if !effects.latency.is_zero() {
            tokio::time::sleep(effects.latency).await;
        }
        let (sent, webhook) = shared.change(|state| state.serve(&call, &credentials, at, &effects));
        if let Some(webhook) = webhook {
            let shared = shared.clone();
            actix_web::rt::spawn(async move { shared.send_resolve(&webhook).await });
        }
        (sent, effects.byte_pause.take())
    });
    match carried_out.await {
        Ok((Sent::Answer { status, content_type, header, body }, pause)) => {
            answer(status, content_type, header, body, pause)
        }
        Ok((Sent::Hang, _)) => std::future::pending().await,
        Ok((Sent::Drop, _)) | Err(_) => HttpResponse::Ok().body(BoxBody::new(Cut)),
    }
}

fn answer(
    status: u16,
    content_type: &'static str,
    extra: Option<(&'static str, String)>,
    body: Vec<u8>,
    pause: Option<Duration>,
) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, content_type));
    if let Some(extra) = extra {
        response.insert_header(extra);
    }
    match pause {
        None => response.body(body),
        Some(pause) => response.body(BoxBody::new(Dribble::new(body.into(), pause))),
    }
}

/// Query first, body over it. `None` when a body is neither JSON nor a form.
fn read_params(request: &HttpRequest, body: &[u8]) -> Option<Params> {
    let mut params = Params::default();
    for (key, value) in read_form(request.query_string())? {
        params.insert(key, value.into());
    }
    if body.is_empty() {
        return Some(params);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if content_type.is_some_and(|kind| kind.starts_with("application/json")) {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return None };
        for (key, value) in fields {
            params.insert(key, value);
        }
    } else {
        for (key, value) in read_form(std::str::from_utf8(body).ok()?)? {
            params.insert(key, value.into());
        }
    }
    Some(params)
}

fn read_form(text: &str) -> Option<Vec<(String, String)>> {
    web::Query::<Vec<(String, String)>>::from_query(text).ok().map(web::Query::into_inner)
}

/// A body that fails at once: the connection closes before the head is flushed.
struct Cut;

impl MessageBody for Cut {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }
}

/// A body sent one byte at a time.
struct Dribble {
    rest: Bytes,
    pause: Duration,
    next: Pin<Box<Sleep>>,
}

impl Dribble {
    fn new(rest: Bytes, pause: Duration) -> Self {
        Self { rest, pause, next: Box::pin(tokio::time::sleep(pause)) }
    }
}

impl MessageBody for Dribble {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.next.as_mut().poll(context));
        self.next = Box::pin(tokio::time::sleep(self.pause));
        Poll::Ready(Some(Ok(self.rest.split_to(1))))
    }
}
