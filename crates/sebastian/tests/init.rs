//! The first run: from nothing to settings that a process starts with, by flags and at a terminal.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use sebastian::config::load_from;
use sebastian_platform::simulated::{Simulated, SimulatedConfig};
use sebastian_testkit::{Child, binary};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::{
    person::Person,
    processes::{SOON, address},
};

const PUBLIC_URL: &str = "https://desk.example";

/// A platform whose secrets cannot be missed in any output, and an empty folder.
pub struct Newcomer {
    pub platform: Simulated,
    pub folder: TempDir,
}

impl Newcomer {
    pub fn new() -> Self {
        let tenant = SimulatedConfig {
            secret_key: "CANARY-key".to_owned(),
            admin_password: "CANARY-password".to_owned(),
            ..SimulatedConfig::tenant()
        };
        let platform = Simulated::start(tenant).unwrap();
        Self { platform, folder: tempfile::tempdir().unwrap() }
    }

    fn tenant<T>(&self, look: impl FnOnce(&SimulatedConfig) -> T) -> T {
        look(&SimulatedConfig { secret_key: "CANARY-key".to_owned(), ..SimulatedConfig::tenant() })
    }

    /// Every flag that has to be given, and then `more`.
    pub fn flags<'a>(&self, more: &[&'a str]) -> Vec<String>
    where
        Self: 'a,
    {
        fs::write(self.path("key"), "CANARY-key\n").unwrap();
        fs::write(self.path("password"), "CANARY-password\n").unwrap();
        let app_id = self.tenant(|tenant| tenant.app_id.clone());
        let base_url = self.platform.url();
        let flags = [
            "init",
            "--base-url",
            &base_url,
            "--app-id",
            &app_id,
            "--secret-key-file",
            "key",
            "--public-url",
            PUBLIC_URL,
        ];
        flags.iter().chain(more).map(|&flag| flag.to_owned()).collect()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn start<S: AsRef<str>>(&self, arguments: &[S], environment: &[(&str, &str)]) -> Child {
        let mut command = binary("sebastian");
        command.args(arguments.iter().map(AsRef::as_ref)).envs(environment.iter().copied());
        Child::spawn(command.current_dir(self.folder.path()))
    }

    /// Runs it to its end; the exit code and everything it printed.
    pub async fn run<S: AsRef<str>>(&self, arguments: &[S]) -> (Option<i32>, String) {
        let child = self.start(arguments, &[]);
        let code = child.wait(SOON).await.code();
        let said = child.output();
        assert!(!said.contains("CANARY"), "{said}");
        (code, said)
    }

    pub fn written(&self) -> String {
        fs::read_to_string(self.path("config.yml")).unwrap()
    }

    fn webhooks(&self) -> [Option<String>; 2] {
        let urls = self.platform.webhooks();
        [urls.allocate, urls.resolve]
    }
}

#[tokio::test]
async fn by_flags_it_writes_settings_that_are_accepted_and_serve() {
    let newcomer = Newcomer::new();
    let (code, said) = newcomer.run(&newcomer.flags(&["--port", "3111", "--data", "data"])).await;
    assert_eq!(code, Some(0), "{said}");
    for told in [
        "Qiscus accepts the keys: 7 people in the account, 3 of them online",
        "Wrote config.yml",
        "sebastian -e all --data data ",
        "sebastian set-webhook --data data ",
        "sebastian doctor --data data ",
        "https://desk.example has to lead to port 3111",
    ] {
        assert!(said.contains(told), "no {told} in {said}");
    }
    let mode = newcomer.path("config.yml").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(newcomer.folder.path()).unwrap().count(),
        3,
        "the keys, the password, the settings"
    );
    assert_eq!(newcomer.webhooks(), [None, None]);

    let (code, said) = newcomer.run(&["check-config", "--data", "data"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("webhook.secret: [hidden]") && said.contains("admin.token: [hidden]"), "{said}");

    let all = newcomer.start(&["-e", "all", "--data", "data"], &[("SEBASTIAN__LISTEN__PORT", "0")]);
    let listens = address(&all).await;
    let set =
        newcomer.start(&["set-webhook"], &[("SEBASTIAN__WEBHOOK__BASE_URL", &format!("http://{listens}"))]);
    assert_eq!(set.wait(SOON).await.code(), Some(0), "{}", set.output());
    let sent = newcomer.platform.customer_writes("101", sebastian_core::InboxId(88_121)).await.unwrap();
    assert!(sent.accepted(), "{sent:?}");
    newcomer.platform.wait_until(SOON, |state| state.agent_of("101").is_some()).await.unwrap();
    all.terminate();
    assert_eq!(all.wait(SOON).await.code(), Some(0), "{}", all.output());
    assert!(!all.output().contains("CANARY"), "{}", all.output());
}

