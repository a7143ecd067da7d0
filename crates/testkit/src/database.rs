//! A database per test.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};

use crate::postgres::Postgres;
use crate::run::random;

/// For the whole of a create or a drop. Measured: 54 ms and 20 ms, thrice that under load; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// An empty database of the test's own, dropped with its connections on `Drop`, as far as the server answers.
pub struct Database {
    admin: String,
    name: String,
}

impl Database {
    /// Makes a database on the shared cluster. Panics when it cannot.
    pub async fn create() -> Database {
        Database::create_at(Postgres::shared().await).await
    }

    /// Makes a database on the server of `admin`, a URL with a database to connect to and the right to create others.
    pub async fn create_at(admin: &str) -> Database {
        let name = format!("sebastian_{:016x}", random());
        let admin = admin.to_owned();
        let created = tokio::time::timeout(DEADLINE, create(&admin, &name)).await;
        created.expect("CREATE DATABASE ends in time").expect("a database on the test cluster");
        Database { admin, name }
    }

    /// The database's own URL.
    pub fn url(&self) -> String {
        let (address, options) =
            self.admin.split_once('?').map_or((&*self.admin, None), |(a, o)| (a, Some(o)));
        let start = address.find("://").map_or(0, |at| at + 3);
        let server = address[start..].find('/').map_or(address, |at| &address[..start + at]);
        let options = options.map(|options| format!("?{options}")).unwrap_or_default();
        format!("{server}/{}{options}", self.name)
    }

    /// The URL with another server's `host:port` in it, such as a [`ChaosProxy`](crate::ChaosProxy)'s.
    pub fn url_via(&self, address: impl std::fmt::Display) -> String {
        self.url().replacen(&self.address(), &address.to_string(), 1)
    }

    /// The server's `host:port`, as it stands in the URL.
    pub fn address(&self) -> String {
        let url = self.url();
        let server = url.split_once("://").map_or(&*url, |(_, rest)| rest);
        let server = server.split_once('/').map_or(server, |(server, _)| server);
        server.rsplit_once('@').map_or(server, |(_, address)| address).to_owned()
    }
}

impl Drop for Database {
    /// Blocks until the database is gone, or for two seconds: the cluster's own end takes what is left.
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let dropped = runtime.map(|runtime| runtime.block_on(drop_now(&admin, &name)));
            done.send(dropped.is_ok()).ok();
        });
        is_done.recv_timeout(Duration::from_secs(2)).ok();
    }
}

async fn connect(admin: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(admin, NoTls).await.with_context(|| format!("connect to {admin}"))?;
    tokio::spawn(connection);
    Ok(client)
}

async fn create(admin: &str, name: &str) -> Result<()> {
    let client = connect(admin).await?;
    let row = client.query_one("SHOW server_version_num", &[]).await?;
    let version: u32 = row.get::<_, &str>(0).parse()?;
    // Twice as fast as the default for an empty database. Before version 15 it was the only way and had no name.
    let strategy = if version >= 150_000 { "STRATEGY file_copy" } else { "" };
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 {strategy}")).await?;
    Ok(())
}

async fn drop_now(admin: &str, name: &str) -> Result<()> {
    let client = connect(admin).await?;
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    Ok(())
}
