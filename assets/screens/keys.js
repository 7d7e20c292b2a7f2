// @ts-check
// API keys: shown once, then known by their ends.

/** @import { Context } from "../app.js" */
/** @import { FieldSpec } from "../lib/forms.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api, session } from "../lib/api.js";
import {
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
  "usage:read",
  "audit:read",
  "webhooks:read",
  "webhooks:write",
  "keys:admin",
  "tenant:admin",
];

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
      { label: "Scopes", cell: scopesCell },
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
          menu(`Actions for ${k.name}`, [
            ["Rename…", () => rename(k, done)],
            ["Rotate…", () => rotate(k, mine, done)],
            [k.status === "active" ? "Disable" : "Enable", () => toggle(k, done)],
            ["Revoke…", () => revoke(k, mine, done), "danger"],
          ]),
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
      k.operator && tag("operator"),
    ),
    h("code", { class: "hint" }, endsOf(k)),
  );

/** @param {any} k */
const scopesCell = (k) =>
  k.scopes.length ? h("span", { class: "tags" }, k.scopes.map(tag)) : "everything";

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
    name: "scopes",
    label: "Scopes",
    kind: "checks",
    options: SCOPES.map((s) => [s, s]),
    help: "None ticked: everything that your own key may do.",
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
const create = (done) =>
  formDialog("New API key", fields(), {
    label: "Create key",
    submit: async (values, box) => {
      const made = (await api.post("/api-keys", filled(values))).data;
      box.close();
      await secretDialog(`Key ${made.name}`, made.key);
      done();
      return true;
    },
  });

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
