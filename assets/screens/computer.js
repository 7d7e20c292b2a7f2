// One computer: what it is, what it costs, what happened to it.

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
  pager,
  panel,
  redraw,
  resource,
  status,
  table,
  toast,
} from "../lib/ui.js";
import { ago, credits, duration, fullTime, now, number, time, utcTime } from "../lib/format.js";
import { barChart, METRICS } from "../lib/chart.js";
import { listen } from "../lib/live.js";
import { actionsOf } from "./computers.js";

const WINDOWS = [
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["7d", "7 d"],
];
const SIZE = 20;

export async function show({ main, signal, title, query, setQuery, go }, id) {
  const get = (path) => api.get(`/computers/${id}${path}`, { signal });
  let computer = await get("");
  const [workspace, project] = await Promise.all([
    api.get(`/workspaces/${computer.workspace_id}`, { signal }),
    api.get(`/projects/${computer.project_id}`, { signal }).catch(() => null),
  ]);
  const headPlace = h("div"),
    about = h("div"),
    meter = h("div"),
    history = h("div");
  let window = query.get("window") ?? "7d",
    page = Number(query.get("page")) || 1;

  function drawHead() {
    const c = computer;
    title(c.name);
    const done = (after) => {
      if (after.status === "destroyed") return go(`/workspaces/${c.workspace_id}/computers`);
      if (after.id && after.id !== id) return go(`/computers/${after.id}`);
      return refresh();
    };
    const [first, second, ...rest] = actionsOf(c, done);
    const quick = [first, second].filter(([name]) => ["Start", "Stop", "Restart"].includes(name));
    redraw(
      headPlace,
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
        actions: [
          quick.map(([name, f]) => button(name, f, { kind: name === "Start" ? "primary" : "" })),
          menu(
            "More actions",
            [first, second, ...rest].filter((a) => !quick.includes(a)),
          ),
        ],
      }),
    );
    fill(
      about,
      facts([
        ["Workspace", h("a", { href: `#/workspaces/${c.workspace_id}` }, workspace.name)],
        ["Project", project ? h("a", { href: `#/projects/${project.id}` }, project.name) : "–"],
        [
          "Size",
          `${c.size}: ${c.vcpus} vCPU, ${number(c.memory_mb / 1024)} GiB memory, ${number(c.disk_gb)} GB disk`,
        ],
        ["Template", h("code", null, c.template_type)],
        [
          "Running since",
          c.status === "running"
            ? [time(c.started_at), ` (${duration(now() - new Date(c.started_at))})`]
            : "not running",
        ],
        [
          "Idle stop",
          c.auto_stop_seconds
            ? [
                `after ${duration(c.auto_stop_seconds * 1000)}`,
                c.auto_stop_at && [", ", ago(c.auto_stop_at)],
              ]
            : "never",
        ],
        ["Driver", c.driver === "external" ? "external: an agent reports what it does" : c.driver],
        ["Visibility", c.visibility],
        c.external_user_id && ["External user", h("code", null, c.external_user_id)],
        ["Preview", copyable(c.sandbox_url, { label: "Copy the address" })],
        ["Created", time(c.created_at)],
        ["Metadata", h("code", null, JSON.stringify(c.metadata))],
      ]),
    );
  }
  async function refresh() {
    try {
      computer = await get("");
      await menuClosed(headPlace);
      drawHead();
      reloadMeter();
      reloadHistory();
    } catch (e) {
      if (e.status === 404 && !signal.aborted) {
        toast(`Computer ${computer.name} was deleted.`, "bad");
        go(`/workspaces/${computer.workspace_id}/computers`);
      }
    }
  }

  const pick = h(
    "select",
    {
      "aria-label": "Period",
      onchange: (e) => {
        window = e.target.value;
        setQuery({ window });
        reloadMeter();
      },
    },
    WINDOWS.map(([v, t]) => h("option", { value: v, selected: v === window }, t)),
  );
  drawHead();
  fill(
    main,
    headPlace,
    h(
      "div",
      { class: "columns" },
      panel("About", {}, about),
      panel("Usage", { actions: [pick], note: "In all workspaces it was in" }, meter),
    ),
    panel("Compute events", { note: "The history that is billed, newest first" }, history),
  );
  const reloadMeter = resource(
    meter,
    () => get(`/metrics?window=${window}`),
    (m) => {
      const series = m.series.map((p) => ({
        ...p,
        compute_hours: p.compute_ms / 36e5,
        partial: false,
      }));
      if (series.length) series[series.length - 1].partial = true;
      return [
        h(
          "div",
          { class: "totals" },
          h(
            "div",
            null,
            h("span", { class: "tile-label" }, "Credits"),
            h("b", null, number(m.total_credits_used)),
          ),
          h(
            "div",
            null,
            h("span", { class: "tile-label" }, "Ran"),
            h("b", null, duration(m.total_compute_ms)),
          ),
        ),
        barChart(
          { series, granularity: m.granularity, time_zone: "UTC" },
          { metric: METRICS.credits, signal },
        ),
      ];
    },
    { signal, lines: 6 },
  );
  const reloadHistory = resource(
    history,
    () => get(`/events?page=${page}&page_size=${SIZE}`),
    (list) => {
      if (!list.total) return empty("There are no events");
      return [
        table(
          "Compute events",
          [
            {
              label: "Event",
              cell: (e) => [
                h("code", null, e.type),
                e.id && h("span", { class: "hint" }, ` ${e.id}`),
              ],
            },
            { label: "Status", cell: (e) => status(e.status) },
            { label: "Size", cell: (e) => e.size },
            {
              label: "Rate",
              num: true,
              cell: (e) =>
                e.billable ? `${number(e.rate)} / h` : h("span", { class: "none" }, "–"),
            },
            {
              label: "Effective from",
              end: true,
              num: true,
              cell: (e) =>
                h(
                  "time",
                  { datetime: e.at, title: `${utcTime(e.at)}\nrecorded ${utcTime(e.recorded_at)}` },
                  fullTime(e.at),
                ),
            },
            { label: "Seq", num: true, hide: "wide", cell: (e) => number(e.seq) },
          ],
          list.data,
          { rowKey: (e) => e.seq },
        ),
        pager(page, SIZE, list.total, (to) => {
          page = to;
          setQuery({ page: to > 1 ? to : null });
          reloadHistory();
        }),
      ];
    },
    { signal, lines: 6 },
  );
  const later = debounce(() => {
    if (!signal.aborted) refresh();
  }, 200);
  listen(
    /^computer\./,
    (event) => {
      if (event && event.resource_id !== id) return;
      if (event?.after?.status) {
        computer = { ...computer, status: event.after.status };
        menuClosed(headPlace).then(() => {
          if (!signal.aborted) drawHead();
        });
      }
      later();
    },
    signal,
  );
}
