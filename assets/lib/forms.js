// Dialogs and forms. What the API refuses appears at the field that it is about.

import { h, fill, icon, uid } from "./dom.js";
import { errorBox, copyable } from "./ui.js";
import { combo } from "./combo.js";

/** A modal dialog; the focus goes back to where it was, also when that was drawn anew meanwhile. */
export function dialog(title, ...content) {
  const back = document.activeElement,
    key = back?.dataset.key;
  const label = uid("d");
  const close = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => box.close() },
    icon("cross"),
  );
  const box = h(
    "dialog",
    { "aria-labelledby": label },
    h("div", { class: "dialog-head" }, h("h2", { id: label }, title), close),
    content,
  );
  box.addEventListener("close", () => {
    box.remove();
    (back?.isConnected
      ? back
      : key && document.querySelector(`[data-key="${CSS.escape(key)}"]`)
    )?.focus();
  });
  document.body.append(box);
  box.showModal();
  return box;
}

/** One field. Kinds: text (default), number, textarea, select, pick (a choice that is searched for with
 *  `load`), checks, datetime-local, json. */
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
  let input;
  if (spec.kind === "select") {
    input = h(
      "select",
      common,
      spec.options.map(([value, text]) =>
        h("option", { value, selected: String(value) === String(spec.value ?? "") }, text),
      ),
    );
  } else if (spec.kind === "textarea" || spec.kind === "json") {
    input = h(
      "textarea",
      {
        ...common,
        rows: spec.rows ?? 3,
        spellcheck: spec.kind === "json" ? "false" : null,
        class: spec.kind === "json" ? "mono" : null,
      },
      spec.value ?? "",
    );
  } else if (spec.kind === "pick") {
    let picked = spec.value ?? null;
    const made = combo({
      load: spec.load,
      text: spec.text,
      onpick: (choice) => {
        picked = choice?.value ?? null;
      },
      props: { ...common, placeholder: spec.placeholder },
    });
    return {
      spec,
      problem,
      input: made.input,
      value: () => (made.input.value.trim() === "" ? null : (picked ?? made.input.value.trim())),
      element: h(
        "div",
        { class: "field" },
        h(
          "label",
          { for: id },
          spec.label,
          !spec.required && h("span", { class: "optional" }, " optional"),
        ),
        made.input,
        made.list,
        help,
        problem,
      ),
    };
  } else if (spec.kind === "checks") {
    const set = new Set(spec.value ?? []);
    const boxes = spec.options.map(([value, text]) =>
      h(
        "label",
        { class: "check" },
        h("input", { type: "checkbox", name: spec.name, value, checked: set.has(value) }),
        text,
      ),
    );
    return {
      spec,
      problem,
      input: boxes[0]?.querySelector("input"),
      value: () =>
        boxes
          .map((b) => b.querySelector("input"))
          .filter((b) => b.checked)
          .map((b) => b.value),
      element: h(
        "fieldset",
        { class: "field" },
        h("legend", null, spec.label),
        h("div", { class: "checks" }, boxes),
        help,
        problem,
      ),
    };
  } else {
    input = h("input", {
      type: spec.kind ?? "text",
      autocomplete: "off",
      spellcheck: "false",
      autocapitalize: "off",
      min: spec.min,
      max: spec.max,
      placeholder: spec.placeholder,
      list: spec.list,
      ...common,
      value: spec.value ?? "",
    });
  }
  const label = h(
    "label",
    { for: id },
    spec.label,
    spec.required || spec.kind === "select" || spec.kind === "password"
      ? null
      : h("span", { class: "optional" }, " optional"),
  );
  const wrap = h(
    "div",
    { class: "field" },
    spec.kind === "checkbox" ? null : label,
    spec.prefix ? h("div", { class: "with-prefix" }, input, spec.prefix) : input,
    help,
    problem,
  );
  return {
    spec,
    problem,
    input,
    element: wrap,
    value: () => {
      const text = input.value.trim();
      if (spec.kind === "number") return text === "" ? null : Number(text);
      if (spec.kind === "json") return text === "" ? {} : JSON.parse(text);
      if (spec.kind === "datetime-local")
        return text === "" ? null : new Date(text).toISOString().slice(0, 19) + "Z";
      return text === "" ? null : text;
    },
  };
}

