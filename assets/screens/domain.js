// @ts-check
// A preview domain: the records that it needs, what the DNS has, and how to get from one to the other.

import { h, fill, icon } from "../lib/dom.js";
import { api } from "../lib/api.js";
import {
  button,
  copyable,
  facts,
  none,
  panel,
  resource,
  say,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, time } from "../lib/format.js";
import { confirmDialog, form } from "../lib/forms.js";

/** @type {Record<string, string>} */
const SOURCES = {
  project: "the project",
  workspace: "the workspace",
  organization: "the organization",
  platform: "this server's base domain",
  default: "this server's base domain",
  server: "this server's base domain",
};
/** Asking again at once finds the same: resolvers remember. */
const COOL_DOWN_S = 5;

/**
 * @typedef {object} Owner
 * @property {string} path of the domain in the API
 * @property {string} name of whose it is
 * @property {AbortSignal} signal
 * @property {boolean} [second] something else on the screen is what it is for
 */

/**
 * @param {HTMLElement} place
 * @param {Owner} owner
 */
export function domainPanel(place, owner) {
  const { path, signal } = owner;
  const inner = h("div");
  fill(
    place,
    panel("Preview domain", { note: "Previews of computers are served below it" }, inner),
  );
  /** @type {() => Promise<void>} */
  const reload = resource(
    inner,
    (o) => api.get(path, o),
    (d) => [
      h("div", { class: "split" }, state(d), domainForm(d, owner, reload).element),
      d.last_error && h("p", { class: "warn-line" }, icon("warn"), unasked(d.last_error)),
      d.records.length > 0 && [
        h(
          "div",
          { class: "panel-head inner" },
          h("h3", null, "DNS records"),
          h(
            "div",
            { class: "actions" },
            checkButton(owner, inner, reload),
            button("Remove domain", () => remove(d, owner, reload)),
          ),
        ),
        records(d.records),
      ],
    ],
    { signal, lines: 6 },
  );
}

/** @param {string} error */
const unasked = (error) =>
  `The last check could not ask the DNS: ${error}. What was known before still holds.`;

/**
 * @param {any} d
 * @param {Owner} owner
 * @param {() => void} done
 */
const domainForm = (d, { path, second }, done) =>
  form(
    [
      {
        name: "preview_domain",
        also: ["domain"],
        label: "Domain",
        value: d.preview_domain,
        required: true,
        placeholder: "clinic.example",
        help: "A host name of at least two parts, without a scheme.",
      },
    ],
    {
      label: d.preview_domain ? "Change" : "Set domain",
      // Checking is next, once there is a domain.
      kind: second || d.preview_domain ? "" : "primary",
      edits: true,
      seen: d,
      submit: async (values, seen) => {
        if (values.preview_domain !== undefined) await api.put(path, values, { seen });
        toast("The domain was set. Add the records, then check.");
        done();
      },
    },
  );

/**
 * @param {Owner} owner
 * @param {HTMLElement} inner what `reload` draws anew, with another such button
 * @param {() => Promise<void>} reload
 */
function checkButton({ path, signal, second }, inner, reload) {
  const kind = second ? "" : "primary";
  const check = button("Check now", run, { kind, dataset: { key: "check" } });
  async function run() {
    check.disabled = true;
    check.setAttribute("aria-busy", "true");
    try {
      tell(await api.get(`${path}/verify`, { signal }));
      await reload();
      coolDown(inner.querySelector("button[data-key=check]"));
    } catch (e) {
      toastError(e);
      check.disabled = false;
      check.removeAttribute("aria-busy");
    }
  }
  return check;
}

/** @param {HTMLButtonElement | null} check */
function coolDown(check) {
  if (!check) return;
  check.disabled = true;
  setTimeout(() => {
    check.disabled = false;
  }, COOL_DOWN_S * 1000);
}

/**
 * @param {any} d
 * @param {Owner} owner
 * @param {() => void} done
 */
const remove = (d, { path, name }, done) =>
  confirmDialog(
    `Remove ${d.preview_domain}?`,
    h("p", null, `Previews of ${name} are then served below the domain of the next level above.`),
    {
      label: "Remove domain",
      submit: async () => {
        await api.delete(path);
        toast("The domain was removed.");
        done();
      },
    },
  );

/**
 * Says what a check has found.
 * @param {any} checked
 */
function tell(checked) {
  const found = checked.verified
    ? "Every record leads here."
    : "Some records do not lead here yet.";
  const problem = checked.last_error && `The DNS could not be asked: ${checked.last_error}`;
  say(found);
  toast(problem || found, checked.verified && !problem ? "ok" : "bad");
}

/** @param {any} d */
function state(d) {
  const checked = d.checked_at
    ? ago(d.checked_at)
    : h("span", { class: "hint" }, "not checked yet");
  return facts([
    ["In effect", h("strong", null, d.effective_domain)],
    ["Set on", SOURCES[d.source] ?? d.source],
    ["Status", status(d.status)],
    d.preview_domain && ["DNS check", [status(d.dns_status), " ", checked]],
    d.verified_at && ["Verified since", time(d.verified_at)],
    ...urlExamples(d.url_examples),
  ]);
}

/**
 * @param {Record<string, string>} examples
 * @returns {[string, HTMLElement][]}
 */
const urlExamples = (examples) =>
  Object.entries(examples).map(([name, url]) => [name.replaceAll("_", " "), h("code", null, url)]);

/** @param {any[]} list */
const records = (list) =>
  table(
    "DNS records",
    [
      { label: "Type", cell: (r) => h("b", null, r.type) },
      { label: "Name", cell: (r) => copyable(r.host, { label: "Copy the name" }) },
      { label: "Expected", cell: (r) => copyable(r.expected, { label: "Copy the target" }) },
      {
        label: "Found",
        cell: (r) => (r.found?.length ? h("code", null, [r.found].flat().join(", ")) : none()),
      },
      {
        label: "Status",
        cell: (r) => [status(r.status), r.hint && h("p", { class: "hint" }, r.hint)],
      },
    ],
    list,
    { rowKey: (r) => r.host },
  );
