// @ts-check
// The parts that screens are put together from.

/** @import { Child, Props } from "./dom.js" */
import { byId, h, s, fill, find, icon, uid } from "./dom.js";
import { api } from "./api.js";
import { fullTime, number } from "./format.js";
import { acting } from "./organizations.js";

// ---------------------------------------------------------------------------------------------
// Saying things

/**
 * Tells a screen reader.
 * @param {string} text
 */
export function say(text) {
  const said = byId("said");
  said.textContent = "";
  requestAnimationFrame(() => {
    said.textContent = text;
  });
}

/**
 * A short message that goes by itself, with something that can be done about it.
 * @param {string} text
 * @param {"ok" | "bad"} [kind]
 * @param {{ label: string, run: () => unknown }} [action]
 */
export function toast(text, kind = "ok", action) {
  const act =
    action &&
    button(
      action.label,
      () => {
        box.remove();
        action.run();
      },
      { kind: "small" },
    );
  const close = h("button", { class: "icon-button", "aria-label": "Close" }, icon("cross"));
  const box = h(
    "div",
    { class: `toast ${kind}` },
    icon(kind === "ok" ? "check" : "warn"),
    h("p", null, text),
    act,
    close,
  );
  close.addEventListener("click", () => box.remove());
  byId("toasts").append(box);
  const leave = () => {
    // Not from under the pointer, nor from under the fingers.
    if (box.matches(":hover, :focus-within")) setTimeout(leave, 2000);
    else box.remove();
  };
  setTimeout(leave, kind === "ok" && !action ? 5000 : 12000);
}

/**
 * An error with what helps to find it.
 * @param {any} error
 * @param {() => unknown} [retry]
 */
export function errorBox(error, retry) {
  return h(
    "div",
    { class: "problem", role: "alert" },
    icon("warn"),
    h(
      "div",
      null,
      h("p", null, error.message),
      error.status === 404 &&
        h(
          "p",
          null,
          "If it was deleted, it may be ",
          h("a", { href: "#/deleted" }, "brought back"),
          ".",
        ),
      error.requestId && h("p", { class: "hint" }, "Request ", h("code", null, error.requestId)),
      error.retryAfter && h("p", { class: "hint" }, `Try again in ${error.retryAfter} s.`),
    ),
    retry && h("button", { class: "button", onclick: retry }, "Retry"),
  );
}

/**
 * Shows an error that belongs to no field.
 * @param {any} e
 */
export const toastError = (e) => {
  if (e.name !== "AbortError")
    toast(e.requestId ? `${e.message} (request ${e.requestId})` : e.message, "bad");
};

/**
 * What to do where there is nothing.
 * @param {string} title
 * @param {Child} [text]
 * @param {Child[]} actions
 */
export const empty = (title, text, ...actions) =>
  h(
    "div",
    { class: "empty" },
    h("p", { class: "empty-title" }, title),
    text && h("p", { class: "hint" }, text),
    actions,
  );

/** A grey place of about the right height. */
export const skeleton = (lines = 3) =>
  h(
    "div",
    { class: "skeleton", "aria-hidden": "true" },
    Array.from({ length: lines }, () => h("span")),
  );

/**
 * Something with the four states: loading, empty and full as drawn, error, and stale when a later
 * load fails. Returns `reload()`, which shows that it works only where there is nothing yet.
 * @template T
 * @param {HTMLElement} place
 * @param {(options: { signal?: AbortSignal }) => Promise<T>} load
 * @param {(data: T) => Child} draw
 * @param {{ signal?: AbortSignal, lines?: number }} [how]
 */
export function resource(place, load, draw, { signal, lines = 3 } = {}) {
  let shownAt = "",
    running = 0;
  const note = h("p", { class: "stale-note", role: "status", hidden: true });
  const body = h("div", { class: "resource-body" }, skeleton(lines));
  place.setAttribute("aria-busy", "true");
  fill(place, note, body);
  function retry() {
    fill(body, skeleton(lines));
    reload();
  }
  /** @param {any} e */
  function drawProblem(e) {
    if (!shownAt) return fill(body, errorBox(e, retry));
    place.classList.add("stale");
    note.hidden = false;
    const again = h("button", { class: "link", onclick: reload }, "Retry");
    return fill(note, `As of ${fullTime(shownAt)}: ${e.message} `, again);
  }
  async function reload() {
    const mine = ++running;
    try {
      const data = await load({ signal });
      await menuClosed(body);
      if (mine !== running || signal?.aborted) return;
      redraw(body, draw(data));
      place.classList.remove("stale");
      note.hidden = true;
      shownAt = new Date().toISOString();
    } catch (e) {
      if (e.name === "AbortError" || mine !== running) return;
      drawProblem(e);
      if (!e.status && e.code !== "NETWORK") console.error(e);
    } finally {
      if (mine === running) place.removeAttribute("aria-busy");
    }
  }
  reload();
  return reload;
}