/** A form over fields; `submit(values)` may throw an ApiError. */
export function form(specs, { label, submit, kind = "primary", before, after, cancel }) {
  const fields = specs.map(field);
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
  const clear = () => {
    fill(general);
    for (const f of fields) {
      f.problem.textContent = "";
      f.input?.removeAttribute("aria-invalid");
    }
  };
  function show(error) {
    let first = null;
    const left = { ...error.fields };
    for (const f of fields) {
      const names = [f.spec.name, ...(f.spec.also ?? [])];
      const texts = names.flatMap((name) => left[name] ?? []);
      names.forEach((name) => delete left[name]);
      if (!texts.length) continue;
      f.problem.textContent = `${f.spec.label} ${texts.join("; ")}${error.requestId ? ` (request ${error.requestId})` : ""}`;
      f.input?.setAttribute("aria-invalid", "true");
      first ??= f.input;
    }
    const rest = Object.entries(left).flatMap(([name, texts]) =>
      texts.map((text) => `${name} ${text}`),
    );
    if (!first || rest.length)
      fill(
        general,
        errorBox(
          rest.length ? Object.assign(Object.create(error), { message: rest.join("; ") }) : error,
        ),
      );
    first?.focus();
  }
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    clear();
    const values = {};
    for (const f of fields) {
      try {
        values[f.spec.name] = f.value();
      } catch {
        return show({ message: "", fields: { [f.spec.name]: ["is not a JSON object"] } });
      }
    }
    send.disabled = true;
    element.setAttribute("aria-busy", "true");
    try {
      await submit(values);
    } catch (e) {
      if (e.name === "AbortError") return;
      if (e.status === undefined) console.error(e);
      show({ fields: {}, ...e, message: e.message, requestId: e.requestId });
    } finally {
      send.disabled = false;
      element.removeAttribute("aria-busy");
    }
  });
  return { element, fields, show, clear, get: (name) => fields.find((f) => f.spec.name === name) };
}

/** A form in a dialog; closes when `submit` succeeds. */
export function formDialog(title, specs, options) {
  const made = form(specs, {
    ...options,
    cancel: () => box.close(),
    submit: async (values) => {
      const keep = await options.submit(values, box);
      if (keep !== true) box.close();
    },
  });
  const box = dialog(title, made.element);
  const first = made.fields.find((f) => f.input && !f.spec.disabled);
  first?.input.focus();
  return { ...made, box };
}

/** Asks before something goes; `word` must be typed where it is given. */
export function confirmDialog(title, text, { label, word, submit, warn }) {
  const specs = word ? [{ name: "word", label: `Type ${word} to confirm`, required: true }] : [];
  const made = formDialog(title, specs, {
    label,
    kind: "danger",
    before: h(
      "div",
      { class: "prose" },
      text,
      warn && h("p", { class: "warn-line" }, icon("warn"), warn),
    ),
    submit: async (values) => {
      if (word && values.word !== word)
        throw { message: "", fields: { word: [`must be ${word}`] }, status: 0 };
      return submit();
    },
  });
  if (!word) made.element.querySelector("button[type=submit]")?.focus();
  return made;
}

/** A secret that is shown this once. */
export function secretDialog(title, secret, note, label = "Copy the key") {
  const done = h("button", { type: "button", class: "button primary" }, "I have saved it");
  const box = dialog(
    title,
    h(
      "div",
      { class: "prose" },
      h(
        "p",
        null,
        note ?? "This key is shown once. Only a hash of it is kept, so it cannot be shown again.",
      ),
    ),
    h("p", { class: "secret" }, copyable(secret, { label })),
    h("div", { class: "form-end" }, done),
  );
  // A slip of a key must not lose it: Esc asks for the button.
  box.addEventListener("cancel", (event) => event.preventDefault());
  box.querySelector(".dialog-head .icon-button").remove();
  done.addEventListener("click", () => box.close());
  done.focus();
  return new Promise((resolve) => box.addEventListener("close", resolve));
}
