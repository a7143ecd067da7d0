//! What stands where, and why, as an operator sees it.

use std::{sync::Arc, time::Duration};

use sebastian_core::{
    Agent, AgentId, EventKind, Hints, InboxId, NewEvent, Policy, Presence, Role, RoomId, Roster, Settlement,
    Source, Verdict, decide,
};
use sebastian_roster::RosterCache;
use sebastian_store::{Attempt, AuditEntry, Decide, PauseReason, Reservation, Store};
use serde_json::{Value, json};

use crate::{
    desk::{ACCOUNT, APP, Desk, Setup, TOKEN, error_of, token},
    doubles::Fate,
};

const SALES: InboxId = InboxId(7);
const SUPPORT: InboxId = InboxId(8);
const LIST: &str = "/api/v1/conversations";

fn agent(id: i64, name: &str) -> Agent {
    Agent {
        id: AgentId(id),
        name: name.to_owned(),
        role: Role::Agent,
        presence: Presence::Online,
        forced_offline: false,
        inboxes: Some(vec![SALES]),
        reported_load: None,
        listed: true,
        online_since: None,
    }
}

/// Ayu serves sales, Bima is offline, Citra serves support.
fn crew() -> Vec<Agent> {
    let (bima, citra) = (agent(2, "Bima"), agent(3, "Citra"));
    vec![
        agent(1, "Ayu"),
        Agent { presence: Presence::Offline, ..bima },
        Agent { inboxes: Some(vec![SUPPORT]), ..citra },
    ]
}

fn room(id: &str) -> RoomId {
    RoomId::parse(id).unwrap()
}

/// What a worker does, in a test's hands.
impl Desk {
    async fn roster(&self, agents: Vec<Agent>) -> Arc<Roster> {
        let now = self.ledger.inner.now().await.unwrap();
        let version = u64::try_from(now.as_millis()).unwrap();
        Arc::new(Roster::new(version, now, agents))
    }

    async fn publish(&self, agents: Vec<Agent>) {
        let roster = self.roster(agents).await;
        assert!(self.cache.publish(ACCOUNT, &roster).await.unwrap());
    }

    async fn accept(&self, rooms: &[&str], inbox: InboxId) {
        let kind = EventKind::Allocate { inbox: Some(inbox), latest_service: None, hints: Hints::default() };
        let event = |id: &&str| NewEvent { room: room(id), kind: kind.clone(), source: Source::Webhook };
        let events: Vec<NewEvent> = rooms.iter().map(event).collect();
        self.ledger.inner.accept(ACCOUNT, &events).await.unwrap();
    }

    async fn resolve(&self, id: &str) {
        let kind = EventKind::Resolve { service: None };
        let event = NewEvent { room: room(id), kind, source: Source::Webhook };
        self.ledger.inner.accept(ACCOUNT, &[event]).await.unwrap();
    }

    async fn reserve(&self, limit: u32) -> Vec<Reservation> {
        let (policy, roster) = (Policy::default(), self.roster(crew()).await);
        let request = Decide {
            account: ACCOUNT,
            roster,
            answers: Arc::default(),
            policy: &policy,
            limit,
            record: true,
        };
        let rule = |snapshot: &_, now| decide(snapshot, &policy, now);
        self.ledger.inner.decide(&request, &rule).await.unwrap().reserved
    }

    async fn assign(&self, limit: u32) {
        let attempts: Vec<Attempt> = self.reserve(limit).await.iter().map(|one| one.attempt).collect();
        let confirmed = self.ledger.inner.confirm(ACCOUNT, &attempts).await.unwrap();
        assert_eq!(confirmed.len(), attempts.len());
    }

    async fn answer(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    async fn listed(&self, query: &str) -> Vec<Value> {
        let page = self.answer(&format!("{LIST}{query}")).await;
        page["conversations"].as_array().unwrap().clone()
    }

    async fn explained(&self, room: &str) -> Value {
        self.answer(&format!("{LIST}/{room}")).await["explain"].clone()
    }

    async fn refusal(&self, path: &str) -> (u16, String) {
        let response = self.get(path).send().await.unwrap();
        (response.status().as_u16(), error_of(response).await)
    }
}

fn column<'a>(rows: &'a [Value], name: &str) -> Vec<&'a Value> {
    rows.iter().map(|row| &row[name]).collect()
}

