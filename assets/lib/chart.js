// Usage as bars: our own inline SVG. Zero-based, the unit in the title, buckets that are not whole
// hatched, reachable by keyboard, with a table and a sentence that say the same.

import { h, s, fill, uid } from "./dom.js";
import {
  dateFormat,
  fullTime,
  utcTime,
  number,
  short,
  duration,
  decimals,
  amount,
} from "./format.js";

/** Colours of the parts of a stack: --series-0 to --series-7 of the style sheet. */
export const SERIES = 8;
const HEIGHT = 260,
  LEFT = 56,
  RIGHT = 12,
  TOP = 14,
  BOTTOM = 30;

/** The two things that can be shown. */
export const METRICS = {
  credits: {
    name: "Credits",
    unit: "credits",
    of: (b) => b.credits_micros / 1e6,
    whole: (b) => b.credits_used,
    text: (b) => `${decimals(b.credits_micros / 1e6)} credits`,
  },
  hours: {
    name: "Compute hours",
    unit: "compute hours",
    of: (b) => b.compute_ms / 36e5,
    whole: (b) => b.compute_hours,
    text: (b) => `${duration(b.compute_ms)} of compute`,
  },
};

/** Steps of an axis from zero: 1, 2 or 5 times a power of ten. */
export function ticks(max, want = 4) {
  if (!(max > 0)) return [0, 1];
  const raw = max / want,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((n) => n * power >= raw) * power;
  return Array.from({ length: Math.ceil(max / step - 1e-9) + 1 }, (_, i) => i * step);
}

/** The largest parts, and the rest as one. */
export function topGroups(groups, metric) {
  const total = (g) => g.series.reduce((sum, b) => sum + metric.of(b), 0);
  const sorted = groups.map((g) => ({ ...g, total: total(g) })).sort((a, b) => b.total - a.total);
  if (sorted.length <= SERIES) return sorted;
  const rest = sorted.slice(SERIES - 1);
  const sum = (i) =>
    rest.reduce(
      (all, g) => {
        const b = g.series[i];
        return {
          ...b,
          credits_micros: all.credits_micros + b.credits_micros,
          compute_ms: all.compute_ms + b.compute_ms,
          credits_used: all.credits_used + b.credits_used,
        };
      },
      { credits_micros: 0, compute_ms: 0, credits_used: 0 },
    );
  const other = {
    key: "other",
    name: `${rest.length} others`,
    series: rest[0].series.map((_, i) => sum(i)),
  };
  return [
    ...sorted.slice(0, SERIES - 1),
    { ...other, total: rest.reduce((n, g) => n + g.total, 0) },
  ];
}

