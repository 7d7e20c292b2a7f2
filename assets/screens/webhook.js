// @ts-check
// One webhook: how it does, and the log of its deliveries with what was sent and what came back.

/** @import { Context } from "../app.js" */
import { h, fill, debounce, icon } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import {
  button,
  copyable,
  empty,
  errorBox,
  facts,
  head,
  menu,
  menuClosed,
  pager,
  panel,
  redraw,
  resource,
  status,
  table,
  tag,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, count, time } from "../lib/format.js";
import { dialog } from "../lib/forms.js";
import { listen } from "../lib/live.js";
import { actionsOf, eventTags } from "./webhooks.js";

const SIZE = 25;
// While something waits: deliveries are no events of their own, so nothing tells when one has been made.
const LOOK_MS = 3000;
const STATES = [
  ["", "All deliveries"],
  ["pending", "Waiting"],
  ["delivered", "Delivered"],
  ["failed", "Failed"],
];

/**
 * @param {Context} context
 * @param {string} id
 */
export async function show({ main, signal, title, go, query, setQuery, covers }, id) {
  const mayWrite = covers("webhooks:write"),
    top = h("div");
  let waiting = false;

  /** @param {any} hook */
  function drawTop(hook) {
    title(hook.name);
    const { test, edit, rest } = actionsOf(hook, refresh, () => go("/webhooks"));
    const actions = [button("Send a test", test), button("Edit", edit), menu("More", rest)];
    redraw(top, webhookHead(hook, mayWrite ? actions : null));
    waiting = hook.pending_count > 0;
  }
  const ask = async () => (await api.get(`/webhooks/${id}`, { signal })).data;
  drawTop(await ask());

  const log = deliveriesPanel({
    id,
    signal,
    query,
    setQuery,
    open: (delivery) => showDelivery(id, delivery, mayWrite, refresh),
  });
  fill(main, top, log.element);

  async function refresh() {
    if (signal.aborted) return;
    try {
      const hook = await ask();
      await menuClosed(top);
      if (signal.aborted) return;
      drawTop(hook);
      log.reload();
    } catch (e) {
      if (e.status === 404) go("/webhooks");
      else toastError(e);
    }
  }
  const later = debounce(() => {
    waiting = true;
    refresh();
  }, 500);
  listen(/./, later, signal);
  const timer = setInterval(() => {
    const busy = document.querySelector("dialog[open], .menu:popover-open");
    if (waiting && !document.hidden && !busy) refresh();
  }, LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/**
 * @param {any} hook
 * @param {HTMLElement[] | null} actions
 */
const webhookHead = (hook, actions) => [
  head(hook.name, {
    crumbs: [["Webhooks", "#/webhooks"]],
    sub: h(
      "div",
      { class: "ids" },
      status(hook.status),
      copyable(hook.url, { label: "Copy the URL" }),
      eventTags(hook),
    ),
    actions,
  }),
  hook.status === "failing" &&
    h(
      "p",
      { class: "warn-line" },
      icon("warn"),
      `${count(hook.failed_attempts, "attempt")} failed since the last success. What waits is tried again at its time.`,
    ),
  h(
    "div",
    { class: "panel" },
    facts([
      ["Secret", h("code", null, hook.secret_preview)],
      ["Retries", hook.retry_count],
      ["Waiting", hook.pending_count],
      ["Last success", hook.last_success_at ? ago(hook.last_success_at) : "never"],
      ["Failing since", hook.failing_since && ago(hook.failing_since)],
      ["Created", ago(hook.created_at)],
    ]),
  ),
];

/**
 * The log of deliveries; `open(delivery)` shows one.
 * @param {Pick<Context, "signal" | "query" | "setQuery"> & { id: string, open: (delivery: any) => void }} context
 */
function deliveriesPanel({ id, signal, query, setQuery, open }) {
  let page = Number(query.get("page")) || 1,
    state = query.get("state") ?? "";
  const place = h("div");
  const states = h(
    "select",
    { "aria-label": "State" },
    STATES.map(([value, text]) => h("option", { value, selected: value === state }, text)),
  );
  states.addEventListener("change", () => {
    state = states.value;
    page = 1;
    setQuery({ state, page: null });
    reload();
  });
  /** @param {number} to */
  function turn(to) {
    page = to;
    setQuery({ page: to > 1 ? to : null });
    reload();
  }
  const list = () => queryString({ page, page_size: SIZE, state: state || null });
  const reload = resource(
    place,
    (o) => api.get(`/webhooks/${id}/deliveries${list()}`, o),
    ({ data, total }) => {
      if (total) return [deliveriesTable(data, open), pager(page, SIZE, total, turn)];
      return state
        ? empty("There is no such delivery")
        : empty("Nothing has been sent yet", "Send a test to see whether the receiver is there.");
    },
    { signal, lines: 6 },
  );
  const element = panel("Deliveries", { note: "Kept for seven days.", actions: states }, place);
  return { element, reload };
}

/**
 * @param {any[]} rows
 * @param {(delivery: any) => void} open
 */
const deliveriesTable = (rows, open) =>
  table(
    "Deliveries",
    [
      {
        label: "Event",
        cell: (d) => [
          h(
            "button",
            { type: "button", class: "link", dataset: { key: d.id }, onclick: () => open(d) },
            d.event_type,
          ),
          d.replay_of && tag("again"),
        ],
      },
      { label: "State", cell: (d) => status(d.state) },
      { label: "Answer", cell: answer },
      { label: "Attempts", num: true, cell: (d) => d.attempt_count },
      {
        label: "Next attempt",
        hide: "wide",
        cell: (d) => (d.next_retry_at ? time(d.next_retry_at) : "–"),
      },
      { label: "Queued", num: true, cell: (d) => time(d.created_at) },
    ],
    rows,
  );

/** @param {any} d */
function answer(d) {
  if (d.attempt_count === 0) return "not sent yet";
  return d.status_code ? `${d.status_code} in ${d.duration_ms} ms` : d.error;
}

/**
 * A dialog with one delivery: what was sent, what came back, and the way to send it again.
 * @param {string} hookId
 * @param {any} delivery
 * @param {boolean} mayWrite
 * @param {() => void} done
 */
async function showDelivery(hookId, delivery, mayWrite, done) {
  const path = `/webhooks/${hookId}/deliveries/${delivery.id}`;
  const body = h("div");
  const again = button("Send again", replay, { kind: "primary" });
  const end = h("div", { class: "form-end" }, mayWrite && again);
  const box = dialog(delivery.event_type, body, end);
  async function replay() {
    again.disabled = true;
    try {
      const sent = (await api.post(`${path}/replay`)).data;
      if (sent.success) toast(`Answered ${sent.status_code} in ${sent.duration_ms} ms.`);
      else toast(sent.error ?? "No answer yet.", "bad");
      box.close();
      done();
    } catch (e) {
      toastError(e);
      again.disabled = false;
    }
  }
  box.classList.add("broad");
  try {
    fill(body, deliveryDetails((await api.get(path)).data));
  } catch (e) {
    fill(body, errorBox(e));
  }
}

/** @param {any} d */
const deliveryDetails = (d) => [
  facts([
    ["State", status(d.state)],
    ["Attempts", d.attempt_count],
    ["Last attempt", d.attempted_at && time(d.attempted_at, { full: true })],
    ["Next attempt", d.next_retry_at && time(d.next_retry_at, { full: true })],
    ["Answer", answer(d)],
    ["Event", h("code", null, d.event_id)],
    ["Delivery", h("code", null, d.id)],
    d.replay_of && ["Repeats", h("code", null, d.replay_of)],
  ]),
  d.error &&
    !/^answered \d+$/.test(d.error) &&
    h("p", { class: "warn-line" }, icon("warn"), d.error),
  d.request_body === null
    ? h("p", { class: "hint" }, "Your key may not read what this tells of.")
    : block("What is sent", pretty(d.request_body)),
  d.response_body && block("What was answered", d.response_body),
];

/**
 * @param {string} label
 * @param {string} text
 */
const block = (label, text) => [
  h("h3", null, label),
  h("pre", { tabindex: 0, role: "group", "aria-label": label }, h("code", null, text)),
];

/** @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
