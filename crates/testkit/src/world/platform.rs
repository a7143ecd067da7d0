//! The platform: its truth, what its lists show of it, and what it applied for us.

use sebastian_core::{AgentId, InboxId, RoomId};

/// Milliseconds since the world began.
pub(super) type Ms = u64;

/// Everybody's truth.
#[derive(Default)]
pub(super) struct Platform {
    pub rooms: Vec<Room>,
    pub people: Vec<Person>,
    /// Every assignment made for us: what the checks read.
    pub applied: Vec<Applied>,
    pub last_service: u64,
    /// Whether agents who are offline are refused.
    pub refuses_offline: bool,
}

pub(super) struct Room {
    pub id: RoomId,
    pub inbox: InboxId,
    pub sessions: Vec<Session>,
    /// How it looked from when on.
    past: Vec<(Ms, View)>,
}

#[derive(Debug, Clone)]
pub(super) struct Session {
    pub service: u64,
    pub opened_at: Ms,
    /// Who serves it, and since when nothing about that changed.
    pub agent: Option<AgentId>,
    pub changed_at: Ms,
    pub is_resolved: bool,
    /// How often people took its agent away: from then on another of ours is no second one.
    pub era: i64,
    /// When a webhook that opened it was answered with success.
    pub accepted_at: Option<Ms>,
    /// Every call for it is refused.
    pub is_poison: bool,
}

/// What a list shows of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Unknown,
    Waiting,
    Served(AgentId),
    Resolved,
}

pub(super) struct Person {
    pub id: AgentId,
    pub inboxes: Vec<InboxId>,
    pub is_online: bool,
}

/// An assignment the platform made for us.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub room: usize,
    /// Which session, and which era of it.
    pub session: i64,
    pub agent: AgentId,
}

/// What an assign came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Assigned,
    RoomTaken,
    RoomResolved,
    AgentRefused,
    /// No, for a reason nobody can make out.
    Refused,
}

impl Answer {
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Assigned => "put in",
            Self::RoomTaken => "refused, as it is taken,",
            Self::RoomResolved => "refused, as it is over,",
            Self::AgentRefused => "refused",
            Self::Refused => "refused for no reason",
        }
    }
}

/// Eras a session may have; keeps (session, era) one number.
const ERAS: i64 = 1_000;

impl Room {
    pub fn new(id: RoomId, inbox: InboxId) -> Self {
        Self { id, inbox, sessions: Vec::new(), past: Vec::new() }
    }

    /// The session under way.
    pub fn session(&self) -> Option<&Session> {
        self.sessions.last().filter(|session| !session.is_resolved)
    }

    /// The service of the last session that is over.
    pub fn last_resolved(&self) -> Option<u64> {
        self.sessions.iter().rev().find(|session| session.is_resolved).map(|session| session.service)
    }

    /// How it looked at `at`.
    pub fn seen_at(&self, at: Ms) -> View {
        let then = self.past.iter().rev().find(|(since, _)| *since <= at);
        then.map_or(View::Unknown, |(_, view)| *view)
    }

    fn look(&self) -> View {
        match self.sessions.last() {
            None => View::Unknown,
            Some(session) if session.is_resolved => View::Resolved,
            Some(session) => session.agent.map_or(View::Waiting, View::Served),
        }
    }
}

impl Platform {
    /// A customer writes. True when that opened a session.
    pub fn write(&mut self, room: usize, now: Ms) -> bool {
        let found = &mut self.rooms[room];
        if found.session().is_some() {
            return false;
        }
        self.last_service += 1;
        found.sessions.push(Session {
            service: self.last_service,
            opened_at: now,
            agent: None,
            changed_at: now,
            is_resolved: false,
            era: 0,
            accepted_at: None,
            is_poison: false,
        });
        found.past.push((now, View::Waiting));
        true
    }

    /// Our call: a compare-and-set, of nobody or of the one who is to be replaced.
    pub fn assign(&mut self, room: usize, agent: AgentId, replacing: Option<AgentId>, now: Ms) -> Answer {
        let inbox = self.rooms[room].inbox;
        let may = |person: &&Person| person.is_online || !self.refuses_offline;
        let known = self.people.iter().find(|person| person.id == agent && person.inboxes.contains(&inbox));
        if known.filter(may).is_none() {
            return Answer::AgentRefused;
        }
        let Some(session) = self.rooms[room].session() else { return Answer::RoomResolved };
        if session.is_poison {
            return Answer::Refused;
        }
        if session.agent == Some(agent) {
            return Answer::Assigned;
        }
        if session.agent.is_some() && session.agent != replacing {
            return Answer::RoomTaken;
        }
        let number = i64::try_from(session.service).unwrap_or(0) * ERAS + session.era;
        self.set(room, Some(agent), now);
        self.applied.push(Applied { room, session: number, agent });
        Answer::Assigned
    }

    /// From now on every call for the room's session is refused.
    pub fn poison(&mut self, room: usize) {
        if let Some(session) = self.rooms[room].sessions.last_mut() {
            session.is_poison = true;
        }
    }

    /// Nothing is refused without a reason any more.
    pub fn cure(&mut self) {
        self.rooms
            .iter_mut()
            .filter_map(|room| room.sessions.last_mut())
            .for_each(|one| one.is_poison = false);
    }

    /// Somebody at the dashboard gives the room to `agent`, or takes theirs away.
    pub fn meddle(&mut self, room: usize, agent: Option<AgentId>, now: Ms) {
        self.set(room, agent, now);
        self.new_era(room);
    }

    /// From now on another agent of ours is no second one.
    pub fn new_era(&mut self, room: usize) {
        if let Some(session) = self.rooms[room].sessions.last_mut() {
            session.era += 1;
        }
    }

    fn set(&mut self, room: usize, agent: Option<AgentId>, now: Ms) {
        let Some(session) = self.rooms[room].sessions.last_mut() else { return };
        (session.agent, session.changed_at) = (agent, now);
        self.note(room, now);
    }

    pub fn resolve(&mut self, room: usize, now: Ms) {
        let Some(session) = self.rooms[room].sessions.last_mut() else { return };
        (session.is_resolved, session.changed_at) = (true, now);
        self.note(room, now);
    }

    fn note(&mut self, room: usize, now: Ms) {
        let view = self.rooms[room].look();
        self.rooms[room].past.push((now, view));
    }

    /// Rooms that `chosen` held of at `at`, as a list shows them.
    pub fn list(&self, at: Ms, chosen: impl Fn(View) -> bool) -> Vec<usize> {
        (0..self.rooms.len()).filter(|room| chosen(self.rooms[*room].seen_at(at))).collect()
    }

    /// Rooms that wait, newest first, as the platform lists them.
    pub fn waiting(&self, at: Ms) -> Vec<usize> {
        let mut waiting = self.list(at, |view| view == View::Waiting);
        waiting.sort_by_key(|room| self.rooms[*room].sessions.last().map(|session| session.opened_at));
        waiting.reverse();
        waiting
    }

    pub fn served_by(&self, agent: AgentId, at: Ms) -> Vec<usize> {
        self.list(at, |view| view == View::Served(agent))
    }

    pub fn index(&self, id: &RoomId) -> Option<usize> {
        self.rooms.iter().position(|room| room.id == *id)
    }
}