/** "10 May, 14:00" of a bucket, in the chart's own zone. */
export function bucketLabel(ts, granularity, zone) {
  const options =
    granularity === "day"
      ? { weekday: "short", day: "numeric", month: "short" }
      : { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  return dateFormat(options, zone).format(new Date(ts));
}

/** What the chart says, in one sentence. */
export function summary(usage, metric) {
  const { series, granularity, time_zone: zone } = usage;
  if (!series.length) return "There is nothing in this period.";
  const total = series.reduce((sum, b) => sum + metric.of(b), 0);
  const top = series.reduce((best, b) => (metric.of(b) > metric.of(best) ? b : best), series[0]);
  const partial = series.filter((b) => b.partial).length;
  const label = (b) => bucketLabel(b.ts, granularity, zone);
  const most =
    total > 0
      ? `; the most, ${amount(metric.of(top))}, ${granularity === "day" ? "on" : "in the hour of"} ${label(top)}`
      : "";
  const parts = partial
    ? `. ${partial === 1 ? "One bucket is" : `${partial} buckets are`} partial (hatched)`
    : "";
  return `${amount(total)} ${metric.unit} from ${label(series[0])} to ${label(series.at(-1))}, in ${number(series.length)} ${granularity === "day" ? "days" : "hours"}${most}${parts}.`;
}

/** The chart. `onpick(bucket)` is called for a click or Enter on a bar; the bar at `picked` is marked.
 *  `onrange(first, last)` is called for bars that were dragged over. */
export function barChart(usage, { metric, groups, onpick, onrange, picked, signal }) {
  const { series, granularity, time_zone: zone } = usage;
  const parts = groups ? topGroups(groups, metric) : null;
  const hatchId = uid("h"),
    title = `${metric.name} per ${granularity}`;
  const svg = s("svg", {
    class: "chart-svg",
    role: "img",
    "aria-label": `${title}. ${summary(usage, metric)}`,
  });
  const tip = h("div", { class: "tip", hidden: true });
  const cursor = s("rect", { class: "cursor" }),
    chosen = s("rect", { class: "picked" }),
    dragged = s("rect", { class: "dragged" });
  const label = (b) => bucketLabel(b.ts, granularity, zone);
  const slider = h("div", {
    class: "scrub",
    tabindex: 0,
    role: "slider",
    "aria-label": `${title}: arrow keys go through the bars${onpick ? ", Enter explains one" : ""}`,
    "aria-valuemin": 0,
    "aria-valuemax": Math.max(0, series.length - 1),
    "aria-valuenow": Math.max(0, series.length - 1),
    "aria-valuetext": "",
  });
  const stage = h("div", { class: "stage" }, svg, slider, tip);
  let width = 0,
    active = -1,
    last = series.length - 1;

  const max = series.reduce((top, b) => Math.max(top, metric.of(b)), 0);
  const steps = ticks(max),
    roof = steps.at(-1);
  const x = (i) => LEFT + (i * (width - LEFT - RIGHT)) / series.length;
  const y = (v) => TOP + (1 - v / roof) * (HEIGHT - TOP - BOTTOM);

  // One path for all bars of a part: 721 bars by hour and eight parts are eight elements.
  function bars(values, bases, which) {
    const slot = x(1) - x(0),
      gap = slot > 6 ? Math.min(slot * 0.22, 10) : slot > 2.5 ? 1 : 0;
    let d = "";
    values.forEach((v, i) => {
      if (v <= 0 || !which(i)) return;
      const [x0, x1] = [x(i) + gap / 2, x(i + 1) - gap / 2],
        [y0, y1] = [y(bases ? bases[i] : 0), y((bases ? bases[i] : 0) + v)];
      d += `M${x0.toFixed(2)} ${y0.toFixed(2)}V${y1.toFixed(2)}H${x1.toFixed(2)}V${y0.toFixed(2)}z`;
    });
    return d;
  }

  function draw() {
    const wanted = Math.max(280, stage.clientWidth);
    if (wanted === width) return;
    width = wanted;
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", HEIGHT);
    const all = () => true,
      whole = (i) => !series[i].partial,
      partial = (i) => series[i].partial;
    const body = [];
    const layers = parts ? parts.map((g) => g.series.map(metric.of)) : [series.map(metric.of)];
    const bases = series.map(() => 0);
    layers.forEach((values, n) => {
      const copy = [...bases];
      if (parts)
        body.push(s("path", { class: "bars", "data-series": n, d: bars(values, copy, all) }));
      else
        body.push(
          s("path", { class: "bars", "data-series": 0, d: bars(values, copy, whole) }),
          s("path", { class: "bars partial", "data-series": 0, d: bars(values, copy, partial) }),
        );
      values.forEach((v, i) => {
        bases[i] += v;
      });
    });
    body.push(
      s("path", { class: "hatching", fill: `url(#${hatchId})`, d: bars(bases, null, partial) }),
    );
    const grid = steps.map((v) => [
      s("line", {
        class: v === 0 ? "axis" : "grid",
        x1: LEFT,
        x2: width - RIGHT,
        y1: y(v),
        y2: y(v),
      }),
      s("text", { class: "tick", x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, short(v)),
    ]);
    fill(
      svg,
      s(
        "defs",
        null,
        s(
          "pattern",
          {
            id: hatchId,
            width: 6,
            height: 6,
            patternUnits: "userSpaceOnUse",
            patternTransform: "rotate(45)",
          },
          s("rect", { class: "hatch", width: 2.5, height: 6 }),
        ),
      ),
      chosen,
      grid,
      cursor,
      body,
      dragged,
      xTicks(),
    );
    place(chosen, picked ? series.findLastIndex((b) => b.ts <= picked) : -1);
    if (active >= 0) mark(active);
  }

  function xTicks() {
    const room = Math.max(2, Math.floor((width - LEFT - RIGHT) / 78));
    const day = dateFormat({ day: "numeric", month: "short" }, zone),
      hour = dateFormat({ hour: "2-digit", minute: "2-digit" }, zone);
    const dayKey = dateFormat({ year: "numeric", month: "2-digit", day: "2-digit" }, zone);
    // Days where there are many of them, else hours; always at the start of one.
    const starts = series.map((b, i) => ({
      i,
      b,
      first: i === 0 || dayKey.format(new Date(b.ts)) !== dayKey.format(new Date(series[i - 1].ts)),
    }));
    const days = starts.filter((e) => e.first && (e.i > 0 || granularity === "day"));
    const byDay = granularity === "day" || days.length >= 3;
    const marks = byDay ? days : starts.filter((e) => e.i % 2 === 0);
    const every = Math.ceil(marks.length / room);
    return marks
      .filter((_, n) => n % every === 0)
      .map(({ i, b, first }) => {
        const text =
          byDay || (first && i > 0) ? day.format(new Date(b.ts)) : hour.format(new Date(b.ts));
        const at =
          granularity === "day" ? (x(i) + x(i + 1)) / 2 : x(i) + Math.min(8, (x(1) - x(0)) / 2);
        const anchor = at < LEFT + 24 ? "start" : at > width - 30 ? "end" : "middle";
        return [
          s("line", {
            class: "grid",
            x1: at,
            x2: at,
            y1: HEIGHT - BOTTOM,
            y2: HEIGHT - BOTTOM + 5,
          }),
          s("text", { class: "tick", x: at, y: HEIGHT - 8, "text-anchor": anchor }, text),
        ];
      });
  }

  /** The column of a bar, or of all up to `last`, from the floor to the roof. */
  function place(rect, i, last = i) {
    const box =
      i < 0
        ? { width: 0, height: 0 }
        : {
            x: x(i),
            width: Math.max(2, x(last + 1) - x(i)),
            y: TOP,
            height: HEIGHT - TOP - BOTTOM,
          };
    for (const [name, value] of Object.entries(box)) rect.setAttribute(name, value);
  }
  function pick(i) {
    picked = series[i].ts;
    place(chosen, i);
    onpick(series[i]);
  }

  function mark(i) {
    active = i;
    const b = series[i];
    if (!b) return;
    place(cursor, i);
    cursor.classList.add("on");
    const total = metric.of(b);
    const rows = parts
      ?.map((g, n) => [g, n, metric.of(g.series[i])])
      .filter(([, , v]) => v > 0)
      .reverse();
    fill(
      tip,
      h("p", { class: "tip-time" }, fullTime(b.ts, zone)),
      h("p", { class: "hint" }, utcTime(b.ts)),
      h("p", { class: "tip-main" }, METRICS.credits.text(b)),
      h("p", null, `${METRICS.hours.text(b)}`),
      rows?.length > 0 &&
        h(
          "ul",
          null,
          rows.map(([g, n, v]) =>
            h(
              "li",
              null,
              h("span", { class: "key", "data-series": n }),
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
    );
    tip.hidden = false;
    // Beside the bar, on the side where there is room: what is pointed at stays in sight.
    const wide = tip.offsetWidth,
      right = x(i + 1) + 10,
      left = x(i) - 10 - wide;
    tip.style.setProperty(
      "left",
      `${right + wide <= width ? right : left >= 0 ? left : Math.max(0, Math.min(x(i), width - wide))}px`,
    );
    slider.setAttribute("aria-valuenow", i);
    slider.setAttribute(
      "aria-valuetext",
      `${label(b)}: ${METRICS.credits.text(b)}, ${METRICS.hours.text(b)}${b.partial ? ", not whole" : ""}`,
    );
  }
  function unmark() {
    if (active >= 0) last = active;
    active = -1;
    tip.hidden = true;
    cursor.classList.remove("on");
  }
  const at = (event) => {
    const box = slider.getBoundingClientRect();
    const i = Math.floor(
      ((event.clientX - box.left - LEFT) / (width - LEFT - RIGHT)) * series.length,
    );
    return Math.max(0, Math.min(series.length - 1, i));
  };
  if (series.length) {
    // A mouse that is dragged from bar to bar zooms in; a click is on one bar.
    let from = -1,
      zoomed = false;
    slider.addEventListener("pointerdown", (event) => {
      zoomed = false;
      if (!onrange || event.pointerType !== "mouse" || event.button !== 0) return;
      from = at(event);
      slider.setPointerCapture(event.pointerId);
    });
    slider.addEventListener("pointermove", (event) => {
      mark(at(event));
      if (from >= 0)
        place(dragged, from === active ? -1 : Math.min(from, active), Math.max(from, active));
    });
    slider.addEventListener("pointerup", (event) => {
      const [a, b] = [from, at(event)].sort((m, n) => m - n);
      zoomed = from >= 0 && a !== b;
      from = -1;
      place(dragged, -1);
      if (zoomed) onrange(series[a], series[b + 1] ?? null);
    });
    slider.addEventListener("pointerleave", () => {
      if (document.activeElement !== slider || !slider.matches(":focus-visible")) unmark();
    });
    slider.addEventListener("focus", () => {
      if (slider.matches(":focus-visible")) mark(active >= 0 ? active : last);
    });
    slider.addEventListener("blur", unmark);
    slider.addEventListener("click", (event) => {
      if (zoomed) return;
      mark(at(event));
      if (onpick) pick(active);
    });
    slider.addEventListener("keydown", (event) => {
      const now = active >= 0 ? active : last;
      const jump = granularity === "day" ? 7 : 24;
      const to = {
        ArrowLeft: now - 1,
        ArrowDown: now - 1,
        ArrowRight: now + 1,
        ArrowUp: now + 1,
        PageUp: now - jump,
        PageDown: now + jump,
        Home: 0,
        End: series.length - 1,
      }[event.key];
      if (to !== undefined) {
        event.preventDefault();
        mark(Math.max(0, Math.min(series.length - 1, to)));
      }
      if (event.key === "Enter") {
        event.preventDefault();
        mark(now);
        if (onpick) pick(now);
      }
      if (event.key === "Escape") unmark();
    });
  }
  const watch = new ResizeObserver(draw);
  watch.observe(stage);
  signal?.addEventListener("abort", () => watch.disconnect(), { once: true });

  const legend =
    parts &&
    h(
      "ul",
      { class: "legend", "aria-label": "Parts" },
      parts.map((g, n) =>
        h(
          "li",
          null,
          h("span", { class: "key", "data-series": n }),
          h("span", { class: "legend-name" }, g.name || g.key || "–"),
          h(
            "b",
            null,
            g.total < 100
              ? amount(g.total)
              : amount(g.series.reduce((sum, b) => sum + metric.whole(b), 0)),
          ),
        ),
      ),
    );
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", null, h("h3", null, title), h("p", { class: "hint" }, summary(usage, metric))),
    stage,
    legend,
    max === 0 && h("p", { class: "chart-none" }, "Nothing ran in this period."),
  );
}

/** The same numbers as a table. */
export function twin(usage, groups) {
  const plain = (n) => (n === 0 ? h("span", { class: "none" }, "0") : number(n));
  const { series, granularity, time_zone: zone } = usage;
  const heads = [
    "Time",
    "Credits",
    "Compute hours",
    ...(groups ?? []).map((g) => g.name || g.key || "–"),
  ];
  const rows = series.map((b, i) => ({ b, i })).reverse();
  return h(
    "div",
    { class: "scroll twin", tabindex: 0, role: "group", "aria-label": "Usage as a table" },
    h(
      "table",
      null,
      h("caption", { class: "sr" }, `Usage per ${granularity}, newest first; times in ${zone}`),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((t, n) => h("th", { scope: "col", class: n ? "num" : null }, t)),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map(({ b, i }) =>
          h(
            "tr",
            null,
            h(
              "th",
              { scope: "row", title: utcTime(b.ts) },
              bucketLabel(b.ts, granularity, zone),
              b.partial &&
                h("span", { class: "hint" }, i === series.length - 1 ? " so far" : " part of it"),
            ),
            h("td", { class: "num" }, plain(b.credits_used)),
            h("td", { class: "num" }, b.compute_hours ? b.compute_hours.toFixed(4) : plain(0)),
            (groups ?? []).map((g) => h("td", { class: "num" }, plain(g.series[i].credits_used))),
          ),
        ),
      ),
      h(
        "tfoot",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "row" }, "Total"),
          h("td", { class: "num" }, number(usage.total_credits_used)),
          h("td", { class: "num" }, usage.total_compute_hours.toFixed(4)),
          (groups ?? []).map((g) => h("td", { class: "num" }, number(g.total_credits_used))),
        ),
      ),
    ),
  );
}

/** Some days on the size of a word. */
export function sparkline(series) {
  const values = series.map((b) => b.credits_micros),
    max = Math.max(...values, 1e6);
  const w = 90,
    hgt = 24,
    slot = w / Math.max(1, values.length);
  let d = "";
  values.forEach((v, i) => {
    if (v > 0) {
      const top = hgt - Math.max(1, (v / max) * hgt);
      d += `M${(i * slot).toFixed(2)} ${hgt}V${top.toFixed(2)}h${Math.max(0.8, slot - 0.8).toFixed(2)}V${hgt}z`;
    }
  });
  return s(
    "svg",
    { class: "spark", viewBox: `0 0 ${w} ${hgt}`, width: w, height: hgt, "aria-hidden": "true" },
    s("path", { class: "spark-base", d: `M0 ${hgt - 0.5}H${w}` }),
    s("path", { class: "spark-bars", d }),
  );
}
