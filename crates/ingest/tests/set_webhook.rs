use sebastian_ingest::{Before, HookOutcome, Report, SetWebhookError, Targets, set_webhooks};
use sebastian_platform::Webhook;
use serde_json::{Value, json};

use crate::desk::{APP, Hooks, Manner, SECRET, Setup, TOKEN, error_of, secret, token};

const MASKED: [&str; 2] = [
    "https://desk.example/webhooks/sbsti-7q2mzk4c1d9xw0a/***/resolve",
    "https://desk.example/webhooks/sbsti-7q2mzk4c1d9xw0a/***/allocate",
];

fn url(verb: &str) -> String {
    format!("https://desk.example/webhooks/{APP}/{SECRET}/{verb}")
}

async fn run(platform: &Hooks, dry_run: bool) -> Result<Report, SetWebhookError> {
    let targets = Targets::new("https://desk.example/", APP, Some(&secret(SECRET))).unwrap();
    set_webhooks(platform, &targets, dry_run).await
}

fn outcomes(report: &Report) -> Vec<HookOutcome> {
    report.webhooks.iter().map(|webhook| webhook.outcome).collect()
}

#[tokio::test]
async fn both_webhooks_are_set_and_read_back_and_no_secret_is_shown() {
    let old = "https://old.example/webhooks/app/OLD-SECRET/allocate";
    let platform = Hooks::new(Manner::Obliging, Some(old));

    let report = run(&platform, false).await.unwrap();

    let set = [(Webhook::Resolve, url("resolve")), (Webhook::Allocate, url("allocate"))];
    assert_eq!(*platform.calls.lock().unwrap(), set);
    assert_eq!(outcomes(&report), [HookOutcome::SetAndReadBack; 2]);
    assert_eq!(report.webhooks[0].before, Before::Unset);
    let masked = Before::Url("https://old.example/webhooks/app/***/allocate".to_owned());
    assert_eq!(report.webhooks[1].before, masked);
    assert_eq!(report.webhooks.iter().map(|one| one.target.as_str()).collect::<Vec<_>>(), MASKED);
    let shown = format!("{report}{report:?}{}", serde_json::to_string(&report).unwrap());
    assert!(!shown.contains(SECRET) && !shown.contains("OLD-SECRET"), "{shown}");
}

#[tokio::test]
async fn what_is_right_already_is_left_alone_and_a_dry_run_changes_nothing() {
    let platform = Hooks::new(Manner::Obliging, Some(&url("allocate")));
    let dry = run(&platform, true).await.unwrap();
    assert_eq!(outcomes(&dry), [HookOutcome::WouldSet, HookOutcome::AlreadySet]);
    assert!(platform.calls.lock().unwrap().is_empty());
    let text = "\
resolve: would be set
  before: (not set)
  target: https://desk.example/webhooks/sbsti-7q2mzk4c1d9xw0a/***/resolve
allocate: set already
  before: https://desk.example/webhooks/sbsti-7q2mzk4c1d9xw0a/***/allocate
  target: https://desk.example/webhooks/sbsti-7q2mzk4c1d9xw0a/***/allocate
Dry run: nothing was changed.
";
    assert_eq!(dry.to_string(), text);

    let wet = run(&platform, false).await.unwrap();
    assert_eq!(outcomes(&wet), [HookOutcome::SetAndReadBack, HookOutcome::AlreadySet]);
    assert_eq!(*platform.calls.lock().unwrap(), [(Webhook::Resolve, url("resolve"))]);
}

#[tokio::test]
async fn a_platform_that_shows_no_urls_is_set_all_the_same() {
    let platform = Hooks::new(Manner::Silent, None);
    let report = run(&platform, false).await.unwrap();
    assert_eq!(outcomes(&report), [HookOutcome::Set; 2]);
    assert_eq!(report.webhooks[0].before, Before::Unknown);
}

#[tokio::test]
async fn a_platform_that_refuses_or_forgets_is_an_error_with_advice() {
    let denied = run(&Hooks::new(Manner::Denies, None), false).await.unwrap_err();
    assert!(matches!(denied, SetWebhookError::Set { webhook: "resolve", .. }));
    assert!(denied.advice().contains("Settings > Custom Agent Allocation"));
    let forgotten = run(&Hooks::new(Manner::Forgets, None), false).await.unwrap_err();
    assert!(matches!(forgotten, SetWebhookError::NotKept { webhook: "resolve" }));
}

#[tokio::test]
async fn over_http_it_takes_the_admin_token() {
    let setup = Setup { admin_tokens: vec![token(TOKEN)], ..Setup::with_secret() };
    let desk = setup.start();
    for stranger in [desk.post("/set-webhook"), desk.post("/set-webhook").bearer_auth("wrong")] {
        let response = stranger.send().await.unwrap();
        assert_eq!(response.status(), 401);
        error_of(response).await;
    }
    assert!(desk.platform.calls.lock().unwrap().is_empty());

    let dry = desk.post("/set-webhook?dry_run=true").bearer_auth(TOKEN).send().await.unwrap();
    let row = |webhook, target| json!({ "webhook": webhook, "before": null, "target": target, "outcome": "would_set" });
    let expected =
        json!({ "dry_run": true, "webhooks": [row("resolve", MASKED[0]), row("allocate", MASKED[1])] });
    assert_eq!(dry.json::<Value>().await.unwrap(), expected);
    assert!(desk.platform.calls.lock().unwrap().is_empty());

    let response = desk.post("/set-webhook").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(desk.platform.calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn over_http_without_a_token_it_takes_only_direct_requests_from_this_machine() {
    let desk = Setup::default().start();
    for (header, value) in [("x-forwarded-for", "127.0.0.1"), ("via", "1.1 proxy"), ("host", "desk.example")]
    {
        let response = desk.post("/set-webhook").header(header, value).send().await.unwrap();
        assert_eq!(response.status(), 403, "{header}");
    }
    assert!(desk.platform.calls.lock().unwrap().is_empty());
    assert_eq!(desk.post("/set-webhook").send().await.unwrap().status(), 200);
    let urls = desk.platform.urls.lock().unwrap().clone();
    assert_eq!(urls.allocate.as_deref(), Some("https://desk.example/webhook-incoming-message"));
    assert_eq!(urls.resolve.as_deref(), Some("https://desk.example/webhook-mark-as-resolved"));
}

#[tokio::test]
async fn over_http_a_get_changes_nothing_and_tells_the_command() {
    let desk = Setup::default().start();
    let response = desk.get("/set-webhook").send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let body: Value = response.json().await.unwrap();
    assert!(body["advice"].as_str().unwrap().contains("sebastian set-webhook"), "{body}");
    assert!(desk.platform.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn over_http_a_refusal_is_502_with_advice_and_a_missing_base_url_409() {
    let desk = Setup { platform: Hooks::new(Manner::Denies, None), ..Setup::default() }.start();
    let response = desk.post("/set-webhook").send().await.unwrap();
    assert_eq!(response.status(), 502);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"], "cannot set the resolve webhook: platform denied access with status 401");
    assert!(body["advice"].is_string());

    let desk = Setup { base_url: None, ..Setup::default() }.start();
    let response = desk.post("/set-webhook").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), error_of(response).await.as_str()),
        (409, "webhook.base_url is not configured")
    );
}
