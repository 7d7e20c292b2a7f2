// @ts-check
// Computers: the list, in all workspaces or in one, and what can be done with them.

/** @import { Context } from "../app.js" */
/** @import { FieldSpec } from "../lib/forms.js" */
/** @import { Action, Picks } from "../lib/ui.js" */
import { deletedToast } from "../lib/undo.js";
import { h, fill, find, debounce, icon } from "../lib/dom.js";
import { api, once, query as queryString } from "../lib/api.js";
import {
  button,
  deletedLink,
  empty,
  head,
  menu,
  newButton,
  none,
  pager,
  panel,
  redraw,
  resource,
  say,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, count, duration, fullTime, now, number, wholeOf } from "../lib/format.js";
import { cell, nameOf } from "../lib/cells.js";
import { microsOf, sparkline } from "../lib/chart.js";
import { findWorkspaces } from "../lib/combo.js";
import { confirmDialog, editDialog, filled, formDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { actOnMany } from "../lib/many.js";

const SIZE = 25;
/** @type {[value: string, text: string][]} */
const STATUSES = ["running", "stopped", "provisioning", "starting", "stopping", "error"].map(
  (one) => [one, one],
);

// ---------------------------------------------------------------------------------------------
// The list

/** @param {Context} context */
export async function show(context) {
  const { main, title, query } = context;
  title("Computers");
  const place = h("div");
  const actions = [deletedLink("computer")];
  fill(main, head("Computers", { sub: "In all workspaces.", actions }), place);
  const filters = { workspace_id: query.get("workspace_id") ?? undefined };
  computersPanel(place, { ...context, filters, names: true });
}

/** @type {[value: string, text: string][]} */
const SORTS = [
  ["", "Newest first"],
  ["created_at", "Oldest first"],
  ["name", "By name"],
  ["status", "By status"],
  ["-size", "Largest first"],
  ["started_at", "Running longest first"],
  ["-credits", "Most expensive first"],
  ["auto_stop_seconds", "Without auto-stop first"],
];

/**
 * The list of computers; `filters` go to the API, `names` says whose they are.
 * @param {HTMLElement} place
 * @param {Context & { filters: Record<string, string | undefined>, names?: boolean }} context
 */
export function computersPanel(place, { filters, signal, query, setQuery, covers, names = false }) {
  const state = {
    q: query.get("q") ?? "",
    status: query.get("status") ?? "",
    sort: query.get("sort") ?? "",
    page: Number(query.get("page")) || 1,
  };
  const inner = h("div"),
    many = h("div");
  /** @type {any[]} */
  let rows = [];
  const chosen = new Set();
  const picks = covers("computers:write")
    ? { chosen, changed: drawMany, nameOf: (/** @type {any} */ c) => c.name }
    : undefined;
  const search = h("input", {
    type: "search",
    placeholder: "Name, slug or ID",
    "aria-label": "Search computers",
    title: "Search (/)",
    value: state.q,
  });
  search.addEventListener(
    "input",
    debounce(() => change({ q: search.value.trim(), page: 1 }), 100),
  );
  const pick = choice("Status", state.status, [["", "Every status"], ...STATUSES], (status) =>
    change({ status, page: 1 }),
  );
  const sorts = choice("Order", state.sort, SORTS, (sort) => change({ sort, page: 1 }));
  const add = newButton("New computer", () =>
    createComputer({ workspaceId: filters.workspace_id, done: () => reload() }),
  );
  fill(
    place,
    panel(
      "Computers",
      { actions: [add] },
      h(
        "div",
        { class: "filters" },
        h("span", { class: "search" }, icon("search"), search),
        pick,
        sorts,
      ),
      many,
      inner,
    ),
  );
  const list = () =>
    queryString({
      ...filters,
      q: state.q,
      status: state.status,
      sort: state.sort,
      page: state.page,
      page_size: SIZE,
    });
  const reload = resource(
    inner,
    (o) => api.get(`/computers${list()}`, o),
    ({ data, total }) => {
      rows = data;
      // What is out of sight is not acted on.
      for (const id of chosen)
        if (!data.some((/** @type {any} */ c) => c.id === id)) chosen.delete(id);
      drawMany();
      if (!total) return nothing(state.q, state.status);
      const how = {
        sort: state.sort,
        onsort: (/** @type {string} */ sort) => change({ sort, page: 1 }),
        picks,
      };
      return [
        computersTable(data, { names, signal, done: () => reload() }, how),
        pager(state.page, SIZE, total, (page) => change({ page })),
      ];
    },
    { signal, lines: 8 },
  );
  function drawMany() {
    const some = rows.filter((c) => chosen.has(c.id));
    const clear = () => {
      chosen.clear();
      reload();
    };
    redraw(many, some.length > 0 && manyBar(some, () => reload(), clear));
  }
  /** @param {Partial<typeof state>} next */
  function change(next) {
    Object.assign(state, next);
    sorts.value = SORTS.some(([v]) => v === state.sort) ? state.sort : "";
    const { q, status, sort } = state;
    setQuery({ q, status, sort, page: state.page > 1 ? state.page : null });
    reload();
  }
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 300);
  listen(
    /^(computer|workspace|project)\./,
    (event) => {
      const here = !filters.workspace_id || event?.workspace_id === filters.workspace_id;
      if (event && !here && event.after !== null) return;
      // The status at once, the rest a moment later.
      if (event?.after?.status) showStatus(inner, event);
      later();
    },
    signal,
  );
}

