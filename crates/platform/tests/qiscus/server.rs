//! A small real HTTP server that answers as told, well or badly, and remembers what it was asked.

use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use sebastian_platform::qiscus::{Qiscus, QiscusConfig};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub const APP_ID: &str = "sbsti-7q2mzk4c1d9xw0a";
pub const SECRET_KEY: &str = "CANARY-secret-key";
pub const EMAIL: &str = "CANARY-owner@tokosenja.example";
pub const PASSWORD: &str = "CANARY-password";

/// The text of a file in `fixtures/qiscus`.
pub fn fixture(name: &str) -> String {
    let path = format!("{}/fixtures/qiscus/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the fixtures that begin with `prefix`.
pub fn fixtures(prefix: &str) -> Vec<String> {
    let folder = format!("{}/fixtures/qiscus", env!("CARGO_MANIFEST_DIR"));
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    assert!(!names.is_empty(), "no fixtures named {prefix}*");
    names
}

/// The status in a fixture's name: `api.assign_agent.error_internal.500.json`.
pub fn fixture_status(name: &str) -> u16 {
    name.rsplit('.').nth(1).unwrap().parse().unwrap()
}

#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /api/v1/auth`, query included.
    pub line: String,
    /// Header lines, lower case.
    pub head: String,
    pub body: String,
}

impl Request {
    /// The body of a form or the query of the line holds `name=value`.
    pub fn has(&self, pair: &str) -> bool {
        let query = self.line.split_once('?').map_or("", |(_, query)| query);
        query.split('&').chain(self.body.split('&')).any(|part| part == pair)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Debug, Clone)]
pub enum Reply {
    /// An answer as HTTP wants it.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// A success with this body, which need not be text.
    Bytes(Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// The connection is reset after the request was read.
    Reset,
    /// A success whose body comes byte by byte and never ends.
    Drip,
    /// This status with a body that never ends, at full speed.
    Flood(u16),
    /// This status with a body announced and never sent.
    NoBody(u16),
}

pub fn answer(status: u16, body: impl Into<String>) -> Reply {
    Reply::Answer { status, headers: Vec::new(), body: body.into() }
}

pub fn answer_with(status: u16, header: &'static str, value: &str) -> Reply {
    Reply::Answer { status, headers: vec![(header, value.to_owned())], body: String::new() }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    listener: JoinHandle<()>,
}

impl Server {
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        trace_into_log();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let log = Arc::clone(&requests);
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&handler), Arc::clone(&log)));
            }
        });
        Self { url, requests, listener }
    }

    /// Always the same answer.
    pub async fn answering(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn config(&self) -> QiscusConfig {
        QiscusConfig::new(&self.url, APP_ID, SecretString::from(SECRET_KEY))
    }

    pub fn client(&self) -> Qiscus {
        Qiscus::new(self.config()).unwrap()
    }

    /// A client that gives up after 200 ms.
    pub fn impatient_client(&self) -> Qiscus {
        Qiscus::new(QiscusConfig { timeout: Duration::from_millis(200), ..self.config() }).unwrap()
    }

    pub fn admin_client(&self) -> Qiscus {
        let (email, password) = (Some(EMAIL.to_owned()), Some(SecretString::from(PASSWORD)));
        Qiscus::new(QiscusConfig { email, password, ..self.config() }).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn serve(mut stream: TcpStream, handler: Arc<Handler>, log: Arc<Mutex<Vec<Request>>>) {
    while let Some(request) = read_request(&mut stream).await {
        log.lock().unwrap().push(request.clone());
        if reply(&mut stream, handler(&request)).await.is_none() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let (line, head) = text.split_once("\r\n")?;
    let head = head.to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while bytes.len() < head_end + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let body = String::from_utf8_lossy(&bytes[head_end..]).into_owned();
    Some(Request { line: line.trim_end_matches(" HTTP/1.1").to_owned(), head, body })
}

/// `None` closes the connection.
async fn reply(stream: &mut TcpStream, reply: Reply) -> Option<()> {
    match reply {
        Reply::Answer { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                write!(head, "{name}: {value}\r\n").unwrap();
            }
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.ok()
        }
        Reply::Bytes(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()
        }
        Reply::Hang => std::future::pending().await,
        Reply::Reset => {
            stream.set_zero_linger().ok()?;
            None
        }
        Reply::Drip => {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.ok()?;
            loop {
                tick.tick().await;
                stream.write_all(b" ").await.ok()?;
            }
        }
        Reply::Flood(status) => {
            let head = format!("HTTP/1.1 {status} -\r\ncontent-length: 1000000000\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            loop {
                stream.write_all(&[b' '; 65_536]).await.ok()?;
            }
        }
        Reply::NoBody(status) => {
            let head = format!("HTTP/1.1 {status} -\r\ncontent-length: 10\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            std::future::pending().await
        }
    }
}

/// What every test of this program has traced so far, of every library, at every level.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

pub fn traced() -> String {
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

/// One subscriber for the program, set before any client calls: `tracing` remembers for all threads whether a
/// call site matters, so one per test would miss what another test's thread met first.
fn trace_into_log() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
