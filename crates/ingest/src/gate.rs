//! Who may come in.

use actix_web::{
    FromRequest, HttpRequest,
    http::{Uri, header},
    web,
};
use serde::Deserialize;

use crate::{
    Secret,
    secret::{AdminToken, Scope, find_token, is_one_of},
};

const X_WEBHOOK_SECRET: &str = "x-webhook-secret";

/// Where Chatwoot's clients put their token.
const API_ACCESS_TOKEN: &str = "api_access_token";

/// Headers that say a request came through a proxy, a tunnel or a browser's page: then a loopback peer says nothing
/// about who asks.
const NOT_DIRECT: [&str; 10] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "cf-connecting-ip",
    "true-client-ip",
    "origin",
    "referer",
];

/// Decides about webhooks of one tenant.
pub(crate) struct WebhookGate {
    pub app_id: String,
    /// Any of them opens; none configured leaves the plain paths open and the path form shut.
    pub secrets: Vec<Secret>,
}

#[derive(Deserialize)]
struct SecretParameter {
    secret: String,
}

impl WebhookGate {
    /// Whether a request to a plain path may pass: `?secret=` or `X-Webhook-Secret`.
    pub fn opens_plain(&self, request: &HttpRequest) -> bool {
        if self.secrets.is_empty() {
            return true;
        }
        let header = request.headers().get(X_WEBHOOK_SECRET).map_or(&[][..], |value| value.as_bytes());
        let query = web::Query::<SecretParameter>::from_query(request.query_string());
        let query = query.map(|query| query.into_inner().secret).unwrap_or_default();
        // Both are always compared, so that the time tells nothing.
        is_one_of(&self.secrets, header) | is_one_of(&self.secrets, query.as_bytes())
    }

    /// Whether a request to `/webhooks/{account}/{secret}/…` may pass.
    pub async fn opens_path(&self, request: &HttpRequest) -> bool {
        let Ok(path) = web::Path::<(String, String)>::extract(request).await else { return false };
        let (account, secret) = path.into_inner();
        is_one_of(&self.secrets, secret.as_bytes()) & (account == self.app_id)
    }
}

/// Why an operator's request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdminRefused {
    /// Tokens are configured and the request brings none of them.
    #[error("the admin token is missing or wrong: send it as a bearer token")]
    Token,
    /// The token it brings is for reading.
    #[error("this token may only read: a change wants one of scope operate")]
    ReadOnly,
    /// No token is configured, and the request does not come straight from this machine.
    #[error("no admin token is configured, so this is answered only to direct requests from this machine")]
    NotLocal,
}

/// Who comes in where no token is configured.
const LOOPBACK: &str = "loopback";

/// Who asks, if they may: by token, or where none is configured by coming straight from this machine. Whatever is not a
/// GET wants a token that may change things.
pub(crate) fn admin<'a>(request: &HttpRequest, tokens: &'a [AdminToken]) -> Result<&'a str, AdminRefused> {
    if tokens.is_empty() {
        return if is_local(request) { Ok(LOOPBACK) } else { Err(AdminRefused::NotLocal) };
    }
    let presented = bearer(request).or_else(|| header_of(request, API_ACCESS_TOKEN)).unwrap_or_default();
    let token = find_token(tokens, presented.as_bytes()).ok_or(AdminRefused::Token)?;
    match token.scope() {
        Scope::Read if !request.method().is_safe() => Err(AdminRefused::ReadOnly),
        Scope::Read | Scope::Operate => Ok(token.name()),
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn header_of<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok().map(str::trim)
}

/// A loopback peer, no sign of anybody in between, and a `Host` that names this machine: a page in a browser here
/// that got its own name resolved to 127.0.0.1 still sends that name.
fn is_local(request: &HttpRequest) -> bool {
    let is_loopback = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let is_direct = !NOT_DIRECT.iter().any(|name| request.headers().contains_key(*name));
    is_loopback && is_direct && names_this_machine(request)
}

