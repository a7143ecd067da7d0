-- Why: a ledger that came from a data folder says so, and a move that is repeated finds its own again.
-- Old code sees: a table it does not know.

SET LOCAL lock_timeout = '5s';

CREATE TABLE moves (
    ledger    TEXT PRIMARY KEY,
    moved_at  TIMESTAMPTZ NOT NULL,
    digest    TEXT NOT NULL
);
COMMENT ON TABLE moves IS 'ledgers that were moved here from data folders by `sebastian move`';
COMMENT ON COLUMN moves.ledger IS 'when its schema was made, to the nanosecond: no two have the same';
COMMENT ON COLUMN moves.digest IS 'of all its rows; while the tables come to the same, nobody has changed them since';
