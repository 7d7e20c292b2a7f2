-- From version 9 to 10.

-- ---- work in machines ----

-- Variables in the environment of a computer that a container engine runs.
CREATE TABLE computer_env (
    computer_id BLOB NOT NULL,
    tenant_id   BLOB NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (computer_id, name)
) STRICT, WITHOUT ROWID;

-- Ports of it of which somebody has said something; all others are as visible as the computer.
CREATE TABLE computer_ports (
    computer_id BLOB NOT NULL,
    tenant_id   BLOB NOT NULL,
    port        INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    protocol    TEXT NOT NULL,
    visibility  TEXT CHECK (visibility IN ('public', 'tenant', 'key')),  -- NULL: as the computer
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (computer_id, port)
) STRICT, WITHOUT ROWID;

-- What last kept it awake.
CREATE TABLE computer_activity (
    computer_id BLOB PRIMARY KEY,
    tenant_id   BLOB NOT NULL,
    at          INTEGER NOT NULL,
    by          TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- ---- refusals ----

-- What limits have refused, so that one that costs business is seen: one row for each hour, limit and kind of request.
CREATE TABLE refusals (
    seq          INTEGER PRIMARY KEY,
    tenant_id    BLOB NOT NULL REFERENCES tenants (id),
    workspace_id BLOB,                               -- NULL: nothing of a workspace was asked for
    hour         INTEGER NOT NULL,                   -- first instant of it, UTC
    limit_name   TEXT NOT NULL,                      -- max_computers, max_computer_size, budget, ...
    scope        TEXT NOT NULL,                      -- tenant, workspace or project: whose limit it is
    request      TEXT NOT NULL,                      -- method and path, such as POST /computers/{id}/start
    count        INTEGER NOT NULL,
    first_at     INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    max          TEXT NOT NULL,                      -- JSON: the limit, at the last of them
    current      TEXT NOT NULL,                      -- JSON: what there was, or was asked for
    message      TEXT NOT NULL,                      -- what that request was told
    key_id       BLOB                                -- by which that one came
) STRICT;
CREATE UNIQUE INDEX refusals_once ON refusals (tenant_id, coalesce(workspace_id, x''), hour, limit_name, scope, request);
CREATE INDEX refusals_of_tenant ON refusals (tenant_id, seq);
CREATE INDEX refusals_of_workspace ON refusals (workspace_id, seq);
CREATE INDEX refusals_over ON refusals (last_at);

-- ---- share links ----

-- Links under which a customer sees usage, statements and domain of a workspace without a key.
CREATE TABLE share_links (
    id             BLOB PRIMARY KEY CHECK (length(id) = 16),
    secret_hash    BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    tenant_id      BLOB NOT NULL REFERENCES tenants (id),
    workspace_id   BLOB NOT NULL,
    label          TEXT,
    shows          TEXT NOT NULL,                    -- JSON list: usage, statements, domain
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    last_opened_at INTEGER,
    opened         INTEGER NOT NULL DEFAULT 0        -- how often
) STRICT, WITHOUT ROWID;
CREATE INDEX share_links_of_workspace ON share_links (workspace_id, created_at, id);
CREATE INDEX share_links_over ON share_links (expires_at);

-- ---- people who sign in by name ----

ALTER TABLE api_keys ADD COLUMN issuer TEXT;
ALTER TABLE api_keys ADD COLUMN subject TEXT;
ALTER TABLE api_keys ADD COLUMN email TEXT;
CREATE UNIQUE INDEX api_keys_of_person ON api_keys (issuer, subject, tenant_id) WHERE subject IS NOT NULL;
ALTER TABLE sessions ADD COLUMN ends_at INTEGER;
-- Who it was, besides a key: a person by name, or an operator of another organization.
ALTER TABLE audit_log ADD COLUMN actor TEXT;

-- ---- desktops ----

-- Links that open the screen of a computer for who has no key. A link lasts as long as the key that made it.
CREATE TABLE desktop_links (
    secret_hash BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
    id          BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    tenant_id   BLOB NOT NULL,
    computer_id BLOB NOT NULL,
    key_id      BLOB NOT NULL,
    view_only   INTEGER NOT NULL CHECK (view_only IN (0, 1)),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX desktop_links_of_computer ON desktop_links (computer_id);

-- ---- rates of their own ----

-- What an hour of a size costs an organization, or one of its workspaces, instead of what the table `rates` says. What has
-- begun to hold is never touched; what lies ahead may be replaced or taken back.
CREATE TABLE agreed_rates (
    owner_id       BLOB NOT NULL CHECK (length(owner_id) = 16),  -- id of the tenant or workspace
    tenant_id      BLOB NOT NULL REFERENCES tenants (id),
    size           TEXT NOT NULL,
    holds_from     INTEGER NOT NULL,                 -- never before it was set: what was metered keeps its price
    effective_from INTEGER NOT NULL,                 -- as it was asked for, perhaps in the past
    rate           INTEGER CHECK (rate >= 0),        -- credits per hour; NULL: what holds above holds again
    applied        INTEGER NOT NULL CHECK (applied IN (0, 1)),  -- running computers have been re-priced
    set_at         INTEGER NOT NULL,
    set_by         TEXT NOT NULL,                    -- such as api_key msk_a_12345678
    PRIMARY KEY (owner_id, size, holds_from)
) STRICT, WITHOUT ROWID;
CREATE INDEX agreed_rates_due ON agreed_rates (holds_from) WHERE applied = 0;
-- Whether a workspace of an organization has any.
CREATE INDEX agreed_rates_of_tenant ON agreed_rates (tenant_id, owner_id);

-- ---- snapshots of machines ----

-- What a computer was at an instant, which the engine keeps as an image. The row stays when the image is gone: what
-- was kept counts in the usage of its time.
CREATE TABLE snapshots (
    id            BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant_id     BLOB NOT NULL,
    workspace_id  BLOB NOT NULL,                     -- where the computer was then: whose space it takes
    computer_id   BLOB NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('creating', 'ready', 'failed', 'deleting', 'deleted')),
    comment       TEXT,
    parent_id     BLOB,                              -- the snapshot that its computer began with
    template_type TEXT NOT NULL,
    size          TEXT NOT NULL,
    bytes         INTEGER,                           -- besides the image of the template
    error         TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    ready_at      INTEGER,                           -- from here on space counts
    gone_at       INTEGER,                           -- until here: somebody asked to delete it
    look_at       INTEGER                            -- when something is to be done with it; NULL: nothing is
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshots_of_organization ON snapshots (tenant_id, created_at, id);
CREATE INDEX snapshots_of_computer ON snapshots (computer_id, created_at, id);
CREATE INDEX snapshots_of_workspace ON snapshots (workspace_id, ready_at);
CREATE INDEX snapshots_of_tenant ON snapshots (tenant_id, ready_at);
CREATE INDEX snapshots_to_look_at ON snapshots (look_at) WHERE look_at IS NOT NULL;

-- Computers that began with a snapshot, which is kept as long as there are any.
CREATE TABLE computer_origins (
    computer_id BLOB PRIMARY KEY,
    tenant_id   BLOB NOT NULL,
    snapshot_id BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX computer_origins_of_snapshot ON computer_origins (snapshot_id);

-- ---- what was deleted, and can come back ----

ALTER TABLE workspaces ADD COLUMN restorable_until INTEGER;
ALTER TABLE workspaces ADD COLUMN lost_domain TEXT;
CREATE INDEX workspaces_restorable ON workspaces (tenant_id, restorable_until, id) WHERE restorable_until IS NOT NULL;
CREATE INDEX workspaces_forgotten ON workspaces (restorable_until) WHERE restorable_until IS NOT NULL;

ALTER TABLE projects ADD COLUMN restorable_until INTEGER;
ALTER TABLE projects ADD COLUMN deleted_with BLOB;
ALTER TABLE projects ADD COLUMN lost_domain TEXT;
CREATE INDEX projects_restorable ON projects (tenant_id, restorable_until, id) WHERE restorable_until IS NOT NULL;
CREATE INDEX projects_forgotten ON projects (restorable_until) WHERE restorable_until IS NOT NULL;
CREATE INDEX projects_gone_with ON projects (deleted_with, id) WHERE deleted_with IS NOT NULL;

ALTER TABLE computers ADD COLUMN restorable_until INTEGER;
ALTER TABLE computers ADD COLUMN deleted_with BLOB;
CREATE INDEX computers_restorable ON computers (tenant_id, restorable_until, id) WHERE restorable_until IS NOT NULL;
CREATE INDEX computers_forgotten ON computers (restorable_until) WHERE restorable_until IS NOT NULL;
CREATE INDEX computers_gone_with ON computers (deleted_with, id) WHERE deleted_with IS NOT NULL;

CREATE TRIGGER projects_restored AFTER UPDATE OF deleted_at ON projects
    WHEN old.deleted_at IS NOT NULL AND new.deleted_at IS NULL BEGIN
    UPDATE workspaces SET project_count = project_count + 1 WHERE id = new.workspace_id;
    UPDATE tenants SET project_count = project_count + 1 WHERE id = new.tenant_id;
END;
CREATE TRIGGER computers_restored AFTER UPDATE OF deleted_at ON computers
    WHEN old.deleted_at IS NOT NULL AND new.deleted_at IS NULL BEGIN
    UPDATE projects SET computer_count = computer_count + 1 WHERE id = new.project_id;
    UPDATE workspaces SET computer_count = computer_count + 1 WHERE id = new.workspace_id;
    UPDATE tenants SET computer_count = computer_count + 1 WHERE id = new.tenant_id;
END;

-- ---- all preview domains of an organization ----

CREATE INDEX preview_domains_of_tenant ON preview_domains (tenant_id, domain, owner_id);

-- ---- signs of life of machines ----

ALTER TABLE machines ADD COLUMN seen_at INTEGER;
ALTER TABLE machines ADD COLUMN process TEXT;
