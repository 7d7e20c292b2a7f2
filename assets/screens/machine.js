// @ts-check
// What a computer has that a container engine runs: what it uses, where it listens, what it wrote, its screen, a terminal.

/** @import { Context } from "../app.js" */
import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { actingIn } from "../lib/organizations.js";
import { button, empty, facts, none, panel, resource, table, tag } from "../lib/ui.js";
import { desktop } from "./desktop.js";
import { ago, bytes, decimals, number, time } from "../lib/format.js";

/** Milliseconds between two looks; a look is no activity. */
const LOOK = 10_000;
/** Characters of a terminal that are kept. */
const KEPT = 100_000;
/** What moves the cursor and colours text: a terminal of lines has neither. */
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-_])/g;

/** @type {Record<string, string>} */
const AWAKE = {
  start: "it was started",
  "keep-alive": "somebody asked for it",
  change: "it was changed",
  command: "a command",
  files: "a file was read or changed",
  desktop: "somebody works on its screen",
  terminal: "a terminal or tunnel",
  visit: "a visit to a preview address",
  cpu: "its programs are busy",
};

/**
 * The panels, and what draws them again.
 * @param {Context} context
 * @param {any} computer
 */
export function machinePanels({ signal }, computer) {
  const { id } = computer;
  /** @param {string} path */
  const get = (path) => api.get(`/computers/${id}${path}`, { signal });
  let shown = computer;
  const use = h("div"),
    ports = h("div"),
    logs = h("div");
  const reloads = [
    resource(
      use,
      () => get("/metrics?window=1h"),
      (m) => useFacts(shown, m.present),
      { signal },
    ),
    resource(
      ports,
      () => get("/ports"),
      ({ data }) => portTable(data),
      { signal },
    ),
    resource(logs, () => get("/logs?lines=200"), drawLogs, { signal }),
  ];
  const reload = () => reloads.forEach((again) => again());
  const timer = setInterval(() => {
    if (!document.hidden) reload();
  }, LOOK);
  const console = terminal(id),
    screen = desktop(id);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    console.close();
    screen.close();
  });
  return {
    elements: [
      h(
        "div",
        { class: "columns" },
        panel("Machine", { note: "As the engine counts" }, use),
        panel("Ports", { note: "Where something listens" }, ports),
      ),
      panel(
        "Desktop",
        { actions: screen.actions, note: "Where the image has one" },
        screen.element,
      ),
      panel(
        "Terminal",
        { actions: console.actions, note: "What it shows is kept nowhere" },
        console.element,
      ),
      panel("Log", { note: "What its own program wrote last" }, logs),
    ],
    /** @param {any} now */
    reload(now) {
      shown = now;
      reload();
    },
  };
}

/**
 * @param {any} c
 * @param {any} present null where nothing was measured in the last minutes
 */
function useFacts(c, present) {
  const { last_activity: last } = c;
  const cpu = present?.cpu_percent;
  return facts([
    ["CPU", cpu == null ? none() : `${decimals(cpu)} % of one, of ${c.vcpus}`],
    [
      "Memory",
      present ? `${number(present.memory_mb)} MB of ${number(present.memory_limit_mb)} MB` : none(),
    ],
    ["Processes", present ? number(present.processes) : none()],
    [
      "Network",
      present
        ? `${bytes(present.received_bytes)} received, ${bytes(present.sent_bytes)} sent`
        : none(),
    ],
    ["Last activity", last ? [ago(last.at), `: ${AWAKE[last.by] ?? last.by}`] : none()],
    ["Disk", "not limited: watch the host's"],
    present && ["Measured", time(present.at)],
  ]);
}

/** @param {any[]} rows */
const portTable = (rows) =>
  rows.length
    ? table(
        "Ports",
        [
          {
            label: "Port",
            cell: (p) =>
              p.listening && !p.only_inside
                ? h("a", { href: p.url, target: "_blank", rel: "noopener noreferrer" }, `${p.port}`)
                : `${p.port}`,
          },
          {
            label: "Listens",
            cell: (p) =>
              p.listening == null
                ? none()
                : p.only_inside
                  ? "inside only"
                  : p.listening
                    ? "yes"
                    : "no",
          },
          { label: "Who may look", cell: (p) => [p.visibility, p.exposed ? tag("set") : null] },
        ],
        rows,
        { rowKey: (p) => p.port },
      )
    : empty("Nothing listens", "A program that listens on 0.0.0.0 appears here with its address.");

/** @param {any} found */
function drawLogs({ lines }) {
  if (!lines.length) return empty("It has written nothing");
  return h("pre", { tabindex: 0, "aria-label": "Log" }, lines.join("\n"));
}

/**
 * A terminal of lines: what is typed is sent with Enter.
 * @param {string} id
 */
function terminal(id) {
  const out = h("pre", { tabindex: 0, role: "log", "aria-label": "Terminal output" });
  const line = h("input", { "aria-label": "Input", autocomplete: "off", spellcheck: "false" });
  const place = h(
    "div",
    null,
    empty("No terminal is open", "An open one keeps the computer awake."),
  );
  /** @type {WebSocket | null} */
  let socket = null;
  let text = "",
    left = false;
  /** @param {string} more */
  function say(more) {
    // A line that is begun anew, a letter that is taken back.
    const plain = more.replace(ESCAPES, "").replace(/\r+\n/g, "\n");
    for (const letter of plain) {
      if (letter === "\r") text = text.slice(0, text.lastIndexOf("\n") + 1);
      else if (letter === "\b") text = text.slice(0, -1);
      else if (letter >= " " || letter === "\n" || letter === "\t") text += letter;
    }
    text = text.slice(-KEPT);
    out.textContent = text;
    out.scrollTop = out.scrollHeight;
  }
  /** @param {string} data */
  const type = (data) => socket?.send(JSON.stringify({ type: "stdin", data }));
  const form = h(
    "form",
    { class: "typed" },
    line,
    button("Ctrl+C", () => type("\u0003"), { kind: "small" }),
    button("Ctrl+D", () => type("\u0004"), { kind: "small" }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    type(`${line.value}\r`);
    line.value = "";
  });
  function open() {
    if (socket) return line.focus();
    const env = encodeURIComponent(JSON.stringify({ TERM: "dumb" }));
    const url = new URL(
      `api/v1/computers/${id}/exec/stream?cols=120&rows=30&env=${env}`,
      document.baseURI,
    );
    url.protocol = url.protocol.replace("http", "ws");
    actingIn(url);
    text = "";
    out.textContent = "";
    fill(place, out, form);
    const opened = new WebSocket(url);
    socket = opened;
    let over = "";
    left = false;
    opened.onopen = () => line.focus();
    opened.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type === "exit") over = `It ended with ${frame.code}.`;
      else if (frame.type === "error") over = frame.message;
      else say(frame.data);
    };
    opened.onclose = ({ code, reason }) => {
      if (socket !== opened) return;
      socket = null;
      form.remove();
      const lost = code === 1006 && !left ? "The connection ended: does the computer run?" : "";
      const why = over || reason || lost;
      say(`\n[${why || "closed"}]\n`);
    };
  }
  function close() {
    left = true;
    socket?.close(1000);
  }
  const actions = [button("Open", open), button("Close", close)];
  return { element: place, actions, close };
}
