// @ts-check
// The public API, with the session's cookie in place of a key.

/** `seen`: the resource as it was read; where it has changed since, the change is refused. */
/** @typedef {{ signal?: AbortSignal | null, seen?: object }} Options */
/** @typedef {{ body?: unknown, key?: string } & Options} Request */

/**
 * Who is signed in.
 * @typedef {object} Session
 * @property {boolean} signed_in
 * @property {string} version
 * @property {string | null} [dev_key] of development mode
 * @property {string} [provider] with which people sign in by name
 * @property {any} key of the session; null where nobody is signed in
 */

import { actingHeaders } from "./organizations.js";

// Beside the page, which need not be at the root of its host.
const BASE = "api/v1";

/** What the API, or the way to it, refused. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {any} [body]
   * @param {string | null} [requestId]
   * @param {number | null} [retryAfter]
   */
  constructor(status, body, requestId, retryAfter) {
    super(
      body?.message ??
        (status ? `The server answered ${status}.` : "The server cannot be reached."),
    );
    this.status = status;
    this.code = body?.code ?? (status ? "ERROR" : "NETWORK");
    this.requestId = body?.request_id ?? requestId ?? null;
    /** @type {Record<string, string[]>} */
    this.fields = body?.errors ?? {};
    this.details = body?.error?.details ?? {};
    this.existing = body?.error?.existing ?? null;
    // What it is by now can be changed by whoever has seen it.
    if (status === 412 && this.existing && this.details.etag)
      tags.set(this.existing, this.details.etag);
    this.retryAfter = retryAfter;
  }
}

/** @type {(error: ApiError) => void} */
let signedOut = () => {};
/**
 * Called when the session turns out to be over.
 * @param {typeof signedOut} f
 */
export const onSignedOut = (f) => {
  signedOut = f;
};

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The versions of what was read.
/** @type {WeakMap<object, string>} */
const tags = new WeakMap();

// Keys of POSTs whose answer was lost: sent again as it was, a request is not executed twice.
const undecided = new Map();

/**
 * @param {string} method
 * @param {string} url
 * @param {Request} [request]
 */
async function send(method, url, { body, signal, key, seen } = {}) {
  /** @type {Record<string, string>} */
  const headers = {
    "X-Workspaced-Admin": "1",
    Accept: "application/json",
    ...actingHeaders(),
  };
  const table = typeof body === "string";
  if (body !== undefined) headers["Content-Type"] = table ? "text/csv" : "application/json";
  const tag = seen && tags.get(seen);
  if (tag) headers["If-Match"] = tag;
  const once = method === "POST" && url.startsWith(BASE),
    what = once && `${url} ${JSON.stringify(body)}`;
  if (once) headers["Idempotency-Key"] = key ?? undecided.get(what) ?? random();
  let response;
  try {
    response = await fetch(url, {
      method,
      headers,
      signal,
      credentials: "same-origin",
      cache: "no-store",
      body: body === undefined || table ? body : JSON.stringify(body),
    });
  } catch (e) {
    if (once) undecided.set(what, headers["Idempotency-Key"]);
    if (e.name === "AbortError") throw e;
    throw new ApiError(0);
  }
  if (once && response.status >= 500) undecided.set(what, headers["Idempotency-Key"]);
  else undecided.delete(what);
  return response;
}

/**
 * @param {string} method
 * @param {string} url
 * @param {Request} [options]
 * @returns {Promise<any>}
 */
async function json(method, url, options) {
  const response = await send(method, url, options);
  const requestId = response.headers.get("x-request-id");
  let body = null;
  try {
    body = await response.json();
  } catch (e) {
    if (e.name === "AbortError") throw e;
  }
  if (response.ok) {
    const tag = response.headers.get("etag");
    if (tag && body) for (const one of [body, body.data]) if (one) tags.set(one, tag);
    return body;
  }
  const error = new ApiError(
    response.status,
    body,
    requestId,
    Number(response.headers.get("retry-after")) || null,
  );
  if (response.status === 401 && url.startsWith(BASE)) signedOut(error);
  throw error;
}

/**
 * A query string of what is set.
 * @param {Record<string, any>} params
 */
export function query(params) {
  const set = Object.entries(params).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

export const api = {
  /**
   * @param {string} path
   * @param {Options} [options]
   */
  get: (path, options) => json("GET", BASE + path, options),
  /**
   * @param {string} path
   * @param {unknown} [body]
   * @param {Options} [options]
   */
  post: (path, body, options) => json("POST", BASE + path, { body: body ?? {}, ...options }),
  /**
   * @param {string} path
   * @param {unknown} body
   * @param {Options} [options]
   */
  put: (path, body, options) => json("PUT", BASE + path, { body, ...options }),
  /**
   * @param {string} path
   * @param {unknown} body
   * @param {Options} [options]
   */
  patch: (path, body, options) => json("PATCH", BASE + path, { body, ...options }),
  /**
   * @param {string} path
   * @param {Options} [options]
   */
  delete: (path, options) => json("DELETE", BASE + path, options),
  /**
   * A reply that is not JSON, or that is not known beforehand.
   * @param {string} path
   * @param {Request & { method?: string }} [options]
   */
  raw: (path, { method = "GET", ...options } = {}) => send(method, BASE + path, options),
};

export const session = {
  /**
   * @param {Options} [options]
   * @returns {Promise<Session>}
   */
  show: (options) => json("GET", "admin/session", options),
  /**
   * @param {string} key
   * @returns {Promise<Session>}
   */
  signIn: (key) => json("POST", "admin/session", { body: { key } }),
  signOut: () => json("DELETE", "admin/session"),
};

/**
 * What is wrong with the installation itself: its clock, its backups, its disk.
 * @param {{ signal?: AbortSignal }} o
 * @returns {Promise<string[]>}
 */
export async function readiness(o) {
  const response = await fetch("readyz", { signal: o.signal, cache: "no-store" });
  const said = await response.json().catch(() => ({}));
  return response.ok ? (said.warnings ?? []) : [said.message ?? `not ready: ${response.status}`];
}

/** The emulator's own routes, which exist with --dev or --clock virtual only. */
export const dev = {
  clearFaults: () => json("DELETE", "_dev/faults", { body: {} }),
  clock: () => json("GET", "_dev/clock"),
  /** @param {{ mode?: string, speed?: number, advance_seconds?: number }} how */
  drive: (how) => json("POST", "_dev/clock", { body: how }),
  snapshots: () => json("GET", "_dev/snapshots"),
  /** @param {string} to the name of a snapshot */
  reset: (to) => json("POST", "_dev/reset", { body: { to } }),
};

// What changes rarely and is shown everywhere is asked for once.
const kept = new Map();
/**
 * A GET whose answer is kept until the page is left.
 * @param {string} path
 * @returns {Promise<any>}
 */
export function once(path) {
  if (!kept.has(path)) {
    const asked = api.get(path).catch((e) => {
      kept.delete(path);
      throw e;
    });
    kept.set(path, asked);
  }
  return kept.get(path);
}
/** Forgets what {@link once} keeps: another key may see other things. */
export const forget = () => kept.clear();