#[tokio::test]
async fn on_servers_it_writes_where_they_are_and_names_both_processes() {
    let newcomer = Newcomer::new();
    let servers =
        ["--postgres", "postgres://CANARY:CANARY@127.0.0.1:9/a", "--redis", "redis://:CANARY@127.0.0.1:9"];
    let (code, said) = newcomer.run(&newcomer.flags(&servers)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("sebastian -e webhook ") && said.contains("sebastian -e worker "), "{said}");
    let config = config_of(&newcomer.path("config.yml"));
    assert_eq!(config.db.connection_string.unwrap().expose_secret(), servers[1]);
    assert_eq!(config.redis_url.unwrap().expose_secret(), servers[3]);
    let (code, said) = newcomer.run(&["-e", "worker", "check-config"]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn keys_or_a_login_that_the_platform_does_not_accept_write_nothing() {
    let newcomer = Newcomer::new();
    let flags = newcomer.flags(&["--email", "owner@tokosenja.example", "--password-file", "password"]);
    for (file, told) in [
        (
            "key",
            "does not accept the app id and the secret key (status 401); copy both again from Settings > App",
        ),
        (
            "password",
            "does not accept the admin's e-mail and password (status 401); use the login of an admin",
        ),
    ] {
        let right = fs::read(newcomer.path(file)).unwrap();
        fs::write(newcomer.path(file), "CANARY-wrong").unwrap();
        let (code, said) = newcomer.run(&flags).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(told) && said.contains("Nothing was written"), "{said}");
        assert!(!newcomer.path("config.yml").exists());
        fs::write(newcomer.path(file), right).unwrap();
    }
    newcomer.platform.stop().await;
    let (code, said) = newcomer.run(&flags).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("cannot be reached: connection failed; see whether this machine may reach it"),
        "{said}"
    );
    assert!(!newcomer.path("config.yml").exists());
}

#[tokio::test]
async fn settings_that_are_there_are_replaced_only_by_force() {
    let newcomer = Newcomer::new();
    fs::write(newcomer.path("config.yml"), "mine").unwrap();
    let (code, said) = newcomer.run(&newcomer.flags(&[])).await;
    assert_eq!((code, newcomer.written().as_str()), (Some(2), "mine"), "{said}");
    assert!(
        said.contains("config.yml is there already, and was left as it is: --force replaces it"),
        "{said}"
    );

    let (code, said) = newcomer.run(&newcomer.flags(&["--output", "desk.yml"])).await;
    assert_eq!((code, newcomer.written().as_str()), (Some(0), "mine"), "{said}");
    assert!(said.contains("sebastian doctor -c desk.yml"), "{said}");
    let (code, said) = newcomer.run(&newcomer.flags(&["--force"])).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(newcomer.written().contains("secret_key_file: /"), "{}", newcomer.written());
}

