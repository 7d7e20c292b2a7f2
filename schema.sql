-- workspaced: the whole schema, and its data dictionary.
--
-- Conventions
--   * Ids are UUIDs (version 7) as 16-byte blobs: `SELECT hex(id)` shows them.
--   * Instants are INTEGER milliseconds since 1970-01-01T00:00:00Z. No default and no statement
--     reads the clock: the transaction hands its `now` to whatever it writes.
--   * Tables are STRICT. A state is CHECKed where it is stored. Where rows are written by the
--     thousand the check says `IN` of two values at a time: for three and more SQLite builds a
--     b-tree in memory at every insert, which costs more than the insert.
--   * Tables whose rows may carry a caller's JSON keep their rowid: a b-tree of such rows would
--     have a poor fan-out.
--   * `tenant_id` stands on every row that a tenant owns, children included, so that no query
--     needs a join to keep tenants apart.
--   * What customers can be billed for is never deleted: workspaces, projects and computers are
--     marked with `deleted_at`; every unique rule and list index covers live rows only.
--   * Columns named `*_count` are kept in the same transaction as the row that they count, nearly
--     all by the triggers at the end of this file.
--   * The file's version is `PRAGMA user_version`; src/store/upgrade.rs holds the steps up to it.

-- An organization: the boundary of authorization and of billing.
CREATE TABLE tenants (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    name            TEXT NOT NULL,
    slug            TEXT NOT NULL UNIQUE,
    plan            TEXT NOT NULL DEFAULT 'self-hosted',
    credits_granted INTEGER NOT NULL DEFAULT 0,      -- whole credits; balance = granted - spent
    workspace_count INTEGER NOT NULL DEFAULT 0,      -- live workspaces
    project_count   INTEGER NOT NULL DEFAULT 0,      -- live projects
    computer_count  INTEGER NOT NULL DEFAULT 0,      -- live computers, whatever their status
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One credential. The secret itself is shown once and never stored.
CREATE TABLE api_keys (
    id               BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant_id        BLOB NOT NULL REFERENCES tenants (id),
    -- NULL: the whole organization. Otherwise nothing outside this workspace is reachable.
    workspace_id     BLOB REFERENCES workspaces (id),
    -- Set on delegated keys: such a key reaches only computers of this end user.
    external_user_id TEXT,
    name             TEXT NOT NULL,
    key_type         TEXT NOT NULL CHECK (key_type IN ('user', 'admin', 'platform')),
    purpose          TEXT,
    -- The operator of this installation: may create organizations and post corrections.
    operator         INTEGER NOT NULL DEFAULT 0 CHECK (operator IN (0, 1)),
    scopes           TEXT NOT NULL DEFAULT '[]',     -- JSON list; empty = everything the key's reach allows
    secret_hash      BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),  -- SHA-256 of the secret
    key_prefix       TEXT NOT NULL,                  -- first 12 characters, for display
    last4            TEXT NOT NULL,
    rate_limit_rpm   INTEGER,                        -- requests a minute; NULL = the server's default
    status           TEXT NOT NULL CHECK (status IN ('active', 'disabled', 'revoked')),
    expires_at       INTEGER,
    last_used_at     INTEGER,                        -- written lazily, about once a minute
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    allowed_ips      TEXT NOT NULL DEFAULT '[]',     -- JSON list of networks; empty = from everywhere
    last_used_ip     TEXT,
    -- The secret before the last rotation, where it still works for a while.
    previous_secret_hash BLOB CHECK (length(previous_secret_hash) = 32),
    previous_until   INTEGER,                        -- exclusive
    -- A person whom the sign-in provider knows: behind this row is a secret that nobody has.
    issuer           TEXT,
    subject          TEXT,
    email            TEXT
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX api_keys_of_person ON api_keys (issuer, subject, tenant_id) WHERE subject IS NOT NULL;
CREATE UNIQUE INDEX api_keys_by_previous_secret ON api_keys (previous_secret_hash)
    WHERE previous_secret_hash IS NOT NULL;
-- GET /api-keys, in order of creation.
CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, created_at, id) WHERE status <> 'revoked';
-- They go with their workspace.
CREATE INDEX api_keys_of_workspace ON api_keys (workspace_id) WHERE workspace_id IS NOT NULL;

