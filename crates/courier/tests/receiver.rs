//! A receiver of events, as a subscriber would run it.

use std::{
    future::pending,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sebastian_testkit::eventually;
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::desk::SOON;

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Answers with this status.
    Answer(u16),
    /// Sends it on to another address.
    Redirect(String),
    /// Never answers.
    Hang,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn id(&self) -> String {
        self.headers["webhook-id"].to_str().unwrap().to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub fn room(&self) -> String {
        self.json()["data"]["room"].as_str().unwrap_or_default().to_owned()
    }

    pub fn is_signed_with(&self, secret: &str) -> bool {
        Webhook::new(secret).unwrap().verify(self.body.as_bytes(), &self.headers).is_ok()
    }
}

#[derive(Clone)]
pub struct Receiver {
    port: u16,
    mode: Arc<Mutex<Mode>>,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    pub fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, mode: Arc::new(Mutex::new(mode)), got: Arc::default() };
        let shared = web::Data::new(receiver.clone());
        let app = move || App::new().app_data(shared.clone()).default_service(web::to(take));
        let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(0);
        tokio::spawn(server.listen(listener).unwrap().run());
        receiver
    }

    pub fn taking() -> Self {
        Self::start(Mode::Answer(204))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn named_url(&self) -> String {
        format!("http://localhost:{}/hook", self.port)
    }

    pub fn turn(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The first `count` requests, once they are there; no more may be.
    pub async fn await_got(&self, count: usize) -> Vec<Got> {
        eventually(&format!("{count} requests"), SOON, || async {
            let got = self.got();
            if got.len() >= count { Ok(got) } else { Err(got.len()) }
        })
        .await
    }
}

async fn take(request: HttpRequest, body: String, receiver: web::Data<Receiver>) -> HttpResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        let name: HeaderName = name.as_str().parse().unwrap();
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let mode = receiver.mode.lock().unwrap().clone();
    receiver.got.lock().unwrap().push(Got { headers, body });
    match mode {
        Mode::Answer(status) => HttpResponse::build(StatusCode::from_u16(status).unwrap()).body("thanks"),
        Mode::Redirect(to) => HttpResponse::TemporaryRedirect().insert_header(("location", to)).finish(),
        Mode::Hang => pending().await,
    }
}
