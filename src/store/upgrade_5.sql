-- From version 4 to 5: webhooks and their deliveries.

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
    deleted_at      INTEGER                          -- the row goes when its deliveries have gone
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

CREATE TRIGGER webhook_deliveries_queued AFTER INSERT ON webhook_deliveries WHEN new.state = 'pending' BEGIN
    UPDATE webhooks SET pending_count = pending_count + 1 WHERE id = new.webhook_id;
END;
CREATE TRIGGER webhook_deliveries_finished AFTER UPDATE OF state ON webhook_deliveries
    WHEN old.state = 'pending' AND new.state <> 'pending' BEGIN
    UPDATE webhooks SET pending_count = pending_count - 1 WHERE id = new.webhook_id;
END;
