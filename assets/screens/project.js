// @ts-check
// One project: its computers and its domain.

/** @import { Context } from "../app.js" */
import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { button, copyable, head, longText, menu, tag, toast } from "../lib/ui.js";
import { deletedToast } from "../lib/undo.js";
import { ago, count } from "../lib/format.js";
import { confirmDialog, editDialog, formDialog } from "../lib/forms.js";
import { computersPanel, workspaceField } from "./computers.js";
import { domainPanel } from "./domain.js";

/**
 * @param {Context} context
 * @param {string} id
 */
export async function show(context, id) {
  const { main, signal, title, go, reroute } = context;
  const project = await api.get(`/projects/${id}`, { signal });
  const workspace = await api.get(`/workspaces/${project.workspace_id}`, { signal });
  const projects = `/workspaces/${workspace.id}/projects`;
  title(project.name);
  const more = menu("More", [
    ["Move…", () => move(project, reroute)],
    ["Delete…", () => remove(project, () => go(projects)), "danger"],
  ]);
  const computers = h("div"),
    domain = h("div");
  fill(
    main,
    head(project.name, {
      crumbs: [
        ["Workspaces", "#/workspaces"],
        [workspace.name, `#${projects}`],
      ],
      sub: about(project),
      actions: [button("Edit", () => edit(project, reroute)), more],
    }),
    computers,
    domain,
  );
  computersPanel(computers, {
    ...context,
    filters: { project_id: id, workspace_id: project.workspace_id },
  });
  const path = `/projects/${id}/preview-domain`;
  domainPanel(domain, { path, name: project.name, signal, second: true });
}

/** @param {any} project */
const about = (project) => [
  h(
    "div",
    { class: "ids" },
    h("code", null, project.slug),
    project.is_default && tag("default"),
    project.external_project_id &&
      h("span", null, "External ID ", h("code", null, project.external_project_id)),
    copyable(project.id, { label: "Copy the ID" }),
    h("span", null, "Created ", ago(project.created_at)),
  ),
  project.description && longText(project.description),
];

/**
 * @param {any} project
 * @param {() => void} done
 */
const edit = ({ id, name }, done) =>
  editDialog(
    `Edit ${name}`,
    `/projects/${id}`,
    (p) => [
      { name: "name", label: "Name", required: true, value: p.name },
      { name: "slug", label: "Slug", required: true, value: p.slug },
      { name: "external_project_id", label: "External ID", value: p.external_project_id },
      { name: "description", label: "Description", kind: "textarea", value: p.description },
      {
        name: "metadata",
        label: "Metadata",
        kind: "json",
        rows: 4,
        value: JSON.stringify(p.metadata, null, 2),
      },
    ],
    done,
  );

/**
 * @param {any} project
 * @param {() => void} done
 */
const move = (project, done) =>
  formDialog(
    `Move ${project.name}`,
    [
      workspaceField({
        name: "target_workspace_id",
        also: ["workspace_id"],
        label: "To workspace",
        required: true,
        help: "Its computers go along; usage is split at this second.",
      }),
    ],
    {
      label: "Move",
      submit: async (values) => {
        await api.post(`/projects/${project.id}/move`, values);
        toast(`${project.name} was moved.`);
        done();
      },
    },
  );

/**
 * @param {any} project
 * @param {() => void} done
 */
function remove(project, done) {
  const inside = count(project.computer_count, "computer");
  const text = project.computer_count
    ? `It has ${inside}; delete or move them first.`
    : "The project is empty.";
  confirmDialog(`Delete ${project.name}?`, h("p", null, text), {
    label: "Delete project",
    word: project.slug,
    submit: async () => {
      await api.delete(`/projects/${project.id}`);
      deletedToast({ ...project, type: "project" });
      done();
    },
  });
}
