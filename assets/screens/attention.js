// @ts-check
// What the overview says first: what needs somebody, and where nothing runs yet, how to begin.

/** @import { Child } from "../lib/dom.js" */
/** @import { Session } from "../lib/api.js" */
import { h, icon } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { button, copyable, panel, toast } from "../lib/ui.js";
import {
  amountOf,
  count,
  counted,
  duration,
  now,
  number,
  prefer,
  preference,
} from "../lib/format.js";
import { dayOf } from "./bill.js";
import { confirmDialog } from "../lib/forms.js";
import { nameOf } from "../lib/cells.js";

/** Items that are shown before somebody asks for the others. */
const SHOWN = 6;

/**
 * One thing to look at.
 * @typedef {object} Item
 * @property {string} id
 * @property {string} ico
 * @property {"bad" | "warn"} level
 * @property {Child} what
 * @property {Child} why
 * @property {Child} [action]
 */
/** @typedef {{ who: Session, covers: (scope: string) => boolean, done: () => void }} Reader */

/** @type {Record<string, (id: string) => string>} */
const PLACES = {
  organization: () => "#/billing",
  workspace: (id) => `#/workspaces/${id}`,
  project: (id) => `#/projects/${id}`,
};
/**
 * Where something of the organization is shown.
 * @param {string} scope
 * @param {string} id
 */
export const placeOf = (scope, id) => PLACES[scope]?.(id) ?? "#/";

/**
 * @param {string} href
 * @param {Child} text
 */
const open = (href, text) => h("a", { class: "row-link", href }, text);
/**
 * @param {string} href
 * @param {string} text
 */
const toButton = (href, text) => h("a", { class: "button small", href }, text);

/** @param {number} micros */
const inCredits = (micros) => counted(amountOf(micros));

/**
 * Everything that needs somebody, the worst first.
 * @param {any} o the overview
 * @param {any[]} budgets
 * @param {string[]} warnings of the installation
 * @param {Reader} reader
 * @returns {Item[]}
 */
export function itemsOf(o, budgets, warnings, reader) {
  const items = [
    ...warnings.map((text) => installationItem(text, reader)),
    ...budgets.filter((b) => b.exceeded || b.used_up_at).map(budgetItem),
    ...o.webhook_problems.map(webhookItem),
    ...o.long_running.map((/** @type {any} */ c) => machineItem(c, reader)),
    ...o.ceilings
      .filter((/** @type {any} */ c) => c.current >= c.max)
      .map((/** @type {any} */ c) => ceilingItem(c)),
    ...o.near_limit
      .filter((/** @type {any} */ w) => w.computer_count >= w.max_computers)
      .map(capItem),
    ...o.domain_problems.map(domainItem),
  ];
  const more = o.long_running_total - o.long_running.length;
  if (more > 0) items.push(moreItem(more));
  return items.sort((a, b) => Number(b.level === "bad") - Number(a.level === "bad"));
}

/**
 * @param {string} text
 * @param {Reader} reader
 * @returns {Item}
 */
const installationItem = (text, { who }) => ({
  id: `i-${text.slice(0, 20)}`,
  ico: "system",
  level: "bad",
  what: /clock/.test(text) ? "The clock" : /backup/.test(text) ? "Backups" : "The server",
  why: text,
  action: who.key.operator && toButton("#/system", "System"),
});

/**
 * @param {any} c a computer
 * @param {Reader} reader
 * @returns {Item}
 */
const machineItem = (c, { covers, done }) => ({
  id: c.computer_id,
  ico: "computers",
  level: "warn",
  what: open(`#/computers/${c.computer_id}`, c.name),
  why: [
    `runs for ${duration(now() - Date.parse(c.started_at))} without auto-stop, `,
    h("b", null, inCredits(c.credits_micros)),
    " so far · ",
    h("a", { href: `#/workspaces/${c.workspace_id}/computers` }, c.workspace_name),
  ],
  action:
    c.driver === "external"
      ? h("span", { class: "hint" }, "stopped by its agent")
      : covers("computers:write") &&
        button("Stop", () => stop(c, done), {
          kind: "small",
          "aria-label": `Stop ${c.name}`,
          dataset: { key: `stop-${c.computer_id}` },
        }),
});

/**
 * @param {any} c a computer
 * @param {() => void} done
 */
export const stop = (c, done) =>
  confirmDialog(
    `Stop ${c.name}?`,
    h(
      "p",
      null,
      "What runs in it ends, and from then on it costs nothing. It can be started again at any time.",
    ),
    {
      label: "Stop computer",
      submit: async () => {
        await api.post(`/computers/${c.computer_id ?? c.id}/stop`);
        toast(`${c.name} is being stopped.`);
        done();
      },
    },
  );

