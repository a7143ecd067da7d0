//! What an operator types to see and change what the ledger goes by.

use std::time::Duration;

use clap::{Args, Subcommand};
use sebastian_core::{AgentId, InboxId, PolicyId, RoomId};

const POLICIES_HELP: &str = "\
Examples:
  sebastian policies list
  sebastian policies set name=Night assignment_order=round_robin fair_distribution_limit=5
  sebastian policies set 3 enabled=false
  sebastian policies link 88121 3            inbox 88121 is dealt by policy 3 from the next chat on
  sebastian policies show 3 --json

A change is checked as the API checks it, written to the audit as done by cli:<user>, and seen by the very next
decision; no process has to be restarted.";

const SET_HELP: &str = "\
Fields (a value is JSON or plain text; null takes a limit away):
  name                       unique in the account
  description
  enabled                    true or false; with false nothing of its inboxes is dealt
  assignment_order           balanced, round_robin, least_loaded, longest_idle, first_fit, random, platform
  conversation_priority      earliest_created, longest_waiting, priority
  fair_distribution_limit    most chats an agent is given of an inbox in a window
  fair_distribution_window   length of that window in seconds
  exclude_older_than_hours   chats silent for longer are not dealt
  capacity                   most open chats an agent may hold, where nothing is set for the agent or the team
  priority_boost             {\"low\":0,\"medium\":300,\"high\":1800,\"urgent\":7200}: seconds a priority is worth
  reassigns_strays           true or false: what an agent held who is gone goes back to its place
  seed                       what the order `random` draws by

Examples:
  sebastian policies set name=Night assignment_order=round_robin
  sebastian policies set 3 fair_distribution_limit=5 fair_distribution_window=300
  sebastian policies set 3 fair_distribution_limit=null";

const PARKED_HELP: &str = "\
A parked chat keeps its place in line and takes it again by itself at the time shown. Poison is one that the platform
refused ten times in a row, whoever was to have it: look at its room on the platform before you try it again.

Examples:
  sebastian parked list
  sebastian parked retry 4711 4712
  sebastian parked retry --all";

const PAUSE_HELP: &str = "\
Examples:
  sebastian pause --reason \"fire drill\"                everything, until resumed
  sebastian pause --agent 7 --for 2h --reason training
  sebastian pause --inbox 88121 --until 2026-11-21T18:00:00Z
  sebastian resume --agent 7

Whatever is being served stays where it is; a pause only stops new chats from being given.";

/// Assignment policies.
#[derive(Debug, Args)]
#[command(after_help = POLICIES_HELP)]
pub struct Policies {
    /// What to do with them.
    #[command(subcommand)]
    pub command: PoliciesCommand,
}

/// What to do with assignment policies.
#[derive(Debug, Subcommand)]
pub enum PoliciesCommand {
    /// List all policies.
    List {
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
    /// Show one policy and the inboxes linked to it.
    Show {
        /// The policy's number.
        #[arg(value_parser = policy)]
        id: PolicyId,
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
    /// Make a policy, or with its number change one.
    #[command(after_help = SET_HELP)]
    Set {
        /// The policy's number, then FIELD=VALUE as often as wanted; without a number a new policy is made.
        #[arg(value_name = "ID | FIELD=VALUE", required = true)]
        words: Vec<String>,
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
    /// Link an inbox to a policy, in the place of whichever it was linked to.
    Link {
        /// The inbox's number.
        #[arg(value_parser = inbox)]
        inbox: InboxId,
        /// The policy's number.
        #[arg(value_parser = policy)]
        policy: PolicyId,
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
    /// Take its policy from an inbox: the account's own holds again.
    Unlink {
        /// The inbox's number.
        #[arg(value_parser = inbox)]
        inbox: InboxId,
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
}

/// Chats that sit out.
#[derive(Debug, Args)]
#[command(after_help = PARKED_HELP)]
pub struct Parked {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ParkedCommand,
}

/// What to do with chats that sit out.
#[derive(Debug, Subcommand)]
pub enum ParkedCommand {
    /// List them: why each sits out, and until when.
    List {
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
    /// Try some again at once, and forget whom the platform refused for them.
    Retry {
        /// The platform's ids of their rooms.
        #[arg(value_parser = RoomId::parse, required_unless_present = "all")]
        rooms: Vec<RoomId>,
        /// All that are parked.
        #[arg(long, conflicts_with = "rooms")]
        all: bool,
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, Args)]
pub struct Form {
    /// Print JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// Which queues to show.
#[derive(Debug, Args)]
pub struct Queue {
    /// Of each queue, show so many chats.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub first: u32,
    /// How to print it.
    #[command(flatten)]
    pub form: Form,
}

/// What to pause, until when and why.
#[derive(Debug, Args)]
#[command(after_help = PAUSE_HELP)]
pub struct Pause {
    /// What to pause.
    #[command(flatten)]
    pub what: What,
    /// For how long, such as 30m, 2h or 1d12h; without it until resumed.
    #[arg(long = "for", value_name = "SPAN", value_parser = span, conflicts_with = "until")]
    pub span: Option<Duration>,
    /// Until when, as RFC 3339 has it: 2026-11-21T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Why, for whoever asks.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Of an agent: a chat whose customer writes again meanwhile goes to somebody else.
    #[arg(long, requires = "agent")]
    pub reassign: bool,
    /// How to print it.
    #[command(flatten)]
    pub form: Form,
}

/// What to take up again.
#[derive(Debug, Args)]
#[command(after_help = PAUSE_HELP)]
pub struct Resume {
    /// What to resume.
    #[command(flatten)]
    pub what: What,
    /// How to print it.
    #[command(flatten)]
    pub form: Form,
}

/// An agent or an inbox; neither is the whole account.
#[derive(Debug, Clone, Copy, Args)]
pub struct What {
    /// This agent only, by the platform's number.
    #[arg(long, value_name = "ID", value_parser = agent, conflicts_with = "inbox")]
    pub agent: Option<AgentId>,
    /// This inbox only, by the platform's number.
    #[arg(long, value_name = "ID", value_parser = inbox)]
    pub inbox: Option<InboxId>,
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "is not a number above 0".to_owned())
}

fn policy(text: &str) -> Result<PolicyId, String> {
    number(text).map(PolicyId)
}

fn inbox(text: &str) -> Result<InboxId, String> {
    number(text).map(InboxId)
}

fn agent(text: &str) -> Result<AgentId, String> {
    number(text).map(AgentId)
}

/// A span such as `90s`, `30m`, `2h` or `1d 12h`, of at least a second.
fn span(text: &str) -> Result<Duration, String> {
    let span =
        humantime::parse_duration(text).map_err(|wrong| format!("{wrong}; such as 30m, 2h or 1d12h"))?;
    if span < Duration::from_secs(1) { Err("is over at once".to_owned()) } else { Ok(span) }
}
