//! What the two ledgers must agree on when everybody stands still, and the promises over the whole history.

use std::collections::{BTreeMap, BTreeSet};

use sebastian_core::{
    AccountId, AgentId, Conversation, RoomId, Seq, State, Timestamp,
    invariants::{self, Violation},
};
use sebastian_platform::simulated::{Applied, By, Change, SimulatedConfig};
use sebastian_store::{Counts, Selection, Store, StoreError};
use sebastian_testkit::eventually;
use tokio_postgres::NoTls;

use super::{people::Worked, post::Kind};
use crate::acceptance::house::{House, PATIENCE, QUICK, rooms};

/// More than any run has.
const LIST_MAX: u32 = 100_000_000;

/// Rooms shown of one kind of trouble.
const SHOWN: usize = 5;

/// Places in line in the order of first reservations. Left out are the conversations that were opened, in the place of a
/// message that came before it, by the end of the session before theirs: they sit out until their room was read back.
const FIRST_RESERVATIONS: &str = "
    SELECT position
    FROM conversations own
    WHERE decided_no IS NOT NULL AND NOT EXISTS (
        SELECT 1
        FROM conversations before
        WHERE before.room_id = own.room_id AND before.id < own.id AND before.closed_at > own.opened_at)
    ORDER BY decided_no";

/// Webhooks stored, by kind and room.
const STORED: &str = "
    SELECT kind, room_id, COUNT(*)
    FROM events
    WHERE source = 'webhook'
    GROUP BY kind, room_id";

/// What is looked at, over and over, until it adds up.
pub struct Judge<'a> {
    pub house: &'a House,
    pub worked: &'a Worked,
    /// How many webhooks were accepted, by kind and room.
    pub accepted: BTreeMap<(Kind, String), u64>,
    /// Those who may be dealt chats.
    pub eligible: BTreeSet<AgentId>,
}

/// Our ledger at one look.
pub struct Books {
    counts: Counts,
    unresolved: Vec<Conversation>,
    loads: BTreeMap<AgentId, u32>,
}

impl Books {
    pub async fn read(store: &dyn Store, account: AccountId) -> Result<Self, StoreError> {
        let counts = store.counts(account).await?;
        let unresolved = store.list(account, &Selection::Unresolved, LIST_MAX).await?.conversations;
        let loads = store.loads(account, Timestamp::default()).await?;
        Ok(Self {
            counts,
            unresolved: unresolved.into_iter().map(|one| one.conversation).collect(),
            loads: loads.into_iter().map(|(agent, load)| (agent, load.open)).collect(),
        })
    }

    fn load(&self, agent: AgentId) -> u32 {
        self.loads.get(&agent).copied().unwrap_or(0)
    }
}

