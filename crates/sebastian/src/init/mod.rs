//! The first run: asks for what a desk needs, checks it at the platform, and writes the settings.
//!
//! Nothing is written before everything is known, and the file appears whole. Secrets are neither shown nor printed.

mod args;
mod file;
mod questions;
mod terminal;

use std::path::Path;

use sebastian_ingest::{Before, HookOutcome, Report, set_webhooks};
use secrecy::ExposeSecret;

pub use self::args::Init;
use self::questions::{Questions, usage};
use crate::{
    cli::Settings,
    compose::parts,
    config::{self, Config, DEFAULT_FILE},
    failure::Failure,
    print,
};

/// Sets up a desk, and tells what to do next.
pub(crate) async fn run(init: &Init, settings: &Settings) -> Result<(), Failure> {
    let named = init.output.as_ref().or(settings.file.config.as_ref());
    let path = named.map_or(Path::new(DEFAULT_FILE), |path| path.as_path());
    // A dangling link is something that is there, too.
    if !init.force && path.symlink_metadata().is_ok() {
        return Err(usage(format!(
            "{} is there already, and was left as it is: --force replaces it, --output writes elsewhere",
            path.display()
        )));
    }
    let questions = Questions::new(init)?;
    if questions.terminal.is_some() {
        print(
            "This sets up Sebastian for one Qiscus Omnichannel account. Ctrl-C leaves; nothing is written before the end.\n\n",
        );
    }
    let answers = questions.answers().await?;
    let text = file::text(&answers)?;
    // What would not start is not written.
    let loaded = config::load_from(Some((path, text.expose_secret())), [])?;
    let failed = |source| Failure::Write { path: path.display().to_string(), source };
    file::write_whole(path, &text).map_err(failed)?;
    print(&format!(
        "Wrote {}, readable by you alone, with a webhook secret and an admin token of its own.\n\n",
        path.display()
    ));
    let webhooks = offer_webhooks(init, &questions, &loaded.config).await;
    let are_set = webhooks.as_ref().is_ok_and(|are_set| *are_set);
    print(&next_steps(path, settings.data.as_deref(), &loaded.config, are_set));
    webhooks.map(|_| ())
}

/// Sets the webhooks if that is wanted. Returns whether they are set now.
async fn offer_webhooks(init: &Init, asked: &Questions<'_>, config: &Config) -> Result<bool, Failure> {
    if init.offline || init.no_set_webhooks {
        return Ok(false);
    }
    let (app_id, platform) = parts::qiscus(config)?;
    let Some(targets) = parts::targets(config, &app_id)? else { return Ok(false) };
    let is_wanted = match &asked.terminal {
        _ if init.set_webhooks || init.yes => true,
        None => false,
        Some(terminal) => {
            let plan = set_webhooks(&platform, &targets, true).await?;
            print(&format!("The webhooks that Qiscus has registered, and those of this desk:\n{plan}\n"));
            let replaces = replaces_another(&plan);
            let question = match replaces {
                true => "Set them now, in the place of the other service's?",
                false => "Set them now?",
            };
            terminal.yes(question, !replaces)?
        }
    };
    if is_wanted {
        print(&format!("{}\n", set_webhooks(&platform, &targets, false).await?));
    }
    Ok(is_wanted)
}

fn replaces_another(plan: &Report) -> bool {
    let is_other = |before: &Before| matches!(before, Before::Url(_));
    plan.webhooks.iter().any(|hook| hook.outcome == HookOutcome::WouldSet && is_other(&hook.before))
}

fn next_steps(path: &Path, data: Option<&Path>, config: &Config, webhooks_are_set: bool) -> String {
    let mut from = match path {
        path if path == Path::new(DEFAULT_FILE) => String::new(),
        path => format!(" -c {}", path.display()),
    };
    if let Some(data) = data {
        from += &format!(" --data {}", data.display());
    }
    let mut steps: Vec<(String, &str)> = Vec::new();
    if config.db.connection_string.is_some() {
        steps.push((format!("sebastian -e webhook{from}"), "takes webhooks; any number may run"));
        steps.push((format!("sebastian -e worker{from}"), "assigns chats; any number may run"));
    } else {
        steps.push((format!("sebastian -e all{from}"), "runs the desk; needs no servers"));
    }
    if !webhooks_are_set {
        steps.push((
            format!("sebastian set-webhook{from}"),
            "points Qiscus here; with --dry-run it only shows",
        ));
    }
    steps.push((format!("sebastian doctor{from}"), "checks everything, whenever in doubt"));
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    let lines = steps.iter().map(|(command, does)| format!("  {command:width$}   {does}\n"));
    let lines: String = lines.collect();
    let (port, public_url) = (config.listen.port, config.webhook.base_url.as_deref().unwrap_or_default());
    format!(
        "Next:\n{lines}\n{public_url} has to lead to port {port} of this machine: of all paths only /webhooks/.\n"
    )
}
