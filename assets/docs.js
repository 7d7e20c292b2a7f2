// The API reference, drawn from /openapi.json: what the server says of itself, nothing else.

import { h, fill, icon, debounce } from "./lib/dom.js";
import { api, session } from "./lib/api.js";
import { copy, errorBox, say } from "./lib/ui.js";

/** A text of the document, in which code stands between backticks. */
const prose = (text) => text.split("`").map((part, n) => (n % 2 ? h("code", null, part) : part));

const VERBS = ["get", "post", "put", "patch", "delete"];
const main = document.getElementById("main"),
  toc = document.getElementById("toc");
let spec,
  signedIn = false;

const follow = (node) => (node?.$ref ? spec.components.schemas[node.$ref.split("/").pop()] : node);
const refName = (node) => node?.$ref?.split("/").pop();

/** A type in a few words. */
function typeOf(schema) {
  if (!schema) return "any";
  if (schema.$ref) {
    const target = follow(schema);
    return target?.enum ? target.enum.map((v) => JSON.stringify(v)).join(" | ") : refName(schema);
  }
  const many = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (many)
    return many
      .map(typeOf)
      .filter((t, i, all) => all.indexOf(t) === i)
      .join(" | ");
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  const types = [].concat(schema.type ?? "any");
  return types
    .map((t) =>
      t === "array"
        ? `${typeOf(schema.items)}[]`
        : t === "string" && schema.format
          ? schema.format
          : t,
    )
    .join(" | ");
}

/** Properties of an object, also where it is put together from several. */
function properties(schema, seen = new Set()) {
  const node = follow(schema);
  if (!node || seen.has(node)) return [];
  seen.add(node);
  const own = Object.entries(node.properties ?? {}).map(([name, s]) => ({
    name,
    schema: s,
    required: node.required?.includes(name),
  }));
  return [...(node.allOf ?? []).flatMap((part) => properties(part, seen)), ...own];
}

/** An invented value of a type. */
function example(schema, depth = 0, name = "") {
  const node = follow(schema);
  if (!node) return null;
  if (node.example !== undefined) return node.example;
  if (node.enum) return node.enum[0];
  const many = (node.oneOf ?? node.anyOf)?.filter((s) => s.type !== "null");
  if (many?.length) return example(many[0], depth, name);
  const props = properties(node);
  if (props.length)
    return depth > 3
      ? {}
      : Object.fromEntries(props.map((p) => [p.name, example(p.schema, depth + 1, p.name)]));
  const type = [].concat(node.type ?? "object").find((t) => t !== "null");
  if (type === "array") return depth > 3 ? [] : [example(node.items, depth + 1, name)];
  if (type === "integer" || type === "number") return node.minimum ?? 1;
  if (type === "boolean") return true;
  if (type === "string") {
    if (node.format === "uuid") return "01900000-0000-7000-8000-000000000001";
    if (node.format === "date-time") return "2026-05-20T10:15:30Z";
    return { name: "Dr. Smith Clinic", slug: "dr-smith-clinic", size: "small" }[name] ?? "text";
  }
  return {};
}

function rows(title, list) {
  return (
    list.length > 0 && [
      h("h4", null, title),
      h(
        "div",
        { class: "scroll", tabindex: 0, role: "group", "aria-label": title },
        h(
          "table",
          null,
          h("caption", { class: "sr" }, title),
          h(
            "thead",
            null,
            h(
              "tr",
              null,
              ["Name", "Type", "What it is"].map((t) => h("th", { scope: "col" }, t)),
            ),
          ),
          h(
            "tbody",
            null,
            list.map((p) =>
              h(
                "tr",
                null,
                h(
                  "th",
                  { scope: "row" },
                  h("code", null, p.name),
                  p.required && h("span", { class: "tag" }, "required"),
                ),
                h("td", { "data-label": "Type" }, h("code", null, typeOf(p.schema))),
                h(
                  "td",
                  { "data-label": "What it is" },
                  h("span", null, prose(p.description ?? follow(p.schema)?.description ?? "")),
                ),
              ),
            ),
          ),
        ),
      ),
    ]
  );
}

function snippet(text) {
  const action = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Copy", title: "Copy" },
    icon("copy"),
  );
  action.addEventListener("click", async () => {
    say((await copy(text, action)) ? "Copied" : "Could not copy");
    fill(action, icon("check"));
    setTimeout(() => fill(action, icon("copy")), 1500);
  });
  return h("div", { class: "snippet" }, h("pre", { tabindex: 0 }, h("code", null, text)), action);
}

