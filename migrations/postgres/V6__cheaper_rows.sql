-- Why: rows of conversations are written for each webhook and assignment; what checks them costs as much as they do.
-- Old code sees: nothing. It writes the words it knows, and accounts and queues are never deleted.

SET LOCAL lock_timeout = '5s';

-- Each was a search for every row. Rows come only from statements that join the account and the queue.
ALTER TABLE conversations
    DROP CONSTRAINT conversations_account_id_fkey,
    DROP CONSTRAINT conversations_queue_id_fkey;
ALTER TABLE closed_services DROP CONSTRAINT closed_services_account_id_fkey;

-- Lists of words are parsed anew by every statement that writes. They are types of the program, which reads no other.
ALTER TABLE conversations
    DROP CONSTRAINT conversations_state_check,
    DROP CONSTRAINT conversations_origin_check,
    DROP CONSTRAINT conversations_status_check,
    DROP CONSTRAINT conversations_closed_how_check,
    DROP CONSTRAINT conversations_park_reason_check;

-- One index in the place of two that every change of state wrote to: a room has one open conversation at most, beside
-- any number that are closing.
DROP INDEX conversations_open, conversations_unresolved;
CREATE UNIQUE INDEX conversations_unresolved ON conversations
    (account_id, room_id, (CASE state WHEN 'closing' THEN id ELSE 0 END)) WHERE state <> 'resolved';

-- What explains the platform's count of an agent: without these, all that closed of late is read, and all they serve.
CREATE INDEX conversations_closed_by ON conversations (account_id, agent_id, closed_at)
    WHERE assigned_at IS NOT NULL AND closed_at IS NOT NULL;
CREATE INDEX conversations_put_off ON conversations (account_id, agent_id) WHERE state = 'assigned' AND slot_freed;

-- Packed several times as fast, where this PostgreSQL knows how (14 and later, as most are built).
DO $$
BEGIN
    ALTER TABLE decision_rounds ALTER COLUMN snapshot SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    NULL;
END
$$;
