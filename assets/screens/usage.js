// @ts-check
// The usage of a workspace: chart, totals, table, and the intervals behind a bar.

/** @import { Context } from "../app.js" */
/** @import { Bucket } from "../lib/chart.js" */
/** @import { Child } from "../lib/dom.js" */
import { h, fill, find, debounce } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import { button, downloadLink, empty, panel, resource, table } from "../lib/ui.js";
import {
  count,
  counted,
  credits,
  dateFormat,
  decimals,
  duration,
  fullTime,
  LOCAL_ZONE,
  now,
  number,
  utcTime,
  zone as pageZone,
} from "../lib/format.js";
import { barChart, bucketLabel, METRICS, SERIES, topGroups, twin } from "../lib/chart.js";
import { listen } from "../lib/live.js";
import { nameOf } from "../lib/cells.js";

/** Intervals behind a bar that are listed. */
const SHOWN = 200;
/** @typedef {[value: string, text: string][]} Choices */
/** @type {Choices} */
const WINDOWS = [
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["30d", "30 d"],
  ["this_month", "This month"],
  ["last_month", "Last month"],
  ["custom", "Custom"],
];
/** @type {Choices} */
const BUCKETS = [
  ["hour", "Hours"],
  ["day", "Days"],
];
/** @type {Choices} */
const SHOW = [
  ["credits", "Credits"],
  ["hours", "Hours"],
];
/** @type {Choices} */
const GROUPS = [
  ["", "No grouping"],
  ["project", "By project"],
  ["computer", "By computer"],
  ["size", "By size"],
];

// ---------------------------------------------------------------------------------------------
// What is shown, as the address says it and as the API is asked for it

/** @param {URLSearchParams} query */
const stateOf = (query) => ({
  window: query.get("window") ?? (query.has("period") ? "period" : "30d"),
  granularity: query.get("granularity") ?? (query.get("window") === "24h" ? "hour" : "day"),
  group: query.get("group_by") ?? "",
  metric: query.get("metric") ?? "credits",
  tz: query.get("tz") ?? pageZone(),
  from: query.get("from"),
  to: query.get("to"),
  period: query.get("period"),
  only: query.get("only")?.split(",") ?? [],
  table: query.get("table") === "1",
  ts: query.get("ts"),
});
/** @typedef {ReturnType<typeof stateOf>} State */

/** @param {State} state */
const forAddress = (state) => ({
  window: state.window === "period" ? null : state.window,
  period: state.window === "period" ? state.period : null,
  only: state.only.join(","),
  granularity: state.granularity,
  group_by: state.group,
  metric: state.metric === "credits" ? null : state.metric,
  tz: state.tz === pageZone() ? null : state.tz,
  from: state.window === "custom" ? state.from : null,
  to: state.window === "custom" ? state.to : null,
  table: state.table ? "1" : null,
  ts: state.ts,
});

/** @param {State} state */
const forApi = (state) => ({
  window: ["custom", "period"].includes(state.window) ? null : state.window,
  period: state.window === "period" ? state.period : null,
  granularity: state.granularity,
  from: state.window === "custom" ? state.from : null,
  to: state.window === "custom" ? state.to : null,
  tz: state.tz === "UTC" ? null : state.tz,
  group_by: state.group,
});

/** @param {Date} date */
const instant = (date) => `${date.toISOString().slice(0, 19)}Z`;

// ---------------------------------------------------------------------------------------------
// The panels

/**
 * @param {HTMLElement} place
 * @param {Context & { id: string, workspace: any }} context
 */
