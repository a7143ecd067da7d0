//! The HTTP server: its limits, its routes and its end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpResponse, HttpServer,
    middleware::from_fn,
    web::{self, Data, ServiceConfig},
};
use sebastian_core::{AccountId, InboxId, Policy, chain};
use sebastian_courier::Guard;
use sebastian_platform::Platform;
use sebastian_roster::{Doorbell, RosterCache};
use sebastian_store::{Outbox, Store};
use serde::Serialize;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    AdminToken, MainRuntime, Ops, Secret, Targets,
    accept::Accepter,
    admin::{self, Admin},
    agents, answer, api,
    bell::Bell,
    gate::WebhookGate,
    ops::{self, Pages},
    request_id,
    webhooks::{self, Webhooks},
};

/// A head that is not complete by then is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than the pause between two webhooks of a busy desk, short enough that idle connections do not pile up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a closing connection may take to read our last answer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// More workers than this only take cores from the database and the worker process on the same machine.
const WORKERS_MAX: usize = 4;

/// Open connections of the ingest, all workers together: a flood of 10,000 idle ones leaves room for webhooks.
const CONNECTIONS_MAX: usize = 16_384;

/// Probes and scrapes need no more.
const OPS_CONNECTIONS_MAX: usize = 256;

/// Connections the kernel may hold until a worker takes them. A burst of senders that each open one would overflow the
/// 128 of the standard library, and a connection refused there waits a second before it tries again.
const BACKLOG: u32 = 1_024;

/// Binds `address` for [`serve`] or [`serve_ops`](crate::serve_ops). Call it within the main runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Everything the ingest is made of.
pub struct Ingest {
    /// The tenant whose webhooks are taken.
    pub account: Account,
    /// Where events go.
    pub store: Arc<dyn Store>,
    /// Where subscriptions stand.
    pub outbox: Arc<dyn Outbox>,
    /// Which addresses may be subscribed.
    pub guard: Guard,
    /// Rung after each commit.
    pub doorbell: Arc<dyn Doorbell>,
    /// Read by `/agents` and `/api/v1/conversations`.
    pub roster: Arc<dyn RosterCache>,
    /// Asked by `/set-webhook` only.
    pub platform: Arc<dyn Platform>,
    /// Webhook secrets, each as good as the others; more than one while they are rotated. Empty: the plain paths are
    /// open to everybody, and the path form does not exist.
    pub secrets: Vec<Secret>,
    /// Open `/agents`, `/api/v1` and `/set-webhook`. None: only direct requests from this machine may ask.
    pub admin_tokens: Vec<AdminToken>,
    /// Where webhooks should go. `None`: `webhook.base_url` is not configured.
    pub targets: Option<Targets>,
    /// Who is given conversations, as workers decide it: what `/agents` shows and `/api/v1/conversations` explains by.
    pub policy: Policy,
    /// What the operations pages show.
    pub ops: Ops,
    /// Figures.
    pub settings: Settings,
}

/// Where requests come in.
#[derive(Debug)]
pub struct Listeners {
    /// For the platform.
    pub public: TcpListener,
    /// For operators, probes and scrapes. `None`: they come in at the public one too.
    pub admin: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(public: TcpListener) -> Self {
        Self { public, admin: None }
    }
}

/// One tenant.
#[derive(Debug, Clone)]
pub struct Account {
    /// The ledger's number.
    pub id: AccountId,
    /// The platform's name for it: what bodies must name and what `{account}` in the path form is.
    pub app_id: String,
    /// The inbox of allocation events that name none (`qiscus.channel_id`).
    pub default_inbox: Option<InboxId>,
}

/// Figures an operator may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// HTTP worker threads; at least one.
    pub workers: usize,
    /// How long a webhook waits for its commit.
    pub accept_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long requests under way may take once asked to stop; whole seconds.
    pub shutdown_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            workers: cores.min(WORKERS_MAX),
            accept_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves webhooks and pages until `stop`, then ends in order: the listener, requests under way, events queued.
///
/// Call it on the main runtime, with listeners from [`bind`]. Fails when a server cannot start, and when the accepting
/// task ends before it should.
pub async fn serve(
    listeners: impl Into<Listeners>,
    ingest: Ingest,
    stop: CancellationToken,
) -> io::Result<()> {
    let Listeners { public, admin } = listeners.into();
    let runtime = MainRuntime::current();
    let settings = ingest.settings.clone();
    let drain = CancellationToken::new();
    let drain_when_dropped = drain.clone().drop_guard();
    let bell = Bell::start(Arc::clone(&ingest.doorbell), ingest.account.id, &runtime);
    let (store, account) = (Arc::clone(&ingest.store), ingest.account.id);
    let (accepter, mut accepting) =
        Accepter::start(store, account, bell, settings.accept_timeout, drain, &runtime);
    let http_stop = stop.child_token();
    let pages = Parts::new(ingest, accepter, runtime);
    let (is_apart, limits) = (admin.is_some(), Limits::for_ingest(&settings));
    let public = run(public, limits, pages.clone().public(!is_apart), http_stop.clone());
    let operators =
        admin.map(|listener| run(listener, Limits::FOR_OPS, pages.operators(), http_stop.clone()));
    let mut http = pin!(both(public, operators, &http_stop));
    let served = tokio::select! {
        served = &mut http => served,
        ended = &mut accepting => {
            http_stop.cancel();
            http.await?;
            error!(error = ended.err().map(|error| chain(&error)), "the accepter ended early");
            return Err(io::Error::other("the accepter ended early"));
        }
    };
    drop(drain_when_dropped);
    // Past this time nobody waits for an answer any more.
    match tokio::time::timeout(settings.accept_timeout, accepting).await {
        Ok(Ok(())) => served,
        Ok(Err(ended)) => served.and(Err(ended.into())),
        Err(_) => {
            warn!("events that nobody was told were accepted are left behind");
            served
        }
    }
}

