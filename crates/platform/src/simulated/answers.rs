//! From a call to the bytes that go back: credentials, the true reply, and what faults make of it.

use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::{
    Answer, Endpoint, Request,
    api::{Call, Reply},
    faults::{Effects, Outcome},
    state::State,
};

/// What a request carries to prove itself.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub app_id: Option<String>,
    pub secret_key: Option<String>,
    pub token: Option<String>,
}

/// What goes back to the client.
#[derive(Debug)]
pub(super) enum Sent {
    Answer { status: u16, content_type: &'static str, header: Option<(&'static str, String)>, body: Vec<u8> },
    Drop,
    Hang,
}

impl Sent {
    fn json(status: u16, body: &Value) -> Self {
        Self::Answer { status, content_type: "application/json", header: None, body: body.to_string().into() }
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Drop | Self::Hang => None,
        }
    }
}

impl State {
    /// Takes up a call that arrived at `at`: applies it unless a fault or its credentials forbid that, writes it
    /// to the request log, and says what goes back and which resolve webhook it set off.
    pub(super) fn serve(
        &mut self,
        call: &Call,
        credentials: &Credentials,
        at: Instant,
        effects: &Effects,
    ) -> (Sent, Option<Value>) {
        let reply = match &effects.outcome {
            Outcome::Instead(_) => None,
            Outcome::True | Outcome::AfterApply(_) if !self.accepts(call.endpoint, credentials) => {
                Some(Reply::error(401, "Unauthorized"))
            }
            Outcome::True | Outcome::AfterApply(_) => Some(self.answer(call, effects)),
        };
        let (sent, replaced) = match (&effects.outcome, &reply) {
            (Outcome::Instead(answer), _) => (render(answer), true),
            (Outcome::AfterApply(answer), Some(reply)) if reply.status < 300 => (render(answer), true),
            (_, Some(reply)) => (Sent::json(reply.status, &reply.body), false),
            (_, None) => (Sent::Drop, true),
        };
        self.ledger.record(Request {
            at,
            answered_at: Instant::now(),
            endpoint: call.endpoint,
            room: call.room().map(Arc::from),
            agent: call.agent(),
            status: sent.status(),
            applied: reply.as_ref().is_some_and(|reply| reply.applied),
            faulted: replaced || effects.distorts() || reply.as_ref().is_some_and(|reply| reply.spurious),
        });
        (sent, reply.and_then(|reply| reply.resolve_webhook))
    }

    /// Either scheme opens every endpoint; a login needs none.
    fn accepts(&self, endpoint: Endpoint, given: &Credentials) -> bool {
        let is = |given: &Option<String>, value: &String| given.as_ref() == Some(value);
        endpoint == Endpoint::Auth
            || (is(&given.app_id, &self.config.app_id) && is(&given.secret_key, &self.config.secret_key))
            || is(&given.token, &self.token)
    }
}

fn render(answer: &Answer) -> Sent {
    match answer {
        Answer::Status(status) => render_status(*status, None),
        Answer::RetryAfter(status, after) => render_status(*status, Some(after)),
        Answer::ExceedMaxAgents => {
            Sent::json(400, &json!({"errors": {"message": "Cant join room, exceed max agents"}}))
        }
        Answer::Json(status, body) => Sent::json(*status, body),
        Answer::Html => html(200, "<html><head><title>Qiscus</title></head><body>Welcome</body></html>\n"),
        Answer::Huge(bytes) => {
            let mut body = Vec::with_capacity(bytes + 16);
            body.extend_from_slice(b"{\"data\": \"");
            body.resize(bytes.saturating_sub(2).max(body.len()), b'x');
            body.extend_from_slice(b"\"}");
            Sent::Answer { status: 200, content_type: "application/json", header: None, body }
        }
        Answer::Redirect(location) => Sent::Answer {
            status: 302,
            content_type: "text/html",
            header: Some(("Location", location.clone())),
            body: Vec::new(),
        },
        Answer::Drop => Sent::Drop,
        Answer::Hang => Sent::Hang,
    }
}

/// The body the fixtures show for a status.
fn render_status(status: u16, retry_after: Option<&String>) -> Sent {
    let message = match status {
        401 => "Unauthorized",
        402 => "Payment required",
        403 => "Forbidden",
        404 => "Room not found",
        409 => "Conflict",
        422 => "The given data was invalid.",
        429 => "Too many requests",
        500 => "Internal server error",
        _ => "Error",
    };
    let mut sent = match status {
        502 => html(502, BAD_GATEWAY),
        503 => html(503, ""),
        _ => Sent::json(status, &json!({"errors": {"message": message}})),
    };
    if let (Sent::Answer { header, .. }, Some(after)) = (&mut sent, retry_after) {
        *header = Some(("Retry-After", after.clone()));
    }
    sent
}

fn html(status: u16, page: &str) -> Sent {
    Sent::Answer { status, content_type: "text/html", header: None, body: page.into() }
}

const BAD_GATEWAY: &str = "<html>\n<head><title>502 Bad Gateway</title></head>\n\
    <body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body>\n</html>\n";
