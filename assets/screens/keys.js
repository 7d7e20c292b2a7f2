// @ts-check
// API keys: shown once, then known by their ends.

/** @import { Context } from "../app.js" */
/** @import { FieldSpec } from "../lib/forms.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api, session } from "../lib/api.js";
import {
  button,
  empty,
  head,
  menu,
  newButton,
  pager,
  resource,
  status,
  table,
  tag,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, now, time } from "../lib/format.js";
import { confirmDialog, editDialog, filled, formDialog, secretDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { nameOf } from "../lib/cells.js";
import { workspaceField } from "./computers.js";

const SIZE = 25;
const SCOPES = [
  "workspaces:read",
  "workspaces:write",
  "projects:read",
  "projects:write",
  "computers:read",
  "computers:write",
  "computers:exec",
  "computers:files",
  "computers:desktop",
  "usage:read",
  "audit:read",
  "webhooks:read",
  "webhooks:write",
  "keys:admin",
  "tenant:admin",
];
const READ = ["workspaces", "projects", "computers", "usage", "audit", "webhooks"];
/**
 * What people call it: a role is a set of scopes.
 * @type {Record<string, { name: string, help: string, scopes: string[] }>}
 */
const ROLES = {
  read: {
    name: "Read",
    help: "Looks at everything but API keys, changes nothing.",
    scopes: READ.map((area) => `${area}:read`),
  },
  operate: {
    name: "Operate",
    help: "Makes and runs workspaces, projects and computers: what an application needs.",
    scopes: ["workspaces:write", "projects:write", "computers:write", "usage:read"],
  },
  bill: {
    name: "Bill",
    help: "Reads usage, statements and the names of what they belong to.",
    scopes: ["workspaces:read", "projects:read", "usage:read"],
  },
  admin: { name: "Admin", help: "Everything that your own key may do.", scopes: ["*"] },
};

/** @param {Context} context */
export async function show({ main, signal, title, query, setQuery, who }) {
  title("API keys");
  let page = Number(query.get("page")) || 1;
  const place = h("div");
  fill(
    main,
    head("API keys", {
      sub: "Only a hash of each key is kept: a key is shown once, when it is made.",
      actions: [newButton("New key", () => create(() => reload()))],
    }),
    h("div", { class: "panel" }, place),
  );
  /** @param {number} to */
  function turn(to) {
    page = to;
    setQuery({ page: to > 1 ? to : null });
    reload();
  }
  const reload = resource(
    place,
    (o) => api.get(`/api-keys?page=${page}&page_size=${SIZE}`, o),
    (list) => {
      if (!list.total) return empty("There is no key");
      const rows = keysTable(list.data, who.key.id, () => reload());
      return [rows, pager(page, SIZE, list.total, turn)];
    },
    { signal, lines: 6 },
  );
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 300);
  listen(/^api_key\./, later, signal);
}

/**
 * @param {any[]} rows
 * @param {string} mine the id of the key that is signed in
 * @param {() => void} done
 */
const keysTable = (rows, mine, done) =>
  table(
    "API keys",
    [
      { label: "Name", cell: (k) => nameCell(k, mine) },
      {
        label: "Status",
        cell: (k) =>
          status(k.expires_at && Date.parse(k.expires_at) < now() ? "expired" : k.status),
      },
      { label: "Role", cell: scopesCell },
      { label: "Access to", hide: "wide", cell: accessCell },
      { label: "Last used", cell: (k) => (k.last_used_at ? ago(k.last_used_at) : "never") },
      {
        label: "Expires",
        hide: "wide",
        cell: (k) => (k.expires_at ? time(k.expires_at) : "never"),
      },
      {
        label: "Actions",
        end: true,
        cell: (k) =>
          h(
            "span",
            { class: "row-actions" },
            !k.person &&
              button("Rotate", () => rotate(k, mine, done), {
                kind: "small",
                "aria-label": `Rotate ${k.name}`,
                dataset: { key: `rotate-${k.id}` },
              }),
            menu(`Actions for ${k.name}`, [
              !k.person && ["Rename…", () => rename(k, done)],
              !k.person && ["Rotate…", () => rotate(k, mine, done)],
              [k.status === "active" ? "Disable" : "Enable", () => toggle(k, done)],
              ["Revoke…", () => revoke(k, mine, done), "danger"],
            ]),
          ),
      },
    ],
    rows,
  );

/** @param {any} k */
const endsOf = (k) => `${k.key_prefix}…${k.last4}`;

/**
 * @param {any} k
 * @param {string} mine
 */
const nameCell = (k, mine) =>
  h(
    "div",
    { class: "stack" },
    h(
      "span",
      null,
      h("b", null, k.name),
      k.id === mine && tag("you"),
      k.person && tag("signs in by name"),
      k.operator && tag("operator"),
    ),
    k.person
      ? h("span", { class: "hint" }, k.person.email ?? k.person.subject)
      : h("code", { class: "hint" }, endsOf(k)),
  );