/**
 * What can be done with those that are chosen.
 * @param {any[]} some
 * @param {() => void} done
 * @param {() => void} clear
 */
function manyBar(some, done, clear) {
  const running = some.filter((c) => c.status === "running");
  return h(
    "div",
    { class: "many-bar", role: "group", "aria-label": "Chosen computers" },
    h("b", null, `${number(some.length)} chosen`),
    h("span", { class: "hint" }, `${number(running.length)} running`),
    button("Stop…", () => stopMany(some, done), { kind: "small", dataset: { key: "many-stop" } }),
    button("Auto-stop…", () => autoStopMany(some, done), {
      kind: "small",
      dataset: { key: "many-auto" },
    }),
    button("Move…", () => moveMany(some, done), { kind: "small", dataset: { key: "many-move" } }),
    button("Clear", clear, { kind: "small", dataset: { key: "many-clear" } }),
  );
}

/**
 * @param {any[]} some
 * @param {() => void} done
 */
function stopMany(some, done) {
  const list = some.filter((c) => c.status === "running" && c.driver !== "external");
  const others = some.length - list.length;
  const left =
    others > 0 &&
    ` ${count(others, "other")} ${others === 1 ? "does" : "do"} not run or ${others === 1 ? "is" : "are"} stopped by an agent, and ${others === 1 ? "is" : "are"} left as ${others === 1 ? "it is" : "they are"}.`;
  actOnMany(`Stop ${count(list.length, "computer")}?`, list, {
    text: h("p", null, "What runs in them ends, and from then on they cost nothing.", left),
    label: `Stop ${count(list.length, "computer")}`,
    kind: "danger",
    past: "being stopped",
    each: (c) => api.post(`/computers/${c.id}/stop`),
    done,
  });
}

/**
 * @param {any[]} some
 * @param {() => void} done
 */
const autoStopMany = (some, done) =>
  actOnMany(`Auto-stop of ${count(some.length, "computer")}`, some, {
    text: h("p", null, "They stop by themselves after so much idle time, each from now on:"),
    label: "Set auto-stop",
    past: "changed",
    fields: [
      {
        name: "auto_stop_seconds",
        label: "Idle auto-stop",
        kind: "duration",
        value: 7200,
        required: true,
        help: "Such as 30 min, 2 h or 1 d; never for none.",
      },
    ],
    each: (c, values) => api.patch(`/computers/${c.id}`, values),
    done,
  });

/**
 * @param {any[]} some
 * @param {() => void} done
 */
