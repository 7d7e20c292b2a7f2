// @ts-check
// The API reference, drawn from /openapi.json: what the server says of itself, nothing else.

/** @import { Child } from "./lib/dom.js" */
import { byId, h, fill, find, icon, debounce } from "./lib/dom.js";
import { session } from "./lib/api.js";
import { copy, errorBox, say, tag as mark } from "./lib/ui.js";
import { snippets } from "./lib/snippets.js";
import { tryIt } from "./lib/try.js";

/**
 * Parts of an OpenAPI document; whatever is in them.
 * @typedef {any} Schema
 * @typedef {any} Operation
 * @typedef {any} Parameter
 */
/** @typedef {{ name: string, schema: Schema, required?: boolean, description?: string }} Named */
/** @typedef {[verb: string, path: string, operation: Operation]} Entry */

const VERBS = ["get", "post", "put", "patch", "delete"];
/** Groups of operations that are shown before the others. */
const FIRST = ["workspaces", "computers", "projects", "usage", "credits", "api-keys"];
const main = byId("main"),
  toc = byId("toc");
/** @type {any} */
let spec;
let signedIn = false;

/**
 * A text of the document, in which code stands between backticks.
 * @param {string} text
 */
const prose = (text) => text.split("`").map((part, n) => (n % 2 ? h("code", null, part) : part));

// ---------------------------------------------------------------------------------------------
// Schemas

/** @param {Schema} node */
const refName = (node) => node?.$ref?.split("/").pop();

/**
 * @param {Schema} node
 * @returns {Schema}
 */
const follow = (node) => (node?.$ref ? spec.components.schemas[refName(node)] : node);

/**
 * @param {unknown[]} values
 * @returns {string}
 */
const choices = (values) => values.map((value) => JSON.stringify(value)).join(" | ");

/**
 * A type in a few words.
 * @param {Schema} schema
 * @returns {string}
 */
function typeOf(schema) {
  if (!schema) return "any";
  if (schema.$ref) {
    const target = follow(schema);
    if (target?.enum) return choices(target.enum);
    // An id or an instant is what it is written as; what was put together for one place is what it has.
    if (target?.type && target.type !== "object") return typeOf(target);
    if (target?.additionalProperties) return typeOf(target);
    return refName(schema).includes("_") ? shapeOf(target) : refName(schema);
  }
  const many = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (many) return [...new Set(many.map(typeOf))].join(" | ");
  if (schema.enum) return choices(schema.enum);
  return [schema.type ?? "any"]
    .flat()
    .map((type) => {
      if (type === "array") return `${typeOf(schema.items)}[]`;
      const each = schema.additionalProperties;
      if (type === "object" && typeof each === "object") return `{ [name]: ${typeOf(each)} }`;
      return type === "string" && schema.format ? schema.format : type;
    })
    .join(" | ");
}

/** @param {Schema} node */
const shapeOf = (node) =>
  `{ ${properties(node)
    .map((p) => `${p.name}: ${typeOf(p.schema)}`)
    .join(", ")} }`;

/**
 * Properties of an object, also where it is put together from several.
 * @param {Schema} schema
 * @returns {Named[]}
 */
function properties(schema, seen = new Set()) {
  const node = follow(schema);
  if (!node || seen.has(node)) return [];
  seen.add(node);
  const parts = (node.allOf ?? []).flatMap((/** @type {Schema} */ part) => properties(part, seen));
  const own = Object.entries(node.properties ?? {}).map(([name, schema]) => ({
    name,
    schema,
    required: node.required?.includes(name),
  }));
  return [...parts, ...own];
}

/**
 * An invented value of a type.
 * @param {Schema} schema
 * @returns {unknown}
 */
