//! Who is told of events, and what could not be delivered to them.
//!
//! Subscriptions stand beside the rulebook, in the outbox; a change of one is noted in the audit all the same.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix_web::{http::StatusCode, web::Data};
use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use sebastian_core::{
    NoticeKind,
    rulebook::edit::{EditError, Field, Invalid},
};
use sebastian_courier::Guard;
use sebastian_store::{
    AuditEntry, DeadLetter, NewSubscription, StoreError, Subscription, SubscriptionChange, SubscriptionId,
    outbox::SUBSCRIPTIONS_MAX,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Sent,
    audit::Asked,
    call::{Refusal, Reply},
    refused::Refused,
};
use crate::admin::Admin;

/// The Standard Webhooks specification asks for 24 to 64 bytes.
const SECRET_BYTES: usize = 32;

/// How long an old secret goes on signing unless asked otherwise: a day for receivers to take up the new one.
const OVERLAP_DEFAULT_S: u64 = 24 * 60 * 60;

/// The longest id of a letter that is looked for; those of the ledger have 36 characters.
const LETTER_CHARS_MAX: usize = 64;

/// An old secret that leaked must not live on for longer.
const OVERLAP_MAX_S: u64 = 30 * 24 * 60 * 60;

/// What is asked of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    List,
    Create,
    Show,
    Update,
    Delete,
    RotateSecret,
    DeadLetters,
    Redeliver,
}

/// What is sent of a subscription.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SubscriptionDraft {
    /// Where events are posted: http or https, at a public address.
    url: Field<String>,
    /// Which events: `conversation.assigned`, `conversation.released`, `conversation.waiting_too_long`,
    /// `agent.capacity_reached`, `queue.no_agents`.
    events: Field<Vec<String>>,
    /// Whether anything is sent. Enabling one that was disabled for its failures starts it anew.
    enabled: Field<bool>,
}

/// What is sent to make a new secret.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RotationDraft {
    /// For how many seconds the old secret goes on signing beside the new one; a day unless said.
    overlap_s: Field<i64>,
}

/// A subscription.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SubscriptionView {
    id: i64,
    url: String,
    events: Vec<&'static str>,
    enabled: bool,
    /// Why it is not: `operator`, `gone` (the receiver answered 410), `failing` or `behind`.
    disabled_reason: Option<&'static str>,
    /// When an event was last taken, as RFC 3339 has it.
    delivered_at: Option<String>,
    created_at: String,
    updated_at: String,
    /// What events are signed with. Shown when it is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Events that were given up, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DeadLettersView {
    letters: Vec<DeadLetterView>,
    /// What to send as `before` for the next page. Null: this is the last.
    next_before: Option<String>,
}

/// An event that was given up.
#[derive(Debug, Serialize, JsonSchema)]
struct DeadLetterView {
    /// Its `webhook-id`.
    id: String,
    event: &'static str,
    /// When it happened.
    at: String,
    conversation: Option<i64>,
    room: Option<String>,
    agent: Option<i64>,
    attempts: u32,
    dead_at: String,
    /// What went wrong last.
    trouble: Option<String>,
}

/// Answers `ask`. `letter` is the dead letter the path names, if it does.
pub(super) async fn answer(
    ask: Ask,
    sent: Sent,
    letter: String,
    who: &str,
    admin: Data<Admin>,
) -> Result<Reply, Refused> {
    let (outbox, account) = (Arc::clone(&admin.outbox), admin.account.id);
    let id = SubscriptionId(sent.ids.first().copied().unwrap_or_default());
    match ask {
        Ask::List => {
            let found = outbox.subscriptions(account).await?;
            Ok(Reply::show(&found.iter().map(|one| view(one, false)).collect::<Vec<_>>()))
        }
        Ask::Show => Ok(Reply::show(&view(&find(&admin, id).await?, false))),
        Ask::Create => create(&sent.body, who, &admin).await,
        Ask::Update => update(id, &sent.body, who, &admin).await,
        Ask::Delete => {
            let before = find(&admin, id).await?;
            outbox.unsubscribe(account, id).await?;
            audit(&admin, who, "delete", Some(&before), None).await?;
            Ok(Reply::empty(StatusCode::OK))
        }
        Ask::RotateSecret => rotate(id, &sent.body, who, &admin).await,
        Ask::DeadLetters => {
            find(&admin, id).await?;
            let before = sent.query.iter().find(|(name, _)| name == "before").map(|(_, value)| value.clone());
            if before.as_ref().is_some_and(|before| !may_be_letter(before)) {
                return Err(wrong("before", "is not the id of an event"));
            }
            let rest: Vec<_> = sent.query.into_iter().filter(|(name, _)| name != "before").collect();
            let Asked { limit, .. } = Asked::of(&rest)?;
            let found = outbox.dead_letters(account, id, before.as_deref(), limit).await?;
            Ok(Reply::show(&letters(found, limit)))
        }
        Ask::Redeliver => redeliver(id, &letter, who, &admin).await,
    }
}