const moveMany = (some, done) =>
  actOnMany(`Move ${count(some.length, "computer")}`, some, {
    text: h("p", null, "Its limits apply to each; their usage is split at that second:"),
    label: "Move",
    past: "moved",
    fields: [workspaceField({ name: "workspace_id", label: "To workspace", required: true })],
    each: (c, values) => api.post(`/computers/${c.id}/move`, filled(values)),
    done,
  });

/**
 * @param {string} label
 * @param {string} value
 * @param {[value: string, text: string][]} options
 * @param {(value: string) => void} onchange
 */
function choice(label, value, options, onchange) {
  const select = h(
    "select",
    { "aria-label": label },
    options.map(([v, text]) => h("option", { value: v, selected: v === value }, text)),
  );
  select.addEventListener("change", () => onchange(select.value));
  return select;
}

/**
 * @param {HTMLElement} list
 * @param {any} event
 */
function showStatus(list, { resource_id: id, after }) {
  const place = find(`[data-status-of="${CSS.escape(id)}"]`, list);
  if (!place) return;
  fill(place, status(after.status));
  say(`${after.name}: ${after.status}`);
}

/**
 * @param {string} q
 * @param {string} status
 */
const nothing = (q, status) =>
  q
    ? empty(`Nothing matches “${q}”`, "Name, slug and ID are searched.")
    : status
      ? empty(`No computer is ${status}`)
      : empty(
          "There is no computer yet",
          "A computer is created inside a project, which is made on the way.",
        );

/**
 * @param {any[]} rows
 * @param {{ names: boolean, signal: AbortSignal, done: () => void }} context
 * @param {{ sort: string, onsort: (sort: string) => void, picks?: Picks }} how
 */
const computersTable = (rows, { names, signal, done }, how) =>
  table(
    "Computers",
    [
      {
        label: "Name",
        sort: "name",
        cell: (c) =>
          h(
            "div",
            { class: "stack" },
            h("a", { class: "row-link", href: `#/computers/${c.id}` }, c.name),
            // A slug that is only the name says nothing.
            c.slug !== c.name.toLowerCase() && h("code", { class: "hint" }, c.slug),
          ),
      },
      {
        label: "Status",
        sort: "status",
        cell: (c) => h("span", { dataset: { statusOf: c.id } }, status(c.status)),
      },
      {
        label: "Size",
        sort: "size",
        down: true,
        cell: (c) => {
          const title = `${c.vcpus} vCPU, ${number(c.memory_mb / 1024)} GiB, ${c.disk_gb} GB`;
          return h("span", { title }, c.size);
        },
      },
      { label: "Since", sort: "started_at", cell: sinceCell },
      names && {
        label: "Workspace",
        hide: "wide",
        cell: (c) =>
          h("a", { href: `#/workspaces/${c.workspace_id}` }, nameOf("workspace", c.workspace_id)),
      },
      {
        label: "Credits, 7 days",
        sort: "credits",
        down: true,
        num: true,
        cell: (c) => weekCell(c, signal),
      },
      { label: "Idle stop", sort: "auto_stop_seconds", hide: "wide wider", cell: idleCell },
      { label: "Actions", end: true, cell: (c) => actionsCell(c, done) },
    ],
    rows,
    how,
  );

/**
 * Since when it runs, or when it stopped.
 * @param {any} c
 */
function sinceCell(c) {
  if (c.status === "running" && c.started_at) {
    const ran = duration(now() - Date.parse(c.started_at));
    return h("span", { class: "whole", title: c.started_at }, ran);
  }
  return c.status === "stopped" && c.stopped_at
    ? h("span", { class: "whole" }, ago(c.stopped_at))
    : none();
}

/**
 * @param {any} c
 * @param {AbortSignal} signal
 */
const weekCell = (c, signal) =>
  cell(
    `week/${c.id}`,
    () => api.get(`/computers/${c.id}/metrics?window=7d`, { signal }),
    (m) => [sparkline(m.series, signal), h("span", { class: "num" }, wholeOf(microsOf(m)))],
    { first: h("span", { class: "none" }, "…"), kind: "cell sparkcell" },
  );

