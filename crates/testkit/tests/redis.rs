use std::net::SocketAddr;
use std::time::Duration;

use sebastian_testkit::{Redis, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::SOON;

/// One command, one reply of at most one read.
async fn ask(address: SocketAddr, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut reply = [0; 256];
    let n = stream.read(&mut reply).await?;
    Ok(String::from_utf8_lossy(&reply[..n]).trim_end().to_owned())
}

#[tokio::test]
async fn two_servers_share_nothing() {
    let (one, two) = tokio::join!(Redis::start(), Redis::start());
    assert_ne!(one.url(), two.url());
    assert_eq!(ask(one.address(), "SET key 1").await.expect("one is up"), "+OK");
    assert_eq!(ask(two.address(), "GET key").await.expect("two is up"), "$-1");
}

#[tokio::test]
async fn killed_server_refuses_and_comes_back_empty_on_its_port() {
    let redis = Redis::start().await;
    let address = redis.address();
    ask(address, "SET key 1").await.expect("it is up");
    redis.kill9();
    assert!(ask(address, "PING").await.is_err());
    redis.restart_empty().await;
    assert_eq!(ask(redis.address(), "GET key").await.expect("it is up again"), "$-1");
    assert_eq!(redis.address(), address);
}

#[tokio::test]
async fn restart_keeps_what_the_options_keep_and_restart_empty_does_not() {
    let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    ask(redis.address(), "SET key 1").await.expect("it is up");
    redis.restart().await;
    eventually("the log is loaded", SOON, async || {
        ask(redis.address(), "GET key").await.is_ok_and(|r| r.ends_with('1'))
    })
    .await;
    redis.restart_empty().await;
    assert_eq!(ask(redis.address(), "GET key").await.expect("it is up again"), "$-1");
}

#[tokio::test]
async fn paused_server_accepts_and_says_nothing_until_resumed() {
    let redis = Redis::start().await;
    redis.pause();
    let mut stream = TcpStream::connect(redis.address()).await.expect("the kernel accepts");
    stream.write_all(b"PING\r\n").await.expect("the kernel takes the bytes");
    let mut reply = [0; 7];
    let silence = tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut reply)).await;
    assert!(silence.is_err());
    redis.resume();
    stream.read_exact(&mut reply).await.expect("the answer comes");
    assert_eq!(&reply, b"+PONG\r\n");
}

#[tokio::test]
async fn flush_all_leaves_no_key() {
    let redis = Redis::start().await;
    ask(redis.address(), "SET key 1").await.expect("it is up");
    redis.flush_all();
    assert_eq!(ask(redis.address(), "DBSIZE").await.expect("it is up"), ":0");
}

#[tokio::test]
async fn paused_server_is_gone_after_drop() {
    let redis = Redis::start().await;
    let address = redis.address();
    redis.pause();
    drop(redis);
    assert!(TcpStream::connect(address).await.is_err());
}
