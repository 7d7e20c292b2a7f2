// @ts-check
// Numbers, times and words for people. Times are local, or UTC for the whole page by one switch;
// the tooltip always has both.

import { h } from "./dom.js";

const LOCALE = navigator.language || "en";

/** @param {string} key */
const stored = (key) => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
};
/**
 * Keeps a preference; private windows may refuse.
 * @param {string} key
 * @param {string | null} value
 */
export function prefer(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    /* not kept */
  }
}
/**
 * A preference that was kept.
 * @param {string} key
 */
export const preference = (key) => stored(key);

/** The zone of this browser. */
export const LOCAL_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
/** The zone in which times are shown. */
export const zone = () => (stored("times") === "utc" ? "UTC" : LOCAL_ZONE);

let ahead = 0;
/**
 * Follows the server's clock, which in development may be set by hand; a second or two are the way.
 * @param {string} at
 */
export function setClock(at) {
  const by = Date.parse(at) - Date.now();
  ahead = Math.abs(by) > 5000 ? by : 0;
}
/** Milliseconds of the server's clock. */
export const now = () => Date.now() + ahead;

const formats = new Map();
/**
 * A date format that is made once.
 * @param {Intl.DateTimeFormatOptions} options
 * @param {string} [timeZone]
 * @returns {Intl.DateTimeFormat}
 */
export function dateFormat(options, timeZone = zone()) {
  const key = JSON.stringify([options, timeZone]);
  if (!formats.has(key))
    formats.set(key, new Intl.DateTimeFormat(LOCALE, { ...options, timeZone, hourCycle: "h23" }));
  return formats.get(key);
}

/** @type {Intl.DateTimeFormatOptions} */
const FULL = {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
};
/** @type {Intl.DateTimeFormatOptions} */
const SHORT = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
/** @type {Intl.DateTimeFormatOptions} */
const SHORT_YEAR = { day: "numeric", month: "short", year: "numeric" };

/**
 * The instant at which the present day of a zone began.
 * @param {string} tz
 */
export function startOfDay(tz) {
  /** @param {number} at */
  const wall = (at) => {
    const part = Object.fromEntries(
      (dateFormat(PARTS, tz)?.formatToParts(at) ?? []).map(({ type, value }) => [
        type,
        Number(value),
      ]),
    );
    return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
  };
  const today = Math.floor(wall(now()) / 864e5) * 864e5;
  // Off by the zone's offset; once more where that changes within the day.
  let at = today;
  for (let i = 0; i < 2; i++) at -= wall(at) - today;
  return at;
}
/** @type {Intl.DateTimeFormatOptions} */
const PARTS = {
  year: "numeric",
  month: "numeric",
  day: "numeric",
  hour: "numeric",
  minute: "numeric",
  second: "numeric",
};

/**
 * An instant in full, in the page's zone.
 * @param {string} at
 * @param {string} [tz]
 */
export const fullTime = (at, tz) => dateFormat(FULL, tz).format(new Date(at));
/**
 * An instant in full, in UTC.
 * @param {string} at
 */
