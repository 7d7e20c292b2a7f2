// @ts-check
// One workspace: its head, and a tab for each side of it.

/** @import { Context } from "../app.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api } from "../lib/api.js";
import {
  button,
  capBar,
  copyable,
  head,
  longText,
  menu,
  menuClosed,
  panel,
  redraw,
  say,
  tag,
  toast,
} from "../lib/ui.js";
import { deletedToast } from "../lib/undo.js";
import { ago, count, number } from "../lib/format.js";
import { confirmDialog, editDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { activityList } from "./activity.js";
import { billPanels } from "./bill.js";
import { computersPanel } from "./computers.js";
import { domainPanel } from "./domain.js";
import { projectsPanel } from "./projects.js";
import { settingsPanels } from "./settings.js";
import { usagePanels } from "./usage.js";

const TABS = [
  ["usage", "Usage"],
  ["bill", "Bill"],
  ["computers", "Computers"],
  ["projects", "Projects"],
  ["domain", "Domain"],
  ["settings", "Settings"],
  ["activity", "Activity"],
];

/**
 * @param {Context} context
 * @param {string} id
 */
export async function show(context, id, tab = "usage") {
  const { main, signal, title, go } = context;
  /** @param {string} path */
  const get = (path) => api.get(`/workspaces/${id}${path}`, { signal });
  const ask = () => Promise.all([get(""), get("/stats"), get("/settings")]);
  let [workspace, stats, settings] = await ask();
  const headPlace = h("div"),
    body = h("div", { class: "tab-body", id: "tab" });

  function drawHead() {
    title(workspace.name);
    const more = menu("More", [["Delete workspace", () => remove(workspace, go), "danger"]]);
    redraw(
      headPlace,
      head(workspace.name, {
        crumbs: [["Workspaces", "#/workspaces"]],
        sub: about(workspace, stats, settings.effective.max_computers.value),
        actions: [button("Edit", () => edit(workspace, refresh)), more],
      }),
      tabs(workspace, tab),
    );
  }
  async function refresh() {
    try {
      const before = workspace.computer_count;
      [workspace, stats, settings] = await ask();
      await menuClosed(headPlace);
      drawHead();
      const now = workspace.computer_count;
      if (now !== before) say(`${count(now, "computer")} in ${workspace.name}`);
    } catch (e) {
      if (e.status !== 404) return;
      toast(`Workspace ${workspace.name} was deleted.`, "bad");
      go("/workspaces");
    }
  }
  drawHead();
  fill(main, headPlace, body);
  await showTab(tab, body, { ...context, workspace, id, refresh });
  const later = debounce(() => {
    if (!signal.aborted) refresh();
  }, 300);
  listen(
    /^(workspace|computer|project)\./,
    (event) => {
      if (!event || event.workspace_id === id || event.after === null) later();
    },
    signal,
  );
}

/**
 * @param {string} tab
 * @param {HTMLElement} body
 * @param {Context & { workspace: any, id: string, refresh: () => void }} inside
 */
async function showTab(tab, body, inside) {
  const { workspace, id, signal } = inside;
  if (tab === "usage") usagePanels(body, inside);
  else if (tab === "bill") billPanels(body, inside);
  else if (tab === "computers") computersPanel(body, { ...inside, filters: { workspace_id: id } });
  else if (tab === "projects") projectsPanel(body, { ...inside, workspaceId: id });
  else if (tab === "domain") {
    domainPanel(body, { path: `/workspaces/${id}/preview-domain`, name: workspace.name, signal });
  } else if (tab === "settings") await settingsPanels(body, inside);
  else {
    const place = h("div");
    fill(body, panel("Activity", {}, place));
    activityList(place, { filters: { workspace_id: id }, signal });
  }
}

/**
 * What stands below the name.
 * @param {any} workspace
 * @param {any} stats
 * @param {number | null} cap
 */
function about(workspace, stats, cap) {
  const { id, slug, description, is_default, external_workspace_id: external } = workspace;
  const { total_vcpus: vcpus, total_memory_mb: memory } = stats.resources;
  /** @param {number} n */
  const figure = (n) => h("b", { class: "num" }, number(n));
  const used = workspace.computer_count;
  return [
    h(
      "div",
      { class: "ids" },
      h("code", null, slug),
      is_default && tag("default"),
      external && h("span", null, "External ID ", h("code", null, external)),
      h("span", { class: "roomy" }, copyable(id, { label: "Copy the ID" })),
    ),
    description && longText(description),
    h(
      "div",
      { class: "strip" },
      h("span", null, figure(stats.computers.by_status.running ?? 0), " running"),
      cap === null
        ? h("span", null, figure(used), used === 1 ? " computer, no cap" : " computers, no cap")
        : h("span", null, capBar(used, cap), cap === 1 ? " computer" : " computers"),
      h("span", null, figure(vcpus), " vCPU"),
      h("span", null, figure(memory / 1024), " GiB memory"),
      h("span", { class: "wide" }, "Created ", ago(workspace.created_at)),
    ),
  ];
}

/**
 * @param {any} workspace
 * @param {string} current
 */
const tabs = (workspace, current) =>
  h(
    "nav",
    { class: "tabs", "aria-label": `Sides of ${workspace.name}` },
    TABS.map(([name, text]) =>
      h(
        "a",
        {
          href: `#/workspaces/${workspace.id}/${name}`,
          "aria-current": name === current ? "page" : null,
        },
        text,
      ),
    ),
  );

/**
 * @param {any} workspace
 * @param {() => void} changed
 */
const edit = ({ id, name }, changed) =>
  editDialog(
    `Edit ${name}`,
    `/workspaces/${id}`,
    (w) => [
      { name: "name", label: "Name", required: true, value: w.name },
      {
        name: "slug",
        label: "Slug",
        required: true,
        value: w.slug,
        help: "Links and clients may use it: change it with care.",
      },
      { name: "external_workspace_id", label: "External ID", value: w.external_workspace_id },
      { name: "description", label: "Description", kind: "textarea", value: w.description },
      {
        name: "metadata",
        label: "Metadata",
        kind: "json",
        rows: 4,
        value: JSON.stringify(w.metadata, null, 2),
        help: "A JSON object, at most 16 KiB.",
      },
    ],
    changed,
  );

/**
 * Asks what would go, then whether it shall.
 * @param {any} workspace
 * @param {(path: string) => void} go
 */
async function remove(workspace, go) {
  const path = `/workspaces/${workspace.id}`;
  /** @type {{ computers: number, projects: number | null }} */
  let would = { computers: workspace.computer_count, projects: null };
  try {
    would = (await api.delete(`${path}?force=true&dry_run=true`)).would_delete ?? would;
  } catch {
    /* the answer to the real call will say why */
  }
  const { computers, projects } = would;
  const inside = computers > 0 || (projects ?? 0) > 0;
  const content = [
    " with ",
    h("strong", null, count(computers, "computer")),
    projects !== null && [" and ", h("strong", null, count(projects, "project"))],
    " in it",
  ];
  const text = h(
    "p",
    null,
    "This deletes the workspace",
    inside ? content : ", which is empty",
    ". Its usage stays in every report.",
  );
  confirmDialog(`Delete ${workspace.name}?`, text, {
    label: inside ? "Delete everything in it" : "Delete workspace",
    word: workspace.slug,
    warn: computers > 0 && "Running computers stop at once.",
    submit: async () => {
      await api.delete(`${path}${inside ? "?force=true" : ""}`);
      deletedToast({ ...workspace, type: "workspace" });
      go("/workspaces");
    },
  });
}
