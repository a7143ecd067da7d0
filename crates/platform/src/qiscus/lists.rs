//! Lists, page by page, to the end or to an error: never a part of one.

use std::collections::HashSet;

use reqwest::Method;
use sebastian_core::{Agent, AgentId, RoomId};
use serde::Serialize;
use tracing::warn;

use super::{
    client::Qiscus,
    cursor::one_unit_later,
    http::{Answer, Effect, Endpoint, PAGE_BYTES_MAX},
    refusal::refusal,
    wire::{self, Page, RoomRow},
};
use crate::{PlatformError, Refusal, Room, UnknownOutcome};

/// Rows asked for per page. The most Qiscus would give is not known.
const PAGE_ROWS: usize = 100;
/// What Qiscus gives unasked; no page it cuts is shorter.
const SMALLEST_PAGE_ROWS: usize = 20;
/// 100,000 agents, or 20,000 where the platform keeps to its own page size: far above any account.
const AGENT_PAGES_MAX: usize = 1_000;
/// 100,000 waiting rooms at half-filled pages, twice what an account is built for.
const ROOM_PAGES_MAX: usize = 2_000;
/// How far a page may grow to hold the rooms of one instant.
const ROOM_PAGE_ROWS_MAX: usize = 1_600;

fn listing(name: &'static str) -> Endpoint {
    Endpoint { name, effect: Effect::Read, bytes_max: PAGE_BYTES_MAX }
}

fn incomplete() -> PlatformError {
    PlatformError::Unknown(UnknownOutcome::Body)
}

/// Every agent of the list at `path`, each once. `room` narrows it to those who may serve that room.
///
/// Fails when a cursor comes back or pages do not end. A row without a readable id is skipped and counted; a page of
/// nothing else is not understood.
pub(super) async fn agents(
    qiscus: &Qiscus,
    name: &'static str,
    path: &str,
    room: Option<&RoomId>,
) -> Result<Vec<Agent>, PlatformError> {
    let mut agents = Vec::new();
    let mut known: HashSet<AgentId> = HashSet::new();
    let mut cursors: HashSet<String> = HashSet::new();
    let mut skipped = 0_usize;
    let mut cursor: Option<String> = None;
    for _ in 0..AGENT_PAGES_MAX {
        let mut request = qiscus.request(Method::GET, path, &[]).query(&[("limit", PAGE_ROWS)]);
        request = request.query(&room.map(|room| ("room_id", room.as_str())).as_slice());
        request = request.query(&cursor.as_deref().map(|cursor| ("cursor_after", cursor)).as_slice());
        let body = match qiscus.http.send(listing(name), request).await? {
            Answer::Success(body) => body,
            Answer::Refused { status, body } => return Err(PlatformError::Rejected(refused(status, &body))),
        };
        let page = wire::page(&body, "agents", "after").ok_or_else(incomplete)?;
        skipped += take_agents(&page, &mut agents, &mut known)?;
        let Some(next) = page.next else {
            report_skipped(name, skipped);
            return Ok(agents);
        };
        if !cursors.insert(next.to_string()) {
            return Err(incomplete());
        }
        cursor = Some(next.into_owned());
    }
    Err(incomplete())
}

/// A list can be refused over the room it is for; what it says of agents means nothing here.
fn refused(status: u16, body: &str) -> Refusal {
    match refusal(status, body) {
        about_room @ (Refusal::RoomUnknown | Refusal::RoomResolved) => about_room,
        Refusal::RoomTaken | Refusal::Agent | Refusal::Other(_) => Refusal::Other(status),
    }
}

/// Adds the page's agents that are not yet known; gives back how many rows could not be read.
fn take_agents(
    page: &Page<'_>,
    agents: &mut Vec<Agent>,
    known: &mut HashSet<AgentId>,
) -> Result<usize, PlatformError> {
    // A full page that speaks of no further one cannot be told from a list cut short.
    let maybe_cut = !page.has_meta && page.rows.len() == PAGE_ROWS;
    let read: Vec<Agent> = page.rows.iter().filter_map(|row| wire::agent(*row)).collect();
    if maybe_cut || (read.is_empty() && !page.rows.is_empty()) {
        return Err(incomplete());
    }
    let skipped = page.rows.len() - read.len();
    agents.extend(read.into_iter().filter(|agent| known.insert(agent.id)));
    Ok(skipped)
}

/// Which rooms to list, as `POST /api/v2/customer_rooms` takes it.
#[derive(Serialize)]
pub(super) struct RoomQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_ids: Option<[AgentId; 1]>,
    pub serve_status: &'static str,
    pub status: &'static str,
}

#[derive(Serialize)]
struct RoomPageQuery<'a> {
    #[serde(flatten)]
    rooms: &'a RoomQuery,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor_after: Option<&'a str>,
}

