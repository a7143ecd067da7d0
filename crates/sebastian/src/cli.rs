//! What an operator types.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};

use sebastian_core::RoomId;

use crate::{
    compose::folder,
    config::{self, Loaded, Problem, Problems},
    demo::Demo,
    doctor::Doctor,
    healthcheck::Healthcheck,
    init::Init,
    ledgers::{Backup, Move, Restore},
    operate::{Form, Parked, Pause, Policies, Queue, Resume},
    simulate::Simulate,
};

const EXAMPLES: &str = "\
Examples:
  sebastian demo                       see it work: a busy hour in half a minute, nothing needed
  sebastian init                       set up a desk: asks, checks, writes config.yml
  sebastian doctor                     check everything, and how to mend what is wrong
  sebastian -e all                     take webhooks and assign chats; the ledger in a folder, no servers needed
  sebastian -e all --data /srv/desk    the same in a folder of your choice
  sebastian -e webhook                 with PostgreSQL and Redis: take webhooks; settings from config.yml
  sebastian -e worker -c desk.yml      with PostgreSQL and Redis: assign chats; settings from desk.yml
  sebastian check-config               what is in force, where it comes from, what is wrong
  sebastian set-webhook --dry-run      what would change at the platform
  sebastian explain 470110007          why this room's chat stands where it stands, or went to whom it went
  sebastian queue                      what waits, queue by queue, and why
  sebastian policies list              how inboxes are dealt; set, link and unlink change it
  sebastian pause --agent 7 --for 2h   give an agent nothing for a while; resume ends it
  sebastian backup monday.db           copy the embedded ledger beside a running process; restore puts it back
  sebastian move --from /srv/desk      from an embedded ledger to PostgreSQL, once a desk has outgrown it

config.example.yml lists every setting with its default. The environment overrides the file: there, listen.port is
SEBASTIAN__LISTEN__PORT. Where neither db.connection_string nor redis.url is set, -e all and the commands keep to an
embedded ledger in a folder: --data, else SEBASTIAN_DATA, else this platform's folder for data. Exit codes: 0 stopped
as asked, 1 failed, 2 wrong usage or settings, 130 stopped at once by a second signal.";

/// Gives each chat of a support desk to the right online agent, in order, and never more than an agent can hold.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Run a process until it is told to stop.
    #[arg(short, long, global = true, value_name = "PROCESS", display_order = 900)]
    pub exec: Option<Process>,

    /// Where settings come from.
    #[command(flatten)]
    pub settings: Settings,

    /// Something else than running a process.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The command of a binary that is one process only.
#[derive(Debug, Parser)]
#[command(version, about = "Runs one process of Sebastian; see `sebastian --help`")]
pub struct OneProcess {
    /// Where settings come from.
    #[command(flatten)]
    pub file: SettingsFile,
}

/// Where settings come from, and the embedded ledger.
#[derive(Debug, Args)]
pub struct Settings {
    /// Where settings come from.
    #[command(flatten)]
    pub file: SettingsFile,

    /// Folder of the embedded ledger; without it SEBASTIAN_DATA, else the platform's folder for data.
    #[arg(long, global = true, value_name = "DIR", display_order = 902)]
    pub data: Option<PathBuf>,
}

/// The file settings come from.
#[derive(Debug, Args)]
pub struct SettingsFile {
    /// Settings file; without it config.yml, if there is one.
    #[arg(short, long, global = true, value_name = "FILE", display_order = 901)]
    pub config: Option<PathBuf>,
}

impl From<OneProcess> for Settings {
    fn from(OneProcess { file }: OneProcess) -> Self {
        Self { file, data: None }
    }
}

impl Settings {
    /// Everything that is set. A folder named together with servers is refused: it would not be used.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        let mut loaded = config::load(self.file.config.as_deref())?;
        let config = &mut loaded.config;
        let is_on_servers = config.db.connection_string.is_some() || config.redis_url.is_some();
        if self.data.is_some() && is_on_servers {
            return Err(Problem::new(
                "`--data` names the folder of an embedded ledger, and the settings name servers: leave out `--data`, or \
                 both `db.connection_string` and `redis.url`",
            )
            .into());
        }
        // As with settings, an empty value counts as not given.
        let variable = || std::env::var_os(folder::VARIABLE).filter(|value| !value.is_empty());
        config.data = self.data.clone().or_else(|| variable().map(PathBuf::from));
        Ok(loaded)
    }
}

