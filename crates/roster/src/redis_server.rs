//! Where Redis is, and calls to it that always end.
//!
//! `redis::aio::ConnectionManager` (1.8.1) is not used: it connects again after I/O errors only, so a password refused
//! once is refused until the process restarts, though it was put right since, and a connection whose commands only
//! time out is kept. Here a connection that gave an error is dropped, and the next call opens another.

use std::{
    fmt,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    io::tcp::TcpSettings,
};

/// A local Redis accepts in under a millisecond, one in another zone in tens.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Every command we send is done in microseconds, and a roster of 15,000 agents crosses a network in tens of ms.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

/// A whole call, including one connection and one repeat: what a caller can count on.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up. Without it a peer that
/// vanished (failover, pulled cable) holds a connection for a quarter of an hour.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// A Redis server, or a database of one, and the prefix under which our keys stand.
///
/// Two installations that share a database need different prefixes: the ledger of each numbers its accounts from 1.
#[derive(Clone)]
pub struct RedisServer {
    client: Client,
    prefix: Box<str>,
}

/// The configured address is not one Redis can be reached at.
#[derive(Debug, thiserror::Error)]
#[error("redis url is not valid")]
pub struct RedisUrlError(#[source] RedisError);

impl RedisServer {
    /// Takes `url`, either `host:port` or a URL (`redis://`, `unix://`). Opens no connection.
    pub fn parse(url: &str, prefix: &str) -> Result<Self, RedisUrlError> {
        let url = url.trim();
        let url = if url.contains("://") { url.to_owned() } else { format!("redis://{url}") };
        let server = url.into_connection_info().map_err(RedisUrlError)?.set_tcp_settings(tcp_settings());
        let client = Client::open(server).map_err(RedisUrlError)?;
        Ok(Self { client, prefix: prefix.into() })
    }

    /// What every key of ours begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A connection for a library that wants one that reconnects. It keeps faults that this module's own calls do not
    /// (see above): whoever uses it makes another after an error.
    pub async fn manager(&self, response_timeout: Duration) -> RedisResult<ConnectionManager> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout))
            .set_number_of_retries(0);
        ConnectionManager::new_with_config(self.client.clone(), config).await
    }

    /// A connection of its own, whose commands may take `response_timeout`. Ends within 1 s.
    pub(crate) async fn connect(&self, response_timeout: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own output would name the user.
        f.debug_struct("RedisServer").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(UNACKNOWLEDGED_MAX);
    settings
}

type Connecting = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

/// One connection shared by many callers, opened by the first that needs it.
pub(crate) struct Link {
    server: RedisServer,
    current: Mutex<Current>,
}

struct Current {
    /// Counts connections, so that of many callers who saw one fail only the first replaces it.
    generation: u64,
    connecting: Option<Connecting>,
}

impl Link {
    pub(crate) fn new(server: &RedisServer) -> Self {
        Self { server: server.clone(), current: Mutex::new(Current { generation: 0, connecting: None }) }
    }

    /// Runs `command`, twice when the connection turns out to be gone; so it must bear repeating.
    /// Ends within 1.5 s.
    pub(crate) async fn call<T, F, Fut>(&self, command: F) -> Result<T, CallError>
    where
        F: Fn(MultiplexedConnection) -> Fut,
        Fut: Future<Output = RedisResult<T>>,
    {
        let twice = async {
            match self.attempt(&command).await {
                Err(error) if error.is_io_error() && !error.is_timeout() => self.attempt(&command).await,
                done => done,
            }
        };
        Ok(tokio::time::timeout(CALL_TIMEOUT, twice).await.map_err(Box::new)??)
    }

    async fn attempt<T, F, Fut>(&self, command: &F) -> RedisResult<T>
    where
        F: Fn(MultiplexedConnection) -> Fut,
        Fut: Future<Output = RedisResult<T>>,
    {
        let (generation, connecting) = self.connecting();
        let result = match connecting.await {
            Ok(connection) => command(connection).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.discard(generation);
        }
        result
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connecting(&self) -> (u64, Connecting) {
        let mut current = self.current();
        let Current { generation, connecting } = &mut *current;
        let connecting = connecting.get_or_insert_with(|| {
            let server = self.server.clone();
            async move { server.connect(RESPONSE_TIMEOUT).await }.boxed().shared()
        });
        (*generation, connecting.clone())
    }

    fn discard(&self, generation: u64) {
        let mut current = self.current();
        if current.generation == generation {
            current.generation += 1;
            current.connecting = None;
        }
    }
}

/// Why a call gave no result; its callers only pass it on.
pub(crate) type CallError = Box<dyn std::error::Error + Send + Sync>;
