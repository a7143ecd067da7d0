//! What an operator types to set up a desk.

use std::{convert::Infallible, path::PathBuf};

use clap::{Args, ValueEnum};
use secrecy::SecretString;

const EXAMPLES: &str = "\
Examples:
  sebastian init                                        asks, checks, writes config.yml
  sebastian init --app-id desk-1 --secret-key-file key --public-url https://desk.example
  sebastian init … --email owner@desk.example --password-file password --set-webhooks --yes
  sebastian init … --postgres postgres://sebastian:…@db/sebastian --redis redis:6379

What is not given is asked for on a terminal; elsewhere it is an error that names the flags. A secret on the command
line is seen by whoever lists processes: give it in a file, which the settings then name instead of holding a copy (a
pipe, as in <(pass show qiscus), is read and copied). Nothing is written before everything is known and checked.

Exit codes: 0 written, 1 failed or refused by the platform, 2 wrong usage, 130 left.";

/// Set up a desk: ask for the platform's keys, check them, write the settings, offer to set the webhooks.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Init {
    /// The platform.
    #[arg(long, value_enum, default_value_t = PlatformName::Qiscus)]
    pub platform: PlatformName,
    /// Where the account lives, if not at the platform's usual address.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub base_url: Option<String>,
    /// The app id, from Settings > App Information.
    #[arg(long, value_name = "ID")]
    pub app_id: Option<String>,
    /// The secret key, from the same page; better in a file.
    #[arg(long, value_name = "KEY", value_parser = secret, conflicts_with = "secret_key_file")]
    pub secret_key: Option<SecretString>,
    /// A file that holds the secret key.
    #[arg(long, value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,
    /// The login of an admin without a second factor: shows and verifies the registered webhooks.
    #[arg(long, value_name = "EMAIL")]
    pub email: Option<String>,
    /// That admin's password; better in a file.
    #[arg(long, value_name = "PASSWORD", value_parser = secret, requires = "email", conflicts_with = "password_file")]
    pub password: Option<SecretString>,
    /// A file that holds that password.
    #[arg(long, value_name = "FILE", requires = "email")]
    pub password_file: Option<PathBuf>,
    /// How the platform reaches this desk: https:// and the name that your proxy answers to.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub public_url: Option<String>,
    /// The port webhooks come in at, 3000 unless said.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Keep the ledger in this PostgreSQL instead of a data folder.
    #[arg(long, value_name = "URL", value_parser = secret, requires = "redis")]
    pub postgres: Option<SecretString>,
    /// The Redis that goes with it.
    #[arg(long, value_name = "URL", value_parser = secret, requires = "postgres")]
    pub redis: Option<SecretString>,
    /// Where to write the settings, config.yml unless said.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace settings that are there already.
    #[arg(long)]
    pub force: bool,
    /// Point the platform's webhooks here, in the place of whatever is registered.
    #[arg(long, overrides_with = "no_set_webhooks", conflicts_with = "offline")]
    pub set_webhooks: bool,
    /// Leave the platform's webhooks as they are.
    #[arg(long)]
    pub no_set_webhooks: bool,
    /// Check nothing and set nothing at the platform.
    #[arg(long)]
    pub offline: bool,
    /// Say yes to every question that can be answered so, the one about the webhooks too.
    #[arg(short, long)]
    pub yes: bool,
}

/// A platform that can be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlatformName {
    /// Qiscus Omnichannel.
    Qiscus,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

fn url(text: &str) -> Result<String, String> {
    crate::config::http_url(text.trim()).ok_or_else(|| format!("it must be {}", crate::config::HTTP_URL))
}
