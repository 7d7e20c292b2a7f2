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

-- A report that lay ahead was forgotten when its computer was changed: it is taken up at the next start.
UPDATE computers SET due_at = (
    SELECT e.at FROM compute_events e WHERE e.computer_id = computers.id ORDER BY e.at DESC, e.seq DESC LIMIT 1)
WHERE driver = 'external' AND deleted_at IS NULL AND due_at IS NULL
  AND (status, size, workspace_id, project_id) IS NOT (
    SELECT e.status, e.size, e.workspace_id, e.project_id FROM compute_events e
    WHERE e.computer_id = computers.id ORDER BY e.at DESC, e.seq DESC LIMIT 1);
