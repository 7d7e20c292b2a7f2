// @ts-check
// What was deleted and can be restored.

/** @import { Context } from "../app.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import { button, empty, head, none, pager, resource, table, tag } from "../lib/ui.js";
import { ago, count, until } from "../lib/format.js";
import { listen } from "../lib/live.js";
import { restore } from "../lib/undo.js";

const SIZE = 25;
const KINDS = [
  ["", "Everything"],
  ["workspace", "Workspaces"],
  ["project", "Projects"],
  ["computer", "Computers"],
];

/** @param {Context} context */
export async function show({ main, signal, title, query, setQuery, covers }) {
  title("Deleted");
  let kind = query.get("type") ?? "";
  let page = Number(query.get("page")) || 1;
  const place = h("div", { class: "panel" });
  const kinds = h(
    "select",
    { "aria-label": "What" },
    KINDS.map(([value, text]) => h("option", { value, selected: value === kind }, text)),
  );
  kinds.addEventListener("change", () => {
    kind = kinds.value;
    turn(1);
  });
  fill(
    main,
    head("Deleted", {
      sub: "What can be restored, with its settings and its history. Computers come back stopped.",
    }),
    h("div", { class: "filters" }, kinds),
    place,
  );
  /** @param {number} to */
  function turn(to) {
    page = to;
    setQuery({ type: kind, page: to > 1 ? to : null });
    reload();
  }
  const reload = resource(
    place,
    (o) => api.get(`/deleted${queryString({ type: kind, page, page_size: SIZE })}`, o),
    ({ data, total }) =>
      total
        ? [deletedTable(data, covers, () => reload()), pager(page, SIZE, total, turn)]
        : empty("Nothing can be restored", "What is deleted is listed here for a while."),
    { signal, lines: 8 },
  );
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 400);
  listen(/\.(deleted|restored)$/, later, signal);
}

/**
 * @param {any[]} rows
 * @param {(scope: string) => boolean} covers
 * @param {() => void} done
 */
const deletedTable = (rows, covers, done) =>
  table(
    "Deleted",
    [
      {
        label: "Name",
        cell: (row) =>
          h(
            "div",
            { class: "stack" },
            h("span", { class: "name" }, row.name),
            h("code", { class: "hint" }, row.slug),
          ),
      },
      { label: "What", cell: (row) => tag(row.type) },
      { label: "Where", hide: "wide", cell: whereOf },
      { label: "Deleted", cell: (row) => ago(row.deleted_at) },
      { label: "Gone for good", cell: (row) => until(row.restorable_until) },
      {
        label: "Actions",
        end: true,
        cell: (row) =>
          covers(`${row.type}s:write`) && !row.parent_deleted
            ? button("Restore", () => restore(row, done), {
                kind: "small",
                "aria-label": `Restore ${row.name}`,
                "data-key": `restore-${row.id}`,
              })
            : null,
      },
    ],
    rows,
  );

/** @param {any} row */
function whereOf(row) {
  if (row.type === "workspace") {
    const inside = [
      row.projects > 0 && count(row.projects, "project"),
      row.computers > 0 && count(row.computers, "computer"),
    ].filter(Boolean);
    return inside.length ? `with ${inside.join(" and ")}` : none();
  }
  const name = row.workspace_name;
  return row.parent_deleted
    ? `${name}: restore what it was in first`
    : h("a", { href: `#/workspaces/${row.workspace_id}` }, name);
}
