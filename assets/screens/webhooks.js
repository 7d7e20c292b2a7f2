// Webhooks: where the organization is told of what happens. The secret is shown once.

import { h, fill, debounce } from "../lib/dom.js";
import { api } from "../lib/api.js";
import {
  button,
  empty,
  head,
  menu,
  resource,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, count } from "../lib/format.js";
import { confirmDialog, formDialog, secretDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";

const GROUPS = [
  ["*", "Everything"],
  ["workspace.*", "Workspaces"],
  ["project.*", "Projects"],
  ["computer.*", "Computers"],
  ["api_key.*", "API keys"],
  ["usage.*", "Corrections of usage"],
  ["organization.*", "The organization"],
  ["webhook.*", "Webhooks"],
];

/** The fields of a webhook; groups of events are ticked, single ones are written down. */
const fields = (hook = {}) => {
  const grouped = GROUPS.map(([glob]) => glob),
    events = hook.events ?? [];
  return [
    {
      name: "url",
      label: "URL",
      required: true,
      value: hook.url,
      placeholder: "https://example.com/hooks",
      help: "Events are sent there as signed POST requests. Redirects are not followed.",
    },
    {
      name: "name",
      label: "Name",
      value: hook.name,
      help: hook.id ? null : "The host of the URL, if left out.",
    },
    {
      name: "groups",
      also: ["events"],
      label: "Events",
      kind: "checks",
      options: GROUPS,
      value: events.filter((e) => grouped.includes(e)),
    },
    {
      name: "single",
      label: "Single events",
      value: events.filter((e) => !grouped.includes(e)).join(", "),
      placeholder: "computer.running, computer.stopped",
      help: [
        "Separated by commas; the ",
        h("a", { href: "/docs", target: "_blank" }, "API reference"),
        " tells how to list them all.",
      ],
    },
    {
      name: "retry_count",
      label: "Retries",
      kind: "number",
      min: 0,
      max: 10,
      value: hook.retry_count ?? 3,
      help: "After a failure: 30 s, 2 min, 8 min, 32 min and so on.",
    },
  ];
};

const body = ({ groups, single, ...rest }) => {
  const set = Object.fromEntries(Object.entries(rest).filter(([, v]) => v !== null));
  return {
    ...set,
    events: [
      ...groups,
      ...(single ?? "")
        .split(",")
        .map((s) => s.trim())
        .filter(Boolean),
    ],
  };
};

const showSecret = (made) =>
  secretDialog(
    `Secret of ${made.name}`,
    made.secret,
    "The receiver checks the signature of what it gets with this secret. It is shown once; rotate it if it gets lost.",
    "Copy the secret",
  );

export const create = (done) =>
  formDialog("New webhook", fields(), {
    label: "Create webhook",
    submit: async (values, box) => {
      const made = (await api.post("/webhooks", body(values))).data;
      box.close();
      await showSecret(made);
      done(made);
      return true;
    },
  });

/** What can be done with a webhook; `done` after each of them, `gone` after its end. */
export function actionsOf(hook, done, gone = done) {
  const attempt = async (f) => {
    try {
      await f();
    } catch (e) {
      toastError(e);
    }
  };
  const test = () =>
    attempt(async () => {
      const sent = (await api.post(`/webhooks/${hook.id}/test`)).data;
      if (sent.success)
        toast(`${hook.name} answered ${sent.status_code} in ${sent.duration_ms} ms.`);
      else toast(`${hook.name}: ${sent.error ?? "no answer yet"}`, "bad");
      done();
    });
  const toggle = () =>
    attempt(async () => {
      await api.patch(`/webhooks/${hook.id}`, { enabled: !hook.enabled });
      done();
    });
  const disable = () =>
    confirmDialog(
      `Disable ${hook.name}?`,
      h(
        "p",
        null,
        `Nothing is sent until it is enabled again, and what happens meanwhile is not told later.${hook.pending_count ? ` ${count(hook.pending_count, "delivery", "deliveries")} that wait are given up.` : ""}`,
      ),
      { label: "Disable webhook", submit: toggle },
    );
  const edit = () =>
    formDialog(`Edit ${hook.name}`, fields(hook), {
      label: "Save",
      submit: async (values) => {
        await api.patch(`/webhooks/${hook.id}`, body(values));
        toast("Saved.");
        done();
      },
    });
  const rotate = () =>
    confirmDialog(
      `Rotate the secret of ${hook.name}?`,
      h(
        "p",
        null,
        "A new secret takes the place of ",
        h("code", null, hook.secret_preview),
        ". From this moment on everything is signed with the new one, retries too.",
      ),
      {
        label: "Rotate secret",
        submit: async () => {
          const made = (await api.post(`/webhooks/${hook.id}/rotate`)).data;
          setTimeout(() => showSecret(made).then(done), 0);
        },
      },
    );
  const remove = () =>
    confirmDialog(
      `Delete ${hook.name}?`,
      h(
        "p",
        null,
        "Nothing is sent to ",
        h("code", null, hook.url),
        " any more, and the log of its deliveries goes. This cannot be undone.",
      ),
      {
        label: "Delete webhook",
        submit: async () => {
          await api.delete(`/webhooks/${hook.id}`);
          toast(`Webhook ${hook.name} was deleted.`);
          gone();
        },
      },
    );
  return {
    test,
    edit,
    rest: [
      ["Rotate the secret…", rotate],
      hook.enabled ? ["Disable…", disable] : ["Enable", toggle],
      ["Delete…", remove, "danger"],
    ],
  };
}

export const eventTags = (hook) =>
  h(
    "span",
    { class: "tags" },
    hook.events.map((e) => h("span", { class: "tag" }, e)),
  );

export async function show({ main, signal, title, go, covers }) {
  title("Webhooks");
  const place = h("div"),
    mayWrite = covers("webhooks:write");
  const make = () => create((made) => go(`/webhooks/${made.id}`));
  fill(
    main,
    head("Webhooks", {
      sub: "Each event is sent to every webhook that asks for it, signed, and again until it is taken.",
      actions: mayWrite && [
        button("New webhook", make, {
          kind: "primary",
          ico: "plus",
          "data-new": true,
          title: "New webhook (n)",
        }),
      ],
    }),
    h("div", { class: "panel" }, place),
  );
  const reload = resource(
    place,
    (o) => api.get("/webhooks", o),
    (list) => {
      if (!list.total)
        return empty(
          "There is no webhook yet",
          "Tell your own service when a computer runs, a workspace is made or a key is revoked.",
          mayWrite && button("New webhook", make, { kind: "primary" }),
        );
      return table(
        "Webhooks",
        [
          {
            label: "Name",
            cell: (w) =>
              h(
                "div",
                { class: "stack" },
                h("a", { class: "row-link", href: `#/webhooks/${w.id}` }, w.name),
                h("code", { class: "hint" }, w.url),
              ),
          },
          { label: "Status", cell: (w) => status(w.status) },
          { label: "Events", cell: eventTags },
          { label: "Waiting", num: true, hide: "wide", cell: (w) => w.pending_count },
          {
            label: "Last success",
            cell: (w) => (w.last_success_at ? ago(w.last_success_at) : "never"),
          },
          {
            label: "Actions",
            end: true,
            cell: (w) => {
              const { test, edit, rest } = actionsOf(w, () => reload());
              return mayWrite
                ? menu(`Actions for ${w.name}`, [["Send a test", test], ["Edit…", edit], ...rest])
                : "–";
            },
          },
        ],
        list.data,
      );
    },
    { signal, lines: 4 },
  );
  listen(
    /./,
    debounce(() => !signal.aborted && reload(), 500),
    signal,
  );
}
