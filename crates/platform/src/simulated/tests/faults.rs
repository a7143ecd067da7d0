//! What goes wrong on demand, and that the ledger stays true through all of it.

use super::*;

const PATIENCE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn counts_lag_while_the_ledger_does_not() {
    let lag = Duration::from_millis(300);
    let desk = Desk::open(SimulatedConfig::desk(1));
    let agent = AgentId(300_001);
    desk.simulated.set_fault(Fault::counts(CountFault::Lag(lag)));
    desk.simulated.new_chat("r", WA);
    answer(desk.assign("r", agent)).await;
    let assigned = desk.simulated.applied()[1].at;

    let early = desk.reported_count(agent).await;
    let asked_in_time = assigned.elapsed() < lag;
    assert!(early == 0 || !asked_in_time);
    assert_eq!(desk.simulated.load(agent), 1);

    // The lag is the fault's own latency.
    tokio::time::sleep_until((assigned + lag).into()).await;
    assert_eq!(desk.reported_count(agent).await, 1);
}

#[tokio::test]
async fn counts_freeze_vanish_or_turn_negative() {
    let desk = Desk::open(SimulatedConfig::desk(1));
    let agent = AgentId(300_001);
    desk.simulated.new_chat("a", WA);
    answer(desk.assign("a", agent)).await;
    desk.simulated.set_fault(Fault::counts(CountFault::Frozen));
    desk.simulated.new_chat("b", WA);
    answer(desk.assign("b", agent)).await;

    assert_eq!(desk.reported_count(agent).await, 1);
    for (fault, expected) in [(CountFault::Missing, Value::Null), (CountFault::Negative, json!(-1))] {
        desk.simulated.clear_faults();
        desk.simulated.set_fault(Fault::counts(fault));
        assert_eq!(desk.reported_count(agent).await, expected);
    }
    desk.simulated.clear_faults();
    assert_eq!(desk.reported_count(agent).await, 2);
}

#[tokio::test]
async fn an_assign_takes_effect_though_its_answer_is_lost_or_a_500() {
    let answers = [Answer::Drop, Answer::Hang, Answer::Status(500), Answer::Status(502), Answer::Html];
    for (n, lost) in answers.into_iter().enumerate() {
        let desk = Desk::open(SimulatedConfig::tenant());
        let room = n.to_string();
        desk.simulated.new_chat(&room, WA);
        desk.simulated.set_fault(Fault::after_apply(Endpoint::Assign, lost.clone()).times(1));

        let sent = desk.assign(&room, AYU).timeout(PATIENCE * 5).send().await;

        assert_eq!(sent.is_err(), matches!(lost, Answer::Drop | Answer::Hang), "{lost:?}");
        assert_eq!(desk.simulated.agent_of(&room), Some(AYU));
        let request = desk.simulated.requests().pop().unwrap();
        assert!(request.applied && request.faulted);
        assert_eq!(request.status, sent.ok().map(|response| response.status().as_u16()));
        assert_eq!(answer(desk.assign(&room, BIMA)).await.0, 400, "the slot is taken");
    }
}

#[tokio::test]
async fn an_answer_instead_keeps_an_assign_from_taking_effect() {
    let desk = Desk::open(SimulatedConfig::tenant());
    desk.simulated.new_chat("r", WA);
    let answers = [401, 402, 403, 409, 429, 500, 502, 503]
        .map(Answer::Status)
        .into_iter()
        .chain([Answer::ExceedMaxAgents]);
    for instead in answers {
        let expected = if let Answer::Status(status) = instead { status } else { 400 };
        desk.simulated.set_fault(Fault::instead(Endpoint::Assign, instead).times(1));
        assert_eq!(answer(desk.assign("r", AYU)).await.0, expected);
    }
    desk.simulated.set_fault(Fault::instead(Target::Writes, Answer::RetryAfter(429, "7".into())).times(1));
    let limited = desk.assign("r", AYU).send().await.unwrap();
    assert_eq!((limited.status().as_u16(), &limited.headers()["Retry-After"]), (429, &"7".parse().unwrap()));
    for silence in [Answer::Drop, Answer::Hang] {
        desk.simulated.set_fault(Fault::instead(Endpoint::Assign, silence).times(1));
        assert!(desk.assign("r", AYU).timeout(PATIENCE).send().await.is_err());
    }

    assert_eq!(desk.simulated.applied().len(), 1);
    assert_eq!(answer(desk.assign("r", AYU)).await.0, 200);
}