-- Who is signed in on the admin page: an API key exchanged for a cookie. The token is never stored.
CREATE TABLE sessions (
    token_hash  BLOB PRIMARY KEY CHECK (length(token_hash) = 32),    -- SHA-256 of the cookie's token
    key_id      BLOB NOT NULL REFERENCES api_keys (id),
    -- The secret that was signed in with: rotating the key ends the session.
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,                    -- moves on with use, up to 7 days after the start
    ends_at     INTEGER                              -- however much it is used; NULL: those 7 days
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_key ON sessions (key_id, created_at);
CREATE INDEX sessions_age ON sessions (expires_at);

-- A tenant's customer. The five settings columns hold what PUT /settings sets; NULL = no cap.
CREATE TABLE workspaces (
    id                        BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    tenant_id                 BLOB NOT NULL REFERENCES tenants (id),
    name                      TEXT NOT NULL,
    slug                      TEXT NOT NULL,
    external_workspace_id     TEXT,                  -- the caller's own id, unique per tenant
    external_user_id          TEXT,                  -- attribution only, never grants access
    description               TEXT,
    metadata                  TEXT NOT NULL DEFAULT '{}',   -- JSON object
    is_default                INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
    max_computers             INTEGER CHECK (max_computers >= 0),
    max_computer_size         TEXT CHECK (max_computer_size IN ('small', 'medium') OR max_computer_size = 'large'),
    default_computer_size     TEXT NOT NULL DEFAULT 'small'
                              CHECK (default_computer_size IN ('xs', 'small') OR default_computer_size IN ('medium', 'large')
                                  OR default_computer_size = 'xl'),
    default_auto_stop_seconds INTEGER NOT NULL DEFAULT 0
                              CHECK (default_auto_stop_seconds BETWEEN 0 AND 2592000),  -- 0 = never
    allowed_template_types    TEXT NOT NULL DEFAULT '[]',   -- JSON list; empty = all
    project_count             INTEGER NOT NULL DEFAULT 0,
    computer_count            INTEGER NOT NULL DEFAULT 0,
    created_at                INTEGER NOT NULL,
    updated_at                INTEGER NOT NULL,
    deleted_at                INTEGER,
    number                    INTEGER PRIMARY KEY,   -- what the search index knows it by
    -- Of a deleted one that can come back: as long as this stands, which a background job clears when it is over.
    restorable_until          INTEGER,
    lost_domain               TEXT                   -- the preview domain that it had when it was deleted
) STRICT;
CREATE UNIQUE INDEX workspaces_slug ON workspaces (tenant_id, slug) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX workspaces_external ON workspaces (tenant_id, external_workspace_id)
    WHERE deleted_at IS NULL AND external_workspace_id IS NOT NULL;
CREATE UNIQUE INDEX workspaces_one_default ON workspaces (tenant_id) WHERE is_default = 1;
-- The list order of the API: default first, then by age. It also serves the order by age alone, as the
-- default workspace and all others in one merge.
CREATE INDEX workspaces_listed ON workspaces (tenant_id, is_default DESC, created_at, id)
    WHERE deleted_at IS NULL;
-- The other orders of the list; the first also answers "is this name there already?" on every create.
CREATE INDEX workspaces_by_name ON workspaces (tenant_id, name COLLATE NOCASE, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_change ON workspaces (tenant_id, updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_computers ON workspaces (tenant_id, computer_count, id) WHERE deleted_at IS NULL;
-- What can come back, and what cannot any more.
CREATE INDEX workspaces_restorable ON workspaces (tenant_id, restorable_until, id) WHERE restorable_until IS NOT NULL;
CREATE INDEX workspaces_forgotten ON workspaces (restorable_until) WHERE restorable_until IS NOT NULL;

-- Search by any part of name, slug or external id: an index of all runs of three characters, by the
-- numbers of the workspaces. It is brought up to date in a background round: with every create it would
-- cost more than the rest of it. A search looks at those that wait, too, and so finds what was written
-- just now: the workspaces above `indexed_to`, and of the others those that have changed.
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

-- An app, site or campaign inside a workspace.
CREATE TABLE projects (
    id                  BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant_id           BLOB NOT NULL REFERENCES tenants (id),
    workspace_id        BLOB NOT NULL REFERENCES workspaces (id),
    external_project_id TEXT,                        -- the caller's own id, unique per workspace
    name                TEXT NOT NULL,
    slug                TEXT NOT NULL,
    description         TEXT,
    metadata            TEXT NOT NULL DEFAULT '{}',
    -- Made when a computer names no project; goes with its workspace when that is deleted.
    is_default          INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
    computer_count      INTEGER NOT NULL DEFAULT 0,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    deleted_at          INTEGER,
    restorable_until    INTEGER,                     -- as of a workspace
    deleted_with        BLOB,                        -- the workspace with which it went and comes back; NULL = by itself
    lost_domain         TEXT
) STRICT;
CREATE UNIQUE INDEX projects_slug ON projects (workspace_id, slug) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX projects_external ON projects (workspace_id, external_project_id)
    WHERE deleted_at IS NULL AND external_project_id IS NOT NULL;
CREATE UNIQUE INDEX projects_one_default ON projects (workspace_id)
    WHERE is_default = 1 AND deleted_at IS NULL;
CREATE INDEX projects_of_workspace ON projects (workspace_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX projects_of_tenant ON projects (tenant_id, created_at, id) WHERE deleted_at IS NULL;
-- Paths may name a project so, where only one of the organization's has it.
CREATE INDEX projects_by_slug ON projects (tenant_id, slug) WHERE deleted_at IS NULL;
CREATE INDEX projects_by_external ON projects (tenant_id, external_project_id)
    WHERE deleted_at IS NULL AND external_project_id IS NOT NULL;
CREATE INDEX projects_restorable ON projects (tenant_id, restorable_until, id) WHERE restorable_until IS NOT NULL;
CREATE INDEX projects_forgotten ON projects (restorable_until) WHERE restorable_until IS NOT NULL;
CREATE INDEX projects_gone_with ON projects (deleted_with, id) WHERE deleted_with IS NOT NULL;

-- A machine. Its row is the present state; compute_events is the history that is billed.
CREATE TABLE computers (
    id                  BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant_id           BLOB NOT NULL REFERENCES tenants (id),
    workspace_id        BLOB NOT NULL REFERENCES workspaces (id),
    project_id          BLOB NOT NULL REFERENCES projects (id),
    name                TEXT NOT NULL,
    slug                TEXT NOT NULL,               -- the label in its host names
    template_type       TEXT NOT NULL,
    size                TEXT NOT NULL CHECK (size IN ('xs', 'small') OR size IN ('medium', 'large') OR size = 'xl'),
    status              TEXT NOT NULL CHECK (status IN ('provisioning', 'starting') OR status IN ('running', 'stopping')
                        OR status IN ('stopped', 'error') OR status = 'destroyed'),
    -- Who moves it: the built-in driver, an outside agent that reports compute events, or a container engine.
    driver              TEXT NOT NULL DEFAULT 'simulated' CHECK (driver IN ('simulated', 'external') OR driver = 'docker'),
    visibility          TEXT NOT NULL DEFAULT 'public' CHECK (visibility IN ('public', 'tenant') OR visibility = 'key'),
    metadata            TEXT NOT NULL DEFAULT '{}',
    selected_apps       TEXT NOT NULL DEFAULT '[]',
    settings            TEXT NOT NULL DEFAULT '{}',
    external_user_id    TEXT,
    external_project_id TEXT,
    auto_stop_seconds   INTEGER NOT NULL DEFAULT 0 CHECK (auto_stop_seconds BETWEEN 0 AND 2592000),
    -- The one instant at which the built-in driver has something to do, whatever the status:
    -- provisioning, starting -> running; stopping -> stopped; running -> idle auto-stop. NULL = never.
    due_at              INTEGER,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    started_at          INTEGER,                     -- last entry into `running`
    stopped_at          INTEGER,                     -- last entry into `stopped`
    deleted_at          INTEGER,
    restorable_until    INTEGER,                     -- as of a workspace; until then its container and volume are kept
    deleted_with        BLOB                         -- as of a project
) STRICT;
CREATE UNIQUE INDEX computers_slug ON computers (tenant_id, slug) WHERE deleted_at IS NULL;
-- Lists are newest first.
CREATE INDEX computers_of_tenant ON computers (tenant_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX computers_of_workspace ON computers (workspace_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX computers_of_project ON computers (project_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
-- Lists of one status; stats count by status and size without touching a row.
CREATE INDEX computers_by_status ON computers (tenant_id, status, created_at DESC, id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX computers_stats ON computers (workspace_id, status, created_at DESC, id DESC, size)
    WHERE deleted_at IS NULL;
CREATE INDEX computers_of_user ON computers (tenant_id, external_user_id, created_at DESC, id DESC)
    WHERE deleted_at IS NULL AND external_user_id IS NOT NULL;
-- The driver's agenda.
CREATE INDEX computers_due ON computers (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX computers_restorable ON computers (tenant_id, restorable_until, id) WHERE restorable_until IS NOT NULL;
CREATE INDEX computers_forgotten ON computers (restorable_until) WHERE restorable_until IS NOT NULL;
CREATE INDEX computers_gone_with ON computers (deleted_with, id) WHERE deleted_with IS NOT NULL;

-- What usage and bills are computed from: append-only, never updated, never deleted.
-- A row says: from `at` on, until the next row of the same computer, it is in this state. It carries
-- the complete state, so that no later change to a computer, project or rate can re-price the past.
-- Rows without a computer are corrections: a signed amount for a workspace, with reason and actor.
CREATE TABLE compute_events (
    seq           INTEGER PRIMARY KEY,               -- arrival order; at equal `at` the later one holds
    event_id      TEXT,                              -- the reporter's id, unique per tenant; NULL = our own
    tenant_id     BLOB NOT NULL,
    workspace_id  BLOB NOT NULL,
    project_id    BLOB,
    computer_id   BLOB,
    type          TEXT NOT NULL,                     -- computer.running, computer.resized, usage.adjusted, ...
    at            INTEGER NOT NULL CHECK (at >= 0),  -- effective from this instant
    recorded_at   INTEGER NOT NULL,                  -- when the service learned of it
    status        TEXT,
    billable      INTEGER NOT NULL CHECK (billable IN (0, 1)),  -- 1 exactly when status is running
    size          TEXT,
    rate          INTEGER NOT NULL CHECK (rate >= 0),           -- credits per hour of that size at that time
    -- Which parts of the state this row itself is about: 1 status + 2 size + 4 place. The others were
    -- carried over from the event before it, and a late report may show that they were different; a
    -- row with 0 at the same instant then says so (src/usage/ledger/history.rs).
    stated        INTEGER NOT NULL DEFAULT 7 CHECK (stated BETWEEN 0 AND 7),
    amount_micros INTEGER,                           -- corrections: signed micro-credits
    reason        TEXT,                              -- corrections: why
    actor         TEXT,                              -- corrections: who, as in the audit log
    CHECK (CASE WHEN computer_id IS NULL
        THEN type = 'usage.adjusted' AND billable = 0 AND rate = 0 AND project_id IS NULL AND status IS NULL
             AND size IS NULL AND amount_micros IS NOT NULL AND reason IS NOT NULL AND actor IS NOT NULL
        ELSE amount_micros IS NULL AND project_id IS NOT NULL AND status IS NOT NULL AND size IS NOT NULL
             AND billable = (status = 'running')
        END)
) STRICT;
-- The history of one computer, and the event before or after a given one.
CREATE INDEX compute_events_of_computer ON compute_events (computer_id, at, seq) WHERE computer_id IS NOT NULL;
-- A report that is delivered twice counts once.
CREATE UNIQUE INDEX compute_events_once ON compute_events (tenant_id, event_id) WHERE event_id IS NOT NULL;
-- Corrections of a tenant, of one of its workspaces, in a period.
CREATE INDEX compute_events_corrections ON compute_events (tenant_id, workspace_id, at, seq) WHERE computer_id IS NULL;

-- The domain under which previews of an organization, a workspace or a project are shown.
CREATE TABLE preview_domains (
    scope       TEXT NOT NULL CHECK (scope IN ('organization', 'workspace', 'project')),
    owner_id    BLOB NOT NULL,                       -- id of the tenant, workspace or project
    tenant_id   BLOB NOT NULL REFERENCES tenants (id),
    domain      TEXT NOT NULL,                       -- lower-case ASCII host name
    dns_status  TEXT NOT NULL CHECK (dns_status IN ('pending', 'verified', 'failed')),  -- last good answer
    records     TEXT NOT NULL DEFAULT '[]',          -- JSON: what the last check found, record by record
    last_error  TEXT,                                -- why the last check could not ask; NULL = it could
    checked_at  INTEGER,
    verified_at INTEGER,
    updated_at  INTEGER NOT NULL,
    failing_since INTEGER,                           -- wrong records of a verified domain; NULL = none
    checks      INTEGER NOT NULL DEFAULT 0,          -- checks in a row with the same result
    next_check_at INTEGER,                           -- NULL = now
    PRIMARY KEY (scope, owner_id)
) STRICT;
-- What is to be checked next.
CREATE INDEX preview_domains_by_next_check ON preview_domains (next_check_at);
-- A domain belongs to one tenant.
CREATE INDEX preview_domains_by_name ON preview_domains (domain, tenant_id);
-- GET /preview-domains.
CREATE INDEX preview_domains_of_tenant ON preview_domains (tenant_id, domain, owner_id);
-- The overview shows what is not in order.
CREATE INDEX preview_domains_with_problem ON preview_domains (tenant_id, updated_at)
    WHERE dns_status <> 'verified' OR last_error IS NOT NULL;

-- Replies kept for 24 h so that a repeated request is answered, not executed again. Written in the
-- transaction of the mutation itself: a crash cannot separate the two.
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
-- Where a reply is, for those up to `indexed_to`. With every request this index would cost as much as all
-- the rest of a small write, since keys are random; src/http/idempotency/store.rs says how later ones are found.
CREATE TABLE idempotency_index (
    place BLOB PRIMARY KEY CHECK (length(place) = 24),   -- half of key_id and half of request
    seq   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency_state (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_to INTEGER NOT NULL,                     -- a seq; above it some may be in the index, too
    steps      INTEGER NOT NULL                      -- how often something was put into the index
) STRICT;
INSERT INTO idempotency_state (id, indexed_to, steps) VALUES (1, 0, 0);

-- Who did what. Append-only; `seq` is also the id of the event in live streams.
CREATE TABLE audit_log (
    seq           INTEGER PRIMARY KEY,
    tenant_id     BLOB NOT NULL,
    workspace_id  BLOB,
    at            INTEGER NOT NULL,
    actor_type    TEXT NOT NULL CHECK (actor_type IN ('api_key', 'system') OR actor_type = 'operator'),
    actor_id      BLOB,                              -- id of the API key
    actor_label   TEXT,                              -- its display prefix at that time
    ip_address    TEXT,
    request_id    TEXT,
    type          TEXT NOT NULL,                     -- workspace.created, computer.running, ...
    resource_type TEXT NOT NULL,
    resource_id   BLOB NOT NULL,
    before        TEXT,                              -- JSON of the resource before, where there was one
    after         TEXT,                              -- JSON of the resource after, where there is one
    actor         TEXT                               -- JSON: a person by name, or an operator of another organization
) STRICT;
CREATE INDEX audit_log_of_tenant ON audit_log (tenant_id, seq);
CREATE INDEX audit_log_of_workspace ON audit_log (workspace_id, seq) WHERE workspace_id IS NOT NULL;

-- Where an organization is told of what happens in it. The secret lies here in the clear, unlike that
-- of an API key: every delivery is signed with it. It is in no list, no log and no audit row.
CREATE TABLE webhooks (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant_id       BLOB NOT NULL REFERENCES tenants (id),
    name            TEXT NOT NULL,
    url             TEXT NOT NULL,
    events          TEXT NOT NULL,                   -- JSON list of event types; * stands for any text
    enabled         INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    secret          TEXT NOT NULL,
    retry_count     INTEGER NOT NULL CHECK (retry_count BETWEEN 0 AND 10),
    pending_count   INTEGER NOT NULL DEFAULT 0,      -- deliveries that wait
    failed_attempts INTEGER NOT NULL DEFAULT 0,      -- since the last one that succeeded
    failing_since   INTEGER,                         -- the first of them; NULL = there is none
    last_success_at INTEGER,
    resume_at       INTEGER,                         -- after a failure nothing is sent before this instant
    -- The one instant at which there is something to send, whatever waits. NULL = nothing waits.
    due_at          INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER,                         -- the row goes when its deliveries have gone
    workspace_id    BLOB,                            -- only what happens in there; NULL = everything
    headers         TEXT NOT NULL DEFAULT '{}',      -- JSON object: sent with every message, in the clear like the secret
    scheme          TEXT NOT NULL DEFAULT 'miosa' CHECK (scheme IN ('miosa') OR scheme = 'standard'),
    -- The secret before the last rotation, with which is signed as well for a while.
    previous_secret TEXT,
    previous_until  INTEGER,                         -- exclusive
    disabled_reason TEXT                             -- why this service disabled it; NULL = it did not
) STRICT;
CREATE INDEX webhooks_of_tenant ON webhooks (tenant_id, created_at, id) WHERE deleted_at IS NULL;
-- Who has one at all, and to whom a change is to be told.
CREATE INDEX webhooks_enabled ON webhooks (tenant_id) WHERE enabled = 1;
-- What there is to send.
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhooks_deleted ON webhooks (deleted_at) WHERE deleted_at IS NOT NULL;

-- One message to one webhook, queued in the transaction of the change that it tells of. It is tried
-- until the receiver takes it or the attempts are used up; the body stays the same, byte for byte.
CREATE TABLE webhook_deliveries (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    tenant_id       BLOB NOT NULL,
    webhook_id      BLOB NOT NULL REFERENCES webhooks (id),
    event_id        TEXT NOT NULL,                   -- audit_log.seq of the change; of a test its own
    event_type      TEXT NOT NULL,
    body            TEXT NOT NULL,
    replay_of       BLOB,                            -- the delivery that this one repeats
    asked           INTEGER NOT NULL DEFAULT 0 CHECK (asked IN (0, 1)),  -- a person waits: before all others
    state           TEXT NOT NULL CHECK (state IN ('pending', 'delivered') OR state = 'failed'),
    attempt_count   INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
    -- What the last attempt came to.
    attempted_at    INTEGER,
    duration_ms     INTEGER,
    response_status INTEGER,                         -- NULL: there was no answer
    response_body   TEXT,                            -- its beginning
    error           TEXT,
    finished_at     INTEGER,
    created_at      INTEGER NOT NULL,
    CHECK ((next_attempt_at IS NOT NULL) = (state = 'pending')),
    CHECK ((finished_at IS NULL) = (state = 'pending'))
) STRICT;
CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (webhook_id, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_by_state ON webhook_deliveries (webhook_id, state, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id, asked, next_attempt_at, id)
    WHERE state = 'pending';
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Where a driven clock stands, and the scenario whose computers go on and off by it (src/dev). One
-- row at most; none where the clock is the system's.
CREATE TABLE dev_state (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    mode     TEXT NOT NULL CHECK (mode IN ('real', 'frozen', 'running')),
    at       INTEGER NOT NULL,                       -- what the clock showed when it was last set
    speed    INTEGER NOT NULL CHECK (speed > 0),     -- its seconds in one of the wall clock
    scenario TEXT,                                   -- TOML: when its computers go on and off
    seed     INTEGER,                                -- decides whatever is left to chance in it
    lived_to INTEGER                                 -- computers have gone on and off up to here
) STRICT;

-- ---------------------------------------------------------------------------------------------
-- Counters. Limits are checked against them and lists show them, so they must cost the same at
-- ten rows and at a million; being triggers, no code path can forget them. The one exception is a new
-- workspace, which workspaces::rows counts: with a trigger SQLite keeps a copy of every page that the
-- INSERT touches, to be able to undo half of it.

CREATE TRIGGER workspaces_deleted AFTER UPDATE OF deleted_at ON workspaces
    WHEN old.deleted_at IS NULL AND new.deleted_at IS NOT NULL BEGIN
    UPDATE tenants SET workspace_count = workspace_count - 1 WHERE id = new.tenant_id;
END;

-- What search has to know of.
CREATE TRIGGER workspaces_changed_for_search
    AFTER UPDATE OF name, slug, external_workspace_id, deleted_at ON workspaces BEGIN
    INSERT OR IGNORE INTO workspaces_to_index (number) VALUES (new.number);
END;

CREATE TRIGGER projects_created AFTER INSERT ON projects BEGIN
    UPDATE workspaces SET project_count = project_count + 1 WHERE id = new.workspace_id;
    UPDATE tenants SET project_count = project_count + 1 WHERE id = new.tenant_id;
END;
CREATE TRIGGER projects_deleted AFTER UPDATE OF deleted_at ON projects
    WHEN old.deleted_at IS NULL AND new.deleted_at IS NOT NULL BEGIN
    UPDATE workspaces SET project_count = project_count - 1 WHERE id = new.workspace_id;
    UPDATE tenants SET project_count = project_count - 1 WHERE id = new.tenant_id;
END;
CREATE TRIGGER projects_restored AFTER UPDATE OF deleted_at ON projects
    WHEN old.deleted_at IS NOT NULL AND new.deleted_at IS NULL BEGIN
    UPDATE workspaces SET project_count = project_count + 1 WHERE id = new.workspace_id;
    UPDATE tenants SET project_count = project_count + 1 WHERE id = new.tenant_id;
END;
CREATE TRIGGER projects_moved AFTER UPDATE OF workspace_id ON projects
    WHEN old.workspace_id <> new.workspace_id BEGIN
    UPDATE workspaces SET project_count = project_count - 1 WHERE id = old.workspace_id;
    UPDATE workspaces SET project_count = project_count + 1 WHERE id = new.workspace_id;
END;

CREATE TRIGGER computers_created AFTER INSERT ON computers BEGIN
    UPDATE projects SET computer_count = computer_count + 1 WHERE id = new.project_id;
    UPDATE workspaces SET computer_count = computer_count + 1 WHERE id = new.workspace_id;
    UPDATE tenants SET computer_count = computer_count + 1 WHERE id = new.tenant_id;
END;
CREATE TRIGGER computers_deleted AFTER UPDATE OF deleted_at ON computers
    WHEN old.deleted_at IS NULL AND new.deleted_at IS NOT NULL BEGIN
    UPDATE projects SET computer_count = computer_count - 1 WHERE id = new.project_id;
    UPDATE workspaces SET computer_count = computer_count - 1 WHERE id = new.workspace_id;
    UPDATE tenants SET computer_count = computer_count - 1 WHERE id = new.tenant_id;
END;
CREATE TRIGGER computers_restored AFTER UPDATE OF deleted_at ON computers
    WHEN old.deleted_at IS NOT NULL AND new.deleted_at IS NULL BEGIN
    UPDATE projects SET computer_count = computer_count + 1 WHERE id = new.project_id;
    UPDATE workspaces SET computer_count = computer_count + 1 WHERE id = new.workspace_id;
    UPDATE tenants SET computer_count = computer_count + 1 WHERE id = new.tenant_id;
END;
CREATE TRIGGER computers_moved AFTER UPDATE OF workspace_id, project_id ON computers
    WHEN new.deleted_at IS NULL
     AND (old.workspace_id <> new.workspace_id OR old.project_id <> new.project_id) BEGIN
    UPDATE projects SET computer_count = computer_count - 1 WHERE id = old.project_id;
    UPDATE projects SET computer_count = computer_count + 1 WHERE id = new.project_id;
    UPDATE workspaces SET computer_count = computer_count - 1 WHERE id = old.workspace_id;
    UPDATE workspaces SET computer_count = computer_count + 1 WHERE id = new.workspace_id;
END;

CREATE TRIGGER webhook_deliveries_queued AFTER INSERT ON webhook_deliveries WHEN new.state = 'pending' BEGIN
    UPDATE webhooks SET pending_count = pending_count + 1 WHERE id = new.webhook_id;
END;
CREATE TRIGGER webhook_deliveries_finished AFTER UPDATE OF state ON webhook_deliveries
    WHEN old.state = 'pending' AND new.state <> 'pending' BEGIN
    UPDATE webhooks SET pending_count = pending_count - 1 WHERE id = new.webhook_id;
END;

-- ---------------------------------------------------------------------------------------------
-- The meter: what makes a month by the hour cost the same at a hundred events and at ten million.
--
-- Think of an electricity meter per workspace. Computers that run give the workspace a *flow*: how
-- many run, and what they cost together (credits per hour). An event changes the flow at an instant
-- and consumes nothing by itself; consumption is flow times time. So what is stored is the change
-- of the flow, which is one small number however long the interval that the event ends or begins,
-- and an interval that is still open needs no row and no hourly job.
--
-- All three tables hold the same five columns, each for a span of time with a start and an end:
--
--     running     sum of the changes of the running count within the span
--     running_ms  what these changes have added by the end: sum of change x (end - at)
--     rate        sum of the changes of the rate, credits per hour
--     credit_ms   what these changes have added by the end, in rate x ms: 3 600 000 = one credit
--     micros      corrections dated within the span, signed micro-credits
--
-- With the flow at the start of a span, a span of length T consumes exactly
--
--     running_before x T + running_ms      and      rate_before x T + credit_ms + corrections
--
-- and hands `running_before + running` on to the next span. Spans without a change have no row.
--
--     meter_eras   one row per two weeks: ten years are 261 rows, read before the window
--     meter_hours  one row per hour:      721 rows are a month by the hour
--     meter_steps  one row per change:    span from the start of its hour to the change itself, so
--                                         that one look-up reads the meter at any millisecond
--
-- Everything here can be dropped and is then rebuilt from compute_events, row for row the same
-- (src/usage/ledger/rebuild/*.sql; `workspaced verify` proves it on a live database). A late event changes
-- its own hour and the hour of that computer's next event; the order of arrival leaves no trace.

-- One change of a workspace's flow, or one correction; `seq` is that of the event. A computer that
-- moves while running makes two: minus in the old workspace, plus in the new one.
CREATE TABLE meter_steps (
    workspace_id BLOB NOT NULL,
    at           INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    running      INTEGER NOT NULL,
    running_ms   INTEGER NOT NULL,
    rate         INTEGER NOT NULL,
    credit_ms    INTEGER NOT NULL,
    micros       INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, at, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE meter_hours (
    workspace_id BLOB NOT NULL,
    hour         INTEGER NOT NULL,                   -- its start, a multiple of 3 600 000
    running      INTEGER NOT NULL,
    running_ms   INTEGER NOT NULL,
    rate         INTEGER NOT NULL,
    credit_ms    INTEGER NOT NULL,
    micros       INTEGER NOT NULL,
    steps        INTEGER NOT NULL,                   -- rows of meter_steps in it; the row goes with the last
    PRIMARY KEY (workspace_id, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE meter_eras (
    workspace_id BLOB NOT NULL,
    era          INTEGER NOT NULL,                   -- its start, a multiple of 1 209 600 000
    running      INTEGER NOT NULL,
    running_ms   INTEGER NOT NULL,
    rate         INTEGER NOT NULL,
    credit_ms    INTEGER NOT NULL,
    micros       INTEGER NOT NULL,
    steps        INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, era)
) STRICT, WITHOUT ROWID;

-- Which computers ever ran in which workspace: where a breakdown, an explanation or a tenant's
-- report begins to look. Follows from compute_events too.
CREATE TABLE metered_computers (
    tenant_id    BLOB NOT NULL,
    workspace_id BLOB NOT NULL,
    computer_id  BLOB NOT NULL,
    PRIMARY KEY (tenant_id, workspace_id, computer_id)
) STRICT, WITHOUT ROWID;

-- The tariff: what an hour of a size costs, since when. Rows of the past are never touched; rows
-- ahead of the clock follow the configuration file. Computers that run across a change get an event
-- `computer.repriced` at its instant (src/usage/ledger/rates.rs).
CREATE TABLE rates (
    size           TEXT NOT NULL,
    effective_from INTEGER NOT NULL,                 -- 0: since ever
    rate           INTEGER NOT NULL CHECK (rate >= 0),          -- credits per hour
    applied        INTEGER NOT NULL CHECK (applied IN (0, 1)),  -- running computers have been re-priced
    PRIMARY KEY (size, effective_from)
) STRICT, WITHOUT ROWID;

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

-- What is known of this file as a file; one row.
CREATE TABLE installation (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    -- It is a copy: a backup, by its number in its directory, or 0. The next start of a service makes
    -- it a database of its own: the log goes on with numbers that nobody has had. NULL = it is none.
    copy_number   INTEGER,
    audit_floor   INTEGER NOT NULL DEFAULT 0,        -- the next row of audit_log has a higher number
    audit_skipped INTEGER NOT NULL DEFAULT 0         -- numbers of audit_log that were left out for that
) STRICT;
INSERT INTO installation (id) VALUES (1);

-- Where backups were made, and how the last one went.
CREATE TABLE backup_dirs (
    directory TEXT PRIMARY KEY,                      -- it was there: it is not made again
    tried_at  INTEGER NOT NULL,
    error     TEXT,                                  -- why the last try failed; NULL = it did not
    good_at   INTEGER,                               -- the state that the last good one holds
    good_file TEXT,
    mounted   INTEGER NOT NULL DEFAULT 0             -- 1: it was made while a disk was mounted there
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
    look_at     INTEGER,                             -- when something is to be done; NULL: nothing is
    looks       INTEGER NOT NULL DEFAULT 0,          -- counts what its container has to follow
    seen_at     INTEGER,                             -- when it was last seen alive, as far as that was written down
    process     TEXT                                 -- as which process of this machine: number, start, boot of the host
) STRICT, WITHOUT ROWID;
CREATE INDEX machines_to_look_at ON machines (look_at) WHERE look_at IS NOT NULL;

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

-- Links that open the preview addresses of a computer that is not public, for whoever has one.
CREATE TABLE preview_links (
    secret_hash BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
    tenant_id   BLOB NOT NULL,
    computer_id BLOB NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX preview_links_of_computer ON preview_links (computer_id);
CREATE INDEX preview_links_over ON preview_links (expires_at);
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

-- A host name names one computer of all organizations.
CREATE INDEX computers_by_host ON computers (slug) WHERE driver = 'docker' AND deleted_at IS NULL;

-- Which engine was last seen, and when it was last seen to run all that the events say runs: what a loss of
-- power has ended was alive until then.
CREATE TABLE engine_seen (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    install   TEXT NOT NULL,                         -- by which containers are known to be of this installation
    boot_id   TEXT NOT NULL,                         -- the host's, which a restart of it changes
    seen_at   INTEGER NOT NULL
) STRICT;

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

-- ---- the bill ----

-- Word of auto-stops. A row comes with the first of them, and goes with its computer.
CREATE TABLE stop_notices (
    computer_id BLOB PRIMARY KEY,
    tenant_id   BLOB NOT NULL,
    active_at   INTEGER,                             -- kept alive: where an agent runs it, its idle time begins here
    warned_for  INTEGER,                             -- the auto-stop that was announced
    told_for    INTEGER                              -- the one that an agent was told to carry out
) STRICT, WITHOUT ROWID;
CREATE INDEX computers_of_agents_idle ON computers (updated_at)
    WHERE driver = 'external' AND status = 'running' AND auto_stop_seconds > 0 AND deleted_at IS NULL;
CREATE TRIGGER stop_notices_gone AFTER UPDATE OF deleted_at ON computers
    WHEN old.deleted_at IS NULL AND new.deleted_at IS NOT NULL BEGIN
    DELETE FROM stop_notices WHERE computer_id = new.id;
END;

-- The time zone in which an organization or a workspace counts its days and months; none: UTC.
CREATE TABLE time_zones (
    owner_id  BLOB PRIMARY KEY CHECK (length(owner_id) = 16),  -- id of the tenant or workspace
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    name      TEXT NOT NULL                          -- as the IANA database writes it
) STRICT, WITHOUT ROWID;

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
-- ---- end of the bill ----

-- The audit log is only ever added to. Its rows go, if at all, from its old end: the older by date first.
-- Those with numbers below 1 came with a workspace from another installation; they are by its word, and may
-- go with it.
CREATE TRIGGER audit_log_unchanged BEFORE UPDATE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the audit log cannot be changed');
END;
CREATE TRIGGER audit_log_whole BEFORE DELETE ON audit_log
    WHEN old.seq > 0
     AND EXISTS (SELECT 1 FROM audit_log WHERE seq > 0 AND seq < old.seq AND at <= old.at) BEGIN
    SELECT RAISE(ABORT, 'only the oldest rows of the audit log can go');
END;
-- Retention of what was brought in.
CREATE INDEX audit_log_imported ON audit_log (at) WHERE seq < 1;
