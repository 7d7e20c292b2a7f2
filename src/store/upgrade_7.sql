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
UPDATE sqlite_schema SET sql = replace(sql,
    'PRIMARY KEY (key_id, request)',
    'seq          INTEGER PRIMARY KEY,                -- in the order of age: what is old is found without an index
    UNIQUE (key_id, request)') WHERE type = 'table' AND name = 'idempotency';
PRAGMA writable_schema = RESET;

DROP INDEX idempotency_age;
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
