// One webhook: how it does, and the log of its deliveries with what was sent and what came back.

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

const pretty = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};
const block = (label, text) => [
  h("h3", null, label),
  h("pre", { tabindex: 0, role: "group", "aria-label": label }, h("code", null, text)),
];
const answer = (d) =>
  d.attempt_count === 0
    ? "not sent yet"
    : d.status_code
      ? `${d.status_code} in ${d.duration_ms} ms`
      : d.error;

export async function show({ main, signal, title, go, query, setQuery, covers }, id) {
  let page = Number(query.get("page")) || 1,
    state = query.get("state") ?? "",
    waiting = false;
  const mayWrite = covers("webhooks:write"),
    top = h("div"),
    place = h("div");

  const details = async (d) => {
    const body = h("div");
    const again =
      mayWrite &&
      button(
        "Send again",
        async () => {
          again.disabled = true;
          try {
            const sent = (await api.post(`/webhooks/${id}/deliveries/${d.id}/replay`)).data;
            if (sent.success) toast(`Answered ${sent.status_code} in ${sent.duration_ms} ms.`);
            else toast(sent.error ?? "No answer yet.", "bad");
            box.close();
            refresh();
          } catch (e) {
            toastError(e);
            again.disabled = false;
          }
        },
        { kind: "primary" },
      );
    const box = dialog(d.event_type, body, h("div", { class: "form-end" }, again));
    box.classList.add("broad");
    try {
      const full = (await api.get(`/webhooks/${id}/deliveries/${d.id}`)).data;
      fill(
        body,
        facts([
          ["State", status(full.state)],
          ["Attempts", full.attempt_count],
          ["Last attempt", full.attempted_at && time(full.attempted_at, { full: true })],
          ["Next attempt", full.next_retry_at && time(full.next_retry_at, { full: true })],
          ["Answer", answer(full)],
          ["Event", h("code", null, full.event_id)],
          ["Delivery", h("code", null, full.id)],
          full.replay_of && ["Repeats", h("code", null, full.replay_of)],
        ]),
        full.error &&
          !/^answered \d+$/.test(full.error) &&
          h("p", { class: "warn-line" }, icon("warn"), full.error),
        full.request_body === null
          ? h("p", { class: "hint" }, "Your key may not read what this tells of.")
          : block("What is sent", pretty(full.request_body)),
        full.response_body && block("What was answered", full.response_body),
      );
    } catch (e) {
      fill(body, errorBox(e));
    }
  };

  const drawTop = (hook) => {
    title(hook.name);
    const { test, edit, rest } = actionsOf(hook, refresh, () => go("/webhooks"));
    redraw(
      top,
      head(hook.name, {
        crumbs: [["Webhooks", "#/webhooks"]],
        sub: h(
          "div",
          { class: "ids" },
          status(hook.status),
          copyable(hook.url, { label: "Copy the URL" }),
          eventTags(hook),
        ),
        actions: mayWrite && [
          button("Send a test", test),
          button("Edit", edit),
          menu("More", rest),
        ],
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
    );
    waiting = hook.pending_count > 0;
  };
  drawTop((await api.get(`/webhooks/${id}`, { signal })).data);

  const states = h(
    "select",
    {
      "aria-label": "State",
      onchange: (event) => {
        state = event.target.value;
        page = 1;
        setQuery({ state, page: null });
        reload();
      },
    },
    [
      ["", "All deliveries"],
      ["pending", "Waiting"],
      ["delivered", "Delivered"],
      ["failed", "Failed"],
    ].map(([value, text]) => h("option", { value, selected: value === state }, text)),
  );
  fill(main, top, panel("Deliveries", { note: "Kept for seven days.", actions: states }, place));
  const reload = resource(
    place,
    (o) =>
      api.get(
        `/webhooks/${id}/deliveries${queryString({ page, page_size: SIZE, state: state || null })}`,
        o,
      ),
    (list) => {
      if (!list.total)
        return empty(
          state ? "There is no such delivery" : "Nothing has been sent yet",
          state ? null : "Send a test to see whether the receiver is there.",
        );
      return [
        table(
          "Deliveries",
          [
            {
              label: "Event",
              cell: (d) => [
                h(
                  "button",
                  {
                    type: "button",
                    class: "link",
                    dataset: { key: d.id },
                    onclick: () => details(d),
                  },
                  d.event_type,
                ),
                d.replay_of && h("span", { class: "tag" }, "again"),
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
          list.data,
        ),
        pager(page, SIZE, list.total, (to) => {
          page = to;
          setQuery({ page: to > 1 ? to : null });
          reload();
        }),
      ];
    },
    { signal, lines: 6 },
  );

  async function refresh() {
    if (signal.aborted) return;
    try {
      const hook = (await api.get(`/webhooks/${id}`, { signal })).data;
      await menuClosed(top);
      if (signal.aborted) return;
      drawTop(hook);
      reload();
    } catch (e) {
      if (e.status === 404) go("/webhooks");
      else toastError(e);
    }
  }
  listen(
    /./,
    debounce(() => {
      waiting = true;
      refresh();
    }, 500),
    signal,
  );
  const timer = setInterval(() => {
    if (waiting && !document.hidden && !document.querySelector("dialog[open], .menu:popover-open"))
      refresh();
  }, LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