function example(schema, depth = 0, name = "") {
  const node = follow(schema);
  if (!node) return null;
  if (node.example !== undefined) return node.example;
  if (node.enum) return node.enum[0];
  const many = (node.oneOf ?? node.anyOf)?.filter((/** @type {Schema} */ s) => s.type !== "null");
  if (many?.length) return example(many[0], depth, name);
  const props = properties(node);
  if (props.length) return depth > 3 ? {} : exampleOf(props, depth + 1);
  const type = [node.type ?? "object"].flat().find((t) => t !== "null");
  if (type === "array") return depth > 3 ? [] : [example(node.items, depth + 1, name)];
  if (type === "integer" || type === "number") return node.minimum ?? 1;
  if (type === "boolean") return true;
  if (type === "string") return exampleText(node.format, name);
  return {};
}

/**
 * @param {Named[]} props
 * @param {number} depth
 */
const exampleOf = (props, depth) =>
  Object.fromEntries(props.map((p) => [p.name, example(p.schema, depth, p.name)]));

/**
 * @param {string | undefined} format
 * @param {string} name
 */
function exampleText(format, name) {
  if (format === "uuid") return "01900000-0000-7000-8000-000000000001";
  if (format === "date-time") return "2026-05-20T10:15:30Z";
  /** @type {Record<string, string>} */
  const known = { name: "Dr. Smith Clinic", slug: "dr-smith-clinic", size: "small" };
  return known[name] ?? "text";
}

/**
 * A table of names; nothing where there are none.
 * @param {string} title
 * @param {Named[]} list
 * @returns {Child}
 */
function rows(title, list) {
  if (!list.length) return null;
  const heads = ["Name", "Type", "What it is"].map((t) => h("th", { scope: "col" }, t));
  const body = list.map((p) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, h("code", null, p.name), p.required && mark("required")),
      h("td", { "data-label": "Type" }, h("code", null, typeOf(p.schema))),
      h(
        "td",
        { "data-label": "What it is" },
        h("span", null, prose(p.description ?? follow(p.schema)?.description ?? "")),
      ),
    ),
  );
  return [
    h("h4", null, title),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": title },
      h(
        "table",
        null,
        h("caption", { class: "sr" }, title),
        h("thead", null, h("tr", null, heads)),
        h("tbody", null, body),
      ),
    ),
  ];
}

// ---------------------------------------------------------------------------------------------
// Examples

/** @param {string} text */
function snippet(text) {
  const action = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Copy", title: "Copy" },
    icon("copy"),
  );
  action.addEventListener("click", async () => {
    const done = await copy(text, action);
    say(done ? "Copied" : "Could not copy");
    fill(action, icon(done ? "check" : "warn"));
    setTimeout(() => fill(action, icon("copy")), 1500);
  });
  return h("div", { class: "snippet" }, h("pre", { tabindex: 0 }, h("code", null, text)), action);
}

/** The language of all examples, and what shows it in each of them. */
let language = "";
/** @type {Set<(title: string) => void>} */
const examples = new Set();

/**
 * A panel per language behind buttons that look like one.
 * @param {[language: string, text: string][]} list
 * @param {string} name
 */
function tabs(list, name) {
  const place = h("div");
  const first = list.some(([title]) => title === language) ? language : list[0][0];
  /** @param {string} title */
  function show(title) {
    fill(place, snippet(list.find(([one]) => one === title)?.[1] ?? list[0][1]));
    choice.querySelectorAll("input").forEach((input) => (input.checked = input.value === title));
  }
  const choice = h(
    "fieldset",
    { class: "segmented" },
    h("legend", { class: "sr" }, "Language"),
    list.map(([title]) => {
      const input = h("input", { type: "radio", name, value: title });
      // Who reads one in Go reads the others in Go.
      input.addEventListener("change", () => {
        language = title;
        examples.forEach((one) => one(title));
      });
      return h("label", null, input, h("span", null, title));
    }),
  );
  show(first);
  examples.add(show);
  return [choice, place];
}

// ---------------------------------------------------------------------------------------------
// Operations

/** @param {Entry} entry */
function operation([verb, path, op]) {
  /** @type {Parameter[]} */
  const parameters = (op.parameters ?? []).map(follow);
  const body = op.requestBody?.content?.["application/json"]?.schema;
  const [title, where] = [`${op.operationId}-t`, `${op.operationId}-p`];
  return h(
    "section",
    { class: "panel operation", id: op.operationId, "aria-labelledby": `${title} ${where}` },
    h("h3", { id: title }, op.summary),
    h("p", { class: "path", id: where }, verbMark(verb), h("code", null, path)),
    op.description && h("p", { class: "hint" }, prose(op.description)),
    rows(
      "Parameters",
      parameters.filter((p) => p.in !== "header"),
    ),
    body && rows("Body", properties(body)),
    more([verb, path, op], parameters, body),
  );
}