/** @param {any} c */
function idleCell(c) {
  if (!c.auto_stop_seconds) return "never";
  const due = c.auto_stop_at && `Stops by itself at ${fullTime(c.auto_stop_at)}`;
  return h("span", { class: "whole", title: due || null }, duration(c.auto_stop_seconds * 1000));
}

/**
 * A button for what is done most, and a menu for the rest.
 * @param {any} c
 * @param {() => void} done
 */
function actionsCell(c, done) {
  const [first, ...rest] = actionsOf(c, done);
  const [label, action] = first;
  const quick = ["Start", "Stop"].includes(label);
  return h(
    "span",
    { class: "row-actions" },
    quick &&
      button(label, action, {
        kind: "small",
        "aria-label": `${label} ${c.name}`,
        dataset: { key: `act-${c.id}` },
      }),
    menu(`Actions for ${c.name}`, quick ? rest : [first, ...rest]),
  );
}

// ---------------------------------------------------------------------------------------------
// A new computer

/**
 * The dialog that makes a computer; it asks for the workspace where none is given.
 * @param {{ workspaceId?: string, done: (computer: any) => void }} context
 */
export async function createComputer({ workspaceId, done }) {
  try {
    const [sizes, templates, projects] = await Promise.all([
      sizeOptions(),
      once("/compute/templates"),
      projectsOf(workspaceId),
    ]);
    const listId = "known-projects";
    const options = projects.map((p) => h("option", { value: p.slug }, p.name));
    formDialog(
      "New computer",
      newFields({ workspaceId, sizes, templates: templates.data, listId }),
      {
        label: "Create computer",
        after: h("datalist", { id: listId }, options),
        submit: async (values) => {
          const set = filled(values);
          if (workspaceId) set.workspace_id = workspaceId;
          const made = await api.post("/computers", set);
          toast(`Computer ${made.name} is being created.`);
          done(made);
        },
      },
    );
  } catch (e) {
    toastError(e);
  }
}

/**
 * @param {string | undefined} workspaceId
 * @returns {Promise<any[]>}
 */
async function projectsOf(workspaceId) {
  if (!workspaceId) return [];
  return (await api.get(`/workspaces/${workspaceId}/projects?page=1&page_size=100`)).data;
}

/**
 * @param {object} from
 * @param {string | undefined} from.workspaceId
 * @param {[string, string][]} from.sizes
 * @param {any[]} from.templates
 * @param {string} from.listId of the projects that are there
 * @returns {FieldSpec[]}
 */
function newFields({ workspaceId, sizes, templates, listId }) {
  const where = workspaceField({ name: "workspace_id", label: "Workspace", required: true });
  return [
    { name: "name", label: "Name", required: true },
    ...(workspaceId ? [] : [where]),
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
      value: templates[0]?.slug,
      options: templates.map((t) => [t.slug, t.name]),
    },
    {
      name: "size",
      label: "Size",
      kind: "select",
      value: "",
      options: [["", "The workspace's default"], ...sizes],
    },
    {
      name: "auto_stop_seconds",
      label: "Idle auto-stop",
      kind: "duration",
      help: "Such as 30 min, 2 h or 1 d, or never; the workspace's default if left out.",
    },
  ];
}

/** @returns {Promise<[slug: string, text: string][]>} */
async function sizeOptions() {
  const sizes = (await once("/compute/sizes")).data;
  return sizes.map((/** @type {any} */ size) => {
    const memory = `${number(size.memory_mb / 1024)} GiB`;
    const rate = `${number(size.credits_per_hour)} credits/h`;
    return [size.slug, `${size.slug} · ${size.vcpus} vCPU · ${memory} · ${rate}`];
  });
}

/**
 * A workspace to choose, by searching.
 * @param {FieldSpec} spec
 * @returns {FieldSpec}
 */
