//! `sslmode=require` encrypts, and only towards a server whose certificate the system trusts.

use std::process::Command;

use sebastian_core::Timing;
use sebastian_store::{PostgresStore, Store, StoreError};
use sebastian_testkit::{Database, Durability, Postgres};

use crate::desk::connect;

const URL: &str = "SEBASTIAN_TEST_TLS_URL";
const CERTIFICATE: &str = include_str!("fixtures/server.pem");
const KEY: &str = include_str!("fixtures/server.key");
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/authority.pem");

async fn ping(url: &str, mode: &str) -> Result<(), StoreError> {
    PostgresStore::new(&format!("{url}?sslmode={mode}"), 1, Timing::default()).unwrap().ping().await
}

/// A server that shows the certificate of `fixtures/`.
async fn encrypting() -> Postgres {
    let postgres = Postgres::private(Durability::Off).await;
    let admin = connect(&postgres.url()).await;
    for (file, text) in [("server.crt", CERTIFICATE), ("server.key", KEY)] {
        let program = format!("sh -c 'umask 077; sed s/,/\\\\n/g > {file}'");
        let text = text.trim().replace('\n', ",");
        let program = program.replace('\'', "''");
        admin.batch_execute(&format!("COPY (SELECT '{text}') TO PROGRAM '{program}'")).await.unwrap();
    }
    admin.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    postgres
}

#[tokio::test]
async fn a_server_without_encryption_is_refused_where_it_is_required() {
    let database = Database::create().await;

    let (required, preferred) =
        (ping(&database.url(), "require").await, ping(&database.url(), "prefer").await);

    assert!(matches!(required, Err(StoreError::Unavailable(_))), "{required:?}");
    preferred.unwrap();
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate() {
    let postgres = encrypting().await;

    let stranger = ping(&postgres.url(), "verify-full").await;
    ping(&postgres.url(), "prefer").await.unwrap();
    // Trust is read from the environment, which a test may not change for its neighbours.
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::asked_by_another_process_that_trusts_the_server", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", AUTHORITY)
        .env(URL, postgres.url())
        .output();

    assert!(matches!(stranger, Err(StoreError::Unavailable(_))), "{stranger:?}");
    let trusting = trusting.unwrap();
    assert!(trusting.status.success(), "{}", String::from_utf8_lossy(&trusting.stdout));
}

#[tokio::test]
#[ignore = "run by a_server_is_trusted_by_its_certificate"]
async fn asked_by_another_process_that_trusts_the_server() {
    let url = std::env::var(URL).unwrap();

    ping(&url, "require").await.unwrap();
    ping(&url, "verify-full").await.unwrap();
}
