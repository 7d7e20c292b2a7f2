-- meter_steps, as it follows from compute_events.
WITH
-- Each event of a computer beside the one before it.
paired AS (
    SELECT seq, at, workspace_id AS place, billable AS running, billable * rate AS rate,
           lag(workspace_id) OVER computer AS old_place,
           lag(billable) OVER computer AS old_running,
           lag(billable * rate) OVER computer AS old_rate
    FROM compute_events
    WHERE computer_id IS NOT NULL
    WINDOW computer AS (PARTITION BY computer_id ORDER BY at, seq)
),
-- What each changes in a workspace's flow: where the computer is, where it no longer is; and the
-- corrections, which are amounts.
changes AS (
    SELECT place AS workspace_id, at, seq,
           running - iif(old_place = place, old_running, 0) AS running,
           rate - iif(old_place = place, old_rate, 0) AS rate,
           0 AS micros
    FROM paired
    UNION ALL
    SELECT old_place, at, seq, -old_running, -old_rate, 0 FROM paired WHERE old_place <> place
    UNION ALL
    SELECT workspace_id, at, seq, 0, 0, amount_micros FROM compute_events WHERE computer_id IS NULL
)
-- Running sums since the start of the hour, as they stand at the change itself.
SELECT workspace_id, at, seq,
       sum(running) OVER hour,
       (at % 3600000) * sum(running) OVER hour - sum(running * (at % 3600000)) OVER hour,
       sum(rate) OVER hour,
       (at % 3600000) * sum(rate) OVER hour - sum(rate * (at % 3600000)) OVER hour,
       sum(micros) OVER hour
FROM changes
WHERE running <> 0 OR rate <> 0 OR micros <> 0
WINDOW hour AS (PARTITION BY workspace_id, at - at % 3600000 ORDER BY at, seq ROWS UNBOUNDED PRECEDING)
