use std::time::Duration;

use futures_util::stream;
use reqwest::Body;
use sebastian_testkit::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    desk::{Desk, SECRET, Setup, allocation, error_of},
    doubles::Fate,
};

const ALLOCATE: &str = "/webhook-incoming-message";

/// Sends `text` as it is and reads until the server closes.
async fn raw(desk: &Desk, text: &str) -> String {
    let mut stream = TcpStream::connect(desk.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_body_over_256_kb_is_refused_and_one_of_256_kb_is_not() {
    let desk = Setup::default().start();
    let padded = |bytes: usize| {
        let body = allocation("1");
        let padding = " ".repeat(bytes - body.len());
        body + &padding
    };
    assert_eq!(desk.status_of(ALLOCATE, padded(256 * 1024)).await, 200);
    assert_eq!(desk.status_of(ALLOCATE, padded(256 * 1024 + 1)).await, 413);

    let chunks = (0..257).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024]));
    let chunked = desk.post(ALLOCATE).body(Body::wrap_stream(stream::iter(chunks)));
    let response = chunked.send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(error_of(response).await, "the body is larger than 262144 bytes");
    assert_eq!(desk.ledger.stored().len(), 1);
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_the_body_is_sent() {
    let desk = Setup::default().start();
    let head = format!("POST {ALLOCATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 10485760\r\n\r\n");
    let answer = raw(&desk, &head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_ends_in_408_and_the_connection_is_closed() {
    let mut setup = Setup::default();
    setup.settings.body_timeout = Duration::from_millis(30);
    let desk = setup.start();
    let part = format!("POST {ALLOCATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{");
    let answer = raw(&desk, &part).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("the body did not arrive in time"), "{answer}");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_before_the_body_arrives() {
    let desk = Setup::with_secret().start();
    let part = format!("POST {ALLOCATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{");
    let answer = raw(&desk, &part).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_compressed_body_is_refused_and_any_content_type_taken() {
    let desk = Setup::default().start();
    let send = |name: &'static str, value: &'static str| {
        desk.post(ALLOCATE).header(name, value).body(allocation("1")).send()
    };
    for encoding in ["gzip", "br", "deflate", "gzip, identity"] {
        assert_eq!(send("content-encoding", encoding).await.unwrap().status(), 415, "{encoding}");
    }
    assert_eq!(send("content-encoding", "Identity").await.unwrap().status(), 200);
    for kind in ["application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded", "???"]
    {
        assert_eq!(send("content-type", kind).await.unwrap().status(), 200, "{kind}");
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_told_so_in_json() {
    let desk = Setup::with_secret().start();
    for (path, allowed) in [
        (ALLOCATE, "POST"),
        ("/webhook-mark-as-resolved/", "POST"),
        ("/mark-as-solved/webhook", "POST"),
        ("/set-webhook", "POST"),
    ] {
        let response = desk.get(path).query(&[("secret", SECRET)]).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &allowed.parse().unwrap())
        );
        assert_eq!(error_of(response).await, "method not allowed");
    }
    for (path, allowed) in [("/", "GET"), ("/agents", "GET"), ("/readyz", "GET, HEAD")] {
        let response = desk.post(path).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &allowed.parse().unwrap())
        );
    }
    let response = desk.get("/nothing").send().await.unwrap();
    assert_eq!((response.status().as_u16(), error_of(response).await.as_str()), (404, "not found"));
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_then_ends() {
    let mut desk = Setup::default().start();
    desk.ledger.hold();
    let under_way = tokio::spawn(desk.post(ALLOCATE).body(allocation("1")).send());
    desk.ledger.begun(1).await;

    desk.stop.cancel();
    eventually("new connections are refused", Duration::from_secs(5), || {
        let address = desk.address;
        async move { TcpStream::connect(address).await.is_err() }
    })
    .await;
    desk.ledger.let_go();

    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    (&mut desk.serving).await.unwrap().unwrap();
    assert_eq!(desk.ledger.stored().len(), 1);
}

#[tokio::test]
async fn an_accepter_that_dies_ends_the_server_with_an_error() {
    let mut desk = Setup::default().start();
    desk.ledger.set(Fate::Panics);
    assert_eq!(desk.status_of(ALLOCATE, allocation("1")).await, 503);
    let ended = (&mut desk.serving).await.unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "the accepter ended early");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_idle_connections() {
    let mut desk = Setup::default().start();
    assert_eq!(desk.status_of(ALLOCATE, allocation("1")).await, 200);
    let _idle = TcpStream::connect(desk.address).await.unwrap();
    desk.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(8), &mut desk.serving).await;
    ended.expect("ends before the shutdown timeout of 10 s").unwrap().unwrap();
}
