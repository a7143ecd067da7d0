//! The platform's answers, field for field as the fixtures show them, with the secrets real answers carry.

use sebastian_core::{InboxId, Role};
use serde_json::{Map, Value, json};

use super::{
    AgentSpec, Room, RosterFault,
    clock::Stamp,
    state::{Hooks, Member, State},
};

const AVATAR: &str = "https://omnichannel.example/img/default_avatar.svg";
const TENANT_BORN: Stamp = Stamp(1_738_567_211_000_000);
const APP_NUMBER: i64 = 41207;

pub(super) fn type_of(role: Role) -> (i64, &'static str) {
    match role {
        Role::Admin => (1, "admin"),
        Role::Agent => (2, "agent"),
        Role::Supervisor => (3, "supervisor"),
        Role::Other => (4, "custom"),
    }
}

impl State {
    fn sdk_email(&self, spec: &AgentSpec) -> String {
        format!("{}_{}", self.config.app_id, spec.email)
    }

    /// A row of a version 2 list of agents.
    pub(super) fn agent_row(&self, member: &Member, count: Option<i64>, faults: &[RosterFault]) -> Value {
        let spec = &member.spec;
        let (kind, kind_text) = type_of(spec.role);
        let id = spec.id.0;
        let channels = spec.channels.iter().filter_map(|id| self.channels.get(id));
        let mut row = json!({
            "avatar_url": null,
            "created_at": TENANT_BORN.iso(),
            "email": spec.email,
            "force_offline": spec.force_offline,
            "id": id,
            "is_available": spec.online,
            "is_req_otp_reset": null,
            "last_login": spec.online.then(|| self.began.1.iso()),
            "name": spec.name,
            "sdk_email": self.sdk_email(spec),
            "sdk_key": self.config.secret_filler,
            "type": kind,
            "type_as_string": kind_text,
            "user_roles": [{"id": 5501, "name": "General"}],
        });
        if let Some(count) = count {
            row["current_customer_count"] = count.into();
        }
        if faults.contains(&RosterFault::TextIds) {
            row["id"] = id.to_string().into();
        }
        if !faults.contains(&RosterFault::NoChannels) {
            row["user_channels"] =
                channels.map(|channel| json!({"id": channel.id.0, "name": channel.name})).collect();
        }
        row
    }

    /// A user as version 1 answers show one.
    pub(super) fn full_user(&self, spec: &AgentSpec) -> Value {
        let (kind, kind_text) = type_of(spec.role);
        let secret = &self.config.secret_filler;
        json!({
            "id": spec.id.0,
            "name": spec.name,
            "email": spec.email,
            "authentication_token": secret,
            "created_at": TENANT_BORN.plain(),
            "updated_at": self.began.1.plain(),
            "sdk_email": self.sdk_email(spec),
            "sdk_key": secret,
            "is_available": spec.online,
            "type": kind,
            "avatar_url": null,
            "app_id": APP_NUMBER,
            "is_verified": true,
            "notifications_room_id": null,
            "bubble_color": null,
            "qismo_key": secret,
            "direct_login_token": null,
            "last_login": self.began.1.plain(),
            "force_offline": spec.force_offline,
            "deleted_at": null,
            "type_as_string": kind_text,
            "assigned_rules": [],
        })
    }

    fn app(&self) -> Map<String, Value> {
        let Hooks { allocate, resolve } = &self.hooks;
        let app = json!({
            "app_code": self.config.app_id,
            "secret_key": self.config.secret_key,
            "name": self.config.app_name,
            "bot_webhook_url": null,
            "is_bot_enabled": false,
            "is_allocate_agent_webhook_enabled": allocate.enabled,
            "allocate_agent_webhook_url": allocate.url,
            "mark_as_resolved_webhook_url": resolve.url,
            "is_mark_as_resolved_webhook_enabled": resolve.enabled,
            "is_active": true,
            "is_sessional": true,
            "is_agent_allocation_enabled": false,
            "is_agent_takeover_enabled": true,
            "use_latest": false,
            "is_bulk_assignment_enabled": false,
        });
        match app {
            Value::Object(app) => app,
            _ => Map::new(),
        }
    }

    /// What setting a webhook answers: the whole app, its secret key too.
    pub(super) fn app_answer(&self) -> Value {
        let mut app = self.app();
        app.extend([
            ("id".to_owned(), APP_NUMBER.into()),
            ("created_at".to_owned(), TENANT_BORN.plain().into()),
            ("updated_at".to_owned(), Stamp::now().plain().into()),
            ("is_mobile_pn_enabled".to_owned(), true.into()),
            ("is_token_expiring".to_owned(), false.into()),
            ("paid_channel_approved".to_owned(), Value::Null),
            ("free_sessions".to_owned(), 0.into()),
            ("is_force_send_bot".to_owned(), false.into()),
        ]);
        json!({ "data": app })
    }

