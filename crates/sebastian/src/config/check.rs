//! Values that are fine one by one and not together.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Config, reader::Reader};

/// 128 bits at the most a character can hold, and 64 as hex digits: too many to guess.
const SECRET_CHARS_MIN: usize = 16;

/// Within this much of a fault nobody waits while an eligible agent has room.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

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
    check_recovery(config, findings);
    check_connection_string(config, findings);
    check_listeners(config, findings);
    if qiscus.email.is_some() != qiscus.password.is_some() {
        findings.problem("`qiscus.email` and `qiscus.password` are one login: set both or neither");
    }
    check_secrets(config, findings);
    if goes_in_clear(&qiscus.base_url) {
        let text = "`qiscus.base_url` is not https: the secret key crosses the network readable to all";
        findings.warn("qiscus.base_url", text);
    }
}

/// Times that will do, and at which a promise is not kept.
fn check_recovery(config: &Config, findings: &mut Reader) {
    let Config { qiscus, policy, timing, worker, poll_interval, .. } = config;
    if *poll_interval <= policy.staleness_max && *poll_interval + qiscus.timeout > policy.staleness_max {
        findings.warn(
            "poller.staleness_max_ms",
            "`poller.staleness_max_ms` is less than `poller.interval_ms` and `qiscus.timeout_ms` together: one slow answer of \
             the platform stops assignment until the next",
        );
    }
    if timing.reservation + worker.sweep > RECOVERY_MAX {
        findings.warn(
            "worker.reservation_ms",
            "`worker.reservation_ms` and `worker.sweep_ms` together are more than 20 s, which is how long a chat may wait \
             after its worker has died: lower one of them",
        );
    }
    if worker.grace < qiscus.timeout {
        findings.warn(
            "worker.grace_ms",
            "`worker.grace_ms` is less than `qiscus.timeout_ms`: calls cut off by a stop are left to the next worker",
        );
    }
}

/// Limits that the program sets on each connection, and what would let a commit be lost.
fn check_connection_string(config: &Config, findings: &mut Reader) {
    let Some(text) = &config.db.connection_string else { return };
    let text = text.expose_secret().to_ascii_lowercase();
    for limit in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
        if text.contains(limit) {
            findings.problem(format!(
                "`db.connection_string` sets `{limit}`, and so does the program, to what its own waits go with: leave it out"
            ));
        }
    }
    if text.contains("synchronous_commit") {
        findings.problem(
            "`db.connection_string` sets `synchronous_commit`; a webhook answered with 200 must be on disk: leave it out",
        );
    }
}

fn check_listeners(config: &Config, findings: &mut Reader) {
    let Some(admin) = config.admin.listen else { return };
    let (host, port) = (config.listen.host, config.listen.port);
    let is_same_host = admin.ip() == host || admin.ip().is_unspecified() || host.is_unspecified();
    if admin.port() == port && port != 0 && is_same_host {
        findings.problem(format!(
            "`admin.listen` and `listen` both ask for port {port}: give operators another, or leave `admin.listen` out"
        ));
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
pub(crate) fn http_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let is_plain = |c: char| c.is_ascii_graphic() && !"@?#\\".contains(c);
    let has_host = !rest.starts_with(['/', ':']) && !rest.is_empty();
    (has_host && rest.chars().all(is_plain)).then(|| text.trim_end_matches('/').to_owned())
}

/// Whether an http URL leads off this machine.
pub(crate) fn goes_in_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    !["localhost", "127.", "[::1]"].iter().any(|here| rest.starts_with(here))
}
