//! What `sebastian demo` can be told.

use std::time::Duration;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  sebastian demo                          300 chats for 12 agents, an hour in 30 seconds
  sebastian demo --chats 2000 --agents 60 --for 1m
  sebastian demo --seed 7                 the same customers, breaks and moves as the last time with 7
  sebastian demo --plain | tee demo.txt   lines instead of the live view; so it is wherever there is no terminal
  sebastian demo --keep                   stays open afterwards and prints commands to try with curl
  sebastian demo --memory                 the ledger in memory: nothing is written to disk
  RUST_LOG=info sebastian demo --plain    with what the worker says, on standard error

Nothing is needed and nothing is left behind: the platform is simulated, the ledger is a file in a temporary folder that
goes with the demo, and every port is one of 127.0.0.1. Ends with code 0 only if every promise held and the desk came to
rest; 1 if not; 130 when interrupted.";

/// The play may not be shorter: an hour in less than this is lost in the latency of calls.
const LENGTH_MIN: Duration = Duration::from_secs(1);
const LENGTH_MAX: Duration = Duration::from_secs(3_600);

/// Play a busy hour of a support desk at speed, watch it live, and check every promise at its end.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Demo {
    /// Chats that come in.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub chats: u32,

    /// Agents at the desk.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub agents: u32,

    /// Most open chats an agent may hold.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub capacity: u32,

    /// How long the hour takes here, from 1s to 1h: 30s, 2m, 1m 30s.
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = parse_length)]
    pub length: Duration,

    /// Repeat the play with this number; without it one is drawn and printed.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// Stay open after the play until Ctrl-C, and print what to try with curl.
    #[arg(long)]
    pub keep: bool,

    /// Keep the ledger in memory, not in a temporary folder.
    #[arg(long)]
    pub memory: bool,

    /// Lines instead of the live view.
    #[arg(long)]
    pub plain: bool,
}

fn parse_length(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        Ok(length)
    } else {
        Err("must be from 1s to 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_written_as_people_write_it() {
        assert_eq!(parse_length("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_length("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["30", "", "10ms", "2h", "-3s"] {
            assert!(parse_length(wrong).is_err(), "{wrong}");
        }
    }
}
