//! `/livez`, `/readyz` and `/metrics`, for the ingest and for the worker.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpResponse,
    web::{self, Data, ServiceConfig},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use sebastian_roster::RosterCache;
use sebastian_store::Store;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    answer,
    runtime::MainRuntime,
    server::{Limits, run},
};

/// A dependency that has not answered by then is down; orchestrators give a probe one to a few seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// An answer of `/readyz` serves all who ask within this time, so that probing in a loop costs the ledger no
/// connections.
const ANSWER_LIFETIME: Duration = Duration::from_millis(250);

/// What a check found, in a few words that anybody may read: `Ok` when the dependency serves.
pub type Finding = Result<Cow<'static, str>, Cow<'static, str>>;

/// Looks at one dependency. Runs on the main runtime, for at most a second.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    required: bool,
    probe: Arc<dyn Fn() -> BoxFuture<'static, Finding> + Send + Sync>,
}

/// What the operations pages show.
#[derive(Clone)]
pub struct Ops {
    /// What `/readyz` looks at.
    pub checks: Vec<Check>,
    /// Renders `/metrics` in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Check {
    /// Without this dependency the process is not ready.
    pub fn required<F, Fut>(name: &'static str, probe: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Finding> + Send + 'static,
    {
        Self { name, required: true, probe: Arc::new(move || probe().boxed()) }
    }

    /// Without this dependency the process is degraded and still ready.
    pub fn optional<F, Fut>(name: &'static str, probe: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Finding> + Send + 'static,
    {
        Self { required: false, ..Self::required(name, probe) }
    }

    /// The ledger, which everything needs.
    pub fn ledger(name: &'static str, store: Arc<dyn Store>) -> Self {
        Self::required(name, move || {
            let store = Arc::clone(&store);
            async move { finding(store.ping().await) }
        })
    }

    /// The roster cache, without which work goes on.
    pub fn roster_cache(name: &'static str, cache: Arc<dyn RosterCache>) -> Self {
        Self::optional(name, move || {
            let cache = Arc::clone(&cache);
            async move { finding(cache.ping().await) }
        })
    }
}

/// The reason stays out of the answer: probes are open to anybody. Whoever uses the dependency logs it.
fn finding<E>(pinged: Result<(), E>) -> Finding {
    pinged.map(|()| "ok".into()).map_err(|_| "unreachable".into())
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").field("checks", &self.checks).finish_non_exhaustive()
    }
}

/// Serves only the operations pages, until `stop`. Call it on the main runtime.
pub async fn serve_ops(listener: TcpListener, ops: Ops, stop: CancellationToken) -> io::Result<()> {
    let pages = Data::new(Pages::new(ops, MainRuntime::current()));
    let configure = move |config: &mut ServiceConfig| {
        config.app_data(pages.clone());
        routes(config);
    };
    run(listener, Limits::FOR_OPS, configure, stop).await
}

/// The operations pages at work.
pub(crate) struct Pages {
    ops: Ops,
    runtime: MainRuntime,
    last: Mutex<Option<(Instant, Readiness)>>,
}

/// Adds the operations pages.
pub(crate) fn routes(config: &mut ServiceConfig) {
    let page = |path: &str| web::resource(path).default_service(answer::only("GET, HEAD"));
    config.service(page("/livez").route(web::get().to(livez)).route(web::head().to(livez)));
    config.service(page("/readyz").route(web::get().to(readyz)).route(web::head().to(readyz)));
    config.service(page("/metrics").route(web::get().to(render)).route(web::head().to(render)));
}

#[derive(Debug, Clone, Serialize)]
struct Readiness {
    status: &'static str,
    checks: BTreeMap<&'static str, Cow<'static, str>>,
}

async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(Readiness { status: "ok", checks: BTreeMap::new() })
}

async fn readyz(pages: Data<Pages>) -> HttpResponse {
    let readiness = pages.readiness().await;
    if readiness.status == UNREADY {
        HttpResponse::ServiceUnavailable().json(readiness)
    } else {
        HttpResponse::Ok().json(readiness)
    }
}

async fn render(pages: Data<Pages>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body((pages.ops.metrics)())
}

const READY: &str = "ready";
const DEGRADED: &str = "degraded";
const UNREADY: &str = "unready";

impl Pages {
    pub fn new(ops: Ops, runtime: MainRuntime) -> Self {
        Self { ops, runtime, last: Mutex::new(None) }
    }

    /// One look at a time; whoever comes meanwhile shares it.
    async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < ANSWER_LIFETIME
        {
            return readiness.clone();
        }
        let readiness = self.look().await;
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }

    async fn look(&self) -> Readiness {
        let findings = join_all(self.ops.checks.iter().map(|check| self.probe(check))).await;
        let mut status = READY;
        let mut checks = BTreeMap::new();
        for (check, finding) in self.ops.checks.iter().zip(findings) {
            match (&finding, check.required) {
                (Ok(_), _) => {}
                (Err(_), true) => status = UNREADY,
                (Err(_), false) if status == READY => status = DEGRADED,
                (Err(_), false) => {}
            }
            checks.insert(check.name, finding.unwrap_or_else(|down| down));
        }
        Readiness { status, checks }
    }

    async fn probe(&self, check: &Check) -> Finding {
        let probe = Arc::clone(&check.probe);
        // Even the timer belongs to the runtime it was made on.
        let probing = async move { tokio::time::timeout(CHECK_TIMEOUT, probe()).await };
        match self.runtime.run(probing).await {
            Ok(Ok(finding)) => finding,
            Ok(Err(_)) => Err("no answer in time".into()),
            Err(_) => Err("the check ended early".into()),
        }
    }
}
