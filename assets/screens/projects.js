// Projects, in all workspaces or in one.

import { h, fill, debounce } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import { button, empty, head, pager, panel, resource, table, toast } from "../lib/ui.js";
import { ago, number } from "../lib/format.js";
import { formDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { nameOf } from "../lib/cells.js";
import { workspaceField } from "./computers.js";

const SIZE = 25;

function create(workspaceId, done) {
  formDialog(
    "New project",
    [
      { name: "name", label: "Name", required: true, help: "An app, a site, a campaign." },
      ...(workspaceId
        ? []
        : [workspaceField({ name: "workspace_id", label: "Workspace", required: true })]),
      { name: "slug", label: "Slug", help: "Made from the name if left out." },
      { name: "external_project_id", label: "External ID", help: "Your own id of this project." },
      { name: "description", label: "Description", kind: "textarea" },
    ],
    {
      label: "Create project",
      submit: async (values) => {
        const set = Object.fromEntries(Object.entries(values).filter(([, v]) => v !== null));
        const made = await api.post(
          "/projects",
          workspaceId ? { ...set, workspace_id: workspaceId } : set,
        );
        toast(`Project ${made.name} was created.`);
        done(made);
      },
    },
  );
}

export function projectsPanel(place, { workspaceId, signal, query, setQuery, names }) {
  const inner = h("div");
  let page = Number(query.get("page")) || 1;
  fill(
    place,
    panel(
      "Projects",
      {
        actions: [
          button("New project", () => create(workspaceId, () => reload()), {
            kind: "primary",
            ico: "plus",
            "data-new": true,
            title: "New project (n)",
          }),
        ],
      },
      inner,
    ),
  );
  const path = workspaceId ? `/workspaces/${workspaceId}/projects` : "/projects";
  const reload = resource(
    inner,
    (o) => api.get(`${path}${queryString({ page, page_size: SIZE })}`, o),
    (list) => {
      if (!list.total)
        return empty(
          "There is no project yet",
          "One is created when a computer names it, or here.",
        );
      return [
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
                    p.is_default && h("span", { class: "tag" }, "default"),
                  ),
                  h("code", { class: "hint" }, p.slug),
                ),
            },
            names && {
              label: "Workspace",
              cell: (p) =>
                h(
                  "a",
                  { href: `#/workspaces/${p.workspace_id}` },
                  nameOf("workspace", p.workspace_id),
                ),
            },
            {
              label: "External ID",
              hide: "wide",
              cell: (p) =>
                p.external_project_id
                  ? h("code", null, p.external_project_id)
                  : h("span", { class: "none" }, "–"),
            },
            { label: "Computers", num: true, cell: (p) => number(p.computer_count) },
            { label: "Created", cell: (p) => ago(p.created_at) },
          ].filter(Boolean),
          list.data,
        ),
        pager(page, SIZE, list.total, (to) => {
          page = to;
          setQuery({ page: to > 1 ? to : null });
          reload();
        }),
      ];
    },
    { signal, lines: 8 },
  );
  listen(
    /^(project|computer)\./,
    debounce((event) => {
      if (!signal.aborted && (!event || !workspaceId || event.workspace_id === workspaceId))
        reload();
    }, 400),
    signal,
  );
}

export async function show(context) {
  const { main, title } = context;
  title("Projects");
  const place = h("div");
  fill(main, head("Projects", { sub: "Apps, sites and campaigns inside workspaces." }), place);
  projectsPanel(place, { ...context, names: true });
}
