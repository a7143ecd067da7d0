//! An ingest that serves on a port of its own, with everything around it in reach.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, Once},
};

use async_trait::async_trait;
use reqwest::{Client, RequestBuilder, Response};
use sebastian_core::{AccountId, Agent, AgentId, InboxId, Policy, RoomId, Timing};
use sebastian_courier::Guard;
use sebastian_ingest::{
    Account, AdminToken, Check, Ingest, Listeners, Ops, Scope, Secret, Settings, Targets, bind, serve,
};
use sebastian_platform::{Platform, PlatformError, Room, RoomStatus, Webhook, WebhookUrls};
use sebastian_roster::InProcessRosterCache;
use sebastian_store::MemoryStore;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::doubles::{Bell, Bells, Ledger};

/// The tenant of the fixtures.
pub const APP: &str = "sbsti-7q2mzk4c1d9xw0a";
pub const ACCOUNT: AccountId = AccountId(1);
pub const SECRET: &str = "CANARY-webhook-secret-5f1c";
pub const TOKEN: &str = "CANARY-admin-token-88ab";

pub struct Setup {
    pub secrets: Vec<Secret>,
    pub admin_tokens: Vec<AdminToken>,
    pub base_url: Option<&'static str>,
    pub default_inbox: Option<InboxId>,
    pub bell: Bell,
    pub settings: Settings,
    pub platform: Hooks,
    pub policy: Policy,
    /// Whether operators have a listener of their own.
    pub is_apart: bool,
    /// Whether subscribers may be at private addresses.
    pub allow_private: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            admin_tokens: Vec::new(),
            base_url: Some("https://desk.example"),
            default_inbox: None,
            bell: Bell::Rings,
            settings: Settings { workers: 2, ..Settings::default() },
            platform: Hooks::default(),
            policy: Policy::default(),
            is_apart: false,
            allow_private: true,
        }
    }
}

pub struct Desk {
    pub address: SocketAddr,
    /// Where operators are answered.
    pub admin_address: SocketAddr,
    pub client: Client,
    pub ledger: Arc<Ledger>,
    pub outbox: Arc<MemoryStore>,
    pub bells: Arc<Bells>,
    pub cache: InProcessRosterCache,
    pub platform: Arc<Hooks>,
    pub stop: CancellationToken,
    pub serving: JoinHandle<std::io::Result<()>>,
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned().into()).unwrap()
}

/// A token that opens everything, by the name of `desk`.
pub fn token(text: &str) -> AdminToken {
    AdminToken::new("desk", &text.to_owned().into(), Scope::Operate).unwrap()
}

impl Setup {
    pub fn with_secret() -> Self {
        Self { secrets: vec![secret(SECRET)], ..Self::default() }
    }