/** The same call in three languages. */
function snippets(verb, path, body, required) {
  const query = required.length
    ? `?${required.map((p) => `${p.name}=${example(p.schema, 0, p.name)}`).join("&")}`
    : "";
  const url = `${location.origin}${path
    .replace(/\{(\w+)\}/g, "$$$1")
    .replace("$id", "$ID")
    .replace("$name", "$NAME")}${query}`;
  const json = body && JSON.stringify(body, null, 2);
  const curl =
    [
      `curl${verb === "get" ? "" : ` -X ${verb.toUpperCase()}`} "${url}" \\`,
      '  -H "Authorization: Bearer $MIOSA_API_KEY"',
    ].join("\n") +
    (json
      ? ` \\\n  -H "Content-Type: application/json" \\\n  -d '${json.replaceAll("'", "'\\''")}'`
      : "");
  const pyUrl = url.replace("$ID", "{id}").replace("$NAME", "{name}");
  const python = [
    "import json, os, urllib.request",
    "",
    "request = urllib.request.Request(",
    `    ${pyUrl.includes("{") ? "f" : ""}"${pyUrl}",`,
    `    method="${verb.toUpperCase()}",`,
    `    headers={"Authorization": "Bearer " + os.environ["MIOSA_API_KEY"]${json ? ', "Content-Type": "application/json"' : ""}},`,
    ...(json
      ? [
          `    data=json.dumps(${json
            .replace(/\btrue\b/g, "True")
            .replace(/\bfalse\b/g, "False")
            .replace(/\bnull\b/g, "None")
            .replaceAll("\n", "\n    ")}).encode(),`,
        ]
      : []),
    ")",
    "with urllib.request.urlopen(request) as reply:",
    "    print(json.load(reply))",
  ].join("\n");
  const tsUrl = url.replace("$ID", "${id}").replace("$NAME", "${name}");
  const ts = [
    `const reply = await fetch(\`${tsUrl}\`, {`,
    `  method: "${verb.toUpperCase()}",`,
    `  headers: { Authorization: \`Bearer \${process.env.MIOSA_API_KEY}\`${json ? ', "Content-Type": "application/json"' : ""} },`,
    ...(json ? [`  body: JSON.stringify(${json.replaceAll("\n", "\n  ")}),`] : []),
    "});",
    "console.log(await reply.json());",
  ].join("\n");
  return [
    ["curl", curl],
    ["Python", python],
    ["TypeScript", ts],
  ];
}

/** A panel per language behind buttons that look like one. */
function tabs(list, name) {
  const place = h("div");
  const show = (text) => fill(place, snippet(text));
  show(list[0][1]);
  return [
    h(
      "fieldset",
      { class: "segmented" },
      h("legend", { class: "sr" }, "Language"),
      list.map(([title, text], i) => {
        const input = h("input", { type: "radio", name, checked: i === 0 });
        input.addEventListener("change", () => show(text));
        return h("label", null, input, h("span", null, title));
      }),
    ),
    place,
  ];
}