/// Every room of the query that `keep` keeps, each once, newest first: the filters of Qiscus let others through.
///
/// Pages overlap by one unit of the cursor, so that rooms of the same instant are not passed over. A room that gets a
/// message during the listing moves to the front and may be missed; the next listing has it.
/// Fails when more rooms share an instant than a page can hold, or pages do not end.
pub(super) async fn rooms(
    qiscus: &Qiscus,
    name: &'static str,
    query: &RoomQuery,
    keep: impl Fn(&RoomRow) -> bool,
) -> Result<Vec<Room>, PlatformError> {
    let mut rooms = Vec::new();
    let mut known: HashSet<RoomId> = HashSet::new();
    let mut skipped = 0_usize;
    let mut step = Step::FIRST;
    for _ in 0..ROOM_PAGES_MAX {
        let ask = RoomPageQuery { rooms: query, limit: step.limit, cursor_after: step.cursor.as_deref() };
        let request = qiscus.request(Method::POST, "api/v2/customer_rooms", &[]).json(&ask);
        let body = qiscus.http.send(listing(name), request).await?.success()?;
        let page = wire::page(&body, "customer_rooms", "cursor_after").ok_or_else(incomplete)?;
        let read: Vec<RoomRow> = page.rows.iter().filter_map(|row| wire::room_row(*row)).collect();
        if read.is_empty() && !page.rows.is_empty() {
            return Err(incomplete());
        }
        skipped += page.rows.len() - read.len();
        let known_before = known.len();
        let fresh = read.into_iter().filter(|row| known.insert(row.room.id.clone()));
        rooms.extend(fresh.filter(&keep).map(|row| row.room));
        let has_fresh = known.len() > known_before;
        match step.after(page.rows.len(), page.next.as_deref(), has_fresh)? {
            Some(next) => step = next,
            None => {
                report_skipped(name, skipped);
                return Ok(rooms);
            }
        }
    }
    Err(incomplete())
}

/// Where the next page of rooms is asked from, and how long it may be.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    cursor: Option<String>,
    limit: usize,
    /// The most rows a page had so far: the platform may keep to a limit of its own.
    fullest: usize,
    /// Asks for nothing but what is older than a page that seemed to be the last.
    probe: bool,
}

impl Step {
    const FIRST: Self = Self { cursor: None, limit: PAGE_ROWS, fullest: 0, probe: false };

    /// The step after a page of `rows` that named `next` and held, or not, a room not seen before.
    /// `None`: the list has ended.
    fn after(&self, rows: usize, next: Option<&str>, has_fresh: bool) -> Result<Option<Self>, PlatformError> {
        if self.probe {
            // Something older after a page that was not full: the platform cut it, perhaps within an instant.
            return if has_fresh { Err(incomplete()) } else { Ok(None) };
        }
        let Some(next) = next.filter(|_| rows > 0) else { return Ok(None) };
        let overlap = one_unit_later(next).unwrap_or_else(|| next.to_owned());
        let step =
            |cursor: String| Self { cursor: Some(cursor), fullest: self.fullest.max(rows), ..Self::FIRST };
        if self.cursor.as_ref() != Some(&overlap) {
            return Ok(Some(step(overlap)));
        }
        // The page did not get past the instant it overlaps: it is full of it, or the list ends there.
        let is_full = rows >= self.limit || (rows >= SMALLEST_PAGE_ROWS && rows == self.fullest);
        if is_full && self.limit < ROOM_PAGE_ROWS_MAX {
            return Ok(Some(Self { limit: self.limit * 2, ..step(overlap) }));
        }
        if is_full {
            return Err(incomplete());
        }
        let older = (next != overlap).then(|| Self { probe: true, ..step(next.to_owned()) });
        Ok(older)
    }
}

fn report_skipped(endpoint: &'static str, rows: usize) {
    if rows > 0 {
        warn!(endpoint, rows, "skipped {rows} rows of {endpoint} that cannot be read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-08-18T02:16:30Z";
    const LATER: &str = "2026-08-18T02:16:31Z";

    fn step(cursor: &str, limit: usize, fullest: usize) -> Step {
        Step { cursor: Some(cursor.to_owned()), limit, fullest, probe: false }
    }

    fn after(asked: &Step, rows: usize, next: Option<&str>, has_fresh: bool) -> Option<Step> {
        asked.after(rows, next, has_fresh).expect("no error")
    }

    #[test]
    fn a_page_overlaps_the_instant_the_last_one_ended_in() {
        assert_eq!(after(&Step::FIRST, 100, Some(AT), true), Some(step(LATER, 100, 100)));
    }

    #[test]
    fn a_list_ends_without_a_cursor_or_when_nothing_older_comes() {
        assert_eq!(after(&Step::FIRST, 100, None, true), None);
        assert_eq!(after(&Step::FIRST, 0, Some(AT), false), None);
        let probe = after(&step(LATER, 100, 100), 1, Some(AT), false).expect("one more look");
        assert_eq!(probe, Step { probe: true, ..step(AT, 100, 100) });
        assert_eq!(after(&probe, 1, Some(AT), false), None);
    }

    #[test]
    fn a_page_full_of_one_instant_grows_until_it_holds_it_or_fails() {
        let mut asked = step(LATER, 100, 100);
        for limit in [200, 400, 800, 1_600] {
            let rows = asked.limit;
            asked = after(&asked, rows, Some(AT), true).expect("a longer page");
            assert_eq!(asked, step(LATER, limit, rows));
        }
        assert!(asked.after(1_600, Some(AT), true).is_err());
    }

    #[test]
    fn a_page_the_platform_cut_within_an_instant_is_an_error() {
        let mut asked = step(LATER, 100, 50);
        while asked.limit < ROOM_PAGE_ROWS_MAX {
            asked = after(&asked, 50, Some(AT), false).expect("a longer page");
        }
        assert!(asked.after(50, Some(AT), false).is_err());
        let probe = Step { probe: true, ..step(AT, 100, 60) };
        assert!(probe.after(1, None, true).is_err());
    }

    #[test]
    fn an_opaque_cursor_is_given_back_as_it_came_and_once() {
        let opaque = "g3QAAAABZA";
        assert_eq!(after(&Step::FIRST, 50, Some(opaque), true), Some(step(opaque, 100, 50)));
        assert_eq!(after(&step(opaque, 100, 60), 50, Some(opaque), false), None);
    }
}