export const utcTime = (at) => `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/**
 * An instant as an element: short text, both zones in the tooltip.
 * @param {string | null | undefined} at
 */
export function time(at, { full = false } = {}) {
  if (!at) return h("span", { class: "none" }, "–");
  const date = new Date(at);
  const recent = Math.abs(now() - date.getTime()) < 300 * 864e5;
  const text = full ? fullTime(at) : dateFormat(recent ? SHORT : SHORT_YEAR).format(date);
  return h("time", { datetime: at, title: `${fullTime(at)}\n${utcTime(at)}` }, text);
}

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["year", 31536e6],
  ["month", 2592e6],
  ["day", 864e5],
  ["hour", 36e5],
  ["minute", 6e4],
];
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto", style: "long" });
/**
 * "5 minutes ago", with the instant in the tooltip. What has happened is never ahead: where the server's clock
 * is, by as much as nobody noticed yet, it happened just now.
 * @param {string | null | undefined} at
 */
export const ago = (at) => distance(at, Math.min(0, passedTo(at)));
/**
 * "in 5 minutes".
 * @param {string | null | undefined} at
 */
export const until = (at) => distance(at, passedTo(at));

/** @param {string | null | undefined} at */
const passedTo = (at) => Date.parse(at ?? "") - now();

/**
 * @param {string | null | undefined} at
 * @param {number} passed
 */
function distance(at, passed) {
  if (!at) return h("span", { class: "none" }, "–");
  const unit = UNITS.find(([, ms]) => Math.abs(passed) >= ms);
  const text = unit
    ? relative.format(Math.round(passed / unit[1]), unit[0])
    : passed > 0
      ? "in a moment"
      : "just now";
  return h("time", { datetime: at, title: `${fullTime(at)}\n${utcTime(at)}` }, text);
}

/**
 * A length of time: "3 d 4 h", "12 min", "40 s".
 * @param {number} ms
 */
export function duration(ms) {
  const total = Math.max(0, Math.round(ms / 1000));
  const [d, hr, min, sec] = [
    Math.floor(total / 86400),
    Math.floor(total / 3600) % 24,
    Math.floor(total / 60) % 60,
    total % 60,
  ];
  if (d) return hr ? `${d} d ${hr} h` : `${d} d`;
  if (hr) return min ? `${hr} h ${min} min` : `${hr} h`;
  if (min) return sec && min < 10 ? `${min} min ${sec} s` : `${min} min`;
  return `${sec} s`;
}

/** @type {Record<string, number>} */
const SPANS = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
/**
 * Seconds of what somebody wrote: "2 h", "1 d 12 h", "90 min", "1.5h", "7200", "never".
 * @param {string} text
 */
export function spanOf(text) {
  const given = text.trim().toLowerCase();
  if (given === "never" || given === "0") return 0;
  if (/^\d+$/.test(given)) return Number(given);
  if (!/^(\d+([.,]\d+)?\s*[a-z]+\s*)+$/.test(given)) throw new Error("not a length of time");
  let sum = 0;
  for (const [, n, word] of given.matchAll(/(\d+(?:[.,]\d+)?)\s*([a-z]+)/g)) {
    const known = /^(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)$/.test(word);
    if (!known) throw new Error("not a unit of time");
    sum += Number(n.replace(",", ".")) * SPANS[word[0]];
  }
  return Math.round(sum);
}
/**
 * Seconds as somebody would write them, exactly.
 * @param {number | null | undefined} seconds
 */
export function spanText(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds === 0) return "never";
  let left = seconds;
  const parts = [];
  for (const [unit, size] of /** @type {[string, number][]} */ ([
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ])) {
    const n = Math.floor(left / size);
    if (n) parts.push(`${n} ${unit}`);
    left -= n * size;
  }
  return parts.join(" ");
}

const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const decimal = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 2 });
const exact = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 2, maximumFractionDigits: 6 });
const compact = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });

/**
 * A whole number.
 * @param {number | null | undefined} n
 */
export const number = (n) => whole.format(n ?? 0);
/**
 * A number with at most two decimals.
 * @param {number | null | undefined} n
 */
export const decimals = (n) => decimal.format(n ?? 0);
/**
 * Micro-credits in few digits, wherever a sum of them stands: whole from a hundred on, and cut off as the API
 * cuts off whole credits, so that the same sum is the same number everywhere.
 * @param {number} micros
 */
export const amountOf = (micros) =>
  Math.abs(micros) >= 1e8
    ? number(Math.trunc(micros / 1e6))
    : decimals(Math.trunc(micros / 1e4) / 100);
/**
 * Whole credits of a sum in a list: what is less than one is not nothing.
 * @param {number} micros
 */
export const wholeOf = (micros) =>
  micros > 0 && micros < 1e6 ? "<1" : number(Math.floor(micros / 1e6));
/**
 * Whole credits of parts that add up to those of the whole: each is cut off, and what is then missing goes to
 * those that lost the most.
 * @param {number[]} micros
 * @param {number} total of them
 */
export function shares(micros, total) {
  const whole = micros.map((part) => Math.floor(part / 1e6));
  const missing = Math.floor(total / 1e6) - whole.reduce((all, n) => all + n, 0);
  const lost = (/** @type {number} */ i) => micros[i] - whole[i] * 1e6;
  const order = micros.map((_, i) => i).sort((a, b) => lost(b) - lost(a));
  for (const i of order.slice(0, missing)) whole[i]++;
  return whole;
}
/**
 * Micro-credits as credits, exactly.
 * @param {number | null | undefined} micros
 */
export const credits = (micros) => exact.format((micros ?? 0) / 1e6);
/**
 * A number for an axis.
 * @param {number} n
 */
export const short = (n) => (Math.abs(n) >= 10000 ? compact.format(n) : decimal.format(n));

/**
 * Bytes in powers of 1,024.
 * @param {number} n
 */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i ? decimal.format(n) : n} ${units[i]}`;
}

/**
 * "1 computer", "3 computers".
 * @param {number} n
 * @param {string} one
 */
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;
/**
 * The same of a number that is written already: "1 credit", "1.5 credits".
 * @param {string} text
 */
export const counted = (text, one = "credit") => `${text} ${text === "1" ? one : `${one}s`}`;
