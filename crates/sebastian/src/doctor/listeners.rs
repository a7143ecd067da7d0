//! Where we listen, and whether the world reaches us there.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use futures_util::future::join_all;

use super::finding::Finding;
use crate::{
    config::{Config, goes_in_clear},
    healthcheck::{reachable, told},
    probe::{self, NoPage},
};

/// `/readyz` takes a second at most; the way through a proxy some more.
const PATIENCE: Duration = Duration::from_secs(4);

const PUBLIC: &str = "public URL";

/// Every address that these settings name.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let public = SocketAddr::new(config.listen.host, config.listen.port);
    let others = [("admin.listen", config.admin.listen), ("worker.listen", Some(config.worker.listen))];
    let others = others.into_iter().filter_map(|(key, address)| Some((key, address?)));
    // A worker's port is any free one unless somebody wants to read its metrics.
    let all = std::iter::once(("listen", public)).chain(others.filter(|(_, address)| address.port() != 0));
    join_all(all.map(|(key, address)| listener(key, address))).await
}

async fn listener(key: &'static str, address: SocketAddr) -> Finding {
    if address.port() == 0 {
        let found = "the port is 0: another one after each start, to which no proxy can lead";
        return Finding::warn(key, found, format!("give `{key}` a port of its own"));
    }
    // Given back at once. The process that starts next asks in the same way.
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(key, format!("{address} is free: nothing of this desk listens there now")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => held(key, address).await,
        Err(error) => {
            let mend = match error.kind() {
                ErrorKind::PermissionDenied => "use a port above 1023, or let the service bind low ones",
                _ => "use an address of this machine, or 0.0.0.0 for all of them",
            };
            Finding::fail(key, format!("cannot listen on {address}: {error}"), mend)
        }
    }
}

async fn held(key: &'static str, address: SocketAddr) -> Finding {
    match probe::get(&format!("http://{}/readyz", reachable(address)), PATIENCE).await {
        // Health may be answered at `admin.listen`.
        Ok(page) if page.is_ours() && matches!(page.status, 200 | 404) => {
            let health = if page.status == 200 { told(&page.body) } else { "it takes webhooks".to_owned() };
            Finding::ok(key, format!("a Sebastian listens on {address}: {health}"))
        }
        Ok(page) if page.is_ours() => {
            let found = format!("a Sebastian listens on {address}: {}", told(&page.body));
            Finding::fail(key, found, "mend what it names; its log has the reason")
        }
        _ => {
            let found = format!("another program holds {address}");
            Finding::fail(
                key,
                found,
                format!("stop it (`ss -ltnp` shows which), or set `{key}` to another port"),
            )
        }
    }
}

/// Whether `webhook.base_url` leads to a Sebastian, as seen from here: a hint, as it may look different from the platform.
///
/// Asks for a webhook's path in a way that nobody takes for a webhook, since a proxy lets nothing else pass.
pub(super) async fn public_url(config: &Config) -> Vec<Finding> {
    let Some(base_url) = &config.webhook.base_url else { return vec![] };
    let path = match &config.webhook.secret {
        Some(_) => "webhooks/doctor/doctor/allocate",
        None => "webhook-incoming-message",
    };
    let mut findings = vec![match probe::get(&format!("{base_url}/{path}"), PATIENCE).await {
        Ok(page) if page.is_ours() => Finding::ok(PUBLIC, format!("{base_url} leads to a Sebastian")),
        Ok(page) => {
            let found = format!("{base_url} answers with status {}, and not as a Sebastian", page.status);
            Finding::warn(PUBLIC, found, "start one, and let the proxy pass /webhooks/ to `listen`")
        }
        Err(reason @ NoPage::Refused) => Finding::warn(
            PUBLIC,
            format!("{base_url}: {reason}"),
            "start the proxy, or a Sebastian if there is none",
        ),
        Err(reason) => {
            let found = format!("{base_url} cannot be reached from here: {reason}");
            Finding::warn(
                PUBLIC,
                found,
                "see to its name, its certificate and the firewall; seen from outside it may be fine",
            )
        }
    }];
    if goes_in_clear(base_url) {
        let found = "it is not https: customers' names, numbers and the webhook secret cross the network readable to all";
        findings.push(Finding::warn(
            PUBLIC,
            found,
            "let a proxy end TLS, and set `webhook.base_url` to https://",
        ));
    }
    let leads_here =
        |url: &str| ["://localhost", "://127.", "://[::1]"].iter().any(|here| url.contains(here));
    if leads_here(base_url) && !leads_here(&config.qiscus.base_url) {
        let found = format!("{base_url} leads nowhere but to this machine, which Qiscus cannot reach");
        findings.push(Finding::fail(
            PUBLIC,
            found,
            "set `webhook.base_url` to the name that your proxy answers to",
        ));
    }
    findings
}
