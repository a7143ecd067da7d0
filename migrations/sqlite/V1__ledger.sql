-- Why: the ledger of one process, in a file. The tables, columns and indexes of migrations/postgres up to V4, whose
-- comments hold here too.
-- Old code sees: nothing; this is the first.
--
-- Times are whole milliseconds since 1970 UTC, flags 0 or 1, lists and objects JSON. A number is never used again
-- (AUTOINCREMENT): ledgers grow into PostgreSQL with the numbers they gave out. One writer at a time, so no lock is taken
-- on a row, and places are numbered in the order of commits.

-- One row a platform tenant.
CREATE TABLE accounts (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    platform          TEXT NOT NULL,
    tenant            TEXT NOT NULL,
    folded_seq        INTEGER NOT NULL DEFAULT 0,
    folded_at         INTEGER,
    decided           INTEGER NOT NULL DEFAULT 0,
    paused_until      INTEGER,
    pause_reason      TEXT CHECK (pause_reason IN ('busy', 'denied')),
    failures          INTEGER NOT NULL DEFAULT 0,
    rulebook_version  INTEGER NOT NULL DEFAULT 0,
    decided_version   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, tenant)
) STRICT;

-- What platforms told us.
CREATE TABLE events (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id        INTEGER NOT NULL,
    received_at       INTEGER NOT NULL,
    kind              TEXT NOT NULL CHECK (kind IN ('allocate', 'resolve', 'update')),
    source            TEXT NOT NULL CHECK (source IN ('webhook', 'reconcile', 'operator')),
    room_id           TEXT NOT NULL,
    inbox_id          INTEGER,
    service_id        TEXT,
    service_resolved  INTEGER,
    details           TEXT
) STRICT;
CREATE INDEX events_of ON events (account_id, seq);

-- One row an (inbox, team) pair that ever had a conversation.
CREATE TABLE queues (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id   INTEGER NOT NULL REFERENCES accounts,
    inbox_id     INTEGER,
    team_id      INTEGER,
    rotation     TEXT NOT NULL DEFAULT '[]',  -- [[agent, turns], …]
    sorting      TEXT,
    unattended   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX queues_key ON queues
    (account_id, COALESCE(inbox_id, 0), (inbox_id IS NULL), COALESCE(team_id, 0), (team_id IS NULL));

CREATE TABLE conversations (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id        INTEGER NOT NULL REFERENCES accounts,
    queue_id          INTEGER NOT NULL REFERENCES queues,
    room_id           TEXT NOT NULL,
    origin            TEXT NOT NULL CHECK (origin IN ('event', 'platform')),
    position          INTEGER NOT NULL,
    rank              INTEGER NOT NULL,
    traits            TEXT NOT NULL DEFAULT '{}',
    state             TEXT NOT NULL CHECK (state IN ('waiting', 'reserved', 'closing', 'assigned', 'resolved')),
    status            TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'pending', 'snoozed')),
    snoozed_until     INTEGER,
    slot_freed        INTEGER NOT NULL DEFAULT 0,
    agent_id          INTEGER,
    attempt           INTEGER NOT NULL DEFAULT 0,
    takeovers         INTEGER NOT NULL DEFAULT 0,
    deadline_at       INTEGER,
    assigned_at       INTEGER,
    closed_at         INTEGER,
    closed_how        TEXT CHECK (closed_how IN ('resolved', 'served_elsewhere', 'room_gone')),
    park_until        INTEGER,
    park_reason       TEXT CHECK (park_reason IN ('previous_closing', 'refused', 'nobody_eligible', 'doubted', 'excluded',
                                                  'not_proposed', 'poison', 'pending', 'snoozed')),
    opened_at         INTEGER NOT NULL,
    last_activity_at  INTEGER NOT NULL,
    service_id        TEXT,
    opened_with       TEXT,
    verify_at         INTEGER,
    verify_seq        INTEGER,
    verify_from       INTEGER,
    refused           TEXT NOT NULL DEFAULT '[]',
    turn              TEXT,
    replaces_agent    INTEGER,
    refusals          INTEGER NOT NULL DEFAULT 0,
    hops              INTEGER NOT NULL DEFAULT 0,
    decided_no        INTEGER,
    told_waiting      INTEGER NOT NULL DEFAULT 0,
    CHECK (state = 'resolved' OR (agent_id IS NOT NULL) = (state IN ('reserved', 'closing', 'assigned'))),
    CHECK ((deadline_at IS NOT NULL) = (state IN ('reserved', 'closing'))),
    CHECK ((closed_at IS NOT NULL) = (state = 'resolved'))
) STRICT;

