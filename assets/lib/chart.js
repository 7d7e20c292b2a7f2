// @ts-check
// Usage as bars: our own inline SVG. Zero-based, the unit in the title, buckets that are not whole
// hatched, reachable by keyboard, with a table and a sentence that say the same.

/** @import { Child } from "./dom.js" */
import { h, s, fill, uid } from "./dom.js";
import {
  dateFormat,
  fullTime,
  utcTime,
  number,
  short,
  duration,
  decimals,
  amountOf,
  count,
  counted,
  wholeOf,
} from "./format.js";

/**
 * An hour or a day.
 * @typedef {object} Bucket
 * @property {string} ts
 * @property {number} credits_micros
 * @property {number} credits_used
 * @property {number} compute_ms
 * @property {number} compute_hours
 * @property {boolean} partial
 */
/** @typedef {{ key: string, name: string, series: Bucket[], total_credits_micros: number }} Group */
/** @typedef {Group & { total: number, hue?: number }} Part */
/**
 * @typedef {object} Usage
 * @property {Bucket[]} series
 * @property {"hour" | "day"} granularity
 * @property {string} time_zone
 * @property {number} [total_credits_micros] of the whole, where that came with it
 * @property {number} [total_compute_ms]
 */
/** @typedef {Usage & { total_credits_micros: number, total_compute_hours: number }} WholeUsage */
/**
 * What a chart can show of a bucket.
 * @typedef {object} Metric
 * @property {string} name
 * @property {string} unit of one
 * @property {(b: Bucket) => number} of
 * @property {(b: Bucket) => number} raw as the API counts it: whole numbers, of which a sum is exact
 * @property {(usage: any) => number | undefined} whole the total that came with them
 * @property {(raw: number) => string} shown a sum of those, the same wherever it stands
 * @property {(b: Bucket) => string} text
 */

/** Colours of the parts of a stack: --series-0 to --series-7 of the style sheet. */
export const SERIES = 8;
const HEIGHT = 260,
  LEFT = 56,
  RIGHT = 12,
  TOP = 14,
  BOTTOM = 30;
/** Half of the widest time below the bars. */
const HALF = 20;

/**
 * The two things that can be shown.
 * @type {Record<string, Metric>}
 */
export const METRICS = {
  credits: {
    name: "Credits",
    unit: "credit",
    of: (b) => b.credits_micros / 1e6,
    raw: (b) => b.credits_micros,
    whole: (usage) => usage.total_credits_micros,
    shown: amountOf,
    text: (b) => counted(decimals(b.credits_micros / 1e6)),
  },
  hours: {
    name: "Compute hours",
    unit: "compute hour",
    of: (b) => b.compute_ms / 36e5,
    raw: (b) => b.compute_ms,
    whole: (usage) => usage.total_compute_ms,
    shown: (ms) => decimals(ms / 36e5),
    text: (b) => `${duration(b.compute_ms)} of compute`,
  },
};

/**
 * Steps of an axis from zero: 1, 2 or 5 times a power of ten.
 * @param {number} max
 */
export function ticks(max, want = 4) {
  if (!(max > 0)) return [0, 1];
  const raw = max / want,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5].find((n) => n * power >= raw) ?? 10) * power;
  return Array.from({ length: Math.ceil(max / step - 1e-9) + 1 }, (_, i) => i * step);
}

/**
 * The largest parts, and the rest as one.
 * @param {Group[]} groups
 * @param {Metric} metric
 * @returns {Part[]}
 */
export function topGroups(groups, metric) {
  const sorted = groups
    .map((g) => ({ ...g, total: g.series.reduce((sum, b) => sum + metric.of(b), 0) }))
    .sort((a, b) => b.total - a.total);
  if (sorted.length <= SERIES) return sorted;
  const rest = sorted.slice(SERIES - 1);
  const other = {
    key: "other",
    name: count(rest.length, "other"),
    series: rest[0].series.map((_, i) => sumOf(rest.map((g) => g.series[i]))),
    total: rest.reduce((sum, g) => sum + g.total, 0),
    total_credits_micros: rest.reduce((sum, g) => sum + g.total_credits_micros, 0),
  };
  return [...sorted.slice(0, SERIES - 1), other];
}

