import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

let service, browser, page, id;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0", "--stop-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  id = (await service.post("/workspaces", { name: "Usage Clinic" })).id;
  const made = [];
  for (const [name, project, size] of [
    ["a", "booking", "xl"],
    ["b", "intake", "large"],
    ["c", "intake", "medium"],
  ])
    made.push(
      await service.post("/computers", { name, workspace_id: id, project_slug: project, size }),
    );
  await until(
    async () => (await service.get(`/workspaces/${id}/stats`)).computers.by_status.running === 3,
    "three running computers",
  );
  await new Promise((resolve) => setTimeout(resolve, 1200));
  // From here on nothing runs, so that page and API are asked at different times and say the same.
  for (const computer of made) await service.post(`/computers/${computer.id}/stop`);
  await until(
    async () => (await service.get(`/workspaces/${id}/stats`)).computers.by_status.running === 0,
    "three stopped computers",
  );
  for (const [days, credits] of [
    [1, 40],
    [2, 25],
    [5, 90],
    [12, 10],
  ])
    await service.post("/usage/adjustments", {
      workspace_id: id,
      amount_micros: credits * 1e6,
      reason: "brought over",
      at: new Date(Date.now() - days * 864e5).toISOString(),
    });
  await signIn(page, service.origin, `#/workspaces/${id}/usage?window=30d&granularity=day&tz=UTC`);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

/** Opens the usage with nothing left of what was shown before, so that what is there is the new one. */
async function fresh(query) {
  await page.goto("about:blank");
  await page.goto(`${service.origin}/admin#/workspaces/${id}/usage?${query}`);
  await slider().waitFor();
}
const slider = () => page.getByRole("slider");
/** Where the middle of a bar is: the plot lies between the axis and the right edge, 56 and 12 pixels. */
const middle = (box, bar, bars) => box.x + 56 + ((bar + 0.5) * (box.width - 68)) / bars;
const usage = (query) => service.get(`/workspaces/${id}/usage?${query}`);
/** Micro-credits as the page shows a sum of them: cut off after two decimals. */
const shownAs = (micros) =>
  new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 }).format(
    Math.trunc(micros / 1e4) / 100,
  );

test("a total is one number wherever it stands, however its bars were rounded", async () => {
  const said = await page.evaluate(async () => {
    const { summary, METRICS } = await import(
      new URL("assets/lib/chart.js", document.baseURI).href
    );
    const bar = (ts, credits_micros) => ({ ts, credits_micros, compute_ms: 0 });
    const series = [bar("2026-05-18T00:00:00Z", 581_999_999), bar("2026-05-19T00:00:00Z", 582e6)];
    const usage = { series, granularity: "day", time_zone: "UTC" };
    const small = { ...usage, series: [bar("2026-05-18T00:00:00Z", 99_999_999)] };
    return [
      summary({ ...usage, total_credits_micros: 1_164_000_000 }, METRICS.credits),
      summary(usage, METRICS.credits),
      summary(small, METRICS.credits),
    ].map((text) => text.split(" credits")[0]);
  });
  assert.deepEqual(said, ["1,164", "1,163", "99.99"]);
});

test("the chart says what the API says", async () => {
  const expected = await usage("window=30d&granularity=day");
  await slider().waitFor();
  assert.equal(
    await page.locator(".totals b").first().textContent(),
    String(expected.total_credits_used),
  );
  assert.equal(Number(await slider().getAttribute("aria-valuemax")) + 1, expected.series.length);
  await page.getByRole("button", { name: "Table" }).click();
  const rows = await page
    .locator(".twin tbody tr")
    .evaluateAll((list) =>
      list.map((tr) => [...tr.querySelectorAll("td")].map((td) => td.textContent)),
    );
  assert.deepEqual(
    rows.reverse(),
    expected.series.map((b) => [
      String(b.credits_used),
      b.compute_hours ? b.compute_hours.toFixed(4) : "0",
    ]),
  );
  assert.match(
    await page.locator("figcaption .hint").textContent(),
    /165(\.\d+)? credits from .* in 31 days; the most, 90(\.\d+)?, on /,
  );
  assert.match(page.url(), /table=1/);
});

test("by keyboard from bar to bar, and Enter explains one", async () => {
  await fresh("window=30d&granularity=day&tz=UTC");
  const expected = await usage("window=30d&granularity=day");
  await slider().focus();
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowLeft");
  const bar = expected.series.at(-2);
  assert.match(
    await slider().getAttribute("aria-valuetext"),
    new RegExp(`: ${shownAs(bar.credits_micros)} credits`),
  );
  await page
    .locator(".tip")
    .getByText(`${shownAs(bar.credits_micros)} credits`)
    .waitFor();
  assert.match(await page.locator(".tip").textContent(), /UTC/);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /^What is behind/ }).waitFor();
  await page.getByRole("row", { name: /brought over/ }).waitFor();
  assert.match(page.url(), /ts=/);
});

