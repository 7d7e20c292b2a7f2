// @ts-check
// Dialogs and forms. What the API refuses appears at the field that it is about.

/** @import { Child, Props } from "./dom.js" */
/** @import { Choice } from "./combo.js" */
import { h, fill, find, icon, uid } from "./dom.js";
import { api } from "./api.js";
import { errorBox, copyable, toast, toastError } from "./ui.js";
import { combo } from "./combo.js";
import { spanOf, spanText } from "./format.js";

/**
 * What a field is. Kinds: text (default), password, number, duration (of seconds), textarea, select, pick (a choice that is
 * searched for with `load`), checks, datetime-local, json.
 * @typedef {object} FieldSpec
 * @property {string} name
 * @property {string} label
 * @property {string} [kind]
 * @property {any} [value]
 * @property {boolean} [required]
 * @property {boolean} [disabled]
 * @property {Child} [help]
 * @property {string[]} [also] other names by which the API may refuse it
 * @property {[value: string, text: string][]} [options]
 * @property {{ title: string, options: [value: string, text: string, hint?: string][] }[]} [more] options that are opened when wanted
 * @property {(text: string) => Promise<Choice[]>} [load]
 * @property {string} [text] of what is picked already
 * @property {string} [placeholder]
 * @property {string} [list] the id of a datalist
 * @property {string} [autocomplete] what a password manager knows it as
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [rows]
 */

/**
 * @typedef {object} Field
 * @property {FieldSpec} spec
 * @property {HTMLElement} element
 * @property {HTMLElement} problem
 * @property {HTMLElement | null} input
 * @property {() => any} value throws where it is not what its kind asks for
 * @property {(value: any) => void} set
 */

/**
 * What a form does; `submit` gets the values by name.
 * @typedef {object} FormOptions
 * @property {string} label
 * @property {(values: any, seen?: any) => unknown} submit
 * @property {string} [kind]
 * @property {Child} [before]
 * @property {Child} [after]
 * @property {() => void} [cancel]
 * @property {boolean} [edits] `submit` gets only what was changed
 * @property {any} [seen] what is edited, as it was read; `submit` gets it, and the newest where somebody else was quicker
 * @property {(seen: any) => any} [of] where the fields are in it
 */

/**
 * A modal dialog; the focus goes back to where it was, also when that was drawn anew meanwhile.
 * @param {string} title
 * @param {Child[]} content
 */
export function dialog(title, ...content) {
  const back = /** @type {HTMLElement | null} */ (document.activeElement);
  const key = back?.dataset.key;
  const label = uid("d");
  const close = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Close" },
    icon("cross"),
  );
  const box = h(
    "dialog",
    { "aria-labelledby": label },
    h("div", { class: "dialog-head" }, h("h2", { id: label }, title), close),
    content,
  );
  close.addEventListener("click", () => box.close());
  box.addEventListener("close", () => {
    box.remove();
    const again = back?.isConnected ? back : key && find(`[data-key="${CSS.escape(key)}"]`);
    if (again) again.focus();
  });
  document.body.append(box);
  box.showModal();
  return box;
}

const optional = () => h("span", { class: "optional" }, " optional");

/**
 * One field, with its help and what the API has against it.
 * @param {FieldSpec} spec
 * @returns {Field}
 */
export function field(spec) {
  const id = uid("f");
  const help = spec.help && h("p", { class: "hint", id: `${id}h` }, spec.help);
  const problem = h("p", { class: "field-error", id: `${id}e`, role: "alert" });
  const common = {
    id,
    name: spec.name,
    "aria-describedby": `${spec.help ? `${id}h ` : ""}${id}e`,
    required: spec.required,
    disabled: spec.disabled,
  };
  const parts = { id, help, problem, common };
  if (spec.kind === "pick") return pickField(spec, parts);
  if (spec.kind === "checks") return checksField(spec, parts);
  return plainField(spec, parts);
}

/** @typedef {{ id: string, help: Child, problem: HTMLElement, common: Props }} Parts */

/**
 * @param {FieldSpec} spec
 * @param {Parts} parts
 * @returns {Field}
 */
function pickField(spec, { id, help, problem, common }) {
  let picked = spec.value ?? null;
  const { input, list } = combo({
    load: spec.load ?? (async () => []),
    text: spec.text,
    onpick: (choice) => {
      picked = choice?.value ?? null;
    },
    props: { ...common, placeholder: spec.placeholder },
  });
  const label = h("label", { for: id }, spec.label, !spec.required && optional());
  return {
    spec,
    problem,
    input,
    value: () => (input.value.trim() === "" ? null : (picked ?? input.value.trim())),
    set: (value) => {
      picked = value;
      input.value = value ?? "";
    },
    element: h("div", { class: "field" }, label, input, list, help, problem),
  };
}

