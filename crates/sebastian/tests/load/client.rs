//! A lean HTTP/1.1 client: it shares the machine with what it measures. Requests come as the bytes to be written, every
//! connection is kept open, and one thread drives them all.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sebastian_core::AgentId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, mpsc},
    time::timeout,
};

use crate::soak::post::Kind;

/// How long the platform waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any answer to a webhook has.
const ANSWER_MAX: usize = 4 * 1024;

/// A webhook to be sent.
#[derive(Debug)]
pub struct Job {
    pub what: What,
    /// When it was due. Its latency counts from here, however late it was sent.
    pub due: Instant,
    /// The request, head and body.
    pub bytes: Vec<u8>,
}

/// Which webhook.
#[derive(Debug, Clone, Copy)]
pub struct What {
    pub kind: Kind,
    pub room: u64,
    /// Who served the chat that was resolved.
    pub agent: Option<AgentId>,
}

/// What became of one.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub what: What,
    pub due: Instant,
    pub answered: Instant,
    /// `None`: no answer.
    pub status: Option<u16>,
}

impl Sent {
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Where requests come from.
pub enum Source {
    /// From people, who know when each is due.
    People(mpsc::UnboundedReceiver<Job>),
    /// As fast as they are taken, until there is none.
    Supply(Box<dyn FnMut() -> Option<Job> + Send>),
}

/// The request as bytes.
pub fn request(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST /{} HTTP/1.1\r\nhost: desk.example\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        kind.path(),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends all that `source` gives over so many connections, and returns what became of each. On a thread of its own.
pub fn start(address: &str, connections: usize, source: Source) -> thread::JoinHandle<Vec<Sent>> {
    let address: Arc<str> = address.into();
    let drive = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let source = Arc::new(Mutex::new(source));
            let lanes: Vec<_> = (0..connections)
                .map(|_| tokio::spawn(lane(Arc::clone(&address), Arc::clone(&source))))
                .collect();
            let mut sent = Vec::new();
            for lane in lanes {
                sent.extend(lane.await.unwrap());
            }
            sent
        })
    };
    thread::Builder::new().name("load-client".to_owned()).spawn(drive).unwrap()
}

/// One connection.
async fn lane(address: Arc<str>, source: Arc<Mutex<Source>>) -> Vec<Sent> {
    let (mut sent, mut stream) = (Vec::new(), None);
    loop {
        let job = match &mut *source.lock().await {
            Source::People(jobs) => jobs.recv().await,
            Source::Supply(next) => next(),
        };
        let Some(Job { what, due, bytes }) = job else { return sent };
        let status = match timeout(PATIENCE, exchange(&address, &mut stream, &bytes)).await {
            Ok(Ok(status)) => Some(status),
            // The connection is of no more use.
            Ok(Err(_)) | Err(_) => {
                stream = None;
                None
            }
        };
        sent.push(Sent { what, due, answered: Instant::now(), status });
    }
}

async fn exchange(address: &str, kept: &mut Option<TcpStream>, bytes: &[u8]) -> std::io::Result<u16> {
    let stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            kept.insert(stream)
        }
    };
    stream.write_all(bytes).await?;
    let (mut answer, mut filled) = ([0; ANSWER_MAX], 0);
    loop {
        let read = stream.read(&mut answer[filled..]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if let Some((status, length, closes)) = parse(&answer[..filled])
            && filled >= length
        {
            if closes {
                *kept = None;
            }
            return Ok(status);
        }
    }
}

/// The status, how long the whole answer is, and whether the connection ends with it. `None`: the head is not all there.
fn parse(answer: &[u8]) -> Option<(u16, usize, bool)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let mut length = 0;
    let mut closes = false;
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    Some((status, end + length, closes))
}

#[test]
fn an_answer_is_read_to_its_end_wherever_it_is_cut() {
    let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nconnection: close\r\n\r\nhello";
    let head = whole.len() - 5;
    assert!((0..head).all(|cut| parse(&whole[..cut]).is_none()));
    assert!((head..=whole.len()).all(|cut| parse(&whole[..cut]) == Some((503, whole.len(), true))));
}
