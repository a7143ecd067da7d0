//! `sebastian queue`: what waits, queue by queue, and why it does.

use std::{collections::BTreeMap, fmt::Write};

use sebastian_core::{ConversationId, Park, Priority, QueueKey, State, Timestamp};
use sebastian_ingest::Explained;
use sebastian_store::{Counts, Listed, Selection};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Office, Queue, json as print_json, table};
use crate::{config::Loaded, failure::Failure};

/// Most conversations read; more waiting ones than these are counted and not shown.
const READ_MAX: u32 = 1_000;

/// Most queues explained: each costs a few reads.
const QUEUES_MAX: usize = 50;

/// What stands in a queue.
#[derive(Serialize)]
struct Line {
    inbox: Option<i64>,
    team: Option<i64>,
    /// Its own name, when it has one.
    team_name: Option<String>,
    /// In line, of those read.
    waiting: usize,
    /// Sitting out, of those read.
    parked: usize,
    oldest_waiting_s: u64,
    /// What it is dealt by.
    rules: Value,
    /// Why nothing of it is dealt.
    hold: Option<String>,
    /// Why its first conversation is not given to anybody, in a sentence.
    why: String,
    conversations: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: ConversationId,
    room: String,
    /// Its place in line, the first being 1. Null: it sits out.
    position: Option<u64>,
    waiting_s: u64,
    priority: Option<Priority>,
    /// Null: it does not sit out, or until somebody or its customer takes it up again.
    parked_until: Option<String>,
    /// Why it sits out.
    park_reason: Option<sebastian_core::ParkReason>,
}

/// What waits, as text or as JSON.
pub(crate) async fn queue(loaded: &Loaded, Queue { first, form }: Queue) -> Result<String, Failure> {
    let office = Office::open(loaded).await?;
    let account = office.account.id;
    let counts = office.store.counts(account).await?;
    let waiting = office.store.list(account, &Selection::Waiting, READ_MAX).await?;
    let parked = office.store.list(account, &Selection::Parked, READ_MAX).await?;
    let mut queues: BTreeMap<QueueKey, Vec<Listed>> = BTreeMap::new();
    for listed in waiting.conversations.into_iter().chain(parked.conversations) {
        let conversation = &listed.conversation;
        let key = QueueKey { inbox: conversation.inbox, team: conversation.traits.team };
        queues.entry(key).or_default().push(listed);
    }
    let many = queues.len();
    let mut lines = Vec::new();
    for (key, mut listed) in queues.into_iter().take(QUEUES_MAX) {
        // Those in line by place, then those that sit out.
        listed.sort_by_key(|one| one.place.unwrap_or(u64::MAX));
        lines.extend(line(&office, key, &listed, first, waiting.now).await?);
    }
    if form.json {
        let pause = waiting.pause.map(|pause| pause.until.rfc3339());
        let total =
            json!({ "waiting": counts.waiting, "parked": counts.parked, "unfolded": counts.unfolded });
        return Ok(print_json(&json!({ "total": total, "paused_until": pause, "queues": lines })));
    }
    Ok(text(&counts, &lines, many))
}