/// Whether a text from outside may be looked for as a letter's id: the ledger takes no U+0000.
fn may_be_letter(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    text.len() <= LETTER_CHARS_MAX && text.chars().all(is_plain)
}

async fn redeliver(id: SubscriptionId, letter: &str, who: &str, admin: &Admin) -> Result<Reply, Refused> {
    let subscription = find(admin, id).await?;
    if subscription.disabled.is_some() {
        return Err(wrong("enabled", "is false: nothing is delivered until it is true"));
    }
    if !may_be_letter(letter) || !admin.outbox.redeliver(admin.account.id, id, letter).await? {
        return Err(Refused::NotFound(Some("there is no such dead letter".to_owned())));
    }
    audit(admin, who, "redeliver", Some(&subscription), Some(&subscription)).await?;
    Ok(Reply::empty(StatusCode::ACCEPTED))
}

async fn find(admin: &Admin, id: SubscriptionId) -> Result<Subscription, Refused> {
    let found = admin.outbox.subscription(admin.account.id, id).await?;
    found.ok_or_else(|| unknown(id))
}

async fn create(body: &Value, who: &str, admin: &Admin) -> Result<Reply, Refused> {
    let said = Said::of(body)?;
    let url = said.url.ok_or_else(|| wrong("url", "can't be blank"))?;
    let events = said.events.ok_or_else(|| wrong("events", "can't be blank"))?;
    let url = checked(admin.guard, &url).await?;
    let secret = new_secret()?;
    let made = admin.outbox.subscribe(admin.account.id, NewSubscription { url, events, secret }).await?;
    let Some(made) = made else {
        return Err(wrong("base", &format!("An account has at most {SUBSCRIPTIONS_MAX} subscriptions")));
    };
    let made = match said.enabled {
        Some(false) => {
            change(admin, made.id, SubscriptionChange { enabled: Some(false), ..Default::default() }).await?
        }
        Some(true) | None => made,
    };
    audit(admin, who, "create", None, Some(&made)).await?;
    Ok(Reply::show(&view(&made, true)))
}

async fn update(id: SubscriptionId, body: &Value, who: &str, admin: &Admin) -> Result<Reply, Refused> {
    let before = find(admin, id).await?;
    let Said { url, events, enabled } = Said::of(body)?;
    if url.is_none() && events.is_none() && enabled.is_none() {
        return Ok(Reply::show(&view(&before, false)));
    }
    let url = match url {
        Some(url) => Some(checked(admin.guard, &url).await?),
        None => None,
    };
    let after = change(admin, id, SubscriptionChange { url, events, enabled, secret: None }).await?;
    audit(admin, who, "update", Some(&before), Some(&after)).await?;
    Ok(Reply::show(&view(&after, false)))
}

async fn rotate(id: SubscriptionId, body: &Value, who: &str, admin: &Admin) -> Result<Reply, Refused> {
    let before = find(admin, id).await?;
    let draft = RotationDraft::deserialize(body).map_err(|error| Refused::Body(error.to_string()))?;
    let overlap =
        said(draft.overlap_s, "overlap_s")?.map_or(Some(OVERLAP_DEFAULT_S), |s| u64::try_from(s).ok());
    let Some(overlap) = overlap.filter(|overlap| *overlap <= OVERLAP_MAX_S) else {
        return Err(wrong("overlap_s", &format!("must be from 0 to {OVERLAP_MAX_S}")));
    };
    let secret = Some((new_secret()?, Duration::from_secs(overlap)));
    let after = change(admin, id, SubscriptionChange { secret, ..SubscriptionChange::default() }).await?;
    audit(admin, who, "rotate_secret", Some(&before), Some(&after)).await?;
    Ok(Reply::show(&view(&after, true)))
}

