//! What `deploy/` starts exists: commands and flags, settings, ports, files.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use sebastian::{
    cli::Cli,
    config::{Config, load_from},
};
use yaml_rust2::{Yaml, YamlLoader};

const UNITS: [&str; 3] = ["sebastian.service", "sebastian-webhook.service", "sebastian-worker@.service"];

/// Where health and metrics are, in every manifest.
const OPS_PORT: u16 = 9464;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands at `key`, itself or merged in by `<<`.
fn at<'a>(node: &'a Yaml, key: &str) -> &'a Yaml {
    if node[key].is_badvalue() { &node["<<"][key] } else { &node[key] }
}

fn words(list: &Yaml) -> Vec<String> {
    list.as_vec().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The values of `key` in a unit file, one a line.
fn settings<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Compose's services that are Sebastian.
fn services() -> Vec<(String, Yaml)> {
    let compose = yaml("deploy/compose.yml").remove(0);
    let services = compose["services"].as_hash().unwrap().iter();
    let ours =
        services.filter(|(_, service)| at(service, "image").as_str().unwrap().starts_with("sebastian:"));
    ours.map(|(name, service)| (name.as_str().unwrap().to_owned(), service.clone())).collect()
}

/// The objects of Kubernetes in a file, by kind.
fn objects(path: &str, kinds: &[&str]) -> Vec<Yaml> {
    let objects = yaml(&format!("deploy/kubernetes/{path}"));
    let found: Vec<Yaml> =
        objects.into_iter().filter(|object| kinds.contains(&object["kind"].as_str().unwrap())).collect();
    assert!(!found.is_empty(), "{path} has no {kinds:?}");
    found
}

/// The pods of Kubernetes, each with the file of its settings.
fn pods() -> Vec<(&'static str, Yaml)> {
    [("", "ingest.yaml"), ("", "worker.yaml"), ("embedded/", "sebastian.yaml")]
        .into_iter()
        .map(|(folder, file)| {
            let set = objects(&format!("{folder}{file}"), &["Deployment", "StatefulSet"]).remove(0);
            let settings = if folder.is_empty() {
                "deploy/kubernetes/config.yml"
            } else {
                "deploy/kubernetes/embedded/config.yml"
            };
            (settings, set["spec"]["template"]["spec"].clone())
        })
        .collect()
}

/// Loads settings whose secrets are below `mounted`, where only `secrets` are to be had.
fn load(
    text: &str,
    environment: &[(String, String)],
    mounted: &str,
    secrets: &[(String, String)],
) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, secret) in secrets {
        fs::write(folder.path().join(name), secret).unwrap();
    }
    let here = |text: &str| text.replace(mounted, folder.path().to_str().unwrap());
    let variables =
        environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(here(value))));
    let loaded = load_from(Some((Path::new("config.yml"), &here(text))), variables);
    loaded.map(|loaded| loaded.config).map_err(|problems| problems.to_string())
}

/// As good a secret as any of that name.
fn made_up(name: &str) -> (String, String) {
    let text = match name {
        "db_connection_string" => "postgres://sebastian:made-up@postgres:5432/sebastian",
        _ => "made-up-and-long-enough",
    };
    (name.to_owned(), format!("{name}-{text}").replace("db_connection_string-", ""))
}

/// Whether servers are named.
fn servers(config: &Config) -> (bool, bool) {
    (config.db.connection_string.is_some(), config.redis_url.is_some())
}

#[test]
fn everything_that_is_started_is_a_command_of_the_program() {
    let mut started: Vec<(String, Vec<String>)> = vec![];
    for unit in UNITS {
        let text = read(&format!("deploy/systemd/{unit}"));
        let line = settings(&text, "ExecStart")[0];
        let line = line.strip_prefix("/usr/local/bin/sebastian ").expect("where the runbook installs it");
        started.push((unit.to_owned(), line.split(' ').map(str::to_owned).collect()));
    }
    let dockerfile = read("deploy/Dockerfile");
    for line in dockerfile.lines().filter_map(|line| line.split_once("CMD ")).map(|(_, line)| line) {
        let mut words: Vec<String> = serde_json::from_str(line).unwrap();
        words.retain(|word| word != "sebastian");
        started.push((format!("Dockerfile: {line}"), words));
    }
    for (name, service) in services() {
        started.push((name, words(&service["command"])));
    }
    for (settings, pod) in pods() {
        let containers = [&pod["initContainers"], &pod["containers"]];
        for container in containers.into_iter().filter_map(Yaml::as_vec).flatten() {
            assert_eq!(container["image"].as_str(), Some("sebastian"));
            started.push((format!("{settings}: {:?}", container["name"]), words(&container["args"])));
        }
    }
    assert_eq!(started.len(), 3 + 2 + 2 + 5);
    for (name, words) in started {
        let line = ["sebastian".to_owned()].into_iter().chain(words);
        let task = Cli::try_parse_from(line).and_then(Cli::task);
        assert!(task.is_ok(), "{name}: {}", task.unwrap_err());
    }
}

#[test]
fn the_settings_of_compose_load_with_the_secrets_it_mounts() {
    let text = read("deploy/compose/config.yml");
    for (name, service) in services() {
        let secrets: Vec<_> = words(at(&service, "secrets")).iter().map(|name| made_up(name)).collect();
        let config =
            load(&text, &[], "/run/secrets", &secrets).unwrap_or_else(|told| panic!("{name}: {told}"));
        assert_eq!(servers(&config), (true, true));
        assert!(
            config.qiscus.secret_key.is_some()
                && config.webhook.secret.is_some()
                && !config.admin.tokens.is_empty()
        );
        assert_eq!((config.admin.listen.unwrap().port(), config.worker.listen.port()), (OPS_PORT, OPS_PORT));
    }
    let published = words(&services()[0].1["ports"]);
    assert_eq!(published, ["${SEBASTIAN_PORT:-3000}:3000"]);
    let scraped = read("deploy/prometheus/prometheus.yml");
    assert_eq!(scraped.matches(&format!("port: {OPS_PORT},")).count(), 2, "{scraped}");
}

