//! A desk whose processes are quick to give up and to take over, and what its two ledgers say.

use std::{collections::BTreeMap, sync::Arc};

use sebastian_core::{AccountId, AgentId, RoomId, State, Timestamp};
use sebastian_platform::simulated::{By, Change, SimulatedConfig};
use sebastian_store::{Selection, Store};
use sebastian_testkit::eventually;
use tokio_postgres::NoTls;

use super::history::History;
use crate::acceptance::house::{House, QUICK, RECOVERY, ours, rooms};

/// More than any test here has.
const LIST_MAX: u32 = 10_000;

/// Text that a failing test prints line by line.
struct Report(String);

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub struct Desk {
    pub house: House,
    pub rooms: Vec<String>,
    pub store: Arc<dyn Store>,
    pub account: AccountId,
}

impl Desk {
    /// One ingest, no worker, and a customer in each of `count` rooms, one after the other.
    pub async fn open(agents: u32, capacity: u32, count: usize) -> Self {
        let house = House::with(SimulatedConfig::desk(agents), capacity, 0, None, QUICK).await;
        let rooms = rooms(count);
        for room in &rooms {
            house.customers_write(std::slice::from_ref(room)).await;
        }
        let (store, account) = house.ledger().await;
        Self { house, rooms, store, account }
    }

    /// Waits until nothing is under way and every promise holds. Fails when that takes longer than a recovery may.
    pub async fn recovers(&self, why: &str) {
        eventually(why, RECOVERY, async || {
            let report = self.history().await.at_rest();
            report.map_err(|broken| Report(format!("{broken}\n{}", self.house.said())))
        })
        .await;
    }

    /// Resolves every chat that is served, over and over, until every customer was served once and nobody is left.
    pub async fn serves_everyone(&self) {
        while self.house.platform.read(|state| ours(state).count()) < self.rooms.len() || self.held() > 0 {
            for room in &self.rooms {
                if self.house.platform.agent_of(room).is_some() {
                    self.house.resolve(room).await;
                }
            }
            self.recovers("the next are served").await;
        }
        let applied = self.house.platform.read(|state| ours(state).count());
        assert_eq!(applied, self.rooms.len(), "{:?}", self.house.platform.applied());
    }

    fn held(&self) -> u32 {
        self.house.agents().into_iter().map(|agent| self.house.platform.load(agent)).sum()
    }

    /// What both ledgers say now.
    pub async fn history(&self) -> History {
        let (store, account, platform) = (&*self.store, self.account, &self.house.platform);
        let counts = store.counts(account).await.unwrap();
        let listed = store.list(account, &Selection::Unresolved, LIST_MAX).await.unwrap().conversations;
        let waiting = listed.into_iter().map(|listed| listed.conversation);
        let waiting = waiting.filter(|conversation| matches!(conversation.state, State::Waiting { .. }));
        let loads = store.loads(account, Timestamp::default()).await.unwrap();
        let loads = loads.into_iter().map(|(agent, load)| (agent, load.open));
        let agents = self.house.agents();
        let on_platform = |count: &dyn Fn(AgentId) -> u32| -> BTreeMap<AgentId, u32> {
            agents.iter().map(|agent| (*agent, count(*agent))).collect()
        };
        let mut history = History {
            accepted: self.rooms.iter().map(|room| RoomId::parse(room).unwrap()).collect(),
            waiting: waiting
                .map(|one| (one.room, one.refused.into_iter().map(|(agent, _)| agent).collect()))
                .collect(),
            reserved: store.first_reservations(account, LIST_MAX).await.unwrap(),
            unfinished: counts.reserved + counts.unfolded,
            loads: (loads.collect(), on_platform(&|agent| platform.load(agent))),
            highest: on_platform(&|agent| platform.max_load_seen(agent)),
            capacity: self.house.capacity,
            ..History::default()
        };
        for change in platform.applied() {
            let room = RoomId::parse(&change.room).unwrap();
            match change.change {
                Change::Assigned { agent, by: By::Api, .. } => {
                    history.applied.push((room, change.service, agent));
                }
                Change::Resolved { .. } => history.resolved.extend([room]),
                Change::Opened { .. }
                | Change::Assigned { .. }
                | Change::Transferred { .. }
                | Change::Removed { .. } => {}
            }
        }
        history
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_behind_our_back_in_the_ledger_is_reported() {
    let mut desk = Desk::open(2, 2, 6).await;
    desk.house.add_worker().await;
    desk.recovers("four are served and two wait").await;
    desk.house.workers.clear();
    let (client, connection) = tokio_postgres::connect(&desk.house.database_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let doctored = [
        ("I4", "UPDATE conversations SET decided_no = 10 - decided_no WHERE decided_no <= 2"),
        ("I5", "UPDATE agent_loads SET open = open - 1"),
        ("I1", "DELETE FROM conversations WHERE state = 'waiting'"),
        ("unfinished", "UPDATE accounts SET folded_seq = folded_seq - 1"),
    ];
    for (id, sql) in doctored {
        assert!(client.execute(sql, &[]).await.unwrap() > 0, "{sql}");
        let report = desk.history().await.at_rest().unwrap_err();
        assert!(report.contains(id), "{sql}: {report}");
    }
}
