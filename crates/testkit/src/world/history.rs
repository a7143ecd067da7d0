//! What happened in a run, in order: what replays are compared by, and what a broken promise is told by.

use std::{collections::BTreeMap, fmt};

use sebastian_core::{AgentId, ConversationId, invariants::Violation};

use super::platform::Ms;

/// Lines a broken promise is told by, the last before it was seen.
const STORY_MAX: usize = 60;

/// Whom something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// All of them.
    World,
    Worker(usize),
    Room(usize),
    Conversation(ConversationId),
    Agent(AgentId),
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub at: Ms,
    pub whose: Whose,
    pub what: &'static str,
    /// An agent, an attempt, how many: what the words call for.
    pub with: i64,
}

/// Everything that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    notes: Vec<Note>,
    /// Where conversations are held.
    rooms: BTreeMap<ConversationId, usize>,
    /// How often what went wrong.
    pub faults: BTreeMap<&'static str, u64>,
}

impl History {
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    pub fn fault(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    pub fn is_held_in(&mut self, id: ConversationId, room: usize) {
        self.rooms.insert(id, room);
    }

    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// One number for all of it.
    pub fn digest(&self) -> u64 {
        let mix = |digest: u64, number: u64| (digest ^ number).wrapping_mul(0x0100_0000_01b3);
        let words = |note: &Note| note.what.bytes().map(u64::from).collect::<Vec<u64>>();
        let numbers = |note: &Note| {
            let (kind, whose) = note.whose.number();
            [note.at, kind, whose.cast_unsigned(), note.with.cast_unsigned()]
        };
        let all = self.notes.iter().flat_map(|note| words(note).into_iter().chain(numbers(note)));
        all.fold(0xcbf2_9ce4_8422_2325, mix)
    }

    /// What led to a broken promise that was seen when so many notes were written: all that befell the rooms,
    /// conversations and agents it names, and whatever befell everybody.
    pub fn story(&self, broken: &Violation, seen: usize) -> Vec<String> {
        let named = self.named(&broken.what);
        let told = |note: &&Note| {
            let is_agents = |agent: &AgentId| {
                note.with == agent.0 && matches!(note.what, "attempt" | "meddles" | "put in" | "is served by")
            };
            named.iter().any(|whose| match whose {
                Whose::Agent(agent) => note.whose == *whose || is_agents(agent),
                Whose::Room(room) => note.whose == *whose || self.room_of(note.whose) == Some(*room),
                Whose::World | Whose::Worker(_) | Whose::Conversation(_) => note.whose == *whose,
            })
        };
        let mut last: Vec<&Note> = self.notes[..seen.min(self.notes.len())].iter().filter(told).collect();
        last.drain(..last.len().saturating_sub(STORY_MAX));
        let first = last.first().map_or(Ms::MAX, |note| note.at);
        let around = self.notes[..seen.min(self.notes.len())].iter().filter(|note| {
            note.at >= first && matches!(note.whose, Whose::World | Whose::Worker(_)) && !told(note)
        });
        last.extend(around);
        last.sort_by_key(|note| note.at);
        last.drain(..last.len().saturating_sub(2 * STORY_MAX));
        last.into_iter().map(|note| self.in_words(note)).collect()
    }

    pub fn in_words(&self, note: &Note) -> String {
        match self.room_of(note.whose) {
            Some(room) if !matches!(note.whose, Whose::Room(_)) => format!("{note} (room-{room})"),
            _ => note.to_string(),
        }
    }

    fn room_of(&self, whose: Whose) -> Option<usize> {
        match whose {
            Whose::Room(room) => Some(room),
            Whose::Conversation(id) => self.rooms.get(&id).copied(),
            Whose::World | Whose::Worker(_) | Whose::Agent(_) => None,
        }
    }

    /// Whom a sentence names: rooms before agents, who serve too many to tell of.
    fn named(&self, sentence: &str) -> Vec<Whose> {
        let words: Vec<&str> = sentence.split([' ', ':', ',']).collect();
        let number = |word: &str| word.parse::<i64>().ok();
        let room = |word: &&str| word.strip_prefix("room-").and_then(|nth| nth.parse().ok());
        let mut named: Vec<Whose> = words.iter().filter_map(room).map(Whose::Room).collect();
        for pair in words.windows(2) {
            if let ("conversation" | "before", Some(id)) = (pair[0], number(pair[1])) {
                let id = ConversationId(id);
                named.push(self.rooms.get(&id).map_or(Whose::Conversation(id), |room| Whose::Room(*room)));
            }
        }
        if named.is_empty() {
            let agents = words.windows(2).filter(|pair| pair[0] == "agent");
            named.extend(agents.filter_map(|pair| Some(Whose::Agent(AgentId(number(pair[1])?)))));
        }
        named
    }
}

impl Whose {
    fn number(self) -> (u64, i64) {
        let index = |nth: usize| i64::try_from(nth).unwrap_or(i64::MAX);
        match self {
            Self::World => (0, 0),
            Self::Worker(nth) => (1, index(nth)),
            Self::Room(nth) => (2, index(nth)),
            Self::Conversation(id) => (3, id.0),
            Self::Agent(id) => (4, id.0),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("everybody"),
            Self::Worker(nth) => write!(f, "worker {nth}"),
            Self::Room(nth) => write!(f, "room-{nth}"),
            Self::Conversation(id) => write!(f, "conversation {id}"),
            Self::Agent(id) => write!(f, "agent {id}"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minute, ms) = (self.at / 60_000, self.at % 60_000);
        let Self { whose, what, with, .. } = self;
        write!(f, "{minute:>4}:{:02}.{:03} {whose}: {what} {with}", ms / 1_000, ms % 1_000)
    }
}
