// The installation: version, database, health, backups, and whether the books are right.

import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import {
  button,
  empty,
  errorBox,
  facts,
  head,
  panel,
  resource,
  status,
  table,
  toast,
  toastError,
} from "../lib/ui.js";
import { ago, bytes, decimals, duration, number, time } from "../lib/format.js";

export async function show({ main, signal, title }) {
  title("System");
  const about = h("div"),
    counts = h("div"),
    books = h(
      "div",
      null,
      h(
        "p",
        { class: "hint" },
        "Recomputes every number from the raw events and compares. Reads all of them: seconds on a large database.",
      ),
    ),
    rates = h("div"),
    backups = h("div"),
    make = h("span", { class: "actions" });
  const verify = button("Verify now", async () => {
    verify.disabled = true;
    fill(books, h("p", { role: "status" }, "Reading every event…"));
    const began = performance.now();
    try {
      const v = await api.get("/usage/verify", { signal });
      fill(
        books,
        h(
          "div",
          { role: "status" },
          h(
            "p",
            { class: "verdict" },
            status(v.ok ? "ok" : "wrong"),
            h("strong", null, `${number(v.events)} events, ${number(v.differences)} differences`),
            `in ${decimals((performance.now() - began) / 1000)} s`,
          ),
          facts([
            ["Meter rows", number(v.rows)],
            ["As of", time(v.as_of, { full: true })],
            ["Unexplained time", duration(v.unexplained_ms)],
          ]),
        ),
        v.found.length > 0 &&
          table(
            "Differences",
            [
              { label: "What", cell: (d) => d.what },
              { label: "Rows", num: true, cell: (d) => number(d.rows ?? d.count) },
            ],
            v.found,
          ),
      );
    } catch (e) {
      if (e.name !== "AbortError") fill(books, errorBox(e));
    } finally {
      verify.disabled = false;
    }
  });
  fill(
    main,
    head("System"),
    h(
      "div",
      { class: "columns" },
      h(
        "div",
        { class: "column" },
        panel("Service", {}, about),
        panel("Backups", { actions: [make] }, backups),
        panel("Usage verification", { actions: [verify] }, books),
      ),
      h(
        "div",
        { class: "column" },
        panel("Totals", { note: "In all organizations" }, counts),
        panel("Sizes and rates", {}, rates),
      ),
    ),
  );
  const load = async (o) => {
    const [system, health] = await Promise.all([
      api.get("/system", o),
      fetch("/health", { signal, cache: "no-store" }).then(
        (r) => r.ok,
        () => false,
      ),
    ]);
    return { ...system, health };
  };
  let last = null;
  const asked = (o) =>
    (last ??= load(o).finally(() =>
      setTimeout(() => {
        last = null;
      }, 0),
    ));
  const reloads = [
    resource(
      about,
      asked,
      (y) =>
        facts([
          ["Health", status(y.health ? "ok" : "failed")],
          ["Version", [y.version, y.dev && h("span", { class: "tag" }, "development mode")]],
          ["Up", [duration(y.uptime_seconds * 1000), ", since ", time(y.started_at)]],
          [
            "Clock",
            [
              { system: "system time, ", frozen: "stands still, ", running: "set by hand, " }[
                y.clock
              ],
              time(y.now, { full: true }),
            ],
          ],
          ["Database", bytes(y.database.database_bytes)],
          ["Write-ahead log", bytes(y.database.wal_bytes)],
          ["Schema", `version ${y.database.schema_version}, SQLite ${y.database.sqlite_version}`],
          ["Connections", `${number(y.database.readers)} readers, one writer`],
        ]),
      { signal, lines: 7 },
    ),
    resource(
      counts,
      asked,
      ({ counts: c }) =>
        facts(Object.entries(c).map(([name, n]) => [name.replaceAll("_", " "), number(n)])),
      { signal, lines: 7 },
    ),
  ];
  const now = button("Back up now", async () => {
    now.disabled = true;
    try {
      const made = await api.post("/system/backups", {});
      toast(`Backup ${made.name} was made, ${bytes(made.bytes)}.`);
      reloads.at(-1)();
    } catch (e) {
      toastError(e);
    } finally {
      now.disabled = false;
    }
  });
  reloads.push(
    resource(
      backups,
      (o) => api.get("/system/backups", o),
      (b) => {
        fill(make, b.directory !== null && now);
        if (b.directory === null)
          return empty("No directory for backups", [
            "Start the service with ",
            h("code", null, "--backup-dir DIR"),
            ", or run ",
            h("code", null, "workspaced backup DIR"),
            " beside it.",
          ]);
        return [
          facts([
            ["Directory", h("code", null, b.directory)],
            [
              "By the clock",
              b.every_seconds
                ? `every ${duration(b.every_seconds * 1000)}, the newest ${number(b.keep)} are kept`
                : "no",
            ],
          ]),
          b.last_error &&
            h("p", { class: "note bad", role: "status" }, `The last try failed: ${b.last_error}`),
          b.data.length
            ? table(
                "Backups",
                [
                  {
                    label: "File",
                    cell: (f) => h("code", { title: `SHA-256 ${f.sha256}` }, f.name),
                  },
                  { label: "Size", num: true, cell: (f) => bytes(f.bytes) },
                  { label: "Made", cell: (f) => ago(f.created_at) },
                ],
                b.data.slice(0, 10),
              )
            : h("p", { class: "hint" }, "None yet."),
        ];
      },
      { signal },
    ),
  );
  resource(
    rates,
    (o) => api.get("/compute/sizes", o),
    (sizes) =>
      table(
        "Sizes and rates",
        [
          { label: "Size", cell: (z) => h("b", null, z.slug) },
          { label: "vCPU", num: true, cell: (z) => number(z.vcpus) },
          { label: "Memory", num: true, cell: (z) => `${number(z.memory_mb / 1024)} GiB` },
          { label: "Disk", num: true, cell: (z) => `${number(z.disk_gb)} GB` },
          { label: "Credits/h", num: true, cell: (z) => number(z.credits_per_hour) },
        ],
        sizes.data,
      ),
    { signal },
  );
  const timer = setInterval(() => {
    if (!document.hidden) reloads.forEach((reload) => reload());
  }, 10_000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