#[tokio::test]
async fn without_a_terminal_it_names_the_flags_that_are_missing() {
    let newcomer = Newcomer::new();
    for (flags, told) in [
        (&["init"][..], "these flags are missing: --app-id, --secret-key-file, --public-url; see"),
        (&["init", "--app-id", "a", "--public-url", PUBLIC_URL], "are missing: --secret-key-file; see"),
        (
            &[
                "init",
                "--app-id",
                "a",
                "--secret-key",
                "CANARY",
                "--public-url",
                PUBLIC_URL,
                "--email",
                "a@b.example",
            ],
            "are missing: --password-file; see",
        ),
        (&["init", "--public-url", "desk.example"], "a URL that starts with http:// or https://"),
        (&["init", "--postgres", "postgres://CANARY@db/a"], "--redis <URL>"),
        (&["init", "--platform", "other"], "possible values: qiscus"),
    ] {
        let (code, said) = newcomer.run(flags).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(told), "{flags:?}: {said}");
        assert!(!newcomer.path("config.yml").exists());
    }
}

#[tokio::test]
async fn the_webhooks_are_set_when_asked_for_and_what_was_there_is_shown() {
    let newcomer = Newcomer::new();
    let theirs = Some("https://other.example/hook".to_owned());
    newcomer.platform.set_webhooks(theirs.clone(), None);
    let login = ["--email", "owner@tokosenja.example", "--password-file", "password"];

    let (code, said) = newcomer.run(&newcomer.flags(&login)).await;
    assert_eq!((code, newcomer.webhooks()), (Some(0), [theirs, None]), "{said}");
    assert!(said.contains("Qiscus accepts the login.") && said.contains("sebastian set-webhook "), "{said}");

    let set = [&login[..], &["--force", "--set-webhooks"]].concat();
    let (code, said) = newcomer.run(&newcomer.flags(&set)).await;
    assert_eq!(code, Some(0), "{said}");
    for told in [
        "allocate: set and read back\n  before: https://other.example/hook\n",
        "resolve: set and read back\n  before: (not set)\n",
        "/webhooks/sbsti-7q2mzk4c1d9xw0a/***/allocate",
    ] {
        assert!(said.contains(told), "no {told} in {said}");
    }
    assert!(!said.contains("sebastian set-webhook "), "{said}");
    let secret = config_of(&newcomer.path("config.yml")).webhook.secret.unwrap();
    let registered = newcomer.webhooks().map(Option::unwrap);
    for url in &registered {
        assert!(
            url.starts_with(PUBLIC_URL) && url.contains(secret.expose_secret()),
            "the URL holds the secret"
        );
    }
    assert!(!said.contains(secret.expose_secret()), "the output does not");
}

#[tokio::test]
async fn offline_it_asks_nobody_and_any_value_is_given_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    for odd in
        ["it's: #1", "null", "'quoted' \"twice\"", "- {a: b}", "~", " spaced ", "0123", "=a&b%", "ключ", "a:"]
    {
        let mut command = binary("sebastian");
        let own = ["--app-id", "--secret-key", "--email", "--password"].map(|flag| format!("{flag}={odd}"));
        command.args(["init", "--offline", "--force", "--public-url", PUBLIC_URL]).args(own);
        let child = Child::spawn(command.current_dir(folder.path()));
        assert_eq!(child.wait(SOON).await.code(), Some(0), "{odd}: {}", child.output());
        let qiscus = config_of(&path).qiscus;
        assert_eq!(qiscus.app_id.as_deref(), Some(odd));
        for secret in [qiscus.secret_key, qiscus.email, qiscus.password] {
            assert_eq!(secret.unwrap().expose_secret(), odd);
        }
    }
}

fn config_of(path: &Path) -> sebastian::config::Config {
    let text = fs::read_to_string(path).unwrap();
    load_from(Some((path, &text)), []).unwrap().config
}

