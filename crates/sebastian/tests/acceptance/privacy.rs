//! Nothing personal and no secret leaves the product: not in a log line, a metric or an answer.

use std::{collections::BTreeSet, fs, path::Path};

use sebastian_platform::simulated::SimulatedConfig;
use serde_json::Value;

use crate::acceptance::house::{House, PATIENCE};

/// Fields of the fixtures whose values must not be seen again.
const PRIVATE: &[&str] = &[
    "email",
    "user_id",
    "authentication_token",
    "sdk_email",
    "sdk_key",
    "qismo_key",
    "secret_key",
    "notes",
    "name",
    "direct_login_token",
    "totp_token",
    "phone_number",
    "extras",
];

/// Shorter values would be found by chance.
const TELLING: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_nothing_personal_of_the_fixtures_is_logged_measured_or_answered() {
    let mut tenant = SimulatedConfig::tenant();
    tenant.secret_filler = "CANARY-filler".into();
    tenant.customer_name = "CANARY-customer".into();
    let house = House::of(tenant, 5, 1, None).await;
    let client = reqwest::Client::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../platform/fixtures/qiscus");
    let mut answers = Vec::new();
    let mut private = BTreeSet::from([
        "CANARY".to_owned(),
        house.tenant.secret_key.clone(),
        house.tenant.admin_password.clone(),
    ]);

    let mut posted = 0;
    for file in fs::read_dir(fixtures).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let Some(event) = name.strip_prefix("webhook.") else { continue };
        let path = if event.starts_with("allocation") {
            "/webhook-incoming-message"
        } else {
            "/webhook-mark-as-resolved"
        };
        let body = fs::read_to_string(file.path()).unwrap();
        collect(&serde_json::from_str(&body).unwrap(), &mut private);
        let url = format!("http://{}{path}", house.ingest_address);
        answers.push(client.post(url).body(body).send().await.unwrap().text().await.unwrap());
        posted += 1;
    }
    assert!(posted > 20, "the fixtures were found");
    house.assigned(5, PATIENCE).await;
    for path in ["/agents", "/metrics", "/readyz", "/livez", "/nowhere"] {
        let url = format!("http://{}{path}", house.ingest_address);
        answers.push(client.get(url).send().await.unwrap().text().await.unwrap());
    }
    answers.push(house.said());

    // Agents are shown by name to those who may see the roster; nobody else's name is shown anywhere.
    let shown: BTreeSet<&str> = house.tenant.agents.iter().map(|agent| agent.name.as_str()).collect();
    for secret in private.iter().filter(|secret| !shown.contains(secret.as_str())) {
        for answer in &answers {
            assert!(!answer.contains(secret), "{secret:?} stands in {answer}");
        }
    }
}

/// Every telling value of a private field, however deep.
fn collect(value: &Value, private: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (true, Value::String(text)) = (PRIVATE.contains(&name.as_str()), value)
                    && text.len() >= TELLING
                {
                    private.insert(text.clone());
                }
                collect(value, private);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, private)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