/**
 * @param {number} more
 * @returns {Item}
 */
const moreItem = (more) => ({
  id: "more",
  ico: "computers",
  level: "warn",
  what: open("#/computers?status=running&sort=started_at", `${count(more, "more computer")}`),
  why: "also run for two days or more without auto-stop",
});

/**
 * @param {any} b a budget
 * @returns {Item}
 */
function budgetItem(b) {
  const name =
    b.scope === "organization" ? "The organization" : h("bdi", null, nameOf(b.scope, b.owner_id));
  const used = `${number(b.used_percent)} % of ${count(b.credits, "credit")} a ${b.period}`;
  const why = b.exceeded
    ? `budget used up: ${used}${b.refusing ? "; nothing can be started" : ""}`
    : `budget will be used up on ${dayOf(b.used_up_on)}: ${used} so far`;
  return {
    id: `b-${b.owner_id}`,
    ico: "activity",
    level: b.exceeded ? "bad" : "warn",
    what: open(placeOf(b.scope, b.owner_id), name),
    why,
    action: toButton(
      b.scope === "workspace" ? `#/workspaces/${b.owner_id}/bill` : placeOf(b.scope, b.owner_id),
      "Why",
    ),
  };
}

/**
 * @param {any} w a webhook
 * @returns {Item}
 */
const webhookItem = (w) => ({
  id: w.webhook_id,
  ico: "webhooks",
  level: "bad",
  what: open(`#/webhooks/${w.webhook_id}`, w.name),
  why:
    w.status === "disabled"
      ? `webhook was disabled: ${w.disabled_reason}`
      : [
          `webhook does not deliver: ${count(w.failed_attempts, "attempt")} failed`,
          w.failing_since && ` in ${duration(now() - Date.parse(w.failing_since))}`,
        ],
  action: toButton(`#/webhooks/${w.webhook_id}`, "Deliveries"),
});

/**
 * @param {any} c a ceiling of the organization
 * @returns {Item}
 */
const ceilingItem = ({ limit, current, max }) => ({
  id: limit,
  ico: "workspaces",
  level: "bad",
  what: "The organization",
  why: `has ${number(current)} of ${number(max)} ${limit.replace("max_", "")}: nothing can be added`,
});

/**
 * @param {any} w a workspace
 * @returns {Item}
 */
const capItem = (w) => ({
  id: w.workspace_id,
  ico: "workspaces",
  level: "warn",
  what: open(`#/workspaces/${w.workspace_id}`, w.name),
  why: `is ${w.computer_count > w.max_computers ? "over" : "at"} its limit: ${number(w.computer_count)} of ${count(w.max_computers, "computer")}`,
  action: toButton(`#/workspaces/${w.workspace_id}/settings`, "Limits"),
});

/**
 * @param {any} d a domain
 * @returns {Item}
 */
function domainItem(d) {
  const href =
    d.scope === "workspace" ? `#/workspaces/${d.owner_id}/domain` : placeOf(d.scope, d.owner_id);
  const why = d.last_error
    ? `could not be checked: ${d.last_error}`
    : d.dns_status === "failed"
      ? "does not lead here"
      : "is not verified yet";
  return {
    id: `d-${d.owner_id}`,
    ico: "docs",
    level: d.dns_status === "failed" ? "bad" : "warn",
    what: open(href, d.domain),
    why,
    action: toButton(href, "Records"),
  };
}

let opened = false;
/**
 * @param {Item[]} items
 * @param {boolean} fresh nothing runs yet, so that it is no news that nothing is wrong
 */
export function attention(items, fresh) {
  if (!items.length)
    return fresh
      ? null
      : h("p", { class: "calm", role: "status" }, icon("check"), "Nothing needs attention.");
  const rest = items.length - SHOWN;
  const rows = items.map(row);
  const hide = () => rows.forEach((one, n) => one.toggleAttribute("hidden", !opened && n >= SHOWN));
  hide();
  const more =
    rest > 0 &&
    !opened &&
    button(
      `Show ${number(rest)} more`,
      () => {
        opened = true;
        hide();
        if (more) more.remove();
      },
      { kind: "small", dataset: { key: "more-attention" } },
    );
  return panel(
    "Needs attention",
    { note: count(items.length, "thing"), id: "attention" },
    h("ul", { class: "attention" }, rows),
    more && h("div", { class: "note" }, more),
  );
}

