// @ts-check
// The audit log: who did what to what, newest first.

/** @import { Context } from "../app.js" */
/** @import { Child } from "../lib/dom.js" */
import { h, fill, debounce, icon } from "../lib/dom.js";
import { api, once, query as queryString } from "../lib/api.js";
import { button, empty, facts, head, resource, shortIdOf, table } from "../lib/ui.js";
import { ago, time } from "../lib/format.js";
import { cell, nameOf } from "../lib/cells.js";
import { dialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";

/** @type {Record<string, string>} */
const WORDS = {
  settings_updated: "settings changed",
  running: "started",
  stop_soon: "stops soon",
  threshold: "threshold reached",
  exec: "command run",
  files: "files changed",
  desktop: "desktop used",
};
/** @type {Record<string, string>} */
const NOUNS = { api_key: "API key", credits: "credits" };
/** @type {Record<string, string>} */
const ICONS = {
  workspace: "workspaces",
  computer: "computers",
  project: "projects",
  api_key: "keys",
  webhook: "webhooks",
};
/** @type {Record<string, string>} */
const PLACES = {
  workspace: "workspaces",
  computer: "computers",
  project: "projects",
  webhook: "webhooks",
};
const TYPES = [
  ["", "Everything"],
  ["workspace.*", "Workspaces"],
  ["computer.*", "Computers"],
  ["project.*", "Projects"],
  ["api_key.*", "API keys"],
  ["webhook.*", "Webhooks"],
  ["organization.*", "Organization"],
];

// ---------------------------------------------------------------------------------------------
// What a row says. A row is an entry of the audit log.

/** @param {string} type */
function verbOf(type) {
  const verb = type.split(".")[1] ?? "";
  return WORDS[verb] ?? verb.replaceAll("_", " ");
}

/**
 * "computer stopped", "settings changed".
 * @param {string} type
 */
function phrase(type) {
  const verb = verbOf(type);
  const [kind] = type.split(".");
  const noun = NOUNS[kind] ?? kind.replaceAll("_", " ");
  return verb.includes(" ") ? verb : `${noun} ${verb}`;
}

/**
 * "Computer stopped", "Settings changed".
 * @param {string} type
 */
export function what(type) {
  const words = phrase(type);
  return words[0].toUpperCase() + words.slice(1);
}

/**
 * People know their keys by name; who may not list keys sees how they begin.
 * @param {string} id
 * @param {Child} first
 * @param {string} [title]
 */
const keyName = (id, first, title) =>
  cell(
    `key/${id}`,
    () => once(`/api-keys/${id}`),
    (key) => h("span", { title }, key.data.name),
    { first, kind: "actor" },
  );

/**
 * Of what an entry is: that what has no screen of its own is of a workspace, a project or the organization.
 * @param {any} row
 * @returns {{ type: string, id: string }}
 */
function owner(row) {
  const { resource_type: type, resource_id: id, workspace_id: workspace } = row;
  if (PLACES[type] || ["api_key", "backup"].includes(type)) return { type, id };
  if (row.metadata.after?.scope === "project") return { type: "project", id };
  return workspace ? { type: "workspace", id: workspace } : { type: "organization", id };
}

/** @param {string} id */
const organizationName = (id) =>
  cell(
    `organization/${id}`,
    () => once("/platform/tenants"),
    (list) => list.data.find((/** @type {any} */ one) => one.id === id)?.name ?? "The organization",
    { first: "The organization", kind: "name" },
  );

/** @param {any} row */
function target(row) {
  const { type, id } = owner(row);
  const { before, after } = row.metadata;
  const named = after?.name ?? before?.name ?? after?.domain;
  const place = PLACES[type];
  const gone = /\.(deleted|revoked)$/.test(row.type);
  if (type === "api_key" && !named) return keyName(id, shortIdOf(id));
  if (type === "organization") return named ?? organizationName(row.tenant_id);
  if (!place || (gone && type === row.resource_type))
    return named ? h("span", { class: "name" }, named) : shortIdOf(id);
  return h(
    "a",
    { class: "row-link", href: `#/${place}/${id}` },
    type === row.resource_type && named ? named : nameOf(type, id),
  );
}

/**
 * A person, or an operator of another organization.
 * @param {any} row
 */
function named(row) {
  const { name, email, subject, operator_of: home } = row.actor;
  const title = [email, subject].filter(Boolean).join(", ") || null;
  return h(
    "span",
    { class: "actor", title },
    name ?? h("code", null, `${row.actor_label}…`),
    home && h("span", { class: "tag" }, `operator of ${home}`),
  );
}

/** @param {any} row */
export function actor(row) {
  if (row.actor_type === "system") return h("span", { class: "actor" }, "the service");
  if (row.actor_type === "operator") return h("span", { class: "actor" }, "the command line");
  if (row.actor) return named(row);
  const label = `${row.actor_label ?? "key"}…`;
  return keyName(row.actor_id, h("code", null, label), label);
}

/**
 * What changed: the fields that differ.
 * @param {any} row
 * @returns {[name: string, before: unknown, after: unknown][]}
 */
function changes(row) {
  const { before, after } = row.metadata;
  if (!before || !after) return [];
  return Object.keys({ ...before, ...after })
    .filter((k) => k !== "updated_at" && JSON.stringify(before[k]) !== JSON.stringify(after[k]))
    .map((k) => [k, before[k], after[k]]);
}

/** @param {unknown} v */
function shown(v) {
  if (v === null || v === undefined) return "–";
  return typeof v === "object" ? JSON.stringify(v) : String(v);
}

// ---------------------------------------------------------------------------------------------
// One row in full

/** @param {any} row */
function details(row) {
  dialog(
    what(row.type),
    facts([
      ["When", time(row.ts, { full: true })],
      ["Who", actor(row)],
      ["E-mail", row.actor?.email],
      ["Subject", row.actor?.subject && h("code", null, row.actor.subject)],
      ["From", row.ip_address],
      ["Request", row.request_id && h("code", null, row.request_id)],
      ["Resource", h("code", null, row.resource_id)],
      ["Event", row.id],
    ]),
    fieldsTable(row),
  );
}

/**
 * The fields that changed; where none did, those of what was made or went.
 * @param {any} row
 * @returns {Child}
 */
function fieldsTable(row) {
  const list = changes(row);
  if (list.length) {
    return table(
      "What changed",
      [
        { label: "Field", cell: ([name]) => h("code", null, name) },
        { label: "Before", cell: ([, before]) => shown(before) },
        { label: "After", cell: ([, , after]) => shown(after) },
      ],
      list,
    );
  }
  const one = row.metadata.after ?? row.metadata.before;
  if (!one) return null;
  return table(
    "The resource",
    [
      { label: "Field", cell: ([name]) => h("code", null, name) },
      { label: "Value", cell: ([, value]) => shown(value) },
    ],
    Object.entries(one),
  );
}

// ---------------------------------------------------------------------------------------------
// Lists

/**
 * The latest, in short: what happened to what, by whom, how long ago.
 * @param {any[]} rows
 */
export const activityFeed = (rows) => h("ol", { class: "feed" }, rows.map(feedEntry));

/** @param {any} row */
function feedEntry(row) {
  const more = h(
    "button",
    {
      type: "button",
      class: "link quiet",
      dataset: { key: `f${row.id}` },
      onclick: () => details(row),
    },
    // Of the statement of a workspace it is the statement that was created.
    owner(row).type === row.resource_type ? verbOf(row.type) : phrase(row.type),
  );
  return h(
    "li",
    null,
    icon(ICONS[row.resource_type] ?? "activity"),
    h(
      "div",
      null,
      h("p", null, target(row), " ", more),
      h("p", { class: "hint" }, ago(row.ts), " by ", actor(row)),
    ),
  );
}

/** @param {any} row */
function changedCell(row) {
  const few = changes(row).slice(0, 4);
  const texts = few.map(([k, b, a]) => `${k}: ${shown(b)} → ${shown(a)}`.slice(0, 60));
  return h("p", { class: "hint" }, texts.join(", ") || "–");
}

/** @param {any} row */
const whatCell = (row) => [
  h(
    "button",
    {
      type: "button",
      class: "link",
      dataset: { key: `a${row.id}` },
      onclick: () => details(row),
    },
    what(row.type),
  ),
  " ",
];

/** @param {any[]} rows */
const activityTable = (rows) =>
  table(
    "Activity",
    [
      { label: "What", cell: whatCell },
      { label: "Resource", cell: target },
      { label: "Who", cell: actor },
      { label: "Changed", hide: "wide", cell: changedCell },
      { label: "When", num: true, cell: (row) => time(row.ts) },
    ],
    rows,
  );

/**
 * A list that grows downwards, for the whole organization or one workspace.
 * @param {HTMLElement} place
 * @param {{ filters: Record<string, string>, signal: AbortSignal }} context
 */
export function activityList(place, { filters, signal }) {
  /** @type {any[][]} */
  let pages = [];
  /** @type {string | null} */
  let next = null;
  /**
   * @param {string} [cursor]
   * @param {{ signal?: AbortSignal }} [options]
   */
  const ask = (cursor, options) =>
    api.get(`/audit-log${queryString({ limit: 50, cursor, ...filters })}`, options);
  /** @param {{ signal?: AbortSignal }} options */
  async function load(options) {
    const page = await ask(undefined, options);
    if (pages.length <= 1) {
      pages = [page.data];
      next = page.next_cursor;
      return;
    }
    // Newer rows come on top of what has been opened below.
    const known = new Set(pages.flat().map((row) => row.id));
    const newer = page.data.filter((/** @type {any} */ row) => !known.has(row.id));
    pages[0] = [...newer, ...pages[0]];
  }
  async function older() {
    const page = await ask(next ?? undefined, { signal });
    pages.push(page.data);
    next = page.next_cursor;
    reload();
  }
  const reload = resource(
    place,
    load,
    () => {
      const rows = pages.flat();
      if (!rows.length) {
        return empty(
          "Nothing has happened yet",
          "Every change is written down here, in the transaction that makes it.",
        );
      }
      const look = { dataset: { page: "next", key: "older" } };
      const more = next && h("div", { class: "pager" }, button("Older", older, look));
      return [activityTable(rows), more];
    },
    { signal, lines: 8 },
  );
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 400);
  listen(/./, later, signal);
  return reload;
}