/// A queue; `None` when the conversation at its head was dealt with meanwhile.
async fn line(
    office: &Office<'_>,
    key: QueueKey,
    listed: &[Listed],
    first: u32,
    now: Timestamp,
) -> Result<Option<Line>, Failure> {
    let Some(head) = listed.first() else { return Ok(None) };
    let (store, cache, room) = (&*office.store, &*office.cache, &head.conversation.room);
    let explained =
        sebastian_ingest::explain(store, cache, office.account.id, room, &office.config.policy).await?;
    let Explained { explanation, .. } = explained;
    let rules = office.store.rulebook(office.account.id).await?;
    let team = key.team.and_then(|team| rules.teams.get(&team));
    let in_line = listed.iter().filter(|one| one.place.is_some()).count();
    let oldest = listed.iter().map(|one| one.conversation.opened_at).min().unwrap_or(now);
    let shown = usize::try_from(first).unwrap_or(usize::MAX);
    Ok(Some(Line {
        inbox: key.inbox.map(|inbox| inbox.0),
        team: key.team.map(|team| team.0),
        team_name: team.map(|team| team.name.chars().filter(|letter| !letter.is_control()).collect()),
        waiting: in_line,
        parked: listed.len() - in_line,
        oldest_waiting_s: now.since(oldest).as_secs(),
        rules: json!({
            "version": explanation.rules.version, "policy": explanation.rules.policy, "in_words": explanation.rules.in_words(),
        }),
        hold: explanation.hold.map(|hold| hold.detail),
        why: explanation.sentence,
        conversations: listed.iter().take(shown).map(|one| row(one, now)).collect(),
    }))
}

fn row(Listed { conversation, place, .. }: &Listed, now: Timestamp) -> Row {
    let park = match conversation.state {
        State::Waiting { park } => park,
        State::Reserved { .. } | State::Closing { .. } | State::Assigned { .. } | State::Resolved { .. } => {
            None
        }
    };
    Row {
        id: conversation.id,
        room: conversation.room.to_string(),
        position: *place,
        waiting_s: now.since(conversation.opened_at).as_secs(),
        priority: conversation.traits.priority,
        parked_until: park.and_then(Park::ends_at).map(Timestamp::rfc3339),
        park_reason: park.map(|park| park.why),
    }
}

fn text(counts: &Counts, lines: &[Line], queues: usize) -> String {
    let Counts { waiting, parked, unfolded, .. } = counts;
    let mut text = format!("{waiting} waiting, {parked} parked");
    if *unfolded > 0 {
        append(&mut text, format_args!(", {unfolded} accepted and yet to be taken in by a worker"));
    }
    text.push('\n');
    for line in lines {
        append(&mut text, format_args!("\n{}: {}\n", name(line), figures(line)));
        append(
            &mut text,
            format_args!("  dealt by {}\n", line.rules["in_words"].as_str().unwrap_or_default()),
        );
        append(&mut text, format_args!("  first: {}\n", line.why));
        if line.conversations.is_empty() {
            continue;
        }
        let rows = table(
            ["position", "room", "waiting", "priority", "parked"],
            line.conversations.iter().map(cells),
        );
        rows.lines().for_each(|row| append(&mut text, format_args!("  {row}\n")));
    }
    if queues > lines.len() {
        append(&mut text, format_args!("\nand {} queues more\n", queues - lines.len()));
    }
    text
}

fn name(line: &Line) -> String {
    let inbox = line.inbox.map_or_else(|| "unknown inbox".to_owned(), |inbox| format!("inbox {inbox}"));
    match (&line.team_name, line.team) {
        (Some(name), _) => format!("{inbox}, team {name}"),
        (None, Some(team)) => format!("{inbox}, team {team}"),
        (None, None) => inbox,
    }
}

fn figures(line: &Line) -> String {
    let parked = if line.parked == 0 { String::new() } else { format!(", {} parked", line.parked) };
    format!("{} waiting{parked}, oldest {}", line.waiting, span(line.oldest_waiting_s))
}

fn cells(row: &Row) -> [String; 5] {
    let dash = || "-".to_owned();
    let word = |value: Value| value.as_str().map_or_else(dash, str::to_owned);
    let parked = row.park_reason.as_ref().map_or_else(dash, |why| {
        let why = word(json!(why)).replace('_', " ");
        row.parked_until.as_ref().map_or_else(|| why.clone(), |until| format!("{why} until {until}"))
    });
    [
        row.position.map_or_else(dash, |position| position.to_string()),
        row.room.clone(),
        span(row.waiting_s),
        row.priority.map_or_else(dash, |priority| word(json!(priority))),
        parked,
    ]
}

pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("writing to a string cannot fail");
}
