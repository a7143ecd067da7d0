-- Why: conversations that the platform refuses again and again sit out; agents who stay away give theirs back.
-- Old code sees: two more columns with defaults. It does not know the park reason `poison`: stop it before that is used.

SET LOCAL lock_timeout = '5s';

ALTER TABLE conversations
    ADD COLUMN refusals  INT NOT NULL DEFAULT 0,
    ADD COLUMN hops      INT NOT NULL DEFAULT 0,
    DROP CONSTRAINT conversations_park_reason_check,
    ADD CONSTRAINT conversations_park_reason_check
        CHECK (park_reason IN ('previous_closing', 'refused', 'nobody_eligible', 'doubted', 'excluded',
                               'not_proposed', 'poison', 'pending', 'snoozed')) NOT VALID;
COMMENT ON COLUMN conversations.refusals IS 'in a row by the platform, whoever was to have it';
COMMENT ON COLUMN conversations.hops IS 'times it was taken from an agent who was not there';