/// A process that runs until it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Process {
    /// Take webhooks and answer once they are stored; any number may run.
    Webhook,
    /// Decide, and tell the platform; any number may run.
    Worker,
    /// Both in one, which needs no servers.
    All,
}

impl Process {
    /// Whether it decides.
    #[must_use]
    pub fn works(self) -> bool {
        matches!(self, Self::Worker | Self::All)
    }

    /// The word of `-e`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Worker => "worker",
            Self::All => "all",
        }
    }
}

/// Something else than running a process.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up a desk: ask for the platform's keys, check them, write the settings, offer to set the webhooks.
    Init(Box<Init>),
    /// Check everything a desk stands on, and say how to mend what is wrong; changes nothing.
    Doctor(Doctor),
    /// Ask a process of this machine whether it is ready, for containers and supervisors.
    Healthcheck(Healthcheck),
    /// Bring the ledger's schema up to date; any number may run at once.
    Migrate,
    /// Point the platform's webhooks at webhook.base_url.
    SetWebhook {
        /// Show what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show every setting in force and where it comes from, or what is wrong; connects to nothing.
    CheckConfig,
    /// Tell why a room's chat waits, with its position and each agent, or why it went to whom it went.
    Explain {
        /// The platform's id of the room.
        #[arg(value_parser = RoomId::parse)]
        room: RoomId,
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
    /// Show, make, change and link assignment policies: how the chats of an inbox are dealt.
    Policies(Policies),
    /// Show every agent: presence, load and capacity, pause, leave.
    Agents {
        /// How to print it.
        #[command(flatten)]
        form: Form,
    },
    /// Show what waits, queue by queue: how long, in which order, and why.
    Queue(Queue),
    /// Show chats that sit out for a reason of their own, or try them again.
    Parked(Parked),
    /// Give an agent, an inbox or the whole account no new chats for a while.
    Pause(Pause),
    /// End such a pause.
    Resume(Resume),
    /// Copy the embedded ledger into a file, beside a running process.
    Backup(Backup),
    /// Put a copy in the place of the embedded ledger, while nothing runs.
    Restore(Restore),
    /// Move the embedded ledger to PostgreSQL, while nothing runs.
    Move(Move),
    /// Play a busy hour of a simulated desk, live, and check every promise; needs nothing.
    Demo(Demo),
    /// Serve a simulated Qiscus, to try the processes by hand.
    Simulate(Simulate),
}

/// What was asked for.
#[derive(Debug)]
pub enum Task {
    /// Run a process.
    Run(Process),
    /// Show what a process, any if none is named, would run with.
    CheckConfig(Option<Process>),
    /// Do something else.
    Do(Command),
}

impl Cli {
    /// The one thing asked for, or a usage error: nothing at all, or a process and a command that runs none.
    pub fn task(self) -> Result<(Task, Settings), clap::Error> {
        match (self.exec, self.command) {
            (process, Some(Command::Healthcheck(asked))) => {
                Ok((Task::Do(Command::Healthcheck(Healthcheck { process, ..asked })), self.settings))
            }
            (process, Some(Command::CheckConfig)) => Ok((Task::CheckConfig(process), self.settings)),
            (None, Some(command)) => Ok((Task::Do(command), self.settings)),
            (Some(process), None) => Ok((Task::Run(process), self.settings)),
            (Some(_), Some(_)) => {
                let text = "this command runs no process: leave out -e";
                Err(Self::command().error(ErrorKind::ArgumentConflict, text))
            }
            (None, None) => {
                let text = "nothing to do: name a process with -e, or a command; --help shows them";
                Err(Self::command().error(ErrorKind::MissingRequiredArgument, text))
            }
        }
    }
}
