//! The tenant a simulation starts with.

use std::time::Duration;

use sebastian_core::{AgentId, InboxId, Role};

use super::Fault;

/// Everything a simulation starts from. [`Default`] is [`SimulatedConfig::tenant`].
#[derive(Debug, Clone)]
pub struct SimulatedConfig {
    /// Port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// The app code, as `Qiscus-App-Id` and webhooks carry it.
    pub app_id: String,
    /// What `Qiscus-Secret-Key` must say.
    pub secret_key: String,
    /// The tenant's name, as the app object shows it.
    pub app_name: String,
    /// What `POST /api/v1/auth` accepts.
    pub admin_email: String,
    /// What `POST /api/v1/auth` accepts.
    pub admin_password: String,
    /// The first token a login answers; [`super::Simulated::expire_tokens`] replaces it.
    pub admin_token: String,
    /// Fills every other secret-like field an answer carries (`sdk_key`, `authentication_token` of agents, …).
    pub secret_filler: String,
    /// Every customer's name.
    pub customer_name: String,
    /// Everyone who can log in, admins and supervisors too. The first admin owns the account.
    pub agents: Vec<AgentSpec>,
    /// The account's inboxes.
    pub channels: Vec<Channel>,
    /// A room named by an API call and never seen before comes into being, waiting, in no known channel.
    /// So a webhook body posted by hand can be served. Otherwise such a call answers 404.
    pub accept_unknown_rooms: bool,
    /// What a second assign of an agent who is in the room already answers.
    pub assign_again: AssignAgain,
    /// The most rows any page holds, whatever `limit` asks for. Qiscus publishes none.
    pub page_rows_max: usize,
    /// How webhooks are sent.
    pub webhooks: WebhookDelivery,
    /// Faults in force from the start.
    pub faults: Vec<Fault>,
    /// Seeds every draw a fault makes.
    pub seed: u64,
}

/// What assigning an agent to a room they are already in answers. No public material says which is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignAgain {
    /// 200, as if it had been the first.
    Succeeds,
    /// 400 `Cant join room, exceed max agents`, once the room is full.
    ExceedsMaxAgents,
}

/// How the simulation sends webhooks. Qiscus publishes no retry policy, so one attempt is the default.
#[derive(Debug, Clone)]
pub struct WebhookDelivery {
    /// Copies of each allocation webhook, sent at once. Qiscus was seen to send two under load.
    pub allocation_copies: u32,
    /// Attempts per copy until a 2xx.
    pub attempts: u32,
    /// Pause between two attempts.
    pub pause: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// Someone who can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpec {
    /// The platform's number.
    pub id: AgentId,
    /// Display name.
    pub name: String,
    /// Login. Also makes the `sdk_email`.
    pub email: String,
    /// Admin, supervisor or agent.
    pub role: Role,
    /// The agent's own switch, `is_available`.
    pub online: bool,
    /// An operator's switch, `force_offline`.
    pub force_offline: bool,
    /// The channels they serve.
    pub channels: Vec<InboxId>,
}

/// An inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The platform's number.
    pub id: InboxId,
    /// Display name.
    pub name: String,
    /// `wa`, `fb`, …, or a custom channel's identifier key.
    pub source: String,
}

impl AgentSpec {
    /// An online agent who serves `channels`.
    #[must_use]
    pub fn online(id: i64, name: &str, channels: &[InboxId]) -> Self {
        let first_name = name.split(' ').next().unwrap_or(name).to_lowercase();
        Self {
            id: AgentId(id),
            name: name.to_owned(),
            email: format!("{first_name}@tokosenja.example"),
            role: Role::Agent,
            online: true,
            force_offline: false,
            channels: channels.to_vec(),
        }
    }

    fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }
}

impl Channel {
    fn new(id: i64, name: &str, source: &str) -> Self {
        Self { id: InboxId(id), name: name.to_owned(), source: source.to_owned() }
    }
}

impl SimulatedConfig {
    /// The imaginary tenant of the fixtures: eight channels, five agents (one offline, one forced offline,
    /// one on Facebook only), a supervisor and the owner.
    #[must_use]
    pub fn tenant() -> Self {
        let wa_and_web = [InboxId(88121), InboxId(88126)];
        let agent = |id, name| AgentSpec::online(id, name, &wa_and_web);
        Self {
            port: 0,
            app_id: "sbsti-7q2mzk4c1d9xw0a".to_owned(),
            secret_key: "made-up-not-a-secret".to_owned(),
            app_name: "Toko Senja".to_owned(),
            admin_email: "owner@tokosenja.example".to_owned(),
            admin_password: "made-up-password".to_owned(),
            admin_token: "made-up-admin-token".to_owned(),
            secret_filler: "made-up".to_owned(),
            customer_name: "Rina Wijaya".to_owned(),
            agents: vec![
                agent(209_900, "Owner Toko").with_role(Role::Admin),
                agent(209_915, "Sari Supervisor").with_role(Role::Supervisor),
                agent(210_431, "Ayu Lestari"),
                agent(210_432, "Bima Pratama"),
                AgentSpec { online: false, ..agent(210_433, "Citra Dewi") },
                AgentSpec { force_offline: true, ..agent(210_440, "Dimas Adi") },
                AgentSpec::online(210_441, "Eka Nur", &[InboxId(88122)]),
            ],
            channels: vec![
                Channel::new(88121, "WA Toko Senja", "wa"),
                Channel::new(88122, "FB Toko Senja", "fb"),
                Channel::new(88123, "IG tokosenja", "ig"),
                Channel::new(88124, "TG Toko Senja", "telegram"),
                Channel::new(88125, "LINE Toko Senja", "line"),
                Channel::new(88126, "Live Chat Web", "qiscus"),
                Channel::new(88127, "TokoShop Chat", "tokoshop_chat"),
                Channel::new(88128, "support@tokosenja.example", "email"),
            ],
            accept_unknown_rooms: true,
            assign_again: AssignAgain::Succeeds,
            page_rows_max: 1_000,
            webhooks: WebhookDelivery {
                allocation_copies: 1,
                attempts: 1,
                pause: Duration::from_millis(200),
                timeout: Duration::from_secs(10),
            },
            faults: Vec::new(),
            seed: 1,
        }
    }

    /// The same account with `agents` plain online agents, numbered from 300001, on the one channel 88121.
    #[must_use]
    pub fn desk(agents: u32) -> Self {
        let channel = Channel::new(88121, "WA Toko Senja", "wa");
        let admin = AgentSpec::online(209_900, "Owner Toko", &[channel.id]).with_role(Role::Admin);
        let desk = (1..=agents).map(|n| AgentSpec {
            email: format!("agent{n}@tokosenja.example"),
            ..AgentSpec::online(300_000 + i64::from(n), &format!("Agent {n}"), &[channel.id])
        });
        Self {
            agents: std::iter::once(admin).chain(desk).collect(),
            channels: vec![channel],
            ..Self::tenant()
        }
    }
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self::tenant()
    }
}