/** @param {string} verb */
const verbMark = (verb) => h("span", { class: "verb", dataset: { verb } }, verb.toUpperCase());

/**
 * Examples, reply and errors: of a hundred endpoints they are drawn when somebody comes near.
 * @param {Entry} entry
 * @param {Parameter[]} parameters
 * @param {Schema} body
 */
function more([verb, path, op], parameters, body) {
  const success = Object.entries(op.responses ?? {}).find(([code]) => code.startsWith("2"));
  const [status, reply] = success ?? [];
  /** @type {[string, any] | []} */
  const [kind, content] = Object.entries(reply?.content ?? {})[0] ?? [];
  const place = h("div", { class: "more" });
  const details = h(
    "details",
    { open: true },
    h("summary", null, "Example, try it, reply, errors"),
    place,
  );
  /** @type {any} */ (details).draw = () => {
    if (place.childElementCount) return;
    const needed = body && properties(body).filter((p) => p.required);
    /** @type {[string, unknown][]} */
    const asked = parameters
      .filter((p) => p.in === "query" && p.required)
      .map((p) => [p.name, example(p.schema, 0, p.name)]);
    const given = needed && exampleOf(needed, 0);
    const calls = snippets(verb, path, given, asked);
    fill(
      place,
      h("h4", null, "Call"),
      tabs(calls, `${op.operationId}-lang`),
      kind !== "text/event-stream" && [
        h("h4", null, "Try it"),
        trying(verb, path, parameters, given),
      ],
      content && [
        h("h4", null, `Reply ${status}`, kind === "application/json" ? "" : ` (${kind})`),
        snippet(JSON.stringify(example(content.schema), null, 2)),
        rows("Fields of the reply", properties(content.schema)),
      ],
      h("h4", null, "Refusals"),
      refusals(op),
    );
  };
  return details;
}

/**
 * @param {string} verb
 * @param {string} path
 * @param {Parameter[]} parameters
 * @param {unknown} body
 */
function trying(verb, path, parameters, body) {
  if (!signedIn)
    return h("p", { class: "hint" }, h("a", { href: "admin" }, "Sign in"), " to try it here.");
  return tryIt({
    verb,
    path,
    parameters: parameters.filter((p) => p.in !== "header"),
    body,
    shown: snippet,
    hint: (schema) => [follow(schema)?.enum ?? []].flat()[0] ?? "",
  });
}

/** Draws what is about to be seen. */
function drawWhatIsNear() {
  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        /** @type {any} */ (target).draw();
      }
    },
    { rootMargin: "900px 0px" },
  );
  main.querySelectorAll(".operation > details").forEach((one) => near.observe(one));
}

/** Cards above one that are drawn before it is gone to: what is drawn later would push it away. */
const ABOVE = 3;

/** Goes to what the address names. */
function land() {
  const target =
    location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const all = [...main.querySelectorAll(".operation")];
  const at = all.indexOf(target);
  for (const one of at < 0 ? [] : all.slice(Math.max(0, at - ABOVE), at + 1))
    /** @type {any} */ (one.querySelector(":scope > details"))?.draw();
  target.scrollIntoView();
}

/** Marks in the list which endpoint is looked at. */
function markWhatIsRead() {
  const reading = new IntersectionObserver(
    (entries) => {
      const now = entries.filter((entry) => entry.isIntersecting).at(-1)?.target;
      if (!now) return;
      toc
        .querySelectorAll("[aria-current]")
        .forEach((link) => link.removeAttribute("aria-current"));
      const link = find(`a[href="#${CSS.escape(now.id)}"]`, toc);
      link?.setAttribute("aria-current", "true");
      // Where the list stands beside the text, and has a bar of its own.
      if (
        link &&
        toc.scrollHeight > toc.clientHeight &&
        getComputedStyle(toc).position === "sticky"
      )
        toc.scrollTop += link.getBoundingClientRect().top - toc.getBoundingClientRect().top - 120;
    },
    { rootMargin: "-90px 0px -75% 0px" },
  );
  main.querySelectorAll(".operation").forEach((one) => reading.observe(one));
}

