// @ts-check
// Elements without a framework. Text only ever becomes a text node: there is no way from data to
// markup in this file, and the page has no other.

/**
 * What an element may hold: nothing of null, undefined and false is drawn.
 * @typedef {Node | string | number | boolean | null | undefined | Child[]} Child
 */

/**
 * Attributes, and: `on…` for listeners, `vars` for custom properties of the style, `dataset`, `value`.
 * @typedef {{ [name: `on${string}`]: ((event: any) => unknown) | null | undefined, [name: string]: unknown }} Props
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {HTMLElement | SVGElement} T
 * @param {T} element
 * @param {Props | null | undefined} props
 * @param {Child[]} children
 * @returns {T}
 */
function build(element, props, children) {
  for (const [name, value] of Object.entries(/** @type {Record<string, any>} */ (props ?? {}))) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars")
      for (const [key, v] of Object.entries(value)) element.style.setProperty(key, v);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "value") Object.assign(element, { value });
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

// Words that are written from right to left, with what stands between them.
const RTL =
  "\\u0590-\\u08ff\\ufb1d-\\ufdff\\ufe70-\\ufeff\\u{10800}-\\u{10fff}\\u{1e800}-\\u{1efff}";
const RUNS = new RegExp(`[${RTL}]+(?:[^\\p{L}]+[${RTL}]+)*`, "gu");
const STARTS = new RegExp(`^[^\\p{L}]*[${RTL}]`, "u");
/** Whose text is only text. */
const PLAIN = ["OPTION", "TITLE", "TEXTAREA"];

/**
 * Text of somebody who writes from right to left stays where it stands, and turns around nothing beside it.
 * @param {string} text
 * @returns {(string | Node)[]}
 */
function isolated(text) {
  const bdi = (/** @type {string} */ part) => {
    const element = document.createElement("bdi");
    element.append(part);
    return element;
  };
  if (STARTS.test(text)) return [bdi(text)];
  /** @type {(string | Node)[]} */
  const parts = [];
  let from = 0;
  for (const { 0: run, index } of text.matchAll(RUNS)) {
    parts.push(text.slice(from, index), bdi(run));
    from = index + run.length;
  }
  parts.push(text.slice(from));
  return parts;
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else if (child instanceof Node) element.append(child);
    else if (element instanceof HTMLElement && !PLAIN.includes(element.tagName))
      element.append(...isolated(String(child)));
    else element.append(String(child));
  }
}

/**
 * An element: `h("p", { class: "hint", onclick: f }, "text", child)`.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props | null} [props]
 * @param {Child[]} children
 */
export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);

/**
 * The same in SVG.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props | null} [props]
 * @param {Child[]} children
 */
export const s = (tag, props, ...children) =>
  build(document.createElementNS(SVG, tag), props, children);

/**
 * Replaces what is in an element.
 * @template {Element} T
 * @param {T} element
 * @param {Child[]} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/**
 * An element that every page has.
 * @param {string} id
 */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * The first element that a selector finds.
 * @param {string} selector
 * @param {ParentNode} [inside]
 */
export const find = (selector, inside = document) =>
  /** @type {HTMLElement | null} */ (inside.querySelector(selector));

let ids = 0;
/** A new id for labels and descriptions. */
export const uid = (prefix = "i") => `${prefix}${++ids}`;

/**
 * Calls `f` once for many calls: `ms` after the last one, and where they do not end, now and then.
 * @template {any[]} Args
 * @param {(...args: Args) => unknown} f
 * @param {number} ms
 */
export function debounce(f, ms, longest = 5 * ms) {
  /** @type {number | undefined} */
  let timer;
  let first = 0;
  return (/** @type {Args} */ ...args) => {
    const now = performance.now();
    if (!timer) first = now;
    clearTimeout(timer);
    timer = window.setTimeout(
      () => {
        timer = undefined;
        f(...args);
      },
      Math.max(0, Math.min(ms, first + longest - now)),
    );
  };
}

/** @type {Record<string, string>} */
const PATHS = {
  overview: "M3 3h7v9H3zM14 3h7v5h-7zM14 12h7v9h-7zM3 16h7v5H3z",
  workspaces: "M12 3l9 5-9 5-9-5zM3 12.500l9 5 9-5M3 17l9 5 9-5",
  computers: "M3 4h18v12H3zM8 20h8M12 16v4",
  projects: "M3 6h6l2 2.500h10V19H3z",
  billing: "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 20c1.500-4 5-5 8-5s6.500 1 8 5",
  keys: "M15 8a4.500 4.500 0 1 1-3.600 7.200L9 17.500H6.500V20H3v-3l6.700-6.700A4.500 4.500 0 0 1 15 8zM16 11.500h.01",
  webhooks: "M12 3v9M8.500 8.500L12 12l3.500-3.500M5 12v5a3 3 0 0 0 3 3h8a3 3 0 0 0 3-3v-5",
  activity: "M3 12h4l3-8 4 16 3-8h4",
  system: "M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01",
  book: "M12 6.500C9.500 5 7 4.500 4 4.500v13c3 0 5.500.500 8 2 2.500-1.500 5-2 8-2v-13c-3 0-5.500.500-8 2zM12 6.500v13",
  docs: "M5 4h9l5 5v11H5zM14 4v5h5M8 13h8M8 16.500h6",
  plus: "M12 5v14M5 12h14",
  search: "M10.500 4a6.500 6.500 0 1 1 0 13 6.500 6.500 0 0 1 0-13zM15.500 15.500L20 20",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  check: "M5 12.500l4.500 4.500L19 7",
  cross: "M6 6l12 12M18 6L6 18",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  play: "M7 5l12 7-12 7z",
  stop: "M6 6h12v12H6z",
  restart: "M20 12a8 8 0 1 1-2.500-5.800M20 4v4h-4",
  pause: "M8 5v14M16 5v14",
  more: "M4 12a1 1 0 1 0 2 0a1 1 0 1 0-2 0M11 12a1 1 0 1 0 2 0a1 1 0 1 0-2 0M18 12a1 1 0 1 0 2 0a1 1 0 1 0-2 0",
  sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.500 1.500M17.500 17.500L19 19M5 19l1.500-1.500M17.500 6.500L19 5",
  back: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  down: "M12 4v12M6 11l6 6 6-6M4 21h16",
  out: "M10 4H4v16h6M15 8l4 4-4 4M19 12H9",
  help: "M9 9a3 3 0 1 1 4.200 2.700c-.8.400-1.200 1-1.200 2V14M12 17.500h.01",
};

/**
 * An icon; decoration only, the words stand beside it or in the label.
 * @param {string} name
 */
export const icon = (name) =>
  s(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    s("path", { d: PATHS[name] ?? "" }),
  );
