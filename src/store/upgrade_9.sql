-- Version 9. Later parts of this step stand below, by topic.

-- Names in paths.
CREATE INDEX projects_by_slug ON projects (tenant_id, slug) WHERE deleted_at IS NULL;
CREATE INDEX projects_by_external ON projects (tenant_id, external_project_id)
    WHERE deleted_at IS NULL AND external_project_id IS NOT NULL;
