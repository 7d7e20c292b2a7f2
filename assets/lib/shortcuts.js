// @ts-check
// The keyboard: g and a letter goes to a section, / searches, j and k move through rows, ? explains.
// Nothing fires in a field, with a modifier, in a dialog, or when switched off.

import { h, find } from "./dom.js";
import { prefer, preference } from "./format.js";
import { dialog } from "./forms.js";

/**
 * A section of the page: id, name, address, letter after g, and the scope that a key needs for it.
 * @typedef {[id: string, name: string, href: string, letter: string, scope?: string]} Section
 */

/** @type {Section[]} */
let sections = [];
const on = () => preference("shortcuts") !== "off";

const rows = () => {
  const links = /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll("main tbody a.row-link")
  );
  return [...links].filter((a) => a.offsetParent);
};

/** @param {number} by */
function step(by) {
  const links = rows();
  if (!links.length) return;
  const now = links.findIndex(
    (a) => a === document.activeElement || a.closest("tr")?.contains(document.activeElement),
  );
  const next =
    now < 0 ? (by > 0 ? 0 : links.length - 1) : Math.max(0, Math.min(links.length - 1, now + by));
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
}

/** @param {string} selector */
const press = (selector) => find(`main ${selector}`)?.click();

/** @type {Record<string, () => void>} */
const ACTIONS = {
  j: () => step(1),
  k: () => step(-1),
  o: () => {
    find("a.row-link:focus")?.click();
  },
  h: () => press("[data-page=back]:not(:disabled)"),
  l: () => press("[data-page=next]:not(:disabled)"),
  n: () => press("[data-new]"),
  "/": () => find("main input[type=search]")?.focus(),
  "?": () => showShortcuts(),
};

/** @param {Section[]} nav */
export function installShortcuts(nav) {
  sections = nav;
  let goes = 0;
  document.addEventListener("keydown", (event) => {
    // The top open form is what Ctrl+S means; the browser's own "save page" is of no use here.
    if (event.key === "s" && (event.ctrlKey || event.metaKey) && !event.altKey) {
      const forms = document.querySelectorAll("dialog[open] form, main form.form");
      const form = forms[document.querySelector("dialog[open]") ? forms.length - 1 : 0];
      if (form instanceof HTMLFormElement) {
        event.preventDefault();
        form.requestSubmit();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !on()) return;
    const target = event.target;
    if (
      target instanceof HTMLElement &&
      (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox])"))
    ) {
      if (event.key === "Escape" && target.matches("input[type=search]")) target.blur();
      return;
    }
    if (document.querySelector("dialog[open]") || !document.body.classList.contains("signed-in"))
      return;
    if (Date.now() - goes < 1500) {
      goes = 0;
      const section = sections.find(([, , , letter]) => letter === event.key);
      if (section) {
        event.preventDefault();
        location.hash = section[2].slice(1);
      }
      return;
    }
    if (event.key === "g") {
      goes = Date.now();
      return;
    }
    const action = ACTIONS[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
}

export function showShortcuts() {
  /**
   * @param {string} keys
   * @param {string} text
   */
  const row = (keys, text) =>
    h(
      "div",
      null,
      h(
        "dt",
        null,
        keys.split(" ").map((k) => h("kbd", null, k)),
      ),
      h("dd", null, text),
    );
  const toggle = h("input", { type: "checkbox", checked: on() });
  toggle.addEventListener("change", () => prefer("shortcuts", toggle.checked ? null : "off"));
  dialog(
    "Keyboard shortcuts",
    h(
      "dl",
      { class: "keys" },
      sections.map(([, name, , letter]) => row(`g ${letter}`, name)),
      row("Ctrl+K", "Find anything, or do it"),
      row("/", "Search"),
      row("j k", "Next row, previous row"),
      row("Enter o", "Open the row"),
      row("h l", "Previous page, next page"),
      row("n", "New: the button of the screen"),
      row("← →", "Bar to bar; Enter explains it"),
      row("Ctrl+S", "Save the open form"),
      row("Esc", "Close"),
      row("?", "This list"),
    ),
    h("label", { class: "check" }, toggle, "Shortcuts are on"),
    h(
      "p",
      { class: "hint" },
      "What everything means: ",
      h("a", { href: "docs/manual" }, "the manual"),
      ", ",
      h("a", { href: "docs" }, "the API reference"),
      ".",
    ),
  );
}
