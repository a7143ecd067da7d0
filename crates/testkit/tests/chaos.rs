use std::io::ErrorKind;
use std::time::{Duration, Instant};

use sebastian_testkit::{ChaosProxy, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A server that reports every piece it reads and sends it back, and a proxy before it.
async fn echo() -> (ChaosProxy, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = ChaosProxy::start(listener.local_addr().expect("bound")).await;
    let (seen, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    seen.send(buffer[..n].to_vec()).ok();
                    stream.write_all(&buffer[..n]).await.ok();
                }
            });
        }
    });
    (proxy, receiver)
}

async fn exchange(stream: &mut TcpStream, word: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(word).await?;
    let mut reply = vec![0; word.len()];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

async fn connect(proxy: &ChaosProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.expect("the proxy accepts")
}

#[tokio::test]
async fn pass_passes() {
    let (proxy, _seen) = echo().await;
    assert_eq!(exchange(&mut connect(&proxy).await, b"hello").await.expect("passed"), b"hello");
}

#[tokio::test]
async fn refuse_closes_open_connections_and_refuses_new_ones_until_it_ends() {
    let (proxy, mut seen) = echo().await;
    let mut open = connect(&proxy).await;
    exchange(&mut open, b"hello").await.expect("passed");
    seen.recv().await.expect("arrived");
    proxy.set(Fault::Refuse).await;
    assert!(exchange(&mut open, b"again").await.is_err());
    let refused = TcpStream::connect(proxy.address()).await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.set(Fault::Pass).await;
    exchange(&mut connect(&proxy).await, b"hello").await.expect("passed");
    assert_eq!(seen.recv().await.expect("arrived"), b"hello");
}

#[tokio::test]
async fn black_hole_holds_bytes_of_old_and_new_connections() {
    let (proxy, mut seen) = echo().await;
    let mut old = connect(&proxy).await;
    exchange(&mut old, b"hello").await.expect("passed");
    seen.recv().await.expect("arrived");
    proxy.set(Fault::BlackHole).await;
    let mut new = connect(&proxy).await;
    let wait = Duration::from_millis(50);
    assert!(tokio::time::timeout(wait, exchange(&mut old, b"old")).await.is_err());
    assert!(tokio::time::timeout(wait, exchange(&mut new, b"new")).await.is_err());
    assert!(seen.try_recv().is_err());
    proxy.set(Fault::Pass).await;
    let mut reply = [0; 3];
    old.read_exact(&mut reply).await.expect("held, not lost");
    assert_eq!(&reply, b"old");
    new.read_exact(&mut reply).await.expect("held, not lost");
    assert_eq!(&reply, b"new");
}

#[tokio::test]
async fn delay_delays_each_way() {
    let (proxy, _seen) = echo().await;
    proxy.set(Fault::Delay(Duration::from_millis(30))).await;
    let start = Instant::now();
    exchange(&mut connect(&proxy).await, b"hello").await.expect("passed");
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn cut_reply_after_zero_lets_the_server_act_and_the_client_never_learn_it() {
    let (proxy, mut seen) = echo().await;
    let mut stream = connect(&proxy).await;
    exchange(&mut stream, b"hello").await.expect("passed");
    seen.recv().await.expect("arrived");
    proxy.set(Fault::CutReplyAfter(0)).await;
    assert!(exchange(&mut stream, b"COMMIT").await.is_err());
    assert_eq!(seen.recv().await.expect("arrived"), b"COMMIT");
}

#[tokio::test]
async fn cut_counts_bytes_since_it_was_set() {
    let (proxy, mut seen) = echo().await;
    let mut stream = connect(&proxy).await;
    exchange(&mut stream, b"hello").await.expect("passed");
    seen.recv().await.expect("arrived");
    proxy.set(Fault::CutReplyAfter(4)).await;
    exchange(&mut stream, b"123").await.expect("three of four");
    stream.write_all(b"456").await.expect("still open");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert_eq!(rest, b"4");

    proxy.set(Fault::CutRequestAfter(2)).await;
    while seen.try_recv().is_ok() {}
    assert!(exchange(&mut connect(&proxy).await, b"abc").await.is_err());
    assert_eq!(seen.recv().await.expect("arrived"), b"ab");
}

#[tokio::test]
async fn reset_resets_open_and_new_connections() {
    let (proxy, _seen) = echo().await;
    let mut open = connect(&proxy).await;
    exchange(&mut open, b"hello").await.expect("passed");
    proxy.set(Fault::Reset).await;
    let error = open.read(&mut [0; 8]).await.expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    if let Ok(mut new) = TcpStream::connect(proxy.address()).await {
        assert!(new.read(&mut [0; 8]).await.is_err());
    }
}

#[tokio::test]
async fn drop_closes_everything() {
    let (proxy, _seen) = echo().await;
    let address = proxy.address();
    let mut open = connect(&proxy).await;
    exchange(&mut open, b"hello").await.expect("passed");
    drop(proxy);
    assert!(matches!(open.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_reply_with_the_given_bytes_is_cut_after_the_server_did_what_was_asked_and_others_pass() {
    let (proxy, mut seen) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Fault::CutReplyWith(b"COMMIT\0")).await;
    assert_eq!(exchange(&mut stream, b"BEGIN").await.expect("passed"), b"BEGIN");
    assert!(exchange(&mut stream, b"..COMMIT\0..").await.is_err());
    for word in [&b"BEGIN"[..], b"..COMMIT\0.."] {
        assert_eq!(seen.recv().await.expect("arrived"), word);
    }
}

#[tokio::test]
async fn led_elsewhere_new_connections_reach_the_other_server_and_open_ones_stay() {
    let ((proxy, mut old), (other, mut new)) = (echo().await, echo().await);
    let mut open = connect(&proxy).await;
    exchange(&mut open, b"hello").await.expect("passed");
    proxy.lead_to(other.address());
    exchange(&mut open, b"still").await.expect("passed");
    exchange(&mut connect(&proxy).await, b"after").await.expect("passed");
    assert_eq!((old.recv().await, old.recv().await), (Some(b"hello".to_vec()), Some(b"still".to_vec())));
    assert_eq!(new.recv().await, Some(b"after".to_vec()));
}