/// Rooms 1 to 3 with Ayu, who is full; 4 and 6 wait for her, 5 for support.
async fn a_full_desk() -> Desk {
    let desk = Setup::default().start();
    desk.accept(&["1", "2", "3", "4"], SALES).await;
    desk.assign(3).await;
    // Nobody but Citra serves support, and a round that may give out nothing only folds.
    desk.accept(&["5"], SUPPORT).await;
    desk.accept(&["6"], SALES).await;
    assert_eq!(desk.reserve(0).await, []);
    desk
}

#[tokio::test]
async fn what_is_not_resolved_is_listed_in_order_with_places() {
    let desk = a_full_desk().await;
    for query in ["", "/", "?limit=1000"] {
        let all = desk.listed(query).await;
        assert_eq!(column(&all, "room"), ["1", "2", "3", "4", "5", "6"], "{query}");
        let places = [json!(null), json!(null), json!(null), json!(1), json!(1), json!(2)];
        assert_eq!(column(&all, "place"), places.iter().collect::<Vec<_>>());
    }
    let waiting = desk.listed("?state=waiting&limit=2").await;
    assert_eq!(column(&waiting, "room"), ["4", "5"]);
    assert_eq!(column(&desk.listed("?state=assigned").await, "agent"), [1, 1, 1]);
    assert_eq!(desk.listed("?state=resolved").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_row_tells_everything_the_ledger_knows() {
    let desk = a_full_desk().await;
    desk.resolve("1").await;
    assert_eq!(desk.reserve(0).await, []);

    let resolved = desk.listed("?state=resolved").await.remove(0);

    let time = |name: &str| resolved[name].as_str().unwrap().to_owned();
    for name in ["opened_at", "last_activity_at", "assigned_at", "closed_at"] {
        assert!(time(name).len() == 24 && time(name).ends_with('Z'), "{name}: {}", time(name));
    }
    let expected = json!({
        "id": 1, "room": "1", "inbox": 7, "origin": "event", "state": "resolved", "agent": 1,
        "team": null, "labels": [], "priority": null, "language": null, "status": "open", "snoozed_until": null,
        "position": 1, "place": null, "opened_at": time("opened_at"),
        "last_activity_at": time("last_activity_at"), "assigned_at": time("assigned_at"),
        "deadline_at": null, "parked_until": null, "park_reason": null, "closed_at": time("closed_at"),
        "closed_how": "resolved", "attempts": 1,
    });
    assert_eq!(resolved, expected);

    assert_eq!(desk.reserve(1).await[0].room, room("4"));
    let reserved = desk.listed("?state=reserved").await.remove(0);
    assert!(reserved["deadline_at"].is_string() && reserved["assigned_at"].is_null(), "{reserved}");
    assert_eq!((&reserved["room"], &reserved["agent"]), (&json!("4"), &json!(1)));
}

#[tokio::test]
async fn a_query_that_cannot_be_meant_is_refused_with_the_choices() {
    let desk = Setup::default().start();
    let states = "state is one of waiting, parked, reserved, closing, assigned, resolved";
    for (query, told) in [
        ("?state=open", states),
        ("?state=", states),
        ("?limit=0", "limit is a number from 1 to 1000"),
        ("?limit=1001", "limit is a number from 1 to 1000"),
        ("?limit=all", "limit is a number from 1 to 1000"),
        ("?status=waiting", "the parameters are state and limit"),
    ] {
        assert_eq!(desk.refusal(&format!("{LIST}{query}")).await, (422, told.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_room_without_a_conversation_is_404_and_says_whether_one_is_to_come() {
    let desk = Setup::default().start();
    desk.accept(&["5"], SALES).await;

    let unknown = "room 4 has no conversation: the ledger never heard of it, or has purged it";
    assert_eq!(desk.refusal(&format!("{LIST}/4")).await, (404, unknown.to_owned()));
    let coming = "room 5 has no conversation yet: its webhook was accepted and waits for a worker";
    assert_eq!(desk.refusal(&format!("{LIST}/5")).await, (404, coming.to_owned()));
    let long = format!("{LIST}/{}", "9".repeat(200));
    assert_eq!(desk.refusal(&long).await, (422, "room is longer than 128 bytes".to_owned()));
}

#[tokio::test]
async fn one_that_waits_is_explained_agent_by_agent() {
    let desk = a_full_desk().await;
    desk.ledger.pass(Duration::from_secs(150));
    desk.publish(crew()).await;

    let one = desk.answer(&format!("{LIST}/6")).await;

    assert_eq!((&one["state"], &one["place"]), (&json!("waiting"), &json!(2)));
    let explain = &one["explain"];
    let told = "waiting 2 min, position 2; Ayu is full (3/3), Bima is offline, Citra is not in its inbox";
    assert_eq!(explain["sentence"], told);
    let agent = |id, name, presence, load, reason, detail| {
        json!({ "id": id, "name": name, "role": "agent", "presence": presence, "load": load, "capacity": 3,
                "weight": 1, "rate": null, "reason": reason, "detail": detail })
    };
    let agents = json!([
        agent(1, "Ayu", "online", 3, "full", "is full (3/3)"),
        agent(2, "Bima", "offline", 0, "presence", "is offline"),
        agent(3, "Citra", "online", 0, "not_in_inbox", "is not in its inbox"),
    ]);
    assert_eq!((&explain["agents"], &explain["pause"]), (&agents, &Value::Null));
    assert_eq!(explain["roster"]["stale"], false);

    let able = desk.explained("5").await;
    assert_eq!(
        (&able["agents"][2]["reason"], &able["agents"][0]["reason"]),
        (&Value::Null, &json!("not_in_inbox"))
    );
    assert!(able["sentence"].as_str().unwrap().ends_with("Citra could take it"), "{able}");
}

#[tokio::test]
async fn an_explanation_alone_has_the_position_the_rules_and_the_decision() {
    let desk = a_full_desk().await;
    desk.publish(crew()).await;

    let waiting = desk.answer(&format!("{LIST}/6/explain")).await;
    assert_eq!(
        (&waiting["room"], &waiting["state"], &waiting["position"]),
        (&json!("6"), &json!("waiting"), &json!(2))
    );
    let rules = json!({ "version": 0, "policy": null, "strategy": "balanced", "order": "earliest_created" });
    assert_eq!(
        (&waiting["rules"], &waiting["hold"], &waiting["decision"]),
        (&rules, &Value::Null, &Value::Null)
    );

    let served = desk.answer(&format!("{LIST}/2/explain")).await;
    let told = served["sentence"].as_str().unwrap();
    let why = "the only one who could take it (1/3); Bima was offline, Citra was not in its inbox; under the account's own policy";
    assert!(told.starts_with("assigned to Ayu since 20") && told.ends_with(why), "{told}");
    let decision = &served["decision"];
    assert_eq!(
        (&decision["chosen"], &decision["policy_version"], &decision["differs"]),
        (&json!(1), &json!(0), &Value::Null)
    );
    assert!(decision["waited_ms"].is_u64() && decision["at"].as_str().unwrap().ends_with('Z'), "{decision}");
    assert_eq!(decision["key"]["strategy"], "balanced");
    assert_eq!(decision["candidates"][1]["reason"], "presence");
    assert_eq!(decision["candidates"][1]["detail"], "was offline");

    desk.ledger
        .inner
        .amend(ACCOUNT, "test", &mut |rules, _| {
            rules.inboxes.entry(SALES).or_default().manual = true;
            let after = Some(json!({ "manual": true }));
            vec![AuditEntry {
                action: "update",
                resource: "inbox",
                id: SALES.to_string(),
                before: None,
                after,
            }]
        })
        .await
        .unwrap();
    let held = desk.answer(&format!("{LIST}/6/explain")).await;
    let hold =
        json!({ "reason": "inbox_manual", "detail": "automatic assignment is switched off for inbox 7" });
    assert_eq!((&held["hold"], &held["rules"]["version"]), (&hold, &json!(1)));
}

#[tokio::test]
async fn the_same_is_told_below_the_account_by_number_and_by_name() {
    let desk = a_full_desk().await;
    desk.publish(crew()).await;
    for account in ["1", APP] {
        let below = format!("/api/v1/accounts/{account}/conversations");
        assert_eq!(desk.answer(&below).await["conversations"].as_array().unwrap().len(), 6);
        assert_eq!(desk.answer(&format!("{below}/6")).await["explain"]["position"], 2);
        assert_eq!(desk.answer(&format!("{below}/6/explain")).await["position"], 2);
        assert_eq!(desk.post(&format!("{below}/6/explain")).send().await.unwrap().status(), 405);
        let patched = desk
            .client
            .patch(format!("http://{}{below}/6", desk.address))
            .json(&json!({ "priority": "high" }));
        assert_eq!(patched.send().await.unwrap().status(), 202);
    }
    let (status, told) = desk.refusal("/api/v1/accounts/2/conversations/6/explain").await;
    assert_eq!((status, told.as_str()), (404, "Resource could not be found"));
}

#[tokio::test]
async fn an_explanation_says_when_the_roster_is_missing_or_old() {
    let desk = a_full_desk().await;
    let missing = desk.explained("4").await;
    assert_eq!((&missing["roster"], &missing["agents"]), (&Value::Null, &json!([])));
    let told = missing["sentence"].as_str().unwrap();
    assert!(
        told.ends_with("position 1; there is no roster: a worker has to poll the platform first"),
        "{told}"
    );

    desk.publish(crew()).await;
    desk.ledger.pass(Duration::from_secs(300));
    let old = desk.explained("4").await;
    assert_eq!(
        (&old["roster"]["stale"], &old["agents"][0]["reason"]),
        (&json!(true), &json!("roster_stale"))
    );
    let told = old["sentence"].as_str().unwrap();
    assert!(told.ends_with("the roster is 5 min old, and past 60 s nobody is given chats"), "{told}");
}

#[tokio::test]
async fn an_explanation_says_that_decisions_are_paused() {
    let desk = a_full_desk().await;
    desk.ledger.inner.pause(ACCOUNT, Duration::from_secs(60), PauseReason::Denied).await.unwrap();

    let explain = desk.explained("4").await;

    assert_eq!(explain["pause"]["reason"], "denied");
    let told = explain["sentence"].as_str().unwrap();
    assert!(told.contains("decisions are paused until "), "{told}");
    assert!(told.contains(": the platform refuses our credentials or subscription; "), "{told}");
}

#[tokio::test]
async fn one_that_is_parked_says_until_when_and_why() {
    let desk = Setup::default().start();
    desk.accept(&["1"], SALES).await;
    let attempt = desk.reserve(1).await[0].attempt;
    let verdict = Verdict::Released { refused: true };
    let settlement = Settlement { conversation: attempt.conversation, attempt: attempt.number, verdict };
    desk.ledger.inner.settle(ACCOUNT, &[settlement]).await.unwrap();
    assert_eq!(desk.reserve(1).await, []);
    desk.publish(crew()).await;

    let parked = desk.answer(&format!("{LIST}/1")).await;

    assert_eq!((&parked["state"], &parked["park_reason"]), (&json!("parked"), &json!("refused")));
    assert!(parked["parked_until"].is_string() && parked["place"].is_null(), "{parked}");
    assert_eq!(parked["explain"]["agents"][0]["reason"], "refused");
    let told = parked["explain"]["sentence"].as_str().unwrap();
    assert!(
        told.contains("UTC: the platform refused every agent who could serve it; Ayu is refused"),
        "{told}"
    );
}

#[tokio::test]
async fn one_that_waits_no_more_is_explained_by_its_state() {
    let desk = a_full_desk().await;
    desk.publish(crew()).await;
    let sentence = async |room| desk.explained(room).await["sentence"].as_str().unwrap().to_owned();

    let assigned = desk.explained("1").await;
    assert!(assigned["sentence"].as_str().unwrap().starts_with("assigned to Ayu since 20"), "{assigned}");
    assert_eq!(assigned["agents"], json!([]));

    desk.resolve("1").await;
    assert_eq!(desk.reserve(1).await.len(), 1);
    let resolved = sentence("1").await;
    assert!(
        resolved.starts_with("resolved at 20") && resolved.contains(", served by Ayu since"),
        "{resolved}"
    );
    let reserved = sentence("4").await;
    let told = "reserved for Ayu: the platform is being told; given to Ayu after ";
    assert!(reserved.starts_with(told), "{reserved}");
    // The newest conversation of a room is the one that counts.
    desk.accept(&["1"], SALES).await;
    assert_eq!(desk.reserve(0).await, []);
    assert!(sentence("1").await.starts_with("waiting 0 s, position 2; "), "{}", sentence("1").await);
}

#[tokio::test]
async fn without_the_ledger_there_is_no_answer() {
    let desk = Setup::default().start();
    desk.ledger.set(Fate::Fails);
    for path in [LIST.to_owned(), format!("{LIST}/1")] {
        assert_eq!(desk.refusal(&path).await, (503, "the ledger does not answer".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn conversations_are_shown_to_the_admin_token_or_to_this_machine_only() {
    let with_token = Setup { admin_tokens: vec![token(TOKEN)], ..Setup::default() }.start();
    let without = Setup::default().start();
    // What is asked for is looked at only after who asks.
    for path in [LIST, "/api/v1/conversations/1", "/api/v1/conversations?state=open"] {
        assert_eq!(with_token.get(path).send().await.unwrap().status(), 401, "{path}");
        let proxied = without.get(path).header("x-forwarded-for", "127.0.0.1").send().await.unwrap();
        assert_eq!(proxied.status(), 403, "{path}");
        assert_eq!(without.post(path).send().await.unwrap().status(), 405, "{path}");
    }
    let admin = with_token.get(LIST).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(admin.status(), 200);
}