#[tokio::test]
async fn a_slow_assign_lands_after_its_client_left() {
    let desk = Desk::open(SimulatedConfig::tenant());
    desk.simulated.new_chat("r", WA);
    desk.simulated.set_fault(Fault::latency(Endpoint::Assign, PATIENCE * 2));

    assert!(desk.assign("r", AYU).timeout(PATIENCE).send().await.is_err());

    desk.simulated.wait_until(SOON, |state| state.agent_of("r") == Some(AYU)).await.unwrap();
}

#[tokio::test]
async fn a_fresh_room_is_refused_at_first_in_each_session() {
    let desk = Desk::open(SimulatedConfig::tenant());
    desk.simulated.set_fault(Fault::new(Endpoint::Assign, FaultKind::ExceedOnFreshRoom { first: 2 }));
    for _ in 0..2 {
        desk.simulated.new_chat("r", WA);
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(answer(desk.assign("r", AYU)).await.0);
        }
        assert_eq!(statuses, [400, 400, 200]);
        desk.simulated.resolve("r", None);
    }
}

#[tokio::test]
async fn a_roster_is_empty_partial_doubled_or_endless() {
    let desk = Desk::open(SimulatedConfig::desk(9));
    let page = async |fault| {
        desk.simulated.clear_faults();
        desk.simulated.set_fault(Fault::roster(fault));
        answer(desk.get("/api/v2/admin/agents?limit=4")).await.1
    };
    let rows = |page: &Value| page["data"]["agents"].as_array().unwrap().clone();

    let empty = page(RosterFault::Empty).await;
    assert_eq!((rows(&empty).len(), &empty["meta"]["total_count"]), (0, &json!(0)));
    let partial = page(RosterFault::Partial(3)).await;
    assert_eq!((rows(&partial).len(), &partial["meta"]["after"]), (3, &Value::Null));
    assert_eq!(partial["meta"]["total_count"], 10);
    let endless = page(RosterFault::CursorLoop).await;
    let cursor = endless["meta"]["after"].as_str().unwrap();
    let again = answer(desk.get("/api/v2/admin/agents?limit=4").query(&[("cursor_after", cursor)])).await.1;
    assert_eq!((rows(&again), &again["meta"]["after"]), (rows(&endless), &endless["meta"]["after"]));
    assert_eq!(rows(&page(RosterFault::Duplicates).await).len(), 8);
    assert_eq!(rows(&page(RosterFault::NoChannels).await)[0].get("user_channels"), None);
    assert_eq!(rows(&page(RosterFault::TextIds).await)[0]["id"], "209900");
    assert_eq!(page(RosterFault::MetaInsideData).await["data"]["meta"]["per_page"], 4);
}

#[tokio::test]
async fn room_lists_show_the_past_and_dirty_rows() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let unserved = json!({"serve_status": "unserved", "status": "unresolved"});
    desk.simulated.new_chat("old", WA);
    desk.simulated.new_chat("new", WA);
    answer(desk.assign("old", AYU)).await;
    desk.simulated.set_fault(Fault::new(Target::Rooms, FaultKind::RoomsLag(Duration::from_secs(3600))));
    assert_eq!(desk.all_rooms(10, unserved.clone()).await, Vec::<String>::new());
    desk.simulated.clear_faults();
    assert_eq!(desk.all_rooms(10, unserved.clone()).await, ["new"]);

    desk.simulated.resolve("old", None);
    desk.simulated.set_fault(Fault::new(Target::Rooms, FaultKind::DirtyRows(1)));
    let (_, page) = answer(desk.post(ROOMS).json(&unserved)).await;
    let rows = page["data"]["customer_rooms"].as_array().unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (&row["room_id"], &row["is_resolved"])).collect();
    assert_eq!(shown, [(&json!("new"), &json!(false)), (&json!("old"), &json!(true))]);
}

