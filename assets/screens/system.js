// @ts-check
// The installation: version, database, health, backups, and whether the books are right.

/** @import { Context } from "../app.js" */
import { h, fill, icon } from "../lib/dom.js";
import { api, readiness } from "../lib/api.js";
import {
  button,
  downloadLink,
  empty,
  errorBox,
  facts,
  head,
  none,
  panel,
  resource,
  shared,
  status,
  table,
  tag,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, bytes, count, decimals, duration, number, time } from "../lib/format.js";

/** @typedef {{ signal?: AbortSignal }} Options */

/** @param {Context} context */
export async function show({ main, signal, title }) {
  title("System");
  const about = h("div"),
    counts = h("div"),
    rates = h("div"),
    flags = h("div"),
    warnings = h("div"),
    backups = h("div"),
    make = h("span", { class: "actions" });
  const verification = verifyPanel(signal);
  fill(
    main,
    head("System"),
    warnings,
    h(
      "div",
      { class: "columns" },
      h(
        "div",
        { class: "column" },
        panel("Service", {}, about),
        panel("Backups", { actions: [make] }, backups),
        verification,
      ),
      h(
        "div",
        { class: "column" },
        panel("Totals", { note: "In all organizations" }, counts),
        panel("Sizes and rates", {}, rates),
        panel("Flags in effect", { id: "flags" }, flags),
      ),
    ),
  );

  const ask = shared(load);
  const now = backupButton(() => reloadBackups());
  const reloadBackups = resource(
    backups,
    (o) => api.get("/system/backups", o),
    (b) => {
      fill(make, b.directory !== null && now);
      return backupsOf(b, signal);
    },
    { signal },
  );
  const reloads = [
    resource(about, ask, aboutFacts, { signal, lines: 7 }),
    resource(counts, ask, (system) => countFacts(system.counts), { signal, lines: 7 }),
    resource(flags, ask, flagFacts, { signal, lines: 7 }),
    resource(warnings, ask, (system) => warningsOf(system.warnings), { signal, lines: 0 }),
    reloadBackups,
  ];
  resource(
    rates,
    (o) => api.get("/compute/sizes", o),
    (sizes) => ratesTable(sizes.data),
    { signal },
  );
  const timer = setInterval(() => {
    if (!document.hidden) reloads.forEach((reload) => reload());
  }, 10_000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/**
 * What the installation says of itself, and whether it is well.
 * @param {Options} o
 */
async function load(o) {
  const [system, health, warnings] = await Promise.all([
    api.get("/system", o),
    fetch("health", { signal: o.signal, cache: "no-store" }).then(
      (response) => response.ok,
      () => false,
    ),
    readiness(o),
  ]);
  return { ...system, health, warnings };
}

/**
 * What somebody should look at: the clock, the backups, the disk.
 * @param {string[]} list
 */
const warningsOf = (list) =>
  list.map((text) =>
    h("p", { class: "problem", role: "status" }, icon("warn"), h("span", null, text)),
  );

/** @param {any} system */
const flagFacts = ({ flags }) =>
  facts(
    flags.map((/** @type {any} */ { name, value }) => [
      name,
      value === "none" ? none() : h("code", null, value),
    ]),
  );

/** @type {Record<string, string>} */
const CLOCKS = { system: "system time, ", frozen: "stands still, ", running: "set by hand, " };

/** @param {any} system */
const aboutFacts = ({ database, ...system }) =>
  facts([
    ["Health", status(system.health ? "ok" : "failed")],
    ["Version", [system.version, system.dev && tag("development mode")]],
    ["Up", [duration(system.uptime_seconds * 1000), ", since ", time(system.started_at)]],
    [
      "Clock",
      [
        CLOCKS[system.clock],
        time(system.now, { full: true }),
        system.clock_fault && tag(system.clock_fault),
      ],
    ],
    system.events_ahead > 0 && [
      "Dated ahead",
      `${count(system.events_ahead, "compute event")}; see workspaced repair-clock`,
    ],
    ["Database", bytes(database.database_bytes)],
    ["Write-ahead log", bytes(database.wal_bytes)],
    database.disk_free_bytes !== null && [
      "Disk",
      [
        `${bytes(database.disk_free_bytes)} free`,
        database.disk_free_bytes < 2 ** 30 && tag("nearly full"),
      ],
    ],
    ["Schema", `version ${database.schema_version}, SQLite ${database.sqlite_version}`],
    ["Connections", `${count(database.readers, "reader")}, one writer`],
  ]);

/** @param {Record<string, number>} counts */
const countFacts = (counts) =>
  facts(Object.keys(counts).map((name) => [name.replaceAll("_", " "), number(counts[name])]));

// ---------------------------------------------------------------------------------------------
// Whether the books are right

/** @param {AbortSignal} signal */
function verifyPanel(signal) {
  const hint =
    "Recomputes every number from the raw events and compares. Reads all of them: seconds on a large database.";
  const books = h("div", null, h("p", { class: "hint" }, hint));
  const verify = button("Verify now", run);
  async function run() {
    verify.disabled = true;
    fill(books, h("p", { role: "status" }, "Reading every event…"));
    const began = performance.now();
    try {
      const found = await api.get("/usage/verify", { signal });
      fill(books, verdict(found, (performance.now() - began) / 1000));
    } catch (e) {
      if (e.name !== "AbortError") fill(books, errorBox(e));
    } finally {
      verify.disabled = false;
    }
  }
  return panel("Usage verification", { actions: [verify] }, books);
}

/**
 * @param {any} found
 * @param {number} seconds
 */
const verdict = (found, seconds) => [
  h(
    "div",
    { role: "status" },
    h(
      "p",
      { class: "verdict" },
      status(found.ok ? "ok" : "wrong"),
      h(
        "strong",
        null,
        `${count(found.events, "event")}, ${count(found.differences, "difference")}`,
      ),
      `in ${decimals(seconds)} s`,
    ),
    facts([
      ["Meter rows", number(found.rows)],
      ["As of", time(found.as_of, { full: true })],
      ["Unexplained time", duration(found.unexplained_ms)],
    ]),
  ),
  found.found.length > 0 &&
    table(
      "Differences",
      [
        { label: "What", cell: (d) => d.what },
        { label: "Rows", num: true, cell: (d) => number(d.rows ?? d.count) },
      ],
      found.found,
    ),
];

// ---------------------------------------------------------------------------------------------
// Backups

/** @param {() => void} done */
function backupButton(done) {
  const now = button("Back up now", run);
  async function run() {
    now.disabled = true;
    try {
      const made = await api.post("/system/backups", {});
      toast(`Backup ${made.name} was made, ${bytes(made.bytes)}.`);
      done();
    } catch (e) {
      toastError(e);
    } finally {
      now.disabled = false;
    }
  }
  return now;
}

/**
 * @param {any} b
 * @param {AbortSignal} signal
 */
function backupsOf(b, signal) {
  if (b.directory === null) {
    return empty("No directory for backups", [
      "Start the service with ",
      h("code", null, "--backup-dir DIR"),
      ", or run ",
      h("code", null, "workspaced backup DIR"),
      " beside it.",
    ]);
  }
  const every = duration(b.every_seconds * 1000);
  const byClock = b.every_seconds ? `every ${every}, the newest ${number(b.keep)} are kept` : "no";
  return [
    facts([
      ["Directory", h("code", null, b.directory)],
      ["By the clock", byClock],
      ["Last good one", b.last_good_at ? ago(b.last_good_at) : "none"],
    ]),
    b.last_error &&
      h("p", { class: "note bad", role: "status" }, `The last try failed: ${b.last_error}`),
    b.data.length
      ? backupsTable(b.data.slice(0, 10), signal)
      : h("p", { class: "hint" }, "None yet."),
  ];
}

/**
 * @param {any[]} files
 * @param {AbortSignal} signal
 */
const backupsTable = (files, signal) =>
  table(
    "Backups",
    [
      { label: "File", cell: (f) => h("code", { title: `SHA-256 ${f.sha256}` }, f.name) },
      { label: "Size", num: true, cell: (f) => bytes(f.bytes) },
      { label: "Made", cell: (f) => ago(f.created_at) },
      {
        label: "Actions",
        end: true,
        cell: (f) => downloadLink("Download", `/system/backups/${f.name}`, f.name, signal),
      },
    ],
    files,
  );

/** @param {any[]} sizes */
const ratesTable = (sizes) =>
  table(
    "Sizes and rates",
    [
      { label: "Size", cell: (z) => h("b", null, z.slug) },
      { label: "vCPU", num: true, cell: (z) => number(z.vcpus) },
      { label: "Memory", num: true, cell: (z) => `${number(z.memory_mb / 1024)} GiB` },
      { label: "Disk", num: true, cell: (z) => `${number(z.disk_gb)} GB` },
      { label: "Credits/h", num: true, cell: (z) => number(z.credits_per_hour) },
    ],
    sizes,
  );
