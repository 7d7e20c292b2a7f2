// @ts-check
// What happens, as it happens: one event stream for all tabs of the browser, over fetch (which can carry
// the header that a cookie needs, and says why it failed). A browser opens six connections to a server,
// and a seventh tab with a stream of its own would wait for ever: the tab that holds the lock listens and
// tells the others. Where there are no locks (plain HTTP to another machine) each listens for itself.
// While the stream is down, everything is asked for again every 10 seconds; while the tab is hidden,
// nothing is.

import { s, h, fill } from "./dom.js";
import { fullTime } from "./format.js";
import { acting, actingHeaders } from "./organizations.js";

/**
 * An event of the stream; where null is told in its place, anything may have changed.
 * @typedef {any} LiveEvent
 */
/** @typedef {{ pattern: RegExp, f: (event: LiveEvent) => void }} Listener */
/** @typedef {"live" | "polling" | "paused" | "off"} State */

const POLL_MS = 10_000;
/** @type {Set<Listener>} */
const listeners = new Set();
/** @type {State} */
let state = "off";
let wanted = false;
let wait = 1000;
/** @type {string | null} */
let lastId = null;
/** @type {Date | null} */
let lastHeard = null;
/** @type {AbortController | null} */
let controller = null;
/** @type {number | undefined} */
let poll;
/** @type {number | undefined} */
let retry;
/** @type {HTMLElement | null} */
let dot = null;

const NAME = `workspaced ${new URL(".", document.baseURI).pathname} ${acting() ?? ""}`.trim();
/** @type {BroadcastChannel | null} */
const others = navigator.locks && window.BroadcastChannel ? new BroadcastChannel(NAME) : null;
let leading = false;
let release = () => {};
/** @type {AbortController | null} */
let waiting = null;

/**
 * What the leading tab tells the others; `ask` is asked by them.
 * @typedef {{ ask?: true, state?: State, id?: string | null, event?: LiveEvent, heard?: true, poll?: true }} Word
 */
/** @param {Word} word */
const pass = (word) => {
  if (leading) others?.postMessage(word);
};
others?.addEventListener("message", ({ data: word }) => {
  if (word.ask) return pass({ state, id: lastId });
  if (!wanted || leading || document.hidden) return;
  if (word.id) lastId = word.id;
  heard();
  if (word.state && word.state !== state) become(word.state);
  if (word.event) tell(word.event);
  if (word.poll) tell(null);
});

/** Listens, as soon as no other tab does. */
function join() {
  if (!others) return void connect();
  waiting = new AbortController();
  others.postMessage({ ask: true });
  const lead = () => {
    leading = true;
    connect();
    return new Promise((/** @type {(end: void) => void} */ end) => {
      release = end;
    });
  };
  navigator.locks.request(NAME, { signal: waiting.signal }, lead).catch(() => {});
}

/** Leaves it to another tab. */
function leave() {
  waiting?.abort();
  clearTimeout(retry);
  controller?.abort();
  controller = null;
  leading = false;
  release();
}

/**
 * Calls `f(event)` for events whose type matches, and `f(null)` when anything may have changed.
 * @param {RegExp} pattern
 * @param {(event: LiveEvent) => void} f
 * @param {AbortSignal} [signal]
 */
export function listen(pattern, f, signal) {
  const entry = { pattern, f };
  listeners.add(entry);
  signal?.addEventListener("abort", () => listeners.delete(entry), { once: true });
}

/** @param {LiveEvent} event */
function tell(event) {
  for (const { pattern, f } of [...listeners]) if (!event || pattern.test(event.type)) f(event);
}

/** @param {State} next */
function become(next) {
  state = next;
  pass({ state });
  clearInterval(poll);
  if (next === "polling" && (leading || !others)) {
    poll = window.setInterval(() => {
      heard();
      pass({ poll: true });
      tell(null);
    }, POLL_MS);
  }
  draw();
}

function heard() {
  lastHeard = new Date();
  draw();
}

const TEXT = { live: "Live", polling: "Every 10 s", paused: "Paused", off: "Not connected" };
function draw() {
  if (!dot) return;
  dot.dataset.state = state;
  dot.title = lastHeard
    ? `${TEXT[state]}; last heard at ${fullTime(lastHeard.toISOString())}`
    : TEXT[state];
  fill(
    dot,
    s(
      "svg",
      { viewBox: "0 0 10 10", class: "dot", "aria-hidden": "true" },
      s("circle", { cx: 5, cy: 5, r: 4 }),
    ),
    h("span", null, TEXT[state]),
  );
}

/** The indicator for the top of the page. */
export function indicator() {
  dot = h("span", { class: "live", role: "status" });
  draw();
  return dot;
}

export function start() {
  if (wanted) return;
  wanted = true;
  lastId = null;
  join();
}

export function stop() {
  wanted = false;
  leave();
  become("off");
}

async function connect() {
  clearTimeout(retry);
  controller?.abort();
  if (!wanted) return;
  const mine = (controller = new AbortController());
  try {
    const query = lastId === null ? "" : `?last_event_id=${lastId}`;
    const response = await fetch(`api/v1/events/stream${query}`, {
      headers: {
        Accept: "text/event-stream",
        "X-Workspaced-Admin": "1",
        ...actingHeaders(),
      },
      signal: mine.signal,
      cache: "no-store",
      credentials: "same-origin",
    });
    if (!response.ok || !response.body) throw new Error(`the stream answered ${response.status}`);
    if (state !== "live") become("live");
    wait = 1000;
    await read(response.body.getReader());
  } catch (e) {
    if (mine.signal.aborted) return;
  }
  if (!wanted || controller !== mine) return;
  // A proper end is the server stopping or the session ending; a request of the page will tell which.
  // Not again where it polls already: the next round would be put off each time.
  if (state !== "paused" && state !== "polling") become("polling");
  retry = window.setTimeout(connect, wait);
  wait = Math.min(wait * 2, 30_000);
}

/** @param {ReadableStreamDefaultReader<Uint8Array>} reader */
async function read(reader) {
  const decoder = new TextDecoder();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += decoder.decode(value, { stream: true });
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      frame(buffer.slice(0, end));
      buffer = buffer.slice(end + 2);
    }
  }
}

/** @param {string} text */
function frame(text) {
  let data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("id: ")) lastId = line.slice(4);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  heard();
  if (!data) return pass({ heard: true });
  try {
    const event = JSON.parse(data);
    pass({ event, id: lastId });
    tell(event);
  } catch {
    /* not an event of ours */
  }
}

document.addEventListener("visibilitychange", () => {
  if (!wanted) return;
  if (document.hidden) {
    leave();
    become("paused");
  } else {
    join();
    tell(null);
  }
});
