//! The simulated platform alone, for trying the real processes by hand.

use clap::Args;
use sebastian_platform::simulated::{Change, Simulated, SimulatedConfig};

use crate::{failure::Failure, print};

const EXAMPLES: &str = "\
Examples:
  sebastian simulate                      the tenant of the README's quick start, on port 4000
  curl -s http://127.0.0.1:4000/simulate/chat --json '{\"room_id\": \"1\"}'       a customer writes
  curl -s http://127.0.0.1:4000/simulate/resolve --json '{\"room_id\": \"1\"}'    their agent is done
  curl -s http://127.0.0.1:4000/simulate/state                                  who serves what

It sends its webhooks to wherever `sebastian set-webhook` pointed them.";

/// Serve a simulated Qiscus until Ctrl-C.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Simulate {
    /// The port on 127.0.0.1.
    #[arg(long, value_name = "PORT", default_value_t = 4000)]
    pub port: u16,
}

/// Serves until it is interrupted, and tells what is done to the platform's rooms.
pub(crate) async fn run(arguments: &Simulate) -> Result<(), Failure> {
    let tenant = SimulatedConfig { port: arguments.port, ..SimulatedConfig::tenant() };
    let settings = format!(
        "qiscus:\n  base_url: http://127.0.0.1:{}\n  app_id: {}\n  secret_key: {}\n  email: {}\n  password: {}\n",
        tenant.port, tenant.app_id, tenant.secret_key, tenant.admin_email, tenant.admin_password
    );
    let platform = Simulated::start(tenant).map_err(|error| Failure::Listen {
        address: std::net::SocketAddr::from(([127, 0, 0, 1], arguments.port)),
        source: error,
    })?;
    print(&format!(
        "A simulated Qiscus listens on {} until Ctrl-C. Its settings:\n\n{settings}\n",
        platform.url()
    ));
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::Signals),
        () = tell(&platform) => Ok(()),
    }
}

/// Prints every change of a room, as it happens.
async fn tell(platform: &Simulated) {
    let mut told = 0;
    loop {
        let lines: Vec<String> = platform.read(|state| {
            let news = state.applied().iter().skip(told);
            news.map(|applied| format!("room {}: {}\n", applied.room, words(&applied.change))).collect()
        });
        told += lines.len();
        lines.iter().for_each(|line| print(line));
        let more = platform.wait_until(std::time::Duration::MAX, |state| state.applied().len() > told);
        if more.await.is_err() {
            return;
        }
    }
}

fn words(change: &Change) -> String {
    match change {
        Change::Opened { .. } => "a customer waits".to_owned(),
        Change::Assigned { agent, load, .. } => format!("agent {agent} serves it, who now holds {load}"),
        Change::Transferred { from, to, .. } => format!("moved from agent {from} to agent {to}"),
        Change::Removed { agent, .. } => format!("agent {agent} was taken out"),
        Change::Resolved { .. } => "resolved".to_owned(),
    }
}