/**
 * The same hour or day of several parts, as one.
 * @param {Bucket[]} buckets
 * @returns {Bucket}
 */
function sumOf(buckets) {
  /** @param {"credits_micros" | "credits_used" | "compute_ms" | "compute_hours"} name */
  const sum = (name) => buckets.reduce((all, b) => all + b[name], 0);
  return {
    ...buckets[0],
    credits_micros: sum("credits_micros"),
    credits_used: sum("credits_used"),
    compute_ms: sum("compute_ms"),
    compute_hours: sum("compute_hours"),
  };
}

/**
 * "10 May, 14:00" of a bucket, in the chart's own zone.
 * @param {string} ts
 * @param {string} granularity
 * @param {string} [zone]
 */
export function bucketLabel(ts, granularity, zone) {
  return dateFormat(granularity === "day" ? DAY : HOUR, zone).format(new Date(ts));
}
/** @type {Intl.DateTimeFormatOptions} */
const DAY = { weekday: "short", day: "numeric", month: "short" };
/** @type {Intl.DateTimeFormatOptions} */
const HOUR = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };

/**
 * What the chart says, in one sentence.
 * @param {Usage} usage
 * @param {Metric} metric
 */
export function summary(usage, metric) {
  const { series, granularity, time_zone: zone } = usage;
  if (!series.length) return "There is nothing in this period.";
  // The answer's own total: bars are cut off one by one, and their sum may be a little less.
  const total = metric.whole(usage) ?? series.reduce((sum, b) => sum + metric.raw(b), 0);
  const top = series.reduce((best, b) => (metric.of(b) > metric.of(best) ? b : best), series[0]);
  const partial = series.filter((b) => b.partial).length;
  /** @param {Bucket} b */
  const label = (b) => bucketLabel(b.ts, granularity, zone);
  const when = granularity === "day" ? "on" : "in the hour of";
  const most =
    total > 0 ? `; the most, ${metric.shown(metric.raw(top))}, ${when} ${label(top)}` : "";
  const are = partial === 1 ? "One bucket is" : `${partial} buckets are`;
  return [
    `${counted(metric.shown(total), metric.unit)} from ${label(series[0])} to ${label(series[series.length - 1])}`,
    `, in ${count(series.length, granularity)}${most}`,
    partial ? `. ${are} partial (hatched)` : "",
    ".",
  ].join("");
}

/**
 * Where things are in a chart of a certain width: `x` of the left side of a bar, `y` of a value.
 * @param {number} width
 * @param {number} length how many bars there are
 * @param {number} roof the largest value that has a place
 */
function frameOf(width, length, roof) {
  /** @param {number} i */
  const x = (i) => LEFT + (i * (width - LEFT - RIGHT)) / length;
  /** @param {number} v */
  const y = (v) => TOP + (1 - v / roof) * (HEIGHT - TOP - BOTTOM);
  return { width, x, y, slot: x(1) - x(0) };
}
/** @typedef {ReturnType<typeof frameOf>} Frame */

/**
 * One path for all bars of a part: 721 bars by hour and eight parts are eight elements.
 * @param {Frame} frame
 * @param {number[]} values
 * @param {number[] | null} bases what the bars stand on; null for the floor
 * @param {(i: number) => boolean} which
 */
function barsPath({ x, y, slot }, values, bases, which = () => true) {
  const gap = slot > 6 ? Math.min(slot * 0.22, 10) : slot > 2.5 ? 1 : 0;
  let d = "";
  values.forEach((v, i) => {
    if (v <= 0 || !which(i)) return;
    const base = bases ? bases[i] : 0;
    const [left, right] = [x(i) + gap / 2, x(i + 1) - gap / 2].map((at) => at.toFixed(2));
    const [foot, top] = [y(base), y(base + v)].map((at) => at.toFixed(2));
    d += `M${left} ${foot}V${top}H${right}V${foot}z`;
  });
  return d;
}