    /// What a login answers.
    pub(super) fn auth_answer(&self, owner: &AgentSpec) -> Value {
        let secret = &self.config.secret_filler;
        let mut user = self.full_user(owner);
        user["authentication_token"] = self.token.clone().into();
        user["is_toc_agree"] = true.into();
        user["totp_token"] = secret.clone().into();
        user["is_req_otp_reset"] = Value::Null;
        user["last_password_update"] = TENANT_BORN.plain().into();
        user["assigned_rules"] = Value::Null;
        user["app"] = self.app().into();
        json!({
            "data": {
                "user": user,
                "details": {
                    "is_integrated": true,
                    "sdk_user": {
                        "id": 2_200_115,
                        "token": secret,
                        "email": self.sdk_email(owner),
                        "display_name": owner.name,
                        "avatar_url": AVATAR,
                        "extras": {"type": "admin", "user_bubble_color": null},
                    },
                    "app": self.app(),
                },
                "long_lived_token": secret,
                "user_configs": {
                    "notifagentjoining": null,
                    "is_notifagentjoining_enabled": false,
                    "notifmessagecoming": null,
                    "is_notifmessagecoming_enabled": false,
                },
                "use_2fa": false,
                "need_setup_otp": false,
            },
        })
    }

    /// What `get_profile` answers.
    pub(super) fn profile_answer(&self, owner: &AgentSpec) -> Value {
        let (kind, kind_text) = type_of(owner.role);
        json!({
            "data": {
                "id": owner.id.0,
                "name": owner.name,
                "email": owner.email,
                "type": kind,
                "type_as_string": kind_text,
                "app": {"app_code": self.config.app_id, "name": self.config.app_name},
            },
        })
    }

    /// The body of the allocation webhook for `room` as it stands: generation 3.
    pub(super) fn allocation_body(&self, room: &Room) -> Value {
        let candidate = room.channel.and_then(|channel| self.propose(Some(channel), false)).map(|member| {
            let spec = &member.spec;
            let (kind, kind_text) = type_of(spec.role);
            json!({
                "avatar_url": null,
                "created_at": TENANT_BORN.iso(),
                "email": spec.email,
                "force_offline": spec.force_offline,
                "id": spec.id.0,
                "is_available": spec.online,
                "is_verified": true,
                "last_login": self.began.1.iso(),
                "name": spec.name,
                "sdk_email": self.sdk_email(spec),
                "sdk_key": self.config.secret_filler,
                "type": kind,
                "type_as_string": kind_text,
                "updated_at": self.began.1.iso(),
            })
        });
        json!({
            "app_code": self.config.app_id,
            "app_id": self.config.app_id,
            "avatar_url": AVATAR,
            "candidate_agent": candidate,
            "channel": self.channel_of(room),
            "email": room.contact,
            "extras": "{\"additional_extras\":{\"timezone_offset\":7},\"notes\":null,\"timezone_offset\":null,\
                       \"user_properties\":[],\"user_properties_migrated\":true}",
            "is_new_session": room.session.as_ref().is_some_and(|session| session.messages == 1),
            "is_resolved": room.latest.is_some(),
            "latest_service": latest_service(room),
            "name": room.customer_name,
            "room_id": &*room.id,
            "source": room.source,
        })
    }

    /// Whom Qiscus would propose: the first eligible agent with the fewest chats among the first fifty.
    pub(super) fn propose(&self, channel: Option<InboxId>, ignore_availability: bool) -> Option<&Member> {
        let fits = |member: &&Member| {
            (member.works() || ignore_availability)
                && !member.deleted
                && member.spec.role == Role::Agent
                && channel.is_none_or(|channel| member.spec.channels.contains(&channel))
        };
        self.agents.values().filter(fits).take(50).min_by_key(|member| member.load())
    }

    /// A user as a proposal shows one: the load is called `count` there.
    pub(super) fn proposed_user(&self, member: &Member) -> Value {
        let spec = &member.spec;
        json!({
            "id": spec.id.0,
            "name": spec.name,
            "sdk_email": self.sdk_email(spec),
            "email": spec.email,
            "sdk_key": self.config.secret_filler,
            "type": type_of(spec.role).0,
            "is_available": spec.online,
            "avatar_url": null,
            "is_verified": true,
            "force_offline": spec.force_offline,
            "count": member.load(),
        })
    }

