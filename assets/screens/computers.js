// Computers: the list, in all workspaces or in one, and what can be done with them.

import { h, fill, debounce } from "../lib/dom.js";
import { api, once, query as queryString } from "../lib/api.js";
import {
  button,
  empty,
  head,
  menu,
  pager,
  panel,
  resource,
  say,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, duration, now, number } from "../lib/format.js";
import { cell, nameOf } from "../lib/cells.js";
import { sparkline } from "../lib/chart.js";
import { findWorkspaces } from "../lib/combo.js";
import { confirmDialog, formDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";

const SIZE = 25;
const STATUSES = ["running", "stopped", "provisioning", "starting", "stopping", "error"];

async function sizeOptions(first) {
  const sizes = (await once("/compute/sizes")).data;
  return [
    ...(first ? [first] : []),
    ...sizes.map((s) => [
      s.slug,
      `${s.slug} · ${s.vcpus} vCPU · ${number(s.memory_mb / 1024)} GiB · ${number(s.credits_per_hour)} credits/h`,
    ]),
  ];
}

/** A workspace to choose, by searching. */
export const workspaceField = (spec) => ({
  kind: "pick",
  load: findWorkspaces,
  placeholder: "Search by name, slug or ID",
  ...spec,
});

/** The dialog that makes a computer. */
export async function createComputer({ workspaceId, done }) {
  try {
    const [sizes, templates, where] = await Promise.all([
      sizeOptions(["", "The workspace's default"]),
      once("/compute/templates"),
      workspaceId
        ? null
        : workspaceField({ name: "workspace_id", label: "Workspace", required: true }),
    ]);
    const projects = workspaceId
      ? (await api.get(`/workspaces/${workspaceId}/projects?page=1&page_size=100`)).data
      : [];
    const listId = "known-projects";
    formDialog(
      "New computer",
      [
        { name: "name", label: "Name", required: true },
        ...(where ? [where] : []),
        {
          name: "project_slug",
          label: "Project slug",
          list: listId,
          help: "Created if there is none of that slug; the default project if left out.",
        },
        {
          name: "project_name",
          label: "Project name",
          help: "Only used when the project is created.",
        },
        {
          name: "template_type",
          label: "Template",
          kind: "select",
          value: templates.data[0]?.slug,
          options: templates.data.map((t) => [t.slug, t.name]),
        },
        { name: "size", label: "Size", kind: "select", value: "", options: sizes },
        {
          name: "auto_stop_seconds",
          label: "Idle auto-stop, seconds",
          kind: "number",
          min: 0,
          max: 2592000,
          help: "0 = never; the workspace's default if left out.",
        },
      ],
      {
        label: "Create computer",
        after: h(
          "datalist",
          { id: listId },
          projects.map((p) => h("option", { value: p.slug }, p.name)),
        ),
        submit: async (values) => {
          const set = Object.fromEntries(Object.entries(values).filter(([, v]) => v !== null));
          const made = await api.post(
            "/computers",
            workspaceId ? { ...set, workspace_id: workspaceId } : set,
          );
          toast(`Computer ${made.name} is being created.`);
          done(made);
        },
      },
    );
  } catch (e) {
    toastError(e);
  }
}

const act = async (computer, verb, done) => {
  try {
    const reply = await api.post(`/computers/${computer.id}/${verb}`);
    say(`${computer.name}: ${reply.message ?? reply.status}`);
    done(reply);
  } catch (e) {
    toastError(e);
  }
};

/** What can be done with a computer in its present status: `[label, action, kind]`. */
export function actionsOf(c, done) {
  const can = {
    start: ["stopped", "error"].includes(c.status),
    stop: c.status === "running",
    restart: c.status === "running",
  };
  const outside = c.driver === "external";
  return [
    !outside && can.start && ["Start", () => act(c, "start", done)],
    !outside && can.stop && ["Stop", () => act(c, "stop", done)],
    !outside && can.restart && ["Restart", () => act(c, "restart", done)],
    ["Edit…", () => edit(c, done)],
    ["Resize…", () => resize(c, done)],
    ["Move…", () => move(c, done)],
    ["Clone…", () => clone(c, done)],
    ["Delete…", () => remove(c, done), "danger"],
  ].filter(Boolean);
}

function edit(c, done) {
  formDialog(
    `Edit ${c.name}`,
    [
      { name: "name", label: "Name", required: true, value: c.name },
      {
        name: "auto_stop_seconds",
        label: "Idle auto-stop, seconds",
        kind: "number",
        min: 0,
        max: 2592000,
        value: c.auto_stop_seconds,
        help: "0 = never.",
      },
      {
        name: "visibility",
        label: "Visibility",
        kind: "select",
        value: c.visibility,
        options: [
          ["public", "public"],
          ["tenant", "tenant"],
          ["key", "key"],
        ],
      },
      { name: "external_user_id", label: "External user", value: c.external_user_id },
      {
        name: "metadata",
        label: "Metadata",
        kind: "json",
        rows: 4,
        value: JSON.stringify(c.metadata, null, 2),
      },
    ],
    {
      label: "Save",
      submit: async (values) => {
        done(await api.patch(`/computers/${c.id}`, values));
        toast("Saved.");
      },
    },
  );
}

async function resize(c, done) {
  const options = await sizeOptions();
  formDialog(
    `Resize ${c.name}`,
    [
      {
        name: "size",
        label: "Size",
        kind: "select",
        value: c.size,
        options,
        required: true,
        help: "From this second on the new size is billed.",
      },
    ],
    {
      label: "Resize",
      submit: async (values) => {
        done((await api.post(`/computers/${c.id}/resize`, values)).data);
        toast(`${c.name} is ${values.size} now.`);
      },
    },
  );
}

async function move(c, done) {
  try {
    const where = workspaceField({
      name: "workspace_id",
      label: "To workspace",
      required: true,
      help: "Its limits apply; usage is split at this second.",
    });
    formDialog(
      `Move ${c.name}`,
      [
        where,
        {
          name: "project_slug",
          label: "Project slug there",
          help: "Its default project if left out.",
        },
      ],
      {
        label: "Move",
        submit: async (values) => {
          done(
            (
              await api.post(
                `/computers/${c.id}/move`,
                Object.fromEntries(Object.entries(values).filter(([, v]) => v !== null)),
              )
            ).data,
          );
          toast(`${c.name} was moved.`);
        },
      },
    );
  } catch (e) {
    toastError(e);
  }
}

async function clone(c, done) {
  const options = await sizeOptions();
  formDialog(
    `Clone ${c.name}`,
    [
      { name: "name", label: "Name", value: `${c.name}-copy`, required: true },
      { name: "size", label: "Size", kind: "select", value: c.size, options },
    ],
    {
      label: "Clone",
      submit: async (values) => {
        const made = (await api.post(`/computers/${c.id}/clone`, values)).data;
        toast(`${made.name} is being created.`);
        done(made);
      },
    },
  );
}

function remove(c, done) {
  confirmDialog(
    `Delete ${c.name}?`,
    h(
      "p",
      null,
      "This deletes the computer ",
      h("code", null, c.slug),
      ". Its usage stays in every report.",
    ),
    {
      label: "Delete computer",
      word: c.slug,
      warn: c.status === "running" && "It is running and stops at once.",
      submit: async () => {
        await api.delete(`/computers/${c.id}`);
        toast(`Computer ${c.name} was deleted.`);
        done({ ...c, status: "destroyed" });
      },
    },
  );
}

/** Since when it runs, or when it stops by itself. */
const sinceOf = (c) =>
  c.status === "running" && c.started_at
    ? h("span", { title: c.started_at }, `for ${duration(now() - new Date(c.started_at))}`)
    : c.stopped_at && c.status === "stopped"
      ? ago(c.stopped_at)
      : h("span", { class: "none" }, "–");

/** The list of computers; `filters` go to the API. */
export function computersPanel(place, { filters, signal, query, setQuery, names }) {
  const state = { status: query.get("status") ?? "", page: Number(query.get("page")) || 1 };
  const inner = h("div");
  const pick = h(
    "select",
    { "aria-label": "Status", onchange: (e) => change({ status: e.target.value, page: 1 }) },
    h("option", { value: "" }, "Every status"),
    STATUSES.map((s) => h("option", { value: s, selected: s === state.status }, s)),
  );
  const add = button(
    "New computer",
    () => createComputer({ workspaceId: filters.workspace_id, done: () => reload() }),
    { kind: "primary", ico: "plus", "data-new": true, title: "New computer (n)" },
  );
  fill(place, panel("Computers", { actions: [pick, add] }, inner));
  let rows = [];
  const load = (o) =>
    api.get(
      `/computers${queryString({ ...filters, status: state.status, page: state.page, page_size: SIZE })}`,
      o,
    );
  const reload = resource(
    inner,
    load,
    (list) => {
      rows = list.data;
      if (!list.total)
        return state.status
          ? empty(`No computer is ${state.status}`)
          : empty(
              "There is no computer yet",
              "A computer is created inside a project, which is made on the way.",
            );
      return [
        table(
          "Computers",
          [
            {
              label: "Name",
              cell: (c) =>
                h(
                  "div",
                  { class: "stack" },
                  h("a", { class: "row-link", href: `#/computers/${c.id}` }, c.name),
                  h("code", { class: "hint" }, c.slug),
                ),
            },
            {
              label: "Status",
              cell: (c) => h("span", { dataset: { statusOf: c.id } }, status(c.status)),
            },
            {
              label: "Size",
              cell: (c) =>
                h(
                  "span",
                  { title: `${c.vcpus} vCPU, ${number(c.memory_mb / 1024)} GiB, ${c.disk_gb} GB` },
                  c.size,
                ),
            },
            { label: "Since", cell: sinceOf },
            names && {
              label: "Workspace",
              hide: "wide",
              cell: (c) =>
                h(
                  "a",
                  { href: `#/workspaces/${c.workspace_id}` },
                  nameOf("workspace", c.workspace_id),
                ),
            },
            {
              label: "Credits, 7 days",
              cell: (c) =>
                cell(
                  `week/${c.id}`,
                  () => api.get(`/computers/${c.id}/metrics?window=7d`, { signal }),
                  (m) => [
                    sparkline(m.series),
                    h("span", { class: "num" }, number(m.total_credits_used)),
                  ],
                  { first: h("span", { class: "none" }, "…"), kind: "cell sparkcell" },
                ),
            },
            {
              label: "Idle stop",
              hide: "wide",
              cell: (c) =>
                c.auto_stop_seconds
                  ? [
                      duration(c.auto_stop_seconds * 1000),
                      c.auto_stop_at && [" · ", ago(c.auto_stop_at)],
                    ]
                  : "never",
            },
            {
              label: "Actions",
              end: true,
              cell: (c) => {
                const [first, ...rest] = actionsOf(c, () => reload());
                const quick = ["Start", "Stop"].includes(first[0]);
                return h(
                  "span",
                  { class: "row-actions" },
                  quick &&
                    button(first[0], first[1], {
                      kind: "small",
                      "aria-label": `${first[0]} ${c.name}`,
                      dataset: { key: `act-${c.id}` },
                    }),
                  menu(`Actions for ${c.name}`, quick ? rest : [first, ...rest]),
                );
              },
            },
          ].filter(Boolean),
          rows,
        ),
        pager(state.page, SIZE, list.total, (page) => change({ page })),
      ];
    },
    { signal, lines: 8 },
  );
  function change(next) {
    Object.assign(state, next);
    setQuery({ status: state.status, page: state.page > 1 ? state.page : null });
    reload();
  }
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 300);
  listen(
    /^(computer|workspace|project)\./,
    (event) => {
      if (
        event &&
        filters.workspace_id &&
        event.workspace_id !== filters.workspace_id &&
        event.after !== null
      )
        return;
      // The status at once, the rest a moment later.
      const cell =
        event && inner.querySelector(`[data-status-of="${CSS.escape(event.resource_id)}"]`);
      if (cell && event.after?.status) {
        fill(cell, status(event.after.status));
        say(`${event.after.name}: ${event.after.status}`);
      }
      later();
    },
    signal,
  );
}

export async function show(context) {
  const { main, title, query } = context;
  title("Computers");
  const place = h("div");
  fill(main, head("Computers", { sub: "In all workspaces, newest first." }), place);
  computersPanel(place, {
    ...context,
    filters: { workspace_id: query.get("workspace_id") ?? undefined },
    names: true,
  });
}
