//! The two kinds of list an account shows: agents, page by page, and rooms, newest first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
    time::Instant,
};

use sebastian_core::{AgentId, Role};
use serde_json::{Value, json};

use super::{
    Change, RosterFault,
    api::Params,
    bodies::room_row,
    clock::Stamp,
    faults::Effects,
    room::Place,
    state::{Member, State},
};

const PAGE_ROWS_DEFAULT: usize = 20;
const ROOM_ROWS_DEFAULT: usize = 50;

/// How a room stood at the moment a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Waiting,
    Served(Vec<AgentId>),
    Resolved,
}

impl State {
    /// `GET /api/v2/admin/agents`: everyone, ascending by id.
    pub(super) fn agents_answer(&self, params: &Params, effects: &Effects) -> Value {
        let agents_only = params.text("user_type_scope").as_deref() == Some("agent");
        let search = params.text("search").map(|text| text.to_lowercase());
        let wanted = |member: &Member| {
            (!agents_only || member.spec.role == Role::Agent)
                && search.as_ref().is_none_or(|text| member.spec.name.to_lowercase().contains(text.as_str()))
        };
        let total = self.agents.values().filter(|member| !member.deleted && wanted(member)).count();
        self.agents_page(params, effects, Some(total), wanted)
    }

    /// `GET /api/v2/admin/service/available_agents`: the agents of the room's channel, offline ones too unless
    /// `is_available_in_room` is true.
    pub(super) fn available_agents_answer(&self, room: &str, params: &Params, effects: &Effects) -> Value {
        let channel = self.room(room).and_then(|room| room.channel);
        let online_only = params.flag("is_available_in_room");
        self.agents_page(params, effects, None, |member| {
            member.spec.role == Role::Agent
                && channel.is_none_or(|channel| member.spec.channels.contains(&channel))
                && (!online_only || member.works())
        })
    }

