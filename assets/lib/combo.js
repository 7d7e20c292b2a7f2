// @ts-check
// A field that searches while one types: the combobox pattern of ARIA. With ten thousand workspaces a
// list of all of them is no choice.

/** @import { Props } from "./dom.js" */
import { h, fill, uid, debounce } from "./dom.js";
import { api, query } from "./api.js";

/** @typedef {{ value: string, text: string, hint?: string, act?: () => unknown }} Choice */

/**
 * `load(text)` answers `[{ value, text, hint }]`; `onpick(choice)` is called when one is chosen.
 * @param {object} spec
 * @param {(text: string) => Promise<Choice[]>} spec.load
 * @param {(choice: Choice | null) => void} spec.onpick
 * @param {string} [spec.text]
 * @param {Props} [spec.props]
 */
export function combo({ load, onpick, text = "", props = {} }) {
  const id = uid("c");
  const list = h("ul", {
    id,
    role: "listbox",
    class: "choices",
    popover: "manual",
    "aria-label": "Suggestions",
  });
  const input = h("input", {
    type: "text",
    role: "combobox",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": id,
    autocomplete: "off",
    spellcheck: "false",
    ...props,
    value: text,
  });
  /** @type {Choice[]} */
  let choices = [];
  let active = -1,
    asked = 0;
  // What is listed belongs to an older text; Enter then means the first of what is on its way.
  let stale = false,
    pickFirst = false;

  const isOpen = () => list.matches(":popover-open");
  function close() {
    if (isOpen()) list.hidePopover();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    active = -1;
  }
  function open() {
    if (!input.isConnected) return;
    if (!isOpen()) list.showPopover();
    const at = input.getBoundingClientRect();
    const room = Math.max(130, Math.min(300, innerHeight - at.bottom - 16));
    const box = { left: at.left, top: at.bottom + 4, width: at.width, "max-height": room };
    for (const [name, px] of Object.entries(box)) list.style.setProperty(name, `${px}px`);
    input.setAttribute("aria-expanded", "true");
  }
  /** @param {number} i */
  function point(i) {
    active = i;
    [...list.children].forEach((one, n) => one.setAttribute("aria-selected", String(n === i)));
    const one = list.children[i];
    if (one?.id) {
      input.setAttribute("aria-activedescendant", one.id);
      one.scrollIntoView({ block: "nearest" });
    }
  }
  /** @param {number} i */
  function pick(i) {
    const choice = choices[i];
    if (!choice) return;
    input.value = choice.text;
    close();
    onpick(choice);
  }
  /**
   * @param {Choice} choice
   * @param {number} i
   */
  function option(choice, i) {
    /** @param {Event} event */
    const onpointerdown = (event) => {
      event.preventDefault();
      pick(i);
    };
    return h(
      "li",
      { id: `${id}-${i}`, role: "option", "aria-selected": "false", onpointerdown },
      h("span", null, choice.text),
      choice.hint && h("code", { class: "hint" }, choice.hint),
    );
  }
  const none = () =>
    h(
      "li",
      { class: "hint", role: "option", "aria-disabled": "true", "aria-selected": "false" },
      "Nothing matches",
    );
  async function search() {
    const mine = ++asked;
    try {
      const found = await load(input.value.trim());
      if (mine !== asked || document.activeElement !== input) return;
      choices = found;
      stale = false;
      fill(list, found.length ? found.map(option) : none());
      open();
      point(found.length ? 0 : -1);
      if (pickFirst) {
        pickFirst = false;
        pick(0);
      }
    } catch (e) {
      if (e.name !== "AbortError") close();
    }
  }
  const later = debounce(search, 50);
  input.addEventListener("input", () => {
    asked++;
    stale = true;
    pickFirst = false;
    onpick(null);
    later();
  });
  input.addEventListener("click", () => {
    if (!isOpen()) {
      input.select();
      search();
    }
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen()) search();
      else if (choices.length)
        point((active + (event.key === "ArrowDown" ? 1 : choices.length - 1)) % choices.length);
    } else if (event.key === "Enter" && stale) {
      event.preventDefault();
      pickFirst = true;
    } else if (event.key === "Enter" && isOpen() && active >= 0) {
      event.preventDefault();
      pick(active);
    } else if (event.key === "Escape" && isOpen()) {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  });
  return { input, list, search };
}

/**
 * Workspaces by any part of name, slug, external id or id.
 * @param {string} text
 * @returns {Promise<Choice[]>}
 */
export async function findWorkspaces(text) {
  const page = await api.get(`/workspaces${query({ q: text, page: 1, page_size: 8 })}`);
  return page.data.map((/** @type {any} */ w) => ({ value: w.id, text: w.name, hint: w.slug }));
}