async fn change(
    admin: &Admin,
    id: SubscriptionId,
    change: SubscriptionChange,
) -> Result<Subscription, Refused> {
    let changed = admin.outbox.change_subscription(admin.account.id, id, change).await?;
    changed.ok_or_else(|| unknown(id))
}

/// What was sent, each thing of its kind.
struct Said {
    url: Option<String>,
    events: Option<BTreeSet<NoticeKind>>,
    enabled: Option<bool>,
}

impl Said {
    fn of(body: &Value) -> Result<Self, Refused> {
        let sent = body.get("subscription").unwrap_or(body);
        let draft = SubscriptionDraft::deserialize(sent).map_err(|error| Refused::Body(error.to_string()))?;
        let names = said(draft.events, "events")?;
        let events = names.map(|names| names.iter().map(|name| event(name)).collect()).transpose()?;
        if events.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(wrong("events", "can't be blank"));
        }
        Ok(Self { url: said(draft.url, "url")?, events, enabled: said(draft.enabled, "enabled")? })
    }
}

fn said<T>(field: Field<T>, name: &'static str) -> Result<Option<T>, Refused> {
    match field {
        Field::Absent => Ok(None),
        Field::Null => Err(wrong(name, "can't be blank")),
        Field::Is(value) => Ok(Some(value)),
        Field::Wrong(message) => Err(wrong(name, &message)),
    }
}

fn event(name: &str) -> Result<NoticeKind, Refused> {
    let choices = NoticeKind::ALL.map(NoticeKind::as_str).join(", ");
    NoticeKind::parse(name).ok_or_else(|| wrong("events", &format!("must be among {choices}")))
}

async fn checked(guard: Guard, url: &str) -> Result<String, Refused> {
    match guard.check(url).await {
        Ok(url) => Ok(url.into()),
        Err(refused) => Err(wrong("url", &refused.to_string())),
    }
}

fn wrong(field: &str, message: &str) -> Refused {
    Refusal::from(Invalid::of(field, message)).into()
}

fn unknown(id: SubscriptionId) -> Refused {
    Refusal::from(EditError::Unknown { what: "subscription", id: id.0 }).into()
}

fn new_secret() -> Result<SecretString, Refused> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        StoreError::Broken("the system gives no random bytes".to_owned(), Some(error.into()))
    })?;
    Ok(format!("whsec_{}", STANDARD.encode(bytes)).into())
}

/// Notes a change in the audit, secrets left out. The rulebook stays as it is.
async fn audit(
    admin: &Admin,
    who: &str,
    action: &'static str,
    before: Option<&Subscription>,
    after: Option<&Subscription>,
) -> Result<(), StoreError> {
    let Some(id) = after.or(before).map(|one| one.id.to_string()) else { return Ok(()) };
    let picture = |one: &Subscription| serde_json::to_value(view(one, false)).unwrap_or_default();
    let entry = AuditEntry {
        action,
        resource: "subscription",
        id,
        before: before.map(picture),
        after: after.map(picture),
    };
    admin.store.amend(admin.account.id, who, &mut |_, _| vec![entry.clone()]).await?;
    Ok(())
}

fn view(one: &Subscription, with_secret: bool) -> SubscriptionView {
    SubscriptionView {
        id: one.id.0,
        url: one.url.clone(),
        events: one.events.iter().map(|kind| kind.as_str()).collect(),
        enabled: one.disabled.is_none(),
        disabled_reason: one.disabled.map(|why| why.as_str()),
        delivered_at: one.delivered_at.map(|at| at.rfc3339()),
        created_at: one.created_at.rfc3339(),
        updated_at: one.updated_at.rfc3339(),
        secret: with_secret.then(|| one.secret.expose_secret().to_owned()),
    }
}

fn letters(found: Vec<DeadLetter>, limit: u32) -> DeadLettersView {
    let is_full = u32::try_from(found.len()).is_ok_and(|found| found >= limit);
    let next_before = found.last().map(|last| last.id.clone()).filter(|_| is_full);
    let letter = |dead: DeadLetter| DeadLetterView {
        id: dead.id,
        event: dead.notice.kind.as_str(),
        at: dead.notice.at.rfc3339(),
        conversation: dead.notice.conversation.map(|id| id.0),
        room: dead.notice.room.map(|room| room.to_string()),
        agent: dead.notice.agent.map(|id| id.0),
        attempts: dead.attempts,
        dead_at: dead.dead_at.rfc3339(),
        trouble: dead.trouble,
    };
    DeadLettersView { letters: found.into_iter().map(letter).collect(), next_before }
}
