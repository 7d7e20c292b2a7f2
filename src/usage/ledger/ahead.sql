-- How many of our own events that the meter follows are dated after ?1 and are not void.
SELECT count(DISTINCT e.seq) FROM workspaces w
CROSS JOIN meter_steps s ON s.workspace_id = w.id AND s.at > ?1
CROSS JOIN compute_events e ON e.seq = s.seq
WHERE e.event_id IS NULL AND e.stated <> 0
  AND NOT EXISTS (SELECT 1 FROM compute_events v
      WHERE v.computer_id = e.computer_id AND v.at = e.at AND v.seq > e.seq AND v.type = 'computer.voided')
