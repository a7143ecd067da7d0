//! `sebastian explain`, on a real ledger and a real roster cache, with a test in the worker's place.

use std::{fs, sync::Arc, time::Duration};

use sebastian_core::{
    AccountId, Agent, AgentId, EventKind, Hints, InboxId, NewEvent, Policy, Presence, Role, RoomId, Roster,
    Settlement, Source, Timing, Verdict, decide,
};
use sebastian_roster::{RedisRosterCache, RedisServer, RosterCache, SavedRosterCache};
use sebastian_store::{Attempt, Decide, PostgresStore, Reservation, SqliteStore, Store};
use sebastian_testkit::{Database, Redis};
use serde_json::Value;

use crate::processes::{Folder, SOON};

const INBOX: InboxId = InboxId(88_121);

const SETTINGS: &str = "qiscus: { app_id: desk-1 }\nwebhook: { max_current_customer: 1 }\n";

/// An agent who was refused may be tried again at once.
fn timing() -> Timing {
    Timing { refusal: Duration::ZERO, ..Timing::default() }
}

/// A ledger with an account, and a folder from which commands find it.
pub struct Desk {
    pub store: Arc<dyn Store>,
    pub account: AccountId,
    pub cache: Arc<dyn RosterCache>,
    pub folder: Folder,
    servers: Option<(Database, Redis)>,
}

impl Desk {
    pub async fn on_servers() -> Self {
        let (database, redis) = (Database::create().await, Redis::start().await);
        let store = PostgresStore::new(&database.url(), 2, timing()).unwrap();
        store.migrate().await.unwrap();
        let server = RedisServer::parse(&redis.url(), "sebastian").unwrap();
        let folder = Folder::with(&format!(
            "db: {{ connection_string: \"{}\" }}\nredis: {{ url: \"{}\" }}\n{SETTINGS}",
            database.url(),
            redis.url(),
        ));
        let cache = Arc::new(RedisRosterCache::new(&server));
        Self::of(Arc::new(store), cache, folder, Some((database, redis))).await
    }

    pub async fn in_a_folder() -> Self {
        let folder = Folder::with(SETTINGS);
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let store = SqliteStore::open(&data.join("ledger.db"), timing()).unwrap();
        store.migrate().await.unwrap();
        let cache = Arc::new(SavedRosterCache::new(data.join("roster.json")));
        Self::of(Arc::new(store), cache, folder, None).await
    }

    async fn of(
        store: Arc<dyn Store>,
        cache: Arc<dyn RosterCache>,
        folder: Folder,
        servers: Option<(Database, Redis)>,
    ) -> Self {
        let account = store.open_account("qiscus", "desk-1").await.unwrap();
        Self { store, account, cache, folder, servers }
    }

    /// The Redis of a desk on servers.
    pub fn redis(&self) -> &Redis {
        let (_, redis) = self.servers.as_ref().expect("a desk on servers");
        redis
    }

    /// What a change ends with that made `version` of the rules.
    pub fn in_force(&self, version: u32) -> String {
        let how = match self.servers {
            Some(_) => " holds from the next decision on",
            None => " holds; the workers were not woken, and see it at their next sweep",
        };
        format!("version {version} of the rules{how}\n")
    }

    /// Ayu is there and Bima is not.
    pub async fn roster(&self) -> Roster {
        let agent = |id, name: &str, presence| Agent {
            id: AgentId(id),
            name: name.to_owned(),
            role: Role::Agent,
            presence,
            forced_offline: false,
            inboxes: Some(vec![INBOX]),
            reported_load: None,
            listed: true,
            online_since: None,
        };
        let agents = vec![agent(7, "Ayu", Presence::Online), agent(210_432, "Bima", Presence::Offline)];
        Roster::new(1, self.store.now().await.unwrap(), agents)
    }

    /// Publishes that roster.
    pub async fn show_roster(&self) {
        assert!(self.cache.publish(self.account, &self.roster().await).await.unwrap());
    }

    pub async fn accept(&self, rooms: &[&str]) {
        let kind = EventKind::Allocate { inbox: Some(INBOX), latest_service: None, hints: Hints::default() };
        let room = |id: &&str| RoomId::parse(id).unwrap();
        let event = |id| NewEvent { room: room(id), kind: kind.clone(), source: Source::Webhook };
        let events: Vec<NewEvent> = rooms.iter().map(event).collect();
        self.store.accept(self.account, &events).await.unwrap();
    }

    /// Folds, and assigns as far as there is room and the rules allow. Returns the rooms that were.
    pub async fn work(&self) -> Vec<String> {
        let reserved = self.reserve().await;
        let attempts: Vec<Attempt> = reserved.iter().map(|one| one.attempt).collect();
        self.store.confirm(self.account, &attempts).await.unwrap();
        reserved.iter().map(|one| one.room.to_string()).collect()
    }

    /// As [`Desk::work`], with a platform that refuses every agent.
    pub async fn refuse(&self) -> Vec<String> {
        let reserved = self.reserve().await;
        let refused = |one: &Reservation| Settlement {
            conversation: one.attempt.conversation,
            attempt: one.attempt.number,
            verdict: Verdict::Released { refused: true },
        };
        let settlements: Vec<Settlement> = reserved.iter().map(refused).collect();
        self.store.settle(self.account, &settlements).await.unwrap();
        reserved.iter().map(|one| one.room.to_string()).collect()
    }

