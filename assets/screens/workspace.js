// One workspace: its head, and a tab for each side of it.

import { h, fill, debounce } from "../lib/dom.js";
import { api } from "../lib/api.js";
import {
  button,
  capBar,
  copyable,
  head,
  menu,
  menuClosed,
  panel,
  redraw,
  say,
  toast,
} from "../lib/ui.js";
import { ago, count, number } from "../lib/format.js";
import { confirmDialog, formDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { activityList } from "./activity.js";
import { computersPanel } from "./computers.js";
import { domainPanel } from "./domain.js";
import { projectsPanel } from "./projects.js";
import { settingsPanels } from "./settings.js";
import { usagePanels } from "./usage.js";

const TABS = [
  ["usage", "Usage"],
  ["computers", "Computers"],
  ["projects", "Projects"],
  ["domain", "Domain"],
  ["settings", "Settings"],
  ["activity", "Activity"],
];

function edit(workspace, changed) {
  formDialog(
    `Edit ${workspace.name}`,
    [
      { name: "name", label: "Name", required: true, value: workspace.name },
      {
        name: "slug",
        label: "Slug",
        required: true,
        value: workspace.slug,
        help: "Links and clients may use it: change it with care.",
      },
      {
        name: "external_workspace_id",
        label: "External ID",
        value: workspace.external_workspace_id,
      },
      { name: "description", label: "Description", kind: "textarea", value: workspace.description },
      {
        name: "metadata",
        label: "Metadata",
        kind: "json",
        rows: 4,
        value: JSON.stringify(workspace.metadata, null, 2),
        help: "A JSON object, at most 16 KiB.",
      },
    ],
    {
      label: "Save",
      submit: async (values) => {
        await api.patch(`/workspaces/${workspace.id}`, values);
        toast("Saved.");
        changed();
      },
    },
  );
}

async function remove(workspace, go) {
  let would = { computers: workspace.computer_count, projects: null };
  try {
    would =
      (await api.delete(`/workspaces/${workspace.id}?force=true&dry_run=true`)).would_delete ??
      would;
  } catch {
    /* the answer to the real call will say why */
  }
  const inside = would.computers > 0 || would.projects > 0;
  confirmDialog(
    `Delete ${workspace.name}?`,
    [
      h(
        "p",
        null,
        "This deletes the workspace",
        inside
          ? [
              " with ",
              h("strong", null, count(would.computers, "computer")),
              would.projects !== null && [
                " and ",
                h("strong", null, count(would.projects, "project")),
              ],
              " in it",
            ]
          : ", which is empty",
        ". Its usage stays in every report.",
      ),
    ],
    {
      label: inside ? "Delete everything in it" : "Delete workspace",
      word: workspace.slug,
      warn: would.computers > 0 && "Running computers stop at once.",
      submit: async () => {
        await api.delete(`/workspaces/${workspace.id}${inside ? "?force=true" : ""}`);
        toast(`Workspace ${workspace.name} was deleted.`);
        go("/workspaces");
      },
    },
  );
}

export async function show(context, id, tab = "usage") {
  const { main, signal, title, go } = context;
  const get = (path) => api.get(`/workspaces/${id}${path}`, { signal });
  let [workspace, stats, settings] = await Promise.all([get(""), get("/stats"), get("/settings")]);
  const headPlace = h("div"),
    body = h("div", { class: "tab-body", id: "tab" });

  function drawHead() {
    title(workspace.name);
    const running = stats.computers.by_status.running ?? 0;
    redraw(
      headPlace,
      head(workspace.name, {
        crumbs: [["Workspaces", "#/workspaces"]],
        sub: [
          h(
            "div",
            { class: "ids" },
            h("code", null, workspace.slug),
            workspace.is_default && h("span", { class: "tag" }, "default"),
            workspace.external_workspace_id &&
              h("span", null, "External ID ", h("code", null, workspace.external_workspace_id)),
            h("span", { class: "roomy" }, copyable(workspace.id, { label: "Copy the ID" })),
          ),
          workspace.description && h("p", null, workspace.description),
          h(
            "div",
            { class: "strip" },
            h("span", null, h("b", { class: "num" }, number(running)), " running"),
            h(
              "span",
              null,
              settings.effective.max_computers.value === null
                ? h("b", { class: "num" }, number(workspace.computer_count))
                : capBar(workspace.computer_count, settings.effective.max_computers.value),
              " computers",
              settings.effective.max_computers.value === null && ", no cap",
            ),
            h("span", null, h("b", { class: "num" }, number(stats.resources.total_vcpus)), " vCPU"),
            h(
              "span",
              null,
              h("b", { class: "num" }, number(stats.resources.total_memory_mb / 1024)),
              " GiB memory",
            ),
            h("span", { class: "wide" }, "Created ", ago(workspace.created_at)),
          ),
        ],
        actions: [
          button("Edit", () => edit(workspace, refresh)),
          menu("More", [["Delete workspace", () => remove(workspace, go), "danger"]]),
        ],
      }),
      h(
        "nav",
        { class: "tabs", "aria-label": `Sides of ${workspace.name}` },
        TABS.map(([name, text]) =>
          h(
            "a",
            { href: `#/workspaces/${id}/${name}`, "aria-current": name === tab ? "page" : null },
            text,
          ),
        ),
      ),
    );
  }
  async function refresh() {
    try {
      const before = workspace.computer_count;
      [workspace, stats, settings] = await Promise.all([get(""), get("/stats"), get("/settings")]);
      await menuClosed(headPlace);
      drawHead();
      if (workspace.computer_count !== before)
        say(`${count(workspace.computer_count, "computer")} in ${workspace.name}`);
    } catch (e) {
      if (e.status === 404) {
        toast(`Workspace ${workspace.name} was deleted.`, "bad");
        go("/workspaces");
      }
    }
  }
  drawHead();
  fill(main, headPlace, body);
  const inside = { ...context, workspace, id, refresh, settings };
  if (tab === "usage") usagePanels(body, inside);
  else if (tab === "computers") computersPanel(body, { ...inside, filters: { workspace_id: id } });
  else if (tab === "projects") projectsPanel(body, { ...inside, workspaceId: id });
  else if (tab === "domain")
    domainPanel(body, { path: `/workspaces/${id}/preview-domain`, name: workspace.name, signal });
  else if (tab === "settings") await settingsPanels(body, inside);
  else {
    const place = h("div");
    fill(body, panel("Activity", {}, place));
    activityList(place, { filters: { workspace_id: id }, signal });
  }
  listen(/^(workspace|computer|project)\./, debounceFor(id, refresh, signal), signal);
}

/** Only what happened here, and only once for many. */
function debounceFor(id, f, signal) {
  const later = debounce(() => {
    if (!signal.aborted) f();
  }, 300);
  return (event) => {
    if (!event || event.workspace_id === id || event.after === null) later();
  };
}
