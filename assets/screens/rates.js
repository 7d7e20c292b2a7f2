// @ts-check
// Credits per hour that an organization or workspace has of its own, and who set them from when on.

import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { button, none, panel, resource, table, toast } from "../lib/ui.js";
import { number, time } from "../lib/format.js";
import { formDialog } from "../lib/forms.js";

const SIZES = ["xs", "small", "medium", "large", "xl"];
/** @type {Record<string, string>} */
const LISTS = {
  workspace: "agreed for this workspace",
  organization: "agreed for the organization",
  sizes: "size table",
  imported: "from where it was imported",
};

/**
 * @param {HTMLElement} place
 * @param {{ path: string, signal: AbortSignal, operator: boolean }} owner `path` of the workspace or organization in the API
 */
export function ratesPanel(place, { path, signal, operator }) {
  const inner = h("div"),
    actions = h("span", { class: "actions" });
  fill(
    place,
    panel("Credits per hour", { actions, note: "What was metered keeps its price" }, inner),
  );
  function again() {
    reload();
  }
  const reload = resource(
    inner,
    (o) => api.get(`${path}/rates`, o),
    (all) => {
      const set = button("Set…", () => setRates(all, again), {
        kind: "small",
        dataset: { key: "rates" },
      });
      fill(actions, operator && set);
      return drawn(all, operator, again);
    },
    { signal, lines: 5 },
  );
}

/**
 * @param {any} all rates as the API shows them
 * @param {boolean} operator
 * @param {() => void} done
 */
function drawn(all, operator, done) {
  const now = SIZES.map((size) => ({ size, ...all.effective[size] }));
  const ahead = all.data.filter((/** @type {any} */ entry) => !entry.begun);
  return [
    table(
      "Credits per hour",
      [
        { label: "Size", cell: (r) => r.size },
        { label: "Credits", num: true, cell: (r) => number(r.rate) },
        { label: "From", cell: (r) => LISTS[r.list] },
        { label: "Since", hide: "wide", cell: (r) => (r.since ? time(r.since) : none()) },
      ],
      now,
      { rowKey: (r) => r.size },
    ),
    ahead.length > 0 && [
      h("h3", { class: "below" }, "What lies ahead"),
      table(
        "Rates that lie ahead",
        [
          { label: "Size", cell: (r) => r.size },
          {
            label: "Credits",
            num: true,
            cell: (r) => (r.rate === null ? "as above" : number(r.rate)),
          },
          { label: "From", cell: (r) => time(r.holds_from) },
          operator && {
            label: "Change",
            end: true,
            cell: (r) =>
              button("Take back", () => takeBack(all, r, done), {
                kind: "small",
                "aria-label": `Take back ${r.size}`,
              }),
          },
        ],
        ahead,
        { rowKey: (r) => `${r.size} ${r.holds_from}` },
      ),
    ],
  ];
}

/** @param {any} all */
const whose = (all) => ({ tenant_id: all.tenant_id, workspace_id: all.workspace_id ?? undefined });

/**
 * @param {any} all
 * @param {any} entry
 * @param {() => void} done
 */
async function takeBack(all, entry, done) {
  await api.post("/admin/rates/withdraw", { ...whose(all), effective_from: entry.holds_from });
  toast("What was to hold from then on was taken back.");
  done();
}

/**
 * @param {any} all
 * @param {() => void} done
 */
const setRates = (all, done) =>
  formDialog(
    "Credits per hour",
    [
      ...SIZES.map((size) => ({
        name: size,
        label: size,
        also: [`rates.${size}`, ...(size === "xs" ? ["rates"] : [])],
        placeholder: String(all.effective[size].rate),
        help:
          size === "xs" && "Left empty, a size stays as it is; “none” is again what holds above.",
      })),
      {
        name: "effective_from",
        label: "Holds from",
        placeholder: "2029-02-01",
        help: "A date or time; now if left out. With one in the past it holds from now on.",
      },
    ],
    {
      label: "Set rates",
      submit: async ({ effective_from, ...sizes }) => {
        const given = Object.entries(sizes).filter(([, text]) => text !== null);
        // What is no number goes to the API as it is, which says so.
        const credit = (/** @type {string} */ text) =>
          text === "none" ? null : /^\d+$/.test(text) ? Number(text) : text;
        await api.post("/admin/rates", {
          ...whose(all),
          effective_from: effective_from ?? undefined,
          rates: Object.fromEntries(given.map(([size, text]) => [size, credit(text)])),
        });
        toast("The rates were set.");
        done();
      },
    },
  );
