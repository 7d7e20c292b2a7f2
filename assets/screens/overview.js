// What runs, what it costs, and what wants attention.

import { h, fill } from "../lib/dom.js";
import { api, query } from "../lib/api.js";
import { capBar, empty, head, panel, resource, status, table } from "../lib/ui.js";
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
import { debounce } from "../lib/dom.js";

const tile = (label, value, note, href) =>
  h(
    href ? "a" : "div",
    { class: "tile", href },
    h("span", { class: "tile-label" }, label),
    h("span", { class: "tile-value" }, value),
    h("span", { class: "hint" }, note ?? ""),
  );

export async function show({ main, signal, title, who, covers, go }) {
  title("Overview");
  if (who.key.workspace_id) return go(`/workspaces/${who.key.workspace_id}`);
  const midnight = new Date(now());
  midnight.setHours(0, 0, 0, 0);
  const places = Object.fromEntries(
    ["tiles", "usage", "near", "top", "domains", "activity"].map((name) => [name, h("div")]),
  );
  fill(
    main,
    head("Overview", {
      sub: h("p", null, "Organization ", h("strong", null, who.key.tenant_slug)),
    }),
    places.tiles,
    panel("Last 30 days", { note: "All workspaces" }, places.usage),
    h(
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
        covers("audit:read") &&
          panel(
            "Latest activity",
            { actions: [h("a", { class: "button small", href: "#/activity" }, "All activity")] },
            places.activity,
          ),
      ),
    ),
  );

  const options = { signal };
  const summary = (from) => api.get(`/usage/summary${query({ period_start: from })}`, options);
  let glance = null;
  const overview = (o) =>
    (glance ??= api.get("/overview", o).finally(() => {
      setTimeout(() => {
        glance = null;
      }, 0);
    }));
  let chart = null;
  let month = null;
  const series = (o) =>
    (month ??= api
      .get(
        `/usage/series${query({ window: "30d", granularity: "day", tz: zone() === "UTC" ? null : LOCAL_ZONE })}`,
        o,
      )
      .finally(() => {
        setTimeout(() => {
          month = null;
        }, 0);
      }));
  const reloadUsage = resource(
    places.usage,
    series,
    (usage) => {
      chart?.abort();
      chart = new AbortController();
      signal.addEventListener("abort", () => chart.abort(), { once: true });
      return barChart(usage, { metric: METRICS.credits, signal: chart.signal });
    },
    { signal, lines: 8 },
  );
  const reloadTop = resource(
    places.top,
    series,
    ({ top_workspaces: rows }) => {
      if (!rows.length)
        return empty("Nothing was used in 30 days", "Computers cost credits while they run.");
      return h(
        "ol",
        { class: "ranks" },
        rows.slice(0, 8).map((r) =>
          h(
            "li",
            null,
            h("a", { href: `#/workspaces/${r.workspace_id}` }, r.name),
            h(
              "span",
              { class: "num", title: `${credits(r.credits_micros)} credits` },
              number(r.credits_used),
            ),
            h("span", {
              class: "rank-bar",
              "aria-hidden": "true",
              vars: { "--share": r.credits_micros / rows[0].credits_micros },
            }),
          ),
        ),
      );
    },
    { signal, lines: 5 },
  );
  const reloads = [
    resource(
      places.tiles,
      async () =>
        Promise.all([
          overview(options),
          summary(midnight.toISOString().slice(0, 19) + "Z"),
          summary(),
        ]),
      ([o, today, month]) => {
        const by = o.computers.by_status,
          running = by.running ?? 0;
        const moving = (by.provisioning ?? 0) + (by.starting ?? 0) + (by.stopping ?? 0);
        return h(
          "div",
          { class: "tiles" },
          tile(
            "Running now",
            number(running),
            `of ${count(o.computers.total, "computer")}${moving ? `, ${moving} in transition` : ""}${by.error ? `, ${by.error} in error` : ""}`,
            "#/computers?status=running",
          ),
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
            [number(o.burn_rate_credits_per_hour), h("small", null, " / h")],
            running
              ? `${number(o.burn_rate_credits_per_hour * 24)} a day at this rate`
              : "nothing runs",
          ),
          tile("Workspaces", number(o.workspaces), count(o.projects, "project"), "#/workspaces"),
        );
      },
      { signal, lines: 3 },
    ),
    resource(
      places.near,
      () => overview(options),
      (o) =>
        o.near_limit.length + o.ceilings.filter((c) => c.current >= c.max * 0.75).length
          ? table(
              "Workspaces near their limit",
              [
                {
                  label: "Workspace",
                  cell: (w) =>
                    w.workspace_id
                      ? h(
                          "a",
                          { class: "row-link", href: `#/workspaces/${w.workspace_id}/settings` },
                          w.name,
                        )
                      : w.name,
                },
                {
                  label: "Used",
                  cell: (w) => capBar(w.computer_count, w.max_computers, "computers"),
                },
              ],
              [
                ...o.ceilings
                  .filter((c) => c.current >= c.max * 0.75)
                  .map((c) => ({
                    name: `Organization: ${c.limit.replace("max_", "")}`,
                    computer_count: c.current,
                    max_computers: c.max,
                  })),
                ...o.near_limit,
              ],
            )
          : empty("No workspace is near its limit"),
      { signal },
    ),
    resource(
      places.domains,
      () => overview(options),
      (o) =>
        o.domain_problems.length
          ? table(
              "Preview domains with problems",
              [
                {
                  label: "Domain",
                  cell: (d) =>
                    d.scope === "workspace"
                      ? h(
                          "a",
                          { class: "row-link", href: `#/workspaces/${d.owner_id}/domain` },
                          d.domain,
                        )
                      : d.scope === "project"
                        ? h("a", { class: "row-link", href: `#/projects/${d.owner_id}` }, d.domain)
                        : d.domain,
                },
                {
                  label: "Status",
                  cell: (d) => [
                    status(d.last_error ? "error" : d.dns_status),
                    d.last_error && h("p", { class: "hint" }, d.last_error),
                  ],
                },
                { label: "Checked", cell: (d) => ago(d.checked_at) },
              ],
              o.domain_problems,
            )
          : empty("Every preview domain works", "Or none has been set."),
      { signal },
    ),
    covers("audit:read") &&
      resource(
        places.activity,
        () => api.get("/audit-log?limit=8", options),
        (log) => (log.data.length ? activityFeed(log.data) : empty("Nothing has happened yet")),
        { signal, lines: 6 },
      ),
  ].filter(Boolean);
  listen(
    /./,
    debounce(() => reloads.forEach((reload) => !signal.aborted && reload()), 600),
    signal,
  );
  const timer = setInterval(() => {
    if (!document.hidden) {
      reloads[0]();
      reloadTop();
      if (!places.usage.querySelector(".tip:not([hidden])")) reloadUsage();
    }
  }, 30_000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
