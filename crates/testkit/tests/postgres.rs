use sebastian_testkit::{ChaosProxy, Database, Durability, Postgres};
use tokio_postgres::{Client, Error, NoTls};

async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn one(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.expect(sql).get(0)
}

#[tokio::test]
async fn each_database_is_empty_and_its_own() {
    let (a, b) = tokio::join!(Database::create(), Database::create());
    assert_ne!(a.url(), b.url());
    let (a, b) = (connect(&a.url()).await.expect("a is there"), connect(&b.url()).await.expect("b is there"));
    a.batch_execute("CREATE TABLE t (id int)").await.expect("an empty database");
    b.batch_execute("CREATE TABLE t (id int)").await.expect("an empty database");
    assert_eq!(one(&a, "SHOW server_encoding").await, "UTF8");
}

#[tokio::test]
async fn dropped_database_is_gone_with_its_connections() {
    let database = Database::create().await;
    let url = database.url();
    let client = connect(&url).await.expect("it is there");
    drop(database);
    assert!(client.simple_query("SELECT 1").await.is_err());
    assert!(connect(&url).await.is_err());
}

#[tokio::test]
async fn url_of_a_database_keeps_the_servers_options() {
    let admin = format!("{}?application_name=of-the-test", Postgres::shared().await);
    let database = Database::create_at(&admin).await;
    let client = connect(&database.url()).await.expect("it is there");
    assert_eq!(one(&client, "SHOW application_name").await, "of-the-test");
}

#[tokio::test]
async fn database_is_reached_through_a_proxy() {
    let database = Database::create().await;
    let proxy = ChaosProxy::start(database.address()).await;
    let client = connect(&database.url_via(proxy.address())).await.expect("the proxy passes");
    assert!(database.url().ends_with(&one(&client, "SELECT current_database()::text").await));
}

#[tokio::test]
async fn commits_outlive_an_immediate_stop_and_a_kill() {
    let postgres = Postgres::private(Durability::Fsync).await;
    let client = connect(&postgres.url()).await.expect("it is up");
    assert_eq!(one(&client, "SHOW fsync").await, "on");
    assert_eq!(one(&client, "SHOW synchronous_commit").await, "on");
    client.batch_execute("CREATE TABLE t AS SELECT 'kept' AS word").await.expect("committed");

    postgres.stop_immediate().await;
    assert!(client.simple_query("SELECT 1").await.is_err());
    assert!(connect(&postgres.url()).await.is_err());
    postgres.start().await;

    let busy = connect(&postgres.url()).await.expect("it is up again");
    assert_eq!(one(&busy, "SELECT word FROM t").await, "kept");
    let query = tokio::spawn(async move { busy.simple_query("SELECT pg_sleep(600)").await });
    postgres.kill9();
    assert!(query.await.expect("the query's task").is_err());
    postgres.restart().await;

    let client = connect(&postgres.url()).await.expect("it is up again");
    assert_eq!(one(&client, "SELECT word FROM t").await, "kept");
}
