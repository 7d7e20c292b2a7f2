-- The meter checked against compute_events, by another way than the one that wrote it: stints and
-- self-contained sums, no neighbours in the meter and no running sums. One row per hour in which the
-- meter and the events disagree, with the running time and the credits that are unexplained.
WITH
-- Each event of a computer with the instant at which it stops holding.
stints AS (
    SELECT workspace_id, billable, billable * rate AS rate, at,
           lead(at) OVER (PARTITION BY computer_id ORDER BY at, seq) AS until
    FROM compute_events
    WHERE computer_id IS NOT NULL
),
-- A running stint raises the flow of its workspace where it begins and lowers it where it ends.
flows AS (
    SELECT workspace_id, at, 1 AS running, rate, 0 AS micros
    FROM stints WHERE billable = 1 AND (until IS NULL OR until > at)
    UNION ALL
    SELECT workspace_id, until, -1, -rate, 0 FROM stints WHERE billable = 1 AND until > at
    UNION ALL
    -- A correction is an amount at an instant.
    SELECT workspace_id, at, 0, 0, amount_micros FROM compute_events WHERE computer_id IS NULL
),
-- What meter_hours should therefore hold.
expected AS (
    SELECT workspace_id, at - at % 3600000 AS hour,
           sum(running) AS running, sum(running * (3600000 - at % 3600000)) AS running_ms,
           sum(rate) AS rate, sum(rate * (3600000 - at % 3600000)) AS credit_ms,
           sum(micros) AS micros
    FROM flows GROUP BY workspace_id, hour
),
-- Both sides, the meter negative: what is left over per hour is the difference.
both AS (
    SELECT workspace_id, hour, running, running_ms, rate, credit_ms, micros FROM expected
    UNION ALL
    SELECT workspace_id, hour, -running, -running_ms, -rate, -credit_ms, -micros FROM meter_hours
)
SELECT workspace_id, hour, sum(running) AS running, sum(running_ms) AS running_ms,
       sum(rate) AS rate, sum(credit_ms) AS credit_ms, sum(micros) AS micros
FROM both
-- What is on its way in, or out again, is nobody's yet.
WHERE workspace_id NOT IN (SELECT workspace_id FROM imports)
GROUP BY workspace_id, hour
HAVING sum(running) <> 0 OR sum(running_ms) <> 0 OR sum(rate) <> 0 OR sum(credit_ms) <> 0 OR sum(micros) <> 0
