-- Rows that must agree with what they follow from, by kind; no row = all do.
--
WITH
-- The event that held for each computer when its row was last brought in line with its events: no
-- clock is asked. For a computer that an outside agent reports about `due_at` is the first event that
-- has not been taken up. A deleted one stays what it was at its deletion.
held AS (
    SELECT e.computer_id, e.status, e.size, e.workspace_id, e.project_id,
           row_number() OVER (PARTITION BY e.computer_id ORDER BY e.at DESC, e.seq DESC) AS from_end
    FROM compute_events e JOIN computers c ON c.id = e.computer_id
    WHERE CASE WHEN c.deleted_at IS NOT NULL AND c.driver <> 'docker' THEN e.at <= c.deleted_at
               ELSE c.driver <> 'external' OR c.due_at IS NULL OR e.at < c.due_at END
),
-- One line for each thing that is kept beside what it follows from: the present state of computers,
-- and the counters of schema.sql's triggers.
checked AS (
    SELECT 'computers and their last event' AS what, count(*) AS rows
    FROM computers c LEFT JOIN held h ON h.computer_id = c.id AND h.from_end = 1
    WHERE (CASE WHEN c.driver <> 'docker'
                THEN (h.status, h.size, h.workspace_id, h.project_id) IS NOT (c.status, c.size, c.workspace_id, c.project_id)
                ELSE c.deleted_at IS NULL AND (h.workspace_id, h.project_id) IS NOT (c.workspace_id, c.project_id) END)
      -- What is on its way in is nobody's yet.
      AND c.workspace_id NOT IN (SELECT workspace_id FROM imports)
    UNION ALL
    -- Its row says what is wanted, and its events what the engine did: on the way they differ.
    SELECT 'machines and their last event', count(*)
    FROM computers c LEFT JOIN held h ON h.computer_id = c.id AND h.from_end = 1
    LEFT JOIN machines m ON m.computer_id = c.id
    WHERE c.driver = 'docker'
      AND (h.status IS NULL OR (h.status = 'destroyed') <> (c.status = 'destroyed')
        OR c.status = 'running' AND h.status <> 'running'
        OR h.status = 'running' AND c.status IN ('stopped', 'provisioning')
        OR c.deleted_at IS NULL AND h.size IS NOT c.size AND h.size IS NOT m.held_to)
    UNION ALL
    SELECT 'deleted computers', count(*) FROM computers WHERE (deleted_at IS NOT NULL) <> (status = 'destroyed')
      AND workspace_id NOT IN (SELECT workspace_id FROM imports)
    UNION ALL
    SELECT 'projects.computer_count', count(*) FROM projects p
    WHERE computer_count <> (SELECT count(*) FROM computers c WHERE c.project_id = p.id AND c.deleted_at IS NULL)
    UNION ALL
    SELECT 'workspaces.computer_count', count(*) FROM workspaces w
    WHERE computer_count <> (SELECT count(*) FROM computers c WHERE c.workspace_id = w.id AND c.deleted_at IS NULL)
    UNION ALL
    SELECT 'workspaces.project_count', count(*) FROM workspaces w
    WHERE project_count <> (SELECT count(*) FROM projects p WHERE p.workspace_id = w.id AND p.deleted_at IS NULL)
    UNION ALL
    SELECT 'tenants.computer_count', count(*) FROM tenants t
    WHERE computer_count <> (SELECT count(*) FROM computers c WHERE c.tenant_id = t.id AND c.deleted_at IS NULL)
    UNION ALL
    SELECT 'tenants.project_count', count(*) FROM tenants t
    WHERE project_count <> (SELECT count(*) FROM projects p WHERE p.tenant_id = t.id AND p.deleted_at IS NULL)
    UNION ALL
    SELECT 'tenants.workspace_count', count(*) FROM tenants t
    WHERE workspace_count <> (SELECT count(*) FROM workspaces w WHERE w.tenant_id = t.id AND w.deleted_at IS NULL)
)
SELECT what, rows FROM checked WHERE rows > 0
