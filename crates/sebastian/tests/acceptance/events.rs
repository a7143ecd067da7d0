//! Events out, from the webhook that brings a customer to the receiver that is told who serves them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sebastian_testkit::eventually;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::acceptance::house::{House, PATIENCE, rooms};

/// A request as it came in.
type Got = (HeaderMap, String);

/// A receiver that notes what it is told and takes it, or with `hangs` never answers.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    async fn start(hangs: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { address: listener.local_addr().unwrap(), got: Arc::default() };
        let taking = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(taking.clone().take(connection, hangs));
            }
        });
        receiver
    }

    async fn take(self, connection: TcpStream, hangs: bool) {
        let mut connection = BufReader::new(connection);
        while let Some(got) = read(&mut connection).await {
            self.got.lock().unwrap().push(got);
            if hangs {
                std::future::pending::<()>().await;
            }
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            if connection.get_mut().write_all(answer).await.is_err() {
                return;
            }
        }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Got> {
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    connection.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    loop {
        line.clear();
        connection.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
    }
    let length = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some((headers, String::from_utf8(body).ok()?))
}

async fn subscribe(house: &House, receiver: &Receiver) -> String {
    let url =
        format!("http://{}/api/v1/accounts/{}/subscriptions", house.ingest_address, house.tenant.app_id);
    let body = json!({
        "url": format!("http://{}/hook", receiver.address),
        "events": ["conversation.assigned", "agent.capacity_reached"],
    });
    let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.unwrap();
    let made: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    made["secret"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_assignment_is_told_signed_and_a_receiver_that_hangs_holds_up_none() {
    const CHATS: usize = 40;
    let house = House::open(5, 8, 2).await;
    let (taking, hanging) = (Receiver::start(false).await, Receiver::start(true).await);
    let secret = subscribe(&house, &taking).await;
    subscribe(&house, &hanging).await;

    let rooms = rooms(CHATS);
    house.customers_write(&rooms[..1]).await;
    eventually("the second receiver hangs", PATIENCE, || async { !hanging.got().is_empty() }).await;
    house.customers_write(&rooms[1..]).await;
    house.assigned(CHATS, PATIENCE).await;
    let told = |kind: &str| -> Vec<(Got, Value)> {
        let parsed =
            taking.got().into_iter().map(|got| (serde_json::from_str::<Value>(&got.1).unwrap(), got));
        parsed
            .filter(|(body, _)| body["type"] == kind)
            .map(|(body, got)| (got, body["data"].clone()))
            .collect()
    };
    eventually("everything told", PATIENCE, || async {
        let (assigned, full) = (told("conversation.assigned").len(), told("agent.capacity_reached").len());
        if assigned >= CHATS && full >= 5 { Ok(()) } else { Err((assigned, full)) }
    })
    .await;

    let webhook = Webhook::new(&secret).unwrap();
    assert!(taking.got().iter().all(|(headers, body)| webhook.verify(body.as_bytes(), headers).is_ok()));
    let served: BTreeMap<String, i64> = told("conversation.assigned")
        .iter()
        .map(|(_, data)| (data["room"].as_str().unwrap().to_owned(), data["agent"].as_i64().unwrap()))
        .collect();
    let agents: BTreeSet<i64> = house.agents().iter().map(|agent| agent.0).collect();
    assert_eq!(served.keys().cloned().collect::<Vec<_>>(), rooms);
    assert!(served.values().all(|agent| agents.contains(agent)), "{served:?}");
    let full: BTreeSet<i64> =
        told("agent.capacity_reached").iter().map(|(_, data)| data["agent"].as_i64().unwrap()).collect();
    assert_eq!(full, agents);
    assert_eq!(house.violations().await, []);
}
