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
