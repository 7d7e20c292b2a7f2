// Figures of the page with much in it: `WORKSPACED_BIN=... node measure.js [workspaces] [computers]`.
// From the click to the frame that shows the result, in the page's own clock; no test, it only prints.

import { signIn, startBrowser } from "./lib/browser.js";
import { backdate } from "./lib/past.js";
import { seed } from "./lib/seed.js";
import { startService } from "./lib/service.js";
import { filesOf, weigh } from "./lib/weight.js";

const [workspaces = 1000, computers = 10_000] = process.argv.slice(2).map(Number);
const service = await startService("--dev", "--provision-ms", "0");
const browser = await startBrowser();
const page = await browser.page();
const rounds = 7;

const row = (what, times) => {
  const sorted = [...times].sort((a, b) => a - b);
  console.log(
    `${what.padEnd(52)} ${String(Math.round(sorted[rounds >> 1])).padStart(5)} ms   (${Math.round(sorted[0])} to ${Math.round(sorted.at(-1))})`,
  );
};
const open = async (hash) => {
  await page.goto("about:blank");
  await page.goto(`${service.origin}/admin#${hash}`);
  await page.locator("main[data-path] h1").waitFor();
  await page.waitForFunction(
    () => !document.querySelector("main [aria-busy=true], main .skeleton"),
  );
  await page.waitForTimeout(600);
};

/** Times of `act` until `done` holds at a frame; both run in the page, `n` is the round. */
async function timed(what, hash, act, done) {
  const times = [];
  for (let n = 0; n < rounds; n++) {
    await open(hash);
    times.push(
      await page.evaluate(
        async ([actText, doneText]) => {
          const [f, g] = [actText, doneText].map((text) => new Function(`return (${text})`)());
          const began = performance.now();
          f();
          for (;;) {
            await new Promise(requestAnimationFrame);
            if (g()) return performance.now() - began;
            if (performance.now() - began > 10_000) throw new Error("10 s");
          }
        },
        [String(act), String(done)],
      ),
    );
  }
  row(what, times);
}