/**
 * What several resources load at the same time is asked for once.
 * @template T
 * @param {(options: { signal?: AbortSignal }) => Promise<T>} load
 */
export function shared(load) {
  /** @type {Promise<T> | null} */
  let asked = null;
  const forget = () => {
    asked = null;
  };
  return (/** @type {{ signal?: AbortSignal }} */ options) =>
    (asked ??= load(options).finally(() => setTimeout(forget, 0)));
}

/**
 * A menu that somebody has open is not pulled away from under the pointer: wait for its end.
 * @param {HTMLElement} place
 */
export async function menuClosed(place) {
  const open = place.querySelector(".menu:popover-open");
  if (open) await new Promise((closed) => open.addEventListener("toggle", closed, { once: true }));
}

/**
 * Replaces what is in a place, and leaves the focus where it was.
 * @param {HTMLElement} place
 * @param {Child[]} content
 */
export function redraw(place, ...content) {
  const focused = keepFocus(place);
  fill(place, content);
  focused();
}

/**
 * Whatever had the focus inside gets it back after a redraw, if it is still there.
 * @param {HTMLElement} element
 */
function keepFocus(element) {
  const active = /** @type {HTMLElement | null} */ (document.activeElement);
  if (!active || !element.contains(active)) return () => {};
  /** @param {HTMLElement} e */
  const keyOf = (e) => e.dataset.key ?? e.getAttribute("href");
  const key = keyOf(active);
  const start = /** @type {Partial<HTMLInputElement>} */ (active).selectionStart;
  return () => {
    if (!key) return;
    const all = /** @type {NodeListOf<HTMLInputElement>} */ (
      element.querySelectorAll("[data-key], a[href]")
    );
    const again = [...all].find((e) => keyOf(e) === key);
    again?.focus({ preventScroll: true });
    try {
      if (typeof start === "number") again?.setSelectionRange(start, start);
    } catch {
      /* not a text field */
    }
  };
}

// ---------------------------------------------------------------------------------------------
// Small parts

/**
 * An entry of a menu.
 * @typedef {[label: string, action: () => unknown, kind?: string]} Action
 */

/**
 * @param {string} label
 * @param {(event: MouseEvent) => unknown} onclick
 * @param {{ kind?: string, ico?: string } & Props} [look]
 */
export const button = (label, onclick, { kind = "", ico, ...rest } = {}) =>
  h(
    "button",
    { type: "button", class: `button ${kind}`, onclick, ...rest },
    ico && icon(ico),
    label,
  );

/**
 * The button of a screen that makes something; the key n presses it.
 * @param {string} label
 * @param {() => unknown} make
 */
export const newButton = (label, make) =>
  button(label, make, { kind: "primary", ico: "plus", "data-new": true, title: `${label} (n)` });

/**
 * To what was deleted and can be restored.
 * @param {string} kind
 */
export const deletedLink = (kind) =>
  h("a", { class: "button", href: kind ? `#/deleted?type=${kind}` : "#/deleted" }, "Deleted");

/** Stands where there is no value. */
export const none = () => h("span", { class: "none" }, "–");

/**
 * What somebody wrote, of which a long one is shown in part until all of it is asked for.
 * @param {string} text
 */
export function longText(text) {
  const whole = h("p", { class: "words" }, text);
  if (text.length < 240 && text.split("\n").length < 4) return whole;
  whole.classList.add("short");
  const more = h(
    "button",
    {
      type: "button",
      class: "link",
      "aria-expanded": "false",
      onclick: () => {
        const short = whole.classList.toggle("short");
        more.setAttribute("aria-expanded", String(!short));
        fill(more, short ? "Show all" : "Show less");
      },
    },
    "Show all",
  );
  return h("div", null, whole, more);
}

/** @param {string} text */
export const tag = (text) => h("span", { class: "tag" }, text);

/**
 * @param {string} title
 * @param {{ actions?: Child, id?: string, note?: Child }} [parts]
 * @param {Child[]} body
 */
