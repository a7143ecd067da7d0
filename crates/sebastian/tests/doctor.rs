//! What `doctor` finds, and that each finding tells how to mend it.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Command,
};

use sebastian_platform::simulated::{Simulated, SimulatedConfig};
use sebastian_testkit::{Child, Database, Redis, binary};
use tempfile::TempDir;

use crate::{
    cli::COMPLETE,
    processes::{SOON, address},
    stub,
};

/// A desk with real servers, and settings in which nothing is wrong but where webhooks go.
struct Desk {
    platform: Simulated,
    folder: TempDir,
    _database: Database,
    _redis: Redis,
}

struct Report {
    code: Option<i32>,
    text: String,
}

impl Report {
    #[track_caller]
    fn says(&self, line: &str) {
        let squeezed: Vec<String> =
            self.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(squeezed.iter().any(|found| found.contains(line)), "no {line:?} in\n{}", self.text);
    }
}

impl Desk {
    async fn open() -> Self {
        let redis = Redis::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"]).await;
        Self::with(redis).await
    }

    async fn with(redis: Redis) -> Self {
        let tenant = SimulatedConfig {
            secret_key: "CANARY-key".to_owned(),
            admin_password: "CANARY-password".to_owned(),
            ..SimulatedConfig::tenant()
        };
        let platform = Simulated::start(tenant.clone()).unwrap();
        let database = Database::create().await;
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "listen: {{ host: 127.0.0.1, port: 0 }}\n\
             webhook: {{ secret: CANARY-webhook-secret }}\n\
             db: {{ connection_string: \"{}\" }}\n\
             redis: {{ url: \"{}\" }}\n\
             qiscus: {{ base_url: \"{}\", app_id: desk-1, secret_key: CANARY-key, email: {}, \
             password: CANARY-password }}\n\
             admin: {{ token: CANARY-admin-token }}\n",
            database.url(),
            redis.url(),
            platform.url(),
            tenant.admin_email,
        );
        let config = config.replace("desk-1", &tenant.app_id);
        let path = folder.path().join("config.yml");
        fs::write(&path, config).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Self { platform, folder, _database: database, _redis: redis }
    }

    fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let mut command = binary("sebastian");
        command.args(arguments).envs(environment.iter().copied());
        Child::spawn(command.current_dir(self.folder.path()))
    }

    async fn doctor(&self, environment: &[(&str, &str)]) -> Report {
        ended(&self.start(&["doctor"], environment)).await
    }
}

async fn ended(child: &Child) -> Report {
    let code = child.wait(SOON).await.code();
    let text = child.output();
    assert!(!text.contains("CANARY"), "{text}");
    Report { code, text }
}

/// Settings that lack nothing, and nobody answers at any of their addresses, all of this machine.
fn lonely() -> String {
    COMPLETE.replace("https://desk.example", "http://127.0.0.1:9")
}

/// `doctor` with these settings alone.
async fn doctor(config: &str, arguments: &[&str]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yml"), config).unwrap();
    let mut command = binary("sebastian");
    command.arg("doctor").args(arguments).env("SEBASTIAN_DATA", "data").current_dir(folder.path());
    let child = Child::spawn(&mut command);
    ended(&child).await
}

