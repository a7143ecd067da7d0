//! Asks a process of this machine whether it is ready, for a container's or a supervisor's probe: no curl, no shell.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use crate::{
    cli::{Process, Settings},
    config::Config,
    failure::Failure,
    probe::{self, NoPage},
};

/// Below the patience of whoever probes: Docker's is 30 s unless said, Kubernetes' is often 1 s to 5 s. `/readyz` itself
/// looks at each dependency for at most a second.
const PATIENCE: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  sebastian healthcheck                      whichever process these settings are of
  sebastian -e worker healthcheck            the worker; worker.listen has to name a port
  sebastian healthcheck --url http://127.0.0.1:45179
  HEALTHCHECK CMD [\"sebastian\", \"healthcheck\"]       in a Dockerfile

It asks /readyz where the settings say that health is answered: at admin.listen, else at listen, else at worker.listen.
Exit codes: 0 ready, or degraded and at work; 1 anything else.";

/// Ask a process of this machine whether it is ready.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Healthcheck {
    /// Where to ask instead of where the settings say; /readyz is added where there is no path.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The process that is meant, as `-e` names it.
    #[arg(skip)]
    pub process: Option<Process>,
}

/// Prints one line when the process is ready; fails with one when it is not.
pub(crate) async fn run(asked: &Healthcheck, settings: &Settings) -> Result<(), Failure> {
    let unhealthy = |text: String| Failure::Unhealthy(text);
    let urls = match &asked.url {
        Some(url) => vec![with_path(url)],
        None => {
            let loaded = settings.load();
            // One exit code for all that is not health: Docker keeps 2 for itself.
            let loaded = loaded.map_err(|problems| unhealthy(problems.to_string()))?;
            places(&loaded.config, asked.process).map_err(unhealthy)?
        }
    };
    for url in &urls {
        match probe::get(url, PATIENCE).await {
            // Another process of the same settings may be the one that runs here.
            Err(NoPage::Refused) => continue,
            Err(reason) => return Err(unhealthy(format!("{url}: {reason}"))),
            Ok(page) if page.is_ours() => {
                let told = told(&page.body);
                if page.status != 200 {
                    return Err(unhealthy(told));
                }
                // Whoever closed the pipe has read enough.
                let _closed = writeln!(io::stdout(), "{told}");
                return Ok(());
            }
            Ok(page) => {
                return Err(unhealthy(format!(
                    "{url} answers with status {}, and is no Sebastian",
                    page.status
                )));
            }
        }
    }
    Err(unhealthy(format!("nobody listens at {}", urls.join(" nor at "))))
}

/// Where health is answered by these settings, most likely first.
fn places(config: &Config, process: Option<Process>) -> Result<Vec<String>, String> {
    let ingest = config.admin.listen.unwrap_or(SocketAddr::new(config.listen.host, config.listen.port));
    let all = match process {
        Some(Process::Webhook | Process::All) => vec![ingest],
        Some(Process::Worker) => vec![config.worker.listen],
        None => vec![ingest, config.worker.listen],
    };
    let known: Vec<String> = all.iter().filter(|address| address.port() != 0).map(|at| url(*at)).collect();
    if !known.is_empty() {
        return Ok(known);
    }
    let key = if process == Some(Process::Worker) { "worker.listen" } else { "listen.port" };
    let example = if process == Some(Process::Worker) { "127.0.0.1:9464" } else { "3000" };
    Err(format!(
        "the port is 0, so the system chose one that only the process's log names: set `{key}` to one of your own, \
         such as {example}, or give --url"
    ))
}

/// `/readyz` at an address as this machine reaches it.
fn url(address: SocketAddr) -> String {
    format!("http://{}/readyz", reachable(address))
}

/// An address to connect to: one that stands for every interface is asked at the loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

fn with_path(url: &str) -> String {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.trim_end_matches('/').contains('/'));
    if has_path { url } else { format!("{}/readyz", url.trim_end_matches('/')) }
}

/// What `/readyz` says, in one line.
pub(crate) fn told(ready: &Value) -> String {
    let status = ready["status"].as_str().or(ready["error"].as_str()).unwrap_or("no health page");
    let checks = ready["checks"].as_object().into_iter().flatten();
    let checks: Vec<String> =
        checks.map(|(name, found)| format!("{name} {}", found.as_str().unwrap_or_default())).collect();
    let line = if checks.is_empty() { status.to_owned() } else { format!("{status}: {}", checks.join(", ")) };
    line.chars().filter(|letter| !letter.is_control()).collect()
}
