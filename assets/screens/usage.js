// The usage of a workspace: chart, totals, table, and the intervals behind a bar.

import { h, fill } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import { button, empty, panel, resource, table, toastError } from "../lib/ui.js";
import {
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
import { debounce } from "../lib/dom.js";

/** Intervals behind a bar that are listed. */
const SHOWN = 200;
const WINDOWS = [
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["30d", "30 d"],
  ["custom", "Custom"],
];
const GROUPS = [
  ["", "No grouping"],
  ["project", "By project"],
  ["computer", "By computer"],
  ["size", "By size"],
];
const ZONES = () => [
  ...new Set(["UTC", LOCAL_ZONE, ...(Intl.supportedValuesOf?.("timeZone") ?? [])]),
];

/** Choices of which one holds: radio buttons that look like one button. */
function segmented(label, name, options, value, onchange) {
  return h(
    "fieldset",
    { class: "segmented" },
    h("legend", { class: "sr" }, label),
    options.map(([v, text]) => {
      const input = h("input", {
        type: "radio",
        name,
        value: v,
        checked: v === value,
        dataset: { key: `${name}-${v}` },
      });
      input.addEventListener("change", () => onchange(v));
      return h("label", null, input, h("span", null, text));
    }),
  );
}

const localInput = (iso) => {
  const d = new Date(iso);
  return new Date(d - d.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};

export function usagePanels(place, { id, workspace, signal, query, setQuery }) {
  const state = {
    window: query.get("window") ?? "30d",
    granularity: query.get("granularity") ?? (query.get("window") === "24h" ? "hour" : "day"),
    group: query.get("group_by") ?? "",
    metric: query.get("metric") ?? "credits",
    tz: query.get("tz") ?? pageZone(),
    from: query.get("from"),
    to: query.get("to"),
    table: query.get("table") === "1",
    ts: query.get("ts"),
  };
  const custom = () => state.window === "custom";
  const ask = () => ({
    window: custom() ? null : state.window,
    granularity: state.granularity,
    from: custom() ? state.from : null,
    to: custom() ? state.to : null,
    tz: state.tz === "UTC" ? null : state.tz,
    group_by: state.group,
  });
  // As many parts as there are colours: a hundred computers by the hour would be 10 MB, to draw eight.
  const drawn = () => ({ ...ask(), group_limit: state.group ? SERIES - 2 : null });
  const keep = () =>
    setQuery({
      window: state.window,
      granularity: state.granularity,
      group_by: state.group,
      metric: state.metric === "credits" ? null : state.metric,
      tz: state.tz === pageZone() ? null : state.tz,
      from: custom() ? state.from : null,
      to: custom() ? state.to : null,
      table: state.table ? "1" : null,
      ts: state.ts,
    });

  const controls = h("div", { class: "controls" }),
    ways = h("span", { class: "actions" }),
    chart = h("div"),
    explained = h("div");
  fill(place, panel("Usage", { actions: [ways] }, controls, chart), explained);

  function change(next) {
    if (next.window && next.window !== state.window) {
      if (next.window === "24h") next.granularity = "hour";
      else if (state.window === "24h") next.granularity = "day";
      if (next.window === "custom" && !state.from && !next.from)
        next.from = new Date(now() - 14 * 864e5).toISOString().slice(0, 19) + "Z";
    }
    Object.assign(state, next, { ts: null });
    keep();
    drawControls();
    fill(explained);
    reload();
  }

  function drawControls() {
    const focus = document.activeElement?.dataset?.key;
    const zones = h(
      "select",
      { "aria-label": "Time zone of the buckets", onchange: (e) => change({ tz: e.target.value }) },
      ZONES().map((z) => h("option", { value: z, selected: z === state.tz }, z)),
    );
    const dates =
      custom() &&
      h(
        "span",
        { class: "dates" },
        [
          ["from", "From"],
          ["to", "To"],
        ].map(([name, text]) =>
          h(
            "label",
            null,
            text,
            " ",
            h("input", {
              type: "datetime-local",
              dataset: { key: name },
              value: state[name] ? localInput(state[name]) : "",
              onchange: (e) =>
                change({
                  [name]: e.target.value
                    ? new Date(e.target.value).toISOString().slice(0, 19) + "Z"
                    : null,
                }),
            }),
          ),
        ),
      );
    const csv = h(
      "a",
      {
        class: "button small",
        href: `/api/v1/workspaces/${id}/usage${queryString({ ...ask(), format: "csv" })}`,
        download: `usage-${workspace.slug}.csv`,
        onclick: download,
      },
      "CSV",
    );
    fill(
      controls,
      segmented("Period", "window", WINDOWS, state.window, (window) => change({ window })),
      dates,
      segmented(
        "Buckets",
        "granularity",
        [
          ["hour", "Hours"],
          ["day", "Days"],
        ],
        state.granularity,
        (granularity) => change({ granularity }),
      ),
      segmented(
        "Show",
        "metric",
        [
          ["credits", "Credits"],
          ["hours", "Hours"],
        ],
        state.metric,
        (metric) => {
          state.metric = metric;
          keep();
          drawControls();
          draw();
        },
      ),
      h(
        "select",
        { "aria-label": "Group", onchange: (e) => change({ group: e.target.value }) },
        GROUPS.map(([v, t]) => h("option", { value: v, selected: v === state.group }, t)),
      ),
      zones,
    );
    fill(
      ways,
      button(
        "Table",
        () => {
          state.table = !state.table;
          keep();
          drawControls();
          draw();
        },
        { kind: "small", "aria-pressed": String(state.table), dataset: { key: "table" } },
      ),
      csv,
      button("Print", () => print(), { kind: "small" }),
    );
    if (focus) place.querySelector(`[data-key="${focus}"]`)?.focus();
  }

  // A link that a program may use with its key; in this page the request needs its header.
  async function download(event) {
    event.preventDefault();
    try {
      const response = await api.raw(
        `/workspaces/${id}/usage${queryString({ ...ask(), format: "csv" })}`,
        { signal },
      );
      if (!response.ok) throw new Error(`The server answered ${response.status}.`);
      const link = h("a", {
        href: URL.createObjectURL(await response.blob()),
        download: `usage-${workspace.slug}.csv`,
      });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (e) {
      toastError(e);
    }
  }

  let latest = null,
    drawing = null;
  function body(usage) {
    latest = usage;
    drawing?.abort();
    drawing = new AbortController();
    signal.addEventListener("abort", () => drawing.abort(), { once: true });
    const metric = METRICS[state.metric] ?? METRICS.credits;
    const groups = usage.groups ?? null;
    return [
      h(
        "div",
        { class: "totals" },
        h(
          "div",
          null,
          h("span", { class: "tile-label" }, "Credits"),
          h(
            "b",
            { title: `${credits(usage.total_credits_micros)} credits` },
            number(usage.total_credits_used),
          ),
        ),
        h(
          "div",
          null,
          h("span", { class: "tile-label" }, "Compute hours"),
          h("b", { title: duration(usage.total_compute_ms) }, decimals(usage.total_compute_hours)),
        ),
        h(
          "div",
          { class: "roomy" },
          h("span", { class: "tile-label" }, "From"),
          h(
            "span",
            { title: utcTime(usage.window_start) },
            dateFormat(
              { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
              usage.time_zone,
            ).format(new Date(usage.window_start)),
          ),
        ),
        h(
          "div",
          null,
          h("span", { class: "tile-label" }, "As of"),
          h("span", { title: utcTime(usage.as_of) }, fullTime(usage.as_of, usage.time_zone)),
        ),
      ),
      barChart(usage, {
        metric,
        groups,
        picked: state.ts,
        onpick: (bucket) => explain(bucket.ts),
        onrange: zoom,
        signal: drawing.signal,
      }),
      state.table && twin(usage, groups && topGroups(groups, METRICS.credits)),
    ];
  }
  const draw = () => {
    const target = chart.querySelector(".resource-body");
    if (latest && target) fill(target, body(latest));
  };

  /** From the first bar that was dragged over to the end of the last one; where that is now, it stays open. */
  const zoom = (first, after) =>
    change({ window: "custom", from: first.ts, to: after?.ts ?? null });

  async function explain(ts, quiet) {
    state.ts = ts;
    keep();
    const section = panel(`What is behind ${bucketLabel(ts, state.granularity, state.tz)}`, {
      id: "explain",
      actions: [
        button(
          "Close",
          () => {
            state.ts = null;
            keep();
            fill(explained);
            draw();
          },
          { kind: "small" },
        ),
      ],
    });
    const inner = h("div");
    section.append(inner);
    fill(explained, section);
    const where = { ts, granularity: state.granularity, tz: state.tz === "UTC" ? null : state.tz };
    resource(
      inner,
      (o) => api.get(`/workspaces/${id}/usage/explain${queryString(where)}`, o),
      (why) => {
        if (!quiet)
          section.scrollIntoView({
            block: "nearest",
            behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
          });
        if (!why.intervals.length && !why.corrections.length)
          return empty("Nothing ran in this bucket");
        return [
          h(
            "p",
            { class: "lead" },
            h("strong", null, `${credits(why.credits_micros)} credits`),
            ` from ${number(why.intervals.length)} running ${why.intervals.length === 1 ? "interval" : "intervals"}`,
            why.corrections.length > 0 && ` and ${number(why.corrections.length)} corrections`,
            why.partial && ", so far",
            ". Each is its milliseconds times its rate.",
          ),
          why.intervals.length > 0 &&
            table(
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
                {
                  label: "From",
                  cell: (i) =>
                    h(
                      "time",
                      {
                        datetime: i.start,
                        title: `${utcTime(i.start)}; ${i.opened_by.type}, event ${i.opened_by.seq}`,
                      },
                      fullTime(i.start, state.tz),
                    ),
                },
                {
                  label: "To",
                  cell: (i) =>
                    h(
                      "time",
                      {
                        datetime: i.end,
                        title: `${utcTime(i.end)}${i.closed_by ? `; ${i.closed_by.type}, event ${i.closed_by.seq}` : "; goes on"}`,
                      },
                      fullTime(i.end, state.tz),
                    ),
                },
                { label: "Ran", num: true, cell: (i) => duration(i.compute_ms) },
                { label: "Rate", num: true, hide: "wide", cell: (i) => `${number(i.rate)} / h` },
                { label: "Credits", num: true, cell: (i) => credits(i.credits_micros) },
              ],
              why.intervals.slice(0, SHOWN),
            ),
          why.intervals.length > SHOWN &&
            h(
              "p",
              { class: "note hint" },
              `The first ${SHOWN} of ${number(why.intervals.length)}.`,
            ),
          why.corrections.length > 0 &&
            table(
              "Corrections",
              [
                { label: "Reason", cell: (c) => c.reason },
                { label: "By", cell: (c) => c.actor },
                { label: "At", cell: (c) => fullTime(c.at, state.tz) },
                { label: "Credits", num: true, cell: (c) => credits(c.credits_micros) },
              ],
              why.corrections,
            ),
        ];
      },
      { signal },
    );
  }

  drawControls();
  const reload = resource(
    chart,
    (o) => api.get(`/workspaces/${id}/usage${queryString(drawn())}`, o),
    body,
    { signal, lines: 9 },
  );
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