    pub fn start(self) -> Desk {
        capture_logs();
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (ledger, bells) = (Arc::new(Ledger::new()), Arc::new(Bells::new(self.bell)));
        let (cache, platform) = (InProcessRosterCache::default(), Arc::new(self.platform));
        let targets = self.base_url.map(|url| Targets::new(url, APP, self.secrets.first()).unwrap());
        let checks = vec![
            Check::ledger("postgres", ledger.clone()),
            Check::roster_cache("redis", Arc::new(cache.clone())),
        ];
        let outbox = Arc::new(MemoryStore::new(Timing::default()));
        let ingest = Ingest {
            account: Account { id: ACCOUNT, app_id: APP.to_owned(), default_inbox: self.default_inbox },
            store: ledger.clone(),
            outbox: outbox.clone(),
            guard: Guard::new(self.allow_private),
            doorbell: bells.clone(),
            roster: Arc::new(cache.clone()),
            platform: platform.clone(),
            secrets: self.secrets,
            admin_tokens: self.admin_tokens,
            targets,
            policy: self.policy,
            ops: Ops { checks, metrics: Arc::new(|| "sebastian_test 1\n".to_owned()) },
            settings: self.settings,
        };
        let stop = CancellationToken::new();
        let admin = self.is_apart.then(|| bind(([127, 0, 0, 1], 0).into()).unwrap());
        let admin_address = admin.as_ref().map_or(address, |listener| listener.local_addr().unwrap());
        let serving = tokio::spawn(serve(Listeners { public: listener, admin }, ingest, stop.clone()));
        let client = Client::builder().no_proxy().build().unwrap();
        Desk { address, admin_address, client, ledger, outbox, bells, cache, platform, stop, serving }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Desk {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// Posts `body` and gives the status.
    pub async fn status_of(&self, path: &str, body: impl Into<reqwest::Body>) -> u16 {
        self.post(path).body(body).send().await.unwrap().status().as_u16()
    }
}

/// Checks the shape every error has, and gives its text.
pub async fn error_of(response: Response) -> String {
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["request_id"], id);
    body["error"].as_str().unwrap().to_owned()
}

/// The bodies of the fixtures whose names begin with `prefix`, with their names.
pub fn fixtures(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../platform/fixtures/qiscus");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<_> = files
        .filter(|file| name(file).starts_with(prefix))
        .map(|file| (name(&file), std::fs::read(&file).unwrap()))
        .collect();
    assert!(!found.is_empty(), "no fixture begins with {prefix}");
    found.sort();
    found
}

pub fn fixture(name: &str) -> Vec<u8> {
    fixtures(name).swap_remove(0).1
}

/// An allocation that needs no more than it says.
pub fn allocation(room: &str) -> String {
    serde_json::json!({ "app_id": APP, "room_id": room }).to_string()
}

static LOGS: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Everything logged by any test so far.
pub fn logs() -> String {
    String::from_utf8_lossy(&LOGS.lock().unwrap()).into_owned()
}

fn capture_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let level = tracing_subscriber::filter::LevelFilter::DEBUG;
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(|| Log).init();
    });
}

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGS.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How a platform treats webhooks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    #[default]
    Obliging,
    /// Shows no URLs.
    Silent,
    /// Refuses to set any.
    Denies,
    /// Says yes and changes nothing.
    Forgets,
}

/// A platform that has webhooks and nothing else.
#[derive(Default)]
pub struct Hooks {
    pub manner: Manner,
    pub urls: Mutex<WebhookUrls>,
    pub calls: Mutex<Vec<(Webhook, String)>>,
}

impl Hooks {
    pub fn new(manner: Manner, allocate: Option<&str>) -> Self {
        let urls = WebhookUrls { allocate: allocate.map(str::to_owned), resolve: None };
        Self { manner, urls: Mutex::new(urls), calls: Mutex::default() }
    }
}

#[async_trait]
impl Platform for Hooks {
    fn name(&self) -> &'static str {
        "hooks"
    }

    async fn webhook_urls(&self) -> Result<WebhookUrls, PlatformError> {
        match self.manner {
            Manner::Silent => Err(PlatformError::Unsupported("no login")),
            Manner::Obliging | Manner::Denies | Manner::Forgets => Ok(self.urls.lock().unwrap().clone()),
        }
    }

    async fn set_webhook(&self, hook: Webhook, url: &str) -> Result<(), PlatformError> {
        self.calls.lock().unwrap().push((hook, url.to_owned()));
        if self.manner == Manner::Denies {
            return Err(PlatformError::Denied { status: 401 });
        }
        let mut urls = self.urls.lock().unwrap();
        match (self.manner, hook) {
            (Manner::Forgets, _) => {}
            (_, Webhook::Allocate) => urls.allocate = Some(url.to_owned()),
            (_, Webhook::Resolve) => urls.resolve = Some(url.to_owned()),
        }
        Ok(())
    }

    async fn agents(&self) -> Result<Vec<Agent>, PlatformError> {
        unreachable!()
    }

    async fn agents_for(&self, _: &RoomId) -> Result<Vec<Agent>, PlatformError> {
        unreachable!()
    }

    async fn assign(&self, _: &RoomId, _: AgentId, _: Option<AgentId>) -> Result<(), PlatformError> {
        unreachable!()
    }

    async fn propose(&self, _: &RoomId) -> Result<Option<AgentId>, PlatformError> {
        unreachable!()
    }

    async fn room(&self, _: &RoomId) -> Result<RoomStatus, PlatformError> {
        unreachable!()
    }

    async fn rooms_served_by(&self, _: AgentId) -> Result<Vec<Room>, PlatformError> {
        unreachable!()
    }

    async fn rooms_waiting(&self) -> Result<Vec<Room>, PlatformError> {
        unreachable!()
    }
}
