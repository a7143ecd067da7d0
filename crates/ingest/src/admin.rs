//! What operators may ask for: the gate they share, and `POST /set-webhook`.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::{self, Data, ServiceConfig},
};
use sebastian_core::{Policy, chain};
use sebastian_courier::Guard;
use sebastian_platform::Platform;
use sebastian_roster::{Doorbell, RosterCache};
use sebastian_store::{Outbox, Store};
use serde::Deserialize;
use tracing::{info, warn};

use crate::{
    Account, AdminToken, MainRuntime, SetWebhookError, Targets, answer,
    gate::{self, AdminRefused},
    set_webhooks,
};

/// What the operators' routes work with.
pub(crate) struct Admin {
    pub account: Account,
    pub store: Arc<dyn Store>,
    pub outbox: Arc<dyn Outbox>,
    pub guard: Guard,
    pub roster: Arc<dyn RosterCache>,
    pub platform: Arc<dyn Platform>,
    pub targets: Option<Targets>,
    pub tokens: Vec<AdminToken>,
    pub policy: Policy,
    pub doorbell: Arc<dyn Doorbell>,
    pub body_timeout: Duration,
    pub runtime: MainRuntime,
}

/// The answer to whoever may not ask, if this is such a one.
pub(crate) fn refuse_stranger(request: &HttpRequest, admin: &Admin) -> Option<HttpResponse> {
    gate::admin(request, &admin.tokens).err().map(|refused| refusal(request, refused))
}

/// How a refusal is told. As in Chatwoot, a token that may not do this is one that is not accepted.
pub(crate) fn refusal(request: &HttpRequest, refused: AdminRefused) -> HttpResponse {
    let status = match refused {
        AdminRefused::Token | AdminRefused::ReadOnly => StatusCode::UNAUTHORIZED,
        AdminRefused::NotLocal => StatusCode::FORBIDDEN,
    };
    let mut response = answer::error(request, status, &refused.to_string());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Adds `/set-webhook`.
pub(crate) fn routes(config: &mut ServiceConfig) {
    let resource = web::resource(["/set-webhook", "/set-webhook/"]);
    config.service(resource.route(web::post().to(set)).default_service(web::to(not_by_this_method)));
}

/// The original set webhooks on a GET, so that anybody's link could. Tells what to do instead.
async fn not_by_this_method(request: HttpRequest) -> HttpResponse {
    let advice = "run `sebastian set-webhook`, or send POST /set-webhook with the admin token";
    answer::method_not_allowed(&request, "POST", Some(advice))
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    dry_run: bool,
}

async fn set(request: HttpRequest, admin: Data<Admin>) -> HttpResponse {
    if let Some(refusal) = refuse_stranger(&request, &admin) {
        return refusal;
    }
    let Ok(options) = web::Query::<Options>::from_query(request.query_string()) else {
        return answer::error(&request, StatusCode::BAD_REQUEST, "dry_run is true or false");
    };
    let Some(targets) = admin.targets.clone() else {
        return answer::error(&request, StatusCode::CONFLICT, "webhook.base_url is not configured");
    };
    let (platform, dry_run) = (Arc::clone(&admin.platform), options.dry_run);
    let setting = async move { set_webhooks(&*platform, &targets, dry_run).await };
    match admin.runtime.run(setting).await {
        Ok(Ok(report)) => {
            info!(dry_run, "set-webhook was asked for over HTTP: {}", report.summary());
            HttpResponse::Ok().json(report)
        }
        Ok(Err(error)) => refused_by_platform(&request, &error),
        Err(ended) => {
            warn!(error = %chain(&ended), "set-webhook ended early");
            answer::error(&request, StatusCode::INTERNAL_SERVER_ERROR, "set-webhook ended early")
        }
    }
}

fn refused_by_platform(request: &HttpRequest, error: &SetWebhookError) -> HttpResponse {
    let text = chain(error);
    warn!(error = %text, "set-webhook failed");
    answer::error_with_advice(request, StatusCode::BAD_GATEWAY, &text, Some(error.advice()))
}
