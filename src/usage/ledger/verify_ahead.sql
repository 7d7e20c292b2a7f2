-- How many of our own events of computers are dated after ?1 and are not void. What agents report may lie
-- ahead by minutes.
SELECT count(*) FROM compute_events e
WHERE e.computer_id IS NOT NULL AND e.at > ?1 AND e.event_id IS NULL AND e.stated <> 0
  AND NOT EXISTS (SELECT 1 FROM compute_events v
      WHERE v.computer_id = e.computer_id AND v.at = e.at AND v.seq > e.seq AND v.type = 'computer.voided')
