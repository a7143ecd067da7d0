//! A simulated Qiscus Omnichannel, served over real HTTP: the product's only fake, used by the demo and by every
//! black-box test.
//!
//! It behaves as contract `qiscus.md` says the platform does, and goes wrong on demand in the ways live systems
//! were seen to ([`Fault`]). It keeps its own ledger of what took effect ([`Applied`]), computed where it is
//! applied and never from what was answered, so a test can compare our ledger with a judge that cannot be fooled
//! by a lost reply.

mod answers;
mod api;
mod bodies;
mod clock;
mod config;
mod control;
mod endpoint;
mod faults;
mod http;
mod ledger;
mod lists;
mod room;
mod state;
#[cfg(test)]
mod tests;
mod webhooks;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix_web::dev::ServerHandle;
use sebastian_core::{AgentId, InboxId};
use serde_json::Value;
use tokio::{sync::watch, time::error::Elapsed};

pub use self::{
    config::{AgentSpec, AssignAgain, Channel, SimulatedConfig, WebhookDelivery},
    endpoint::{Endpoint, Target},
    faults::{Answer, CountFault, Fault, FaultId, FaultKind, RosterFault},
    ledger::{Applied, By, Change, Request},
    room::Room,
    state::{COUNT_HISTORY, State},
    webhooks::Delivery,
};
use crate::WebhookUrls;

/// A running simulation. Clones share it; the server stops when the last is dropped.
#[derive(Debug, Clone)]
pub struct Simulated(Arc<Running>);

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    server: ServerHandle,
    port: u16,
}

/// What the server and the handles share. The lock is never held across an await.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    client: reqwest::Client,
    delivery: WebhookDelivery,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panicking test predicate must not take the server down with it: reads leave the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the account and wakes everyone in [`Simulated::wait_until`].
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The command is sent here and now; the future only waits for it to be carried out.
        drop(self.server.stop(false));
    }
}

