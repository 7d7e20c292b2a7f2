-- Version 9. Later parts of this step stand below, by topic.

-- Two things that a container has to follow may happen at one instant: they are counted.
ALTER TABLE machines ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;
-- ---- the bill ----

-- The time zone in which an organization or a workspace counts its days and months; none: UTC.
CREATE TABLE time_zones (
    owner_id  BLOB PRIMARY KEY CHECK (length(owner_id) = 16),  -- id of the tenant or workspace
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    name      TEXT NOT NULL                          -- as the IANA database writes it
) STRICT, WITHOUT ROWID;

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
