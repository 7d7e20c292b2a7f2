// The audit log: who did what to what, newest first.

import { h, fill, debounce, icon } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import { button, empty, head, resource, shortIdOf, table } from "../lib/ui.js";
import { ago, time } from "../lib/format.js";
import { nameOf } from "../lib/cells.js";
import { dialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";

const WORDS = { settings_updated: "settings changed", running: "started" };
const ICONS = {
  workspace: "workspaces",
  computer: "computers",
  project: "projects",
  api_key: "keys",
  webhook: "webhooks",
};
const PLACES = {
  workspace: "workspaces",
  computer: "computers",
  project: "projects",
  webhook: "webhooks",
};

const verbOf = (type) => {
  const verb = type.split(".")[1] ?? "";
  return WORDS[verb] ?? verb.replaceAll("_", " ");
};
/** "Computer stopped", "Settings changed". */
export function what(type) {
  const verb = verbOf(type),
    words = verb.includes(" ") ? verb : `${type.split(".")[0].replaceAll("_", " ")} ${verb}`;
  return words[0].toUpperCase() + words.slice(1);
}
const named = (row) =>
  row.metadata.after?.name ?? row.metadata.before?.name ?? row.metadata.after?.domain ?? null;
const gone = (row) => /\.(deleted|revoked)$/.test(row.type);

function target(row) {
  const place = PLACES[row.resource_type];
  const name =
    named(row) ??
    (place && !gone(row) ? nameOf(row.resource_type, row.resource_id) : shortIdOf(row.resource_id));
  return place && !gone(row)
    ? h("a", { class: "row-link", href: `#/${place}/${row.resource_id}` }, name)
    : name;
}

export const actor = (row) =>
  row.actor_type === "system"
    ? h("span", { class: "actor" }, "the service")
    : row.actor_type === "operator"
      ? h("span", { class: "actor" }, "the command line")
      : h("code", null, `${row.actor_label ?? "key"}…`);

/** What changed: the fields that differ. */
function changes(row) {
  const { before, after } = row.metadata;
  if (!before || !after) return [];
  return Object.keys({ ...before, ...after })
    .filter((k) => k !== "updated_at" && JSON.stringify(before[k]) !== JSON.stringify(after[k]))
    .map((k) => [k, before[k], after[k]]);
}

const shown = (v) =>
  v === null || v === undefined ? "–" : typeof v === "object" ? JSON.stringify(v) : String(v);

function details(row) {
  const list = changes(row);
  const one = row.metadata.after ?? row.metadata.before;
  dialog(
    what(row.type),
    h(
      "dl",
      { class: "facts" },
      [
        ["When", time(row.ts, { full: true })],
        ["Who", actor(row)],
        ["From", row.ip_address],
        ["Request", row.request_id && h("code", null, row.request_id)],
        ["Resource", h("code", null, row.resource_id)],
        ["Event", row.id],
      ].map(([k, v]) => h("div", null, h("dt", null, k), h("dd", null, v ?? "–"))),
    ),
    list.length
      ? table(
          "What changed",
          [
            { label: "Field", cell: ([k]) => h("code", null, k) },
            { label: "Before", cell: ([, b]) => shown(b) },
            { label: "After", cell: ([, , a]) => shown(a) },
          ],
          list,
        )
      : one &&
          table(
            "The resource",
            [
              { label: "Field", cell: ([k]) => h("code", null, k) },
              { label: "Value", cell: ([, v]) => shown(v) },
            ],
            Object.entries(one),
          ),
  );
}

/** The latest, in short: what happened to what, by whom, how long ago. */
export const activityFeed = (rows) =>
  h(
    "ol",
    { class: "feed" },
    rows.map((r) =>
      h(
        "li",
        null,
        icon(ICONS[r.resource_type] ?? "activity"),
        h(
          "div",
          null,
          h(
            "p",
            null,
            target(r),
            " ",
            h(
              "button",
              {
                type: "button",
                class: "link quiet",
                dataset: { key: `f${r.id}` },
                onclick: () => details(r),
              },
              verbOf(r.type),
            ),
          ),
          h("p", { class: "hint" }, ago(r.ts), " by ", actor(r)),
        ),
      ),
    ),
  );

function activityTable(rows) {
  return table(
    "Activity",
    [
      {
        label: "What",
        cell: (r) => [
          h(
            "button",
            {
              type: "button",
              class: "link",
              dataset: { key: `a${r.id}` },
              onclick: () => details(r),
            },
            what(r.type),
          ),
          " ",
        ],
      },
      { label: "Resource", cell: target },
      { label: "Who", cell: actor },
      {
        label: "Changed",
        hide: "wide",
        cell: (r) =>
          h(
            "span",
            { class: "hint" },
            changes(r)
              .slice(0, 4)
              .map(([k, b, a]) => `${k}: ${shown(b)} → ${shown(a)}`.slice(0, 60))
              .join(", ") || "–",
          ),
      },
      { label: "When", num: true, cell: (r) => time(r.ts) },
    ],
    rows,
  );
}

const TYPES = [
  ["", "Everything"],
  ["workspace.*", "Workspaces"],
  ["computer.*", "Computers"],
  ["project.*", "Projects"],
  ["api_key.*", "API keys"],
  ["webhook.*", "Webhooks"],
  ["organization.*", "Organization"],
];

/** A list that grows downwards, for the whole organization or one workspace. */
export function activityList(place, { filters, signal }) {
  let pages = [],
    next = null;
  const load = async (options) => {
    const page = await api.get(`/audit-log${queryString({ limit: 50, ...filters })}`, options);
    if (pages.length <= 1) {
      pages = [page.data];
      next = page.next_cursor;
      return;
    }
    // Newer rows come on top of what has been opened below.
    const known = new Set(pages.flat().map((r) => r.id));
    pages[0] = [...page.data.filter((r) => !known.has(r.id)), ...pages[0]];
  };
  const reload = resource(
    place,
    load,
    () => {
      const rows = pages.flat();
      if (!rows.length)
        return empty(
          "Nothing has happened yet",
          "Every change is written down here, in the transaction that makes it.",
        );
      const more =
        next &&
        button(
          "Older",
          async () => {
            const page = await api.get(
              `/audit-log${queryString({ limit: 50, cursor: next, ...filters })}`,
              { signal },
            );
            pages.push(page.data);
            next = page.next_cursor;
            reload();
          },
          { dataset: { page: "next", key: "older" } },
        );
      return [activityTable(rows), more && h("div", { class: "pager" }, more)];
    },
    { signal, lines: 8 },
  );
  listen(
    /./,
    debounce(() => !signal.aborted && reload(), 400),
    signal,
  );
  return reload;
}

export async function show({ main, signal, title, query, setQuery, reroute }) {
  title("Activity");
  const type = query.get("type") ?? "";
  const place = h("div");
  const pick = h(
    "select",
    {
      "aria-label": "Show",
      dataset: { key: "type" },
      onchange: (e) => {
        setQuery({ type: e.target.value });
        reroute();
      },
    },
    TYPES.map(([value, text]) => h("option", { value, selected: value === type }, text)),
  );
  fill(
    main,
    head("Activity", { sub: "Who changed what. The log is only ever added to.", actions: [pick] }),
    h("div", { class: "panel" }, place),
  );
  activityList(place, { filters: { type }, signal });
}