/// What a person at a terminal sees and types, with a wrong key first.
#[tokio::test]
async fn at_a_terminal_it_asks_checks_asks_again_and_shows_no_secret() {
    let newcomer = Newcomer::new();
    let mut command = binary("sebastian");
    let person = Person::start(command.arg("init").current_dir(newcomer.folder.path()));
    person
        .answers(
            "Where the Qiscus account lives [https://omnichannel.qiscus.com]: ",
            &newcomer.platform.url(),
        )
        .await;
    person.answers("App id, from Settings > App Information: ", "sbsti-7q2mzk4c1d9xw0a").await;
    person.answers("Secret key, from the same page (not shown): ", "CANARY-wrong").await;
    person.sees("does not accept the app id and the secret key (status 401)").await;
    person.answers(&format!("Where the Qiscus account lives [{}]: ", newcomer.platform.url()), "").await;
    person.answers("App id [sbsti-7q2mzk4c1d9xw0a]: ", "").await;
    // Corrected while typing.
    person
        .answers("Secret key (not shown; empty: the same again): ", "nonsense\u{15}CANARY-keys\u{7f}")
        .await;
    person.sees("Qiscus accepts the keys: 7 people").await;
    person.answers("Admin's e-mail (empty: without): ", "owner@tokosenja.example").await;
    person.answers("Password (not shown): ", "CANARY-password").await;
    person.answers("Public URL, as Qiscus reaches this desk (https://…): ", "desk.example").await;
    person.sees("That must be a URL that starts with http:// or https://").await;
    person.answers("Public URL, as Qiscus reaches this desk (https://…): ", PUBLIC_URL).await;
    person.sees("before: (not set)").await;
    person.answers("Set them now? [Y/n]: ", "").await;
    person.sees("allocate: set and read back").await;
    person.sees("Next:").await;
    assert_eq!(person.wait(SOON).await, Some(0), "{}", person.saw());
    assert!(!person.saw().contains("CANARY"), "{}", person.saw());
    let config = config_of(&newcomer.path("config.yml"));
    assert_eq!(config.qiscus.secret_key.unwrap().expose_secret(), "CANARY-key");
    assert_eq!(config.webhook.base_url.as_deref(), Some(PUBLIC_URL));
    assert!(newcomer.webhooks().iter().all(Option::is_some));
}

#[tokio::test]
async fn who_leaves_in_the_middle_leaves_nothing_behind() {
    let newcomer = Newcomer::new();
    let flags = newcomer.flags(&[]);
    let without_key: Vec<&str> = flags
        .iter()
        .map(String::as_str)
        .filter(|flag| !["--secret-key-file", "key"].contains(flag))
        .collect();
    let mut command = binary("sebastian");
    let person = Person::start(command.args(without_key).current_dir(newcomer.folder.path()));
    person.sees("Secret key, from the same page (not shown): ").await;
    person.types("CANARY\u{3}");
    assert_eq!(person.wait(Duration::from_secs(10)).await, Some(130), "{}", person.saw());
    assert!(
        person.saw().contains("left: nothing was written") && !person.saw().contains("CANARY"),
        "{}",
        person.saw()
    );
    assert!(person.echoes(), "the terminal is as it was");
    assert!(!newcomer.path("config.yml").exists());
}

#[tokio::test]
async fn at_a_terminal_another_services_webhooks_are_replaced_only_on_a_yes() {
    let newcomer = Newcomer::new();
    let theirs = Some("https://other.example/hook".to_owned());
    newcomer.platform.set_webhooks(theirs.clone(), None);
    let login = ["--force", "--email", "owner@tokosenja.example", "--password-file", "password"];
    for (answer, stay) in [("", true), ("perhaps", true), ("y", false)] {
        let mut command = binary("sebastian");
        let person = Person::start(command.args(newcomer.flags(&login)).current_dir(newcomer.folder.path()));
        person.sees("before: https://other.example/hook").await;
        let question = "Set them now, in the place of the other service's? [y/N]: ";
        person.answers(question, answer).await;
        if answer == "perhaps" {
            person.sees("Please answer y or n.").await;
            person.answers(question, "no").await;
        }
        person.sees("Next:").await;
        assert_eq!(person.wait(SOON).await, Some(0), "{}", person.saw());
        assert_eq!(newcomer.webhooks()[0] == theirs, stay, "{}", person.saw());
        assert_eq!(person.saw().contains("sebastian set-webhook "), stay, "{}", person.saw());
    }
}