#[tokio::test]
async fn of_a_desk_at_work_every_line_is_ok() {
    let desk = Desk::open().await;
    let all = desk.start(&["-e", "all"], &[]);
    let listens = address(&all).await;
    let (base_url, port) = (format!("http://{listens}"), listens.rsplit(':').next().unwrap().to_owned());
    let environment =
        [("SEBASTIAN__WEBHOOK__BASE_URL", base_url.as_str()), ("SEBASTIAN__LISTEN__PORT", port.as_str())];
    let set = desk.start(&["set-webhook"], &environment);
    assert_eq!(set.wait(SOON).await.code(), Some(0), "{}", set.output());

    let report = desk.doctor(&environment).await;
    assert_eq!(report.code, Some(0), "{}", report.text);
    for line in [
        "ok settings — complete; from config.yml, and 2 from the environment",
        "ok webhook.secret — set",
        "ok admin.token — set: 1",
        "ok mode — servers: PostgreSQL and Redis",
        "ok ledger — PostgreSQL answers, with the schema of this program (version ",
        "ok clock — this machine's clock goes with PostgreSQL's",
        "ok redis — it answers, and evicts nothing when full",
        "ok platform — Qiscus accepts the keys; 3 of 7 people may be given chats now",
        "ok resolve webhook — leads to http://127.0.0.1:",
        "ok allocate webhook — leads to http://127.0.0.1:",
        "ok clock — this machine's clock goes with Qiscus's",
        "ok listen — a Sebastian listens on 127.0.0.1:",
        "ok public URL — http://127.0.0.1:",
    ] {
        report.says(line);
    }
    report.says(", 0 failed");

    let json = ended(&desk.start(&["doctor", "--json"], &environment)).await;
    let json: serde_json::Value = serde_json::from_str(&json.text).unwrap();
    assert_eq!(json["ok"], true);
    let checks = json["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["check"] == "redis" && check["grade"] == "ok"), "{json}");
}

#[tokio::test]
async fn a_desk_in_a_folder_is_told_with_who_serves_from_it() {
    let platform = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let SimulatedConfig { app_id, secret_key, .. } = SimulatedConfig::tenant();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen: {{ host: 127.0.0.1, port: 0 }}\n\
         qiscus: {{ base_url: '{}', app_id: {app_id}, secret_key: {secret_key} }}\n",
        platform.url()
    );
    fs::write(folder.path().join("config.yml"), config).unwrap();
    let start = |arguments: &[&str]| {
        Child::spawn(binary("sebastian").args(arguments).args(["--data", "data"]).current_dir(folder.path()))
    };
    let report = ended(&start(&["doctor"])).await;
    assert_eq!(report.code, Some(0), "{}", report.text);
    report.says("ok mode — embedded: one process, `-e all`, with its ledger in ");
    report.says("data folder — not there yet: the first start makes it; ");
    report.says("ok ledger — none yet: the first start makes it");
    assert!(!folder.path().join("data").exists(), "it makes nothing");

    let all = start(&["-e", "all"]);
    address(&all).await;
    let report = ended(&start(&["doctor"])).await;
    assert_eq!(report.code, Some(0), "{}", report.text);
    report.says(&format!("data folder — process {} serves from it; ", all.pid()));
    report.says("ok ledger — its file answers, with the schema of this program (version ");
    all.terminate();
    all.wait(SOON).await;
    ended(&start(&["doctor"])).await.says("data folder — no process serves from it now; ");

    fs::write(folder.path().join("data/moved"), "moved to db.example/desk at noon\n").unwrap();
    let report = ended(&start(&["doctor"])).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says(
        "/data was moved to db.example/desk at noon: serve from there, or, to serve from this folder again",
    );
    fs::remove_file(folder.path().join("data/moved")).unwrap();

    fs::write(folder.path().join("data/ledger.db"), "no ledger at all, and long enough to be looked at")
        .unwrap();
    let report = ended(&start(&["doctor"])).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says("fail ledger — ");
    report.says("else bring back a backup: `sebastian restore FILE`");
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data"), "").unwrap();
    let report = ended(&start(&["doctor"])).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says("/data is not a folder: name another with --data");
}

#[tokio::test]
async fn whoever_does_not_answer_is_named_with_the_mend() {
    let report = doctor(&lonely(), &[]).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    for line in [
        "fail ledger — the ledger is not reachable",
        "; start PostgreSQL, or correct `db.connection_string`",
        "fail redis — roster cache is not reachable",
        "; start Redis, let its user ask for INFO, or correct `redis.url`",
        "fail platform — http://127.0.0.1:9 cannot be reached: connection failed; see whether this machine may",
        "warn clock — Qiscus cannot be asked for its time: nobody listens there; see the platform's line",
        "warn allocate webhook — Qiscus shows it to an admin only, so where it leads is unknown; set `qiscus.email`",
        "warn public URL — http://127.0.0.1:9: nobody listens there; start the proxy",
        "warn webhook.secret — not set: whoever knows the address can post, as Qiscus signs nothing; set it to what",
        "warn admin.token — not set: operators' calls are answered to whoever is on this machine",
        "warn settings — config.yml holds secrets, and others on this machine may read it; chmod 600 config.yml",
        "checks failed",
    ] {
        report.says(line);
    }
}

