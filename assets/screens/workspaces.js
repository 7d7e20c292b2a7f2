// @ts-check
// The list of workspaces.

/** @import { Context } from "../app.js" */
/** @import { Column } from "../lib/ui.js" */
import { h, fill, icon, debounce } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import {
  capBar,
  deletedLink,
  empty,
  head,
  newButton,
  none,
  pager,
  resource,
  table,
  tag,
  toast,
} from "../lib/ui.js";
import { ago, wholeOf } from "../lib/format.js";
import { filled, formDialog } from "../lib/forms.js";
import { sparkline } from "../lib/chart.js";
import { listen } from "../lib/live.js";
import { cell, forgetCells } from "../lib/cells.js";

const SIZE = 25;
const SORTS = [
  ["", "Default first, then oldest"],
  ["name", "By name"],
  ["-created_at", "Newest first"],
  ["-computer_count", "Most computers first"],
  ["-credits", "Most expensive first"],
  ["-updated_at", "Last changed first"],
];

/**
 * The dialog that makes a workspace.
 * @param {(path: string) => void} go
 */
export function createWorkspace(go) {
  formDialog(
    "New workspace",
    [
      {
        name: "name",
        label: "Name",
        required: true,
        help: "A customer, a clinic, a site: 1 to 120 characters.",
      },
      { name: "slug", label: "Slug", help: "For addresses; made from the name if left out." },
      {
        name: "external_workspace_id",
        label: "External ID",
        help: "Your own id of this customer.",
      },
      { name: "description", label: "Description", kind: "textarea" },
    ],
    {
      label: "Create workspace",
      submit: async (values) => {
        const made = await api.post("/workspaces", filled(values));
        toast(
          made.reused
            ? `There was a workspace with this external ID already: ${made.name}.`
            : `Workspace ${made.name} was created.`,
        );
        go(`/workspaces/${made.id}`);
      },
    },
  );
}

/** @param {Context} context */
export async function show({ main, signal, title, query, setQuery, go }) {
  title("Workspaces");
  const state = {
    q: query.get("q") ?? "",
    sort: query.get("sort") ?? "",
    page: Number(query.get("page")) || 1,
  };
  const place = h("div", { class: "panel" });
  const search = h("input", {
    type: "search",
    placeholder: "Name, slug, external ID or ID",
    "aria-label": "Search workspaces",
    title: "Search (/)",
    value: state.q,
  });
  const sorts = h(
    "select",
    { "aria-label": "Order" },
    SORTS.map(([value, text]) => h("option", { value, selected: value === state.sort }, text)),
  );
  fill(
    main,
    head("Workspaces", {
      actions: [deletedLink(""), newButton("New workspace", () => createWorkspace(go))],
    }),
    h("div", { class: "filters" }, h("span", { class: "search" }, icon("search"), search), sorts),
    place,
  );
  const list = () =>
    queryString({ q: state.q, sort: state.sort, page: state.page, page_size: SIZE });
  const reload = resource(
    place,
    (o) => api.get(`/workspaces${list()}`, o),
    ({ data, total }) => {
      if (!total) return nothing(state.q);
      const sorting = {
        sort: state.sort,
        onsort: (/** @type {string} */ sort) => change({ sort, page: 1 }),
      };
      return [
        table("Workspaces", columns(signal), data, sorting),
        pager(state.page, SIZE, total, (page) => change({ page })),
      ];
    },
    { signal, lines: 12 },
  );
  /** @param {Partial<typeof state>} next */
  function change(next) {
    Object.assign(state, next);
    sorts.value = SORTS.some(([v]) => v === state.sort) ? state.sort : "";
    setQuery({ q: state.q, sort: state.sort, page: state.page > 1 ? state.page : null });
    reload();
  }
  search.addEventListener(
    "input",
    debounce(() => change({ q: search.value.trim(), page: 1 }), 50),
  );
  sorts.addEventListener("change", () => change({ sort: sorts.value, page: 1 }));
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 400);
  listen(
    /^(workspace|computer)\./,
    (event) => {
      // At once: of many events the last one alone would be known a moment later.
      if (event?.type === "workspace.settings_updated") forgetCells(`cap/${event.resource_id}`);
      later();
    },
    signal,
  );
}

/** @param {string} q */
const nothing = (q) =>
  q
    ? empty(`Nothing matches “${q}”`, "Name, slug, external ID and ID are searched.")
    : empty("There is no workspace yet");

/**
 * The cap is a part of the settings, the sparkline of the usage: rows that are seen ask for them.
 * @param {AbortSignal} signal
 * @returns {Column<any>[]}
 */
const columns = (signal) => [
  {
    label: "Name",
    sort: "name",
    cell: (w) =>
      h(
        "div",
        { class: "stack" },
        h(
          "span",
          null,
          h("a", { class: "row-link", href: `#/workspaces/${w.id}` }, w.name),
          w.is_default && tag("default"),
        ),
        h("code", { class: "hint" }, w.slug),
      ),
  },
  {
    label: "External ID",
    hide: "wide",
    cell: (w) => (w.external_workspace_id ? h("code", null, w.external_workspace_id) : none()),
  },
  {
    label: "Computers",
    sort: "computer_count",
    cell: (w) =>
      cell(
        `cap/${w.id}`,
        () => api.get(`/workspaces/${w.id}/settings`, { signal }),
        (set) => capBar(w.computer_count, set.effective.max_computers.value),
        { first: capBar(w.computer_count, null) },
      ),
  },
  {
    label: "Credits, 30 days",
    sort: "credits",
    down: true,
    num: true,
    cell: (w) =>
      cell(
        `month/${w.id}`,
        () => api.get(`/workspaces/${w.id}/usage?window=30d&granularity=day`, { signal }),
        (usage) => [
          sparkline(usage.series, signal),
          h("span", { class: "num" }, wholeOf(usage.total_credits_micros)),
        ],
        { first: h("span", { class: "none" }, "…"), kind: "cell sparkcell" },
      ),
  },
  { label: "Created", sort: "created_at", hide: "wide", cell: (w) => ago(w.created_at) },
];
