-- Why: the ledger. Events in order of acceptance, conversations, loads, leases.
-- Old code sees: nothing; this is the first.

SET LOCAL lock_timeout = '5s';

-- One row a platform tenant. Its row lock orders all decisions of the account.
CREATE TABLE accounts (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    platform      TEXT NOT NULL,
    tenant        TEXT NOT NULL,
    folded_seq    BIGINT NOT NULL DEFAULT 0,
    decided       BIGINT NOT NULL DEFAULT 0,
    paused_until  TIMESTAMPTZ,
    pause_reason  TEXT CHECK (pause_reason IN ('busy', 'denied')),
    failures      INT NOT NULL DEFAULT 0,
    UNIQUE (platform, tenant)
);
COMMENT ON COLUMN accounts.folded_seq IS 'events up to here are folded into conversations';
COMMENT ON COLUMN accounts.decided IS 'first reservations so far; numbers conversations.decided_no';

-- What platforms told us. Written by ingest, read once by the folder. No foreign key: it would take a lock on the
-- account for every webhook.
CREATE TABLE events (
    account_id        BIGINT NOT NULL,
    seq               BIGINT GENERATED ALWAYS AS IDENTITY,
    received_at       TIMESTAMPTZ NOT NULL,
    kind              TEXT NOT NULL CHECK (kind IN ('allocate', 'resolve')),
    source            TEXT NOT NULL CHECK (source IN ('webhook', 'reconcile')),
    room_id           TEXT NOT NULL,
    inbox_id          BIGINT,
    service_id        TEXT,
    service_resolved  BOOLEAN,
    PRIMARY KEY (account_id, seq)
);

-- One row an (inbox, team) pair that ever had a conversation, with its round-robin rotation.
CREATE TABLE queues (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   BIGINT NOT NULL REFERENCES accounts,
    inbox_id     BIGINT,
    team_id      BIGINT,
    turn_agents  BIGINT[] NOT NULL DEFAULT '{}',
    turns        BIGINT[] NOT NULL DEFAULT '{}'
);
-- NULL is a queue of its own, and no inbox number is spared to stand for it.
CREATE UNIQUE INDEX queues_key ON queues
    (account_id, COALESCE(inbox_id, 0), (inbox_id IS NULL), COALESCE(team_id, 0), (team_id IS NULL));

CREATE TABLE conversations (
    id                BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id        BIGINT NOT NULL REFERENCES accounts,
    queue_id          BIGINT NOT NULL REFERENCES queues,
    room_id           TEXT NOT NULL,
    origin            TEXT NOT NULL CHECK (origin IN ('event', 'platform')),
    position          BIGINT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('waiting', 'reserved', 'closing', 'assigned', 'resolved')),
    agent_id          BIGINT,
    attempt           INT NOT NULL DEFAULT 0,
    takeovers         INT NOT NULL DEFAULT 0,
    deadline_at       TIMESTAMPTZ,
    assigned_at       TIMESTAMPTZ,
    closed_at         TIMESTAMPTZ,
    closed_how        TEXT CHECK (closed_how IN ('resolved', 'served_elsewhere', 'room_gone')),
    park_until        TIMESTAMPTZ,
    park_reason       TEXT CHECK (park_reason IN ('previous_closing', 'refused', 'nobody_eligible', 'doubted')),
    opened_at         TIMESTAMPTZ NOT NULL,
    last_activity_at  TIMESTAMPTZ NOT NULL,
    service_id        TEXT,
    opened_with       TEXT,
    verify_at         TIMESTAMPTZ,
    verify_seq        BIGINT,
    refused           JSONB NOT NULL DEFAULT '[]',
    turn_charge       BIGINT NOT NULL DEFAULT 0,
    decided_no        BIGINT,
    CHECK (state = 'resolved' OR (agent_id IS NOT NULL) = (state IN ('reserved', 'closing', 'assigned'))),
    CHECK ((deadline_at IS NOT NULL) = (state IN ('reserved', 'closing'))),
    CHECK ((closed_at IS NOT NULL) = (state = 'resolved'))
);
COMMENT ON COLUMN conversations.position IS 'place in line: the sequence of the event that opened it';
COMMENT ON COLUMN conversations.agent_id IS 'whose slot; of a resolved conversation, who had it last';
COMMENT ON COLUMN conversations.takeovers IS 'how often the reservation now held was taken over past its deadline';
COMMENT ON COLUMN conversations.decided_no IS 'place in the order of first reservations';

-- The conversation key: at most one open conversation a room.
CREATE UNIQUE INDEX conversations_open ON conversations (account_id, room_id)
    WHERE state IN ('waiting', 'reserved', 'assigned');
CREATE INDEX conversations_unresolved ON conversations (account_id, room_id) WHERE state <> 'resolved';
CREATE INDEX conversations_heads ON conversations (queue_id, position)
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

-- Sessions known to be over: a second resolve of one of these is a duplicate.
CREATE TABLE closed_services (
    account_id  BIGINT NOT NULL REFERENCES accounts,
    room_id     TEXT NOT NULL,
    service_id  TEXT NOT NULL,
    closed_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account_id, room_id, service_id)
);
CREATE INDEX closed_services_age ON closed_services (account_id, closed_at);

-- Counters, moved in the same transaction as the conversations they count.
CREATE TABLE agent_loads (
    account_id         BIGINT NOT NULL REFERENCES accounts,
    agent_id           BIGINT NOT NULL,
    open               INT NOT NULL DEFAULT 0 CHECK (open >= 0),
    shift              TIMESTAMPTZ,
    shift_assignments  INT NOT NULL DEFAULT 0,
    last_assigned_at   TIMESTAMPTZ,
    PRIMARY KEY (account_id, agent_id)
);

-- Who does what only one process may do. Times are the database's.
CREATE TABLE leases (
    name        TEXT PRIMARY KEY,
    holder      TEXT NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL
);

-- Rows come and go quickly: what the planner believes and what it must step over are kept fresh.
ALTER TABLE conversations SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
