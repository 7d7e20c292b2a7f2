import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

// Names such as people give them, sizes and costs that differ.
let service, browser, page, clinic, other;
const made = {};
before(async () => {
  service = await startService("--dev", "--provision-ms", "0", "--stop-ms", "0", "--start-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  clinic = await service.post("/workspaces", { name: "Sunrise Radiology" });
  await service.put(`/workspaces/${clinic.id}/preview-domain`, {
    preview_domain: "sunrise.example",
  });
  other = await service.post("/workspaces", { name: "Harbor Dental" });
  for (const [name, size, workspace] of [
    ["booking", "xs", clinic],
    ["gpu-retrain", "xl", clinic],
    ["intake", "small", clinic],
    ["archive", "medium", other],
  ]) {
    made[name] = await service.post("/computers", {
      name,
      size,
      workspace_id: workspace.id,
      project_slug: "spring-campaign",
      project_name: "Spring campaign",
      auto_stop_seconds: 0,
    });
  }
  await service.post("/api-keys", { name: "Nightly billing", scopes: ["usage:read"] });
  await fetch(`${service.origin}/_dev/clock`, {
    method: "POST",
    headers: { authorization: `Bearer ${service.key}`, "content-type": "application/json" },
    body: JSON.stringify({ advance_seconds: 7200 }),
  });
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const dialog = () => page.getByRole("dialog");
const names = () => page.locator("main tbody .row-link").allTextContents();
const status = async (name) => (await service.get(`/computers/${made[name].id}`)).status;
const choose = (name) => page.getByLabel(`Choose ${name}`, { exact: true });
async function open(hash) {
  await page.goto("about:blank");
  await page.goto(`${service.origin}/admin#${hash}`);
  await page.locator(`main[data-path="${hash.split("?")[0]}"] h1`).waitFor();
  await page.locator("main tbody tr").first().waitFor();
}
const shows = (expected) =>
  until(async () => JSON.stringify(await names()) === JSON.stringify(expected), `${expected}`);

test("computers are sorted by a click, and the address keeps it", async () => {
  await open("/computers");
  await page.getByRole("button", { name: "Credits, 7 days" }).click();
  await shows(["gpu-retrain", "archive", "intake", "booking"]);
  assert.match(page.url(), /sort=-credits/);
  await page.reload();
  await shows(["gpu-retrain", "archive", "intake", "booking"]);
  await page.getByRole("button", { name: "Name" }).click();
  await shows(["archive", "booking", "gpu-retrain", "intake"]);
  await page.getByLabel("Order").selectOption("-size");
  await shows(["gpu-retrain", "archive", "intake", "booking"]);
  await page.getByRole("searchbox").fill("in");
  await shows(["gpu-retrain", "intake", "booking"].filter((name) => name.includes("in")));
  assert.match(page.url(), /q=in/);
});

test("their lines have one scale: what cost more is higher", async () => {
  await open("/computers?sort=-credits");
  const bars = page.locator("main tbody .spark-bars");
  await until(async () => (await bars.count()) === 4, "a line of each");
  const heights = await bars.evaluateAll((all) =>
    all.map((bar) => Math.round(/** @type {SVGGraphicsElement} */ (bar).getBBox().height)),
  );
  const most = await Promise.all(
    ["gpu-retrain", "archive", "intake", "booking"].map(async (name) => {
      const { series } = await service.get(`/computers/${made[name].id}/metrics?window=7d`);
      return Math.max(...series.map((bucket) => bucket.credits_micros));
    }),
  );
  const expected = most.map((micros) => Math.round(Math.max(1, (24 * micros) / most[0])));
  assert.deepEqual(heights, expected);
  assert.ok(heights[0] > heights[1] && heights[1] > heights[3], `${heights}`);
});

test("workspaces by what they cost", async () => {
  await open("/workspaces");
  await page.getByRole("button", { name: "Credits, 30 days" }).click();
  await until(async () => (await names())[0] === "Sunrise Radiology", "the most expensive first");
  assert.deepEqual(await names(), ["Sunrise Radiology", "Harbor Dental", "default"]);
});

test("with Shift all in between are chosen, and auto-stop is set on them", async () => {
  await open("/computers?sort=name");
  await choose("archive").click();
  await choose("gpu-retrain").click({ modifiers: ["Shift"] });
  await page.getByText("3 chosen").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Auto-stop…" }).click();
  assert.deepEqual(await dialog().locator(".names li").allTextContents(), [
    "archive",
    "booking",
    "gpu-retrain",
  ]);
  await dialog().getByLabel("Idle auto-stop").fill("half an hour");
  await dialog().getByRole("button", { name: "Set auto-stop" }).click();
  await dialog().getByText("must be a length of time such as 30 min").waitFor();
  await dialog().getByLabel("Idle auto-stop").fill("1.5 h");
  await dialog().getByRole("button", { name: "Set auto-stop" }).click();
  await page.getByText("3 computers changed.").waitFor();
  const set = (await service.get("/computers?sort=name")).data.map((c) => c.auto_stop_seconds);
  assert.deepEqual(set, [5400, 5400, 5400, 0]);
});

test("many are moved, and refusals are told by name", async () => {
  await service.put(`/workspaces/${other.id}/settings`, { max_computers: 2 });
  await open("/computers?sort=name");
  await choose("booking").click();
  await choose("intake").click();
  await page.getByRole("button", { name: "Move…" }).click();
  await dialog().getByLabel("To workspace").fill("Harbor");
  await dialog().getByRole("option", { name: "Harbor Dental" }).click();
  await dialog().getByRole("button", { name: "Move" }).click();
  await dialog()
    .getByText(/^intake: /)
    .waitFor();
  await page.keyboard.press("Escape");
  assert.equal((await service.get(`/computers/${made.booking.id}`)).workspace_id, other.id);
  assert.equal((await service.get(`/computers/${made.intake.id}`)).workspace_id, clinic.id);
});

test("many are stopped after it was said which", async () => {
  await service.post(`/computers/${made.archive.id}/stop`);
  await until(async () => (await status("archive")) === "stopped", "the stop");
  await open("/computers?sort=name");
  await page.getByLabel("Choose all").click();
  await page.getByText("4 chosen").waitFor();
  await page.getByRole("button", { name: "Stop…", exact: true }).click();
  await dialog().getByText("1 other does not run").waitFor();
  await dialog().getByRole("button", { name: "Stop 3 computers" }).click();
  await page.getByText("3 computers being stopped.").waitFor();
  for (const name of Object.keys(made))
    await until(async () => (await status(name)) === "stopped", `the stop of ${name}`);
});

/** Types into what Ctrl+K opens, as soon as what is typed goes there. */
async function search(text) {
  await page.keyboard.press("Control+k");
  const field = page.getByRole("combobox", { name: "Workspace or section" });
  await field.and(page.locator(":focus")).waitFor();
  await page.keyboard.type(text);
}

test("Ctrl+K does what it is told, after a question", async () => {
  await service.post(`/computers/${made["gpu-retrain"].id}/start`);
  await until(async () => (await status("gpu-retrain")) === "running", "the start");
  await search("stop gpu");
  await page.getByRole("option", { name: "Stop gpu-retrain" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.keyboard.press("Enter");
  await dialog().getByRole("heading", { name: "Stop gpu-retrain?" }).waitFor();
  assert.equal(await status("gpu-retrain"), "running", "not before the answer");
  await page.keyboard.press("Enter");
  await until(async () => (await status("gpu-retrain")) === "stopped", "the stop");
});

for (const [text, option, path] of [
  ["limits sunrise", /Sunrise Radiology\s*settings/, () => `/workspaces/${clinic.id}/settings`],
  ["default idle", /Default idle auto-stop/, () => `/workspaces/${clinic.id}/settings`],
  ["sunrise.exa", /sunrise\.example/, () => `/workspaces/${clinic.id}/domain`],
  ["intake", /intake/, () => `/computers/${made.intake.id}`],
  ["spring", /Spring campaign/, () => /^\/projects\//],
  ["nightly", /Nightly billing/, () => "/keys"],
  ["new work", /New workspace/, () => "/workspaces"],
]) {
  test(`Ctrl+K finds “${text}”`, async () => {
    await search(text);
    await page.getByRole("option", { name: option }).first().click();
    await until(async () => {
      const at = await page.locator("main").getAttribute("data-path");
      const to = path();
      return to instanceof RegExp ? to.test(at ?? "") : at === to;
    }, "the screen");
    await page.keyboard.press("Escape");
  });
}

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
