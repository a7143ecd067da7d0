//! Every endpoint of the API, once: what is served is what the document says.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use sebastian_core::{
    Rulebook,
    rulebook::edit::{
        AgentDraft, CapacityPolicyDraft, InboxDraft, InboxLimitDraft, LeaveDraft, PauseDraft, PolicyDraft,
        TeamDraft,
    },
};

use super::{
    BASE, SHORT,
    audit::AuditView,
    call::{Call, Changed, Refusal, Reply},
    capacity, desk, leaves, policies,
    subscriptions::{Ask, DeadLettersView, RotationDraft, SubscriptionDraft, SubscriptionView},
    teams,
    update::{AcceptedView, ConversationDraft},
    views::{
        AccountView, AgentView, CapacityPolicyView, InboxLimitView, InboxView, InboxesView, LeaveView,
        PolicyView, RoutesView, TeamView,
    },
};
use crate::{agents, conversations};

/// One method of one path.
#[derive(Clone, Copy)]
pub(super) struct Endpoint {
    pub method: Method,
    /// Where it is served.
    pub bases: &'static [&'static str],
    /// Below each of them.
    pub path: &'static str,
    /// In a few words.
    pub summary: &'static str,
    /// What may be asked for in the query.
    pub query: &'static [Parameter],
    /// What is sent, and the key that wraps it, if one does.
    pub takes: Option<(Describe, Option<&'static str>)>,
    /// What is answered, unless nothing.
    pub gives: Option<Describe>,
    /// With which status.
    pub status: u16,
    pub act: Act,
}

/// A parameter of the query: its name, its type, and what it says.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