/**
 * @param {FieldSpec} spec
 * @param {Parts} parts
 * @returns {Field}
 */
function checksField(spec, { help, problem }) {
  const set = new Set(spec.value ?? []);
  /** @param {[value: string, text: string, hint?: string][]} options */
  const make = (options) =>
    options.map(([value, text, hint]) => ({
      text,
      hint,
      input: h("input", { type: "checkbox", name: spec.name, value, checked: set.has(value) }),
    }));
  const few = make(spec.options ?? []);
  const more = (spec.more ?? []).map(({ title, options }) => ({ title, boxes: make(options) }));
  const boxes = [...few, ...more.flatMap((group) => group.boxes)];
  /** @param {typeof boxes} some */
  const list = (some) =>
    h(
      "div",
      { class: "checks" },
      some.map(({ input, text, hint }) =>
        h(
          "div",
          { class: hint ? "hinted" : null },
          h("label", { class: "check" }, input, h("span", null, text)),
          hint && h("p", { class: "hint" }, hint),
        ),
      ),
    );
  return {
    spec,
    problem,
    input: boxes[0]?.input ?? null,
    value: () => boxes.filter(({ input }) => input.checked).map(({ input }) => input.value),
    set: (value) => boxes.forEach(({ input }) => (input.checked = value.includes(input.value))),
    element: h(
      "fieldset",
      { class: "field" },
      h("legend", null, spec.label),
      list(few),
      more.map(({ title, boxes: some }) =>
        h(
          "details",
          { open: some.some(({ input }) => input.checked) },
          h("summary", null, title),
          list(some),
        ),
      ),
      help,
      problem,
    ),
  };
}

/**
 * @param {FieldSpec} spec
 * @param {Props} common
 */
function inputOf(spec, common) {
  if (spec.kind === "select") {
    const now = String(spec.value ?? "");
    const options = (spec.options ?? []).map(([value, text]) =>
      h("option", { value, selected: String(value) === now }, text),
    );
    return h("select", common, options);
  }
  if (spec.kind === "textarea" || spec.kind === "json") {
    const code = spec.kind === "json" ? { spellcheck: "false", class: "mono" } : {};
    return h(
      "textarea",
      { dir: "auto", ...common, rows: spec.rows ?? 3, ...code },
      spec.value ?? "",
    );
  }
  const given = spec.kind === "duration" ? spanText(spec.value) : (spec.value ?? "");
  return h("input", {
    type: spec.kind === "duration" ? "text" : (spec.kind ?? "text"),
    dir: spec.kind ? null : "auto",
    autocomplete: spec.autocomplete ?? "off",
    spellcheck: "false",
    autocapitalize: "off",
    min: spec.min,
    max: spec.max,
    placeholder: spec.placeholder,
    list: spec.list,
    ...common,
    value: given,
  });
}

/**
 * @param {FieldSpec} spec
 * @param {Parts} parts
 * @returns {Field}
 */
function plainField(spec, { id, help, problem, common }) {
  const input = inputOf(spec, common);
  const plain = spec.required || spec.kind === "select" || spec.kind === "password";
  const label = h("label", { for: id }, spec.label, plain ? null : optional());
  return {
    spec,
    problem,
    input,
    element: h("div", { class: "field" }, label, input, help, problem),
    set: (value) => {
      input.value =
        spec.kind === "json"
          ? JSON.stringify(value, null, 2)
          : spec.kind === "duration"
            ? spanText(value)
            : String(value ?? "");
    },
    value: () => {
      const text = input.value.trim();
      if (spec.kind === "json") return text === "" ? {} : JSON.parse(text);
      if (text === "") return null;
      if (spec.kind === "number") return Number(text);
      if (spec.kind === "duration") return spanOf(text);
      if (spec.kind === "datetime-local") return new Date(text).toISOString().slice(0, 19) + "Z";
      return text;
    },
  };
}

/**
 * A form over fields; `submit(values)` may throw an ApiError.
 * @param {FieldSpec[]} specs
 * @param {FormOptions} options
 */
