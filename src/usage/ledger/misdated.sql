-- All events of computers, the last first, with what tells whether they were dated by a right clock.
SELECT e.seq, e.at, e.stated, e.workspace_id, e.project_id, e.status, e.size, e.rate, e.type = 'project.moved',
       e.event_id IS NULL AND e.stated <> 0, e.type = 'computer.restored', e.tenant_id, e.computer_id, e.type, e.recorded_at,
       EXISTS (SELECT 1 FROM compute_events v
           WHERE v.computer_id = e.computer_id AND v.at = e.at AND v.seq > e.seq AND v.type = 'computer.voided') AS void,
       EXISTS (SELECT 1 FROM imported_rates i WHERE i.workspace_id = e.workspace_id) AS imported
FROM compute_events e WHERE e.computer_id IS NOT NULL ORDER BY e.seq DESC