try {
  const began = Date.now();
  // One round of sessions for each: what is measured is the page, not the import.
  const made = await seed(service, {
    workspaces,
    computers,
    sessions: 5,
    backdate: (days) => backdate(service, days),
  });
  const system = await service.get("/system");
  console.log(
    `${system.counts.workspaces} workspaces, ${system.counts.computers} computers, ${system.counts.compute_events} compute events, seeded in ${Math.round((Date.now() - began) / 1000)} s\n`,
  );
  const w = made.workspaces[1].id;
  await page.goto(service.origin);
  // The page's policy allows no script of a string; what is measured is brought in past it.
  await page
    .context()
    .newCDPSession(page)
    .then((session) => session.send("Page.setBypassCSP", { enabled: true }));
  await signIn(page, service.origin);

  for (const [what, hash] of [
    ["Overview", "/"],
    ["Workspaces", "/workspaces"],
    ["Usage of 30 days", `/workspaces/${w}/usage`],
    ["Computers", "/computers"],
  ]) {
    const paint = [],
      full = [];
    for (let n = 0; n < rounds; n++) {
      await page.goto("about:blank");
      await page.goto(`${service.origin}/admin#${hash}`);
      await page.locator("main[data-path] h1").waitFor();
      const done = page.waitForFunction(() =>
        document.querySelector("main [aria-busy=true], main .skeleton") ? 0 : performance.now(),
      );
      full.push(await (await done).jsonValue());
      paint.push(
        await page.evaluate(
          () => performance.getEntriesByName("first-contentful-paint")[0].startTime,
        ),
      );
    }
    row(`${what}: first paint`, paint);
    row(`${what}: everything there`, full);
  }
  console.log();
  await timed(
    "Workspaces: next page",
    "/workspaces",
    () => document.querySelector("[data-page=next]").click(),
    () => document.querySelector(".pager").textContent.includes("26–50"),
  );
  await timed(
    "Workspaces: search as one types",
    "/workspaces",
    () => {
      const i = document.querySelector("[type=search]");
      i.value = "smith";
      i.dispatchEvent(new Event("input"));
    },
    () =>
      document.querySelectorAll("main tbody tr").length > 0 &&
      [...document.querySelectorAll("main tbody tr")].every((tr) =>
        tr.textContent.includes("Smith"),
      ),
  );
  await timed(
    "Workspaces: sort by computers",
    "/workspaces",
    () => document.querySelectorAll(".sort")[1].click(),
    () => document.querySelector("th[aria-sort=ascending]"),
  );
  await timed(
    "Computers: next page",
    "/computers",
    () => document.querySelector("[data-page=next]").click(),
    () => document.querySelector(".pager").textContent.includes("26–50"),
  );
  await timed(
    "Computers: only running ones",
    "/computers",
    () => {
      const s = document.querySelector("select[aria-label=Status]");
      s.value = "running";
      s.dispatchEvent(new Event("change"));
    },
    () =>
      document.querySelectorAll(".status").length > 0 &&
      !document.querySelector("main [data-status=stopped]"),
  );
  await timed(
    "Open a workspace",
    "/workspaces",
    () => document.querySelectorAll(".row-link")[2].click(),
    () => document.querySelector(".chart-svg .bars"),
  );
  await timed(
    "Workspace: to its computers",
    `/workspaces/${w}/usage`,
    () => document.querySelectorAll(".tabs a")[1].click(),
    () => document.querySelector("main tbody tr"),
  );
  await timed(
    "Chart: 30 days by hour, 721 bars",
    `/workspaces/${w}/usage`,
    () => document.querySelector("input[name=granularity][value=hour]").click(),
    () => document.querySelector(".scrub")?.getAttribute("aria-valuemax") === "720",
  );
  await timed(
    "Chart: the other measure of 721 bars",
    `/workspaces/${w}/usage?window=30d&granularity=hour`,
    () => document.querySelector("input[name=metric][value=hours]").click(),
    () => document.querySelector("figcaption").textContent.includes("Compute hours"),
  );
  await timed(
    "Chart: 721 bars stacked by computer",
    `/workspaces/${w}/usage?window=30d&granularity=hour`,
    () => {
      const s = document.querySelector("select[aria-label=Group]");
      s.value = "computer";
      s.dispatchEvent(new Event("change"));
    },
    () => document.querySelector(".legend li"),
  );
  await timed(
    "Chart: tooltip of the next bar",
    `/workspaces/${w}/usage?window=30d&granularity=hour`,
    () =>
      document
        .querySelector(".scrub")
        .dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })),
    () => document.querySelector(".tip:not([hidden])"),
  );
  await timed(
    "Chart: what is behind a bar",
    `/workspaces/${w}/usage`,
    () =>
      document
        .querySelector(".scrub")
        .dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" })),
    () => document.querySelector("#explain table, #explain .empty"),
  );
  await timed(
    "Jump to: the first suggestions",
    "/",
    () => document.querySelector(".jump").click(),
    () => document.querySelector("[role=option]"),
  );

  const files = new Set();
  for (const hash of [
    "/",
    "/workspaces",
    ...["usage", "computers", "projects", "domain", "settings", "activity"].map(
      (tab) => `/workspaces/${w}/${tab}`,
    ),
    "/computers",
    `/computers/${made.computers[0].id}`,
    "/projects",
    "/keys",
    "/webhooks",
    "/activity",
    "/system",
  ]) {
    await open(hash);
    (await filesOf(page)).forEach((file) => files.add(file));
  }
  console.log(
    `\nThe whole page: ${files.size} files, ${await weigh(service.origin, files)} bytes compressed`,
  );
} finally {
  await browser.stop();
  await service.stop();
}
