-- The meter inside an hour: the last change before an instant, with what the changes of that hour
-- up to it have added by then. One look-up in the primary key.
--
-- ?1 workspace, ?2 start of the hour, ?3 the instant (what is dated at it comes after it)
SELECT ?2 AS start, at AS "end", running, running_ms, rate, credit_ms, micros
FROM meter_steps
WHERE workspace_id = ?1 AND at >= ?2 AND at < ?3
ORDER BY at DESC, seq DESC
LIMIT 1