/**
 * The bars: one on the other where there are parts, and hatching over those that are not whole.
 * @param {Frame} frame
 * @param {Bucket[]} series
 * @param {Part[] | null} parts
 * @param {Metric} metric
 * @param {string} hatchId
 */
function drawBars(frame, series, parts, metric, hatchId) {
  const all = series.map(metric.of);
  /** @param {number} i */
  const partial = (i) => series[i].partial;
  const hatching = (/** @type {number[]} */ values) =>
    s("path", {
      class: "hatching",
      fill: `url(#${hatchId})`,
      d: barsPath(frame, values, null, partial),
    });
  if (!parts) {
    return [
      s("path", {
        class: "bars",
        "data-series": 0,
        d: barsPath(frame, all, null, (i) => !partial(i)),
      }),
      s("path", {
        class: "bars partial",
        "data-series": 0,
        d: barsPath(frame, all, null, partial),
      }),
      hatching(all),
    ];
  }
  let bases = series.map(() => 0);
  const layers = parts.map((g, n) => {
    const values = g.series.map(metric.of);
    const layer = s("path", {
      class: "bars",
      "data-series": g.hue ?? n,
      d: barsPath(frame, values, bases),
    });
    bases = bases.map((base, i) => base + values[i]);
    return layer;
  });
  return [...layers, hatching(bases)];
}

/**
 * Lines across, with their values.
 * @param {Frame} frame
 * @param {number[]} steps
 */
