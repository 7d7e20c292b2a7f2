-- The meter of one workspace, as far as a window needs it: spans in the order of time, each with
-- the changes within it and what these have added by its end. The program runs the flow through
-- them (src/usage/meter/reading.rs) and reads it at the edges of the buckets.
--
-- :workspace  the workspace
-- :era        start of the era in which the window starts
-- :hour       start of the hour in which the window starts
-- :end        end of the window
WITH
-- Everything before that era: one row per two weeks of history, so that ten years cost 261 rows.
eras AS (
    SELECT era AS start, era + 1209600000 AS "end", running, running_ms, rate, credit_ms, micros
    FROM meter_eras
    WHERE workspace_id = :workspace AND era < :era
    ORDER BY era
),
-- From there to the window, in one row: no more than 335 hours. What an hour's changes had added by
-- its end goes on growing by their flow until the window starts.
head AS (
    SELECT :era AS start, :hour AS "end",
           sum(running) AS running,
           sum(running_ms + running * (:hour - hour - 3600000)) AS running_ms,
           sum(rate) AS rate,
           sum(credit_ms + rate * (:hour - hour - 3600000)) AS credit_ms,
           sum(micros) AS micros
    FROM meter_hours
    WHERE workspace_id = :workspace AND hour >= :era AND hour < :hour
    HAVING count(*) > 0
),
-- The window itself, hour by hour. Hours without a change have no row: the flow runs through.
hours AS (
    SELECT hour AS start, hour + 3600000 AS "end", running, running_ms, rate, credit_ms, micros
    FROM meter_hours
    WHERE workspace_id = :workspace AND hour >= :hour AND hour < :end
    ORDER BY hour
)
SELECT * FROM eras
UNION ALL SELECT * FROM head
UNION ALL SELECT * FROM hours
ORDER BY start