/// How a type is described.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// What an endpoint does.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Shows something of the newest rulebook.
    Read(fn(&Call<'_>, &Rulebook) -> Result<Reply, Refusal>),
    /// Makes the next version of it.
    Change(fn(&Call<'_>, &mut Rulebook) -> Result<Changed, Refusal>),
    /// Shows what was changed.
    Audit,
    /// Changes what a conversation carries.
    Update,
    /// Shows or changes who is told of events.
    Subscription(Ask),
    /// Shows what goes beyond the rulebook.
    Page(Page),
}

/// What goes beyond the rulebook.
#[derive(Clone, Copy)]
pub(super) enum Page {
    Conversations,
    Conversation,
    Why,
    Agents,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Endpoint {
    fn new(method: Method, path: &'static str, summary: &'static str, act: Act) -> Self {
        let (bases, query) = (&[BASE], &[]);
        Self { method, bases, path, summary, query, takes: None, gives: None, status: 200, act }
    }

    fn at(self, bases: &'static [&'static str]) -> Self {
        Self { bases, ..self }
    }

    fn asks(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Some((of::<T>, None)), ..self }
    }

    fn takes_in<T: JsonSchema>(self, wrapper: &'static str) -> Self {
        Self { takes: Some((of::<T>, Some(wrapper))), ..self }
    }

    fn gives<T: JsonSchema>(self) -> Self {
        Self { gives: Some(of::<T>), ..self }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Every path it is served at.
    pub fn paths(&self) -> impl Iterator<Item = String> + use<> {
        let path = self.path;
        self.bases.iter().map(move |base| format!("{base}{path}"))
    }
}

fn get(
    path: &'static str,
    summary: &'static str,
    act: fn(&Call<'_>, &Rulebook) -> Result<Reply, Refusal>,
) -> Endpoint {
    Endpoint::new(Method::Get, path, summary, Act::Read(act))
}

type Change = fn(&Call<'_>, &mut Rulebook) -> Result<Changed, Refusal>;

fn post(path: &'static str, summary: &'static str, act: Change) -> Endpoint {
    Endpoint::new(Method::Post, path, summary, Act::Change(act))
}

fn put(path: &'static str, summary: &'static str, act: Change) -> Endpoint {
    Endpoint::new(Method::Put, path, summary, Act::Change(act))
}

fn patch(path: &'static str, summary: &'static str, act: Change) -> Endpoint {
    Endpoint::new(Method::Patch, path, summary, Act::Change(act))
}

fn delete(path: &'static str, summary: &'static str, act: Change) -> Endpoint {
    Endpoint::new(Method::Delete, path, summary, Act::Change(act))
}

/// Everything served below `/api/v1`, but for the document that tells of it.
pub(super) fn all() -> Vec<Endpoint> {
    [pages(), assignment_policies(), capacity_policies(), people(), places(), subscriptions()]
        .into_iter()
        .flatten()
        .collect()
}

fn pages() -> Vec<Endpoint> {
    const BOTH: &[&str] = &[BASE, SHORT];
    const ONE: &str = "/conversations/{room}";
    let page = |path, summary, page| Endpoint::new(Method::Get, path, summary, Act::Page(page)).at(BOTH);
    vec![
        page("/conversations", "Conversations that are not resolved, by place in line", Page::Conversations)
            .asks(&[
                ("state", "string", "Only these: waiting, parked, reserved, closing, assigned or resolved"),
                ("limit", "integer", "How many at most, up to 1000; 100 unless told"),
            ])
            .gives::<conversations::List>(),
        page(ONE, "A room's newest conversation, and why it stands where it stands", Page::Conversation)
            .gives::<conversations::One>(),
        page(
            "/conversations/{room}/explain",
            "Why a room's newest conversation waits, or went to whom it went",
            Page::Why,
        )
        .gives::<conversations::Only>(),
        page("/agents", "Every agent of the roster: presence, load, capacity", Page::Agents)
            .at(&[SHORT])
            .gives::<agents::Page>(),
    ]
}

fn assignment_policies() -> Vec<Endpoint> {
    const ALL: &str = "/assignment_policies";
    const ONE: &str = "/assignment_policies/{id}";
    const LINK: &str = "/inboxes/{id}/assignment_policy";
    vec![
        get(ALL, "All assignment policies", policies::list).gives::<Vec<PolicyView>>(),
        post(ALL, "Make an assignment policy", policies::create)
            .takes_in::<PolicyDraft>("assignment_policy")
            .gives::<PolicyView>(),
        get(ONE, "An assignment policy", policies::show).gives::<PolicyView>(),
        put(ONE, "Change what is sent of an assignment policy", policies::update)
            .takes_in::<PolicyDraft>("assignment_policy")
            .gives::<PolicyView>(),
        patch(ONE, "Change what is sent of an assignment policy", policies::update)
            .takes_in::<PolicyDraft>("assignment_policy")
            .gives::<PolicyView>(),
        delete(ONE, "Delete an assignment policy and its links", policies::delete),
        get("/assignment_policies/{id}/inboxes", "Inboxes linked to it", policies::inboxes)
            .gives::<InboxesView>(),
        get(LINK, "The policy an inbox is linked to", policies::show_link).gives::<PolicyView>(),
        post(LINK, "Link an inbox to a policy, in the place of its old one", policies::link)
            .takes::<policies::LinkDraft>()
            .gives::<PolicyView>(),
        delete(LINK, "Take an inbox's policy from it", policies::unlink),
    ]
}

fn capacity_policies() -> Vec<Endpoint> {
    const ALL: &str = "/agent_capacity_policies";
    const ONE: &str = "/agent_capacity_policies/{id}";
    const LIMITS: &str = "/agent_capacity_policies/{id}/inbox_limits";
    const LIMIT: &str = "/agent_capacity_policies/{id}/inbox_limits/{limit}";
    const USERS: &str = "/agent_capacity_policies/{id}/users";
    let change = "Change what is sent of an agent capacity policy";
    vec![
        get(ALL, "All agent capacity policies", capacity::list).gives::<Vec<CapacityPolicyView>>(),
        post(ALL, "Make an agent capacity policy", capacity::create)
            .takes_in::<CapacityPolicyDraft>("agent_capacity_policy")
            .gives::<CapacityPolicyView>(),
        get(ONE, "An agent capacity policy", capacity::show).gives::<CapacityPolicyView>(),
        put(ONE, change, capacity::update)
            .takes_in::<CapacityPolicyDraft>("agent_capacity_policy")
            .gives::<CapacityPolicyView>(),
        patch(ONE, change, capacity::update)
            .takes_in::<CapacityPolicyDraft>("agent_capacity_policy")
            .gives::<CapacityPolicyView>(),
        delete(ONE, "Delete an agent capacity policy", capacity::delete),
        get(LIMITS, "Its limits of inboxes", capacity::limits).gives::<Vec<InboxLimitView>>(),
        post(LIMITS, "Limit an inbox", capacity::add_limit)
            .takes::<InboxLimitDraft>()
            .gives::<InboxLimitView>(),
        put(LIMIT, "Change a limit", capacity::set_limit)
            .takes::<InboxLimitDraft>()
            .gives::<InboxLimitView>(),
        patch(LIMIT, "Change a limit", capacity::set_limit)
            .takes::<InboxLimitDraft>()
            .gives::<InboxLimitView>(),
        delete(LIMIT, "Take a limit out", capacity::remove_limit).status(204),
        get(USERS, "Agents under it", capacity::users).gives::<Vec<AgentView>>(),
        post(USERS, "Put an agent under it, out of whichever they were under", capacity::add_user)
            .takes::<capacity::UserDraft>()
            .gives::<AgentView>(),
        delete(
            "/agent_capacity_policies/{id}/users/{user}",
            "Take an agent out of it",
            capacity::remove_user,
        ),
    ]
}

fn people() -> Vec<Endpoint> {
    const TEAM: &str = "/teams/{id}";
    const MEMBERS: &str = "/teams/{id}/team_members";
    const LEAVE: &str = "/leaves/{id}";
    const AGENT: &str = "/agents/{id}";
    vec![
        get("/teams", "All teams", teams::list).gives::<Vec<TeamView>>(),
        post("/teams", "Make a team", teams::create).takes_in::<TeamDraft>("team").gives::<TeamView>(),
        get(TEAM, "A team", teams::show).gives::<TeamView>(),
        put(TEAM, "Change what is sent of a team", teams::update)
            .takes_in::<TeamDraft>("team")
            .gives::<TeamView>(),
        patch(TEAM, "Change what is sent of a team", teams::update)
            .takes_in::<TeamDraft>("team")
            .gives::<TeamView>(),
        delete(TEAM, "Delete a team", teams::delete),
        get(MEMBERS, "Its members", teams::members).gives::<Vec<AgentView>>(),
        post(MEMBERS, "Add members", teams::add_members)
            .takes::<teams::MembersDraft>()
            .gives::<Vec<AgentView>>(),
        put(MEMBERS, "Set the members", teams::set_members)
            .takes::<teams::MembersDraft>()
            .gives::<Vec<AgentView>>(),
        patch(MEMBERS, "Set the members", teams::set_members)
            .takes::<teams::MembersDraft>()
            .gives::<Vec<AgentView>>(),
        delete(MEMBERS, "Take members out", teams::remove_members).takes::<teams::MembersDraft>(),
        get("/leaves", "All leaves", leaves::list)
            .asks(&[("user_id", "integer", "Only those of this agent")])
            .gives::<Vec<LeaveView>>(),
        post("/leaves", "File a leave", leaves::create).takes_in::<LeaveDraft>("leave").gives::<LeaveView>(),
        get(LEAVE, "A leave", leaves::show).gives::<LeaveView>(),
        put(LEAVE, "Change a pending leave", leaves::update)
            .takes_in::<LeaveDraft>("leave")
            .gives::<LeaveView>(),
        patch(LEAVE, "Change a pending leave", leaves::update)
            .takes_in::<LeaveDraft>("leave")
            .gives::<LeaveView>(),
        delete(LEAVE, "Forget a leave", leaves::delete),
        post(
            "/leaves/{id}/approve",
            "Grant a pending leave; what the agent holds already stays theirs",
            leaves::approve,
        )
        .gives::<LeaveView>(),
        post("/leaves/{id}/reject", "Do not grant a pending leave", leaves::reject).gives::<LeaveView>(),
        post("/leaves/{id}/cancel", "Take a leave back", leaves::cancel).gives::<LeaveView>(),
        get("/agents", "All agents", desk::agents).gives::<Vec<AgentView>>(),
        get(AGENT, "An agent", desk::agent).gives::<AgentView>(),
        patch(AGENT, "Set an agent's weight or capacity", desk::update_agent)
            .takes_in::<AgentDraft>("agent")
            .gives::<AgentView>(),
        post("/agents/{id}/pause", "Give an agent nothing for a while", desk::pause_agent)
            .takes::<PauseDraft>()
            .gives::<AgentView>(),
        post("/agents/{id}/resume", "End an agent's pause", desk::resume_agent).gives::<AgentView>(),
    ]
}

fn places() -> Vec<Endpoint> {
    const INBOX: &str = "/inboxes/{id}";
    vec![
        get("", "The account", desk::account).gives::<AccountView>(),
        post("/pause", "Deal nothing for a while", desk::pause_account)
            .takes::<PauseDraft>()
            .gives::<AccountView>(),
        post("/resume", "End the account's pause", desk::resume_account).gives::<AccountView>(),
        get("/inboxes", "All inboxes that the roster or a rule speaks of", desk::inboxes)
            .gives::<Vec<InboxView>>(),
        get(INBOX, "An inbox", desk::inbox).gives::<InboxView>(),
        patch(INBOX, "Switch an inbox, or set what differs in it from its policy", desk::update_inbox)
            .takes_in::<InboxDraft>("inbox")
            .gives::<InboxView>(),
        post("/inboxes/{id}/pause", "Deal nothing of an inbox for a while", desk::pause_inbox)
            .takes::<PauseDraft>()
            .gives::<InboxView>(),
        post("/inboxes/{id}/resume", "End an inbox's pause", desk::resume_inbox).gives::<InboxView>(),
        get("/routes", "What arriving conversations are given by where they come from", desk::routes)
            .gives::<RoutesView>(),
        put("/routes", "Set all routes", desk::set_routes).takes::<desk::RoutesDraft>().gives::<RoutesView>(),
        Endpoint::new(Method::Get, "/audit", "Changes, newest first", Act::Audit)
            .asks(&[
                ("before", "integer", "Only those before this one: `next_before` of the page before"),
                ("limit", "integer", "How many at most, up to 200; 50 unless told"),
            ])
            .gives::<AuditView>(),
        Endpoint::new(
            Method::Patch,
            "/conversations/{room}",
            "Change what a room's open conversation carries",
            Act::Update,
        )
        .takes::<ConversationDraft>()
        .gives::<AcceptedView>()
        .status(202),
    ]
}

fn subscriptions() -> Vec<Endpoint> {
    const ALL: &str = "/subscriptions";
    const ONE: &str = "/subscriptions/{id}";
    let ask = |method, path, summary, ask| Endpoint::new(method, path, summary, Act::Subscription(ask));
    vec![
        ask(Method::Get, ALL, "All subscriptions to events", Ask::List).gives::<Vec<SubscriptionView>>(),
        ask(
            Method::Post,
            ALL,
            "Subscribe to events; the answer holds the secret they are signed with",
            Ask::Create,
        )
        .takes::<SubscriptionDraft>()
        .gives::<SubscriptionView>(),
        ask(Method::Get, ONE, "A subscription", Ask::Show).gives::<SubscriptionView>(),
        ask(Method::Patch, ONE, "Change what is sent of a subscription", Ask::Update)
            .takes::<SubscriptionDraft>()
            .gives::<SubscriptionView>(),
        ask(Method::Delete, ONE, "Delete a subscription and all that waits for it", Ask::Delete),
        ask(Method::Post, "/subscriptions/{id}/rotate_secret", "Make a new secret", Ask::RotateSecret)
            .takes::<RotationDraft>()
            .gives::<SubscriptionView>(),
        ask(Method::Get, "/subscriptions/{id}/dead_letters", "Events that were given up", Ask::DeadLetters)
            .asks(&[
                ("before", "string", "Only those before this one: `next_before` of the page before"),
                ("limit", "integer", "How many at most, up to 200; 50 unless told"),
            ])
            .gives::<DeadLettersView>(),
        ask(
            Method::Post,
            "/subscriptions/{id}/dead_letters/{letter}/redeliver",
            "Try an event that was given up again",
            Ask::Redeliver,
        )
        .status(202),
    ]
}
