// A preview domain: the records that it needs, what the DNS has, and how to get from one to the other.

import { h, fill, icon } from "../lib/dom.js";
import { api } from "../lib/api.js";
import {
  button,
  copyable,
  facts,
  panel,
  resource,
  say,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, time } from "../lib/format.js";
import { confirmDialog, form } from "../lib/forms.js";

const SOURCES = {
  project: "the project",
  workspace: "the workspace",
  organization: "the organization",
  platform: "this server's base domain",
  default: "this server's base domain",
  server: "this server's base domain",
};
/** Asking again at once finds the same: resolvers remember. */
const COOL_DOWN_S = 5;

export function domainPanel(place, { path, name, signal }) {
  const inner = h("div");
  fill(
    place,
    panel("Preview domain", { note: "Previews of computers are served below it" }, inner),
  );
  const reload = resource(inner, (o) => api.get(path, o), draw, { signal, lines: 6 });

  function draw(d) {
    const set = form(
      [
        {
          name: "preview_domain",
          also: ["domain"],
          label: "Domain",
          value: d.preview_domain,
          required: true,
          placeholder: "clinic.example",
          help: "A host name of at least two parts, without a scheme.",
        },
      ],
      {
        label: d.preview_domain ? "Change" : "Set domain",
        submit: async (values) => {
          await api.put(path, values);
          toast("The domain was set. Add the records, then check.");
          reload();
        },
      },
    );
    const check = button(
      "Check now",
      async () => {
        check.disabled = true;
        check.setAttribute("aria-busy", "true");
        try {
          const checked = await api.get(`${path}/verify`, { signal });
          say(checked.verified ? "Every record leads here." : "Some records do not lead here yet.");
          toast(
            checked.last_error
              ? `The DNS could not be asked: ${checked.last_error}`
              : checked.verified
                ? "Every record leads here."
                : "Some records do not lead here yet.",
            checked.verified && !checked.last_error ? "ok" : "bad",
          );
          await reload();
          const again = inner.querySelector("[data-key=check]");
          if (again) {
            again.disabled = true;
            setTimeout(() => {
              again.disabled = false;
            }, COOL_DOWN_S * 1000);
          }
        } catch (e) {
          toastError(e);
          check.disabled = false;
          check.removeAttribute("aria-busy");
        }
      },
      { kind: "primary", dataset: { key: "check" } },
    );
    const remove = () =>
      confirmDialog(
        `Remove ${d.preview_domain}?`,
        h(
          "p",
          null,
          `Previews of ${name} are then served below the domain of the next level above.`,
        ),
        {
          label: "Remove domain",
          submit: async () => {
            await api.delete(path);
            toast("The domain was removed.");
            reload();
          },
        },
      );
    return [
      h(
        "div",
        { class: "split" },
        facts([
          ["In effect", h("strong", null, d.effective_domain)],
          ["Set on", SOURCES[d.source] ?? d.source],
          ["Status", status(d.status)],
          d.preview_domain && [
            "DNS check",
            [
              status(d.dns_status),
              " ",
              d.checked_at ? ago(d.checked_at) : h("span", { class: "hint" }, "not checked yet"),
            ],
          ],
          d.verified_at && ["Verified since", time(d.verified_at)],
          ...Object.entries(d.url_examples).map(([k, v]) => [
            k.replaceAll("_", " "),
            h("code", null, v),
          ]),
        ]),
        set.element,
      ),
      d.last_error &&
        h(
          "p",
          { class: "warn-line" },
          icon("warn"),
          `The last check could not ask the DNS: ${d.last_error}. What was known before still holds.`,
        ),
      d.records.length > 0 && [
        h(
          "div",
          { class: "panel-head inner" },
          h("h3", null, "DNS records"),
          h("div", { class: "actions" }, check, button("Remove domain", remove)),
        ),
        table(
          "DNS records",
          [
            { label: "Type", cell: (r) => h("b", null, r.type) },
            { label: "Name", cell: (r) => copyable(r.host, { label: "Copy the name" }) },
            { label: "Expected", cell: (r) => copyable(r.expected, { label: "Copy the target" }) },
            {
              label: "Found",
              cell: (r) =>
                r.found?.length
                  ? h("code", null, [r.found].flat().join(", "))
                  : h("span", { class: "none" }, "–"),
            },
            {
              label: "Status",
              cell: (r) => [status(r.status), r.hint && h("p", { class: "hint" }, r.hint)],
            },
          ],
          d.records.map((r) => ({ ...r, id: r.host })),
        ),
      ],
    ];
  }
}