impl Simulated {
    /// Binds 127.0.0.1 and serves. Fails when the port is taken. Must be called within a tokio runtime, which
    /// must outlive the simulation.
    pub fn start(config: SimulatedConfig) -> io::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            delivery: config.webhooks.clone(),
            state: Mutex::new(State::new(config)),
            changed: watch::Sender::new(()),
            client,
        });
        let port = shared.lock().config.port;
        let (server, port) = http::serve(shared.clone(), port)?;
        Ok(Self(Arc::new(Running { shared, server, port })))
    }

    /// The base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// Closes the listener and every connection; what the simulation knows stays readable.
    pub async fn stop(&self) {
        self.0.server.stop(false).await;
    }

    /// Looks at the account. Do not block inside: every request waits meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.shared.lock())
    }

    /// Waits until `holds` says so, looking again after each change and each request. Fails after `deadline`.
    pub async fn wait_until(
        &self,
        deadline: Duration,
        mut holds: impl FnMut(&State) -> bool,
    ) -> Result<(), Elapsed> {
        let mut changed = self.0.shared.changed.subscribe();
        tokio::time::timeout(deadline, async {
            while !holds(&self.0.shared.lock()) {
                // Cannot fail: `self` holds the sender.
                let _ = changed.changed().await;
            }
        })
        .await
    }

    /// Adds an agent, or replaces what is known of one.
    pub fn add_agent(&self, spec: AgentSpec) {
        self.0.shared.change(|state| state.add_agent(spec));
    }

    /// The agent's own switch. `false` for a stranger.
    pub fn set_presence(&self, agent: AgentId, online: bool) -> bool {
        self.0.shared.change(|state| state.edit_agent(agent, |spec| spec.online = online))
    }

    /// The operator's switch. `false` for a stranger.
    pub fn set_force_offline(&self, agent: AgentId, force_offline: bool) -> bool {
        self.0.shared.change(|state| state.edit_agent(agent, |spec| spec.force_offline = force_offline))
    }

    /// Closes an agent's account. They leave every roster; rooms they serve stay theirs until somebody takes their place.
    /// `false` for a stranger.
    pub fn delete_agent(&self, agent: AgentId) -> bool {
        self.0.shared.change(|state| state.delete_agent(agent))
    }

    /// Takes an agent out of a channel. `false` for a stranger.
    pub fn leave_channel(&self, agent: AgentId, channel: InboxId) -> bool {
        self.0
            .shared
            .change(|state| state.edit_agent(agent, |spec| spec.channels.retain(|one| *one != channel)))
    }

    /// Makes every token issued so far worthless; the next login answers a new one.
    pub fn expire_tokens(&self) {
        self.0.shared.change(State::expire_tokens);
    }

    /// Puts a fault in force, behind those already there.
    pub fn set_fault(&self, fault: Fault) -> FaultId {
        self.0.shared.change(|state| {
            let State { agents, faults, .. } = state;
            faults.set(fault, || agents.iter().map(|(id, member)| (*id, member.load())).collect())
        })
    }

    /// Ends one fault. `false`: it was used up or cleared before.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        self.0.shared.change(|state| state.faults.clear_one(id))
    }

    /// Ends every fault. Requests already struck stay struck.
    pub fn clear_faults(&self) {
        self.0.shared.change(|state| state.faults.clear());
    }

    /// A customer writes: opens the room's session or adds to it. Returns the allocation webhook's body; `None`
    /// when an agent is in the room, for then the platform sends none. Nothing is sent.
    pub fn new_chat(&self, room: &str, channel: InboxId) -> Option<Value> {
        self.0.shared.change(|state| state.customer_message(room, Some(channel)))
    }

    /// Someone resolves the room: `by`, or else the agent in it, or else the owner. Frees everyone in it and
    /// returns the resolve webhook's body; `None` when no session is open. Nothing is sent.
    pub fn resolve(&self, room: &str, by: Option<AgentId>) -> Option<Value> {
        self.0.shared.change(|state| state.dashboard_resolve(room, by))
    }

    /// A person adds `agent` to the room in the dashboard, beside whoever is there. `false`: nothing changed.
    pub fn dashboard_assign(&self, room: &str, agent: AgentId) -> bool {
        self.0.shared.change(|state| state.join(room, agent, By::Dashboard, usize::MAX, false) == Ok(true))
    }

    /// A person gives the room's latest agent's place to `to`. `false`: nothing changed.
    pub fn dashboard_transfer(&self, room: &str, to: AgentId) -> bool {
        self.0.shared.change(|state| state.join(room, to, By::Dashboard, 1, true) == Ok(true))
    }

    /// Open rooms the agent holds: the truth.
    #[must_use]
    pub fn load(&self, agent: AgentId) -> u32 {
        self.read(|state| state.load(agent))
    }

    /// The most open rooms the agent ever held at once.
    #[must_use]
    pub fn max_load_seen(&self, agent: AgentId) -> u32 {
        self.read(|state| state.max_load_seen(agent))
    }

    /// The agent in the room.
    #[must_use]
    pub fn agent_of(&self, room: &str) -> Option<AgentId> {
        self.read(|state| state.agent_of(room))
    }

    /// Rooms that wait, the longest silent customer first.
    #[must_use]
    pub fn waiting(&self) -> Vec<Arc<str>> {
        self.read(State::waiting)
    }

    /// Every change that took effect, in order.
    #[must_use]
    pub fn applied(&self) -> Vec<Applied> {
        self.read(|state| state.applied().to_vec())
    }

    /// The API requests, in the order they were finished.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.read(|state| state.requests().iter().cloned().collect())
    }

    /// The first agent of every session that got one, in order: room, agent, instant.
    #[must_use]
    pub fn assign_order(&self) -> Vec<(Arc<str>, AgentId, Instant)> {
        self.read(State::assign_order)
    }

    /// Points both webhooks at a Sebastian that listens at `base_url`, on its plain paths.
    pub fn send_webhooks_to(&self, base_url: &str) {
        let base = base_url.trim_end_matches('/');
        self.set_webhooks(
            Some(format!("{base}/webhook-incoming-message")),
            Some(format!("{base}/webhook-mark-as-resolved")),
        );
    }

    /// Points each webhook at a URL of its own; `None` switches it off.
    pub fn set_webhooks(&self, allocate: Option<String>, resolve: Option<String>) {
        let hook = |url: Option<String>| state::Hook { enabled: url.is_some(), url };
        self.0.shared.change(|state| {
            state.hooks = state::Hooks { allocate: hook(allocate), resolve: hook(resolve) };
        });
    }

    /// Where each webhook goes now; `None` where it is unset or switched off.
    #[must_use]
    pub fn webhooks(&self) -> WebhookUrls {
        let url = |hook: &state::Hook| hook.url.clone().filter(|_| hook.enabled);
        self.read(|state| WebhookUrls {
            allocate: url(&state.hooks.allocate),
            resolve: url(&state.hooks.resolve),
        })
    }

    /// A customer writes and the platform sends the allocation webhook, if it sends one: `None` when an agent is
    /// in the room. Returns after the last answer.
    pub async fn customer_writes(&self, room: &str, channel: InboxId) -> Option<Delivery> {
        let body = self.new_chat(room, channel)?;
        let statuses = self.0.shared.send_allocation(&body).await;
        Some(Delivery { body, statuses })
    }

    /// The agent in the room resolves it and the platform sends the webhook. `None` when no session is open.
    pub async fn agent_resolves(&self, room: &str) -> Option<Delivery> {
        let body = self.resolve(room, None)?;
        let statuses = self.0.shared.send_resolve(&body).await;
        Some(Delivery { body, statuses })
    }
}
