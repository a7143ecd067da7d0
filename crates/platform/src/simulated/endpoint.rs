//! Which endpoint a request means.

use actix_web::http::Method;

/// An endpoint of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /api/v1/auth`
    Auth,
    /// `GET /api/v1/admin/get_profile`
    Profile,
    /// `GET /api/v2/admin/agents`
    Agents,
    /// `GET /api/v2/admin/service/available_agents`
    AvailableAgents,
    /// `POST /api/v1/admin/service/allocate_agent`
    Propose,
    /// `POST /api/v1/admin/service/assign_agent`
    Assign,
    /// `POST /api/v1/admin/service/remove_agent`
    Remove,
    /// `POST /api/v1/admin/service/mark_as_resolved`
    Resolve,
    /// `POST /api/v2/customer_rooms`
    Rooms,
    /// `GET /api/v2/customer_rooms/{room_id}`
    Room,
    /// `POST /api/v1/app/webhook/agent_allocation`
    SetAllocationWebhook,
    /// `POST /api/v1/app/webhook/mark_as_resolved`
    SetResolveWebhook,
    /// `GET /api/v2/admin/webhook_config`
    WebhookConfig,
}

impl Endpoint {
    /// The endpoint at `path`, and the room the path names, if it names one.
    pub(super) fn route<'a>(method: &Method, path: &'a str) -> Option<(Self, Option<&'a str>)> {
        let endpoint = match (method, path) {
            (&Method::POST, "/api/v1/auth") => Self::Auth,
            (&Method::GET, "/api/v1/admin/get_profile") => Self::Profile,
            (&Method::GET, "/api/v2/admin/agents") => Self::Agents,
            (&Method::GET, "/api/v2/admin/service/available_agents") => Self::AvailableAgents,
            (&Method::POST, "/api/v1/admin/service/allocate_agent") => Self::Propose,
            (&Method::POST, "/api/v1/admin/service/assign_agent") => Self::Assign,
            (&Method::POST, "/api/v1/admin/service/remove_agent") => Self::Remove,
            (&Method::POST, "/api/v1/admin/service/mark_as_resolved") => Self::Resolve,
            (&Method::POST, "/api/v2/customer_rooms") => Self::Rooms,
            (&Method::POST, "/api/v1/app/webhook/agent_allocation") => Self::SetAllocationWebhook,
            (&Method::POST, "/api/v1/app/webhook/mark_as_resolved") => Self::SetResolveWebhook,
            (&Method::GET, "/api/v2/admin/webhook_config") => Self::WebhookConfig,
            (&Method::GET, path) => {
                let room = path.strip_prefix("/api/v2/customer_rooms/")?;
                return (!room.is_empty() && !room.contains('/')).then_some((Self::Room, Some(room)));
            }
            _ => return None,
        };
        Some((endpoint, None))
    }
}

/// Which endpoints a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// All of them.
    Everything,
    /// This one.
    Only(Endpoint),
    /// Both lists of agents.
    Rosters,
    /// The list of rooms and the single room.
    Rooms,
    /// Everything that changes something.
    Writes,
}

impl Target {
    /// Whether a fault on `self` strikes `endpoint`.
    pub(super) fn covers(self, endpoint: Endpoint) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(only) => only == endpoint,
            Self::Rosters => matches!(endpoint, Endpoint::Agents | Endpoint::AvailableAgents),
            Self::Rooms => matches!(endpoint, Endpoint::Rooms | Endpoint::Room),
            Self::Writes => matches!(
                endpoint,
                Endpoint::Assign
                    | Endpoint::Remove
                    | Endpoint::Resolve
                    | Endpoint::SetAllocationWebhook
                    | Endpoint::SetResolveWebhook
            ),
        }
    }
}

impl From<Endpoint> for Target {
    fn from(endpoint: Endpoint) -> Self {
        Self::Only(endpoint)
    }
}