test("a click on the last bar shows the intervals behind it, and they add up", async () => {
  const expected = await usage("window=24h&granularity=hour");
  await page.getByRole("radio", { name: "24 h" }).check();
  await until(
    async () => Number(await slider().getAttribute("aria-valuemax")) + 1 === expected.series.length,
    "25 bars",
  );
  const box = await slider().boundingBox();
  // The last in which something ran: the hour may have turned since.
  const last = expected.series.findLastIndex((b) => b.compute_ms > 0);
  await page.mouse.click(middle(box, last, expected.series.length), box.y + 120);
  const intervals = page.getByRole("table", { name: "Running intervals" }).locator("tbody tr");
  await intervals.first().waitFor();
  const shown = await intervals.evaluateAll((rows) =>
    rows.map((tr) => Number(tr.lastElementChild.textContent)),
  );
  assert.equal(shown.length, 3);
  const sum = Math.round(shown.reduce((a, b) => a + b, 0) * 1e6);
  // The hour may also turn between start and stop: then only the last part is explained.
  assert.equal(sum, expected.series[last].credits_micros);
});

test("dragging over bars zooms in", async () => {
  await fresh("window=30d&granularity=day&tz=UTC");
  const whole = await usage("window=30d&granularity=day");
  const box = await slider().boundingBox(),
    x = (bar) => middle(box, bar, whole.series.length);
  await page.mouse.move(x(10), box.y + 120);
  await page.mouse.down();
  await page.mouse.move(x(14), box.y + 120, { steps: 4 });
  await page.mouse.up();
  await until(async () => (await slider().getAttribute("aria-valuemax")) === "4", "five bars");
  const query = new URL(page.url().replace("#", "")).searchParams;
  assert.deepEqual(
    [query.get("window"), query.get("from"), query.get("to")],
    ["custom", whole.series[10].ts, whole.series[15].ts],
  );
  assert.equal(
    await page.getByRole("heading", { name: /^What is behind/ }).count(),
    0,
    "it was no click",
  );
  await page.getByRole("radio", { name: "24 h" }).check();
});

test("stacked by project, the parts are those of the API", async () => {
  await page.getByLabel("Group").selectOption("project");
  await page.locator(".legend li").first().waitFor();
  const expected = await usage("window=24h&granularity=hour&group_by=project");
  const shown = await page
    .locator(".legend li")
    .evaluateAll((list) =>
      list.map((li) => [
        li.querySelector(".legend-name").textContent,
        li.querySelector("b").textContent,
      ]),
    );
  const wanted = expected.groups
    .map((g) => [g.name, g.total_credits_micros])
    .sort((a, b) => b[1] - a[1])
    .map(([name, micros]) => [name, shownAs(micros)]);
  assert.deepEqual(new Map(shown), new Map(wanted));
  assert.equal(await page.locator(".bars").count(), expected.groups.length);
  assert.match(page.url(), /group_by=project/);
  // The address alone brings it back.
  await page.goto("about:blank");
  await page.goBack();
  await page.locator(".legend li").first().waitFor();
  assert.equal(await page.getByLabel("Group").inputValue(), "project");
});

test("the CSV is the API's own", async () => {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "CSV" }).click(),
  ]);
  const text = await readFile(await download.path(), "utf8");
  assert.equal(download.suggestedFilename(), "usage-usage-clinic.csv");
  assert.match(text, /^ts,group_by,key,name,credits_used,/);
  const sum = text
    .trim()
    .split("\r\n")
    .slice(1)
    .reduce((all, line) => all + Number(line.split(",").at(-2)), 0);
  assert.equal(sum, (await usage("window=24h&granularity=hour")).total_credits_micros);
});

test("721 bars are a handful of elements, and change at once", async () => {
  await fresh("window=30d&granularity=hour&tz=UTC");
  assert.equal(await slider().getAttribute("aria-valuemax"), "720");
  // One path for the bars of a part, however many: what makes it quick, and does not depend on the machine.
  assert.ok((await page.locator(".chart-svg *").count()) < 80);
  assert.match(await page.locator(".bars").first().getAttribute("d"), /^M/);
  // No request is needed for the other measure.
  const title = await page.evaluate(() => {
    [...document.querySelectorAll(".segmented input")].find((i) => i.value === "hours").click();
    return document.querySelector("figcaption").textContent;
  });
  assert.match(title, /^Compute hours per hour/);
});

test("the overview adds up what all workspaces used", async () => {
  await page.goto(`${service.origin}/admin#/`);
  await page.locator("main[data-path='/'] .chart-svg").waitFor();
  const expected = await service.get("/usage/series?window=30d&granularity=day&tz=Europe/Budapest");
  assert.equal(Number(await slider().getAttribute("aria-valuemax")) + 1, expected.series.length);
  assert.match(await page.locator("figcaption .hint").textContent(), /^165(\.\d+)? credits/);
  const month = await service.get("/usage/summary");
  await page
    .locator(".tile")
    .filter({ hasText: "Credits this month" })
    .getByText(new Intl.NumberFormat("en-GB").format(month.total_credits), { exact: true })
    .waitFor();
});

test("another zone has other days", async () => {
  await page.goto(
    `${service.origin}/admin#/workspaces/${id}/usage?window=7d&granularity=day&tz=Asia/Kathmandu&table=1`,
  );
  const expected = await usage("window=7d&granularity=day&tz=Asia/Kathmandu");
  await until(
    async () => (await page.locator(".twin tbody tr").count()) === expected.series.length,
    "the table",
  );
  const shown = await page.locator(".twin tbody tr td:nth-child(2)").allTextContents();
  assert.deepEqual(
    shown.reverse(),
    expected.series.map((b) => String(b.credits_used)),
  );
});

test("usage prints without the controls", async () => {
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.locator(".top").isVisible(), false);
  assert.equal(await page.locator(".controls").isVisible(), false);
  assert.equal(await page.locator(".chart-svg").isVisible(), true);
  await page.emulateMedia({ media: "screen" });
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
