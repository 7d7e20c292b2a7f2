// @ts-check
// What a workspace is sent: its budget, why it costs more than last month, statements and prices. The
// same parts serve the organization.

/** @import { Context } from "../app.js" */
/** @import { FieldSpec } from "../lib/forms.js" */
import { h, fill } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import {
  button,
  downloadLink,
  empty,
  facts,
  meterBar,
  none,
  panel,
  resource,
  table,
  toast,
} from "../lib/ui.js";
import {
  amountOf,
  count,
  counted,
  credits,
  dateFormat,
  number,
  shares,
  time,
  wholeOf,
} from "../lib/format.js";
import { confirmDialog, dialog, filled, form, formDialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { historyPanel } from "./history.js";
import { ratesPanel } from "./rates.js";
import { sharePanel } from "./sharing.js";
import { monthName, monthsSince } from "./usage.js";

/** @typedef {{ path: string, signal: AbortSignal, may: boolean }} Owner `path` of the workspace or organization in the API */

/** Rows of the comparison. */
const SHOWN = 8;

const two = new Intl.NumberFormat(navigator.language || "en", {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
/**
 * Credits with two decimals below each other, and all of them in the tooltip.
 * @param {number} micros
 */
const even = (micros) =>
  h("span", { title: counted(credits(micros)) }, two.format(Math.floor(micros / 1e4) / 100));

/**
 * A read that answers null where there is none.
 * @param {Promise<any>} asked
 */
const orNull = (asked) =>
  asked.catch((e) => {
    if (e.status === 404) return null;
    throw e;
  });

// ---------------------------------------------------------------------------------------------
// Budgets

/** @param {any} b a budget */
export function budgetBar(b) {
  const share = b.credits ? b.used_micros / 1e6 / b.credits : 1;
  const level = share >= 1 ? "full" : b.used_up_at ? "near" : "fine";
  return meterBar(share, level, `${b.used_percent} % of the budget`);
}

/**
 * "24 May" of a calendar's date.
 * @param {string} date
 */
export const dayOf = (date) =>
  dateFormat({ day: "numeric", month: "short" }, "UTC").format(new Date(`${date}T12:00:00Z`));

/** @param {any} b a budget */
export function budgetNote(b) {
  const used = `${amountOf(b.used_micros)} of ${count(b.credits, "credit")}`;
  if (b.exceeded) return `${used}; used up${b.refusing ? ", nothing can be started" : ""}`;
  return b.used_up_on
    ? `${used}; used up on ${dayOf(b.used_up_on)}`
    : `${used}; enough until the end`;
}

/** @type {[value: string, text: string][]} */
const PERIODS = [
  ["month", "a month"],
  ["week", "a week"],
  ["day", "a day"],
];
/** @type {[value: string, text: string][]} */
const ENDS = [
  ["notify", "Tell only"],
  ["refuse_start", "Refuse to start anything"],
  ["stop", "Stop what runs, and refuse to start anything"],
];

/**
 * @param {HTMLElement} place
 * @param {Owner} owner
 */
export function budgetPanel(place, { path, signal, may }) {
  const inner = h("div"),
    actions = h("span", { class: "actions" });
  fill(place, panel("Budget", { actions }, inner));
  const at = `${path}/budget`;
  const reload = resource(
    inner,
    (o) => orNull(api.get(at, o)),
    (b) => {
      const edit = button(b ? "Change…" : "Set a budget…", () => editBudget(b, at, reload), {
        kind: "small",
        dataset: { key: "budget" },
      });
      const drop = button("Remove", () => removeBudget(at, reload), { kind: "small" });
      fill(actions, may && [edit, b && drop]);
      if (!b) return h("p", { class: "hint" }, "None: nobody is told, nothing is refused.");
      return [
        budgetBar(b),
        h("p", { class: "note" }, budgetNote(b)),
        facts([
          ["Credits", `${number(b.credits)} a ${b.period}`],
          ["Forecast", `${amountOf(b.forecast_micros)} at the end of the ${b.period}`],
          ["Told at", b.notify_at.map((/** @type {number} */ n) => `${n} %`).join(", ")],
          ["When used up", ENDS.find(([value]) => value === b.on_exceeded)?.[1]],
        ]),
      ];
    },
    { signal, lines: 2 },
  );
  listen(/^(budget|computer|usage)\./, () => signal.aborted || reload(), signal);
}

/**
 * @param {any} b
 * @param {string} path
 * @param {() => void} done
 */
const editBudget = (b, path, done) =>
  formDialog(
    b ? "Change the budget" : "Set a budget",
    [
      {
        name: "credits",
        label: "Credits",
        kind: "number",
        min: 1,
        required: true,
        value: b?.credits,
      },
      { name: "period", label: "For", kind: "select", value: b?.period, options: PERIODS },
      {
        name: "on_exceeded",
        label: "When it is used up",
        kind: "select",
        value: b?.on_exceeded,
        options: ENDS,
      },
      {
        name: "notify_at",
        label: "Tell at, percent",
        value: (b?.notify_at ?? [50, 80, 100]).join(", "),
        help: "One event and webhook each, once a period.",
      },
    ],
    {
      label: "Save budget",
      submit: async ({ notify_at: at, ...values }) => {
        const percents = (at ?? "").split(/[\s,;%]+/).filter(Boolean);
        await api.put(path, { ...filled(values), notify_at: percents.map(Number) });
        toast("The budget was saved.");
        done();
      },
    },
  );

/**
 * @param {string} path
 * @param {() => void} done
 */
const removeBudget = (path, done) =>
  confirmDialog(
    "Remove the budget?",
    h("p", null, "Nobody is told and nothing is refused any more."),
    {
      label: "Remove budget",
      submit: async () => {
        await api.delete(path);
        toast("The budget was removed.");
        done();
      },
    },
  );

// ---------------------------------------------------------------------------------------------
// Why it costs more, or less

/**
 * This month so far against the same days of the one before, and which computers make the difference.
 * @param {HTMLElement} place
 * @param {{ id: string, signal: AbortSignal }} context
 */
function comparePanel(place, { id, signal }) {
  const inner = h("div");
  fill(place, panel("Against last month", { note: "The same days of it" }, inner));
  const usage = `/workspaces/${id}/usage`;
  const by = { granularity: "month", group_by: "computer" };
  resource(
    inner,
    async (o) => {
      const now = await api.get(`${usage}${queryString({ window: "this_month", ...by })}`, o);
      const last = await api.get(
        `${usage}${queryString({ window: "last_month", granularity: "month" })}`,
        o,
      );
      const elapsed = Date.parse(now.as_of) - Date.parse(now.window_start);
      const from = Date.parse(last.window_start);
      const to = Math.min(from + elapsed, Date.parse(now.window_start));
      const iso = (/** @type {number} */ at) => new Date(at).toISOString();
      const before = await api.get(
        `${usage}${queryString({ from: iso(from), to: iso(to), tz: now.time_zone, ...by })}`,
        o,
      );
      return { now, before };
    },
    compared,
    { signal, lines: 5 },
  );
}

/** @param {{ now: any, before: any }} both */
function compared({ now, before }) {
  const [a, b] = [before.total_credits_micros, now.total_credits_micros];
  if (!a && !b) return empty("Nothing ran in either month");
  /** @type {Map<string, { key: string, name: string, before: number, now: number }>} */
  const rows = new Map();
  for (const [which, groups] of /** @type {const} */ ([
    ["before", before.groups],
    ["now", now.groups],
  ])) {
    for (const g of groups ?? []) {
      const row = rows.get(g.key) ?? { key: g.key, name: g.name, before: 0, now: 0 };
      row[which] = g.total_credits_micros;
      rows.set(g.key, row);
    }
  }
  const difference = (/** @type {{ before: number, now: number }} */ r) => r.now - r.before;
  const sorted = [...rows.values()].sort(
    (x, y) => Math.abs(difference(y)) - Math.abs(difference(x)),
  );
  const rest = sorted.slice(SHOWN);
  const word = b > a ? "more" : "less";
  const list = sorted.slice(0, SHOWN);
  if (rest.length) {
    const sum = (/** @type {"now" | "before"} */ n) => rest.reduce((all, r) => all + r[n], 0);
    list.push({
      key: "",
      name: count(rest.length, "other"),
      before: sum("before"),
      now: sum("now"),
    });
  }
  // What is shown adds up: the rows to the sums above them, and each row across.
  const were = shares(
    list.map((r) => r.before),
    a,
  );
  const are = shares(
    list.map((r) => r.now),
    b,
  );
  const shown = list.map((r, i) => ({ ...r, before: were[i], now: are[i] }));
  const [sumBefore, sumNow] = [a, b].map((micros) => Math.floor(micros / 1e6));
  return [
    h(
      "p",
      { class: "lead" },
      h("strong", null, !sumNow && b ? "less than 1 credit" : count(sumNow, "credit")),
      sumNow === sumBefore
        ? " so far, as much as in the same days of last month. "
        : ` so far, ${number(Math.abs(sumNow - sumBefore))} ${word} than ${number(sumBefore)} in the same days of last month. `,
      "The largest differences come first.",
    ),
    table(
      "Differences by computer",
      [
        {
          label: "Computer",
          cell: (r) =>
            r.key ? h("a", { class: "row-link", href: `#/computers/${r.key}` }, r.name) : r.name,
        },
        { label: "Last month", num: true, cell: (r) => number(r.before) },
        { label: "This month", num: true, cell: (r) => number(r.now) },
        { label: "Difference", num: true, cell: (r) => signed(difference(r)) },
        {
          label: "What happened",
          end: true,
          cell: (r) =>
            r.key &&
            button("Why", () => showEvents(r, before.window_start), {
              kind: "small",
              "aria-label": `Why ${r.name}`,
            }),
        },
      ],
      shown,
      { rowKey: (r) => r.key },
    ),
  ];
}

/**
 * What happened to a computer since the beginning of last month.
 * @param {{ key: string, name: string }} computer
 * @param {string} since
 */
function showEvents({ key, name }, since) {
  const place = h("div");
  dialog(`What happened: ${name}`, place);
  resource(
    place,
    (o) => api.get(`/computers/${key}/events?limit=100&include_deleted=1`, o),
    (list) => {
      const rows = list.data.filter(
        (/** @type {any} */ e) => Date.parse(e.at) >= Date.parse(since),
      );
      if (!rows.length) return empty("Nothing: it was as it is since before last month");
      return table(
        "Events",
        [
          { label: "When", cell: (e) => time(e.at) },
          { label: "What", cell: (e) => e.type.replace("computer.", "") },
          { label: "Size", hide: "wide", cell: (e) => e.size },
          {
            label: "Credits per hour",
            num: true,
            cell: (e) => (e.billable ? number(e.rate) : none()),
          },
        ],
        rows,
        { rowKey: (e) => e.seq },
      );
    },
  );
}

/** @param {number} n */
function signed(n) {
  if (n === 0) return h("span", { class: "none" }, "0");
  const text = `${n > 0 ? "+" : "−"}${number(Math.abs(n))}`;
  return h("b", { class: n > 0 ? "rise" : "fall" }, text);
}

// ---------------------------------------------------------------------------------------------
// Statements

/**
 * An amount of money, where there is a price list.
 * @param {string | null} amount
 * @param {string | null} currency
 */
const money = (amount, currency) => (amount === null ? none() : `${amount} ${currency}`);

/**
 * @param {any} s a statement
 * @param {AbortSignal} signal
 */
const downloads = (s, signal) => {
  const path = `/workspaces/${s.workspace_id}/statements/${s.number}`;
  return ["pdf", "csv", "json"].map((format) =>
    downloadLink(
      format.toUpperCase(),
      `${path}?format=${format}`,
      `statement-${s.number}-${s.period}.${format}`,
      signal,
    ),
  );
};

/**
 * @param {any[]} rows
 * @param {{ names?: boolean, signal: AbortSignal }} how
 */
export const statementsTable = (rows, { names = false, signal }) =>
  table(
    "Statements",
    [
      {
        label: names ? "Customer" : "Month",
        cell: (s) =>
          h(
            "a",
            {
              class: "row-link",
              href: `#/workspaces/${s.workspace_id}/bill?statement=${s.number}`,
            },
            names ? s.workspace_name : monthName(s.period),
          ),
      },
      names && { label: "Month", cell: (s) => monthName(s.period) },
      { label: "Number", num: true, cell: (s) => number(s.number) },
      { label: "Hours", num: true, hide: "wide", cell: (s) => two.format(s.compute_hours) },
      { label: "Credits", num: true, cell: (s) => wholeOf(s.credits_micros) },
      { label: "Total", num: true, cell: (s) => money(s.total, s.currency) },
      { label: "Made", hide: "wide wider", cell: (s) => time(s.created_at) },
      {
        label: "Download",
        end: true,
        cell: (s) => h("span", { class: "row-actions" }, downloads(s, signal)),
      },
    ],
    rows,
    { rowKey: (s) => `${s.workspace_id}-${s.number}` },
  );

/**
 * Choose a month that is over, and press.
 * @param {string} since
 * @param {string} label
 * @param {(period: string) => Promise<unknown>} make
 * @param {string[]} [made] months of which there is a statement already
 */
export function monthForm(since, label, make, made = []) {
  const over = monthsSince(since).slice(2);
  const closed = over.filter(([period]) => !made.includes(period));
  if (!closed.length)
    return h(
      "p",
      { class: "hint" },
      over.length
        ? "Every month that is over has its statement."
        : "The first month is not over yet: its statement can be made then.",
    );
  return h(
    "div",
    { class: "month-form" },
    form(
      [
        {
          name: "period",
          label: "Month",
          kind: "select",
          value: closed[0][0],
          options: closed,
          required: true,
        },
      ],
      { label, kind: "primary", submit: ({ period }) => make(period) },
    ).element,
  );
}

/**
 * @param {HTMLElement} place
 * @param {Context & { id: string, workspace: any }} context
 */
function statementsPanel(place, { id, workspace, signal, query, setQuery, covers }) {
  const inner = h("div"),
    one = h("div");
  const path = `/workspaces/${id}/statements`;
  const make = async (/** @type {string} */ period) => {
    const made = await api.post(path, { period });
    toast(`Statement ${made.number} of ${monthName(period)} is there.`);
    reload();
    open(made.number);
  };
  fill(place, panel("Statements", { note: "Of months that are over; never changed" }, inner), one);
  const reload = resource(
    inner,
    (o) => api.get(`${path}?page=1&page_size=60`, o),
    (list) => [
      list.total
        ? statementsTable(list.data, { signal })
        : empty("There is no statement yet", "A month that is over becomes one."),
      covers("tenant:admin") &&
        monthForm(
          workspace.created_at,
          "Make the statement",
          make,
          list.data.map((/** @type {any} */ s) => s.period),
        ),
    ],
    { signal, lines: 3 },
  );
  /** @param {number} n */
  function open(n) {
    setQuery({ statement: n });
    const body = h("div");
    fill(one, body);
    resource(
      body,
      (o) => api.get(`${path}/${n}`, o),
      (s) => statement(s, signal, close),
      { signal },
    );
  }
  function close() {
    setQuery({ statement: null });
    fill(one);
  }
  if (query.has("statement")) open(Number(query.get("statement")));
}

/**
 * @param {any} s
 * @param {AbortSignal} signal
 * @param {() => void} close
 */
function statement(s, signal, close) {
  const paid = s.currency !== null;
  return panel(
    `Statement ${number(s.number)}, ${monthName(s.period)}`,
    {
      id: "statement",
      actions: [downloads(s, signal), button("Close", close, { kind: "small" })],
    },
    table(
      "Lines",
      [
        { label: "Computer", cell: (l) => (l.computer ? h("b", null, l.computer) : l.text) },
        { label: "Project", hide: "wide", cell: (l) => l.project ?? none() },
        { label: "What", cell: (l) => (l.computer ? l.text : l.kind) },
        {
          label: "Hours",
          num: true,
          cell: (l) => (l.compute_ms ? two.format(l.compute_hours) : none()),
        },
        { label: "Credits", num: true, cell: (l) => even(l.credits_micros) },
        paid && { label: "Amount", num: true, cell: (l) => money(l.amount, s.currency) },
      ],
      s.lines,
      { rowKey: (l) => l.line },
    ),
    h(
      "div",
      { class: "sums" },
      facts([
        ["Hours", two.format(s.compute_hours)],
        ["Credits", h("b", null, even(s.credits_micros))],
        paid && ["Net", money(s.net, s.currency)],
        paid && s.tax !== null && ["Tax", money(s.tax, s.currency)],
        paid && ["Total", h("b", null, money(s.total, s.currency))],
      ]),
    ),
  );
}

// ---------------------------------------------------------------------------------------------
// Prices

/** @param {{ name: string, amount: string }[] | undefined} fees */
const feeLines = (fees) => fees?.map((fee) => `${fee.name} ${fee.amount}`).join("\n") ?? null;

/** @param {Record<string, string> | undefined} hours */
const hourLines = (hours) =>
  hours
    ? Object.entries(hours)
        .map(([size, price]) => `${size} ${price}`)
        .join("\n")
    : null;

/**
 * Lines with something at their end; what is no such line goes to the API, which says so.
 * @param {string | null} text
 * @returns {[string, string][] | null}
 */
const ended = (text) => {
  const lines = text?.split("\n").filter((line) => line.trim());
  return (
    lines?.map((line) => {
      const [, name, end] = /^(.*[^\s:])[\s:]+(\S+)$/.exec(line.trim()) ?? [, line.trim(), ""];
      return [String(name), String(end)];
    }) ?? null
  );
};

/**
 * What the fields of a form say, as the API takes it.
 * @param {any} values
 */
function asPrices(values) {
  const all = { ...values };
  if ("fees" in all)
    all.fees = ended(all.fees)?.map(([name, amount]) => ({ name, amount })) ?? null;
  if ("price_per_hour" in all) {
    const hours = ended(all.price_per_hour);
    all.price_per_hour = hours && Object.fromEntries(hours);
  }
  return all;
}

/**
 * @param {any} p
 * @param {boolean} customer whether it is a customer's own list
 * @returns {FieldSpec[]}
 */
const priceFields = (p, customer) => [
  {
    name: "currency",
    label: "Currency",
    value: p.currency,
    placeholder: "EUR",
    help: "Without one, statements show credits and no money.",
  },
  {
    name: "price_per_credit",
    label: "Price of a credit",
    value: p.price_per_credit,
    placeholder: "0.0125",
  },
  {
    name: "price_per_hour",
    label: "Price of an hour, by size",
    kind: "textarea",
    rows: 2,
    value: hourLines(p.price_per_hour),
    placeholder: "small 0.10",
    help: "A size a line; it replaces the credits of that size.",
  },
  {
    name: "fees",
    label: "Fixed monthly fees",
    kind: "textarea",
    rows: 2,
    value: feeLines(p.fees),
    placeholder: "Support 9.90",
    help: "A fee a line, its amount at the end.",
  },
  { name: "tax_rate", label: "Tax, percent", value: p.tax_rate },
  { name: "tax_name", label: "Name of the tax", value: p.tax_name, placeholder: "VAT" },
  { name: "discount_percent", label: "Discount, percent", value: p.discount_percent },
  { name: "minimum", label: "Least amount of a month", value: p.minimum },
  { name: "included_credits", label: "Credits included each month", value: p.included_credits },
  {
    name: "billing_increment",
    label: "Billed in steps of",
    kind: "select",
    value: p.billing_increment ?? "none",
    options: [
      ["none", "the exact time"],
      ["second", "a second"],
      ["minute", "a minute"],
      ["hour", "an hour"],
    ],
  },
  {
    name: "head",
    label: "Sender",
    kind: "textarea",
    value: p.head,
    help: "Name, address, tax number.",
  },
  { name: "foot", label: "At the end", kind: "textarea", value: p.foot },
  ...(customer
    ? [
        /** @type {FieldSpec} */ ({
          name: "bill_to",
          label: "Sent to",
          kind: "textarea",
          value: p.bill_to,
        }),
      ]
    : []),
];

/** @type {Record<string, string>} */
const PRICE_NAMES = {
  currency: "Currency",
  price_per_credit: "A credit",
  price_per_hour: "An hour",
  fees: "Every month",
  tax_rate: "Tax, %",
  tax_name: "Tax",
  discount_percent: "Discount, %",
  minimum: "Minimum",
  included_credits: "Included credits",
  billing_increment: "Steps",
  bill_to: "Sent to",
};

/**
 * @param {HTMLElement} place
 * @param {Owner & { customer: boolean }} owner
 */
export function pricesPanel(place, { path, signal, may, customer }) {
  const inner = h("div"),
    actions = h("span", { class: "actions" });
  const at = `${path}/prices`;
  const note = customer ? "What is not set here comes from the organization" : "For all customers";
  fill(place, panel("Price list", { note, actions }, inner));
  const reload = resource(
    inner,
    (o) => api.get(at, o),
    (list) => {
      const holds = list.effective;
      fill(
        actions,
        may &&
          button("Change…", () => editPrices(list, at, customer, reload), {
            kind: "small",
            dataset: { key: "prices" },
          }),
      );
      const set = Object.entries(PRICE_NAMES).filter(([name]) => holds[name] != null);
      if (!set.length)
        return h("p", { class: "hint" }, "None: statements show credits and hours, and no money.");
      const shown = {
        ...holds,
        fees: feeLines(holds.fees),
        price_per_hour: hourLines(holds.price_per_hour),
      };
      const word = (/** @type {string} */ name) =>
        h("span", { class: "lines" }, String(shown[name] ?? ""));
      return facts(set.map(([name, text]) => [text, word(name)]));
    },
    { signal, lines: 3 },
  );
}

/**
 * @param {any} list
 * @param {string} path
 * @param {boolean} customer
 * @param {() => void} done
 */
const editPrices = (list, path, customer, done) =>
  formDialog(
    "Price list",
    [
      ...priceFields(list.effective, customer),
      {
        name: "effective_from",
        label: "Holds from",
        value: null,
        placeholder: list.period,
        help: "A month such as 2029-01; this month if left out.",
      },
    ],
    {
      label: "Save prices",
      edits: true,
      seen: list,
      of: ({ effective }) => ({
        ...effective,
        fees: feeLines(effective.fees),
        price_per_hour: hourLines(effective.price_per_hour),
      }),
      submit: async (values, _, seen) => {
        await api.put(path, asPrices(values), { seen });
        toast("The price list was saved.");
        done();
      },
    },
  );

// ---------------------------------------------------------------------------------------------
// The tab

/**
 * @param {HTMLElement} place
 * @param {Context & { id: string, workspace: any }} context
 */
export function billPanels(place, context) {
  const { id, signal, covers, who } = context;
  const operator = Boolean(who.key.operator);
  const compare = h("div"),
    budget = h("div"),
    statements = h("div"),
    prices = h("div"),
    rates = h("div"),
    share = h("div"),
    history = h("div");
  fill(
    place,
    compare,
    statements,
    h(
      "div",
      { class: "columns" },
      h("div", { class: "column" }, budget),
      h("div", { class: "column" }, prices),
    ),
    rates,
    share,
    history,
  );
  const owner = { path: `/workspaces/${id}`, signal, may: covers("tenant:admin") };
  comparePanel(compare, { id, signal });
  statementsPanel(statements, context);
  budgetPanel(budget, owner);
  pricesPanel(prices, { ...owner, customer: true });
  ratesPanel(rates, { ...owner, operator });
  if (owner.may) sharePanel(share, { id, signal });
  const again = () => comparePanel(compare, { id, signal });
  if (operator) historyPanel(history, { id, signal, done: again });
}
