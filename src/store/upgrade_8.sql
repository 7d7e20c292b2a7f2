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
