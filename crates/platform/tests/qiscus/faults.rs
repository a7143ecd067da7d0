use std::{
    error::Error,
    time::{Duration, Instant},
};

use sebastian_core::{AgentId, RoomId};
use sebastian_platform::{
    Platform, PlatformError, UnknownOutcome, Webhook,
    qiscus::{ConfigError, Qiscus, QiscusConfig},
};
use secrecy::SecretString;

use super::server::{
    APP_ID, EMAIL, PASSWORD, Reply, SECRET_KEY, Server, answer, answer_with, fixture, traced,
};

fn room() -> RoomId {
    RoomId::parse("470110001").unwrap()
}

async fn both(reply: Reply) -> [PlatformError; 2] {
    let server = Server::answering(reply).await;
    let client = server.impatient_client();
    [client.agents().await.unwrap_err(), client.assign(&room(), AgentId(210431), None).await.unwrap_err()]
}

#[tokio::test]
async fn a_hanging_platform_and_a_dripping_body_end_at_the_timeout() {
    for reply in [Reply::Hang, Reply::Drip, Reply::NoBody(200)] {
        let started = Instant::now();
        for error in both(reply.clone()).await {
            assert!(matches!(error, PlatformError::Unknown(UnknownOutcome::Timeout)), "{reply:?}: {error:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(4), "two calls of 200 ms");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_cap() {
    let server = Server::answering(Reply::Flood(200)).await;
    let client = Qiscus::new(QiscusConfig { timeout: Duration::from_secs(60), ..server.config() }).unwrap();
    let roster = client.agents().await.unwrap_err();
    assert!(matches!(roster, PlatformError::Unknown(UnknownOutcome::TooLarge(8_388_608))), "{roster:?}");
    let assigned = client.assign(&room(), AgentId(1), None).await.unwrap_err();
    assert!(matches!(assigned, PlatformError::Unknown(UnknownOutcome::TooLarge(1_048_576))), "{assigned:?}");
}

#[tokio::test]
async fn a_refusals_status_stands_however_its_body_ends() {
    for reply in [Reply::NoBody(400), Reply::Flood(400)] {
        for error in both(reply).await {
            assert!(matches!(error, PlatformError::Rejected(_)), "{error:?}");
        }
    }
    for error in both(Reply::NoBody(401)).await {
        assert!(matches!(error, PlatformError::Denied { status: 401 }), "{error:?}");
    }
}

#[tokio::test]
async fn a_broken_connection_leaves_the_outcome_unknown_and_nothing_is_sent_twice() {
    let server = Server::answering(Reply::Reset).await;
    let error = server.client().assign(&room(), AgentId(1), None).await.unwrap_err();
    assert!(matches!(error, PlatformError::Unknown(UnknownOutcome::Connection)), "{error:?}");
    assert_eq!(server.requests().len(), 1);
    let nobody =
        Qiscus::new(QiscusConfig::new("http://127.0.0.1:1", APP_ID, SecretString::from("s"))).unwrap();
    let error = nobody.agents().await.unwrap_err();
    assert!(matches!(error, PlatformError::Unknown(UnknownOutcome::Connection)), "{error:?}");
}

#[tokio::test]
async fn a_platform_without_tls_or_without_an_address_is_unknown_in_time() {
    let plain = Server::answering(answer(200, fixture("api.agents_v2.empty.200.json"))).await;
    for url in [plain.url.replace("http://", "https://"), "https://nowhere.invalid".to_owned()] {
        let limit = Duration::from_secs(2);
        let config = QiscusConfig { base_url: url.clone(), timeout: limit, ..plain.config() };
        let (client, started) = (Qiscus::new(config).unwrap(), Instant::now());
        let error = client.assign(&room(), AgentId(1), None).await.unwrap_err();
        assert!(matches!(error, PlatformError::Unknown(_)), "{url}: {error:?}");
        assert!(started.elapsed() < limit * 2, "{url}: {:?}", started.elapsed());
    }
    assert!(plain.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::answering(answer(200, fixture("api.agents_v2.empty.200.json"))).await;
    let server = Server::answering(answer_with(307, "Location", &target.url)).await;
    let error = server.client().agents().await.unwrap_err();
    assert!(matches!(error, PlatformError::Unknown(UnknownOutcome::Status(307))), "{error:?}");
    let error = server.client().assign(&room(), AgentId(1), None).await.unwrap_err();
    assert!(matches!(error, PlatformError::Unknown(UnknownOutcome::Status(307))), "{error:?}");
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn a_base_url_may_have_a_path_and_a_trailing_slash() {
    let server = Server::answering(answer(200, fixture("api.agents_v2.empty.200.json"))).await;
    for (suffix, path) in [("", ""), ("/", ""), ("/qiscus", "/qiscus"), ("/qiscus/", "/qiscus")] {
        let url = format!("{}{suffix}", server.url);
        Qiscus::new(QiscusConfig { base_url: url, ..server.config() }).unwrap().agents().await.unwrap();
        assert_eq!(
            server.requests().pop().unwrap().line,
            format!("GET {path}/api/v2/admin/agents?limit=100")
        );
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_by_name() {
    let error = |config: QiscusConfig| Qiscus::new(config).err().unwrap();
    let with_url = |url: &str| QiscusConfig::new(url, APP_ID, SecretString::from("s"));
    for url in [
        "",
        "omnichannel.qiscus.com",
        "ftp://x.example",
        "https://u:p@x.example",
        "https://x.example?a",
        "https://",
    ] {
        assert!(matches!(error(with_url(url)), ConfigError::BaseUrl), "{url}");
    }
    let no_app = QiscusConfig { app_id: String::new(), ..with_url("https://x.example") };
    assert_eq!(error(no_app).to_string(), "app_id is empty or holds characters a header cannot");
    let no_password = QiscusConfig { email: Some("a".into()), ..with_url("https://x.example") };
    assert!(matches!(error(no_password), ConfigError::HalfLogin));
}

fn chain(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn no_secret_and_no_personal_data_is_traced_or_told_by_an_error() {
    let mut told = String::new();
    let login =
        fixture("api.auth.success.200.json").replace("made-up", "CANARY").replace("tokosenja", "CANARY");
    let rows = r#"{"data":{"agents":[{"id":1,"name":"CANARY"},{"id":"CANARY"}]}}"#;
    let replies = [
        answer(200, login),
        answer(200, rows),
        answer(400, r#"{"errors":"CANARY"}"#),
        answer(401, "CANARY"),
        Reply::Reset,
    ];
    for reply in replies {
        let server = Server::answering(reply).await;
        let client = server.admin_client();
        told += &format!("{:?}", server.config());
        let errors = [
            client.agents().await.err(),
            client.rooms_waiting().await.err(),
            client.room(&room()).await.err(),
            client.assign(&room(), AgentId(1), None).await.err(),
            client.webhook_urls().await.err(),
            client.set_webhook(Webhook::Allocate, "https://x.example/CANARY-path-secret").await.err(),
        ];
        told.extend(errors.iter().flatten().map(|error| chain(error)));
    }
    let traced = traced();
    assert!(traced.contains("qiscus answered") && traced.contains("skipped 1 rows"));
    for canary in ["CANARY", SECRET_KEY, EMAIL, PASSWORD] {
        assert!(!traced.contains(canary) && !told.contains(canary), "{canary} in {traced}{told}");
    }
}
