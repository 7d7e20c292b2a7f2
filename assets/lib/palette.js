// @ts-check
// Ctrl+K: type a part of a name and be there. Sections of the page, and workspaces of the API.

/** @import { Choice } from "./combo.js" */
/** @import { Section } from "./shortcuts.js" */
import { h } from "./dom.js";
import { combo, findWorkspaces } from "./combo.js";
import { dialog } from "./forms.js";

/** @type {Section[]} */
let sections = [],
  allowed = () => false;

export function showPalette() {
  if (!allowed() || document.querySelector("dialog[open]")) return;
  /**
   * @param {string} text
   * @returns {Promise<Choice[]>}
   */
  const load = async (text) => {
    const places = sections
      .filter(([, name]) => text === "" || name.toLowerCase().includes(text.toLowerCase()))
      .map(([, name, href]) => ({ value: href.slice(1), text: name, hint: "section" }));
    const workspaces = await findWorkspaces(text);
    return [
      ...(text === "" ? [] : places),
      ...workspaces.map((w) => ({ ...w, value: `/workspaces/${w.value}` })),
      ...(text === "" ? places : []),
    ];
  };
  /** @param {Choice | null} choice */
  const go = (choice) => {
    if (choice) {
      box.close();
      location.hash = choice.value;
    }
  };
  const { input, list, search } = combo({
    load,
    onpick: go,
    props: {
      "aria-label": "Workspace or section",
      placeholder: "Workspace, external ID, or a section",
    },
  });
  const box = dialog(
    "Jump to",
    h(
      "div",
      { class: "field palette" },
      input,
      list,
      h("p", { class: "hint" }, "Arrow keys choose, Enter goes there."),
    ),
  );
  input.focus();
  search();
}

/**
 * @param {Section[]} nav
 * @param {() => boolean} whenAllowed
 */
export function installPalette(nav, whenAllowed) {
  sections = nav;
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
