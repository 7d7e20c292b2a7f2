// @ts-check
// What runs, what it costs, and what wants attention.

/** @import { Context } from "../app.js" */
/** @import { Child } from "../lib/dom.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api, query, readiness } from "../lib/api.js";
import { capBar, empty, head, panel, resource, shared, table } from "../lib/ui.js";
import {
  amountOf,
  count,
  counted,
  credits,
  dateFormat,
  decimals,
  LOCAL_ZONE,
  number,
  startOfDay,
  wholeOf,
  zone,
} from "../lib/format.js";
import { barChart, METRICS } from "../lib/chart.js";
import { activityFeed } from "./activity.js";
import { attention, checklist, itemsOf, placeOf } from "./attention.js";
import { budgetBar, budgetNote } from "./bill.js";
import { nameOf } from "../lib/cells.js";
import { listen } from "../lib/live.js";

/** @typedef {{ signal?: AbortSignal }} Options */

/** @param {Context} context */
export async function show({ main, signal, title, who, covers, go, reroute }) {
  title("Overview");
  if (who.key.workspace_id) return go(`/workspaces/${who.key.workspace_id}`);
  const overview = shared((o) => api.get("/overview", o));
  const first = await overview({ signal });
  const places = {
    attention: h("div"),
    setup: h("div"),
    tiles: h("div"),
    usage: h("div"),
    near: h("div"),
    top: h("div"),
    budgets: h("div"),
    activity: h("div"),
  };
  const mayAudit = covers("audit:read");
  // Where nothing has ever run, there is nothing to show but how to begin.
  const fresh = !first.setup.computers;
  fill(
    main,
    head("Overview", {
      sub: h("p", null, "Organization ", h("strong", null, who.key.tenant_slug)),
    }),
    places.attention,
    places.setup,
    !fresh && [
      places.tiles,
      panel("Last 30 days", { note: "All workspaces" }, places.usage),
      columns(places, mayAudit),
    ],
  );

  // The day of the zone in which months are counted, so that both tiles speak of the same calendar.
  const midnight = startOfDay(first.month.time_zone);
  const today = `${new Date(midnight).toISOString().slice(0, 19)}Z`;
  const budgets = shared((o) => api.get("/budgets", o));
  const series = shared((o) => api.get(`/usage/series${query(lastMonth())}`, o));
  /** @param {Options} o */
  const sinceMidnight = (o) => api.get(`/usage/summary${query({ period_start: today })}`, o);

  const reloadAttention = resource(
    places.attention,
    (o) => Promise.all([overview(o), budgets(o), readiness(o)]),
    ([o, b, w]) =>
      attention(itemsOf(o, b.data, w, { who, covers, done: () => reloadAttention() }), fresh),
    { signal, lines: 2 },
  );
  const budgetsPanel = (/** @type {any} */ b) =>
    b.data.length > 0 && panel("Budgets", {}, budgetsTable(b.data));
  const drawSetup = (/** @type {any} */ o) => checklist(o.setup, { who, covers, fresh });
  const reloads = [reloadAttention, resource(places.setup, overview, drawSetup, { signal })];
  let reloadUsage = () => {},
    reloadTop = () => {};
  if (!fresh) {
    reloadUsage = resource(
      places.usage,
      series,
      (usage) => barChart(usage, { metric: METRICS.credits }),
      { signal, lines: 8 },
    );
    reloadTop = resource(places.top, series, (found) => ranks(found.top_workspaces), {
      signal,
      lines: 5,
    });
    reloads.push(
      resource(
        places.tiles,
        (o) => Promise.all([overview(o), sinceMidnight(o), budgets(o)]),
        ([o, day, b]) => tiles(o, day, b.data),
        { signal, lines: 3 },
      ),
      resource(places.near, overview, nearLimit, { signal }),
      resource(places.budgets, budgets, budgetsPanel, { signal, lines: 0 }),
    );
    if (mayAudit) reloads.push(resource(places.activity, latest, feed, { signal, lines: 6 }));
  }

  const later = debounce(() => {
    if (!signal.aborted) reloads.forEach((reload) => reload());
  }, 600);
  listen(
    /./,
    (event) => {
      // The first computer changes what the screen is.
      if (fresh && event?.type === "computer.created") reroute();
      else later();
    },
    signal,
  );
  const timer = setInterval(() => {
    if (document.hidden) return;
    reloads.forEach((reload) => reload());
    reloadTop();
    // While somebody looks at a bar it stays where it is.
    if (!places.usage.querySelector(".tip:not([hidden])")) reloadUsage();
  }, 30_000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/**
 * @param {Record<"near" | "top" | "budgets" | "activity", HTMLElement>} places
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
      panel("Near a limit", { note: "75 % of the cap or more" }, places.near),
    ),
    h(
      "div",
      { class: "column" },
      places.budgets,
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
 * @param {any[]} budgets
 */
function tiles(o, today, budgets) {
  const by = o.computers.by_status;
  const running = by.running ?? 0;
  const moving = (by.provisioning ?? 0) + (by.starting ?? 0) + (by.stopping ?? 0);
  const rate = o.burn_rate_credits_per_hour;
  const others = [
    `of ${count(o.computers.total, "computer")}`,
    running > 0 && `${count(rate, "credit")} an hour`,
    moving > 0 && `${moving} in transition`,
    by.error > 0 && `${by.error} in error`,
  ].filter(Boolean);
  const { month } = o;
  const last = new Date(Date.parse(month.end) - 1);
  const until = dateFormat({ day: "numeric", month: "short" }, month.time_zone).format(last);
  const whole = budgets.find((b) => b.scope === "organization");
  return h(
    "div",
    { class: "tiles" },
    tile("Running now", number(running), others.join(", "), "#/computers?status=running"),
    tile(
      "Credits today",
      amountOf(today.total_credits_micros),
      [
        `${decimals(today.compute_ms / 36e5)} compute hours`,
        month.time_zone !== zone() && `, since midnight in ${month.time_zone}`,
      ],
      "#/workspaces",
    ),
    tile("Credits this month", amountOf(month.used_micros), against(month), "#/workspaces"),
    tile(
      "Forecast for the month",
      amountOf(month.forecast_micros),
      `until ${until}, at ${amountOf(month.burn_micros_per_day)} a day`,
    ),
    whole &&
      tile(
        "Budget",
        [number(whole.used_percent), h("small", null, " %")],
        [budgetBar(whole), budgetNote(whole)],
      ),
  );
}

/**
 * The month so far against the same days of the month before.
 * @param {any} month
 */
function against({ start, used_micros: used, previous_micros: before, time_zone: tz }) {
  const name = dateFormat({ month: "long" }, tz).format(new Date(Date.parse(start) - 1));
  if (!before) return `nothing in the same days of ${name}`;
  const change = Math.round(((used - before) / before) * 100);
  // A beginning is no growth.
  if (change > 300) return `${amountOf(before)} in the same days of ${name}`;
  const sign = change > 0 ? "+" : change < 0 ? "−" : "±";
  return `${sign}${number(Math.abs(change))} % against the same days of ${name}`;
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
          { class: "num", title: counted(credits(row.credits_micros)) },
          wholeOf(row.credits_micros),
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

/** @param {any} b a budget */
const ownerOf = (b) =>
  b.scope === "organization"
    ? "The organization"
    : h(
        "a",
        { class: "row-link", href: placeOf(b.scope, b.owner_id) },
        nameOf(b.scope, b.owner_id),
      );

/** @type {Record<string, string>} */
const PER = { day: "a day", week: "a week", month: "a month" };
/** @param {any[]} rows */
function budgetsTable(rows) {
  return table(
    "Budgets",
    [
      { label: "Of", cell: (b) => [ownerOf(b), " ", h("span", { class: "hint" }, PER[b.period])] },
      {
        label: "Used",
        cell: (b) =>
          h("div", { class: "stack" }, budgetBar(b), h("span", { class: "hint" }, budgetNote(b))),
      },
      { label: "Forecast", num: true, cell: (b) => amountOf(b.forecast_micros) },
    ],
    rows,
    { rowKey: (b) => b.owner_id },
  );
}
