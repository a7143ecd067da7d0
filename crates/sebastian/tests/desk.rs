//! A desk from end to end: the real processes from one file, real servers, and the simulated platform over HTTP.

use sebastian_core::InboxId;
use sebastian_platform::simulated::{Simulated, SimulatedConfig, State};
use sebastian_testkit::{Child, Database, Redis};

use crate::processes::{Folder, SOON, address};

const INBOX: InboxId = InboxId(88_121);

/// Two agents, each with room for one chat, and a folder with a configuration for them.
struct Desk {
    platform: Simulated,
    folder: Folder,
    _database: Database,
    _redis: Redis,
}

impl Desk {
    async fn open() -> Self {
        let tenant = SimulatedConfig::desk(2);
        let SimulatedConfig { app_id, secret_key, admin_email, admin_password, .. } = tenant.clone();
        let platform = Simulated::start(tenant).unwrap();
        let (database, redis) = (Database::create().await, Redis::start().await);
        let config = format!(
            "listen: {{ host: 127.0.0.1, port: 0 }}\n\
             webhook: {{ max_current_customer: 1, secret: 0123456789abcdef }}\n\
             db: {{ connection_string: \"{}\" }}\n\
             redis: {{ url: \"{}\" }}\n\
             qiscus: {{ base_url: \"{}\", app_id: {app_id}, secret_key: {secret_key}, email: {admin_email}, \
             password: {admin_password} }}\n",
            database.url(),
            redis.url(),
            platform.url(),
        );
        Self { platform, folder: Folder::with(&config), _database: database, _redis: redis }
    }

    /// Registers the webhooks as an operator does.
    async fn register(&self, address: &str) {
        let set = self
            .folder
            .start_with(&["set-webhook"], &[("SEBASTIAN__WEBHOOK__BASE_URL", &format!("http://{address}"))]);
        assert_eq!(set.wait(SOON).await.code(), Some(0), "{}", set.output());
        assert_eq!(set.output().matches("set and read back").count(), 2, "{}", set.output());
        assert!(!set.output().contains("0123456789abcdef"), "{}", set.output());
    }

    /// Two chats fill the desk; the third waits until one is resolved.
    async fn serves_in_order(&self) {
        for room in ["101", "102", "103"] {
            let sent = self.platform.customer_writes(room, INBOX).await.unwrap();
            assert!(sent.accepted(), "{sent:?}");
        }
        let is_full = |state: &State| state.agent_of("101").is_some() && state.agent_of("102").is_some();
        self.platform.wait_until(SOON, is_full).await.unwrap();
        assert_eq!(self.platform.agent_of("103"), None);

        assert!(self.platform.agent_resolves("101").await.unwrap().accepted());
        self.platform.wait_until(SOON, |state| state.agent_of("103").is_some()).await.unwrap();
    }

    async fn close(processes: impl IntoIterator<Item = Child>) {
        for process in processes {
            process.terminate();
            assert_eq!(process.wait(SOON).await.code(), Some(0), "{}", process.output());
        }
    }
}

#[tokio::test]
async fn two_processes_from_one_file_serve_a_desk() {
    let desk = Desk::open().await;
    let webhook = desk.folder.start(&["-e", "webhook"]);
    let worker = desk.folder.start(&["-e", "worker"]);
    desk.register(&address(&webhook).await).await;
    desk.serves_in_order().await;
    Desk::close([webhook, worker]).await;
}

#[tokio::test]
async fn one_process_serves_a_desk() {
    let desk = Desk::open().await;
    let all = desk.folder.start(&["-e", "all"]);
    desk.register(&address(&all).await).await;
    desk.serves_in_order().await;
    Desk::close([all]).await;
}