fn names_this_machine(request: &HttpRequest) -> bool {
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let Ok(uri) = Uri::builder().scheme("http").authority(host).path_and_query("/").build() else {
        return false;
    };
    let Some(host) = uri.host() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use actix_web::{http::Method, test::TestRequest};

    use super::*;

    fn from(peer: &str) -> TestRequest {
        let peer: SocketAddr = peer.parse().unwrap();
        TestRequest::default().peer_addr(peer).insert_header(("host", "localhost:3000"))
    }

    fn check(request: TestRequest, token: Option<&str>) -> Result<(), AdminRefused> {
        let token =
            token.map(|token| AdminToken::new("desk", &token.to_owned().into(), Scope::Operate).unwrap());
        admin(&request.to_http_request(), token.as_slice()).map(|_| ())
    }

    #[test]
    fn without_a_token_only_this_machine_may_ask() {
        for peer in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(check(from(peer), None), Ok(()), "{peer}");
        }
        for peer in ["10.0.0.1:1", "192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(check(from(peer), None), Err(AdminRefused::NotLocal), "{peer}");
            let claims = from(peer).insert_header(("x-forwarded-for", "127.0.0.1"));
            assert_eq!(check(claims, None), Err(AdminRefused::NotLocal), "{peer}");
        }
    }

    #[test]
    fn without_a_token_whatever_came_through_a_proxy_or_a_page_is_refused() {
        for header in NOT_DIRECT {
            let request = from("127.0.0.1:1").insert_header((header, "127.0.0.1"));
            assert_eq!(check(request, None), Err(AdminRefused::NotLocal), "{header}");
        }
        for (host, may) in [
            ("desk.example", false),
            ("127.0.0.1.desk.example", false),
            ("10.0.0.1:3000", false),
            ("", false),
            ("localhost", true),
            ("LOCALHOST:3000", true),
            ("127.0.0.1:3000", true),
            ("[::1]:3000", true),
        ] {
            let request = from("127.0.0.1:1").insert_header(("host", host));
            assert_eq!(check(request, None).is_ok(), may, "{host}");
        }
    }

    #[test]
    fn with_a_token_the_token_alone_decides() {
        let bearing = |text: &str| from("192.0.2.1:1").insert_header(("authorization", text));
        for right in ["Bearer let-me-in", "bearer  let-me-in"] {
            assert_eq!(check(bearing(right), Some("let-me-in")), Ok(()), "{right}");
        }
        for wrong in ["Bearer let-me-i", "Bearer", "Basic let-me-in", "let-me-in", "Bearer let-me-in2"] {
            assert_eq!(check(bearing(wrong), Some("let-me-in")), Err(AdminRefused::Token), "{wrong}");
        }
        assert_eq!(check(from("127.0.0.1:1"), Some("let-me-in")), Err(AdminRefused::Token));
    }
    #[test]
    fn a_token_is_known_by_its_name_and_one_for_reading_changes_nothing() {
        let token = |name, text: &str, scope| AdminToken::new(name, &text.to_owned().into(), scope).unwrap();
        let tokens = [token("ops", "full-token", Scope::Operate), token("board", "look-token", Scope::Read)];
        let ask = |method: Method, header: (&str, &str)| {
            let request = from("192.0.2.1:1").method(method).insert_header(header).to_http_request();
            admin(&request, &tokens).map(str::to_owned)
        };
        let bearing = |text| ("authorization", text);
        assert_eq!(ask(Method::POST, bearing("Bearer full-token")), Ok("ops".to_owned()));
        assert_eq!(ask(Method::DELETE, ("api_access_token", "full-token")), Ok("ops".to_owned()));
        assert_eq!(ask(Method::GET, bearing("Bearer look-token")), Ok("board".to_owned()));
        assert_eq!(ask(Method::GET, ("api_access_token", "look-token")), Ok("board".to_owned()));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(ask(method, bearing("Bearer look-token")), Err(AdminRefused::ReadOnly));
        }
        assert_eq!(ask(Method::GET, ("api_access_token", "look-toke")), Err(AdminRefused::Token));
    }
}