export function form(
  specs,
  {
    label,
    submit,
    kind = "primary",
    before,
    after,
    cancel,
    edits = false,
    seen,
    of = (one) => one,
  },
) {
  const fields = specs.map(field);
  const text = (/** @type {Field} */ f) => JSON.stringify(f.value());
  const atFirst = edits ? fields.map(text) : [];
  const general = h("div", { class: "general" });
  const send = h("button", { type: "submit", class: `button ${kind}` }, label);
  const element = h(
    "form",
    { novalidate: true, class: "form" },
    before,
    general,
    fields.map((f) => f.element),
    after,
    h(
      "div",
      { class: "form-end" },
      send,
      cancel && h("button", { type: "button", class: "button", onclick: cancel }, "Cancel"),
    ),
  );
  /** @param {any} error */
  const show = (error) => showRefusal(fields, general, error);
  /**
   * Somebody else was quicker. What only they have changed is taken over; what both have is to be chosen.
   * @param {any} newest
   */
  function merge(newest) {
    seen = newest;
    const now = of(newest);
    /** @type {Child[]} */
    const lines = [];
    for (const [n, f] of fields.entries()) {
      const { name, label } = f.spec;
      if (!(name in now) || sameAs(now[name], atFirst[n])) continue;
      const theirs = now[name];
      const mine = text(f) !== atFirst[n];
      atFirst[n] = JSON.stringify(theirs);
      const what = [h("b", null, label), " is now ", h("q", null, asText(theirs))];
      if (!mine) {
        f.set(theirs);
        lines.push(h("li", null, what));
      } else {
        const take = h("button", { type: "button", class: "button small" }, "Take theirs");
        const line = h("li", null, what, "; yours is in the field. ", take);
        take.addEventListener("click", () => {
          f.set(theirs);
          fill(line, what);
          f.input?.focus();
        });
        lines.push(line);
      }
    }
    const title = lines.length
      ? "Somebody else changed this meanwhile. Nothing was saved yet: look, then save again."
      : "Somebody else changed this meanwhile, but none of these fields. Save again.";
    const list = lines.length > 0 && h("ul", { class: "merge" }, lines);
    fill(
      general,
      h("div", { class: "problem", role: "alert" }, icon("warn"), h("div", null, title, list)),
    );
    find("button", general)?.focus();
  }
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    fill(general);
    for (const f of fields) {
      f.problem.textContent = "";
      f.input?.removeAttribute("aria-invalid");
    }
    /** @type {Record<string, unknown>} */
    const values = {};
    for (const [n, f] of fields.entries()) {
      try {
        const value = f.value();
        if (!edits || JSON.stringify(value) !== atFirst[n]) values[f.spec.name] = value;
      } catch {
        const what =
          f.spec.kind === "duration"
            ? "must be a length of time such as 30 min, 2 h or 1 d, or never"
            : "is not a JSON object";
        return show({ message: "", fields: { [f.spec.name]: [what] } });
      }
    }
    send.disabled = true;
    element.setAttribute("aria-busy", "true");
    try {
      await submit(values, seen);
    } catch (e) {
      if (e.name === "AbortError") return;
      if (e.status === 412 && e.existing && edits) return merge(e.existing);
      if (e.status === undefined) console.error(e);
      show({ fields: {}, ...e, message: e.message, requestId: e.requestId });
    } finally {
      send.disabled = false;
      element.removeAttribute("aria-busy");
    }
  });
  /** @param {string} name */
  const get = (name) => fields.find((f) => f.spec.name === name);
  /** What was changed so far. */
  const changed = () =>
    Object.fromEntries(
      fields.filter((f, n) => text(f) !== atFirst[n]).map((f) => [f.spec.name, f.value()]),
    );
  return { element, fields, show, get, changed };
}

/**
 * Whether a value of the API is what a field had.
 * @param {any} value
 * @param {string} field as JSON
 */
const sameAs = (value, field) =>
  JSON.stringify(value) === field || ((value ?? "") === "" && field === "null");

/** @param {any} value */
function asText(value) {
  if (value === null || value === "" || value?.length === 0) return "nothing";
  return Array.isArray(value)
    ? value.join(", ")
    : typeof value === "object"
      ? JSON.stringify(value)
      : String(value);
}

/**
 * What the API says to programs, for people: fields are left empty where those send null, and lengths of time
 * have units.
 * @param {string} text
 * @param {FieldSpec} spec
 */
export function inWords(text, spec) {
  const plain = text
    .replace(/,? or null for (.+)/, "; empty: $1")
    .replace(/,? (or|not) (nothing \(null\)|null)/, "; or empty")
    .replace(/\ba text \(string\)/, "a text");
  if (spec.kind !== "duration") return plain;
  return plain
    .replace("0 (never)", "never")
    .replace(/\b(\d+) seconds( \([^)]*\))?/g, (_, n) => spanText(Number(n)));
}

/**
 * Says at each field what the API has against it, and above the form what is about none of them.
 * @param {Field[]} fields
 * @param {HTMLElement} general
 * @param {any} error
 */
