// Usage by the hour as one would write it there: from the raw events, in SQL, at each question.
routerAdd('GET', '/usage', (e) => {
  const to = Date.now(), from = to - 30 * 24 * 3600000;
  const rows = arrayOf(new DynamicModel({ hour: 0, credits: -0 })); // -0: a number with a fraction
  $app.db().newQuery(`
    WITH RECURSIVE
    spans AS (
      SELECT at, billable, rate, lead(at, 1, {:to}) OVER (PARTITION BY computer_id ORDER BY at) AS until
      FROM compute_events WHERE workspace_id = {:workspace}
    ),
    hours(hour) AS (
      SELECT {:from} - {:from} % 3600000 UNION ALL SELECT hour + 3600000 FROM hours WHERE hour + 3600000 < {:to}
    ),
    parts(hour, until, rate, ms) AS (
      SELECT max(at, {:from}) - max(at, {:from}) % 3600000, until, rate,
             min(until, max(at, {:from}) - max(at, {:from}) % 3600000 + 3600000) - max(at, {:from})
      FROM spans WHERE billable = 1 AND until > {:from} AND at < {:to}
      UNION ALL
      SELECT hour + 3600000, until, rate, min(until, hour + 7200000) - hour - 3600000
      FROM parts WHERE hour + 3600000 < until
    )
    SELECT hours.hour AS hour, coalesce(sum(parts.ms * parts.rate), 0) / 3600000.0 AS credits
    FROM hours LEFT JOIN parts ON parts.hour = hours.hour GROUP BY hours.hour ORDER BY hours.hour`)
    .bind({ workspace: e.request.url.query().get('workspace'), from: from, to: to }).all(rows);
  return e.json(200, rows);
}, $apis.requireAuth());