    fn channel_of(&self, room: &Room) -> Value {
        let channel = room.channel.and_then(|id| self.channels.get(&id));
        channel.map_or(
            Value::Null,
            |channel| json!({"id": channel.id.0, "name": channel.name, "source": channel.source}),
        )
    }

    /// The body of the mark-as-resolved webhook for the session `room` just closed, resolved by `by`.
    pub(super) fn resolve_body(&self, room: &Room, by: &AgentSpec) -> Value {
        let service = room.latest.as_ref().map_or(0, |latest| latest.service);
        json!({
            "app_code": self.config.app_id,
            "channel": self.channel_of(room),
            "customer": {
                "additional_info": [],
                "avatar": AVATAR,
                "name": room.customer_name,
                "user_id": room.contact,
            },
            "resolved_by": {
                "email": by.email,
                "id": by.id.0,
                "is_available": by.online,
                "name": by.name,
                "type": type_of(by.role).1,
            },
            "service": {
                "first_comment_id": comment_id(service, 1),
                "id": service,
                "is_resolved": true,
                "last_comment_id": comment_id(service, 2),
                "notes": null,
                "room_id": &*room.id,
                "source": room.source,
            },
        })
    }

    /// What resolving by API answers.
    pub(super) fn resolved_answer(&self, room: &Room, by: &AgentSpec, notes: Option<&str>) -> Value {
        let date = |stamp: Stamp| json!({"date": format!("{}.000000", stamp.plain()), "timezone_type": 3, "timezone": "UTC"});
        let latest = room.latest.as_ref();
        let service = latest.map_or(0, |latest| latest.service);
        let opened = latest.map_or(TENANT_BORN, |latest| latest.opened);
        let resolved = latest.map_or(TENANT_BORN, |latest| latest.resolved);
        json!({
            "data": {
                "service": {
                    "notes": notes,
                    "is_resolved": true,
                    "resolved_at": date(resolved),
                    "user_id": by.id.0,
                    "app_id": APP_NUMBER,
                    "room_log_id": room_log_id(room),
                    "room_id": &*room.id,
                    "retrieved_at": date(opened),
                    "first_comment_id": comment_id(service, 1),
                    "last_comment_id": comment_id(service, 2),
                    "updated_at": resolved.plain(),
                    "created_at": opened.plain(),
                    "id": service,
                    "user": self.full_user(by),
                },
                "room_info": {
                    "room": {
                        "room_avatar_url": AVATAR,
                        "room_channel_id": "",
                        "room_id": &*room.id,
                        "room_name": room.customer_name,
                        "room_options": "{}",
                        "room_type": "group",
                    },
                },
            },
        })
    }
}

/// A row of `customer_rooms`. It says whether somebody serves the room, never who.
pub(super) fn room_row(room: &Room, is_waiting: bool, is_resolved: bool) -> Value {
    let last = room.last_message.iso();
    json!({
        "channel_id": room.channel.map(|channel| channel.0),
        "contact_id": 1_037_000,
        "id": room.number,
        "is_calling": false,
        "is_handled_by_bot": false,
        "is_resolved": is_resolved,
        "is_waiting": is_waiting,
        "last_comment_sender": room.contact,
        "last_comment_sender_type": "customer",
        "last_comment_text": "Halo kak",
        "last_comment_timestamp": last,
        "last_customer_comment_text": "Halo kak",
        "last_customer_timestamp": last,
        "name": room.customer_name,
        "room_badge": null,
        "room_id": &*room.id,
        "room_type": "individual",
        "source": room.source,
        "user_avatar_url": AVATAR,
        "user_id": room.contact,
    })
}

fn latest_service(room: &Room) -> Value {
    let Some(latest) = &room.latest else { return Value::Null };
    json!({
        "app_id": APP_NUMBER,
        "created_at": latest.opened.iso(),
        "first_comment_id": comment_id(latest.service, 1),
        "first_comment_timestamp": null,
        "id": latest.service,
        "is_resolved": true,
        "last_comment_id": comment_id(latest.service, 2),
        "notes": null,
        "resolved_at": latest.resolved.iso(),
        "retrieved_at": latest.opened.iso(),
        "room_id": &*room.id,
        "room_log_id": room_log_id(room),
        "updated_at": latest.resolved.iso(),
        "user_id": latest.agent.map(|agent| agent.0),
    })
}

fn comment_id(service: i64, n: i64) -> String {
    (3_120_000_000 + service * 10 + n).to_string()
}

fn room_log_id(room: &Room) -> i64 {
    72_327_117 + room.number
}
