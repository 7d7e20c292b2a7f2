// @ts-check
// Limits and defaults of a workspace: what is set, what holds, and where it comes from.

/** @import { FieldSpec } from "../lib/forms.js" */
import { h, debounce, fill, icon } from "../lib/dom.js";
import { api, once } from "../lib/api.js";
import { panel, table, toast } from "../lib/ui.js";
import { count, duration, number } from "../lib/format.js";
import { form } from "../lib/forms.js";
import { refusalsPanel } from "./refusals.js";

/** @type {Record<string, string>} */
const NAMES = {
  max_computers: "Maximum computers",
  max_computer_size: "Maximum size",
  default_computer_size: "Default size",
  default_auto_stop_seconds: "Default idle auto-stop",
  allowed_template_types: "Allowed templates",
};
/** @type {Record<string, string>} */
const SOURCES = { workspace: "this workspace", organization: "organization", default: "default" };

/**
 * @param {string} name
 * @param {any} value
 */
function shown(name, value) {
  if (name === "allowed_template_types") return value.length ? value.join(", ") : "all";
  if (name === "default_auto_stop_seconds") {
    return value ? duration(value * 1000) : "never";
  }
  return value === null ? "no limit" : String(value);
}

/**
 * @param {HTMLElement} place
 * @param {{ id: string, signal: AbortSignal, refresh: () => void }} context
 */
export async function settingsPanels(place, { id, signal, refresh }) {
  const [first, sizes, templates] = await Promise.all([
    api.get(`/workspaces/${id}/settings`, { signal }),
    once("/compute/sizes"),
    once("/compute/templates"),
  ]);
  const holds = h("div"),
    edit = h("div"),
    refused = h("div");
  fill(
    place,
    h(
      "div",
      { class: "columns" },
      panel("Set on this workspace", {}, edit),
      panel("In effect", { note: "After the organization's ceilings and defaults" }, holds),
    ),
    refused,
  );
  refusalsPanel(refused, { path: `/workspaces/${id}`, signal });
  /** @param {any} reply */
  function draw(reply) {
    fill(holds, inEffect(reply.effective));
    const made = form(fieldsOf(reply.settings, sizes.data, templates.data), {
      label: "Save settings",
      edits: true,
      seen: reply,
      of: (one) => one.settings,
      submit: async (values, seen) => {
        const saved = await api.put(`/workspaces/${id}/settings`, values, { seen });
        toast("Settings were saved.");
        draw(saved);
        refresh();
      },
    });
    const preview = h("div", { role: "status" });
    fill(edit, made.element, preview);
    const look = debounce(() => foresee(preview, id, made, reply, signal), 300);
    made.element.addEventListener("input", look);
  }
  draw(first);
}

/**
 * What would hold if it were saved like this: asked of the API, which changes nothing.
 * @param {HTMLElement} place
 * @param {string} id
 * @param {{ changed: () => any }} made the form
 * @param {any} now what holds
 * @param {AbortSignal} signal
 */
async function foresee(place, id, made, now, signal) {
  try {
    const changed = made.changed();
    if (!Object.keys(changed).length) return fill(place);
    const then = (await api.put(`/workspaces/${id}/settings?dry_run=true`, changed, { signal }))
      .effective;
    const { over_limit: over, headroom_computers: room } = then;
    const was = now.effective.headroom_computers;
    const rooms = (/** @type {number | null} */ n) =>
      n === null ? "any number of computers" : count(n, "computer");
    return fill(
      place,
      over > 0
        ? h(
            "p",
            { class: "warn-line" },
            icon("warn"),
            `Saved like this, ${count(over, "computer")} would be over the cap: they go on, but nothing more can be created or started beyond it.`,
          )
        : room !== was &&
            h(
              "p",
              { class: "note hint" },
              `Saved like this, ${rooms(room)} may still be created; now it is ${rooms(was)}.`,
            ),
    );
  } catch (e) {
    if (e.name === "AbortError") return;
    fill(
      place,
      h("p", { class: "warn-line" }, icon("warn"), `This would be refused: ${e.message}`),
    );
  }
}

/** @param {any} effective */
function inEffect(effective) {
  const rows = Object.keys(NAMES).map((name) => ({ id: name, name, ...effective[name] }));
  const room = effective.headroom_computers;
  const over = effective.over_limit;
  return [
    table(
      "Settings in effect",
      [
        { label: "Setting", cell: (r) => NAMES[r.name] },
        { label: "Value", cell: (r) => h("strong", null, shown(r.name, r.value)) },
        {
          label: "From",
          cell: (r) =>
            h(
              "span",
              { class: "tag", dataset: { source: r.source } },
              SOURCES[r.source] ?? r.source,
            ),
        },
      ],
      rows,
    ),
    h(
      "p",
      { class: "note hint" },
      room === null
        ? "No cap: any number of computers may still be created here."
        : `${count(room, "computer")} may still be created here.`,
    ),
    over > 0 &&
      h(
        "p",
        { class: "warn-line" },
        icon("warn"),
        `${count(over, "computer")} over the cap: nothing is taken away, but nothing can be added.`,
      ),
  ];
}

/**
 * @param {any} settings
 * @param {any[]} sizes
 * @param {any[]} templates
 * @returns {FieldSpec[]}
 */
function fieldsOf(settings, sizes, templates) {
  /** @type {[string, string][]} */
  const named = sizes.map((size) => {
    const rate = `${number(size.credits_per_hour)} credits/h`;
    const memory = `${number(size.memory_mb / 1024)} GiB`;
    return [size.slug, `${size.slug} (${size.vcpus} vCPU, ${memory}, ${rate})`];
  });
  const caps = named.filter(([slug]) => ["small", "medium", "large"].includes(slug));
  /** @param {string} name */
  const of = (name) => ({ name, label: NAMES[name], value: settings[name] });
  return [
    {
      ...of("max_computers"),
      kind: "number",
      min: 0,
      help: "Leave empty for no cap on this workspace; the organization's still holds.",
    },
    {
      ...of("max_computer_size"),
      kind: "select",
      options: [["", "No cap on this workspace"], ...caps],
    },
    { ...of("default_computer_size"), kind: "select", options: named },
    {
      ...of("default_auto_stop_seconds"),
      kind: "duration",
      required: true,
      help: "Such as 30 min, 2 h or 1 d, at most 30 days; never for none. For new computers.",
    },
    {
      ...of("allowed_template_types"),
      kind: "checks",
      options: templates.map((t) => [t.slug, t.name]),
      help: "None ticked: all are allowed.",
    },
  ];
}
