// @ts-check
// The bill of the organization: months closed for all customers at once, its budget and its prices.

/** @import { Context } from "../app.js" */
import { h, fill } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import { downloadLink, empty, head, pager, panel, resource, toast } from "../lib/ui.js";
import { count } from "../lib/format.js";
import { budgetPanel, monthForm, pricesPanel, statementsTable } from "./bill.js";
import { ratesPanel } from "./rates.js";
import { refusalsPanel } from "./refusals.js";
import { monthName, monthsSince } from "./usage.js";

const SIZE = 25;

/** @param {Context} context */
export async function show({ main, signal, title, query, setQuery, who, covers }) {
  title("Billing");
  const { tenant_slug: slug } = who.key;
  const organization = await api.get("/platform/tenants/current", { signal });
  const since = (organization.data ?? organization).created_at;
  const state = { period: query.get("period") ?? "", page: Number(query.get("page")) || 1 };
  const may = covers("tenant:admin");
  const list = h("div"),
    ways = h("span", { class: "actions" }),
    budget = h("div"),
    prices = h("div"),
    rates = h("div"),
    refused = h("div");
  const pick = h(
    "select",
    { "aria-label": "Month" },
    monthsSince(since, state.period || null).map(([value, text]) =>
      h("option", { value, selected: value === state.period }, value ? text : "Every month"),
    ),
  );
  pick.addEventListener("change", () => change({ period: pick.value, page: 1 }));
  const close = monthForm(since, "Close the month for all customers", async (period) => {
    const made = await api.post("/statements", { period });
    const n = made.made ?? made.total ?? made.data?.length ?? 0;
    toast(`${monthName(period)} is closed: ${count(n, "new statement")}.`);
    change({ period, page: 1 });
    pick.value = period;
  });
  fill(
    main,
    head("Billing", { sub: h("p", null, "Organization ", h("strong", null, slug)) }),
    may &&
      panel(
        "Close a month",
        { note: "Makes the statement of every customer who has none yet, and changes no other" },
        close,
      ),
    panel("Statements", { actions: [pick, ways] }, list),
    h(
      "div",
      { class: "columns" },
      h("div", { class: "column" }, budget),
      h("div", { class: "column" }, prices),
    ),
    rates,
    refused,
  );
  const reload = resource(
    list,
    (o) =>
      api.get(
        `/statements${queryString({ period: state.period, page: state.page, page_size: SIZE })}`,
        o,
      ),
    ({ data, total }) =>
      total
        ? [
            statementsTable(data, { names: true, signal }),
            pager(state.page, SIZE, total, (page) => change({ page })),
          ]
        : empty("There is no statement yet", "Close a month, and every customer has one."),
    { signal, lines: 6 },
  );
  function drawWays() {
    const { period } = state;
    const of = (/** @type {string} */ format) => `/statements?period=${period}&format=${format}`;
    fill(
      ways,
      period && [
        downloadLink("All as CSV", of("csv"), `statements-${period}.csv`, signal),
        downloadLink("All PDFs", of("zip"), `statements-${period}.zip`, signal),
      ],
    );
  }
  /** @param {Partial<typeof state>} next */
  function change(next) {
    Object.assign(state, next);
    setQuery({ period: state.period, page: state.page > 1 ? state.page : null });
    drawWays();
    reload();
  }
  drawWays();
  const owner = { path: "/tenant", signal, may };
  budgetPanel(budget, owner);
  pricesPanel(prices, { ...owner, customer: false });
  ratesPanel(rates, { ...owner, operator: Boolean(who.key.operator) });
  refusalsPanel(refused, { path: "", signal });
}