/** @param {Item} item */
const row = ({ id, ico, level, what, why, action }) =>
  h(
    "li",
    { class: level, dataset: { item: id } },
    icon(ico),
    h("p", null, h("strong", null, what), " ", h("span", { class: "why" }, why)),
    action && h("span", { class: "act" }, action),
  );

// ---------------------------------------------------------------------------------------------
// How to begin

/**
 * What a new installation still lacks, each with a line to paste.
 * @param {any} setup
 * @param {{ who: Session, covers: (scope: string) => boolean, fresh: boolean }} context
 * @returns {Child}
 */
export function checklist(setup, { who, covers, fresh }) {
  const steps = stepsOf(who, covers).filter((step) => step.may);
  const left = steps.filter((step) => !setup[step.id]);
  // Development needs neither keys nor backups; and who does not want to be told is not told again.
  if (!left.length || (!fresh && (who.dev_key || preference("setup") === "done"))) return null;
  const hide = button(
    "Do not show again",
    (event) => {
      prefer("setup", "done");
      /** @type {HTMLElement} */ (event.target).closest(".panel")?.remove();
    },
    { kind: "small" },
  );
  const first = left[0];
  return panel(
    fresh ? "Five steps to a running installation" : "Still to do",
    {
      note: `${number(steps.length - left.length)} of ${number(steps.length)} done`,
      actions: fresh ? null : [hide],
      id: "setup",
    },
    h(
      "ol",
      { class: "steps" },
      (fresh ? steps : left).map((step) =>
        h(
          "li",
          { class: setup[step.id] ? "done" : null, dataset: { step: step.id } },
          h(
            "span",
            { class: "mark" },
            setup[step.id] ? icon("check") : String(steps.indexOf(step) + 1),
          ),
          h(
            "div",
            null,
            h("h3", null, step.title, setup[step.id] && h("span", { class: "sr" }, " (done)")),
            !setup[step.id] && [
              h("p", { class: "hint" }, step.text),
              h("div", { class: "paste" }, copyable(step.line, { label: "Copy the line" })),
            ],
          ),
          !setup[step.id] &&
            h(
              "a",
              { class: `button small ${step === first ? "primary" : ""}`, href: step.href },
              step.label,
            ),
        ),
      ),
    ),
  );
}

/**
 * @param {Session} who
 * @param {(scope: string) => boolean} covers
 */
function stepsOf(who, covers) {
  const base = new URL("api/v1", document.baseURI).href;
  /**
   * @param {string} method
   * @param {string} path
   * @param {object} body
   */
  const curl = (method, path, body) =>
    `curl -X ${method} ${base}${path} -H "Authorization: Bearer ${who.dev_key ?? "$MIOSA_API_KEY"}" -H "Content-Type: application/json" -d '${JSON.stringify(body)}'`;
  return [
    {
      id: "workspaces",
      may: covers("workspaces:write"),
      title: "A workspace for your first customer",
      text: "One for each customer, clinic or site: its usage, limits and domain are its own.",
      line: curl("POST", "/workspaces", { name: "Dr. Smith Clinic" }),
      label: "Create a workspace",
      href: "#/workspaces?new=1",
    },
    {
      id: "limits",
      may: covers("workspaces:write"),
      title: "Limits",
      text: "How many computers, how large, and after how much idle time they stop by themselves.",
      line: curl("PUT", "/workspaces/dr-smith-clinic/settings", {
        max_computers: 5,
        default_auto_stop_seconds: 7200,
      }),
      label: "Choose a workspace",
      href: "#/workspaces",
    },
    {
      id: "computers",
      may: covers("computers:write"),
      title: "The first computer",
      text: "It is metered to the millisecond from the moment it runs.",
      line: curl("POST", "/computers", { name: "web-1", workspace_slug: "dr-smith-clinic" }),
      label: "Create a computer",
      href: "#/computers?new=1",
    },
    {
      id: "keys",
      may: covers("keys:admin"),
      title: "A key for your application",
      text: "Of its own, so that it can be replaced without locking you out.",
      line: curl("POST", "/api-keys", {
        name: "my application",
        scopes: ["workspaces:write", "projects:write", "computers:write", "usage:read"],
      }),
      label: "Make a key",
      href: "#/keys?new=1",
    },
    {
      id: "backups",
      may: Boolean(who.key.operator),
      title: "Backups",
      text: "Checked copies by the clock; the service is started with a directory for them.",
      line: "workspaced serve --backup-dir /var/backups/workspaced",
      label: "How to",
      href: "docs/manual/operating#backup-and-restore",
    },
  ];
}