const drawGrid = ({ width, y }, steps) =>
  steps.map((v) => [
    s("line", {
      class: v === 0 ? "axis" : "grid",
      x1: LEFT,
      x2: width - RIGHT,
      y1: y(v),
      y2: y(v),
    }),
    s("text", { class: "tick", x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, short(v)),
  ]);

/**
 * Times below the bars: days where there are many of them, else hours; always at the start of one.
 * @param {Frame} frame
 * @param {Usage} usage
 */
function drawTimes({ width, x, slot }, { series, granularity, time_zone: zone }) {
  const room = Math.max(2, Math.floor((width - LEFT - RIGHT) / 78));
  const day = dateFormat({ day: "numeric", month: "short" }, zone);
  const hour = dateFormat({ hour: "2-digit", minute: "2-digit" }, zone);
  const dayOf = dateFormat({ year: "numeric", month: "2-digit", day: "2-digit" }, zone);
  const keys = series.map((b) => dayOf.format(new Date(b.ts)));
  const starts = series.map((b, i) => ({ i, b, first: i === 0 || keys[i] !== keys[i - 1] }));
  const days = starts.filter((e) => e.first && (e.i > 0 || granularity === "day"));
  const byDay = granularity === "day" || days.length >= 3;
  const marks = byDay ? days : starts.filter((e) => e.i % 2 === 0);
  const every = Math.ceil(marks.length / room);
  return marks
    .filter((_, n) => n % every === 0)
    .map(({ i, b, first }) => {
      const format = byDay || (first && i > 0) ? day : hour;
      const at = granularity === "day" ? (x(i) + x(i + 1)) / 2 : x(i) + Math.min(8, slot / 2);
      // Below its bar, also at the edges: moved no further than to be whole.
      const middle = Math.max(HALF, Math.min(at, width - HALF));
      return [
        s("line", { class: "grid", x1: at, x2: at, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 5 }),
        s(
          "text",
          { class: "tick", x: middle, y: HEIGHT - 8, "text-anchor": "middle" },
          format.format(new Date(b.ts)),
        ),
      ];
    });
}

/** @param {string} id */
const hatchPattern = (id) =>
  s(
    "defs",
    null,
    s(
      "pattern",
      {
        id,
        width: 6,
        height: 6,
        patternUnits: "userSpaceOnUse",
        patternTransform: "rotate(45)",
      },
      s("rect", { class: "hatch", width: 2.5, height: 6 }),
    ),
  );

/**
 * What is said of one bar.
 * @param {Usage} usage
 * @param {number} i
 * @param {Part[] | null} parts
 * @param {Metric} metric
 */
function tipOf({ series, time_zone: zone }, i, parts, metric) {
  const b = series[i];
  const total = metric.of(b);
  const rows = (parts ?? [])
    .map((g, n) => ({ g, n, v: metric.of(g.series[i]) }))
    .filter(({ v }) => v > 0)
    .reverse();
  return [
    h("p", { class: "tip-time" }, fullTime(b.ts, zone)),
    h("p", { class: "hint" }, utcTime(b.ts)),
    h("p", { class: "tip-main" }, METRICS.credits.text(b)),
    h("p", null, METRICS.hours.text(b)),
    rows.length > 0 &&
      h(
        "ul",
        null,
        rows.map(({ g, n, v }) =>
          h(
            "li",
            null,
            h("span", { class: "key", "data-series": g.hue ?? n }),
            h("span", null, g.name || g.key),
            h("b", null, `${decimals(v)} · ${Math.round((v / total) * 100)} %`),
          ),
        ),
      ),
    b.partial &&
      h(
        "p",
        { class: "hint" },
        i === series.length - 1
          ? "So far: this bucket is not over."
          : "A part of the bucket: the period begins in it.",
      ),
  ];
}

/** @param {{ key?: string | null, name?: string | null }} part */
const keyOf = (part) => String(part.key ?? part.name ?? "–");

/**
 * What some of the parts come to.
 * @param {Usage} usage
 * @param {Part[]} parts
 * @returns {Usage}
 */
const onlyThose = (usage, parts) => ({
  ...usage,
  total_credits_micros: undefined,
  total_compute_ms: undefined,
  series: usage.series.map((b, i) => ({ ...b, ...sumOf(parts.map((g) => g.series[i])), ts: b.ts })),
});

/**
 * The parts with their sums; a click on one shows it alone, further ones are added.
 * @param {Part[]} parts
 * @param {Metric} metric
 * @param {string[]} only
 * @param {((only: string[]) => void) | undefined} ononly
 */
function legendOf(parts, metric, only, ononly) {
  /** @param {Part} g */
  function toggle(g) {
    const key = keyOf(g);
    const next = only.includes(key) ? only.filter((one) => one !== key) : [...only, key];
    ononly?.(next.length === parts.length ? [] : next);
  }
  /** @param {Part} g */
  const total = (g) => metric.shown(g.series.reduce((sum, b) => sum + metric.raw(b), 0));
  return h(
    "ul",
    { class: "legend", "aria-label": "Parts" },
    parts.map((g, n) =>
      h(
        "li",
        null,
        h(
          "button",
          {
            type: "button",
            class: "part",
            "aria-pressed": String(only.includes(keyOf(g))),
            title: only.includes(keyOf(g)) ? "Without it" : "Only this",
            dataset: {
              key: `part-${keyOf(g)}`,
              off: only.length > 0 && !only.includes(keyOf(g)) ? "1" : "0",
            },
            onclick: () => toggle(g),
          },
          h("span", { class: "key", "data-series": g.hue ?? n }),
          h("span", { class: "legend-name" }, g.name || g.key || "–"),
          h("b", null, total(g)),
        ),
      ),
    ),
  );
}

/**
 * The chart. `onpick(bucket)` is called for a click or Enter on a bar; the bar at `picked` is marked.
 * `onrange(first, after)` is called for bars that were dragged over.
 * @param {Usage} usage
 * @param {object} how
 * @param {Metric} how.metric
 * @param {Group[] | null} [how.groups]
 * @param {(bucket: Bucket) => void} [how.onpick]
 * @param {(first: Bucket, after: Bucket | null) => void} [how.onrange]
 * @param {string | null} [how.picked]
 * @param {string[]} [how.only] keys of the parts that are shown; all, if there is none
 * @param {(only: string[]) => void} [how.ononly]
 */
export function barChart(usage, { metric, groups, onpick, onrange, picked, only = [], ononly }) {
  const all = groups ? topGroups(groups, metric).map((g, hue) => ({ ...g, hue })) : null;
  const some = all?.filter((g) => only.includes(keyOf(g))) ?? [];
  // Only some of the parts: the bars are what those come to.
  const parts = some.length ? some : all;
  if (some.length) usage = onlyThose(usage, some);
  const { series, granularity, time_zone: zone } = usage;
  const hatchId = uid("h"),
    title = `${metric.name} per ${granularity}`;
  const end = Math.max(0, series.length - 1);
  const svg = s("svg", {
    class: "chart-svg",
    role: "img",
    "aria-label": `${title}. ${summary(usage, metric)}`,
  });
  const tip = h("div", { class: "tip", hidden: true });
  const cursor = s("rect", { class: "cursor" });
  const chosen = s("rect", { class: "picked" });
  const dragged = s("rect", { class: "dragged" });
  const slider = h("div", {
    class: "scrub",
    tabindex: 0,
    role: "slider",
    "aria-label": `${title}: arrow keys go through the bars${onpick ? ", Enter explains one" : ""}`,
    "aria-valuemin": 0,
    "aria-valuemax": end,
    "aria-valuenow": end,
    "aria-valuetext": "",
  });
  const stage = h("div", { class: "stage" }, svg, slider, tip);
  const max = series.reduce((top, b) => Math.max(top, metric.of(b)), 0);
  const steps = ticks(max);
  const roof = steps[steps.length - 1];
  let frame = frameOf(0, series.length, roof);
  let active = -1,
    last = series.length - 1;

  const watch = new ResizeObserver(() => {
    // It is told as well when the chart is taken out of the page, which is its end.
    if (stage.isConnected) draw();
    else watch.disconnect();
  });
  watch.observe(stage);
  function draw() {
    const width = Math.max(280, stage.clientWidth);
    if (width === frame.width) return;
    frame = frameOf(width, series.length, roof);
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("width", String(width));
    svg.setAttribute("height", String(HEIGHT));
    fill(
      svg,
      hatchPattern(hatchId),
      chosen,
      drawGrid(frame, steps),
      cursor,
      drawBars(frame, series, parts, metric, hatchId),
      dragged,
      drawTimes(frame, usage),
    );
    const since = picked;
    cover(chosen, since ? series.findLastIndex((b) => b.ts <= since) : -1);
    if (active >= 0) mark(active);
  }

  /**
   * Puts a rectangle over a bar, or over all up to `to`, from the floor to the roof.
   * @param {SVGRectElement} rect
   * @param {number} from -1 for none
   */
  function cover(rect, from, to = from) {
    const { x } = frame;
    const box =
      from < 0
        ? { width: 0, height: 0 }
        : {
            x: x(from),
            width: Math.max(2, x(to + 1) - x(from)),
            y: TOP,
            height: HEIGHT - TOP - BOTTOM,
          };
    for (const [name, value] of Object.entries(box)) rect.setAttribute(name, String(value));
  }

  /** @param {number} i */
  function mark(i) {
    active = i;
    const b = series[i];
    if (!b) return;
    cover(cursor, i);
    cursor.classList.add("on");
    fill(tip, tipOf(usage, i, parts, metric));
    tip.hidden = false;
    placeTip(i);
    const says = `${bucketLabel(b.ts, granularity, zone)}: ${METRICS.credits.text(b)}, ${METRICS.hours.text(b)}`;
    slider.setAttribute("aria-valuenow", String(i));
    slider.setAttribute("aria-valuetext", `${says}${b.partial ? ", not whole" : ""}`);
  }

  /**
   * Beside the bar, on the side where there is room: what is pointed at stays in sight.
   * @param {number} i
   */
  function placeTip(i) {
    const { x, width } = frame;
    const wide = tip.offsetWidth;
    const right = x(i + 1) + 10,
      left = x(i) - 10 - wide;
    const over = Math.max(0, Math.min(x(i), width - wide));
    const at = right + wide <= width ? right : left >= 0 ? left : over;
    tip.style.setProperty("left", `${at}px`);
  }

  function unmark() {
    if (active >= 0) last = active;
    active = -1;
    tip.hidden = true;
    cursor.classList.remove("on");
  }

  if (series.length) {
    followPointer(slider, {
      /** @param {MouseEvent} event */
      at(event) {
        const left = event.clientX - slider.getBoundingClientRect().left - LEFT;
        const i = Math.floor((left / (frame.width - LEFT - RIGHT)) * series.length);
        return Math.max(0, Math.min(end, i));
      },
      mark,
      unmark,
      pick,
      drag: (from, to) => cover(dragged, from, to),
      dropped: onrange && ((from, to) => onrange(series[from], series[to + 1] ?? null)),
    });
    followKeys(slider, {
      now: () => (active >= 0 ? active : last),
      end,
      jump: granularity === "day" ? 7 : 24,
      mark,
      unmark,
      pick,
    });
  }

  /** @param {number} i */
  function pick(i) {
    mark(i);
    if (!onpick) return;
    picked = series[i].ts;
    cover(chosen, i);
    onpick(series[i]);
  }

  return h(
    "figure",
    { class: "chart" },
    h("figcaption", null, h("h3", null, title), h("p", { class: "hint" }, summary(usage, metric))),
    stage,
    all && legendOf(all, metric, only, ononly),
    max === 0 && h("p", { class: "chart-none" }, "Nothing ran in this period."),
  );
}

/**
 * A mouse that goes over the bars marks one, a click picks it; dragged from bar to bar it zooms in.
 * @param {HTMLElement} slider
 * @param {object} chart
 * @param {(event: MouseEvent) => number} chart.at
 * @param {(i: number) => void} chart.mark
 * @param {() => void} chart.unmark
 * @param {(i: number) => void} chart.pick
 * @param {(from: number, to?: number) => void} chart.drag shows what is dragged over; -1 is nothing
 * @param {((from: number, to: number) => void) | undefined} chart.dropped
 */
function followPointer(slider, { at, mark, unmark, pick, drag, dropped }) {
  let from = -1,
    zoomed = false;
  slider.addEventListener("pointerdown", (event) => {
    zoomed = false;
    if (!dropped || event.pointerType !== "mouse" || event.button !== 0) return;
    from = at(event);
    slider.setPointerCapture(event.pointerId);
  });
  slider.addEventListener("pointermove", (event) => {
    const now = at(event);
    mark(now);
    if (from >= 0) drag(from === now ? -1 : Math.min(from, now), Math.max(from, now));
  });
  slider.addEventListener("pointerup", (event) => {
    const [a, b] = [from, at(event)].sort((m, n) => m - n);
    zoomed = from >= 0 && a !== b;
    from = -1;
    drag(-1);
    if (zoomed) dropped?.(a, b);
  });
  slider.addEventListener("pointerleave", () => {
    if (document.activeElement !== slider || !slider.matches(":focus-visible")) unmark();
  });
  slider.addEventListener("click", (event) => {
    if (!zoomed) pick(at(event));
  });
}

/**
 * The keyboard goes from bar to bar; Enter picks one.
 * @param {HTMLElement} slider
 * @param {object} chart
 * @param {() => number} chart.now
 * @param {number} chart.end
 * @param {number} chart.jump bars of a page
 * @param {(i: number) => void} chart.mark
 * @param {() => void} chart.unmark
 * @param {(i: number) => void} chart.pick
 */
function followKeys(slider, { now, end, jump, mark, unmark, pick }) {
  slider.addEventListener("focus", () => {
    if (slider.matches(":focus-visible")) mark(now());
  });
  slider.addEventListener("blur", unmark);
  slider.addEventListener("keydown", (event) => {
    const i = now();
    /** @type {Record<string, number>} */
    const steps = {
      ArrowLeft: i - 1,
      ArrowDown: i - 1,
      ArrowRight: i + 1,
      ArrowUp: i + 1,
      PageUp: i - jump,
      PageDown: i + jump,
      Home: 0,
      End: end,
    };
    const to = steps[event.key];
    if (to !== undefined) mark(Math.max(0, Math.min(end, to)));
    else if (event.key === "Enter") pick(i);
    else if (event.key === "Escape") return unmark();
    else return;
    event.preventDefault();
  });
}

/**
 * The same numbers as a table.
 * @param {WholeUsage} usage
 * @param {Group[] | null} [groups]
 */
export function twin(usage, groups) {
  /** @param {Child} content */
  const num = (content) => h("td", { class: "num" }, content);
  /** @param {number} n */
  const plain = (n) => (n === 0 ? h("span", { class: "none" }, "0") : number(n));
  /** @param {Bucket} b */
  const used = (b) => num(plain(b.credits_used));
  const { series, granularity, time_zone: zone } = usage;
  const parts = groups ?? [];
  const heads = ["Time", "Credits", "Compute hours", ...parts.map((g) => g.name || g.key || "–")];
  const rows = series.map((b, i) => {
    const note = b.partial && (i === series.length - 1 ? " so far" : " part of it");
    return h(
      "tr",
      null,
      h(
        "th",
        { scope: "row", title: utcTime(b.ts) },
        bucketLabel(b.ts, granularity, zone),
        note && h("span", { class: "hint" }, note),
      ),
      used(b),
      num(b.compute_hours ? b.compute_hours.toFixed(4) : plain(0)),
      parts.map((g) => used(g.series[i])),
    );
  });
  const totals = h(
    "tr",
    null,
    h(
      "th",
      { scope: "row", title: "Of the exact amounts; each row above is cut off to whole credits" },
      "Total",
    ),
    num(wholeOf(usage.total_credits_micros)),
    num(usage.total_compute_hours.toFixed(4)),
    parts.map((g) => num(wholeOf(g.total_credits_micros))),
  );
  const caption = `Usage per ${granularity}, newest first; times in ${zone}`;
  return h(
    "div",
    { class: "scroll twin", tabindex: 0, role: "group", "aria-label": "Usage as a table" },
    h(
      "table",
      null,
      h("caption", { class: "sr" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((t, n) =>
            h("th", { scope: "col", class: n ? "num" : null }, h("span", { class: "name" }, t)),
          ),
        ),
      ),
      h("tbody", null, rows.reverse()),
      h("tfoot", null, totals),
    ),
  );
}

/**
 * What a computer cost in a window: the answer adds up whole credits, and its buckets say what is left of them.
 * @param {{ series: Bucket[], total_credits_used: number }} metrics
 */
export const microsOf = ({ series, total_credits_used: whole }) =>
  Math.max(
    whole * 1e6,
    series.reduce((sum, b) => sum + b.credits_micros, 0),
  );

/**
 * The sparklines of a screen, by the signal that ends it.
 * @type {WeakMap<AbortSignal, { most: number, lines: { bars: Element, values: number[] }[] }>}
 */
const screens = new WeakMap();

const SPARK = { width: 90, height: 24 },
  KEPT = 400;

/**
 * Some days on the size of a word. All of a screen have one scale: what cost ten times as much is ten times as high.
 * @param {Bucket[]} series
 * @param {AbortSignal} signal of the screen
 */
export function sparkline(series, signal) {
  const scale = screens.get(signal) ?? { most: 1e6, lines: [] };
  screens.set(signal, scale);
  const { width, height } = SPARK;
  const line = {
    bars: s("path", { class: "spark-bars" }),
    values: series.map((b) => b.credits_micros),
  };
  const most = Math.max(...line.values, scale.most);
  scale.lines.push(line);
  // Those of rows that were drawn anew have gone; the latest may not be in the page yet.
  if (scale.lines.length > KEPT)
    scale.lines = scale.lines.filter(({ bars }, n) => bars.isConnected || n >= KEPT / 2);
  for (const { bars, values } of most > scale.most ? scale.lines : [line])
    bars.setAttribute("d", spark(values, most));
  scale.most = most;
  return s(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    s("path", { class: "spark-base", d: `M0 ${height - 0.5}H${width}` }),
    line.bars,
  );
}

/**
 * @param {number[]} values
 * @param {number} most what is as high as the line
 */
function spark(values, most) {
  const { width, height } = SPARK;
  const slot = width / Math.max(1, values.length);
  let d = "";
  values.forEach((v, i) => {
    if (v <= 0) return;
    const top = height - Math.max(1, (v / most) * height);
    const wide = Math.max(0.8, slot - 0.8);
    d += `M${(i * slot).toFixed(2)} ${height}V${top.toFixed(2)}h${wide.toFixed(2)}V${height}z`;
  });
  return d;
}