    async fn reserve(&self) -> Vec<Reservation> {
        let policy = Policy { capacity: Some(1), ..Policy::default() };
        let (account, roster) = (self.account, Arc::new(self.roster().await));
        let request =
            Decide { account, roster, answers: Arc::default(), policy: &policy, limit: 10, record: true };
        let decided = self.store.decide(&request, &|snapshot, now| decide(snapshot, &policy, now)).await;
        decided.unwrap().reserved
    }

    /// What a command prints as JSON.
    pub async fn run(&self, arguments: &[&str]) -> Value {
        let child = self.folder.start_with(arguments, &[("USER", "citra")]);
        let code = child.wait(SOON).await.code();
        assert_eq!(code, Some(0), "{}", child.output());
        serde_json::from_str(&child.output()).unwrap_or_else(|error| panic!("{error}: {}", child.output()))
    }

    /// The exit code and everything a command prints.
    pub async fn tell(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let child = self.folder.start_with(arguments, &[("USER", "citra")]);
        let code = child.wait(SOON).await.code();
        (code, child.output())
    }

    async fn explain(&self, room: &str) -> (Option<i32>, String) {
        self.tell(&["explain", room]).await
    }
}

/// Runs each promise on both ledgers.
macro_rules! on_servers_and_in_a_folder {
    ($($promise:ident,)*) => {
        $(
            mod $promise {
                #[tokio::test]
                async fn on_servers() {
                    super::$promise($crate::explain::Desk::on_servers().await).await;
                }

                #[tokio::test]
                async fn in_a_folder() {
                    super::$promise($crate::explain::Desk::in_a_folder().await).await;
                }
            }
        )*
    };
}
pub(crate) use on_servers_and_in_a_folder;

on_servers_and_in_a_folder! {
    a_waiting_room_is_explained_in_a_sentence_and_a_table,
    one_that_is_served_is_explained_by_the_decision_that_gave_it,
    a_room_that_is_unknown_or_not_a_room_is_an_error_that_says_so,
}

async fn a_waiting_room_is_explained_in_a_sentence_and_a_table(desk: Desk) {
    desk.accept(&["101", "102", "103"]).await;
    desk.work().await;

    let (code, without_roster) = desk.explain("103").await;
    assert_eq!(code, Some(0), "{without_roster}");
    assert!(
        without_roster.contains("position 2; there is no roster: a worker has to poll"),
        "{without_roster}"
    );

    desk.show_roster().await;
    let (code, told) = desk.explain("103").await;
    assert_eq!(code, Some(0), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].starts_with("room 103: waiting ")
            && lines[0].ends_with(" s, position 2; Ayu is full (1/1), Bima is offline"),
        "{told}"
    );
    assert!(lines[1].starts_with("conversation 3 in inbox 88121, opened at 20"), "{told}");
    assert!(lines[1].ends_with(" UTC, 0 attempts so far"), "{told}");
    assert_eq!(lines[2], "dealt by the account's own policy: balanced, earliest first");
    let table =
        ["", "agent   name  load  why not", "7       Ayu   1/1   full (1/1)", "210432  Bima  0/1   offline"];
    assert_eq!(lines[3..], table, "{told}");

    let json = desk.run(&["explain", "103", "--json"]).await;
    assert_eq!(json["position"], 2, "{json}");
    assert_eq!(json["agents"][0]["detail"], "is full (1/1)");
}

async fn one_that_is_served_is_explained_by_the_decision_that_gave_it(desk: Desk) {
    desk.show_roster().await;
    desk.accept(&["101"]).await;
    assert_eq!(desk.work().await, ["101"]);

    let (code, told) = desk.explain("101").await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.starts_with("room 101: assigned to Ayu since 20"), "{told}");
    let why = " s: the only one who could take it (0/1); Bima was offline; under the account's own policy\n";
    assert!(told.contains("; given to Ayu after ") && told.contains(why), "{told}");
    assert!(told.contains(", 1 attempt so far\n"), "{told}");

    let decision = desk.run(&["explain", "101", "--json"]).await["decision"].clone();
    assert_eq!((&decision["chosen"], &decision["policy_version"]), (&7.into(), &0.into()), "{decision}");
    assert_eq!(decision["candidates"][1]["reason"], "presence", "{decision}");
    assert_eq!(decision["differs"], Value::Null);
}

async fn a_room_that_is_unknown_or_not_a_room_is_an_error_that_says_so(desk: Desk) {
    desk.accept(&["101"]).await;

    let (code, told) = desk.explain("102").await;
    let unknown = "room 102 has no conversation: the ledger never heard of it, or has purged it";
    assert_eq!((code, told.trim_end()), (Some(1), format!("sebastian: {unknown}").as_str()));
    let (code, told) = desk.explain("101").await;
    assert!(code == Some(1) && told.contains("its webhook was accepted and waits for a worker"), "{told}");
    let (code, told) = desk.explain(" ").await;
    assert!(code == Some(2) && told.contains("is empty"), "{told}");
}