export function usagePanels(place, { id, workspace, signal, query, setQuery }) {
  const path = `/workspaces/${id}/usage`;
  const state = stateOf(query);
  const keep = () => setQuery(forAddress(state));
  const controls = h("div", { class: "controls" }),
    ways = h("span", { class: "actions" }),
    chart = h("div"),
    explained = h("div");
  fill(place, panel("Usage", { actions: [ways] }, controls, chart), explained);

  /**
   * Another question to the API.
   * @param {Partial<State>} next
   */
  function change(next) {
    if (next.window && next.window !== state.window) {
      if (next.window === "24h") next.granularity = "hour";
      else if (state.window === "24h") next.granularity = "day";
      if (next.window === "custom" && !state.from && !next.from) {
        next.from = instant(new Date(now() - 14 * 864e5));
      }
    }
    if (next.group !== undefined) next.only = [];
    if (next.window && next.window !== "period") next.period = null;
    Object.assign(state, next, { ts: null });
    keep();
    drawControls();
    fill(explained);
    reload();
  }
  /**
   * Another look at the same answer.
   * @param {Partial<State>} next
   */
  function look(next) {
    Object.assign(state, next);
    keep();
    drawControls();
    draw();
  }

  function drawControls() {
    const active = document.activeElement;
    const focus = active instanceof HTMLElement && active.dataset.key;
    fill(controls, controlsOf(state, workspace, change, look));
    fill(
      ways,
      button("Table", () => look({ table: !state.table }), {
        kind: "small",
        "aria-pressed": String(state.table),
        dataset: { key: "table" },
      }),
      downloadLink(
        "CSV",
        `${path}${queryString({ ...forApi(state), format: "csv" })}`,
        `usage-${workspace.slug}.csv`,
        signal,
      ),
      button("Print", () => print(), { kind: "small" }),
    );
    if (focus) find(`[data-key="${focus}"]`, place)?.focus();
  }

  /** @type {any} */
  let latest = null;
  /** @param {any} usage */
  function body(usage) {
    latest = usage;
    const groups = usage.groups ?? null;
    return [
      totals(usage),
      barChart(usage, {
        metric: METRICS[state.metric] ?? METRICS.credits,
        groups,
        only: state.only,
        ononly: (only) => look({ only }),
        picked: state.ts,
        onpick: (bucket) => explain(bucket.ts),
        onrange: zoom,
      }),
      state.table && twin(usage, groups && topGroups(groups, METRICS.credits)),
    ];
  }
  function draw() {
    const target = chart.querySelector(".resource-body");
    if (latest && target) fill(target, body(latest));
  }

  /**
   * From the first bar that was dragged over to the end of the last one; where that is now, it stays open.
   * @param {Bucket} first
   * @param {Bucket | null} after
   */
  const zoom = (first, after) =>
    change({ window: "custom", from: first.ts, to: after?.ts ?? null });

  /** @param {string} ts */
  function explain(ts, quiet = false) {
    state.ts = ts;
    keep();
    const { granularity, tz } = state;
    fill(
      explained,
      explanation(path, { ts, granularity, tz, quiet, signal, close: closeExplained }),
    );
  }
  function closeExplained() {
    state.ts = null;
    keep();
    fill(explained);
    draw();
  }

  drawControls();
  const asked = () =>
    // As many parts as there are colours: a hundred computers by the hour would be 10 MB, to draw eight.
    queryString({ ...forApi(state), group_limit: state.group ? SERIES - 2 : null });
  const reload = resource(chart, (o) => api.get(`${path}${asked()}`, o), body, {
    signal,
    lines: 9,
  });
  if (state.ts) explain(state.ts, true);
  // While somebody looks at a bar it stays where it is.
  const idle = () => !chart.querySelector(".tip:not([hidden])");
  const later = debounce(() => {
    if (!signal.aborted && idle()) reload();
  }, 500);
  listen(
    /^(computer|usage)\./,
    (event) => {
      if (!event || event.workspace_id === id || event.after === null) later();
    },
    signal,
  );
  const timer = setInterval(() => {
    if (!document.hidden && idle()) reload();
  }, 60_000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/**
 * The panel with what is behind a bar.
 * @param {string} path
 * @param {object} how
 * @param {string} how.ts
 * @param {string} how.granularity
 * @param {string} how.tz
 * @param {boolean} how.quiet true where nobody has asked just now: it is not scrolled to
 * @param {AbortSignal} how.signal
 * @param {() => void} how.close
 */
function explanation(path, { ts, granularity, tz, quiet, signal, close }) {
  const inner = h("div");
  const section = panel(
    `What is behind ${bucketLabel(ts, granularity, tz)}`,
    { id: "explain", actions: [button("Close", close, { kind: "small" })] },
    inner,
  );
  const where = queryString({ ts, granularity, tz: tz === "UTC" ? null : tz });
  resource(
    inner,
    (o) => api.get(`${path}/explain${where}`, o),
    (why) => {
      if (!quiet) scrollTo(section);
      return reasons(why, tz);
    },
    { signal },
  );
  return section;
}

/** @param {HTMLElement} section */
function scrollTo(section) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  section.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
}

// ---------------------------------------------------------------------------------------------
// Controls

/**
 * @param {State} state
 * @param {any} workspace
 * @param {(next: Partial<State>) => void} change
 * @param {(next: Partial<State>) => void} look
 */
const controlsOf = (state, workspace, change, look) => [
  segmented("Period", "window", WINDOWS, state.window, (window) => change({ window })),
  select("Month", monthsSince(workspace.created_at, state.period), state.period ?? "", (period) =>
    change(period ? { window: "period", period } : { window: "30d" }),
  ),
  state.window === "custom" &&
    h(
      "span",
      { class: "dates" },
      dateField("from", "From", state.from, (from) => change({ from })),
      dateField("to", "To", state.to, (to) => change({ to })),
    ),
  segmented("Buckets", "granularity", BUCKETS, state.granularity, (granularity) =>
    change({ granularity }),
  ),
  segmented("Show", "metric", SHOW, state.metric, (metric) => look({ metric })),
  select("Group", GROUPS, state.group, (group) => change({ group })),
  select("Time zone of the buckets", zones(), state.tz, (tz) => change({ tz })),
];

/**
 * The months that there has been something in, the newest first.
 * @param {string} since
 * @param {string | null} picked
 * @returns {Choices}
 */
export function monthsSince(since, picked = null) {
  const first = new Date(since).toISOString().slice(0, 7);
  const at = new Date(now());
  at.setUTCDate(1);
  /** @type {Choices} */
  const months = [["", "Month…"]];
  for (let n = 0; n < 60; n++) {
    const month = at.toISOString().slice(0, 7);
    months.push([month, monthName(month)]);
    if (month <= first) break;
    at.setUTCMonth(at.getUTCMonth() - 1);
  }
  if (picked && !months.some(([month]) => month === picked))
    months.push([picked, monthName(picked)]);
  return months;
}
/**
 * "October 2026" of 2026-10.
 * @param {string} month
 */
export const monthName = (month) =>
  dateFormat({ month: "long", year: "numeric" }, "UTC").format(new Date(`${month}-15T00:00:00Z`));

/** @returns {Choices} */
function zones() {
  const all = new Set(["UTC", LOCAL_ZONE, ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  return [...all].map((zone) => [zone, zone]);
}

/**
 * Choices of which one holds: radio buttons that look like one button.
 * @param {string} label
 * @param {string} name
 * @param {Choices} choices
 * @param {string} value
 * @param {(value: string) => void} onchange
 */
const segmented = (label, name, choices, value, onchange) =>
  h(
    "fieldset",
    { class: "segmented" },
    h("legend", { class: "sr" }, label),
    choices.map(([v, text]) => {
      const dataset = { key: `${name}-${v}` };
      const input = h("input", { type: "radio", name, value: v, checked: v === value, dataset });
      input.addEventListener("change", () => onchange(v));
      return h("label", null, input, h("span", null, text));
    }),
  );

/**
 * @param {string} label
 * @param {Choices} choices
 * @param {string} value
 * @param {(value: string) => void} onchange
 */
function select(label, choices, value, onchange) {
  const element = h(
    "select",
    { "aria-label": label },
    choices.map(([v, text]) => h("option", { value: v, selected: v === value }, text)),
  );
  element.addEventListener("change", () => onchange(element.value));
  return element;
}

/**
 * An instant to choose, in the zone of the browser.
 * @param {"from" | "to"} name
 * @param {string} label
 * @param {string | null} value
 * @param {(value: string | null) => void} onchange
 */
function dateField(name, label, value, onchange) {
  const input = h("input", {
    type: "datetime-local",
    dataset: { key: name },
    value: value ? localInput(value) : "",
  });
  input.addEventListener("change", () =>
    onchange(input.value ? instant(new Date(input.value)) : null),
  );
  return h("label", null, label, " ", input);
}

/** @param {string} iso */
function localInput(iso) {
  const date = new Date(iso);
  const shifted = date.getTime() - date.getTimezoneOffset() * 60000;
  return new Date(shifted).toISOString().slice(0, 16);
}

// ---------------------------------------------------------------------------------------------
// Figures

/** @type {Intl.DateTimeFormatOptions} */
const START = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };

/** @param {any} usage */
function totals(usage) {
  /**
   * @param {string} label
   * @param {Child} figure
   */
  const total = (label, figure, kind = "") =>
    h("div", { class: kind || null }, h("span", { class: "tile-label" }, label), figure);
  const { window_start: from, as_of: to, time_zone: zone } = usage;
  const start = dateFormat(START, zone).format(new Date(from));
  return h(
    "div",
    { class: "totals" },
    total(
      "Credits",
      h(
        "b",
        { title: counted(credits(usage.total_credits_micros)) },
        METRICS.credits.shown(usage.total_credits_micros),
      ),
    ),
    total(
      "Compute hours",
      h(
        "b",
        { title: duration(usage.total_compute_ms) },
        METRICS.hours.shown(usage.total_compute_ms),
      ),
    ),
    total("From", h("span", { title: utcTime(from) }, start), "roomy"),
    total("As of", h("span", { title: utcTime(to) }, fullTime(to, zone))),
  );
}

/**
 * What the credits of a bar were made of.
 * @param {any} why
 * @param {string} tz
 */
function reasons({ intervals, corrections, ...why }, tz) {
  if (!intervals.length && !corrections.length) return empty("Nothing ran in this bucket");
  return [
    h(
      "p",
      { class: "lead" },
      h("strong", null, counted(credits(why.credits_micros))),
      ` from ${number(intervals.length)} running ${intervals.length === 1 ? "interval" : "intervals"}`,
      corrections.length > 0 && ` and ${count(corrections.length, "correction")}`,
      why.partial && ", so far",
      ". Each is its milliseconds times its rate.",
    ),
    intervals.length > 0 && intervalsTable(intervals.slice(0, SHOWN), tz),
    intervals.length > SHOWN &&
      h("p", { class: "note hint" }, `The first ${SHOWN} of ${number(intervals.length)}.`),
    corrections.length > 0 && correctionsTable(corrections, tz),
  ];
}

/**
 * @param {any[]} rows
 * @param {string} tz
 */
function intervalsTable(rows, tz) {
  /**
   * @param {string} at
   * @param {string} note
   */
  const end = (at, note) =>
    h("time", { datetime: at, title: `${utcTime(at)}; ${note}` }, fullTime(at, tz));
  /** @param {any} event */
  const named = (event) => `${event.type}, event ${event.seq}`;
  return table(
    "Running intervals",
    [
      {
        label: "Computer",
        cell: (i) =>
          h(
            "a",
            { class: "row-link", href: `#/computers/${i.computer_id}` },
            nameOf("computer", i.computer_id),
          ),
      },
      { label: "Size", cell: (i) => i.size },
      { label: "From", cell: (i) => end(i.start, named(i.opened_by)) },
      { label: "To", cell: (i) => end(i.end, i.closed_by ? named(i.closed_by) : "goes on") },
      { label: "Ran", num: true, cell: (i) => duration(i.compute_ms) },
      { label: "Rate", num: true, hide: "wide", cell: (i) => `${number(i.rate)} / h` },
      { label: "Credits", num: true, cell: (i) => credits(i.credits_micros) },
    ],
    rows,
  );
}

/**
 * @param {any[]} rows
 * @param {string} tz
 */
const correctionsTable = (rows, tz) =>
  table(
    "Corrections",
    [
      { label: "Reason", cell: (c) => c.reason },
      { label: "By", cell: (c) => c.actor },
      { label: "At", cell: (c) => fullTime(c.at, tz) },
      { label: "Credits", num: true, cell: (c) => credits(c.credits_micros) },
    ],
    rows,
  );