impl Judge<'_> {
    /// Of what our ledger knows: nobody waits in line while somebody has room in both ledgers. What it does not know, as a
    /// room or a resolve whose webhook was lost, may take a reconciler longer.
    pub fn in_vain(&self, books: &Books) -> Vec<Violation> {
        let in_line = books.unresolved.iter().filter(|one| one.state == State::Waiting { park: None });
        let in_line: BTreeMap<&RoomId, &Conversation> = in_line.map(|one| (&one.room, one)).collect();
        let free = |agent: &AgentId| books.load(*agent) < self.house.capacity && self.has_room(*agent);
        let could = |room: &RoomId| {
            self.eligible.iter().copied().find(|one| free(one) && !refuses(in_line[room], *one))
        };
        let mut violations = invariants::none_waits_in_vain(in_line.keys().copied(), could);
        if books.counts.unfolded > 0 {
            let what = format!("{} accepted webhooks are not folded", books.counts.unfolded);
            violations.push(Violation { id: "I8", what });
        }
        violations
    }

    /// At rest: nothing is under way, no room is lost or held for nobody, both ledgers agree, and nobody waits while
    /// somebody has room.
    pub fn at_rest(&self, books: &Books) -> Vec<Violation> {
        let Books { counts, unresolved, loads } = books;
        let mut violations = Vec::new();
        if counts.reserved + counts.unfolded > 0 {
            let what = format!("{} reserved, {} not folded", counts.reserved, counts.unfolded);
            violations.push(Violation { id: "unfinished", what });
        }
        violations.extend(self.rooms(unresolved));
        let everybody = self.house.tenant.agents.iter().map(|agent| agent.id);
        let theirs: BTreeMap<AgentId, u32> =
            everybody.map(|agent| (agent, self.house.platform.load(agent))).collect();
        violations.extend(invariants::loads_agree(loads, &theirs));
        let mut slots: BTreeMap<AgentId, u32> = loads.keys().map(|agent| (*agent, 0)).collect();
        for agent in unresolved.iter().filter_map(Conversation::slot) {
            *slots.entry(agent).or_default() += 1;
        }
        let counters = slots.iter().map(|(agent, held)| (*agent, books.load(*agent), *held));
        violations.extend(invariants::one_decrement_each([], counters));
        violations
    }

    /// How many wait in our ledger only, for their resolve was lost. They hold nobody's slot, and the platform's answer closes
    /// them when their turn comes: while nobody has room they may stay.
    pub fn over(&self, books: &Books) -> usize {
        let waits = |one: &&Conversation| matches!(one.state, State::Waiting { .. });
        let is_over = |one: &&Conversation| {
            self.house
                .platform
                .read(|state| state.room(one.room.as_str()).is_none_or(|room| room.is_resolved()))
        };
        books.unresolved.iter().filter(waits).filter(is_over).count()
    }

    fn has_room(&self, agent: AgentId) -> bool {
        self.house.platform.load(agent) < self.house.capacity
    }

    /// I1, I2, I5 and I8, room by room.
    fn rooms(&self, unresolved: &[Conversation]) -> Vec<Violation> {
        let mut violations =
            invariants::one_open_each(unresolved.iter().filter(|one| one.is_open()).map(|one| &one.room));
        let ours: BTreeMap<&RoomId, &Conversation> = unresolved.iter().map(|one| (&one.room, one)).collect();
        let mut waiting = Vec::new();
        for name in &self.worked.rooms {
            let room = RoomId::parse(name).unwrap();
            let (is_waiting, serves) = self.house.platform.read(|state| {
                let is_waiting = state.room(name).is_some_and(|room| room.is_waiting());
                (is_waiting, state.agent_of(name))
            });
            let known = ours.get(&room).copied();
            if is_waiting && known.is_none() {
                violations.extend(invariants::none_lost([&room], |_| false));
                continue;
            }
            let held = known.and_then(Conversation::slot);
            let is_over = !is_waiting && serves.is_none();
            let is_kept = known.is_some_and(|one| !matches!(one.state, State::Waiting { .. }));
            if held != serves || (is_over && is_kept) {
                let what =
                    format!("room {room}: ledger {:?}, platform {serves:?}", known.map(|one| &one.state));
                violations.push(Violation { id: "I5", what });
            }
            if is_waiting {
                waiting.push(room);
            }
        }
        let could = |room: &RoomId| {
            self.eligible.iter().copied().find(|one| self.has_room(*one) && !refuses(ours[room], *one))
        };
        violations.extend(invariants::none_waits_in_vain(&waiting, could));
        violations
    }

    /// Everything that holds at any time, over all that happened.
    pub async fn history(&self) -> Vec<Violation> {
        let applied = self.house.platform.applied();
        let given: Vec<(RoomId, i64, AgentId)> = applied.iter().filter_map(given).collect();
        let mut violations = invariants::one_agent_each(given.iter().map(|(room, of, to)| (room, *of, *to)));
        violations.extend(invariants::never_over_capacity(&highest(&applied), self.house.capacity));
        let rows = self.house.rows(FIRST_RESERVATIONS).await;
        let reserved: Vec<Seq> = rows.iter().map(|row| Seq(row[0].parse().unwrap())).collect();
        violations.extend(invariants::first_come_first_served(&reserved));
        let not_to_be_given = given.iter().filter(|(.., agent)| !self.eligible.contains(agent));
        violations.extend(not_to_be_given.map(|(room, _, agent)| Violation {
            id: "I6",
            what: format!("agent {agent} was given room {room} and is none who is dealt chats"),
        }));
        violations.extend(self.every_accepted_webhook_is_stored().await);
        violations
    }

    /// I1, to the letter: what was answered 2xx is a row of the ledger.
    async fn every_accepted_webhook_is_stored(&self) -> Vec<Violation> {
        let rows = self.house.rows(STORED).await;
        let stored: BTreeMap<(&str, &str), u64> =
            rows.iter().map(|row| ((&*row[0], &*row[1]), row[2].parse().unwrap())).collect();
        let count = |kind: Kind, room: &str| stored.get(&(kind.column(), room)).copied().unwrap_or(0);
        let short = self.accepted.iter().filter(|((kind, room), accepted)| count(*kind, room) < **accepted);
        short
            .map(|((kind, room), accepted)| {
                let (kind_name, stored) = (kind.column(), count(*kind, room));
                let what = format!("room {room}: {accepted} {kind_name} webhooks accepted, {stored} stored");
                Violation { id: "I1", what }
            })
            .collect()
    }
}

/// Whether the platform refused this agent for it.
fn refuses(conversation: &Conversation, agent: AgentId) -> bool {
    conversation.refused.iter().any(|(refused, _)| *refused == agent)
}

fn given(change: &Applied) -> Option<(RoomId, i64, AgentId)> {
    let Change::Assigned { agent, by: By::Api, .. } = change.change else { return None };
    Some((RoomId::parse(&change.room).unwrap(), change.service, agent))
}

