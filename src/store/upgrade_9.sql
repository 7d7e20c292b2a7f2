-- Version 9. Later parts of this step stand below, by topic.

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