#[test]
fn the_settings_of_kubernetes_load_with_the_keys_of_the_secret() {
    let example = objects("secret.example.yaml", &["Secret"]).remove(0);
    let keys = example["stringData"].as_hash().unwrap().iter();
    let secrets: Vec<(String, String)> = keys
        .map(|(key, value)| (key.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned()))
        .collect();
    let mounted = "/run/secrets/sebastian";
    for (path, pod) in pods() {
        let text = read(path);
        let config = load(&text, &[], mounted, &secrets).unwrap_or_else(|told| panic!("{path}: {told}"));
        let is_embedded = path.contains("embedded");
        assert_eq!(servers(&config), (!is_embedded, !is_embedded), "{path}");
        assert_eq!(config.admin.listen.unwrap().port(), OPS_PORT);
        assert!(is_embedded || config.worker.listen.port() == OPS_PORT);

        for init in pod["initContainers"].as_vec().into_iter().flatten() {
            let variable = |entry: &Yaml| {
                let word = |key: &str| entry[key].as_str().unwrap().to_owned();
                (word("name"), word("value"))
            };
            let environment: Vec<_> = init["env"].as_vec().unwrap().iter().map(variable).collect();
            load(&text, &environment, mounted, &secrets).unwrap_or_else(|told| panic!("{path}: {told}"));
        }
        let container = &pod["containers"][0];
        for port in container["ports"].as_vec().unwrap() {
            let expected = if port["name"].as_str() == Some("ops") { OPS_PORT } else { config.listen.port };
            assert_eq!(port["containerPort"].as_i64(), Some(expected.into()), "{path}");
        }
        for (probe, page) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        {
            let asked = &container[probe]["httpGet"];
            assert_eq!((asked["path"].as_str(), asked["port"].as_str()), (Some(page), Some("ops")), "{path}");
        }
    }
    for path in ["ingress.yaml", "embedded/sebastian.yaml"] {
        let ingress = objects(path, &["Ingress"]).remove(0);
        let passed = &ingress["spec"]["rules"][0]["http"]["paths"];
        assert_eq!(passed.as_vec().unwrap().len(), 1);
        assert_eq!(passed[0]["path"].as_str(), Some("/webhooks/"), "{path}");
    }
}

#[test]
fn the_units_settings_load_with_the_credentials_they_are_given() {
    let own_files = read("deploy/systemd/secrets.conf");
    for unit in UNITS {
        let text = read(&format!("deploy/systemd/{unit}")) + &own_files;
        let credentials =
            settings(&text, "LoadCredential").into_iter().map(|line| line.split_once(':').unwrap());
        let secrets: Vec<_> =
            credentials.filter(|(name, _)| *name != "config.yml").map(|(name, _)| made_up(name)).collect();
        let variables = settings(&text, "Environment").into_iter().map(|line| line.split_once('=').unwrap());
        let environment: Vec<_> =
            variables.map(|(name, value)| (name.to_owned(), value.replace("%i", "9464"))).collect();
        let config = load("", &environment, "%d", &secrets).unwrap_or_else(|told| panic!("{unit}: {told}"));
        assert!(config.qiscus.secret_key.is_some(), "{unit}");
        assert_eq!(settings(&text, "RestartPreventExitStatus"), ["2"], "{unit}");
    }
}

#[test]
fn whoever_stops_a_process_is_more_patient_than_its_grace() {
    let grace = load("", &[], "%d", &[]).unwrap().worker.grace;
    let seconds = |text: &str| Duration::from_secs(text.trim_end_matches('s').parse().unwrap());
    for unit in UNITS {
        let text = read(&format!("deploy/systemd/{unit}"));
        assert!(seconds(settings(&text, "TimeoutStopSec")[0]) > grace, "{unit}");
    }
    for (name, service) in services() {
        assert!(seconds(at(&service, "stop_grace_period").as_str().unwrap()) > grace, "{name}");
    }
    for (path, pod) in pods() {
        let patience = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
        let before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().unwrap_or(0);
        assert!(Duration::from_secs((patience - before).try_into().unwrap()) > grace, "{path}");
    }
}

#[test]
fn the_image_is_given_what_it_copies() {
    let let_in = read(".dockerignore");
    let dockerfile = read("deploy/Dockerfile");
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let from_here: Vec<&str> = copies.filter(|line| !line.starts_with("--")).collect();
    assert!(!from_here.is_empty());
    for line in from_here {
        let (sources, _) = line.rsplit_once(' ').unwrap();
        for source in sources.split(' ') {
            assert!(root().join(source).exists(), "{source}");
            assert!(let_in.lines().any(|line| line.strip_prefix('!') == Some(source)), "{source}");
        }
    }
}

#[test]
fn the_runbook_leads_where_it_says() {
    let slug = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        heading
            .trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    let runbook = read("deploy/README.md");
    let links = runbook.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let mut count = 0;
    for link in links.filter(|link| !link.starts_with("http")) {
        count += 1;
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let page = if path.is_empty() { "README.md" } else { path };
        assert!(root().join("deploy").join(page).exists(), "{link}");
        let text = if anchor.is_empty() { String::new() } else { read(&format!("deploy/{page}")) };
        let is_there = text.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
        assert!(anchor.is_empty() || is_there, "{link}");
    }
    assert!(count > 30, "{count} links");
}
