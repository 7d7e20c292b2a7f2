// @ts-check
// One computer: what it is, what it costs, what happened to it.

/** @import { Context } from "../app.js" */
/** @import { Action } from "../lib/ui.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api } from "../lib/api.js";
import {
  button,
  copyable,
  empty,
  facts,
  head,
  menu,
  menuClosed,
  none,
  pager,
  panel,
  redraw,
  resource,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { amountOf, duration, fullTime, now, number, time, until, utcTime } from "../lib/format.js";
import { barChart, METRICS, microsOf } from "../lib/chart.js";
import { listen } from "../lib/live.js";
import { actionsOf } from "./computers.js";

const WINDOWS = [
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["7d", "7 d"],
];
const SIZE = 20;

/**
 * @param {Context} context
 * @param {string} id
 */
export async function show(context, id) {
  const { main, signal, title, go } = context;
  /** @param {string} path */
  const get = (path) => api.get(`/computers/${id}${path}`, { signal });
  let computer = await get("");
  const [workspace, project] = await Promise.all([
    api.get(`/workspaces/${computer.workspace_id}`, { signal }),
    api.get(`/projects/${computer.project_id}`, { signal }).catch(() => null),
  ]);
  const siblings = () => `/workspaces/${computer.workspace_id}/computers`;
  const headPlace = h("div"),
    about = h("div");

  function drawHead() {
    title(computer.name);
    const actions = headActions(actionsOf(computer, done));
    redraw(headPlace, computerHead(computer, workspace, actions));
    fill(about, aboutFacts(computer, workspace, project));
  }
  /** @param {any} after */
  function done(after) {
    if (after.status === "destroyed") go(siblings());
    else if (after.id && after.id !== id) go(`/computers/${after.id}`);
    else refresh();
  }
  async function refresh() {
    try {
      computer = await get("");
      await menuClosed(headPlace);
      drawHead();
      usage.reload();
      events.reload();
      machine?.reload(computer);
    } catch (e) {
      if (e.status !== 404 || signal.aborted) return;
      toast(`Computer ${computer.name} was deleted.`, "bad");
      go(siblings());
    }
  }

  drawHead();
  // Only computers of an engine have a machine to look into.
  const machine =
    computer.driver === "docker"
      ? (await import("./machine.js")).machinePanels(context, computer)
      : null;
  const usage = usagePanel(context, get);
  const events = eventsPanel(context, get);
  fill(
    main,
    headPlace,
    h("div", { class: "columns" }, panel("About", {}, about), usage.element),
    ...(machine?.elements ?? []),
    events.element,
  );
  const later = debounce(() => {
    if (!signal.aborted) refresh();
  }, 200);
  listen(
    /^computer\./,
    async (event) => {
      if (event && event.resource_id !== id) return;
      later();
      if (!event?.after?.status) return;
      computer = { ...computer, status: event.after.status };
      await menuClosed(headPlace);
      if (!signal.aborted) drawHead();
    },
    signal,
  );
}

/**
 * Buttons for what switches it, and a menu for the rest.
 * @param {Action[]} all
 */
function headActions(all) {
  /** @param {Action} action */
  const isQuick = ([name]) => ["Start", "Stop", "Restart"].includes(name);
  const buttons = all
    .filter(isQuick)
    .map(([name, action]) => button(name, action, { kind: name === "Start" ? "primary" : "" }));
  const rest = all.filter((action) => !isQuick(action));
  return [...buttons, menu("More actions", rest)];
}

/**
 * @param {any} c
 * @param {any} workspace
 * @param {HTMLElement[]} actions
 */
const computerHead = (c, workspace, actions) =>
  head(c.name, {
    crumbs: [
      ["Workspaces", "#/workspaces"],
      [workspace.name, `#/workspaces/${c.workspace_id}/computers`],
    ],
    sub: h(
      "div",
      { class: "ids" },
      status(c.status),
      h("code", null, c.slug),
      h("span", null, c.size),
      copyable(c.id, { label: "Copy the ID" }),
    ),
    actions,
  });

/**
 * @param {any} c
 * @param {any} workspace
 * @param {any} project null where the key may not read it
 */
function aboutFacts(c, workspace, project) {
  const memory = `${number(c.memory_mb / 1024)} GiB memory`;
  const runs = c.status === "running";
  const ran = runs && duration(now() - Date.parse(c.started_at));
  return facts([
    ["Workspace", h("a", { href: `#/workspaces/${c.workspace_id}` }, workspace.name)],
    ["Project", project ? h("a", { href: `#/projects/${project.id}` }, project.name) : "–"],
    ["Size", `${c.size}: ${c.vcpus} vCPU, ${memory}, ${number(c.disk_gb)} GB disk`],
    ["Template", h("code", null, c.template_type)],
    ["Running since", runs ? [time(c.started_at), ` (${ran})`] : "not running"],
    ["Idle stop", idleStop(c)],
    ["Driver", c.driver === "external" ? "external: an agent reports what it does" : c.driver],
    c.fault && ["Fault", c.fault],
    ["Visibility", c.visibility],
    c.external_user_id && ["External user", h("code", null, c.external_user_id)],
    ["Preview", copyable(c.sandbox_url, { label: "Copy the address" })],
    ["Created", time(c.created_at)],
    ["Metadata", h("code", null, JSON.stringify(c.metadata))],
  ]);
}