export const workspaceField = (spec) => ({
  kind: "pick",
  load: findWorkspaces,
  placeholder: "Search by name, slug or ID",
  ...spec,
});

// ---------------------------------------------------------------------------------------------
// What can be done with one

/**
 * What can be done with a computer in its present status; `done` gets it as it is then.
 * @param {any} c
 * @param {(after: any) => void} done
 * @returns {Action[]}
 */
export function actionsOf(c, done) {
  /** @type {Action[]} */
  const switches = [];
  if (c.driver !== "external") {
    if (["stopped", "error"].includes(c.status)) {
      switches.push(["Start", () => act(c, "start", done)]);
    }
    if (c.status === "running") {
      switches.push(["Stop", () => act(c, "stop", done)]);
      switches.push(["Restart", () => act(c, "restart", done)]);
    }
  }
  return [
    ...switches,
    ["Edit…", () => edit(c, done)],
    ["Resize…", () => resize(c, done)],
    ["Move…", () => move(c, done)],
    ["Clone…", () => clone(c, done)],
    ["Delete…", () => remove(c, done), "danger"],
  ];
}

/**
 * @param {any} c
 * @param {"start" | "stop" | "restart"} verb
 * @param {(after: any) => void} done
 */
async function act(c, verb, done) {
  try {
    const reply = await api.post(`/computers/${c.id}/${verb}`);
    say(`${c.name}: ${reply.message ?? reply.status}`);
    done(reply);
  } catch (e) {
    toastError(e);
  }
}

/**
 * @param {any} c
 * @param {(after: any) => void} done
 */
const edit = ({ id, name }, done) =>
  editDialog(
    `Edit ${name}`,
    `/computers/${id}`,
    (c) => [
      { name: "name", label: "Name", required: true, value: c.name },
      {
        name: "auto_stop_seconds",
        label: "Idle auto-stop",
        kind: "duration",
        value: c.auto_stop_seconds,
        help: "Such as 30 min, 2 h or 1 d; never for none.",
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
    done,
  );

/**
 * @param {any} c
 * @param {(after: any) => void} done
 */
async function resize(c, done) {
  try {
    const size = {
      name: "size",
      label: "Size",
      kind: "select",
      value: c.size,
      options: await sizeOptions(),
      required: true,
      help: "From this second on the new size is billed.",
    };
    formDialog(`Resize ${c.name}`, [size], {
      label: "Resize",
      submit: async (values) => {
        done((await api.post(`/computers/${c.id}/resize`, values)).data);
        toast(`${c.name} is ${values.size} now.`);
      },
    });
  } catch (e) {
    toastError(e);
  }
}

/**
 * @param {any} c
 * @param {(after: any) => void} done
 */
function move(c, done) {
  const where = workspaceField({
    name: "workspace_id",
    label: "To workspace",
    required: true,
    help: "Its limits apply; usage is split at this second.",
  });
  const project = {
    name: "project_slug",
    label: "Project slug there",
    help: "Its default project if left out.",
  };
  formDialog(`Move ${c.name}`, [where, project], {
    label: "Move",
    submit: async (values) => {
      done((await api.post(`/computers/${c.id}/move`, filled(values))).data);
      toast(`${c.name} was moved.`);
    },
  });
}

/**
 * @param {any} c
 * @param {(made: any) => void} done
 */
async function clone(c, done) {
  try {
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
  } catch (e) {
    toastError(e);
  }
}

/**
 * @param {any} c
 * @param {(after: any) => void} done
 */
function remove(c, done) {
  const text = h(
    "p",
    null,
    "This deletes the computer ",
    h("code", null, c.slug),
    ". Its usage stays in every report.",
  );
  confirmDialog(`Delete ${c.name}?`, text, {
    label: "Delete computer",
    word: c.slug,
    warn: c.status === "running" && "It is running and stops at once.",
    submit: async () => {
      await api.delete(`/computers/${c.id}`);
      deletedToast({ ...c, type: "computer" });
      done({ ...c, status: "destroyed" });
    },
  });
}