/** @param {any} k */
function scopesCell(k) {
  if (!k.scopes.length || k.scopes.includes("*")) return "Admin";
  const sorted = (/** @type {string[]} */ scopes) => [...scopes].sort().join(" ");
  const role = Object.values(ROLES).find(({ scopes }) => sorted(scopes) === sorted(k.scopes));
  return role
    ? h("span", { title: k.scopes.join(", ") }, role.name)
    : h("span", { class: "tags" }, k.scopes.map(tag));
}

/** @param {any} k */
function accessCell(k) {
  if (k.workspace_id) {
    return h("a", { href: `#/workspaces/${k.workspace_id}` }, nameOf("workspace", k.workspace_id));
  }
  if (k.external_user_id) return [h("span", null, "user "), h("code", null, k.external_user_id)];
  return "the organization";
}

/** @returns {FieldSpec[]} */
const fields = () => [
  { name: "name", label: "Name", required: true, help: "What it is for." },
  {
    name: "role",
    label: "Role",
    kind: "select",
    value: "custom",
    options: [
      ["custom", "Custom: the scopes ticked below"],
      ...Object.entries(ROLES).map(
        ([id, { name, help }]) => /** @type {[string, string]} */ ([id, `${name}: ${help}`]),
      ),
    ],
  },
  {
    name: "scopes",
    label: "Scopes",
    kind: "checks",
    options: SCOPES.map((scope) => [scope, scope]),
  },
  workspaceField({
    name: "workspace_id",
    label: "Only this workspace",
    help: "The whole organization, if left out.",
  }),
  {
    name: "expires_at",
    label: "Expires",
    kind: "datetime-local",
    help: "Never, if left out.",
  },
];

/** @param {() => void} done */
function create(done) {
  const made = formDialog("New API key", fields(), {
    label: "Create key",
    submit: async ({ role, scopes, ...values }, box) => {
      const chosen = role === "custom" ? scopes : ROLES[role].scopes;
      // To the API nothing means everything; a person who ticks nothing means nothing.
      if (!chosen.length) {
        const none = "has none ticked; for everything choose the role Admin";
        throw { message: "", fields: { scopes: [none] }, status: 0 };
      }
      const key = (await api.post("/api-keys", { ...filled(values), scopes: chosen })).data;
      box.close();
      await secretDialog(`Key ${key.name}`, key.key);
      done();
      return true;
    },
  });
  const role = /** @type {HTMLSelectElement} */ (made.get("role")?.input);
  const scopes = made.get("scopes");
  // A role ticks its scopes; ticking is a choice of one's own.
  role.addEventListener("change", () => {
    if (role.value !== "custom") scopes?.set(ROLES[role.value].scopes);
  });
  scopes?.element.addEventListener("input", () => (role.value = "custom"));
}

/**
 * @param {any} key
 * @param {() => void} done
 */
const rename = ({ id, name }, done) =>
  editDialog(
    `Rename ${name}`,
    `/api-keys/${id}`,
    (key) => [{ name: "name", label: "Name", required: true, value: key.name }],
    done,
  );

/**
 * @param {any} key
 * @param {string} mine
 * @param {() => void} done
 */
const rotate = (key, mine, done) =>
  confirmDialog(
    `Rotate ${key.name}?`,
    h(
      "p",
      null,
      "A new secret takes the place of ",
      h("code", null, endsOf(key)),
      "; the old one stops working at once, and so do sessions that were signed in with it.",
    ),
    {
      label: "Rotate key",
      submit: async () => {
        const made = (await api.post(`/api-keys/${key.id}/rotate`)).data;
        // This page's own session went with the old secret; the new one is at hand.
        if (key.id === mine) await session.signIn(made.key).catch(() => {});
        setTimeout(() => secretDialog(`Key ${made.name}`, made.key).then(done), 0);
      },
    },
  );

/**
 * @param {any} key
 * @param {() => void} done
 */
async function toggle(key, done) {
  try {
    const status = key.status === "active" ? "disabled" : "active";
    await api.patch(`/api-keys/${key.id}`, { status });
    done();
  } catch (e) {
    toastError(e);
  }
}

/**
 * @param {any} key
 * @param {string} mine
 * @param {() => void} done
 */
const revoke = (key, mine, done) =>
  confirmDialog(
    `Revoke ${key.name}?`,
    h(
      "p",
      null,
      "Nothing that uses ",
      h("code", null, endsOf(key)),
      " works any more, from this moment on. This cannot be undone.",
    ),
    {
      label: "Revoke key",
      warn: key.id === mine && "You are signed in with this key: you will be signed out.",
      submit: async () => {
        await api.delete(`/api-keys/${key.id}`);
        toast(`Key ${key.name} was revoked.`);
        done();
      },
    },
  );