#[tokio::test]
async fn coarse_cursors_pass_over_rooms_of_the_same_second() {
    let desk = Desk::open(SimulatedConfig::tenant());
    desk.simulated.set_fault(Fault::new(Endpoint::Rooms, FaultKind::CoarseCursors));
    for n in 0..50 {
        desk.simulated.new_chat(&n.to_string(), WA);
    }

    // Fifty rooms opened at once share two seconds at most: a page of each is all a naive reader sees.
    let seen = desk.all_rooms(10, json!({"serve_status": "unserved"})).await;

    assert!(seen.len() <= 20, "{seen:?}");
}

#[tokio::test]
async fn faults_pick_their_room_their_agent_their_share_and_their_turn() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let poison = Fault::instead(Endpoint::Assign, Answer::Status(500));
    let first = desk.simulated.set_fault(poison.clone().for_room("poison"));
    desk.simulated.set_fault(poison.for_agent(BIMA).times(1));
    for room in ["poison", "a", "b"] {
        desk.simulated.new_chat(room, WA);
    }
    assert_eq!(answer(desk.assign("poison", AYU)).await.0, 500);
    assert_eq!(answer(desk.assign("a", AYU)).await.0, 200);
    assert_eq!(answer(desk.assign("b", BIMA)).await.0, 500);
    assert_eq!(answer(desk.assign("b", BIMA)).await.0, 200);

    assert!(desk.simulated.clear_fault(first));
    assert!(!desk.simulated.clear_fault(first));
    assert_eq!(answer(desk.assign("poison", AYU)).await.0, 200);

    let draws = |seed| {
        let mut faults = super::super::faults::Faults::new(seed);
        faults.set(Fault::latency(Endpoint::Agents, SOON).percent(30), Default::default);
        (0..200).map(|_| faults.draw(Endpoint::Agents, None, None).latency == SOON).collect::<Vec<_>>()
    };
    assert_eq!(draws(7), draws(7));
    assert_ne!(draws(7), draws(8));
    assert!((30..90).contains(&draws(7).iter().filter(|struck| **struck).count()));
}

#[tokio::test]
async fn a_body_can_be_slow_or_huge_and_an_answer_can_point_elsewhere() {
    let desk = Desk::open(SimulatedConfig::tenant());
    let path = "/api/v1/admin/get_profile";
    desk.simulated.set_fault(Fault::instead(Endpoint::Profile, Answer::Huge(3_000_000)).times(1));
    let huge = desk.get(path).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(huge.len(), 3_000_000);
    assert!(serde_json::from_slice::<Value>(&huge).is_ok());

    let elsewhere = Answer::Redirect("http://169.254.169.254/".into());
    desk.simulated.set_fault(Fault::instead(Endpoint::Profile, elsewhere).times(1));
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let response = client.unwrap().get(desk.simulated.url() + path).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["Location"]),
        (302, &"http://169.254.169.254/".parse().unwrap())
    );

    desk.simulated.set_fault(Fault::new(Endpoint::Profile, FaultKind::SlowBody { pause: PATIENCE }));
    let response = desk.get(path).timeout(PATIENCE * 3).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.bytes().await.is_err(), "the head comes at once, the body does not");
}

#[test]
fn lognormal_latencies_lie_around_their_median_with_a_tail_above() {
    let median = Duration::from_millis(100);
    let mut faults = crate::simulated::faults::Faults::new(7);
    let lognormal = FaultKind::LognormalLatency { median, sigma: 0.5 };
    faults.set(Fault::new(Endpoint::Assign, lognormal), std::collections::HashMap::new);
    let mut drawn: Vec<Duration> =
        (0..10_000).map(|_| faults.draw(Endpoint::Assign, None, None).latency).collect();
    drawn.sort();
    let at = |percent: usize| drawn[drawn.len() * percent / 100].as_millis();
    assert!((95..105).contains(&at(50)), "{}", at(50));
    // 100 ms × e^(0.5 × 2.326)
    assert!((290..350).contains(&at(99)), "{}", at(99));
}