/** @param {any} c */
function idleStop(c) {
  if (!c.auto_stop_seconds) return "never";
  const after = `after ${duration(c.auto_stop_seconds * 1000)}`;
  if (!c.auto_stop_at) return after;
  const when = h("span", null, ", ", until(c.auto_stop_at), " ");
  async function extend() {
    try {
      const kept = await api.post(`/computers/${c.id}/keep-alive`);
      fill(when, ", ", until(kept.auto_stop_at), " ");
      toast("The idle time begins anew.");
    } catch (e) {
      toastError(e);
    }
  }
  return [after, when, button("Extend", extend, { kind: "small" })];
}

/**
 * @param {Context} context
 * @param {(path: string) => Promise<any>} get
 */
function usagePanel({ signal, query, setQuery }, get) {
  let window = query.get("window") ?? "7d";
  const place = h("div");
  const pick = h(
    "select",
    { "aria-label": "Period" },
    WINDOWS.map(([value, text]) => h("option", { value, selected: value === window }, text)),
  );
  pick.addEventListener("change", () => {
    window = pick.value;
    setQuery({ window });
    reload();
  });
  const reload = resource(place, () => get(`/metrics?window=${window}`), drawUsage, {
    signal,
    lines: 6,
  });
  const note = "In all workspaces it was in";
  return { element: panel("Usage", { actions: [pick], note }, place), reload };
}

/** @type {Record<string, number>} */
const WINDOWS_MS = { "1h": 36e5, "24h": 864e5, "7d": 6048e5 };

/** @param {any} metrics */
function drawUsage(metrics) {
  const { granularity, series: points } = metrics;
  const start = Date.parse(metrics.as_of) - (WINDOWS_MS[metrics.window] ?? 0);
  const series = points.map((/** @type {any} */ p, /** @type {number} */ i) => ({
    ...p,
    compute_hours: p.compute_ms / 36e5,
    partial: i === points.length - 1 || Date.parse(p.ts) < start,
  }));
  /**
   * @param {string} label
   * @param {string} value
   */
  const total = (label, value) =>
    h("div", null, h("span", { class: "tile-label" }, label), h("b", null, value));
  return [
    h(
      "div",
      { class: "totals" },
      total("Credits", amountOf(microsOf(metrics))),
      total("Ran", duration(metrics.total_compute_ms)),
    ),
    barChart(
      {
        series,
        granularity,
        time_zone: "UTC",
        total_credits_micros: microsOf(metrics),
      },
      { metric: METRICS.credits },
    ),
  ];
}

/**
 * @param {Context} context
 * @param {(path: string) => Promise<any>} get
 */
function eventsPanel({ signal, query, setQuery }, get) {
  let page = Number(query.get("page")) || 1;
  const place = h("div");
  /** @param {number} to */
  function turn(to) {
    page = to;
    setQuery({ page: to > 1 ? to : null });
    reload();
  }
  const reload = resource(
    place,
    () => get(`/events?page=${page}&page_size=${SIZE}`),
    ({ data, total }) =>
      total ? [eventsTable(data), pager(page, SIZE, total, turn)] : empty("There are no events"),
    { signal, lines: 6 },
  );
  const note = "The history that is billed, newest first";
  return { element: panel("Compute events", { note }, place), reload };
}

/**
 * An engine's ids are long: container and nanosecond.
 * @param {string} id
 */
const eventId = (id) =>
  h("span", { class: "hint", title: id }, id.length > 40 ? ` ${id.slice(0, 20)}…` : ` ${id}`);

/** @param {any[]} rows */
const eventsTable = (rows) =>
  table(
    "Compute events",
    [
      {
        label: "Event",
        cell: (e) => [h("code", null, e.type), e.id && eventId(e.id)],
      },
      { label: "Status", cell: (e) => status(e.status) },
      { label: "Size", cell: (e) => e.size },
      {
        label: "Rate",
        num: true,
        cell: (e) => (e.billable ? `${number(e.rate)} / h` : none()),
      },
      {
        label: "Effective from",
        num: true,
        cell: (e) => {
          const title = `${utcTime(e.at)}\nrecorded ${utcTime(e.recorded_at)}`;
          return h("time", { datetime: e.at, title }, fullTime(e.at));
        },
      },
      { label: "Seq", num: true, hide: "wide", cell: (e) => number(e.seq) },
    ],
    rows,
    { rowKey: (e) => e.seq },
  );
