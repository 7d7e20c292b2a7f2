// @ts-check
// Projects, in all workspaces or in one.

/** @import { Context } from "../app.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import {
  deletedLink,
  empty,
  head,
  newButton,
  none,
  pager,
  panel,
  resource,
  table,
  tag,
  toast,
} from "../lib/ui.js";
import { ago, number } from "../lib/format.js";
import { filled, formDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { nameOf } from "../lib/cells.js";
import { workspaceField } from "./computers.js";

const SIZE = 25;

/**
 * The dialog that makes a project; it asks for the workspace where none is given.
 * @param {string | undefined} workspaceId
 * @param {(project: any) => void} done
 */
function create(workspaceId, done) {
  const where = workspaceField({ name: "workspace_id", label: "Workspace", required: true });
  formDialog(
    "New project",
    [
      { name: "name", label: "Name", required: true, help: "An app, a site, a campaign." },
      ...(workspaceId ? [] : [where]),
      { name: "slug", label: "Slug", help: "Made from the name if left out." },
      { name: "external_project_id", label: "External ID", help: "Your own id of this project." },
      { name: "description", label: "Description", kind: "textarea" },
    ],
    {
      label: "Create project",
      submit: async (values) => {
        const set = filled(values);
        if (workspaceId) set.workspace_id = workspaceId;
        const made = await api.post("/projects", set);
        toast(`Project ${made.name} was created.`);
        done(made);
      },
    },
  );
}

/**
 * The list of projects; `names` says whose they are.
 * @param {HTMLElement} place
 * @param {Context & { workspaceId?: string, names?: boolean }} context
 */
export function projectsPanel(place, { workspaceId, signal, query, setQuery, names = false }) {
  const inner = h("div");
  let page = Number(query.get("page")) || 1;
  const add = newButton("New project", () => create(workspaceId, () => reload()));
  fill(place, panel("Projects", { actions: [add] }, inner));
  /** @param {number} to */
  function turn(to) {
    page = to;
    setQuery({ page: to > 1 ? to : null });
    reload();
  }
  const path = workspaceId ? `/workspaces/${workspaceId}/projects` : "/projects";
  const reload = resource(
    inner,
    (o) => api.get(`${path}${queryString({ page, page_size: SIZE })}`, o),
    (list) => {
      if (!list.total) {
        return empty(
          "There is no project yet",
          "One is created when a computer names it, or here.",
        );
      }
      return [projectsTable(list.data, names), pager(page, SIZE, list.total, turn)];
    },
    { signal, lines: 8 },
  );
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 400);
  listen(
    /^(project|computer)\./,
    (event) => {
      if (!event || !workspaceId || event.workspace_id === workspaceId) later();
    },
    signal,
  );
}

/**
 * @param {any[]} rows
 * @param {boolean} names
 */
const projectsTable = (rows, names) =>
  table(
    "Projects",
    [
      {
        label: "Name",
        cell: (p) =>
          h(
            "div",
            { class: "stack" },
            h(
              "span",
              null,
              h("a", { class: "row-link", href: `#/projects/${p.id}` }, p.name),
              p.is_default && tag("default"),
            ),
            h("code", { class: "hint" }, p.slug),
          ),
      },
      names && {
        label: "Workspace",
        cell: (p) =>
          h("a", { href: `#/workspaces/${p.workspace_id}` }, nameOf("workspace", p.workspace_id)),
      },
      {
        label: "External ID",
        hide: "wide",
        cell: (p) => (p.external_project_id ? h("code", null, p.external_project_id) : none()),
      },
      { label: "Computers", num: true, cell: (p) => number(p.computer_count) },
      { label: "Created", cell: (p) => ago(p.created_at) },
    ],
    rows,
  );

/** @param {Context} context */
export async function show(context) {
  const { main, title } = context;
  title("Projects");
  const place = h("div");
  const sub = "Apps, sites and campaigns inside workspaces.";
  fill(main, head("Projects", { sub, actions: [deletedLink("project")] }), place);
  projectsPanel(place, { ...context, names: true });
}
