//! Points the platform's webhooks at us: what `sebastian set-webhook` and `POST /set-webhook` share.

use std::fmt;

use sebastian_platform::{Platform, PlatformError, Webhook, WebhookUrls};
use serde::{Serialize, Serializer};

use crate::targets::{Targets, redact, verb};

/// Resolve first: when that fails, conversations still go wherever they went, and none come to a ledger that would
/// not hear of their end.
const HOOKS: [Webhook; 2] = [Webhook::Resolve, Webhook::Allocate];

/// What was, or would be, done. Shows no secret, neither as text nor as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// One entry per webhook.
    pub webhooks: Vec<HookReport>,
}

/// One webhook of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookReport {
    /// `allocate` or `resolve`.
    pub webhook: &'static str,
    /// Where it went before.
    pub before: Before,
    /// Where it should go, redacted.
    pub target: String,
    /// What became of it.
    pub outcome: HookOutcome,
}

/// Where a webhook went before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// The platform does not tell.
    Unknown,
    /// Nowhere: unset or disabled.
    Unset,
    /// To this URL, redacted.
    Url(String),
}

/// What became of one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookOutcome {
    /// It went to the target already.
    AlreadySet,
    /// A dry run: it would have been set.
    WouldSet,
    /// Set, by the platform's answer; it does not let us read it back.
    Set,
    /// Set, and read back.
    SetAndReadBack,
}

/// Why the webhooks are not, or not certainly, set. Holds no URL.
#[derive(Debug, thiserror::Error)]
pub enum SetWebhookError {
    /// The current URLs could not be read; nothing was changed.
    #[error("cannot read the current webhooks")]
    Read(#[source] PlatformError),
    /// The platform did not set one. Resolve is set before allocate.
    #[error("cannot set the {webhook} webhook")]
    Set {
        /// `allocate` or `resolve`.
        webhook: &'static str,
        /// What the platform said.
        #[source]
        source: PlatformError,
    },
    /// Both were set, and reading them back failed.
    #[error("cannot read the webhooks back after setting them")]
    ReadBack(#[source] PlatformError),
    /// The platform said yes and shows another URL.
    #[error("the platform accepted the {webhook} webhook and still shows another")]
    NotKept {
        /// `allocate` or `resolve`.
        webhook: &'static str,
    },
}

impl SetWebhookError {
    /// What an operator can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Read(_) | Self::ReadBack(_) => {
                "check qiscus.email and qiscus.password: the platform shows webhooks to an admin only; then try again"
            }
            Self::Set { .. } | Self::NotKept { .. } => {
                "the allocate webhook can be set in the dashboard: Settings > Custom Agent Allocation; the resolve \
                 webhook by an admin's API call only: check qiscus.email and qiscus.password and try again; \
                 `sebastian set-webhook --dry-run` shows both URLs, with *** in place of webhook.secret"
            }
        }
    }
}

/// Points both webhooks at `targets`, unless they go there already, and reads them back where the platform lets us.
///
/// Fails on whatever the platform refuses; a platform that does not show the current URLs is no failure.
pub async fn set_webhooks(
    platform: &dyn Platform,
    targets: &Targets,
    dry_run: bool,
) -> Result<Report, SetWebhookError> {
    let before = read(platform).await.map_err(SetWebhookError::Read)?;
    let mut webhooks = Vec::with_capacity(HOOKS.len());
    for hook in HOOKS {
        let url = targets.url(hook);
        let now = before.as_ref().map(|urls| url_of(urls, hook));
        let is_set = now == Some(Some(url.as_str()));
        let outcome = match (is_set, dry_run) {
            (true, _) => HookOutcome::AlreadySet,
            (false, true) => HookOutcome::WouldSet,
            (false, false) => {
                let set = platform.set_webhook(hook, &url).await;
                set.map_err(|source| SetWebhookError::Set { webhook: verb(hook), source })?;
                HookOutcome::Set
            }
        };
        let before = match now {
            None => Before::Unknown,
            Some(None) => Before::Unset,
            Some(Some(url)) => Before::Url(redact(url)),
        };
        webhooks.push(HookReport { webhook: verb(hook), before, target: targets.shown(hook), outcome });
    }
    if webhooks.iter().any(|webhook| webhook.outcome == HookOutcome::Set) {
        verify(platform, targets, &mut webhooks).await?;
    }
    Ok(Report { dry_run, webhooks })
}

async fn verify(
    platform: &dyn Platform,
    targets: &Targets,
    webhooks: &mut [HookReport],
) -> Result<(), SetWebhookError> {
    let Some(after) = read(platform).await.map_err(SetWebhookError::ReadBack)? else { return Ok(()) };
    for (hook, report) in HOOKS.into_iter().zip(webhooks) {
        if url_of(&after, hook) != Some(targets.url(hook).as_str()) {
            return Err(SetWebhookError::NotKept { webhook: verb(hook) });
        }
        if report.outcome == HookOutcome::Set {
            report.outcome = HookOutcome::SetAndReadBack;
        }
    }
    Ok(())
}

/// `None`: the platform has no way to tell.
async fn read(platform: &dyn Platform) -> Result<Option<WebhookUrls>, PlatformError> {
    match platform.webhook_urls().await {
        Ok(urls) => Ok(Some(urls)),
        Err(PlatformError::Unsupported(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn url_of(urls: &WebhookUrls, hook: Webhook) -> Option<&str> {
    match hook {
        Webhook::Allocate => urls.allocate.as_deref(),
        Webhook::Resolve => urls.resolve.as_deref(),
    }
}

impl Report {
    /// One line for the log.
    pub(crate) fn summary(&self) -> String {
        let each = self.webhooks.iter().map(|one| format!("{} {}", one.webhook, one.outcome));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.webhooks {
            writeln!(f, "{}: {}", report.webhook, report.outcome)?;
            writeln!(f, "  before: {}", report.before)?;
            writeln!(f, "  target: {}", report.target)?;
        }
        if self.dry_run {
            writeln!(f, "Dry run: nothing was changed.")?;
        }
        Ok(())
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "(the platform does not tell)",
            Self::Unset => "(not set)",
            Self::Url(url) => url,
        })
    }
}

impl Serialize for Before {
    /// The URL or null when unset, and the word `unknown`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown => serializer.serialize_str("unknown"),
            Self::Unset => serializer.serialize_none(),
            Self::Url(url) => serializer.serialize_str(url),
        }
    }
}

impl fmt::Display for HookOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadySet => "set already",
            Self::WouldSet => "would be set",
            Self::Set => "set (by the platform's answer; it does not let us read it back)",
            Self::SetAndReadBack => "set and read back",
        })
    }
}
