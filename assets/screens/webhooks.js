// @ts-check
// Webhooks: where the organization is told of what happens. The secret is shown once.

/** @import { Context } from "../app.js" */
/** @import { FieldSpec } from "../lib/forms.js" */
/** @import { Action } from "../lib/ui.js" */
import { h, fill, debounce } from "../lib/dom.js";
import { api, once } from "../lib/api.js";
import {
  button,
  empty,
  head,
  menu,
  newButton,
  resource,
  status,
  table,
  tag,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, count } from "../lib/format.js";
import { confirmDialog, editDialog, filled, formDialog, secretDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";

/** @type {[glob: string, name: string][]} */
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

/** @returns {Promise<{ type: string, description: string }[]>} */
const eventTypes = async () => (await once("/webhooks/events")).data;

/**
 * The fields of a webhook: groups of events, and below them each of its own.
 * @param {{ type: string, description: string }[]} types
 * @param {any} [hook]
 * @returns {FieldSpec[]}
 */
const fields = (types, hook = {}) => {
  /** @type {string[]} */
  const events = hook.events ?? [];
  const known = [...GROUPS.map(([glob]) => glob), ...types.map(({ type }) => type)];
  const rare = events.filter((one) => !known.includes(one));
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
      name: "events",
      label: "Events",
      kind: "checks",
      options: [...GROUPS, ...rare.map((one) => /** @type {[string, string]} */ ([one, one]))],
      more: [
        {
          title: `Single events (${types.length})`,
          options: types.map(({ type, description }) => [type, type, description]),
        },
      ],
      value: events,
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

/** @param {any} made */
const showSecret = (made) =>
  secretDialog(
    `Secret of ${made.name}`,
    made.secret,
    "The receiver checks the signature of what it gets with this secret. It is shown once; rotate it if it gets lost.",
    "Copy the secret",
  );

/** @param {(hook: any) => void} done */
export const create = async (done) =>
  formDialog("New webhook", fields(await eventTypes()), {
    label: "Create webhook",
    submit: async (values, box) => {
      const made = (await api.post("/webhooks", filled(values))).data;
      box.close();
      await showSecret(made);
      done(made);
      return true;
    },
  });

/**
 * What can be done with a webhook; `done` after each of them, `gone` after its end.
 * @param {any} hook
 * @param {() => void} done
 */
export function actionsOf(hook, done, gone = done) {
  /** @type {Action[]} */
  const rest = [
    ["Rotate the secret…", () => rotate(hook, done)],
    hook.enabled
      ? ["Disable…", () => disable(hook, done)]
      : ["Enable", () => toggle(hook, done).catch(toastError)],
    ["Delete…", () => remove(hook, gone), "danger"],
  ];
  return { test: () => test(hook, done), edit: () => edit(hook, done), rest };
}

/**
 * @param {any} hook
 * @param {() => void} done
 */
async function test(hook, done) {
  try {
    const sent = (await api.post(`/webhooks/${hook.id}/test`)).data;
    if (sent.success) {
      toast(`${hook.name} answered ${sent.status_code} in ${sent.duration_ms} ms.`);
    } else {
      toast(`${hook.name}: ${sent.error ?? "no answer yet"}`, "bad");
    }
    done();
  } catch (e) {
    toastError(e);
  }
}

/**
 * @param {any} hook
 * @param {() => void} done
 */
async function toggle(hook, done) {
  await api.patch(`/webhooks/${hook.id}`, { enabled: !hook.enabled });
  done();
}

/**
 * @param {any} hook
 * @param {() => void} done
 */
function disable(hook, done) {
  const waiting = hook.pending_count
    ? ` ${count(hook.pending_count, "delivery", "deliveries")} that wait are given up.`
    : "";
  const text = `Nothing is sent until it is enabled again, and what happens meanwhile is not told later.${waiting}`;
  confirmDialog(`Disable ${hook.name}?`, h("p", null, text), {
    label: "Disable webhook",
    submit: () => toggle(hook, done),
  });
}

/**
 * @param {any} hook
 * @param {() => void} done
 */
const edit = async ({ id, name }, done) => {
  const types = await eventTypes();
  editDialog(`Edit ${name}`, `/webhooks/${id}`, (hook) => fields(types, hook), done);
};

/**
 * @param {any} hook
 * @param {() => void} done
 */
const rotate = (hook, done) =>
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

/**
 * @param {any} hook
 * @param {() => void} gone
 */
const remove = (hook, gone) =>
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

/** @param {any} hook */
export const eventTags = (hook) => h("span", { class: "tags" }, hook.events.map(tag));

/** @param {Context} context */
export async function show({ main, signal, title, go, covers }) {
  title("Webhooks");
  const place = h("div"),
    mayWrite = covers("webhooks:write");
  const make = () => create((made) => go(`/webhooks/${made.id}`));
  fill(
    main,
    head("Webhooks", {
      sub: "Each event is sent to every webhook that asks for it, signed, and again until it is taken.",
      actions: mayWrite && [newButton("New webhook", make)],
    }),
    h("div", { class: "panel" }, place),
  );
  const reload = resource(
    place,
    (o) => api.get("/webhooks", o),
    (list) =>
      list.total
        ? webhooksTable(list.data, mayWrite, () => reload())
        : empty(
            "There is no webhook yet",
            "Tell your own service when a computer runs, a workspace is made or a key is revoked.",
            mayWrite && button("New webhook", make, { kind: "primary" }),
          ),
    { signal, lines: 4 },
  );
  const later = debounce(() => {
    if (!signal.aborted) reload();
  }, 500);
  listen(/./, later, signal);
}

/**
 * @param {any[]} rows
 * @param {boolean} mayWrite
 * @param {() => void} done
 */
function webhooksTable(rows, mayWrite, done) {
  /** @param {any} hook */
  const actions = (hook) => {
    const { test, edit, rest } = actionsOf(hook, done);
    return menu(`Actions for ${hook.name}`, [["Send a test", test], ["Edit…", edit], ...rest]);
  };
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
      { label: "Actions", end: true, cell: (w) => (mayWrite ? actions(w) : "–") },
    ],
    rows,
  );
}
