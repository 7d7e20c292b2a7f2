// @ts-check
// Ctrl+K: type a part of a name and be there, or say what is to be done with it.

/** @import { Choice } from "./combo.js" */
/** @import { Section } from "./shortcuts.js" */
import { h } from "./dom.js";
import { api, query } from "./api.js";
import { combo } from "./combo.js";
import { confirmDialog, dialog } from "./forms.js";
import { toast, toastError } from "./ui.js";

/** @type {[name: string, act: () => unknown][]} */
let settings = [];
/** Settings of a workspace, by the names that its screen has for them. */
const OF_WORKSPACE = [
  "Maximum computers",
  "Maximum size",
  "Default size",
  "Default idle auto-stop",
  "Allowed templates",
];
/** @type {Section[]} */
let sections = [],
  allowed = () => false;

/** What a word before a name asks for: what is done to a computer, or which side of a workspace is opened. */
const VERBS = /^(stop|start|restart|limits|settings|domain|usage|activity|bill)\s+(.*)$/i;
const MAKE = [
  ["New workspace", "/workspaces?new=1"],
  ["New computer", "/computers?new=1"],
  ["New API key", "/keys?new=1"],
  ["New webhook", "/webhooks?new=1"],
  ["Restore something deleted", "/deleted"],
];

/**
 * Rows of a list by a text; none where the key may not see them.
 * @param {string} list
 * @param {Record<string, any>} params
 * @returns {Promise<any[]>}
 */
const rowsOf = (list, params) =>
  api.get(`/${list}${query({ page: 1, page_size: 6, ...params })}`).then(
    (page) => page.data,
    () => [],
  );

/**
 * @param {any} c a computer
 * @param {"stop" | "start" | "restart"} verb
 */
function act(c, verb) {
  const run = async () => {
    await api.post(`/computers/${c.id}/${verb}`);
    toast(`${c.name}: ${verb} was asked for.`);
  };
  if (verb === "start") return run().catch(toastError);
  const ends =
    verb === "stop"
      ? "What runs in it ends, and from then on it costs nothing."
      : "What runs in it ends and begins anew.";
  const title = `${verb === "stop" ? "Stop" : "Restart"} ${c.name}?`;
  return confirmDialog(title, h("p", null, ends), {
    label: verb === "stop" ? "Stop computer" : "Restart computer",
    submit: run,
  });
}

/**
 * What can be done now to what has this name.
 * @param {string} verb
 * @param {string} text
 * @returns {Promise<Choice[]>}
 */
async function doable(verb, text) {
  if (verb === "stop" || verb === "start" || verb === "restart") {
    const status = verb === "start" ? "stopped" : "running";
    const found = await rowsOf("computers", { q: text, status });
    return found
      .filter((c) => c.driver !== "external")
      .map((c) => ({
        value: "",
        text: `${verb[0].toUpperCase()}${verb.slice(1)} ${c.name}`,
        hint: `${c.status}, ${c.size}`,
        act: () => act(c, verb),
      }));
  }
  const side = verb === "limits" ? "settings" : verb;
  const found = await rowsOf("workspaces", { q: text });
  return found.map((w) => ({ value: `/workspaces/${w.id}/${side}`, text: w.name, hint: side }));
}

/** @type {Promise<any[]> | null} */
let keys = null;
/**
 * @param {string} text
 * @returns {Promise<Choice[]>}
 */
async function everything(text) {
  const low = text.toLowerCase();
  const fits = (/** @type {string} */ name) => name.toLowerCase().includes(low);
  const places = sections
    .filter(([, name]) => fits(name))
    .map(([, name, href]) => ({ value: href.slice(1), text: name, hint: "section" }));
  const making = MAKE.filter(([name]) => fits(name)).map(([name, value]) => ({
    value,
    text: name,
    hint: "action",
  }));
  if (text === "") {
    const some = await rowsOf("workspaces", {});
    return [...some.map(ofWorkspace), ...places, ...making];
  }
  keys ??= rowsOf("api-keys", { page_size: 100 });
  const verb = text.match(VERBS);
  const here = location.hash.match(/^#\/workspaces\/([0-9a-f-]{36})/)?.[1];
  const set = [
    ...settings
      .filter(([name]) => fits(name))
      .map(([name, act]) => ({ value: "", text: name, hint: "setting", act })),
    ...OF_WORKSPACE.filter((name) => here && fits(name)).map((name) => ({
      value: `/workspaces/${here}/settings`,
      text: name,
      hint: "setting of this workspace",
    })),
  ];
  const [acts, workspaces, computers, projects, domains, mine] = await Promise.all([
    verb ? doable(verb[1].toLowerCase(), verb[2]) : [],
    rowsOf("workspaces", { q: text }),
    rowsOf("computers", { q: text }),
    rowsOf("projects", { q: text }),
    rowsOf("preview-domains", { q: text }),
    keys,
  ]);
  return [
    ...acts,
    ...workspaces.map(ofWorkspace),
    ...computers.map((c) => ({
      value: `/computers/${c.id}`,
      text: c.name,
      hint: `computer, ${c.status}`,
    })),
    ...projects.map((p) => ({ value: `/projects/${p.id}`, text: p.name, hint: "project" })),
    ...domains.map((d) => ({
      value: domainScreen(d),
      text: d.domain,
      hint: `domain, ${d.dns_status}`,
    })),
    ...mine
      .filter((k) => fits(k.name) || k.key_prefix.startsWith(text))
      .map((k) => ({ value: "/keys", text: k.name, hint: "API key" })),
    ...places,
    ...making,
    ...set,
  ];
}

/** @param {any} d a preview domain */
function domainScreen(d) {
  if (d.scope === "workspace") return `/workspaces/${d.owner_id}/domain`;
  return d.scope === "project" ? `/projects/${d.owner_id}` : "/";
}
/** @param {any} w */
const ofWorkspace = (w) => ({ value: `/workspaces/${w.id}`, text: w.name, hint: w.slug });

export function showPalette() {
  if (!allowed() || document.querySelector("dialog[open]")) return;
  keys = null;
  /** @param {Choice | null} choice */
  const go = (choice) => {
    if (!choice) return;
    box.close();
    if (choice.act) choice.act();
    else location.hash = choice.value;
  };
  const { input, list, search } = combo({
    load: everything,
    onpick: go,
    props: {
      "aria-label": "Workspace or section, or what to do",
      placeholder: "A name, an ID, a section, or “stop” and a name",
    },
  });
  const box = dialog(
    "Jump to",
    h(
      "div",
      { class: "field palette" },
      input,
      list,
      h(
        "p",
        { class: "hint" },
        "Arrow keys choose, Enter goes there. ",
        "stop, start, restart, limits, domain, usage and a name do that at once.",
      ),
    ),
  );
  input.focus();
  search();
}

/**
 * @param {Section[]} nav
 * @param {() => boolean} whenAllowed
 * @param {[name: string, act: () => unknown][]} mine settings of the page itself
 */
export function installPalette(nav, whenAllowed, mine) {
  sections = nav;
  settings = mine;
  allowed = whenAllowed;
  document.addEventListener("keydown", (event) => {
    if (
      event.key.toLowerCase() !== "k" ||
      !(event.ctrlKey || event.metaKey) ||
      event.altKey ||
      event.shiftKey
    )
      return;
    event.preventDefault();
    showPalette();
  });
}
