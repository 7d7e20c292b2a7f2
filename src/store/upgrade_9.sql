-- Version 9. Later parts of this step stand below, by topic.

-- Names in paths.
CREATE INDEX projects_by_slug ON projects (tenant_id, slug) WHERE deleted_at IS NULL;
CREATE INDEX projects_by_external ON projects (tenant_id, external_project_id)
    WHERE deleted_at IS NULL AND external_project_id IS NOT NULL;

-- Two things that a container has to follow may happen at one instant: they are counted.
ALTER TABLE machines ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;

-- ---- the bill ----

-- The time zone in which an organization or a workspace counts its days and months; none: UTC.
CREATE TABLE time_zones (
    owner_id  BLOB PRIMARY KEY CHECK (length(owner_id) = 16),  -- id of the tenant or workspace
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    name      TEXT NOT NULL                          -- as the IANA database writes it
) STRICT, WITHOUT ROWID;

-- ---- preview addresses ----

-- Links that open the preview addresses of a computer that is not public, for whoever has one.
CREATE TABLE preview_links (
    secret_hash BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
    tenant_id   BLOB NOT NULL,
    computer_id BLOB NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX preview_links_of_computer ON preview_links (computer_id);
CREATE INDEX preview_links_over ON preview_links (expires_at);
-- A host name names one computer of all organizations.
CREATE INDEX computers_by_host ON computers (slug) WHERE driver = 'docker' AND deleted_at IS NULL;
-- What a credit costs in money, and what else stands on statements: of an organization, and of a workspace where
-- that has other prices. Holds for statements of the month `effective_from` and of later ones.
CREATE TABLE price_lists (
    owner_id       BLOB NOT NULL,                    -- id of the tenant or workspace
    tenant_id      BLOB NOT NULL REFERENCES tenants (id),
    effective_from TEXT NOT NULL,                    -- a month, such as 2029-01
    body           TEXT NOT NULL,                    -- JSON: what is set
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (owner_id, effective_from)
) STRICT;

-- What a customer was sent about a month. Rows are never changed nor deleted: what is learned later stands as
-- a correction on the next one.
CREATE TABLE statements (
    tenant_id    BLOB NOT NULL REFERENCES tenants (id),
    number       INTEGER NOT NULL CHECK (number > 0), -- 1, 2, 3, ... of the organization, none left out
    workspace_id BLOB NOT NULL,
    period       TEXT NOT NULL,                      -- a month, such as 2029-01
    starts_at    INTEGER NOT NULL,                   -- its first instant, in the zone of the workspace
    ends_at      INTEGER NOT NULL,                   -- exclusive
    known_seq    INTEGER NOT NULL,                   -- it says what compute_events up to this one say
    start_rest   INTEGER NOT NULL,                   -- eighteenths of a micro-credit that the meter had begun
    digest       BLOB NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of what ran and was corrected
    body         TEXT NOT NULL,                      -- JSON: names, prices and sums, as they were
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, number)
) STRICT;
CREATE UNIQUE INDEX statements_once ON statements (workspace_id, period);
CREATE INDEX statements_of_period ON statements (tenant_id, period, number);

CREATE TABLE statement_lines (
    tenant_id    BLOB NOT NULL,
    number       INTEGER NOT NULL,
    line         INTEGER NOT NULL,                   -- from 1
    workspace_id BLOB NOT NULL,
    kind         TEXT NOT NULL,                      -- usage, adjustment, correction, fee, allowance, discount, minimum
    period       TEXT NOT NULL,                      -- the month that it is about: of a correction an earlier one
    project_id   BLOB,
    computer_id  BLOB,
    size         TEXT,
    rate         INTEGER,                            -- credits per hour
    event_seq    INTEGER,                            -- the adjustment in compute_events
    text         TEXT NOT NULL,                      -- for people
    project      TEXT,                               -- names, as they were
    computer     TEXT,
    compute_ms   INTEGER NOT NULL,
    credit_ms    INTEGER NOT NULL,                   -- rate x ms: 3 600 000 = one credit
    micros       INTEGER NOT NULL,                   -- micro-credits; they add up to the meter
    billed_ms    INTEGER NOT NULL,                   -- after the billing increment
    billed_micros INTEGER NOT NULL,
    amount       INTEGER,                            -- in the smallest unit of the currency; NULL: no prices
    PRIMARY KEY (tenant_id, number, line),
    FOREIGN KEY (tenant_id, number) REFERENCES statements (tenant_id, number)
) STRICT, WITHOUT ROWID;
-- What was said about a month so far.
CREATE INDEX statement_lines_about ON statement_lines (workspace_id, period);

CREATE TRIGGER statements_unchanged BEFORE UPDATE ON statements BEGIN
    SELECT RAISE(ABORT, 'a statement cannot be changed');
END;
CREATE TRIGGER statements_kept BEFORE DELETE ON statements BEGIN
    SELECT RAISE(ABORT, 'a statement cannot be deleted');
