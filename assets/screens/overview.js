// @ts-check
// What runs, what it costs, and what wants attention.

/** @import { Context } from "../app.js" */
/** @import { Child } from "../lib/dom.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api, query } from "../lib/api.js";
import { capBar, empty, head, panel, resource, shared, status, table } from "../lib/ui.js";
import {
  ago,
  count,
  credits,
  decimals,
  LOCAL_ZONE,
  now,
  number,
  time,
  zone,
} from "../lib/format.js";
import { barChart, METRICS } from "../lib/chart.js";
import { activityFeed } from "./activity.js";
import { listen } from "../lib/live.js";

/** @typedef {{ signal?: AbortSignal }} Options */

/** @param {Context} context */
export async function show({ main, signal, title, who, covers, go }) {
  title("Overview");
  if (who.key.workspace_id) return go(`/workspaces/${who.key.workspace_id}`);
  const places = {
    tiles: h("div"),
    usage: h("div"),
    near: h("div"),
    top: h("div"),
    domains: h("div"),
    activity: h("div"),
  };
  const mayAudit = covers("audit:read");
  fill(
    main,
    head("Overview", {
      sub: h("p", null, "Organization ", h("strong", null, who.key.tenant_slug)),
    }),
    places.tiles,
    panel("Last 30 days", { note: "All workspaces" }, places.usage),
    columns(places, mayAudit),
  );

  const midnight = new Date(now());
  midnight.setHours(0, 0, 0, 0);
  const today = `${midnight.toISOString().slice(0, 19)}Z`;
  const overview = shared((o) => api.get("/overview", o));
  const series = shared((o) => api.get(`/usage/series${query(lastMonth())}`, o));
  /**
   * @param {Options} o
   * @param {string} [from]
   */
  const summary = (o, from) => api.get(`/usage/summary${query({ period_start: from })}`, o);

  const reloadUsage = resource(
    places.usage,
    series,
    (usage) => barChart(usage, { metric: METRICS.credits }),
    { signal, lines: 8 },
  );
  const reloadTop = resource(places.top, series, (found) => ranks(found.top_workspaces), {
    signal,
    lines: 5,
  });
  const reloadTiles = resource(
    places.tiles,
    (o) => Promise.all([overview(o), summary(o, today), summary(o)]),
    ([o, day, month]) => tiles(o, day, month),
    { signal, lines: 3 },
  );
  const reloads = [
    reloadTiles,
    resource(places.near, overview, nearLimit, { signal }),
    resource(places.domains, overview, (o) => domainProblems(o.domain_problems), { signal }),
  ];
  if (mayAudit) reloads.push(resource(places.activity, latest, feed, { signal, lines: 6 }));

  const later = debounce(() => {
    if (!signal.aborted) reloads.forEach((reload) => reload());
  }, 600);
  listen(/./, later, signal);
  const timer = setInterval(() => {
    if (document.hidden) return;
    reloadTiles();
    reloadTop();
    // While somebody looks at a bar it stays where it is.
    if (!places.usage.querySelector(".tip:not([hidden])")) reloadUsage();
  }, 30_000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/**
 * @param {Record<"near" | "top" | "domains" | "activity", HTMLElement>} places
 * @param {boolean} mayAudit
 */
function columns(places, mayAudit) {
  const all = h("a", { class: "button small", href: "#/activity" }, "All activity");
  return h(
    "div",
    { class: "columns" },
    h(
      "div",
      { class: "column" },
      panel("Most expensive workspaces", { note: "30 days" }, places.top),
      panel("Preview domains with problems", {}, places.domains),
    ),
    h(
      "div",
      { class: "column" },
      panel("Near a limit", { note: "75 % of the cap or more" }, places.near),
      mayAudit && panel("Latest activity", { actions: [all] }, places.activity),
    ),
  );
}

const lastMonth = () => ({
  window: "30d",
  granularity: "day",
  tz: zone() === "UTC" ? null : LOCAL_ZONE,
});

/** @param {Options} o */
const latest = (o) => api.get("/audit-log?limit=8", o);

/** @param {{ data: any[] }} log */
const feed = (log) =>
  log.data.length ? activityFeed(log.data) : empty("Nothing has happened yet");

/**
 * @param {string} label
 * @param {Child} value
 * @param {Child} note
 * @param {string} [href]
 */
const tile = (label, value, note, href) =>
  h(
    href ? "a" : "div",
    { class: "tile", href },
    h("span", { class: "tile-label" }, label),
    h("span", { class: "tile-value" }, value),
    h("span", { class: "hint" }, note),
  );

/**
 * @param {any} o the overview
 * @param {any} today usage since midnight
 * @param {any} month usage of this month
 */
function tiles(o, today, month) {
  const by = o.computers.by_status;
  const running = by.running ?? 0;
  const moving = (by.provisioning ?? 0) + (by.starting ?? 0) + (by.stopping ?? 0);
  const others = [
    `of ${count(o.computers.total, "computer")}`,
    moving > 0 && `${moving} in transition`,
    by.error > 0 && `${by.error} in error`,
  ].filter(Boolean);
  const rate = o.burn_rate_credits_per_hour;
  return h(
    "div",
    { class: "tiles" },
    tile("Running now", number(running), others.join(", "), "#/computers?status=running"),
    tile(
      "Credits today",
      number(today.total_credits),
      `${decimals(today.compute_ms / 36e5)} compute hours`,
      "#/workspaces",
    ),
    tile(
      "Credits this month",
      number(month.total_credits),
      ["since ", time(month.period_start)],
      "#/workspaces",
    ),
    tile(
      "Burn rate",
      [number(rate), h("small", null, " / h")],
      running ? `${number(rate * 24)} a day at this rate` : "nothing runs",
    ),
    tile("Workspaces", number(o.workspaces), count(o.projects, "project"), "#/workspaces"),
  );
}

/** @param {any[]} rows */
function ranks(rows) {
  if (!rows.length) {
    return empty("Nothing was used in 30 days", "Computers cost credits while they run.");
  }
  return h(
    "ol",
    { class: "ranks" },
    rows.slice(0, 8).map((row) =>
      h(
        "li",
        null,
        h("a", { href: `#/workspaces/${row.workspace_id}` }, row.name),
        h(
          "span",
          { class: "num", title: `${credits(row.credits_micros)} credits` },
          number(row.credits_used),
        ),
        h("span", {
          class: "rank-bar",
          "aria-hidden": "true",
          vars: { "--share": row.credits_micros / rows[0].credits_micros },
        }),
      ),
    ),
  );
}

/** @param {{ ceilings: any[], near_limit: any[] }} overview */
function nearLimit({ ceilings, near_limit }) {
  const organization = ceilings
    .filter((ceiling) => ceiling.current >= ceiling.max * 0.75)
    .map((ceiling) => ({
      name: `Organization: ${ceiling.limit.replace("max_", "")}`,
      computer_count: ceiling.current,
      max_computers: ceiling.max,
    }));
  const rows = [...organization, ...near_limit];
  if (!rows.length) return empty("No workspace is near its limit");
  return table(
    "Workspaces near their limit",
    [
      {
        label: "Workspace",
        cell: (w) => linked(w.workspace_id && `#/workspaces/${w.workspace_id}/settings`, w.name),
      },
      { label: "Used", cell: (w) => capBar(w.computer_count, w.max_computers) },
    ],
    rows,
  );
}

/**
 * @param {string | undefined} href
 * @param {string} text
 */
const linked = (href, text) => (href ? h("a", { class: "row-link", href }, text) : text);

/** @param {any[]} rows */
function domainProblems(rows) {
  if (!rows.length) return empty("Every preview domain works", "Or none has been set.");
  /** @type {Record<string, (id: string) => string>} */
  const places = {
    workspace: (id) => `#/workspaces/${id}/domain`,
    project: (id) => `#/projects/${id}`,
  };
  return table(
    "Preview domains with problems",
    [
      { label: "Domain", cell: (d) => linked(places[d.scope]?.(d.owner_id), d.domain) },
      {
        label: "Status",
        cell: (d) => [
          status(d.last_error ? "error" : d.dns_status),
          d.last_error && h("p", { class: "hint" }, d.last_error),
        ],
      },
      { label: "Checked", cell: (d) => ago(d.checked_at) },
    ],
    rows,
  );
}