function showRefusal(fields, general, error) {
  let first = null;
  /** @type {Record<string, string[]>} */
  const left = { ...error.fields };
  for (const f of fields) {
    const names = [f.spec.name, ...(f.spec.also ?? [])];
    const texts = names.flatMap((name) => left[name] ?? []);
    names.forEach((name) => delete left[name]);
    if (!texts.length) continue;
    fill(f.problem, `${f.spec.label} ${texts.map((text) => inWords(text, f.spec)).join("; ")}`);
    // For who asks about it: nothing to read for who only fills in a form.
    if (error.requestId) {
      const request = ` (request ${error.requestId})`;
      f.problem.title = request.trim();
      f.problem.append(h("span", { hidden: true }, request));
    }
    f.input?.setAttribute("aria-invalid", "true");
    first ??= f.input;
  }
  const rest = Object.entries(left).flatMap(([name, texts]) =>
    texts.map((text) => `${name} ${text}`),
  );
  if (rest.length) fill(general, errorBox({ ...error, message: rest.join("; ") }));
  else if (!first) fill(general, errorBox(error));
  first?.focus();
}

/**
 * What of the values of a form is set.
 * @param {Record<string, any>} values
 * @returns {Record<string, any>}
 */
export const filled = (values) =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));

/**
 * A form in a dialog; closes when `submit` succeeds, unless that answers true.
 * @param {string} title
 * @param {FieldSpec[]} specs
 * @param {Omit<FormOptions, "submit"> & { submit: (values: any, box: HTMLDialogElement, seen?: any) => unknown }} options
 */
export function formDialog(title, specs, options) {
  /** @type {HTMLDialogElement} */
  let box;
  const made = form(specs, {
    ...options,
    cancel: () => box.close(),
    submit: async (values, seen) => {
      const keep = await options.submit(values, box, seen);
      if (keep !== true) box.close();
    },
  });
  box = dialog(title, made.element);
  made.fields.find((f) => f.input && !f.spec.disabled)?.input?.focus();
  return { ...made, box };
}

/**
 * A form over what is there, read anew: only what was changed is sent, and only to what was seen.
 * @param {string} title
 * @param {string} path in the API
 * @param {(one: any) => FieldSpec[]} fields
 * @param {(changed: any) => unknown} done
 * @param {string} [label]
 */
export async function editDialog(title, path, fields, done, label = "Save") {
  try {
    const read = await api.get(path);
    const of = (/** @type {any} */ one) => one.data ?? one;
    return formDialog(title, fields(of(read)), {
      label,
      edits: true,
      seen: read,
      of,
      submit: async (values, _, seen) => {
        const changed = Object.keys(values).length ? await api.patch(path, values, { seen }) : read;
        toast("Saved.");
        done(of(changed));
      },
    });
  } catch (e) {
    toastError(e);
  }
}

/**
 * Asks before something goes; `word` must be typed where it is given.
 * @param {string} title
 * @param {Child} text
 * @param {{ label: string, word?: string, submit: () => unknown, warn?: Child }} options
 */
export function confirmDialog(title, text, { label, word, submit, warn }) {
  const specs = word ? [{ name: "word", label: `Type ${word} to confirm`, required: true }] : [];
  const warning = warn && h("p", { class: "warn-line" }, icon("warn"), warn);
  const made = formDialog(title, specs, {
    label,
    kind: "danger",
    before: h("div", { class: "prose" }, text, warning),
    submit: async (values) => {
      if (word && values.word !== word) {
        throw { message: "", fields: { word: [`must be ${word}`] }, status: 0 };
      }
      return submit();
    },
  });
  if (!word) find("button[type=submit]", made.element)?.focus();
  return made;
}

/**
 * A secret that is shown this once; done when the dialog is closed.
 * @param {string} title
 * @param {string} secret
 * @param {string} [note]
 */
export function secretDialog(title, secret, note, label = "Copy the key") {
  const once = "This key is shown once. Only a hash of it is kept, so it cannot be shown again.";
  const done = h("button", { type: "button", class: "button primary" }, "I have saved it");
  const box = dialog(
    title,
    h("div", { class: "prose" }, h("p", null, note ?? once)),
    h("p", { class: "secret" }, copyable(secret, { label })),
    h("div", { class: "form-end" }, done),
  );
  // A slip of a key must not lose it: Esc asks for the button.
  box.addEventListener("cancel", (event) => event.preventDefault());
  find(".dialog-head .icon-button", box)?.remove();
  done.addEventListener("click", () => box.close());
  done.focus();
  return new Promise((resolve) => box.addEventListener("close", resolve));
}
