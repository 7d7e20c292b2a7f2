-- meter_hours, as it follows from meter_steps: an hour is its last step, carried on to the end of
-- the hour.
WITH
-- Steps with their hour, their place from its end, and how many there are in it.
ranked AS (
    SELECT *, at - at % 3600000 AS hour,
           row_number() OVER (PARTITION BY workspace_id, at - at % 3600000 ORDER BY at DESC, seq DESC) AS from_end,
           count(*) OVER (PARTITION BY workspace_id, at - at % 3600000) AS steps
    FROM meter_steps
)
SELECT workspace_id, hour, running, running_ms + running * (hour + 3600000 - at),
       rate, credit_ms + rate * (hour + 3600000 - at), micros, steps
FROM ranked
WHERE from_end = 1