export const panel = (title, { actions, id, note } = {}, ...body) => {
  const label = uid("p");
  return h(
    "section",
    { class: "panel", "aria-labelledby": label, id },
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id: label }, title),
      note && h("p", { class: "hint" }, note),
      actions && h("div", { class: "actions" }, actions),
    ),
    body,
  );
};

/**
 * The head of a screen: where it is, what it is, what can be done.
 * @param {string} title
 * @param {{ crumbs?: [text: string, href: string][], sub?: Child, actions?: Child }} [parts]
 */
export const head = (title, { crumbs = [], sub, actions } = {}) =>
  h(
    "div",
    { class: "head" },
    crumbs.length > 0 &&
      h(
        "nav",
        { class: "crumbs", "aria-label": "Path" },
        crumbs.map(([text, href], i) => [
          i > 0 && h("span", { "aria-hidden": "true" }, "/"),
          h("a", { href }, text),
        ]),
      ),
    h(
      "div",
      { class: "head-row" },
      h("h1", null, title),
      actions && h("div", { class: "actions" }, actions),
    ),
    sub && h("div", { class: "sub" }, sub),
  );

/**
 * An id, short, with the whole in the tooltip.
 * @param {string} id
 */
export const shortIdOf = (id) => h("code", { title: id }, `${id.slice(0, 8)}…`);

/**
 * A text with a button that copies it.
 * @param {string} text
 */
export function copyable(text, { label = "Copy", code = true } = {}) {
  const action = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": `${label}: ${text}`, title: label },
    icon("copy"),
  );
  action.addEventListener("click", async () => {
    const done = await copy(text, action);
    fill(action, icon(done ? "check" : "warn"));
    say(done ? "Copied" : "Could not copy");
    setTimeout(() => fill(action, icon("copy")), 1500);
  });
  return h("span", { class: "copyable" }, code ? h("code", null, text) : text, action);
}

/**
 * A link that a program may use with its key; in this page the request needs its header.
 * @param {string} text
 * @param {string} path in the API
 * @param {string} download the name of the file
 * @param {AbortSignal} signal
 */
export function downloadLink(text, path, download, signal) {
  /** @param {Event} event */
  async function onclick(event) {
    event.preventDefault();
    try {
      const response = await api.raw(path, { signal });
      if (!response.ok) {
        const said = await response.json().catch(() => null);
        throw new Error(said?.message ?? `The server answered ${response.status}.`);
      }
      const link = h("a", { href: URL.createObjectURL(await response.blob()), download });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (e) {
      toastError(e);
    }
  }
  // Without its header it would be asked for in the name of another organization.
  const href = acting() ? "#" : `api/v1${path}`;
  return h("a", { class: "button small", href, download, onclick }, text);
}

/**
 * Copies; also where the page came over plain HTTP and there is no clipboard object.
 * @param {string} text
 * @param {Element} [near]
 */
export async function copy(text, near = document.body) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "sr", readonly: true, "aria-hidden": "true", value: text });
    (near.closest("dialog") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** @type {Record<string, string>} */
const STATUS_ICON = {
  running: "play",
  stopped: "stop",
  error: "warn",
  active: "check",
  disabled: "pause",
  verified: "check",
  delivered: "check",
  failing: "warn",
  configured: "check",
  ok: "check",
  degraded: "warn",
  failed: "warn",
  wrong: "warn",
  missing: "cross",
  pending: "more",
  pending_dns: "more",
  not_configured: "more",
  unchecked: "more",
  revoked: "cross",
};
/**
 * A status as text, icon and colour.
 * @param {string} word
 */
export const status = (word) =>
  h(
    "span",
    { class: "status", dataset: { status: word } },
    icon(STATUS_ICON[word] ?? "restart"),
    h(
      "span",
      null,
      String(word)
        .replaceAll("_", " ")
        .replace(/\bdns\b/, "DNS"),
    ),
  );

/**
 * Used of a cap: always the numbers, and a bar where there is a cap.
 * @param {number} used
 * @param {number | null | undefined} max
 */
export function capBar(used, max, what = "computers") {
  if (max === null || max === undefined)
    return h(
      "span",
      { class: "cap" },
      h("span", { class: "num" }, number(used)),
      h("span", { class: "hint" }, "no cap"),
    );
  const share = max > 0 ? used / max : used > 0 ? 1 : 0;
  const level = share >= 1 ? "full" : share >= 0.75 ? "near" : "fine";
  return h(
    "span",
    { class: "cap" },
    h(
      "span",
      { class: "num" },
      `${number(used)} of ${number(max)}`,
      used > max && h("span", { class: "over" }, ` ${number(used - max)} over`),
    ),
    meterBar(share, level, `${used} of ${max} ${what}`),
  );
}

/**
 * A bar that is filled to a share.
 * @param {number} share
 * @param {"fine" | "near" | "full"} level
 * @param {string} label
 */
export const meterBar = (share, level, label) =>
  s(
    "svg",
    {
      class: `bar ${level}`,
      viewBox: "0 0 100 6",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    s("rect", { class: "bar-back", width: 100, height: 6 }),
    s("rect", { class: "bar-fill", width: Math.max(0, Math.min(100, share * 100)), height: 6 }),
  );

/**
 * Names and values.
 * @param {([name: string, value: Child] | false | null | undefined | "" | 0)[]} list
 */
export const facts = (list) =>
  h(
    "dl",
    { class: "facts" },
    list
      .filter((fact) => !!fact)
      .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value ?? "–"))),
  );

