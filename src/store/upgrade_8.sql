-- From version 7 to 8: what held in the past of attributions, virtual CPUs and imported prices.

-- What a computer's end user, or a project's id of the caller's, was before it changed: what was used until
-- then stays with it. Written when it changes; what has no later row here is as its own row says.
CREATE TABLE past_attributions (
    subject     BLOB NOT NULL,                       -- id of the computer or project
    until       INTEGER NOT NULL,                    -- it held up to this instant, exclusive
    external_id TEXT,
    PRIMARY KEY (subject, until)
) STRICT, WITHOUT ROWID;

-- Virtual CPUs of a size since when, as the configuration had them: vCPU-seconds of the past stay.
CREATE TABLE size_vcpus (
    size           TEXT NOT NULL,
    effective_from INTEGER NOT NULL,                 -- 0: since ever
    vcpus          INTEGER NOT NULL,
    PRIMARY KEY (size, effective_from)
) STRICT, WITHOUT ROWID;

-- The prices of history that was brought in from another installation, as its events show them: what is
-- reported late about that time has the price of that time.
CREATE TABLE imported_rates (
    workspace_id   BLOB NOT NULL,
    size           TEXT NOT NULL,
    effective_from INTEGER NOT NULL,                 -- 0: since ever
    until          INTEGER NOT NULL,                 -- when it was brought in: later times have the own prices
    rate           INTEGER NOT NULL CHECK (rate >= 0),
    PRIMARY KEY (workspace_id, size, effective_from)
) STRICT, WITHOUT ROWID;

-- A report that lay ahead was forgotten when its computer was changed: it is taken up at the next start.
UPDATE computers SET due_at = (
    SELECT e.at FROM compute_events e WHERE e.computer_id = computers.id ORDER BY e.at DESC, e.seq DESC LIMIT 1)
WHERE driver = 'external' AND deleted_at IS NULL AND due_at IS NULL
  AND (status, size, workspace_id, project_id) IS NOT (
    SELECT e.status, e.size, e.workspace_id, e.project_id FROM compute_events e
    WHERE e.computer_id = computers.id ORDER BY e.at DESC, e.seq DESC LIMIT 1);

-- A third driver: a container engine. SQLite cannot alter a CHECK; the new one allows more, so no row has to be
-- looked at, and the text of the table is what changes: https://www.sqlite.org/lang_altertable.html, section 8.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql,
    'CHECK (driver IN (''simulated'', ''external''))',
    'CHECK (driver IN (''simulated'', ''external'') OR driver = ''docker'')')
    WHERE type = 'table' AND name = 'computers';
PRAGMA writable_schema = RESET;

-- What is wanted of a computer that a container engine runs (driver docker), and how far that has come. The
-- row goes when the container is gone, after its computer was deleted.
CREATE TABLE machines (
    computer_id BLOB PRIMARY KEY,
    tenant_id   BLOB NOT NULL,
    desired     TEXT NOT NULL CHECK (desired IN ('running', 'stopped') OR desired = 'gone'),
    op          INTEGER NOT NULL,                    -- counts what was asked for
    op_at       INTEGER NOT NULL,                    -- when the last of it was
    restart     INTEGER NOT NULL CHECK (restart IN (0, 1)),     -- what ran before `op` does not do for it
    done_op     INTEGER NOT NULL,                    -- up to here it was carried out, or given up
    engine_ref  TEXT,                                -- the engine's id of the container
    held_to     TEXT,                                -- the size to which the engine holds it; NULL: that of the next start
    failures    INTEGER NOT NULL DEFAULT 0,          -- in a row, for the time until the next attempt
    fault       TEXT,                                -- what is wrong, in words for its owner
    fault_since INTEGER,
    look_at     INTEGER                              -- when something is to be done; NULL: nothing is
) STRICT, WITHOUT ROWID;
CREATE INDEX machines_to_look_at ON machines (look_at) WHERE look_at IS NOT NULL;

-- Which engine was last seen, and when it was last seen to run all that the events say runs: what a loss of
-- power has ended was alive until then.
CREATE TABLE engine_seen (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    install   TEXT NOT NULL,                         -- by which containers are known to be of this installation
    boot_id   TEXT NOT NULL,                         -- the host's, which a restart of it changes
    seen_at   INTEGER NOT NULL
) STRICT;
