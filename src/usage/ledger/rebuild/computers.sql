-- metered_computers, as it follows from compute_events.
SELECT DISTINCT tenant_id, workspace_id, computer_id FROM compute_events WHERE billable = 1