    fn agents_page(
        &self,
        params: &Params,
        effects: &Effects,
        total: Option<usize>,
        wanted: impl Fn(&Member) -> bool,
    ) -> Value {
        let faults = &effects.roster;
        let limit = params.count("limit").unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, self.config.page_rows_max);
        let after = params.text("cursor_after").and_then(|cursor| read_cursor(&cursor));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut kept = usize::MAX;
        for fault in faults {
            match fault {
                RosterFault::Empty => kept = 0,
                RosterFault::Partial(first) => kept = kept.min(*first),
                _ => {}
            }
        }
        let shown = |member: &Member| !member.deleted && wanted(member);
        let mut rest = self.agents.range((from, Bound::Unbounded)).filter(|(_, member)| shown(member));
        let page: Vec<_> = rest.by_ref().take(limit.min(kept)).collect();
        let more = kept == usize::MAX && rest.next().is_some();
        let mut next = page.last().filter(|_| more).map(|(id, _)| write_cursor(**id));
        if faults.contains(&RosterFault::CursorLoop) {
            next = Some(after.map_or_else(|| write_cursor(AgentId(0)), write_cursor));
        }
        let now = Instant::now();
        let copies = if faults.contains(&RosterFault::Duplicates) { 2 } else { 1 };
        let rows: Vec<Value> = page
            .iter()
            .map(|(_, member)| self.agent_row(member, member.reported(&effects.counts, now), faults))
            .flat_map(|row| std::iter::repeat_n(row, copies))
            .collect();
        let total = total.filter(|_| kept > 0).or(total.map(|_| 0));
        let meta = json!({
            "after": next,
            "before": after.map(write_cursor),
            "per_page": limit,
            "total_count": total,
        });
        if faults.contains(&RosterFault::MetaInsideData) {
            return json!({"data": {"agents": rows, "meta": meta}, "status": 200});
        }
        json!({"data": {"agents": rows}, "meta": meta, "status": 200})
    }

    /// `POST /api/v2/customer_rooms`: newest first, whatever `order` says; cursors are times.
    pub(super) fn rooms_answer(&self, params: &Params, effects: &Effects) -> Value {
        let limit = params.count("limit").unwrap_or(ROOM_ROWS_DEFAULT).clamp(1, self.config.page_rows_max);
        let coarse = |stamp: Stamp| if effects.coarse_cursors { stamp.whole_second() } else { stamp };
        let before = params.text("cursor_after").and_then(|cursor| Stamp::parse(&cursor));
        let after = params.text("cursor_before").and_then(|cursor| Stamp::parse(&cursor));
        let mut rows = self.rooms_asked_for(params, effects).into_iter().rev().filter(|((stamp, _), _)| {
            before.is_none_or(|before| coarse(*stamp) < before) && after.is_none_or(|after| *stamp > after)
        });
        let page: Vec<_> = rows.by_ref().take(limit).collect();
        let more = rows.next().is_some();
        let cursor = |stamp: Stamp| {
            if effects.coarse_cursors { stamp.iso() } else { stamp.iso_micros() }
        };
        json!({
            "data": {"customer_rooms": page.iter().map(|(_, row)| row).collect::<Vec<_>>()},
            "meta": {
                "current_total": page.len(),
                "cursor_after": page.last().filter(|_| more).map(|((stamp, _), _)| cursor(*stamp)),
                "cursor_before": page.first().map(|((stamp, _), _)| cursor(*stamp)),
            },
            "status": 200,
        })
    }

    /// Every row the filters let through, oldest first.
    fn rooms_asked_for(&self, params: &Params, effects: &Effects) -> BTreeMap<Place, Value> {
        let served = params.text("serve_status");
        let resolved = params.text("status").as_deref() == Some("resolved");
        let agents: BTreeSet<AgentId> = params.numbers("user_ids").into_iter().map(AgentId).collect();
        let channels = params.channels();
        let past = effects
            .rooms_lag
            .map(|lag| self.standings_at(Instant::now().checked_sub(lag)))
            .unwrap_or_default();
        let dirty: BTreeSet<Arc<str>> = match served.as_deref() {
            Some("unserved") => self.lately_resolved(effects.dirty_rows),
            _ => BTreeSet::new(),
        };
        let mut places: BTreeSet<Place> = BTreeSet::new();
        if resolved {
            places.extend(self.rooms.values().map(|room| room.place()));
        } else {
            places.extend(self.waiting.iter().filter(|_| agents.is_empty()).cloned());
            let members = self.agents.iter().filter(|(id, _)| agents.is_empty() || agents.contains(id));
            places.extend(members.flat_map(|(_, member)| member.open.iter().cloned()));
        }
        let others = past.keys().chain(&dirty).filter_map(|id| self.rooms.get(id));
        places.extend(others.map(|room| room.place()));
        let shown = places.into_iter().filter_map(|place| {
            let room = self.rooms.get(&place.1)?;
            let standing = past.get(&room.id).cloned().unwrap_or_else(|| self.standing(&room.id));
            let fits_filters = match &standing {
                Standing::Waiting => !resolved && served.as_deref() != Some("served") && agents.is_empty(),
                Standing::Served(by) => {
                    !resolved
                        && served.as_deref() != Some("unserved")
                        && (agents.is_empty() || by.iter().any(|agent| agents.contains(agent)))
                }
                Standing::Resolved => resolved && agents.is_empty(),
            };
            let of_channel =
                channels.is_empty() || room.channel.is_some_and(|channel| channels.contains(&channel.0));
            let wanted = (fits_filters || dirty.contains(&room.id)) && of_channel;
            wanted.then(|| {
                let (waiting, over) = (standing == Standing::Waiting, standing == Standing::Resolved);
                (place, room_row(room, waiting, over))
            })
        });
        shown.collect()
    }

    fn standing(&self, room: &str) -> Standing {
        match self.rooms.get(room) {
            Some(room) if room.is_waiting() => Standing::Waiting,
            Some(room) if !room.is_resolved() => Standing::Served(room.agents.clone()),
            Some(_) | None => Standing::Resolved,
        }
    }

    /// How each room that changed after `cutoff` stood then; `None` reaches back to the beginning.
    fn standings_at(&self, cutoff: Option<Instant>) -> HashMap<Arc<str>, Standing> {
        let mut past = HashMap::new();
        for applied in self.ledger.applied_since(cutoff) {
            let before = match &applied.change {
                Change::Opened { .. } => Standing::Resolved,
                Change::Assigned { .. } => Standing::Waiting,
                Change::Transferred { from, .. } => Standing::Served(vec![*from]),
                Change::Removed { agent, .. } => Standing::Served(vec![*agent]),
                Change::Resolved { served_by, .. } if served_by.is_empty() => Standing::Waiting,
                Change::Resolved { served_by, .. } => Standing::Served(served_by.clone()),
            };
            past.insert(applied.room.clone(), before);
        }
        past
    }

    /// The `rows` rooms resolved last that still are.
    fn lately_resolved(&self, rows: usize) -> BTreeSet<Arc<str>> {
        let resolved = self.applied().iter().rev().filter_map(|applied| match applied.change {
            Change::Resolved { .. } if self.standing(&applied.room) == Standing::Resolved => {
                Some(&applied.room)
            }
            _ => None,
        });
        resolved.take(rows).cloned().collect()
    }
}

/// Cursors of agent lists are opaque; the platform's look like Base64.
fn write_cursor(agent: AgentId) -> String {
    format!("g3QAAAABZAACaWRi{:08X}AA==", agent.0)
}

fn read_cursor(cursor: &str) -> Option<AgentId> {
    let hex = cursor.strip_prefix("g3QAAAABZAACaWRi")?.strip_suffix("AA==")?;
    i64::from_str_radix(hex, 16).ok().map(AgentId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{By, SimulatedConfig};

    #[test]
    fn a_lagging_list_shows_how_rooms_stood() {
        let mut state = State::new(SimulatedConfig::desk(2));
        let (one, two) = (AgentId(300_001), AgentId(300_002));
        for room in ["waited", "served", "moved", "left"] {
            state.message(room, None);
        }
        state.join("served", one, By::Api, 1, false).unwrap();
        state.join("moved", one, By::Api, 1, false).unwrap();
        let cutoff = Instant::now();
        state.join("waited", one, By::Api, 1, false).unwrap();
        state.resolve("waited", one).unwrap();
        state.resolve("served", two).unwrap();
        state.join("moved", two, By::Dashboard, 1, true).unwrap();
        state.leave("moved", two, By::Dashboard).unwrap();
        state.message("new", None);

        let past = state.standings_at(Some(cutoff));

        assert_eq!(past["waited"], Standing::Waiting);
        assert_eq!(past["served"], Standing::Served(vec![one]));
        assert_eq!(past["moved"], Standing::Served(vec![one]));
        assert_eq!(past["new"], Standing::Resolved);
        assert_eq!(past.get("left"), None);
    }
}
