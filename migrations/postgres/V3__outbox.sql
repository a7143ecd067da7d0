-- Why: events out. Who is told of what, and what they are still to be told.
-- Old code sees: two columns with defaults, which it leaves alone; assignments it makes are told to nobody.

SET LOCAL lock_timeout = '5s';

-- Receivers of events. Secrets stand here as they are: signing needs them.
CREATE TABLE subscriptions (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id       BIGINT NOT NULL REFERENCES accounts,
    url              TEXT NOT NULL,
    events           TEXT[] NOT NULL,
    secret           TEXT NOT NULL,
    previous_secret  TEXT,
    previous_until   TIMESTAMPTZ,
    disabled         TEXT CHECK (disabled IN ('operator', 'gone', 'failing', 'behind')),
    delivered_at     TIMESTAMPTZ,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
COMMENT ON COLUMN subscriptions.previous_secret IS 'signs beside the new one until previous_until, after a rotation';
COMMENT ON COLUMN subscriptions.disabled IS 'why nothing is sent; NULL while it is';
COMMENT ON COLUMN subscriptions.delivered_at IS 'when an event was last taken';
CREATE INDEX subscriptions_of ON subscriptions (account_id);

-- One row an event and receiver, written with the change it tells of and deleted once taken. No foreign key: it would
-- lock the receiver's row for every event, and a receiver deleted at that moment would fail a decision.
CREATE TABLE outbox (
    seq                BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                 UUID NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    account_id         BIGINT NOT NULL,
    subscription_id    BIGINT NOT NULL,
    kind               TEXT NOT NULL,
    at                 TIMESTAMPTZ NOT NULL,
    conversation_id    BIGINT,
    room_id            TEXT,
    agent_id           BIGINT,
    previous_agent_id  BIGINT,
    inbox_id           BIGINT,
    team_id            BIGINT,
    waited_ms          BIGINT,
    load               INT,
    capacity           INT,
    attempts           INT NOT NULL DEFAULT 0,
    next_at            TIMESTAMPTZ NOT NULL,
    dead_at            TIMESTAMPTZ,
    trouble            TEXT
);
COMMENT ON COLUMN outbox.id IS 'the same at every attempt: by it receivers know a repetition';
COMMENT ON COLUMN outbox.attempts IS 'how often it was claimed; only the latest claim may settle it';
COMMENT ON COLUMN outbox.next_at IS 'due from then on; while somebody delivers it, when their claim runs out';
COMMENT ON COLUMN outbox.dead_at IS 'given up then; NULL while it is to be delivered';
CREATE INDEX outbox_due ON outbox (subscription_id, next_at) WHERE dead_at IS NULL;
CREATE INDEX outbox_order ON outbox (subscription_id, conversation_id, seq) WHERE dead_at IS NULL;
CREATE INDEX outbox_dead ON outbox (subscription_id, seq) WHERE dead_at IS NOT NULL;

ALTER TABLE conversations ADD COLUMN told_waiting BOOLEAN NOT NULL DEFAULT false;
COMMENT ON COLUMN conversations.told_waiting IS 'subscribers were told that it has waited for too long';
CREATE INDEX conversations_untold ON conversations (account_id, opened_at) WHERE state = 'waiting' AND NOT told_waiting;

ALTER TABLE queues ADD COLUMN unattended BOOLEAN NOT NULL DEFAULT false;
COMMENT ON COLUMN queues.unattended IS 'subscribers were told that nobody serves it, and nobody has since';

-- Rows come and go quickly.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
