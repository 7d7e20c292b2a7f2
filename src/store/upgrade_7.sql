-- From version 6 to 7: fewer b-trees to a new workspace and to a request with an Idempotency-Key.
--
-- A column that is the INTEGER PRIMARY KEY is stored as the rowid that every row has already, and a
-- primary key that is not is the same unique index as a UNIQUE: the text of the tables changes, no row.
-- https://www.sqlite.org/lang_altertable.html, section 8.

PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(sql,
    'BLOB PRIMARY KEY CHECK (length(id) = 16)',
    'BLOB NOT NULL UNIQUE CHECK (length(id) = 16)'),
    'deleted_at                INTEGER
',
    'deleted_at                INTEGER,
    number                    INTEGER PRIMARY KEY    -- what the search index knows it by
') WHERE type = 'table' AND name = 'workspaces';
PRAGMA writable_schema = RESET;

DROP INDEX workspaces_by_age;
DROP TRIGGER workspaces_created;
DROP TRIGGER workspaces_new_to_search;
DROP TRIGGER workspaces_changed_for_search;

-- The search index is made anew, by the background rounds; until then a search looks at each workspace.
DROP TABLE workspace_search;
DROP TABLE searchable_workspaces;
DROP TABLE workspaces_to_index;
CREATE VIRTUAL TABLE workspace_search USING fts5 (
    name, slug, external_workspace_id, content = '', contentless_delete = 1, tokenize = 'trigram'
);
CREATE TABLE workspace_search_state (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_to INTEGER NOT NULL                      -- a workspace number
) STRICT;
INSERT INTO workspace_search_state (id, indexed_to) VALUES (1, 0);
CREATE TABLE workspaces_to_index (
    number     INTEGER PRIMARY KEY
) STRICT;
CREATE TRIGGER workspaces_changed_for_search
    AFTER UPDATE OF name, slug, external_workspace_id, deleted_at ON workspaces BEGIN
    INSERT OR IGNORE INTO workspaces_to_index (number) VALUES (new.number);
END;

-- Stored replies are appended, and indexed later.
ALTER TABLE idempotency RENAME TO idempotency_6;
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
INSERT INTO idempotency (key_id, request, body_hash, status, body, sealed, created_at)
    SELECT key_id, request, body_hash, status, body, sealed, created_at FROM idempotency_6 ORDER BY created_at, rowid;
DROP TABLE idempotency_6;
INSERT INTO idempotency_index (place, seq)
    SELECT CAST(substr(key_id, 9) || substr(request, 1, 16) AS BLOB), seq FROM idempotency ORDER BY 1;
INSERT INTO idempotency_state (id, indexed_to, steps)
    SELECT 1, coalesce(max(seq), 0), 0 FROM idempotency;
