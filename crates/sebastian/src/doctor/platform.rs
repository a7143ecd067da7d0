//! The platform: whether our keys open it, who is there, where its webhooks lead, what its clock says.

use std::time::Duration;

use sebastian_ingest::{Before, HookOutcome, HookReport, SetWebhookError, set_webhooks};
use sebastian_platform::{Platform, PlatformError};

use super::{clock, finding::Finding};
use crate::{
    compose::parts,
    config::Config,
    probe::{self, Trouble, of_keys, of_login},
};

/// The platform's page may be a heavy one; only its head is of interest.
const PATIENCE: Duration = Duration::from_secs(5);

/// A `Date` is told in whole seconds.
const DATE_GRAIN: Duration = Duration::from_secs(1);

/// Whether the keys open the account, and how many may be given chats now.
pub(super) async fn agents(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "platform";
    let Ok((_, qiscus)) = parts::qiscus(config) else { return vec![] };
    vec![match qiscus.agents().await {
        Err(error) => {
            let Trouble { found, mend } = of_keys(&error, &config.qiscus.base_url);
            Finding::fail(CHECK, found, mend)
        }
        Ok(agents) => {
            let ready = agents.iter().filter(|agent| config.policy.deals_to(agent)).count();
            let found =
                format!("Qiscus accepts the keys; {ready} of {} people may be given chats now", agents.len());
            match ready {
                0 => Finding::warn(
                    CHECK,
                    found,
                    "agents have to be online and not forced offline; see `policy.roles`",
                ),
                _ => Finding::ok(CHECK, found),
            }
        }
    }]
}

/// Whether both webhooks lead here.
pub(super) async fn webhooks(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "webhooks";
    let Ok((app_id, qiscus)) = parts::qiscus(config) else { return vec![] };
    let targets = match parts::targets(config, &app_id) {
        Ok(Some(targets)) => targets,
        Ok(None) => {
            let found = "`webhook.base_url` is not set, so nobody can tell where they should lead";
            return vec![Finding::warn(
                CHECK,
                found,
                "set it to how Qiscus reaches this desk, then `sebastian set-webhook`",
            )];
        }
        Err(problem) => return vec![Finding::fail(CHECK, problem, "")],
    };
    match set_webhooks(&qiscus, &targets, true).await {
        Ok(report) => report.webhooks.iter().map(webhook).collect(),
        Err(SetWebhookError::Read(error) | SetWebhookError::ReadBack(error)) => {
            let Trouble { found, mend } = of_login(&error, &config.qiscus.base_url);
            let is_refused = matches!(error, PlatformError::Denied { .. });
            vec![if is_refused {
                Finding::fail(CHECK, found, mend)
            } else {
                Finding::warn(CHECK, found, mend)
            }]
        }
        Err(error) => vec![Finding::fail(CHECK, &error, error.advice())],
    }
}

fn webhook(hook: &HookReport) -> Finding {
    let check = if hook.webhook == "resolve" { "resolve webhook" } else { "allocate webhook" };
    let target = &hook.target;
    let found = match (&hook.before, hook.outcome) {
        (_, HookOutcome::AlreadySet) => return Finding::ok(check, format!("leads to {target}")),
        (Before::Unknown, _) => {
            let mend = "set `qiscus.email` and `qiscus.password`; `sebastian set-webhook` sets it unseen";
            return Finding::warn(
                check,
                "Qiscus shows it to an admin only, so where it leads is unknown",
                mend,
            );
        }
        (Before::Unset, _) => format!("is not set; it should lead to {target}"),
        (Before::Url(url), _) if url == target => format!("leads to {target} with another secret in it"),
        (Before::Url(url), _) => format!("leads to {url} and not to {target}"),
    };
    Finding::fail(check, found, "run `sebastian set-webhook`")
}

/// How far our clock is from the platform's.
pub(super) async fn clock(config: &Config) -> Vec<Finding> {
    match probe::get(&config.qiscus.base_url, PATIENCE).await {
        Ok(page) => match page.date {
            Some(date) => vec![clock::compare("Qiscus", date, DATE_GRAIN, page.asked)],
            None => vec![Finding::warn(
                "clock",
                "Qiscus does not tell its time",
                "compare it with `date -u` by hand",
            )],
        },
        Err(reason) => {
            let found = format!("Qiscus cannot be asked for its time: {reason}");
            vec![Finding::warn("clock", found, "see the platform's line")]
        }
    }
}
