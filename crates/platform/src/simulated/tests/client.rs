//! Our own client and parsers against the simulation.

use sebastian_core::{EventKind, RoomId};

use super::*;
use crate::{
    Platform, PlatformError, Refusal, RoomStatus, Webhook,
    qiscus::{Qiscus, QiscusConfig, parse_allocation, parse_resolve},
};

fn client(simulated: &Simulated) -> Qiscus {
    let SimulatedConfig { app_id, secret_key, admin_email, admin_password, .. } = SimulatedConfig::tenant();
    Qiscus::new(QiscusConfig {
        email: Some(admin_email),
        password: Some(admin_password.into()),
        timeout: Duration::from_secs(1),
        ..QiscusConfig::new(&simulated.url(), &app_id, secret_key.into())
    })
    .unwrap()
}

fn room(id: &str) -> RoomId {
    RoomId::parse(id).unwrap()
}

#[tokio::test]
async fn our_client_reads_every_page_of_either_list() {
    for cursors in [None, Some(Fault::new(Endpoint::Rooms, FaultKind::CoarseCursors))] {
        let config = SimulatedConfig { faults: cursors.into_iter().collect(), ..SimulatedConfig::desk(230) };
        let simulated = Simulated::start(config).unwrap();
        let client = client(&simulated);
        for n in 0..450 {
            simulated.new_chat(&n.to_string(), WA).unwrap();
        }
        let agent = AgentId(300_001);
        for n in (0..450).step_by(3) {
            assert!(simulated.dashboard_assign(&n.to_string(), agent));
        }

        assert_eq!(client.agents().await.unwrap().len(), 231);
        let waiting = client.rooms_waiting().await.unwrap();
        let mut ids: Vec<i64> = waiting.iter().map(|room| room.id.as_str().parse().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..450).filter(|n| n % 3 != 0).collect::<Vec<_>>());
        assert_eq!(client.rooms_served_by(agent).await.unwrap().len(), 150);
    }
}

#[tokio::test]
async fn our_client_assigns_and_reads_back() {
    let simulated = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let client = client(&simulated);
    simulated.new_chat("r", WA);
    let r = room("r");
    assert_eq!(client.room(&r).await.unwrap(), RoomStatus::Waiting { inbox: Some(WA) });
    assert_eq!(client.agents_for(&r).await.unwrap().len(), 4);

    client.assign(&r, AYU, None).await.unwrap();

    assert_eq!(client.room(&r).await.unwrap(), RoomStatus::Served);
    let second = client.assign(&r, BIMA, None).await;
    assert!(matches!(second, Err(PlatformError::Rejected(Refusal::RoomTaken))), "{second:?}");
    simulated.resolve("r", None);
    assert_eq!(client.room(&r).await.unwrap(), RoomStatus::Resolved);
    let late = client.assign(&r, BIMA, None).await;
    assert!(matches!(late, Err(PlatformError::Rejected(Refusal::RoomResolved))), "{late:?}");
}

#[tokio::test]
async fn our_client_puts_an_agent_in_the_place_of_the_one_named_and_of_nobody_else() {
    let simulated = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let client = client(&simulated);
    simulated.new_chat("r", WA);
    let r = room("r");
    client.assign(&r, AYU, None).await.unwrap();

    client.assign(&r, BIMA, Some(AYU)).await.unwrap();
    assert_eq!(simulated.agent_of("r"), Some(BIMA));

    let late = client.assign(&r, AYU, Some(EKA)).await;
    assert!(matches!(late, Err(PlatformError::Rejected(Refusal::RoomTaken))), "{late:?}");
    assert_eq!(simulated.agent_of("r"), Some(BIMA), "who took it since stays");
    let changes = simulated.applied().into_iter().map(|applied| applied.change);
    assert!(
        changes.into_iter().any(|change| change == Change::Transferred { from: AYU, to: BIMA, by: By::Api })
    );
}

#[tokio::test]
async fn our_client_replaces_an_agent_whose_account_is_gone() {
    let simulated = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let client = client(&simulated);
    simulated.new_chat("r", WA);
    client.assign(&room("r"), AYU, None).await.unwrap();

    assert!(simulated.delete_agent(AYU));
    assert!(client.agents().await.unwrap().iter().all(|agent| agent.id != AYU));
    client.assign(&room("r"), BIMA, Some(AYU)).await.unwrap();

    assert_eq!(simulated.agent_of("r"), Some(BIMA));
}

#[tokio::test]
async fn our_client_hears_whom_the_platform_proposes_and_that_changes_nothing() {
    let simulated = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let client = client(&simulated);
    for id in ["a", "b"] {
        simulated.new_chat(id, WA);
    }
    client.assign(&room("a"), AYU, None).await.unwrap();

    assert_eq!(client.propose(&room("b")).await.unwrap(), Some(BIMA), "who holds fewest");
    assert_eq!(simulated.agent_of("b"), None);

    simulated.set_presence(AYU, false);
    simulated.set_presence(BIMA, false);
    assert_eq!(client.propose(&room("b")).await.unwrap(), None);
}

#[tokio::test]
async fn our_client_takes_no_lost_answer_for_a_refusal() {
    let simulated = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let client = client(&simulated);
    for (n, lost) in [Answer::Drop, Answer::Hang, Answer::Status(502), Answer::Html].into_iter().enumerate() {
        let id = n.to_string();
        simulated.new_chat(&id, WA);
        simulated.set_fault(Fault::after_apply(Endpoint::Assign, lost).times(1));

        let outcome = client.assign(&room(&id), AYU, None).await;

        assert!(matches!(outcome, Err(PlatformError::Unknown(_))), "{outcome:?}");
        assert_eq!(simulated.agent_of(&id), Some(AYU));
    }
}

#[tokio::test]
async fn our_client_sets_webhooks_and_reads_them_back() {
    let simulated = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let client = client(&simulated);
    assert_eq!(client.webhook_urls().await.unwrap(), Default::default());

    client.set_webhook(Webhook::Allocate, "https://a.example/allocate").await.unwrap();
    simulated.expire_tokens();
    client.set_webhook(Webhook::Resolve, "https://a.example/resolve").await.unwrap();

    let urls = client.webhook_urls().await.unwrap();
    assert_eq!(urls.allocate.as_deref(), Some("https://a.example/allocate"));
    assert_eq!(urls.resolve.as_deref(), Some("https://a.example/resolve"));
}

#[tokio::test]
async fn our_parsers_read_its_webhooks() {
    let simulated = Simulated::start(SimulatedConfig::tenant()).unwrap();
    let app = SimulatedConfig::tenant().app_id;
    simulated.new_chat("r", WA);
    let resolved = simulated.resolve("r", None).unwrap().to_string();
    let back = simulated.new_chat("r", WA).unwrap().to_string();

    let EventKind::Resolve { service: Some(closed) } = parse_resolve(resolved.as_bytes(), &app).unwrap().kind
    else {
        panic!("{resolved}");
    };
    let event = parse_allocation(back.as_bytes(), &app).unwrap();
    assert_eq!(event.room, room("r"));
    let EventKind::Allocate { inbox, latest_service: Some(latest), hints } = event.kind else {
        panic!("{back}")
    };
    assert_eq!((inbox, latest.id, latest.resolved), (Some(WA), closed, true));
    assert_eq!(hints.source.as_deref(), Some("wa"));
}
