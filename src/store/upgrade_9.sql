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
