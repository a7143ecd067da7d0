-- Why: what operators set, what conversations carry, recorded decisions. Queues are sorted by rank, of which position is the tie.
-- Old code sees: defaults in every new column. It reads the heads of queues by sorting them, and opens conversations whose
-- rank is the time of its transaction. Stop it before teams, labels or statuses are used: it knows none of their words.

SET LOCAL lock_timeout = '5s';

ALTER TABLE accounts
    ADD COLUMN folded_at         TIMESTAMPTZ,
    ADD COLUMN rulebook_version  BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN decided_version   BIGINT NOT NULL DEFAULT 0;
COMMENT ON COLUMN accounts.folded_at IS 'time of the last event folded: times of events follow their order';
COMMENT ON COLUMN accounts.rulebook_version IS 'the newest; zero, of which there is no row, says nothing';
COMMENT ON COLUMN accounts.decided_version IS 'the version that the last round of decisions saw';

-- Everything an operator has set for an account, as one value. A version never changes.
CREATE TABLE rulebooks (
    account_id  BIGINT NOT NULL REFERENCES accounts,
    version     BIGINT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    body        JSONB NOT NULL,
    PRIMARY KEY (account_id, version)
);
CREATE INDEX rulebooks_age ON rulebooks (account_id, created_at);

CREATE TABLE audit (
    account_id   BIGINT NOT NULL REFERENCES accounts,
    id           BIGINT GENERATED ALWAYS AS IDENTITY,
    at           TIMESTAMPTZ NOT NULL,
    who          TEXT NOT NULL,
    version      BIGINT NOT NULL,
    action       TEXT NOT NULL,
    resource     TEXT NOT NULL,
    resource_id  TEXT NOT NULL,
    before       JSONB,
    after        JSONB,
    PRIMARY KEY (account_id, id)
);

ALTER TABLE events
    ADD COLUMN details JSONB,
    DROP CONSTRAINT events_kind_check,
    DROP CONSTRAINT events_source_check,
    ADD CONSTRAINT events_kind_check CHECK (kind IN ('allocate', 'resolve', 'update')) NOT VALID,
    ADD CONSTRAINT events_source_check CHECK (source IN ('webhook', 'reconcile', 'operator')) NOT VALID;
COMMENT ON COLUMN events.details IS 'of an allocate what routes go by, of an update what changes';

ALTER TABLE queues ADD COLUMN sorting JSONB;
COMMENT ON COLUMN queues.sorting IS 'by what its conversations are ranked; NULL: perhaps not all of them by the same';

ALTER TABLE conversations
    ADD COLUMN rank            TIMESTAMPTZ NOT NULL DEFAULT now(),
    ADD COLUMN traits          JSONB NOT NULL DEFAULT '{}',
    ADD COLUMN status          TEXT NOT NULL DEFAULT 'open',
    ADD COLUMN snoozed_until   TIMESTAMPTZ,
    ADD COLUMN slot_freed      BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN turn            JSONB,
    ADD COLUMN replaces_agent  BIGINT,
    ADD COLUMN verify_from     TIMESTAMPTZ,
    DROP CONSTRAINT conversations_park_reason_check,
    ADD CONSTRAINT conversations_park_reason_check
        CHECK (park_reason IN ('previous_closing', 'refused', 'nobody_eligible', 'doubted', 'excluded',
                               'not_proposed', 'pending', 'snoozed')) NOT VALID,
    ADD CONSTRAINT conversations_status_check CHECK (status IN ('open', 'pending', 'snoozed')) NOT VALID;
COMMENT ON COLUMN conversations.rank IS 'what its queue is sorted by, before position';
COMMENT ON COLUMN conversations.traits IS 'what policies go by, apart from the team, which is the queue''s';
COMMENT ON COLUMN conversations.slot_freed IS 'put off, and its agent has the slot back meanwhile';
COMMENT ON COLUMN conversations.turn IS 'what the slot cost beside the slot, and where; takes the place of turn_charge';
COMMENT ON COLUMN conversations.replaces_agent IS 'whom the platform still shows in the room';
COMMENT ON COLUMN conversations.verify_from IS 'when the event verify_seq came';

UPDATE conversations SET rank = opened_at WHERE state <> 'resolved';

DROP INDEX conversations_heads;
CREATE INDEX conversations_heads ON conversations (queue_id, rank, position)
    WHERE state = 'waiting' AND park_until IS NULL;
CREATE INDEX conversations_snoozed ON conversations (account_id, snoozed_until)
    WHERE state <> 'resolved' AND snoozed_until IS NOT NULL;
CREATE INDEX conversations_replacing ON conversations (account_id, replaces_agent)
    WHERE state <> 'resolved' AND replaces_agent IS NOT NULL;

-- What an agent was given of an inbox a short while ago, each with its time: fair distribution.
CREATE TABLE rate_windows (
    account_id  BIGINT NOT NULL REFERENCES accounts,
    inbox_id    BIGINT,
    agent_id    BIGINT NOT NULL,
    given       JSONB NOT NULL
);
CREATE UNIQUE INDEX rate_windows_key ON rate_windows
    (account_id, COALESCE(inbox_id, 0), (inbox_id IS NULL), agent_id);

-- The agents as rounds of decisions saw them, without names and what changes from round to round. Kept as long as a round
-- names them.
CREATE TABLE rosters (
    account_id  BIGINT NOT NULL REFERENCES accounts,
    hash        BYTEA NOT NULL,
    named_at    TIMESTAMPTZ NOT NULL,
    body        JSON NOT NULL,
    PRIMARY KEY (account_id, hash)
);
COMMENT ON COLUMN rosters.hash IS 'SHA-256 of the body';
COMMENT ON COLUMN rosters.named_at IS 'time of the last round that names it';

-- A round that reserved something and all it rested on: deciding again over it chooses the same.
CREATE TABLE decision_rounds (
    id                BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id        BIGINT NOT NULL REFERENCES accounts,
    decided_at        TIMESTAMPTZ NOT NULL,
    rulebook_version  BIGINT NOT NULL,
    policy            JSON NOT NULL,
    snapshot          JSON NOT NULL,
    roster            BYTEA NOT NULL,
    FOREIGN KEY (account_id, roster) REFERENCES rosters
);
COMMENT ON COLUMN decision_rounds.snapshot IS 'without agents and rulebook, which are named beside it';
CREATE INDEX decision_rounds_age ON decision_rounds (account_id, decided_at);
CREATE INDEX decision_rounds_version ON decision_rounds (account_id, rulebook_version);
CREATE INDEX decision_rounds_roster ON decision_rounds (account_id, roster);

CREATE TABLE decisions (
    account_id       BIGINT NOT NULL,
    conversation_id  BIGINT NOT NULL,
    attempt          INT NOT NULL,
    round_id         BIGINT NOT NULL REFERENCES decision_rounds ON DELETE CASCADE,
    agent_id         BIGINT NOT NULL,
    waited_ms        BIGINT NOT NULL,
    PRIMARY KEY (account_id, conversation_id, attempt)
);
CREATE INDEX decisions_round ON decisions (round_id);
