//! Looks at everything a desk stands on, and says of each what was found and how to mend it.
//!
//! It changes nothing: no schema is migrated, no webhook set, no port kept. Whatever is asked of others is asked at once
//! and ends within [`PATIENCE`].

mod clock;
mod finding;
mod ledger;
mod listeners;
mod platform;
mod redis;
mod settings;

use std::time::Duration;

use clap::Args;

use self::finding::{Finding, Grade};
use crate::{cli::Settings, config::Loaded, failure::Failure, print};

/// Longest a check may take; its calls have shorter limits of their own.
const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  sebastian doctor                 before the first start, and whenever in doubt; beside a running process too
  sebastian doctor -c desk.yml --json | jq '.checks[] | select(.grade != \"ok\")'

One line for each check: ok, warn or fail, what was looked at, what was found, and how to mend it. It changes nothing.
Exit codes: 0 nothing failed, 1 something did, 2 the settings are wrong.";

/// Check everything a desk stands on, and say how to mend what is wrong.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    /// Print JSON for scripts.
    #[arg(long)]
    pub json: bool,
}

/// Prints what was found; fails when a check did.
pub(crate) async fn run(asked: &Doctor, settings: &Settings) -> Result<(), Failure> {
    match settings.load() {
        Ok(loaded) => report(asked, &examine(&loaded).await, false),
        Err(problems) => {
            let told = problems.into_iter().map(|problem| Finding::fail("settings", problem, ""));
            report(asked, &told.collect::<Vec<_>>(), true)
        }
    }
}

/// Everything that was found, in the order an operator would look.
async fn examine(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let (ledger, redis, agents, webhooks, clock, listeners, public_url) = tokio::join!(
        bounded("ledger", ledger::look(config)),
        bounded("redis", redis::look(config)),
        bounded("platform", platform::agents(config)),
        bounded("webhooks", platform::webhooks(config)),
        bounded("clock", platform::clock(config)),
        bounded("listen", listeners::look(config)),
        bounded("public URL", listeners::public_url(config)),
    );
    let here = settings::look(loaded);
    let files = vec![settings::open_files()];
    [here, ledger, redis, agents, webhooks, clock, listeners, public_url, files].concat()
}

async fn bounded(check: &'static str, looking: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| {
        let found = format!("no answer within {} s", PATIENCE.as_secs());
        vec![Finding::fail(check, found, "something on the way takes in requests and answers none")]
    })
}

fn report(asked: &Doctor, findings: &[Finding], settings: bool) -> Result<(), Failure> {
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (failed, warned, of) = (count(Grade::Fail), count(Grade::Warn), findings.len());
    let text = if asked.json {
        let shown = serde_json::json!({ "ok": failed == 0, "checks": findings });
        // A value has no form that cannot be printed.
        serde_json::to_string_pretty(&shown).map(|text| text + "\n").unwrap_or_default()
    } else {
        let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        let lines: String = findings.iter().map(|finding| finding.line(width)).collect();
        format!("{lines}{of} checks: {} ok, {warned} to look at, {failed} failed\n", of - warned - failed)
    };
    print(&text);
    if failed == 0 { Ok(()) } else { Err(Failure::Unwell { failed, of, settings }) }
}
