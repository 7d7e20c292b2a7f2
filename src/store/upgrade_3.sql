-- From version 2 to 3: lists in any order, by any status, and search, at the same cost at any size.

DROP INDEX workspaces_name;
DROP INDEX computers_stats;

CREATE INDEX workspaces_by_name ON workspaces (tenant_id, name COLLATE NOCASE, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_age ON workspaces (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_change ON workspaces (tenant_id, updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_by_computers ON workspaces (tenant_id, computer_count, id) WHERE deleted_at IS NULL;

CREATE TABLE searchable_workspaces (
    number       INTEGER PRIMARY KEY,
    workspace_id BLOB NOT NULL UNIQUE REFERENCES workspaces (id)
) STRICT;
CREATE VIRTUAL TABLE workspace_search USING fts5 (
    name, slug, external_workspace_id, content = '', contentless_delete = 1, detail = full, tokenize = 'trigram'
);


CREATE INDEX computers_by_status ON computers (tenant_id, status, created_at DESC, id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX computers_stats ON computers (workspace_id, status, created_at DESC, id DESC, size)
    WHERE deleted_at IS NULL;
CREATE INDEX computers_of_user ON computers (tenant_id, external_user_id, created_at DESC, id DESC)
    WHERE deleted_at IS NULL AND external_user_id IS NOT NULL;

CREATE INDEX preview_domains_with_problem ON preview_domains (tenant_id, updated_at)
    WHERE dns_status <> 'verified' OR last_error IS NOT NULL;
CREATE INDEX api_keys_of_workspace ON api_keys (workspace_id) WHERE workspace_id IS NOT NULL;

CREATE TRIGGER workspaces_searchable AFTER INSERT ON workspaces BEGIN
    INSERT INTO searchable_workspaces (workspace_id) VALUES (new.id);
    INSERT INTO workspace_search (rowid, name, slug, external_workspace_id)
        SELECT number, new.name, new.slug, new.external_workspace_id
          FROM searchable_workspaces WHERE workspace_id = new.id;
END;
CREATE TRIGGER workspaces_searched_anew AFTER UPDATE OF name, slug, external_workspace_id ON workspaces
    WHEN new.deleted_at IS NULL
     AND (old.name, old.slug, old.external_workspace_id)
         IS NOT (new.name, new.slug, new.external_workspace_id) BEGIN
    UPDATE workspace_search SET name = new.name, slug = new.slug, external_workspace_id = new.external_workspace_id
     WHERE rowid = (SELECT number FROM searchable_workspaces WHERE workspace_id = new.id);
END;
CREATE TRIGGER workspaces_unsearchable AFTER UPDATE OF deleted_at ON workspaces
    WHEN old.deleted_at IS NULL AND new.deleted_at IS NOT NULL BEGIN
    DELETE FROM workspace_search
     WHERE rowid = (SELECT number FROM searchable_workspaces WHERE workspace_id = new.id);
    DELETE FROM searchable_workspaces WHERE workspace_id = new.id;
END;

INSERT INTO searchable_workspaces (workspace_id) SELECT id FROM workspaces WHERE deleted_at IS NULL ORDER BY id;
INSERT INTO workspace_search (rowid, name, slug, external_workspace_id)
    SELECT s.number, w.name, w.slug, w.external_workspace_id
      FROM searchable_workspaces s JOIN workspaces w ON w.id = s.workspace_id;