/// The most chats each agent held at once that we had given them. What people gave them in the dashboard may come on top:
/// their choice wins, whatever the capacity.
fn highest(applied: &[Applied]) -> BTreeMap<AgentId, u32> {
    let mut holder: BTreeMap<i64, AgentId> = BTreeMap::new();
    let (mut held, mut highest) = (BTreeMap::<AgentId, u32>::new(), BTreeMap::<AgentId, u32>::new());
    for change in applied {
        match &change.change {
            Change::Assigned { agent, by: By::Api, .. } => {
                holder.insert(change.service, *agent);
                let now = held.entry(*agent).or_default();
                *now += 1;
                let most = highest.entry(*agent).or_default();
                *most = (*most).max(*now);
            }
            Change::Opened { .. } | Change::Assigned { .. } => {}
            Change::Transferred { .. } | Change::Removed { .. } | Change::Resolved { .. } => {
                if let Some(agent) = holder.remove(&change.service) {
                    *held.entry(agent).or_default() -= 1;
                }
            }
        }
    }
    highest
}

/// Violations as a report shows them: so many of each promise, and the first few.
pub fn in_words(violations: &[Violation]) -> String {
    let mut by_id: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Violation { id, what } in violations {
        by_id.entry(*id).or_default().push(what);
    }
    let line = |(id, whats): (&str, Vec<&str>)| {
        let shown = whats.iter().take(SHOWN).copied().collect::<Vec<_>>().join("\n      ");
        format!("  {id}: {} times\n      {shown}\n", whats.len())
    };
    by_id.into_iter().map(line).collect()
}

/// What the product's own audit found broken, and panics, in what the processes printed.
pub fn admitted(printed: &str) -> Vec<Violation> {
    let said = printed.lines().filter_map(|line| {
        let is_broken = line.contains("promise I") && line.contains(" is broken: ");
        let id = if is_broken { "audit" } else { "panic" };
        (is_broken || line.contains("panicked at")).then(|| Violation { id, what: line.to_owned() })
    });
    said.collect()
}

/// What an honest look at `house` finds broken, at rest and in its history.
async fn broken(house: &House, rooms: &[String]) -> String {
    let judge = Judge {
        house,
        worked: &Worked {
            rooms: rooms.iter().map(|room| room.as_str().into()).collect(),
            ..Worked::default()
        },
        accepted: rooms.iter().map(|room| ((Kind::Allocate, room.clone()), 1)).collect(),
        eligible: house.agents().into_iter().collect(),
    };
    let (store, account) = house.ledger().await;
    let books = Books::read(&*store, account).await.unwrap();
    let violations = [judge.in_vain(&books), judge.at_rest(&books), judge.history().await].concat();
    in_words(&violations)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_of_the_soak_sees_what_is_changed_behind_our_back() {
    let mut house = House::with(SimulatedConfig::desk(2), 2, 0, None, QUICK).await;
    let rooms = rooms(6);
    house.customers_write(&rooms).await;
    house.add_worker().await;
    eventually("four are served and two wait", PATIENCE, async || {
        let broken = broken(&house, &rooms).await;
        if broken.is_empty() && house.count() == 4 { Ok(()) } else { Err(broken) }
    })
    .await;
    house.workers.clear();
    let (client, connection) = tokio_postgres::connect(&house.database_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let doctored = [
        ("I4", "UPDATE conversations SET decided_no = 10 - decided_no WHERE decided_no <= 2"),
        ("I9", "UPDATE agent_loads SET open = open - 1"),
        ("webhooks accepted", "DELETE FROM events"),
        ("is nowhere", "DELETE FROM conversations WHERE state = 'waiting'"),
    ];
    for (seen, sql) in doctored {
        assert!(!broken(&house, &rooms).await.contains(seen), "{sql}");
        assert!(client.execute(sql, &[]).await.unwrap() > 0, "{sql}");
        let broken = broken(&house, &rooms).await;
        assert!(broken.contains(seen), "{sql}: {broken}");
    }
    let served = rooms.iter().find(|room| house.platform.agent_of(room).is_some()).unwrap();
    house.platform.resolve(served, None);
    assert!(broken(&house, &rooms).await.contains(&format!("room {served}: ledger")));
}

#[test]
fn chats_that_people_gave_are_not_counted_against_our_capacity() {
    let (ana, budi) = (AgentId(1), AgentId(2));
    let change = |service, change| Applied {
        seq: 0,
        at: std::time::Instant::now(),
        room: "1".into(),
        service,
        change,
    };
    let assigned = |agent, by| Change::Assigned { agent, by, load: 1, online: true };
    let applied = [
        change(1, assigned(ana, By::Api)),
        change(2, assigned(ana, By::Dashboard)),
        change(1, Change::Transferred { from: ana, to: budi, by: By::Dashboard }),
        change(3, assigned(ana, By::Api)),
        change(3, Change::Resolved { by: ana, served_by: vec![ana] }),
        change(4, assigned(ana, By::Api)),
        change(5, assigned(ana, By::Api)),
    ];
    assert_eq!(highest(&applied), BTreeMap::from([(ana, 2)]));
}