/** @param {Operation} op */
function refusals(op) {
  /** @type {[string, any][]} */
  const errors = Object.entries(op.responses ?? {});
  return h(
    "ul",
    { class: "plain" },
    errors
      .filter(([code]) => Number(code) >= 400)
      .map(([code, { description }]) =>
        h("li", null, h("code", null, code), " ", prose(description)),
      ),
  );
}

// ---------------------------------------------------------------------------------------------
// The page

/**
 * The operations by their tag.
 * @returns {[tag: string, entries: Entry[]][]}
 */
function groupsOf() {
  /** @type {Map<string, Entry[]>} */
  const groups = new Map();
  for (const path of Object.keys(spec.paths)) {
    const item = spec.paths[path];
    for (const verb of VERBS.filter((v) => item[v])) {
      const tag = item[verb].tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), [verb, path, item[verb]]]);
    }
  }
  /** @param {string} tag */
  const rank = (tag) => FIRST.indexOf(tag) + 1 || 99;
  return [...groups].sort(([a], [b]) => rank(a) - rank(b));
}

/** @param {string} tag */
const titleOf = (tag) =>
  tag
    .replaceAll("-", " ")
    .replace(/^./, (c) => c.toUpperCase())
    .replace("Api", "API");

const intro = () =>
  h(
    "div",
    { class: "prose" },
    h("p", null, `${spec.info.description} Version ${spec.info.version}.`),
    h(
      "p",
      null,
      "Send your key with every request: ",
      h("code", null, "Authorization: Bearer msk_…"),
      ". Lists answer ",
      h("code", null, "{data, total}"),
      "; every refusal has a code, a message and a request id.",
    ),
  );

/**
 * The endpoints in whose verb, path or summary a text is.
 * @param {[tag: string, entries: Entry[]][]} groups
 * @param {string} text
 */
const contents = (groups, text) =>
  groups.map(([tag, entries]) => {
    const found = entries.filter(([verb, path, op]) =>
      `${verb} ${path} ${op.summary}`.toLowerCase().includes(text),
    );
    if (!found.length) return null;
    const links = found.map(([verb, path, op]) =>
      h(
        "a",
        { href: `#${op.operationId}`, title: `${verb.toUpperCase()} ${path}` },
        verbMark(verb),
        h("span", null, op.summary),
      ),
    );
    return [
      h("h2", null, titleOf(tag)),
      h(
        "ul",
        null,
        links.map((link) => h("li", null, link)),
      ),
    ];
  });

/** @param {[tag: string, entries: Entry[]][]} groups */
function drawToc(groups) {
  const list = h("div", null, contents(groups, ""));
  const search = h("input", {
    type: "search",
    placeholder: "Find an endpoint",
    "aria-label": "Find an endpoint",
  });
  const later = debounce(() => fill(list, contents(groups, search.value.trim().toLowerCase())), 80);
  search.addEventListener("input", () => later());
  fill(toc, search, list);
}

async function start() {
  try {
    const [found, who] = await Promise.all([
      fetch("openapi.json").then((response) => response.json()),
      session.show().catch(() => null),
    ]);
    spec = found;
    signedIn = Boolean(who?.signed_in);
  } catch {
    fill(main, errorBox(new Error("The document of the API cannot be read."), start));
    return;
  }
  const groups = groupsOf();
  fill(
    main,
    h("h1", null, "API reference"),
    intro(),
    groups.map(([tag, entries]) => [
      h("h2", { class: "group", id: `tag-${tag}` }, titleOf(tag)),
      entries.map(operation),
    ]),
  );
  drawToc(groups);
  drawWhatIsNear();
  markWhatIsRead();
  land();
}

addEventListener("hashchange", land);
find(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