/**
 * A menu of actions behind a button: a native popover, closed by Esc and by a click elsewhere.
 * @param {string} label
 * @param {(Action | false)[]} items
 * @param {{ text?: string, ico?: string }} [look]
 */
export function menu(label, items, { text, ico = "more" } = {}) {
  const id = uid("m");
  const list = h(
    "div",
    { id, popover: "auto", class: "menu" },
    items
      .filter((item) => !!item)
      .map(([name, action, kind]) =>
        h(
          "button",
          {
            type: "button",
            class: kind ?? "",
            onclick: () => {
              list.hidePopover();
              action();
            },
          },
          name,
        ),
      ),
  );
  const open = h(
    "button",
    {
      type: "button",
      class: text ? "button" : "icon-button",
      popovertarget: id,
      dataset: { key: label },
      "aria-label": text ? null : label,
      title: text ? null : label,
      "aria-haspopup": "true",
    },
    text,
    icon(ico),
  );
  list.addEventListener("toggle", (e) => {
    if (e.newState !== "open") return;
    const at = open.getBoundingClientRect();
    // Below the button, or above it where there is no room.
    const high = list.offsetHeight;
    const top = at.bottom + high + 12 <= innerHeight ? at.bottom + 4 : at.top - high - 4;
    list.style.setProperty("top", `${Math.max(8, top)}px`);
    list.style.setProperty(
      "left",
      `${Math.max(8, Math.min(at.right - list.offsetWidth, innerWidth - list.offsetWidth - 8))}px`,
    );
    list.querySelector("button")?.focus();
  });
  return h("span", { class: "menu-place" }, open, list);
}

// ---------------------------------------------------------------------------------------------
// Tables

/**
 * @template Row
 * @typedef {object} Column
 * @property {string} label
 * @property {(row: Row) => Child} cell
 * @property {boolean} [num] a number: to the right
 * @property {boolean} [end] to the right as well
 * @property {string} [sort] the name that the API knows the order by
 * @property {boolean} [down] the most comes first when it is sorted by
 * @property {string} [hide] "wide" where there is no room for it on a phone
 */

/**
 * A table. A column: `{ label, cell(row), num, sort, hide }`. The first link of a row opens it.
 * @template Row
 * @param {string} caption
 * @param {(Column<Row> | false | undefined)[]} columns
 * @param {Row[]} rows
 * @param {{ sort?: string, onsort?: (sort: string) => void, rowKey?: (row: Row) => string | number, picks?: Picks }} [how]
 */
