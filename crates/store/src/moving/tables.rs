//! What is moved: every table but the leases, which are of those who run.

use std::collections::BTreeMap;

/// How many conversations stand where, and how many events are yet to be folded, account by account. For either ledger.
pub(super) const STATES: &str = "
    SELECT account_id, state, COUNT(*)
    FROM conversations
    GROUP BY account_id, state
    UNION ALL
    SELECT e.account_id, 'unfolded', COUNT(*)
    FROM events e
    JOIN accounts a ON a.id = e.account_id
    WHERE e.seq > a.folded_seq
    GROUP BY e.account_id";

/// What [`STATES`] finds.
pub(super) type States = BTreeMap<(i64, String), i64>;

/// A table, the same in both ledgers but for what [`in_file`] says.
#[derive(Debug)]
pub(super) struct Table {
    pub name: &'static str,
    /// As PostgreSQL has them.
    pub columns: &'static [&'static str],
    /// The column that PostgreSQL numbers by itself.
    pub numbered: Option<&'static str>,
}

/// In an order in which what is named stands before who names it.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "accounts",
        columns: &[
            "id",
            "platform",
            "tenant",
            "folded_seq",
            "folded_at",
            "decided",
            "paused_until",
            "pause_reason",
            "failures",
            "rulebook_version",
            "decided_version",
        ],
        numbered: Some("id"),
    },
    Table {
        name: "events",
        columns: &[
            "seq",
            "account_id",
            "received_at",
            "kind",
            "source",
            "room_id",
            "inbox_id",
            "service_id",
            "service_resolved",
            "details",
        ],
        numbered: Some("seq"),
    },
    Table {
        name: "queues",
        columns: &[
            "id",
            "account_id",
            "inbox_id",
            "team_id",
            "turn_agents",
            "turns",
            "sorting",
            "unattended",
        ],
        numbered: Some("id"),
    },
    Table {
        name: "conversations",
        columns: &[
            "id",
            "account_id",
            "queue_id",
            "room_id",
            "origin",
            "position",
            "rank",
            "traits",
            "state",
            "status",
            "snoozed_until",
            "slot_freed",
            "agent_id",
            "attempt",
            "takeovers",
            "deadline_at",
            "assigned_at",
            "closed_at",
            "closed_how",
            "park_until",
            "park_reason",
            "opened_at",
            "last_activity_at",
            "service_id",
            "opened_with",
            "verify_at",
            "verify_seq",
            "verify_from",
            "refused",
            "turn",
            "replaces_agent",
            "refusals",
            "hops",
            "decided_no",
            "told_waiting",
        ],
        numbered: Some("id"),
    },
    Table {
        name: "closed_services",
        columns: &["account_id", "room_id", "service_id", "closed_at"],
        numbered: None,
    },
    Table {
        name: "agent_loads",
        columns: &["account_id", "agent_id", "open", "shift", "shift_assignments", "last_assigned_at"],
        numbered: None,
    },
    Table { name: "rate_windows", columns: &["account_id", "inbox_id", "agent_id", "given"], numbered: None },
    Table { name: "rulebooks", columns: &["account_id", "version", "created_at", "body"], numbered: None },
    Table {
        name: "audit",
        columns: &[
            "id",
            "account_id",
            "at",
            "who",
            "version",
            "action",
            "resource",
            "resource_id",
            "before",
            "after",
        ],
        numbered: Some("id"),
    },
    Table { name: "rosters", columns: &["account_id", "hash", "named_at", "body"], numbered: None },
    Table {
        name: "decision_rounds",
        columns: &["id", "account_id", "decided_at", "rulebook_version", "policy", "snapshot", "roster"],
        numbered: Some("id"),
    },
    Table {
        name: "decisions",
        columns: &["account_id", "conversation_id", "attempt", "round_id", "agent_id", "waited_ms"],
        numbered: None,
    },
    Table {
        name: "subscriptions",
        columns: &[
            "id",
            "account_id",
            "url",
            "events",
            "secret",
            "previous_secret",
            "previous_until",
            "disabled",
            "delivered_at",
            "created_at",
            "updated_at",
        ],
        numbered: Some("id"),
    },
    Table {
        name: "outbox",
        columns: &[
            "seq",
            "id",
            "account_id",
            "subscription_id",
            "kind",
            "at",
            "conversation_id",
            "room_id",
            "agent_id",
            "previous_agent_id",
            "inbox_id",
            "team_id",
            "waited_ms",
            "load",
            "capacity",
            "attempts",
            "next_at",
            "dead_at",
            "trouble",
        ],
        numbered: Some("seq"),
    },
];

/// How the file names a column of PostgreSQL's: a rotation is one list of pairs there, and two lists here.
fn in_file(column: &'static str) -> &'static str {
    match column {
        "turn_agents" => "(SELECT json_group_array(json_extract(value, '$[0]')) FROM json_each(rotation))",
        "turns" => "(SELECT json_group_array(json_extract(value, '$[1]')) FROM json_each(rotation))",
        column => column,
    }
}

impl Table {
    /// Reads all of it from the file.
    pub fn read_file(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|column| in_file(column)).collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.name)
    }

    /// Reads all of it from PostgreSQL.
    pub fn read_target(&self) -> String {
        format!("SELECT {} FROM {}", self.columns.join(", "), self.name)
    }

    /// Fills it. Numbers given are taken also where PostgreSQL would count by itself.
    pub fn fill_target(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.name, self.columns.join(", "))
    }

    /// How many rows it has, in either ledger.
    pub fn count(&self) -> String {
        format!("SELECT COUNT(*) FROM {}", self.name)
    }
}

/// Names of all tables, for a statement about all of them.
pub(super) fn names() -> String {
    TABLES.iter().map(|table| table.name).collect::<Vec<_>>().join(", ")
}