-- The conversation key: at most one open conversation a room.
CREATE UNIQUE INDEX conversations_open ON conversations (account_id, room_id)
    WHERE state IN ('waiting', 'reserved', 'assigned');
CREATE INDEX conversations_unresolved ON conversations (account_id, room_id) WHERE state <> 'resolved';
CREATE INDEX conversations_heads ON conversations (queue_id, rank, position)
    WHERE state = 'waiting' AND park_until IS NULL;
CREATE INDEX conversations_parked ON conversations (account_id, park_until)
    WHERE state = 'waiting' AND park_until IS NOT NULL;
CREATE INDEX conversations_slots ON conversations (account_id, deadline_at) WHERE state IN ('reserved', 'closing');
CREATE INDEX conversations_assigned ON conversations (account_id, agent_id) WHERE state = 'assigned';
CREATE INDEX conversations_suspect ON conversations (account_id, verify_at)
    WHERE verify_at IS NOT NULL AND (state = 'assigned' OR park_reason = 'doubted');
CREATE INDEX conversations_closed ON conversations (account_id, closed_at) WHERE state = 'resolved';
CREATE INDEX conversations_by_room ON conversations (account_id, room_id, id);
CREATE INDEX conversations_decided ON conversations (account_id, decided_no) WHERE decided_no IS NOT NULL;
CREATE INDEX conversations_snoozed ON conversations (account_id, snoozed_until)
    WHERE state <> 'resolved' AND snoozed_until IS NOT NULL;
CREATE INDEX conversations_replacing ON conversations (account_id, replaces_agent)
    WHERE state <> 'resolved' AND replaces_agent IS NOT NULL;
CREATE INDEX conversations_untold ON conversations (account_id, opened_at) WHERE state = 'waiting' AND told_waiting = 0;

