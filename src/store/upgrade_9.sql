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