/// Runs both servers until each has ended; one that ends stops the other.
async fn both(
    public: impl Future<Output = io::Result<()>>,
    operators: Option<impl Future<Output = io::Result<()>>>,
    stop: &CancellationToken,
) -> io::Result<()> {
    let Some(operators) = operators else { return public.await };
    let (public, operators) = tokio::join!(
        async {
            let served = public.await;
            stop.cancel();
            served
        },
        async {
            let served = operators.await;
            stop.cancel();
            served
        }
    );
    public.and(operators)
}

/// What the routes work with. Clones share it.
#[derive(Clone)]
struct Parts {
    webhooks: Data<Webhooks>,
    admin: Data<Admin>,
    accepter: Data<Accepter>,
    pages: Data<Pages>,
}

impl Parts {
    fn new(ingest: Ingest, accepter: Accepter, runtime: MainRuntime) -> Self {
        let Ingest { account, settings, .. } = ingest;
        let webhooks = Webhooks {
            gate: WebhookGate { app_id: account.app_id.clone(), secrets: ingest.secrets },
            accepter: accepter.clone(),
            default_inbox: account.default_inbox,
            body_timeout: settings.body_timeout,
        };
        let pages = Pages::new(ingest.ops, runtime.clone());
        let admin = Admin {
            account,
            store: ingest.store,
            outbox: ingest.outbox,
            guard: ingest.guard,
            roster: ingest.roster,
            platform: ingest.platform,
            targets: ingest.targets,
            tokens: ingest.admin_tokens,
            policy: ingest.policy,
            doorbell: ingest.doorbell,
            body_timeout: settings.body_timeout,
            runtime,
        };
        Self {
            webhooks: Data::new(webhooks),
            admin: Data::new(admin),
            accepter: Data::new(accepter),
            pages: Data::new(pages),
        }
    }

    /// The webhooks, and with `everything` what operators ask for beside them.
    fn public(self, everything: bool) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
        move |config| {
            config.app_data(self.webhooks.clone());
            index_route(config);
            webhooks::routes(config);
            if everything {
                self.add_operators(config);
            }
        }
    }

    /// What operators, probes and scrapes ask for.
    fn operators(self) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
        move |config| {
            index_route(config);
            self.add_operators(config);
        }
    }

    fn add_operators(&self, config: &mut ServiceConfig) {
        config.app_data(self.admin.clone()).app_data(self.accepter.clone()).app_data(self.pages.clone());
        agents::routes(config);
        api::routes(config);
        admin::routes(config);
        ops::routes(config);
    }
}

fn index_route(config: &mut ServiceConfig) {
    config.service(web::resource("/").route(web::get().to(index)).default_service(answer::only("GET")));
}

#[derive(Serialize)]
struct Index {
    name: &'static str,
    endpoints: [&'static str; 12],
}

async fn index() -> HttpResponse {
    HttpResponse::Ok().json(Index {
        name: "sebastian",
        endpoints: [
            "POST /webhook-incoming-message",
            "POST /webhook-mark-as-resolved",
            "POST /webhooks/{account}/{secret}/allocate|resolve",
            "GET /agents",
            "GET /api/v1/conversations",
            "GET /api/v1/conversations/{room}",
            "/api/v1/accounts/{account}/…",
            "GET /api/v1/openapi.json",
            "POST /set-webhook",
            "GET /livez",
            "GET /readyz",
            "GET /metrics",
        ],
    })
}

/// What one server may use.
pub(crate) struct Limits {
    workers: usize,
    connections: usize,
    shutdown: Duration,
}

impl Limits {
    pub const FOR_OPS: Self = Self { workers: 1, connections: OPS_CONNECTIONS_MAX, shutdown: HEAD_TIMEOUT };

    fn for_ingest(settings: &Settings) -> Self {
        let workers = settings.workers.max(1);
        Self { workers, connections: CONNECTIONS_MAX / workers, shutdown: settings.shutdown_timeout }
    }
}

/// Serves the routes of `configure` until `stop`; then closes the listener and idle connections and lets requests
/// under way end.
pub(crate) async fn run<F>(
    listener: TcpListener,
    limits: Limits,
    configure: F,
    stop: CancellationToken,
) -> io::Result<()>
where
    F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let address = listener.local_addr()?;
    let app = move || {
        App::new()
            .wrap(from_fn(request_id::trace))
            .configure(configure.clone())
            .default_service(web::to(answer::not_found))
    };
    let server = HttpServer::new(app)
        .workers(limits.workers)
        .max_connections(limits.connections)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(limits.shutdown.as_secs().max(1))
        .disable_signals()
        .shutdown_signal(stop.cancelled_owned())
        .listen(listener)?
        .run();
    info!(%address, "listening on {address}");
    server.await
}