-- Sessions known to be over.
CREATE TABLE closed_services (
    account_id  INTEGER NOT NULL REFERENCES accounts,
    room_id     TEXT NOT NULL,
    service_id  TEXT NOT NULL,
    closed_at   INTEGER NOT NULL,
    PRIMARY KEY (account_id, room_id, service_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX closed_services_age ON closed_services (account_id, closed_at);

-- Counters, moved in the same transaction as the conversations they count.
CREATE TABLE agent_loads (
    account_id         INTEGER NOT NULL REFERENCES accounts,
    agent_id           INTEGER NOT NULL,
    open               INTEGER NOT NULL DEFAULT 0 CHECK (open >= 0),
    shift              INTEGER,
    shift_assignments  INTEGER NOT NULL DEFAULT 0,
    last_assigned_at   INTEGER,
    PRIMARY KEY (account_id, agent_id)
) STRICT, WITHOUT ROWID;

-- What an agent was given of an inbox a short while ago: fair distribution.
CREATE TABLE rate_windows (
    account_id  INTEGER NOT NULL REFERENCES accounts,
    inbox_id    INTEGER,
    agent_id    INTEGER NOT NULL,
    given       TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX rate_windows_key ON rate_windows
    (account_id, COALESCE(inbox_id, 0), (inbox_id IS NULL), agent_id);

-- Everything an operator has set for an account. A version never changes.
CREATE TABLE rulebooks (
    account_id  INTEGER NOT NULL REFERENCES accounts,
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    body        TEXT NOT NULL,
    PRIMARY KEY (account_id, version)
) STRICT;
CREATE INDEX rulebooks_age ON rulebooks (account_id, created_at);

CREATE TABLE audit (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id   INTEGER NOT NULL REFERENCES accounts,
    at           INTEGER NOT NULL,
    who          TEXT NOT NULL,
    version      INTEGER NOT NULL,
    action       TEXT NOT NULL,
    resource     TEXT NOT NULL,
    resource_id  TEXT NOT NULL,
    before       TEXT,
    after        TEXT
) STRICT;
CREATE INDEX audit_of ON audit (account_id, id);

-- The agents as rounds of decisions saw them, by the SHA-256 of the body.
CREATE TABLE rosters (
    account_id  INTEGER NOT NULL REFERENCES accounts,
    hash        BLOB NOT NULL,
    named_at    INTEGER NOT NULL,
    body        TEXT NOT NULL,
    PRIMARY KEY (account_id, hash)
) STRICT;

-- A round that reserved something and all it rested on.
CREATE TABLE decision_rounds (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id        INTEGER NOT NULL REFERENCES accounts,
    decided_at        INTEGER NOT NULL,
    rulebook_version  INTEGER NOT NULL,
    policy            TEXT NOT NULL,
    snapshot          TEXT NOT NULL,
    roster            BLOB NOT NULL,
    FOREIGN KEY (account_id, roster) REFERENCES rosters
) STRICT;
CREATE INDEX decision_rounds_age ON decision_rounds (account_id, decided_at);
CREATE INDEX decision_rounds_version ON decision_rounds (account_id, rulebook_version);
CREATE INDEX decision_rounds_roster ON decision_rounds (account_id, roster);

CREATE TABLE decisions (
    account_id       INTEGER NOT NULL,
    conversation_id  INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    round_id         INTEGER NOT NULL REFERENCES decision_rounds ON DELETE CASCADE,
    agent_id         INTEGER NOT NULL,
    waited_ms        INTEGER NOT NULL,
    PRIMARY KEY (account_id, conversation_id, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX decisions_round ON decisions (round_id);

-- Receivers of events. Secrets stand here as they are: signing needs them.
CREATE TABLE subscriptions (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id       INTEGER NOT NULL REFERENCES accounts,
    url              TEXT NOT NULL,
    events           TEXT NOT NULL,  -- ["conversation.assigned", …]
    secret           TEXT NOT NULL,
    previous_secret  TEXT,
    previous_until   INTEGER,
    disabled         TEXT CHECK (disabled IN ('operator', 'gone', 'failing', 'behind')),
    delivered_at     INTEGER,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
) STRICT;
CREATE INDEX subscriptions_of ON subscriptions (account_id);

-- One row an event and receiver, deleted once taken.
CREATE TABLE outbox (
    seq                INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 TEXT NOT NULL UNIQUE,  -- a UUID in lower case
    account_id         INTEGER NOT NULL,
    subscription_id    INTEGER NOT NULL,
    kind               TEXT NOT NULL,
    at                 INTEGER NOT NULL,
    conversation_id    INTEGER,
    room_id            TEXT,
    agent_id           INTEGER,
    previous_agent_id  INTEGER,
    inbox_id           INTEGER,
    team_id            INTEGER,
    waited_ms          INTEGER,
    load               INTEGER,
    capacity           INTEGER,
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_at            INTEGER NOT NULL,
    dead_at            INTEGER,
    trouble            TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (subscription_id, next_at) WHERE dead_at IS NULL;
CREATE INDEX outbox_order ON outbox (subscription_id, conversation_id, seq) WHERE dead_at IS NULL;
CREATE INDEX outbox_dead ON outbox (subscription_id, seq) WHERE dead_at IS NOT NULL;

-- Who does what only one part may do at a time.
CREATE TABLE leases (
    name        TEXT PRIMARY KEY,
    holder      TEXT NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