/** Whoever may have done something can be chosen, also the hundred-and-first. */
async function everyKey() {
  const keys = [];
  for (let page = 1; ; page++) {
    const { data, total } = await once(`/api-keys?page=${page}&page_size=100`);
    keys.push(...data);
    if (!data.length || keys.length >= total) return keys;
  }
}

/** @param {Context} context */
export async function show({ main, signal, title, query, setQuery, reroute, covers }) {
  title("Activity");
  const type = query.get("type") ?? "";
  const actor = query.get("actor_id") ?? "";
  const keys = covers("keys:admin") ? await everyKey() : [];
  const who = h(
    "select",
    { "aria-label": "Who", dataset: { key: "who" } },
    h("option", { value: "" }, "Everybody"),
    keys.map((/** @type {any} */ k) =>
      h("option", { value: k.id, selected: k.id === actor }, k.name),
    ),
  );
  who.addEventListener("change", () => {
    setQuery({ actor_id: who.value });
    reroute();
  });
  const place = h("div");
  const pick = h(
    "select",
    { "aria-label": "Show", dataset: { key: "type" } },
    TYPES.map(([value, text]) => h("option", { value, selected: value === type }, text)),
  );
  pick.addEventListener("change", () => {
    setQuery({ type: pick.value });
    reroute();
  });
  fill(
    main,
    head("Activity", {
      sub: "Who changed what. The log is only ever added to.",
      actions: [keys.length > 0 && who, pick],
    }),
    h("div", { class: "panel" }, place),
  );
  activityList(place, { filters: { type, actor_id: actor }, signal });
}
