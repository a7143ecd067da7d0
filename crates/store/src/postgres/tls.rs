//! Encryption, when the connection string asks for it.

use std::{str::FromStr, sync::Arc};

use deadpool_postgres::{Manager, ManagerConfig};
use rustls::{ClientConfig, crypto::aws_lc_rs::default_provider};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::{Config, NoTls, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::broken;
use crate::StoreError;

/// What a connection string says. `sslmode=verify-full` and `sslmode=require` are one: encryption is worth its name
/// only towards a server whose certificate was verified.
pub(super) fn parse(connection_string: &str) -> Result<Config, StoreError> {
    Config::from_str(&connection_string.replace("sslmode=verify-full", "sslmode=require"))
        .map_err(|e| broken("db.connection_string is not a PostgreSQL connection string", e))
}

/// Without a mode, or with `prefer`, nothing is encrypted: what an attacker on the line may switch off protects
/// nobody. The system's certificate authorities (or those `SSL_CERT_FILE` names) are read only where they are needed.
pub(super) fn manager(config: Config, pooling: ManagerConfig) -> Result<Manager, StoreError> {
    if config.get_ssl_mode() != SslMode::Require {
        return Ok(Manager::from_config(config, NoTls, pooling));
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|e| broken("the system's certificate authorities cannot be read", e))?;
    Ok(Manager::from_config(config, MakeRustlsConnect::new(tls.with_no_client_auth()), pooling))
}
