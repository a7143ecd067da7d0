//! The URLs the platform is to call, and how to show a URL without what it hides.

use std::fmt;

use actix_web::http::Uri;
use sebastian_platform::Webhook;

use crate::Secret;

/// Where the platform's webhooks should go. `Debug` shows no secret.
#[derive(Clone)]
pub struct Targets {
    base: String,
    app_id: String,
    secret: Option<Secret>,
}

/// Why a base URL cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not `http://host…` or `https://host…`.
    #[error("is not an http or https URL")]
    NotHttp,
    /// A path is appended, so nothing may follow it; and a URL with a password does not belong at a platform.
    #[error("must not hold a user, a query or a fragment")]
    NotBare,
}

impl Targets {
    /// URLs below `base_url` for the tenant `app_id`; in the path form when there is a secret.
    pub fn new(base_url: &str, app_id: &str, secret: Option<&Secret>) -> Result<Self, TargetError> {
        let base = base_url.trim().trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| TargetError::NotHttp)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(TargetError::NotHttp);
        }
        if base.contains(['@', '?', '#']) {
            return Err(TargetError::NotBare);
        }
        Ok(Self { base: base.to_owned(), app_id: app_id.to_owned(), secret: secret.cloned() })
    }

    /// The URL to set, secret and all.
    pub(crate) fn url(&self, hook: Webhook) -> String {
        self.with_secret(hook, |secret| encode_segment(secret.expose()))
    }

    /// The URL as people may see it.
    pub(crate) fn shown(&self, hook: Webhook) -> String {
        self.with_secret(hook, |_| MASK.to_owned())
    }

    fn with_secret(&self, hook: Webhook, segment: impl Fn(&Secret) -> String) -> String {
        let Self { base, app_id, secret } = self;
        match (secret, hook) {
            (Some(secret), hook) => {
                let app_id = encode_segment(app_id);
                format!("{base}/webhooks/{app_id}/{}/{}", segment(secret), verb(hook))
            }
            (None, Webhook::Allocate) => format!("{base}/webhook-incoming-message"),
            (None, Webhook::Resolve) => format!("{base}/webhook-mark-as-resolved"),
        }
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = [self.shown(Webhook::Allocate), self.shown(Webhook::Resolve)];
        f.debug_tuple("Targets").field(&urls).finish()
    }
}

/// The last segment of the path form; also the word reports use.
pub(crate) fn verb(hook: Webhook) -> &'static str {
    match hook {
        Webhook::Allocate => "allocate",
        Webhook::Resolve => "resolve",
    }
}

const MASK: &str = "***";

/// A path segment of at least this many bytes with a digit in it may be somebody's token.
const TOKEN_BYTES_MIN: usize = 16;

/// A URL that the platform showed us, without what it may hide: user, query, fragment, the secret of our own path
/// form (an old one too), and whatever looks like a token in another system's URL.
pub(crate) fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, tail) = rest.find(['?', '#']).map_or((rest, ""), |at| (&rest[..at], "?***"));
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = host.rsplit('@').next().unwrap_or_default();
    let mut shown = if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") };
    let segments: Vec<&str> = path.map(|path| path.split('/').collect()).unwrap_or_default();
    for (index, segment) in segments.iter().enumerate() {
        let is_ours = index >= 2 && segments[index - 2] == "webhooks";
        let is_token = segment.len() >= TOKEN_BYTES_MIN && segment.bytes().any(|byte| byte.is_ascii_digit());
        // Our own form's second segment is the app id, which is no secret.
        let is_app = index >= 1 && segments[index - 1] == "webhooks";
        shown.push('/');
        shown.push_str(if is_ours || (is_token && !is_app) { MASK } else { segment });
    }
    shown + tail
}

/// RFC 3986: whatever is not unreserved is escaped, so that any text is one segment.
fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned().into()).unwrap()
    }

    #[test]
    fn with_a_secret_the_path_form_is_set_and_shown_masked() {
        let targets = Targets::new("https://desk.example/base/", "app-1", Some(&secret("a/b c%"))).unwrap();
        let url = targets.url(Webhook::Resolve);
        assert_eq!(url, "https://desk.example/base/webhooks/app-1/a%2Fb%20c%25/resolve");
        let shown = "https://desk.example/base/webhooks/app-1/***/resolve";
        assert_eq!((targets.shown(Webhook::Resolve).as_str(), redact(&url).as_str()), (shown, shown));
        assert!(!format!("{targets:?}").contains("a%2F"));
    }

    #[test]
    fn without_a_secret_the_plain_paths_are_set() {
        let targets = Targets::new(" http://10.0.0.1:3000 ", "app-1", None).unwrap();
        assert_eq!(targets.url(Webhook::Allocate), "http://10.0.0.1:3000/webhook-incoming-message");
        assert_eq!(targets.shown(Webhook::Resolve), "http://10.0.0.1:3000/webhook-mark-as-resolved");
    }

    #[test]
    fn a_base_url_is_bare_http() {
        for wrong in ["", "desk.example", "ftp://desk.example", "https://", "/path"] {
            assert_eq!(Targets::new(wrong, "app", None).unwrap_err(), TargetError::NotHttp, "{wrong}");
        }
        for wrong in ["https://u:p@desk.example", "https://desk.example/?a=1", "https://desk.example/x#y"] {
            let error = Targets::new(wrong, "app", None).unwrap_err();
            assert_eq!(error, TargetError::NotBare, "{wrong}");
        }
    }

    #[test]
    fn a_foreign_url_is_shown_without_what_it_may_hide() {
        let cases = [
            ("https://u:pw@a.example/hook?secret=x", "https://a.example/hook?***"),
            ("https://a.example/caa/9f86d081884c7d659a2f/in", "https://a.example/caa/***/in"),
            ("https://a.example/webhook-mark-as-resolved", "https://a.example/webhook-mark-as-resolved"),
            (
                "https://a.example/webhooks/app-12345678901234567/old/allocate",
                "https://a.example/webhooks/app-12345678901234567/***/allocate",
            ),
            ("https://a.example", "https://a.example"),
            ("no url", "no url"),
        ];
        for (url, shown) in cases {
            assert_eq!(redact(url), shown);
        }
    }
}
