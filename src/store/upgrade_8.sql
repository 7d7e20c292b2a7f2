-- From version 7 to 8: stored replies are appended, and indexed later.

ALTER TABLE idempotency RENAME TO idempotency_7;
CREATE TABLE idempotency (
    key_id       BLOB NOT NULL,                      -- the API key that asked
    request      BLOB NOT NULL CHECK (length(request) = 32),   -- SHA-256 of method, path and Idempotency-Key
    body_hash    BLOB NOT NULL CHECK (length(body_hash) = 32), -- SHA-256 of the payload
    status       INTEGER NOT NULL,                   -- HTTP status of the stored reply
    body         BLOB NOT NULL,
    -- 1: the reply holds a secret; the body is encrypted under the caller's Idempotency-Key.
    sealed       INTEGER NOT NULL CHECK (sealed IN (0, 1)),
    created_at   INTEGER NOT NULL,
    seq          INTEGER PRIMARY KEY                 -- in the order of age: what is old is found without an index
) STRICT;
CREATE TABLE idempotency_index (
    place BLOB PRIMARY KEY CHECK (length(place) = 24),   -- half of key_id and half of request
    seq   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency_state (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_to INTEGER NOT NULL,                     -- a seq; above it some may be in the index, too
    steps      INTEGER NOT NULL                      -- how often something was put into the index
) STRICT;
INSERT INTO idempotency (key_id, request, body_hash, status, body, sealed, created_at, seq)
    SELECT key_id, request, body_hash, status, body, sealed, created_at, seq FROM idempotency_7 ORDER BY seq;
DROP TABLE idempotency_7;
INSERT INTO idempotency_index (place, seq)
    SELECT CAST(substr(key_id, 9) || substr(request, 1, 16) AS BLOB), seq FROM idempotency ORDER BY 1;
INSERT INTO idempotency_state (id, indexed_to, steps)
    SELECT 1, coalesce(max(seq), 0), 0 FROM idempotency;
