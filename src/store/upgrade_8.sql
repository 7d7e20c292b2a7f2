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

-- The same of virtual CPUs.
CREATE TABLE imported_vcpus (
    workspace_id   BLOB NOT NULL,
    size           TEXT NOT NULL,
    effective_from INTEGER NOT NULL,                 -- 0: since ever
    until          INTEGER NOT NULL,                 -- when it was brought in
    vcpus          INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, size, effective_from)
) STRICT, WITHOUT ROWID;

-- Credits that an operator gave to an organization or took back, after those that it began with;
-- tenants.credits_granted is the sum of all.
CREATE TABLE credit_entries (
    seq         INTEGER PRIMARY KEY,
    tenant_id   BLOB NOT NULL REFERENCES tenants (id),
    kind        TEXT NOT NULL CHECK (kind IN ('grant', 'refund') OR kind = 'deduct'),
    credits     INTEGER NOT NULL,                    -- whole credits; negative where they were taken back
    description TEXT NOT NULL,
    refers_to   TEXT,                                -- the transaction that is refunded
    actor       TEXT NOT NULL,                       -- who, as in the audit log
    at          INTEGER NOT NULL
) STRICT;
CREATE INDEX credit_entries_of_tenant ON credit_entries (tenant_id, seq);

-- Organizations whose balance is below the threshold, and were told so: once until it is above again.
CREATE TABLE low_credits (
    tenant_id BLOB PRIMARY KEY REFERENCES tenants (id),
    since     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A report that lay ahead was forgotten when its computer was changed: it is taken up at the next start.
UPDATE computers SET due_at = (
    SELECT e.at FROM compute_events e WHERE e.computer_id = computers.id ORDER BY e.at DESC, e.seq DESC LIMIT 1)
WHERE driver = 'external' AND deleted_at IS NULL AND due_at IS NULL
  AND (status, size, workspace_id, project_id) IS NOT (
    SELECT e.status, e.size, e.workspace_id, e.project_id FROM compute_events e
    WHERE e.computer_id = computers.id ORDER BY e.at DESC, e.seq DESC LIMIT 1);

-- Domains are checked by themselves.
ALTER TABLE preview_domains ADD COLUMN failing_since INTEGER;
ALTER TABLE preview_domains ADD COLUMN checks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE preview_domains ADD COLUMN next_check_at INTEGER;
CREATE INDEX preview_domains_by_next_check ON preview_domains (next_check_at);

-- What is known of this file as a file; one row.
CREATE TABLE installation (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    -- It is a copy: a backup, by its number in its directory, or 0. The next start of a service makes
    -- it a database of its own: the log goes on with numbers that nobody has had. NULL = it is none.
    copy_number   INTEGER,
    audit_floor   INTEGER NOT NULL DEFAULT 0,        -- the next row of audit_log has a higher number
    audit_skipped INTEGER NOT NULL DEFAULT 0         -- numbers of audit_log that were left out for that
) STRICT;
-- It may be a backup that was put back, of a version that could not say so.
INSERT INTO installation (id, audit_skipped) VALUES (1, 4294967296 + abs(random() % 1099511627776));
UPDATE installation SET audit_floor = audit_skipped + coalesce((SELECT max(seq) FROM audit_log), 0);

-- Where backups were made, and how the last one went.
CREATE TABLE backup_dirs (
    directory TEXT PRIMARY KEY,                      -- it was there: it is not made again
    tried_at  INTEGER NOT NULL,
    error     TEXT,                                  -- why the last try failed; NULL = it did not
    good_at   INTEGER,                               -- the state that the last good one holds
    good_file TEXT
) STRICT, WITHOUT ROWID;

-- Workspaces that are being brought in. Until the last turn of the import such a one is marked as deleted,
-- and nothing of it is shown anywhere; what is found here at a start, or was refused half way, is removed.
CREATE TABLE imports (
    workspace_id  BLOB PRIMARY KEY,
    tenant_id     BLOB NOT NULL,
    -- What was there before, or has been kept free: how to find what came with it.
    first_event   INTEGER NOT NULL,                  -- compute_events.seq
    first_audit   INTEGER NOT NULL,                  -- audit_log.seq
    audit_rows    INTEGER NOT NULL,
    last_project  INTEGER NOT NULL,                  -- rowid
    last_computer INTEGER NOT NULL,                  -- rowid
    started_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX imports_of_tenant ON imports (tenant_id);

DROP TRIGGER audit_log_whole;
-- The audit log is only ever added to. Its rows go, if at all, from its old end: the older by date first.
-- Those with numbers below 1 came with a workspace from another installation; they are by its word, and may
-- go with it.
CREATE TRIGGER audit_log_whole BEFORE DELETE ON audit_log
    WHEN old.seq > 0
     AND EXISTS (SELECT 1 FROM audit_log WHERE seq > 0 AND seq < old.seq AND at <= old.at) BEGIN
    SELECT RAISE(ABORT, 'only the oldest rows of the audit log can go');
END;
-- Retention of what was brought in.
CREATE INDEX audit_log_imported ON audit_log (at) WHERE seq < 1;

-- A deleted computer stays what it was at its deletion, whatever agents report for a time after it.
UPDATE computers SET (workspace_id, project_id, size) = (
    SELECT e.workspace_id, e.project_id, e.size FROM compute_events e
    WHERE e.computer_id = computers.id AND e.at <= computers.deleted_at ORDER BY e.at DESC, e.seq DESC LIMIT 1)
WHERE deleted_at IS NOT NULL
  AND EXISTS (SELECT 1 FROM compute_events e WHERE e.computer_id = computers.id AND e.at <= computers.deleted_at)
  AND (workspace_id, project_id, size) IS NOT (
    SELECT e.workspace_id, e.project_id, e.size FROM compute_events e
    WHERE e.computer_id = computers.id AND e.at <= computers.deleted_at ORDER BY e.at DESC, e.seq DESC LIMIT 1);

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
