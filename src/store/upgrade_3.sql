-- From version 2 to 3: lists in any order, by any status, and search, at the same cost at any size.

DROP INDEX workspaces_name;
DROP INDEX computers_stats;

CREATE INDEX workspaces_by_name ON workspaces (tenant_id, name COLLATE NOCASE, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_age ON workspaces (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_change ON workspaces (tenant_id, updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_computers ON workspaces (tenant_id, computer_count, id) WHERE deleted_at IS NULL;

CREATE VIRTUAL TABLE workspace_search USING fts5 (
    name, slug, external_workspace_id, content = '', contentless_delete = 1, tokenize = 'trigram'
);
CREATE TABLE searchable_workspaces (
    number       INTEGER PRIMARY KEY,
    workspace_id BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE workspaces_to_index (
    workspace_id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE INDEX computers_by_status ON computers (tenant_id, status, created_at DESC, id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX computers_stats ON computers (workspace_id, status, created_at DESC, id DESC, size)
    WHERE deleted_at IS NULL;
CREATE INDEX computers_of_user ON computers (tenant_id, external_user_id, created_at DESC, id DESC)
    WHERE deleted_at IS NULL AND external_user_id IS NOT NULL;

CREATE INDEX preview_domains_with_problem ON preview_domains (tenant_id, updated_at)
    WHERE dns_status <> 'verified' OR last_error IS NOT NULL;
CREATE INDEX api_keys_of_workspace ON api_keys (workspace_id) WHERE workspace_id IS NOT NULL;

CREATE TRIGGER workspaces_new_to_search AFTER INSERT ON workspaces BEGIN
    INSERT INTO workspaces_to_index (workspace_id) VALUES (new.id);
END;
CREATE TRIGGER workspaces_changed_for_search
    AFTER UPDATE OF name, slug, external_workspace_id, deleted_at ON workspaces BEGIN
    INSERT OR IGNORE INTO workspaces_to_index (workspace_id) VALUES (new.id);
END;

INSERT INTO workspaces_to_index (workspace_id) SELECT id FROM workspaces WHERE deleted_at IS NULL;

-- The audit log is only ever added to, and goes, if at all, from its old end.
CREATE TRIGGER audit_log_unchanged BEFORE UPDATE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the audit log cannot be changed');
END;
CREATE TRIGGER audit_log_whole BEFORE DELETE ON audit_log
    WHEN old.seq > (SELECT min(seq) FROM audit_log) BEGIN
    SELECT RAISE(ABORT, 'only the oldest rows of the audit log can go');
END;
