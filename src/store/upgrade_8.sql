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

-- A deleted computer stays what it was at its deletion, whatever agents report for a time after it.
UPDATE computers SET (workspace_id, project_id, size) = (
    SELECT e.workspace_id, e.project_id, e.size FROM compute_events e
    WHERE e.computer_id = computers.id AND e.at <= computers.deleted_at ORDER BY e.at DESC, e.seq DESC LIMIT 1)
WHERE deleted_at IS NOT NULL
  AND EXISTS (SELECT 1 FROM compute_events e WHERE e.computer_id = computers.id AND e.at <= computers.deleted_at)
  AND (workspace_id, project_id, size) IS NOT (
    SELECT e.workspace_id, e.project_id, e.size FROM compute_events e
    WHERE e.computer_id = computers.id AND e.at <= computers.deleted_at ORDER BY e.at DESC, e.seq DESC LIMIT 1);
