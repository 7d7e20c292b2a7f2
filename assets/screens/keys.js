// API keys: shown once, then known by their ends.

import { h, fill, debounce } from "../lib/dom.js";
import { api, session } from "../lib/api.js";
import {
  button,
  empty,
  head,
  menu,
  pager,
  panel,
  resource,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, now, time } from "../lib/format.js";
import { confirmDialog, formDialog, secretDialog } from "../lib/forms.js";
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

export async function show({ main, signal, title, query, setQuery, who }) {
  title("API keys");
  let page = Number(query.get("page")) || 1;
  const place = h("div");
  const create = () =>
    formDialog(
      "New API key",
      [
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
      ],
      {
        label: "Create key",
        submit: async (values, box) => {
          const set = Object.fromEntries(Object.entries(values).filter(([, v]) => v !== null));
          const made = (await api.post("/api-keys", set)).data;
          box.close();
          await secretDialog(`Key ${made.name}`, made.key);
          reload();
          return true;
        },
      },
    );
  const rotate = (key) =>
    confirmDialog(
      `Rotate ${key.name}?`,
      h(
        "p",
        null,
        "A new secret takes the place of ",
        h("code", null, `${key.key_prefix}…${key.last4}`),
        "; the old one stops working at once, and so do sessions that were signed in with it.",
      ),
      {
        label: "Rotate key",
        submit: async () => {
          const made = (await api.post(`/api-keys/${key.id}/rotate`)).data;
          // This page's own session went with the old secret; the new one is at hand.
          if (key.id === who.key.id) await session.signIn(made.key).catch(() => {});
          setTimeout(() => secretDialog(`Key ${made.name}`, made.key).then(() => reload()), 0);
        },
      },
    );
  const revoke = (key) =>
    confirmDialog(
      `Revoke ${key.name}?`,
      h(
        "p",
        null,
        "Nothing that uses ",
        h("code", null, `${key.key_prefix}…${key.last4}`),
        " works any more, from this moment on. This cannot be undone.",
      ),
      {
        label: "Revoke key",
        warn: key.id === who.key.id && "You are signed in with this key: you will be signed out.",
        submit: async () => {
          await api.delete(`/api-keys/${key.id}`);
          toast(`Key ${key.name} was revoked.`);
          reload();
        },
      },
    );
  const toggle = async (key) => {
    try {
      await api.patch(`/api-keys/${key.id}`, {
        status: key.status === "active" ? "disabled" : "active",
      });
      reload();
    } catch (e) {
      toastError(e);
    }
  };
  const rename = (key) =>
    formDialog(
      `Rename ${key.name}`,
      [{ name: "name", label: "Name", required: true, value: key.name }],
      {
        label: "Save",
        submit: async (values) => {
          await api.patch(`/api-keys/${key.id}`, values);
          reload();
        },
      },
    );

  fill(
    main,
    head("API keys", {
      sub: "Only a hash of each key is kept: a key is shown once, when it is made.",
      actions: [
        button("New key", create, {
          kind: "primary",
          ico: "plus",
          "data-new": true,
          title: "New key (n)",
        }),
      ],
    }),
    h("div", { class: "panel" }, place),
  );
  const reload = resource(
    place,
    (o) => api.get(`/api-keys?page=${page}&page_size=${SIZE}`, o),
    (list) => {
      if (!list.total) return empty("There is no key");
      return [
        table(
          "API keys",
          [
            {
              label: "Name",
              cell: (k) =>
                h(
                  "div",
                  { class: "stack" },
                  h(
                    "span",
                    null,
                    h("b", null, k.name),
                    k.id === who.key.id && h("span", { class: "tag" }, "you"),
                    k.operator && h("span", { class: "tag" }, "operator"),
                  ),
                  h("code", { class: "hint" }, `${k.key_prefix}…${k.last4}`),
                ),
            },
            {
              label: "Status",
              cell: (k) =>
                status(k.expires_at && new Date(k.expires_at) < now() ? "expired" : k.status),
            },
            {
              label: "Scopes",
              cell: (k) =>
                k.scopes.length
                  ? h(
                      "span",
                      { class: "tags" },
                      k.scopes.map((s) => h("span", { class: "tag" }, s)),
                    )
                  : "everything",
            },
            {
              label: "Access to",
              hide: "wide",
              cell: (k) =>
                k.workspace_id
                  ? h(
                      "a",
                      { href: `#/workspaces/${k.workspace_id}` },
                      nameOf("workspace", k.workspace_id),
                    )
                  : k.external_user_id
                    ? [h("span", null, "user "), h("code", null, k.external_user_id)]
                    : "the organization",
            },
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
                  ["Rename…", () => rename(k)],
                  ["Rotate…", () => rotate(k)],
                  [k.status === "active" ? "Disable" : "Enable", () => toggle(k)],
                  ["Revoke…", () => revoke(k), "danger"],
                ]),
            },
          ],
          list.data,
        ),
        pager(page, SIZE, list.total, (to) => {
          page = to;
          setQuery({ page: to > 1 ? to : null });
          reload();
        }),
      ];
    },
    { signal, lines: 6 },
  );
  listen(
    /^api_key\./,
    debounce(() => !signal.aborted && reload(), 300),
    signal,
  );
}
