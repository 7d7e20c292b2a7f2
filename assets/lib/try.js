// @ts-check
// Calls of the API reference that are really sent, under the session of the admin page.

import { h, fill, icon } from "./dom.js";
import { api } from "./api.js";
import { confirmDialog } from "./forms.js";
import { errorBox } from "./ui.js";

/**
 * @typedef {object} Call
 * @property {string} verb
 * @property {string} path
 * @property {any[]} parameters without those of the head
 * @property {unknown} body an example; undefined where there is none
 * @property {(text: string) => HTMLElement} shown how a reply is drawn
 * @property {(schema: any) => string} hint what a parameter may be
 */

/**
 * A form that sends the call. What changes something says so, and a deletion asks.
 * @param {Call} call
 */
export function tryIt(call) {
  const { verb, path, parameters, body } = call;
  const reads = verb === "get";
  const inputs = parameters.map((p) => ({
    p,
    input: h("input", { type: "text", autocomplete: "off", placeholder: call.hint(p.schema) }),
  }));
  const out = h("div", { "aria-live": "polite" });
  const fields = inputs.map(({ p, input }) => h("label", null, h("code", null, p.name), input));
  const sent =
    body === undefined
      ? null
      : h(
          "textarea",
          { class: "mono", rows: 6, spellcheck: "false", "aria-label": "Body" },
          JSON.stringify(body, null, 2),
        );
  const form = h(
    "form",
    { class: "try" },
    fields.length > 0 && h("div", { class: "try-fields" }, fields),
    sent,
    h(
      "div",
      { class: "try-end" },
      h(
        "button",
        { type: "submit", class: `button small ${verb === "delete" ? "danger" : "primary"}` },
        icon("play"),
        "Send",
      ),
      !reads && h("span", { class: "hint" }, "This really changes something on this server."),
    ),
    out,
  );
  async function send() {
    const values = inputs.map(({ p, input }) => ({ p, value: input.value.trim() }));
    try {
      const given = sent && sent.value.trim() !== "" ? JSON.parse(sent.value) : undefined;
      fill(out, await answer(verb, address(path, values), given, call.shown));
    } catch (e) {
      fill(out, errorBox(e));
    }
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (verb !== "delete") return send();
    const where = address(
      path,
      inputs.map(({ p, input }) => ({ p, value: input.value.trim() })),
    );
    return confirmDialog("Send the deletion?", h("p", null, h("code", null, `DELETE ${where}`)), {
      label: "Send",
      submit: send,
    });
  });
  return form;
}

/**
 * The address with what was typed, in the path and behind it.
 * @param {string} path
 * @param {{ p: any, value: string }[]} values
 */
function address(path, values) {
  let url = path.replace(/^\/api\/v1/, "");
  const query = new URLSearchParams();
  for (const { p, value } of values) {
    if (p.in === "path") url = url.replace(`{${p.name}}`, encodeURIComponent(value));
    else if (value) query.set(p.name, value);
  }
  return query.size ? `${url}?${query}` : url;
}

/**
 * @param {string} verb
 * @param {string} url
 * @param {unknown} body
 * @param {Call["shown"]} shown
 */
async function answer(verb, url, body, shown) {
  const reply = await api.raw(url, { method: verb.toUpperCase(), body });
  const text = await reply.text();
  let drawn = text;
  try {
    drawn = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    /* CSV, for one */
  }
  const request = reply.headers.get("x-request-id");
  return [
    h("p", { class: "hint" }, `${reply.status} ${reply.statusText} · request ${request}`),
    shown(drawn.slice(0, 100_000)),
  ];
}
