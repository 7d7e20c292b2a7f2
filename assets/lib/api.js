// The public API, with the session's cookie in place of a key.

const BASE = "/api/v1";

/** What the API, or the way to it, refused. */
export class ApiError extends Error {
  constructor(status, body, requestId, retryAfter) {
    super(
      body?.message ??
        (status ? `The server answered ${status}.` : "The server cannot be reached."),
    );
    this.status = status;
    this.code = body?.code ?? (status ? "ERROR" : "NETWORK");
    this.requestId = body?.request_id ?? requestId ?? null;
    this.fields = body?.errors ?? {};
    this.details = body?.error?.details ?? {};
    this.existing = body?.error?.existing ?? null;
    this.retryAfter = retryAfter;
  }
}

let signedOut = () => {};
/** Called when the session turns out to be over. */
export const onSignedOut = (f) => {
  signedOut = f;
};

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Keys of POSTs whose answer was lost: sent again as it was, a request is not executed twice.
const undecided = new Map();

async function send(method, url, { body, signal, key } = {}) {
  const headers = { "X-Workspaced-Admin": "1", Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
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
      body: body === undefined ? undefined : JSON.stringify(body),
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

async function json(method, url, options) {
  const response = await send(method, url, options);
  const requestId = response.headers.get("x-request-id");
  let body = null;
  try {
    body = await response.json();
  } catch (e) {
    if (e.name === "AbortError") throw e;
  }
  if (response.ok) return body;
  const error = new ApiError(
    response.status,
    body,
    requestId,
    Number(response.headers.get("retry-after")) || null,
  );
  if (response.status === 401 && url.startsWith(BASE)) signedOut(error);
  throw error;
}

/** A query string of what is set. */
export function query(params) {
  const set = Object.entries(params).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

export const api = {
  get: (path, options) => json("GET", BASE + path, options),
  post: (path, body, options) => json("POST", BASE + path, { body: body ?? {}, ...options }),
  put: (path, body, options) => json("PUT", BASE + path, { body, ...options }),
  patch: (path, body, options) => json("PATCH", BASE + path, { body, ...options }),
  delete: (path, options) => json("DELETE", BASE + path, options),
  /** A reply that is not JSON. */
  raw: (path, options) => send("GET", BASE + path, options),
};

export const session = {
  show: (options) => json("GET", "/admin/session", options),
  signIn: (key) => json("POST", "/admin/session", { body: { key } }),
  signOut: () => json("DELETE", "/admin/session"),
};

/** The emulator's own routes, which exist with --dev or --clock virtual only. */
export const dev = {
  clearFaults: () => json("DELETE", "/_dev/faults", { body: {} }),
};

// What changes rarely and is shown everywhere is asked for once.
const kept = new Map();
/** A GET whose answer is kept until the page is left. */
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
