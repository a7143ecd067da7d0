use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    desk::{APP, SECRET, Setup, TOKEN, allocation, fixtures, logs, token},
    doubles::Fate,
};

/// Fields whose values are nobody's business, in any webhook of any generation.
const PRIVATE: [&str; 14] = [
    "name",
    "email",
    "sdk_email",
    "sdk_key",
    "authentication_token",
    "user_id",
    "avatar",
    "avatar_url",
    "extras",
    "notes",
    "additional_info",
    "key",
    "value",
    "customer",
];

fn collect(value: &Value, is_private: bool, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_private = is_private || PRIVATE.contains(&name.as_str());
                collect(value, is_private && name != "room_id", found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, is_private, found)),
        // Shorter ones occur by chance.
        Value::String(text) if is_private && text.len() >= 6 => {
            found.insert(text.clone());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn neither_answers_nor_logs_hold_personal_data_or_secrets() {
    let desk = Setup { admin_tokens: vec![token(TOKEN)], ..Setup::with_secret() }.start();
    let mut private: BTreeSet<String> = [SECRET, TOKEN].map(str::to_owned).into();
    let mut answers = String::new();
    for (name, body) in fixtures("webhook.") {
        collect(&serde_json::from_slice(&body).unwrap(), false, &mut private);
        let verb = if name.contains("allocation") { "allocate" } else { "resolve" };
        for path in [
            format!("/webhooks/{APP}/{SECRET}/{verb}"),
            format!("/webhooks/{APP}/{SECRET}/typing-error"),
            format!("/webhook-incoming-message?secret={SECRET}"),
            format!("/webhook-mark-as-resolved?secret={SECRET}x"),
        ] {
            let response = desk.post(&path).body(body.clone()).send().await.unwrap();
            answers += &format!("{:?}{}", response.headers().clone(), response.text().await.unwrap());
        }
    }
    desk.ledger.set(Fate::Fails);
    let refused = desk.post(&format!("/webhooks/{APP}/{SECRET}/allocate")).body(allocation("1")).send().await;
    answers += &refused.unwrap().text().await.unwrap();
    let set = desk.post("/set-webhook").bearer_auth(TOKEN).send().await.unwrap();
    answers += &set.text().await.unwrap();

    assert!(private.len() > 30, "{private:?}");
    let logs = logs();
    assert!(logs.contains("POST /webhooks/{account}/{secret}/allocate answered 200"), "{logs}");
    for text in private {
        assert!(!answers.contains(&text), "an answer holds {text}");
        if let Some(line) = logs.lines().find(|line| line.contains(&text)) {
            panic!("{text} is logged: {line}");
        }
    }
}
