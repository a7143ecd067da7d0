use futures_util::future::join_all;
use sebastian_core::{EventKind, InboxId, Source};

use crate::{
    desk::{APP, SECRET, Setup, allocation, error_of, fixture, fixtures, secret},
    doubles::{Bell, Fate},
};

const ALLOCATE: &str = "/webhook-incoming-message";
const RESOLVE: &str = "/webhook-mark-as-resolved";

#[tokio::test]
async fn every_allocation_a_platform_may_send_is_stored_and_every_invalid_one_refused() {
    every_fixture("webhook.allocation.", ALLOCATE, 17).await;
}

#[tokio::test]
async fn every_resolve_a_platform_may_send_is_stored_and_every_invalid_one_refused() {
    every_fixture("webhook.mark_as_resolved.", RESOLVE, 8).await;
}

async fn every_fixture(prefix: &str, path: &str, valid: usize) {
    let desk = Setup::default().start();
    let mut stored = 0;
    for (name, body) in fixtures(prefix) {
        let response = desk.post(path).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        if name.contains(".invalid.") {
            assert!(matches!(status, 403 | 422), "{name}: {status}");
            error_of(response).await;
        } else {
            stored += 1;
            assert_eq!(status, 200, "{name}");
            assert_eq!(response.text().await.unwrap(), r#"{"status":"accepted"}"#, "{name}");
        }
        assert_eq!(desk.ledger.stored().len(), stored, "{name}");
    }
    assert_eq!(stored, valid);
}

#[tokio::test]
async fn what_is_no_webhook_is_refused_and_never_an_error_of_ours() {
    let desk = Setup::default().start();
    let deep = "[".repeat(100_000);
    let nul = format!(r#"{{"app_id":"{APP}","room_id":"a\u0000b"}}"#);
    let long = allocation(&"9".repeat(200));
    let cases: [(&[u8], u16); 9] = [
        (b"", 400),
        (b"hello", 400),
        (b"\xff\xfe", 400),
        (deep.as_bytes(), 422),
        (b"[1,2]", 422),
        (b"null", 422),
        (b"{}", 403),
        (nul.as_bytes(), 422),
        (long.as_bytes(), 422),
    ];
    for (body, status) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let response = desk.post(ALLOCATE).body(body.to_vec()).send().await.unwrap();
        assert_eq!(response.status(), status, "{shown}");
        error_of(response).await;
    }
    assert!(desk.ledger.stored().is_empty());
}

#[tokio::test]
async fn each_path_takes_its_event_with_or_without_a_slash_at_its_end() {
    let desk = Setup::default().start();
    let resolve = fixture("webhook.mark_as_resolved.by_supervisor");
    for path in
        [ALLOCATE, "/allocate-agent/webhook", "/allocate-agent/webhook/", "/webhook-incoming-message/"]
    {
        assert_eq!(desk.status_of(path, allocation("1")).await, 200, "{path}");
    }
    for path in [RESOLVE, "/mark-as-solved/webhook", "/mark-as-solved/webhook/", "/webhook-mark-as-resolved/"]
    {
        assert_eq!(desk.status_of(path, resolve.clone()).await, 200, "{path}");
    }
    let stored = desk.ledger.stored();
    assert!(stored[..4].iter().all(|event| matches!(event.kind, EventKind::Allocate { .. })));
    assert!(stored[4..].iter().all(|event| matches!(event.kind, EventKind::Resolve { .. })));
    assert!(stored.iter().all(|event| event.source == Source::Webhook));
}

#[tokio::test]
async fn an_allocation_without_a_channel_gets_the_configured_inbox_and_no_other_does() {
    let desk = Setup { default_inbox: Some(InboxId(7)), ..Setup::default() }.start();
    desk.status_of(ALLOCATE, allocation("1")).await;
    desk.status_of(ALLOCATE, fixture("webhook.allocation.wa.new_session.with_candidate")).await;
    let inboxes = desk.ledger.stored().into_iter().map(|event| match event.kind {
        EventKind::Allocate { inbox, .. } => inbox,
        EventKind::Resolve { .. } | EventKind::Update(_) => None,
    });
    assert_eq!(inboxes.collect::<Vec<_>>(), [Some(InboxId(7)), Some(InboxId(88_121))]);
}

#[tokio::test]
async fn with_a_secret_the_plain_paths_need_it() {
    let desk = Setup::with_secret().start();
    let with_query = format!("{ALLOCATE}?secret={SECRET}");
    assert_eq!(desk.status_of(&with_query, allocation("1")).await, 200);
    let with_header = desk.post(ALLOCATE).header("X-Webhook-Secret", SECRET).body(allocation("2"));
    assert_eq!(with_header.send().await.unwrap().status(), 200);

    for path in [ALLOCATE, "/webhook-incoming-message?secret=", "/webhook-incoming-message?secret=CANARY"] {
        let response = desk.post(path).header("X-Webhook-Secret", "wrong").body(allocation("3"));
        let response = response.send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(error_of(response).await, "the webhook secret is missing or wrong");
    }
    assert_eq!(desk.ledger.stored().len(), 2);
}

#[tokio::test]
async fn the_path_form_opens_to_its_account_and_secret_and_looks_absent_to_all_others() {
    let desk = Setup::with_secret().start();
    let resolve = fixture("webhook.mark_as_resolved.by_supervisor");
    assert_eq!(desk.status_of(&format!("/webhooks/{APP}/{SECRET}/allocate"), allocation("1")).await, 200);
    assert_eq!(desk.status_of(&format!("/webhooks/{APP}/{SECRET}/resolve/"), resolve).await, 200);

    for path in [
        format!("/webhooks/{APP}/wrong/allocate"),
        format!("/webhooks/other-app/{SECRET}/allocate"),
        format!("/webhooks/{APP}/wrong/allocate?secret={SECRET}"),
        format!("/webhooks/{APP}/{SECRET}/other"),
        format!("/webhooks/{APP}/{SECRET}"),
    ] {
        let response = desk.post(&path).body(allocation("2")).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(error_of(response).await, "not found", "{path}");
    }
    let get = desk.get(&format!("/webhooks/{APP}/{SECRET}/allocate")).send().await.unwrap();
    assert_eq!(get.status(), 404);
    assert_eq!(desk.ledger.stored().len(), 2);
}

#[tokio::test]
async fn without_a_secret_the_path_form_does_not_exist() {
    let desk = Setup::default().start();
    for path in [format!("/webhooks/{APP}//allocate"), format!("/webhooks/{APP}/x/allocate")] {
        assert_eq!(desk.status_of(&path, allocation("1")).await, 404, "{path}");
    }
}

#[tokio::test]
async fn any_text_can_be_a_secret_and_two_are_good_while_one_is_rotated() {
    let (new, old) = ("a/b c%2F+é", "the-old-one");
    let desk = Setup { secrets: vec![secret(new), secret(old)], ..Setup::default() }.start();
    let encoded = "a%2Fb%20c%252F%2B%C3%A9";
    for path in [
        format!("/webhooks/{APP}/{encoded}/allocate"),
        format!("/webhooks/{APP}/{old}/allocate"),
        format!("{ALLOCATE}?secret={encoded}"),
        format!("{ALLOCATE}?secret={old}"),
    ] {
        assert_eq!(desk.status_of(&path, allocation("1")).await, 200, "{path}");
    }
}

#[tokio::test]
async fn while_the_ledger_is_down_webhooks_are_refused_and_none_is_stored() {
    let desk = Setup::default().start();
    desk.ledger.set(Fate::Fails);
    for _ in 0..3 {
        let response = desk.post(ALLOCATE).body(allocation("1")).send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(error_of(response).await, "the ledger could not store the event");
    }
    assert!(desk.ledger.stored().is_empty());

    desk.ledger.set(Fate::Serves);
    assert_eq!(desk.status_of(ALLOCATE, allocation("1")).await, 200);
}

#[tokio::test]
async fn a_commit_that_does_not_end_is_answered_in_time() {
    let mut setup = Setup::default();
    setup.settings.accept_timeout = std::time::Duration::from_millis(30);
    let desk = setup.start();
    desk.ledger.hold();
    let response = desk.post(ALLOCATE).body(allocation("1")).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_doorbell_that_fails_or_hangs_changes_no_answer() {
    for bell in [Bell::Fails, Bell::Hangs] {
        let desk = Setup { bell, ..Setup::default() }.start();
        for room in ["1", "2", "3"] {
            assert_eq!(desk.status_of(ALLOCATE, allocation(room)).await, 200);
        }
        desk.bells.rung(1).await;
    }
}

#[tokio::test]
async fn a_hundred_copies_at_once_are_all_accepted() {
    let desk = Setup::default().start();
    desk.ledger.hold();
    let first = tokio::spawn(desk.post(ALLOCATE).body(allocation("0")).send());
    desk.ledger.begun(1).await;
    let copies = (0..100).map(|_| desk.status_of(ALLOCATE, allocation("1")));
    let copies = async {
        let answers = join_all(copies).await;
        assert_eq!(answers, [200; 100]);
    };
    let release = async { desk.ledger.let_go() };
    tokio::join!(copies, release);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(desk.ledger.batches().iter().sum::<usize>(), 101);
    assert_eq!(desk.ledger.stored().len(), 101);
}
