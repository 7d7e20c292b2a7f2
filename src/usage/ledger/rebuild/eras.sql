-- meter_eras, as it follows from meter_hours: an era is the sum of its hours, each carried on to
-- the end of the era.
SELECT workspace_id, hour - hour % 1209600000 AS era,
       sum(running),
       sum(running_ms + running * (hour - hour % 1209600000 + 1209600000 - hour - 3600000)),
       sum(rate),
       sum(credit_ms + rate * (hour - hour % 1209600000 + 1209600000 - hour - 3600000)),
       sum(micros),
       sum(steps)
FROM meter_hours
GROUP BY workspace_id, era
