//! Values that are fine one by one and not together.

use secrecy::{ExposeSecret, SecretString};

use super::{Config, reader::Reader};

/// 128 bits at the most a character can hold, and 64 as hex digits: too many to guess.
const SECRET_CHARS_MIN: usize = 16;

/// Reports every contradiction to `findings`.
pub(super) fn check(config: &Config, findings: &mut Reader) {
    let Config { qiscus, policy, timing, poll_interval, .. } = config;
    if policy.capacity == Some(0) {
        findings.problem(
            "`webhook.max_current_customer` is 0, so no agent could be given anything: set it to at least 1, or stop \
             the worker to pause assignment",
        );
    }
    if qiscus.connect_timeout > qiscus.timeout {
        findings.problem(
            "`qiscus.connect_timeout_ms` is longer than `qiscus.timeout_ms`, which includes it: lower it",
        );
    }
    if timing.reservation < 2 * qiscus.timeout {
        findings.problem(
            "`worker.reservation_ms` is less than twice `qiscus.timeout_ms`, so a call and its repeat would not fit: \
             raise it or lower the timeout",
        );
    }
    if timing.settle_window < 2 * qiscus.timeout {
        findings.problem(
            "`reconcile.settle_window_ms` is less than twice `qiscus.timeout_ms`, so a call could still land after it \
             was given up: raise it or lower the timeout",
        );
    }
    if *poll_interval > policy.staleness_max {
        findings.problem(
            "`poller.interval_ms` is longer than `poller.staleness_max_ms`, so every roster would be too old to use \
             before the next: poll more often or raise the limit",
        );
    }
    if qiscus.email.is_some() != qiscus.password.is_some() {
        findings.problem("`qiscus.email` and `qiscus.password` are one login: set both or neither");
    }
    check_secrets(config, findings);
    if goes_in_clear(&qiscus.base_url) {
        let text = "`qiscus.base_url` is not https: the secret key crosses the network readable to all";
        findings.warn("qiscus.base_url", text);
    }
}

fn check_secrets(config: &Config, findings: &mut Reader) {
    let webhook = config.webhook.secret.iter().map(|secret| ("webhook.secret".to_owned(), secret));
    let tokens = config.admin.tokens.iter().map(|token| match token.name.as_str() {
        "admin" => ("admin.token".to_owned(), &token.text),
        name => (format!("admin.tokens: {name}"), &token.text),
    });
    for (key, secret) in webhook.chain(tokens) {
        if secret.expose_secret().len() < SECRET_CHARS_MIN {
            findings.problem(format!(
                "`{key}` is shorter than {SECRET_CHARS_MIN} characters and could be guessed: make one with `openssl \
                 rand -hex 16`"
            ));
        }
    }
    let texts = config.admin.tokens.iter().map(|token| token.text.expose_secret());
    let distinct: std::collections::BTreeSet<_> = texts.clone().collect();
    if distinct.len() < texts.count() {
        findings.problem(
            "two admin tokens are the same text, so nobody could tell whose it is: make one for each",
        );
    }
    if config.webhook.secret.as_ref().is_some_and(|secret| !fits_in_a_url(secret)) {
        findings.problem(
            "`webhook.secret` becomes part of a URL: use only letters, digits and - . _ ~, such as `openssl rand -hex \
             16` makes",
        );
    }
}

fn fits_in_a_url(secret: &SecretString) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    secret.expose_secret().bytes().all(is_unreserved)
}

/// An http or https URL of a host, without user, query or fragment; trailing slashes are dropped.
pub(super) fn http_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let is_plain = |c: char| c.is_ascii_graphic() && !"@?#\\".contains(c);
    let has_host = !rest.starts_with(['/', ':']) && !rest.is_empty();
    (has_host && rest.chars().all(is_plain)).then(|| text.trim_end_matches('/').to_owned())
}

/// Whether an http URL leads off this machine.
fn goes_in_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    !["localhost", "127.", "[::1]"].iter().any(|here| rest.starts_with(here))
}
