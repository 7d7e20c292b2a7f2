// @ts-check
// What limits and budgets have refused: a cap that costs business is seen.

import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { empty, panel, resource, table } from "../lib/ui.js";
import { ago, count, now, number } from "../lib/format.js";

const DAYS = 30;

/**
 * @param {HTMLElement} place
 * @param {{ path: string, signal: AbortSignal }} owner `path` of the workspace in the API; empty: the organization
 */
export function refusalsPanel(place, { path, signal }) {
  const inner = h("div");
  fill(place, panel("Refused by limits", { note: `In the last ${DAYS} days` }, inner));
  const since = new Date(now() - DAYS * 86_400_000).toISOString().slice(0, 19) + "Z";
  resource(
    inner,
    (o) => api.get(`${path}/refusals?limit=100&since=${since}`, o),
    (list) => (list.data.length ? drawn(list.data) : empty("Nothing was refused")),
    { signal, lines: 2 },
  );
}

/**
 * The hours of one limit and kind of request together, the most first.
 * @param {any[]} hours
 */
function drawn(hours) {
  /** @type {Map<string, any>} */
  const all = new Map();
  for (const hour of hours) {
    const key = `${hour.limit} ${hour.scope} ${hour.request}`;
    const row = all.get(key);
    if (row) row.count += hour.count;
    else all.set(key, { ...hour, key });
  }
  const rows = [...all.values()].sort((a, b) => b.count - a.count);
  const sum = rows.reduce((n, row) => n + row.count, 0);
  return [
    h(
      "p",
      { class: "lead" },
      h("strong", null, count(sum, "request")),
      ` refused, most by ${rows[0].limit}.`,
    ),
    table(
      "Refused by limits",
      [
        { label: "Limit", cell: (r) => h("span", { title: r.message }, r.limit) },
        {
          label: "Of the",
          hide: "wide",
          cell: (r) => (r.scope === "tenant" ? "organization" : r.scope),
        },
        { label: "Request", hide: "wide", cell: (r) => h("code", null, r.request) },
        { label: "At most", num: true, cell: (r) => String(r.max) },
        { label: "Times", num: true, cell: (r) => number(r.count) },
        { label: "Last", cell: (r) => ago(r.last_at) },
      ],
      rows,
      { rowKey: (r) => r.key },
    ),
  ];
}
