//! The settings and this machine's own limits. Nothing here is asked of anybody.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::{
    cli::Process,
    compose::parts::Parts,
    config::{HIDDEN, Loaded, Origin},
};

const CHECK: &str = "settings";

/// Each connection is one, and so is each file; a burst of webhooks comes by thousands.
const OPEN_FILES_MIN: u64 = 16_384;

/// What is missing, odd or readable by others in the settings.
pub(super) fn look(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let mut findings = Vec::new();
    match Parts::new(config, Process::All) {
        Ok(_) => findings.push(Finding::ok(CHECK, format!("complete; {}", sources(loaded)))),
        Err(problems) => {
            findings.extend(problems.into_iter().map(|problem| Finding::fail(CHECK, problem, "")))
        }
    }
    findings.extend(loaded.warnings.iter().map(|warning| Finding::warn(CHECK, warning, "")));
    findings.extend(open_to_others(loaded));
    findings.push(match config.webhook.secret {
        Some(_) => Finding::ok("webhook.secret", "set: webhooks have to bring it"),
        None => Finding::warn(
            "webhook.secret",
            "not set: whoever knows the address can post, as Qiscus signs nothing",
            "set it to what `openssl rand -hex 16` makes, then run `sebastian set-webhook`",
        ),
    });
    findings.push(match config.admin.tokens.as_slice() {
        [] => Finding::warn(
            "admin.token",
            "not set: operators' calls are answered to whoever is on this machine, and to nobody else",
            "set it to what `openssl rand -hex 16` makes",
        ),
        tokens => Finding::ok("admin.token", format!("set: {}", tokens.len())),
    });
    findings
}

/// Where what is not a default comes from.
fn sources(loaded: &Loaded) -> String {
    let mut files = BTreeSet::new();
    let mut variables = 0_usize;
    for shown in &loaded.shown {
        match &shown.origin {
            Origin::Default => {}
            Origin::File { path, .. } => {
                files.insert(path.display().to_string());
            }
            Origin::Environment(_) => variables += 1,
        }
    }
    let files: Vec<String> = files.into_iter().collect();
    match (files.is_empty(), variables) {
        (true, 0) => "all of them defaults".to_owned(),
        (true, variables) => format!("{variables} from the environment"),
        (false, 0) => format!("from {}", files.join(", ")),
        (false, variables) => format!("from {}, and {variables} from the environment", files.join(", ")),
    }
}

/// The settings file, when it holds secrets and others may read it.
fn open_to_others(loaded: &Loaded) -> Option<Finding> {
    let holds_secret = |path: &&Path| {
        loaded.shown.iter().any(|shown| {
            shown.value == HIDDEN && matches!(&shown.origin, Origin::File { path: at, .. } if at == path)
        })
    };
    let files = loaded.shown.iter().filter_map(|shown| match &shown.origin {
        Origin::File { path, .. } => Some(path.as_path()),
        Origin::Default | Origin::Environment(_) => None,
    });
    let is_open = |path: &&Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o044 != 0);
    let path = files.filter(holds_secret).find(is_open)?;
    let found = format!("{} holds secrets, and others on this machine may read it", path.display());
    Some(Finding::warn(CHECK, found, format!("chmod 600 {}", path.display())))
}

/// How many connections this machine lets a process have.
pub(super) fn open_files() -> Finding {
    const CHECK: &str = "open files";
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < OPEN_FILES_MIN => {
            let mend = "raise it to 65536: LimitNOFILE= of the unit, or `ulimit -Hn`";
            Finding::warn(CHECK, format!("a process may have {most} open, and each connection is one"), mend)
        }
        Some(most) => Finding::ok(CHECK, format!("a process may have {most} open")),
        None => Finding::ok(CHECK, "a process may have any number open"),
    }
}
