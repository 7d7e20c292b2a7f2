// @ts-check
// Cells that know only an id and fill themselves once they come into view: names, sparklines, caps.
// Each thing is asked for once, few at a time, so that a long list is there at once and costs little.

/** @import { Child } from "./dom.js" */
import { h, fill } from "./dom.js";
import { api, query } from "./api.js";

const AT_ONCE = 4,
  FRESH_MS = 60_000;
/** @type {WeakMap<Element, () => Promise<void>>} */
const loads = new WeakMap();
const known = new Map();
/** @type {(() => Promise<void>)[]} */
const waiting = [];
let busy = 0;

function pump() {
  while (busy < AT_ONCE) {
    const next = waiting.shift();
    if (!next) return;
    busy++;
    next().finally(() => {
      busy--;
      pump();
    });
  }
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      waiting.push(async () => {
        if (target.isConnected) await loads.get(target)?.();
      });
    }
    pump();
  },
  { rootMargin: "150px" },
);

/**
 * A cell. `load()` asks, `draw(data)` shows; what was asked under `key` before is shown at once, and
 * asked again only when it is older than a minute. `first` is there until then.
 * @template T
 * @param {string} key
 * @param {() => Promise<T>} load
 * @param {(data: T) => Child} draw
 * @param {{ first?: Child, kind?: string }} [look]
 */
export function cell(key, load, draw, { first = "", kind = "cell" } = {}) {
  const place = h("span", { class: kind });
  const kept = known.get(key);
  fill(place, kept ? draw(kept.data) : first);
  if (kept && Date.now() - kept.at < FRESH_MS) return place;
  loads.set(place, async () => {
    try {
      const data = await load();
      known.set(key, { at: Date.now(), data });
      fill(place, draw(data));
    } catch {
      /* what is there stays; the list itself says what is wrong */
    }
  });
  seen.observe(place);
  return place;
}

/**
 * Forgets one answer, or all: another key may see other things.
 * @param {string} [key]
 */
export function forgetCells(key) {
  if (key === undefined) known.clear();
  else known.delete(key);
}

/**
 * The name of a workspace, project, computer or webhook, of which some have an address only.
 * @param {string} kind
 * @param {string} id
 */
export const nameOf = (kind, id) =>
  cell(
    `${kind}/${id}`,
    () => api.get(`/${kind}s/${id}`).catch((e) => gone(kind, id, e)),
    (one) => (one.data ?? one).name ?? (one.data ?? one).url,
    { first: h("code", null, `${id.slice(0, 8)}…`), kind: "name" },
  );

/**
 * What was deleted, as the audit log saw it last.
 * @param {string} kind
 * @param {string} id
 * @param {any} error what asking for it said
 */
async function gone(kind, id, error) {
  if (error.status !== 404) throw error;
  const asked = query({ resource_id: id, type: `${kind}.deleted`, limit: 1 });
  const [entry] = (await api.get(`/audit-log${asked}`)).data;
  if (!entry?.metadata.before) throw error;
  return entry.metadata.before;
}
