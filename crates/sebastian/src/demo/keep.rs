//! After the play: what to try by hand.

use sebastian_core::Role;

use super::{desk::Desk, script::Script};

/// Rooms nobody in the script uses.
const ROOM: &str = "4790001";
const OTHER_ROOM: &str = "4790002";

/// The addresses, and commands to paste.
pub(crate) fn instructions(desk: &Desk, script: &Script) -> String {
    let (ours, theirs, app) = (&desk.ingest_url, desk.platform.url(), &desk.app_id);
    let agent = script.staff.iter().find(|agent| agent.role == Role::Agent);
    let (id, name) = agent.map_or((0, ""), |agent| (agent.id.0, agent.name.as_str()));
    format!(
        r#"
The desk stays open until Ctrl-C. Whatever happens to its chats is told below.

  Sebastian               {ours}
  simulated platform      {theirs}

A customer writes; the platform tells Sebastian, and an agent gets the chat:
  curl -s {theirs}/simulate/chat --json '{{"room_id": "{ROOM}"}}'
The agent is done:
  curl -s {theirs}/simulate/resolve --json '{{"room_id": "{ROOM}"}}'
{name} goes on a break, and comes back with true:
  curl -s {theirs}/simulate/agents/{id} --json '{{"is_available": false}}'

Be the platform yourself, with both of its webhooks. The real one still has the agent in the room after the second, so
a second later Sebastian finds that out and counts the chat again: the platform is the last judge.
  curl -s {ours}/webhook-incoming-message --json '{{"app_id": "{app}", "room_id": "{OTHER_ROOM}"}}'
  curl -s {ours}/webhook-mark-as-resolved --json '{{"service": {{"room_id": "{OTHER_ROOM}", "is_resolved": true}}}}'

See what each side knows:
  curl -s {ours}/agents
  curl -s {ours}/readyz
  curl -s {ours}/metrics
  curl -s {theirs}/simulate/state

"#
    )
}