/** Sends a GET under the session of the admin page. */
function tryIt(path, parameters) {
  if (!signedIn)
    return h("p", { class: "hint" }, h("a", { href: "/admin" }, "Sign in"), " to try it here.");
  const inputs = parameters
    .filter((p) => p.in !== "header")
    .map((p) => ({
      p,
      input: h("input", {
        type: "text",
        autocomplete: "off",
        placeholder: [].concat(follow(p.schema)?.enum ?? [])[0] ?? "",
      }),
    }));
  const out = h("div", { "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "button primary small" }, icon("play"), "Send");
  return h(
    "form",
    {
      class: "try",
      onsubmit: async (event) => {
        event.preventDefault();
        let url = path.replace(/^\/api\/v1/, "");
        const query = new URLSearchParams();
        for (const { p, input } of inputs) {
          const value = input.value.trim();
          if (p.in === "path") url = url.replace(`{${p.name}}`, encodeURIComponent(value));
          else if (value) query.set(p.name, value);
        }
        try {
          const reply = await api.raw(url + (query.size ? `?${query}` : ""));
          const text = await reply.text();
          let shown = text;
          try {
            shown = JSON.stringify(JSON.parse(text), null, 2);
          } catch {
            /* CSV, for one */
          }
          fill(
            out,
            h(
              "p",
              { class: "hint" },
              `${reply.status} ${reply.statusText} · request ${reply.headers.get("x-request-id")}`,
            ),
            snippet(shown.slice(0, 100_000)),
          );
        } catch (e) {
          fill(out, errorBox(e));
        }
      },
    },
    inputs.length > 0 &&
      h(
        "div",
        { class: "try-fields" },
        inputs.map(({ p, input }) => h("label", null, h("code", null, p.name), input)),
      ),
    h("div", null, send),
    out,
  );
}

function operation(verb, path, op) {
  const body = op.requestBody?.content?.["application/json"]?.schema;
  const parameters = (op.parameters ?? []).map(follow);
  const [status, reply] =
    Object.entries(op.responses ?? {}).find(([code]) => code.startsWith("2")) ?? [];
  const [kind, content] = Object.entries(reply?.content ?? {})[0] ?? [];
  const needed =
    body &&
    Object.fromEntries(
      properties(body)
        .filter((p) => p.required)
        .map((p) => [p.name, example(p.schema, 0, p.name)]),
    );
  const errors = Object.entries(op.responses ?? {}).filter(([code]) => Number(code) >= 400);
  const lazy = h("div");
  const more = h(
    "details",
    null,
    h(
      "summary",
      null,
      "Examples, reply, errors",
      verb === "get" && kind !== "text/event-stream" ? ", try it" : "",
    ),
    lazy,
  );
  // A hundred endpoints with their examples are only drawn where somebody looks.
  more.addEventListener("toggle", () => {
    if (!more.open || lazy.childElementCount) return;
    fill(
      lazy,
      h("h4", null, "Call"),
      tabs(
        snippets(
          verb,
          path,
          body && needed,
          parameters.filter((p) => p.in === "query" && p.required),
        ),
        `${op.operationId}-lang`,
      ),
      content && [
        h("h4", null, `Reply ${status}`, kind === "application/json" ? "" : ` (${kind})`),
        snippet(JSON.stringify(example(content.schema), null, 2)),
        rows("Fields of the reply", properties(content.schema)),
      ],
      h("h4", null, "Refusals"),
      h(
        "ul",
        { class: "plain" },
        errors.map(([code, r]) => h("li", null, h("code", null, code), " ", prose(r.description))),
      ),
      verb === "get" &&
        kind !== "text/event-stream" && [h("h4", null, "Try it"), tryIt(path, parameters)],
    );
  });
  return h(
    "section",
    { class: "panel operation", id: op.operationId, "aria-labelledby": `${op.operationId}-t` },
    h(
      "h3",
      { id: `${op.operationId}-t` },
      h("span", { class: "verb", dataset: { verb } }, verb.toUpperCase()),
      h("span", null, path),
    ),
    h("p", null, op.summary),
    op.description && h("p", { class: "hint" }, prose(op.description)),
    rows(
      "Parameters",
      parameters.filter((p) => p.in !== "header").map((p) => ({ ...p, name: p.name })),
    ),
    body && rows("Body", properties(body)),
    more,
  );
}

async function start() {
  try {
    const [document_, who] = await Promise.all([
      fetch("/openapi.json").then((r) => r.json()),
      session.show().catch(() => null),
    ]);
    spec = document_;
    signedIn = Boolean(who?.signed_in);
  } catch {
    fill(main, errorBox(new Error("The document of the API cannot be read."), start));
    return;
  }
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const verb of VERBS.filter((v) => item[v])) {
      const tag = item[verb].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push([verb, path, item[verb]]);
    }
  }
  const first = ["workspaces", "computers", "projects", "usage", "credits", "api-keys"];
  const order = [...groups.keys()].sort(
    (a, b) => (first.indexOf(a) + 1 || 99) - (first.indexOf(b) + 1 || 99),
  );
  const title = (tag) =>
    tag
      .replaceAll("-", " ")
      .replace(/^./, (c) => c.toUpperCase())
      .replace("Api", "API");
  fill(
    main,
    h("h1", null, "API reference"),
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
    ),
    order.map((tag) => [
      h("h2", { class: "group", id: `tag-${tag}` }, title(tag)),
      groups.get(tag).map((entry) => operation(...entry)),
    ]),
  );
  const list = h("div");
  const draw = (q) =>
    fill(
      list,
      order.map((tag) => {
        const found = groups
          .get(tag)
          .filter(([verb, path, op]) => `${verb} ${path} ${op.summary}`.toLowerCase().includes(q));
        return (
          found.length > 0 && [
            h("h2", null, title(tag)),
            h(
              "ul",
              null,
              found.map(([verb, path, op]) =>
                h(
                  "li",
                  null,
                  h(
                    "a",
                    { href: `#${op.operationId}`, title: op.summary },
                    h("span", { class: "verb", dataset: { verb } }, verb.toUpperCase()),
                    h("span", null, path.replace("/api/v1", "")),
                  ),
                ),
              ),
            ),
          ]
        );
      }),
    );
  draw("");
  fill(
    toc,
    h("input", {
      type: "search",
      placeholder: "Find an endpoint",
      "aria-label": "Find an endpoint",
      oninput: debounce((e) => draw(e.target.value.trim().toLowerCase()), 80),
    }),
    list,
  );
  document.querySelector(".skip").addEventListener("click", (e) => {
    e.preventDefault();
    main.focus();
  });
  if (location.hash)
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}
start();
