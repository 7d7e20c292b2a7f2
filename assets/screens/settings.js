// Limits and defaults of a workspace: what is set, what holds, and where it comes from.

import { h, fill, icon } from "../lib/dom.js";
import { api, once } from "../lib/api.js";
import { panel, table, toast } from "../lib/ui.js";
import { count, duration, number } from "../lib/format.js";
import { form } from "../lib/forms.js";

const NAMES = {
  max_computers: "Maximum computers",
  max_computer_size: "Maximum size",
  default_computer_size: "Default size",
  default_auto_stop_seconds: "Default idle auto-stop",
  allowed_template_types: "Allowed templates",
};
const SOURCES = { workspace: "this workspace", organization: "organization", default: "default" };

function shown(name, value) {
  if (name === "allowed_template_types") return value.length ? value.join(", ") : "all";
  if (name === "default_auto_stop_seconds")
    return value ? `${number(value)} s (${duration(value * 1000)})` : "never";
  return value === null ? "no limit" : String(value);
}

export async function settingsPanels(place, { id, signal, refresh }) {
  const [first, sizes, templates] = await Promise.all([
    api.get(`/workspaces/${id}/settings`, { signal }),
    once("/compute/sizes"),
    once("/compute/templates"),
  ]);
  const holds = h("div"),
    edit = h("div");
  fill(
    place,
    h(
      "div",
      { class: "columns" },
      panel("Set on this workspace", {}, edit),
      panel("In effect", { note: "After the organization's ceilings and defaults" }, holds),
    ),
  );

  function drawHolds({ effective: e }) {
    const rows = Object.keys(NAMES).map((name) => ({ id: name, name, ...e[name] }));
    fill(
      holds,
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
        e.headroom_computers === null
          ? "No cap: any number of computers may still be created here."
          : `${count(e.headroom_computers, "computer")} may still be created here.`,
      ),
      e.over_limit > 0 &&
        h(
          "p",
          { class: "warn-line" },
          icon("warn"),
          `${count(e.over_limit, "computer")} over the cap: nothing is taken away, but nothing can be added.`,
        ),
    );
  }

  function drawForm({ settings: v }) {
    const named = sizes.data.map((size) => [
      size.slug,
      `${size.slug} (${size.vcpus} vCPU, ${number(size.memory_mb / 1024)} GiB, ${number(size.credits_per_hour)} credits/h)`,
    ]);
    const caps = named.filter(([slug]) => ["small", "medium", "large"].includes(slug));
    const made = form(
      [
        {
          name: "max_computers",
          label: NAMES.max_computers,
          kind: "number",
          min: 0,
          value: v.max_computers,
          help: "Leave empty for no cap on this workspace; the organization's still holds.",
        },
        {
          name: "max_computer_size",
          label: NAMES.max_computer_size,
          kind: "select",
          value: v.max_computer_size ?? "",
          options: [["", "No cap on this workspace"], ...caps],
        },
        {
          name: "default_computer_size",
          label: NAMES.default_computer_size,
          kind: "select",
          value: v.default_computer_size,
          options: named,
        },
        {
          name: "default_auto_stop_seconds",
          label: NAMES.default_auto_stop_seconds,
          kind: "number",
          min: 0,
          max: 2592000,
          value: v.default_auto_stop_seconds,
          required: true,
          help: "Seconds; 0 = never, 3600 = an hour, at most 30 days. For new computers.",
        },
        {
          name: "allowed_template_types",
          label: NAMES.allowed_template_types,
          kind: "checks",
          value: v.allowed_template_types,
          options: templates.data.map((t) => [t.slug, t.name]),
          help: "None ticked: all are allowed.",
        },
      ],
      {
        label: "Save settings",
        submit: async (values) => {
          const reply = await api.put(`/workspaces/${id}/settings`, values);
          toast("Settings were saved.");
          drawHolds(reply);
          drawForm(reply);
          refresh();
        },
      },
    );
    fill(edit, made.element);
  }
  drawHolds(first);
  drawForm(first);
}