END;
CREATE TRIGGER statement_lines_unchanged BEFORE UPDATE ON statement_lines BEGIN
    SELECT RAISE(ABORT, 'a statement cannot be changed');
END;
CREATE TRIGGER statement_lines_kept BEFORE DELETE ON statement_lines BEGIN
    SELECT RAISE(ABORT, 'a statement cannot be deleted');
END;

-- Months of which all statements of an organization were made: what is learned of a workspace that had none
-- gets one of its own, with those of the next month.
CREATE TABLE closed_months (
    tenant_id  BLOB NOT NULL REFERENCES tenants (id),
    period     TEXT NOT NULL,                        -- a month, such as 2029-01
    closed_at  INTEGER NOT NULL,
    written_at INTEGER,                              -- they lie in the configured directory since; NULL: they do not
    PRIMARY KEY (tenant_id, period)
) STRICT, WITHOUT ROWID;

-- How much an organization, a workspace or a project may use in a period.
CREATE TABLE budgets (
    owner_id    BLOB PRIMARY KEY CHECK (length(owner_id) = 16),  -- id of the tenant, workspace or project
    tenant_id   BLOB NOT NULL REFERENCES tenants (id),
    scope       TEXT NOT NULL CHECK (scope IN ('organization', 'workspace') OR scope = 'project'),
    credits     INTEGER NOT NULL CHECK (credits > 0), -- whole credits
    period      TEXT NOT NULL CHECK (period IN ('day', 'week') OR period = 'month'),
    notify_at   TEXT NOT NULL,                       -- JSON list of percents
    on_exceeded TEXT NOT NULL CHECK (on_exceeded IN ('notify', 'refuse_start') OR on_exceeded = 'stop'),
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX budgets_of_tenant ON budgets (tenant_id, scope, owner_id);

-- Thresholds that were reached: each once in a period, with the event that tells of it.
CREATE TABLE budget_alerts (
    owner_id     BLOB NOT NULL,
    tenant_id    BLOB NOT NULL,
    period_start INTEGER NOT NULL,
    threshold    INTEGER NOT NULL,                   -- percent
    at           INTEGER NOT NULL,
    PRIMARY KEY (owner_id, period_start, threshold)
) STRICT, WITHOUT ROWID;

-- Where nothing is started, since a budget is used up. What a start looks at: one row, or none.
CREATE TABLE budget_stops (
    owner_id  BLOB PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    scope     TEXT NOT NULL,
    credits   INTEGER NOT NULL,                      -- whole credits of the budget
    used      INTEGER NOT NULL,                      -- whole credits when it was looked at
    until     INTEGER NOT NULL                       -- the end of the period
) STRICT, WITHOUT ROWID;

-- What the metadata of a workspace, project or computer was before it changed: what was used until then keeps
-- its labels. Written when it changes; what has no later row here is as its own row says.
CREATE TABLE past_labels (
    subject  BLOB NOT NULL,                          -- id of the workspace, project or computer
    until    INTEGER NOT NULL,                       -- it held up to this instant, exclusive
    metadata TEXT NOT NULL,                          -- JSON object
    PRIMARY KEY (subject, until)
) STRICT;

-- Restrictions of keys and webhooks.
ALTER TABLE api_keys ADD COLUMN allowed_ips TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN last_used_ip TEXT;
ALTER TABLE api_keys ADD COLUMN previous_secret_hash BLOB CHECK (length(previous_secret_hash) = 32);
ALTER TABLE api_keys ADD COLUMN previous_until INTEGER;
CREATE UNIQUE INDEX api_keys_by_previous_secret ON api_keys (previous_secret_hash)
    WHERE previous_secret_hash IS NOT NULL;
ALTER TABLE webhooks ADD COLUMN workspace_id BLOB;
ALTER TABLE webhooks ADD COLUMN headers TEXT NOT NULL DEFAULT '{}';
ALTER TABLE webhooks ADD COLUMN scheme TEXT NOT NULL DEFAULT 'miosa' CHECK (scheme IN ('miosa') OR scheme = 'standard');
ALTER TABLE webhooks ADD COLUMN previous_secret TEXT;
ALTER TABLE webhooks ADD COLUMN previous_until INTEGER;
ALTER TABLE webhooks ADD COLUMN disabled_reason TEXT;

-- Word of auto-stops.
CREATE TABLE stop_notices (
    computer_id BLOB PRIMARY KEY,
    tenant_id   BLOB NOT NULL,
    active_at   INTEGER,
    warned_for  INTEGER,
    told_for    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX computers_of_agents_idle ON computers (updated_at)
    WHERE driver = 'external' AND status = 'running' AND auto_stop_seconds > 0 AND deleted_at IS NULL;
CREATE TRIGGER stop_notices_gone AFTER UPDATE OF deleted_at ON computers
    WHEN old.deleted_at IS NULL AND new.deleted_at IS NOT NULL BEGIN
    DELETE FROM stop_notices WHERE computer_id = new.id;
END;

-- A mount point that was left empty is noticed.
ALTER TABLE backup_dirs ADD COLUMN mounted INTEGER NOT NULL DEFAULT 0;