#[tokio::test]
async fn wrong_settings_are_told_and_end_with_code_2() {
    let report = doctor("listen:\n  port: x\n", &[]).await;
    assert_eq!(report.code, Some(2), "{}", report.text);
    report.says("fail settings — config.yml:2: `listen.port` must be a port from 0 to 65535");

    let json = doctor("lisen:\n  port: 1\n", &["--json"]).await;
    assert_eq!(json.code, Some(2), "{}", json.text);
    assert!(
        json.text.contains(r#""ok": false"#) && json.text.contains("the nearest known one"),
        "{}",
        json.text
    );
}

#[tokio::test]
async fn what_is_missing_is_a_failed_check() {
    let report = doctor("db:\n  connection_string: postgres://127.0.0.1:9/a\n", &[]).await;
    report.says("fail settings — `redis.url` is not set, and `db.connection_string` is");
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says("fail settings — `qiscus.app_id` is not set: write it in the config file, or set SEBASTIAN__QISCUS__APP_ID");
    report.says("fail settings — `qiscus.secret_key` is not set");
}

#[tokio::test]
async fn keys_and_logins_that_open_nothing_are_told_apart() {
    let desk = Desk::open().await;
    let base_url = ("SEBASTIAN__WEBHOOK__BASE_URL", "http://127.0.0.1:9");
    let report = desk.doctor(&[("SEBASTIAN__QISCUS__SECRET_KEY", "CANARY-wrong"), base_url]).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says(
        "fail platform — Qiscus does not accept the app id and the secret key (status 401); copy both again",
    );

    let report = desk.doctor(&[("SEBASTIAN__QISCUS__PASSWORD", "CANARY-wrong"), base_url]).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says("ok platform — Qiscus accepts the keys");
    report.says("fail webhooks — Qiscus does not accept the admin's e-mail and password (status 401); use the login of");
}

#[tokio::test]
async fn webhooks_that_lead_elsewhere_are_told_with_where() {
    let desk = Desk::open().await;
    let base_url = [("SEBASTIAN__WEBHOOK__BASE_URL", "http://127.0.0.1:9")];
    let app_id = SimulatedConfig::tenant().app_id;
    let of_old_secret = format!("http://127.0.0.1:9/webhooks/{app_id}/CANARY-old-secret/resolve");
    desk.platform.set_webhooks(Some("https://other.example/hook".to_owned()), Some(of_old_secret));
    let report = desk.doctor(&base_url).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says(
        "fail allocate webhook — leads to https://other.example/hook and not to http://127.0.0.1:9/webhooks/",
    );
    report.says("/***/resolve with another secret in it; run `sebastian set-webhook`");

    desk.platform.set_webhooks(None, None);
    desk.doctor(&base_url)
        .await
        .says("fail resolve webhook — is not set; it should lead to http://127.0.0.1:9/webhooks/");
    desk.doctor(&[]).await.says("warn webhooks — `webhook.base_url` is not set, so nobody can tell");
}

#[tokio::test]
async fn a_desk_without_anybody_to_serve_is_worth_a_look() {
    let desk = Desk::open().await;
    for agent in [210_431, 210_432, 210_441] {
        desk.platform.set_presence(sebastian_core::AgentId(agent), false);
    }
    let report = desk.doctor(&[]).await;
    report.says("warn platform — Qiscus accepts the keys; 0 of 7 people may be given chats now; agents have to be online");
}

#[tokio::test]
async fn a_ledger_without_its_schema_is_fine_only_where_a_start_makes_it() {
    let desk = Desk::open().await;
    let report = desk.doctor(&[]).await;
    assert_eq!(report.code, Some(0), "{}", report.text);
    report.says("ok ledger — PostgreSQL answers, and holds no ledger yet: the first start makes it");
    let report = desk.doctor(&[("SEBASTIAN__DB__MIGRATE", "false")]).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says("fail ledger — PostgreSQL answers, and holds no ledger yet; run `sebastian migrate`");
}

#[tokio::test]
async fn a_redis_that_forgets_when_full_fails() {
    let redis = Redis::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let report = Desk::with(redis).await.doctor(&[]).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says("fail redis — it evicts wake-ups and the roster when its 67108864 bytes are full");
    report.says("; set its maxmemory-policy to noeviction");
    let report =
        Desk::with(Redis::start_with(&["--maxmemory-policy", "allkeys-lfu"]).await).await.doctor(&[]).await;
    report.says(
        "warn redis — it answers; without a maxmemory its maxmemory-policy `allkeys-lfu` evicts nothing yet",
    );
}

#[tokio::test]
async fn ports_are_free_or_ours_or_somebody_elses() {
    // Nobody else of this machine listens there, so that a port given back is free.
    let other = TcpListener::bind("127.1.2.3:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let unready = stub::answering(
        "503 Service Unavailable",
        "",
        r#"{"status":"unready","checks":{"ledger":"unreachable"}}"#,
    );
    let stranger = stub::answering("200 OK", "", "hello");
    let config = format!(
        "{}listen: {{ host: 127.1.2.3, port: {} }}\nadmin: {{ listen: '{unready}' }}\nworker: {{ listen: '{stranger}' }}\n",
        lonely(),
        port
    );
    let report = doctor(&config, &[]).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says(&format!(
        "fail listen — another program holds 127.1.2.3:{port}; stop it (`ss -ltnp` shows which), or set"
    ));
    report.says(&format!(
        "fail admin.listen — a Sebastian listens on {unready}: unready: ledger unreachable; mend what"
    ));
    report.says(&format!("fail worker.listen — another program holds {stranger}"));

    drop(other);
    let report = doctor(&config, &[]).await;
    report.says(&format!("ok listen — 127.1.2.3:{port} is free"));
    let taken = config.replace(&format!("127.1.2.3, port: {port}"), "192.0.2.1, port: 80");
    doctor(&taken, &[]).await.says("fail listen — cannot listen on 192.0.2.1:80: ");
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_with_by_how_much() {
    let config = |date: &str| {
        let platform = stub::answering("200 OK", &format!("Date: {date}\r\n"), "{}");
        lonely().replace(
            "base_url: http://127.0.0.1:9\n  app_id",
            &format!("base_url: http://{platform}\n  app_id"),
        )
    };
    let report = doctor(&config("Sun, 06 Nov 1994 08:49:37 GMT"), &[]).await;
    assert_eq!(report.code, Some(1), "{}", report.text);
    report.says(" s ahead of Qiscus's; let NTP set this machine's clock: `timedatectl set-ntp true`");
    report.says("fail clock — this machine's clock is ");
    report.says("fail platform — http://127.0.0.1:");

    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(20);
    let report = doctor(&config(&httpdate::fmt_http_date(soon)), &[]).await;
    report.says("warn clock — this machine's clock is 1");
    report.says(" s behind Qiscus's; let NTP");
}

#[tokio::test]
async fn a_public_url_that_leads_elsewhere_is_told() {
    let proxy = stub::answering("502 Bad Gateway", "", "<html>");
    let config = COMPLETE.replace("https://desk.example", &format!("http://{proxy}"));
    let report = doctor(&config, &[]).await;
    report.says(&format!(
        "warn public URL — http://{proxy} answers with status 502, and not as a Sebastian; start one"
    ));

    let config = config.replace("base_url: http://127.0.0.1:9", "base_url: http://0.0.0.0:9");
    let report = doctor(&config, &[]).await;
    report.says(
        "leads nowhere but to this machine, which Qiscus cannot reach; set `webhook.base_url` to the name",
    );
}

#[tokio::test]
async fn few_open_files_are_worth_a_look() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 512 && exec \"$0\" doctor"]).arg(binary("sebastian").get_program());
    let report = ended(&Child::spawn(shell.env("SEBASTIAN_DATA", "data").current_dir(folder.path()))).await;
    report
        .says("warn open files — a process may have 512 open, and each connection is one; raise it to 65536");
}