export function table(caption, columns, rows, { sort, onsort, rowKey = idOf, picks } = {}) {
  const drawn = columns.filter((column) => column !== false && column !== undefined);
  /** @param {Column<Row>} column */
  const look = (column) => `${column.num || column.end ? "num" : ""} ${column.hide ?? ""}`;
  const heads = drawn.map((column) => {
    const props = { scope: "col", class: look(column) };
    if (!column.sort || !onsort) return h("th", props, column.label);
    const up = sort === column.sort,
      down = sort === `-${column.sort}`;
    const next = column.down
      ? down
        ? column.sort
        : `-${column.sort}`
      : up
        ? `-${column.sort}`
        : column.sort;
    const order = h(
      "button",
      {
        type: "button",
        class: "sort",
        dataset: { key: `sort-${column.sort}` },
        onclick: () => onsort(next),
      },
      column.label,
      h("span", { "aria-hidden": "true" }, up ? " ↑" : down ? " ↓" : ""),
    );
    return h(
      "th",
      { ...props, "aria-sort": up ? "ascending" : down ? "descending" : "none" },
      order,
    );
  });
  /** @param {Row} row */
  const cells = (row) =>
    drawn.map((column, i) => {
      const cell = h(
        i === 0 ? "th" : "td",
        { scope: i === 0 ? "row" : null, class: look(column), "data-label": column.label },
        column.cell(row),
      );
      // What is cut off is whole in the tooltip.
      for (const part of cell.querySelectorAll("a, code, b, .name"))
        if ((part.textContent ?? "").length > 24 && !part.hasAttribute("title"))
          part.setAttribute("title", part.textContent ?? "");
      return cell;
    });
  const boxes = picks && pickBoxes(rows, rowKey, picks);
  const body = rows.map((row, n) =>
    h(
      "tr",
      { dataset: { row: rowKey(row) } },
      boxes && h("td", { class: "pick" }, boxes.each[n]),
      cells(row),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    h(
      "table",
      { class: drawn.length > 7 ? "many" : null },
      h("caption", { class: "sr" }, caption),
      h(
        "thead",
        null,
        h("tr", null, boxes && h("th", { scope: "col", class: "pick" }, boxes.all), heads),
      ),
      h("tbody", null, body),
    ),
  );
}

/**
 * What is chosen of a table: keys of rows, and what is called when that changes.
 * @typedef {{ chosen: Set<string | number>, changed: () => void, nameOf: (row: any) => string }} Picks
 */

/**
 * Boxes to choose rows by: one a row, one for all; with Shift all in between.
 * @param {any[]} rows
 * @param {(row: any) => string | number} rowKey
 * @param {Picks} picks
 */
function pickBoxes(rows, rowKey, { chosen, changed, nameOf }) {
  let last = -1;
  const keys = rows.map(rowKey);
  const all = h("input", { type: "checkbox", "aria-label": "Choose all", dataset: { key: "all" } });
  function show() {
    const some = keys.filter((key) => chosen.has(key)).length;
    all.checked = some > 0 && some === keys.length;
    all.indeterminate = some > 0 && some < keys.length;
    each.forEach((box, n) => (box.checked = chosen.has(keys[n])));
  }
  /**
   * @param {number[]} which
   * @param {boolean} on
   */
  function set(which, on) {
    for (const n of which) {
      if (on) chosen.add(keys[n]);
      else chosen.delete(keys[n]);
    }
    show();
    changed();
  }
  const each = rows.map((row, n) =>
    h("input", {
      type: "checkbox",
      "aria-label": `Choose ${nameOf(row)}`,
      title: "With Shift: all in between",
      dataset: { key: `pick-${keys[n]}` },
      onclick: (/** @type {MouseEvent} */ event) => {
        const from = event.shiftKey && last >= 0 ? last : n;
        const [a, b] = [Math.min(from, n), Math.max(from, n)];
        last = n;
        set(
          Array.from({ length: b - a + 1 }, (_, i) => a + i),
          each[n].checked,
        );
      },
    }),
  );
  all.addEventListener("click", () =>
    set(
      keys.map((_, n) => n),
      all.checked,
    ),
  );
  show();
  return { each, all };
}

/** @param {any} row */
const idOf = (row) => row.id ?? "";

/**
 * Where in a long list one is, and the way on. `go(page)` gets a number from 1.
 * @param {number} page
 * @param {number} size
 * @param {number} total
 * @param {(page: number) => void} go
 */
export function pager(page, size, total, go) {
  const pages = Math.max(1, Math.ceil(total / size));
  if (total === 0) return null;
  const from = (page - 1) * size + 1,
    to = Math.min(page * size, total);
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    h("span", { role: "status" }, `${number(from)}–${number(to)} of ${number(total)}`),
    pages > 1 &&
      h(
        "button",
        {
          type: "button",
          class: "button",
          disabled: page <= 1,
          dataset: { key: "page-back", page: "back" },
          title: "Page back (h)",
          onclick: () => go(page - 1),
        },
        icon("back"),
        "Back",
      ),
    pages > 1 &&
      h(
        "button",
        {
          type: "button",
          class: "button",
          disabled: page >= pages,
          dataset: { key: "page-next", page: "next" },
          title: "Next page (l)",
          onclick: () => go(page + 1),
        },
        "Next",
        icon("next"),
      ),
  );
}
