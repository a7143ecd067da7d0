//! The rows, as the file writes them. A field nobody knows is an error, so that no row says more than is tried.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Turn {
    Add { id: String, weight: u32, error: Option<String> },
    Remove { id: String, error: Option<String> },
    Get { times: usize, expect: Vec<Option<String>> },
    Counts { times: usize, expect: BTreeMap<String, usize> },
    State { expect: Vec<(String, u32, i64)> },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub teams: Vec<Team>,
    pub agents: Vec<Agent>,
    pub conversations: Vec<Conversation>,
    #[serde(default)]
    pub statuses: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    RoundRobin,
    Manual,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    pub id: i64,
    pub mode: Mode,
    pub max: u32,
}

fn online() -> String {
    "online".into()
}

fn agent() -> String {
    "agent".into()
}

fn open() -> String {
    "Open".into()
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub id: i64,
    pub teams: Vec<i64>,
    #[serde(default = "online")]
    pub status: String,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default = "agent")]
    pub kind: String,
    #[serde(default)]
    pub load: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    pub id: String,
    pub at: i64,
    pub team: Option<i64>,
    #[serde(default)]
    pub assignee: Option<i64>,
    #[serde(default = "open")]
    pub status: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    Tick {
        #[serde(default = "one")]
        times: usize,
        #[serde(default)]
        after_list: Vec<Op>,
        #[serde(default)]
        count_error_for: Vec<i64>,
        #[serde(default)]
        assign_error_for: Vec<i64>,
        #[serde(default)]
        #[expect(dead_code, reason = "such an error changes nothing, and the rows may name it")]
        assign_late_error_for: Vec<i64>,
        #[serde(default)]
        members_error_for: Vec<i64>,
    },
    Restart {},
    SetStatus {
        agent: i64,
        to: String,
    },
    AddMember {
        agent: i64,
        team: i64,
    },
    RemoveMember {
        agent: i64,
        team: i64,
    },
    SetEnabled {
        agent: i64,
        to: bool,
    },
    DeleteAgent {
        agent: i64,
    },
    DeleteTeam {
        team: i64,
    },
    SetMax {
        team: i64,
        to: u32,
    },
    SetMode {
        team: i64,
        to: Mode,
    },
    AddConversation {
        id: String,
        team: Option<i64>,
        at: i64,
    },
    SetConversationStatus {
        conversation: String,
        to: String,
    },
    Assign {
        conversation: String,
        agent: i64,
    },
    Unassign {
        conversation: String,
    },
    MoveTeam {
        conversation: String,
        team: i64,
    },
    CustomerReply {
        conversation: String,
    },
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Then {
    pub ticks: Vec<Vec<(String, i64)>>,
    pub unassigned: Vec<String>,
}
