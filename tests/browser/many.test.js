import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { allViolations } from "./lib/axe.js";
import { openScreen, signIn, startBrowser } from "./lib/browser.js";
import { WIDTHS, allOutside } from "./lib/outside.js";
import { screensOf, uncovered } from "./lib/routes.js";
import { seed } from "./lib/seed.js";
import { startService, until } from "./lib/service.js";

// A thousand customers: nothing is read whole, and nothing looks otherwise.
let service, browser, page, screens;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  const made = await seed(service, { workspaces: 1000, computers: 1500 });
  for (let n = 1; n <= 120; n++) await service.post("/api-keys", { name: `Application ${n}` });
  const hook = await service.post("/webhooks", {
    url: "https://example.com/hook",
    events: ["computer.*"],
    enabled: false,
  });
  for (const { id } of made.workspaces.slice(900, 940))
    await service.call("DELETE", `/workspaces/${id}?force=1`);
  const workspace = made.workspaces[0].id;
  const [project] = (await service.get(`/workspaces/${workspace}/projects`)).data;
  screens = screensOf({
    workspace,
    computer: made.computers[0].id,
    project: project.id,
    webhook: hook.data.id,
  });
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const open = (hash) => openScreen(page, service.origin, hash);

test("every screen of the page is looked at", async () =>
  assert.deepEqual(await uncovered(screens), []));

for (const width of WIDTHS)
  test(`${width} pixels wide nothing is cut off or out of reach`, async () =>
    assert.deepEqual(await allOutside(page, service.origin, screens, width), []));

for (const theme of ["light", "dark"])
  test(`axe finds nothing in the ${theme} theme`, async () => {
    await page.setViewportSize({ width: 1280, height: 800 });
    assert.deepEqual(await allViolations(page, service.origin, screens, theme), []);
  });

test("a list shows one page of its rows, and asks for no more than it shows", async () => {
  await page.setViewportSize({ width: 1280, height: 900 });
  for (const [hash, most] of [
    ["/workspaces", 25],
    ["/computers", 25],
    ["/projects", 25],
    ["/keys", 25],
    ["/deleted", 25],
    ["/activity", 50],
  ]) {
    await page.goto("about:blank");
    const asked = [];
    const hear = (request) => /\/api\/v1\//.test(request.url()) && asked.push(request.url());
    page.on("request", hear);
    await open(hash);
    assert.equal(await page.locator("main tbody tr").count(), most, hash);
    page.off("request", hear);
    assert.ok(asked.length <= 2 * most + 10, `${hash}: ${asked.length} requests`);
    const pages = asked.map((url) => Number(new URL(url).searchParams.get("page_size") ?? 0));
    assert.ok(Math.max(...pages) <= 100, `${hash}: ${pages}`);
  }
});

test("the log can be asked for each key, however many there are", async () => {
  await open("/activity");
  const options = page.getByLabel("Who").locator("option");
  // Everybody, the operator's, and 120 more.
  assert.equal(await options.count(), 122);
});

test("names of the usual length are shown whole", async () => {
  // What is out of sight does not ask for its name.
  await page.setViewportSize({ width: 1280, height: 4000 });
  const cut = [];
  for (const hash of ["/", "/workspaces", "/computers", "/projects", "/keys", "/activity"]) {
    await open(hash);
    await until(
      async () => !(await page.locator("main td .name code:visible").count()),
      `the names on ${hash}`,
    );
    cut.push(
      ...(await page.evaluate(() =>
        [...document.querySelectorAll("main :is(th, td) :is(a, b, .name, .hint)")]
          .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.textContent.length <= 20)
          .map((e) => e.textContent),
      )),
    );
  }
  assert.deepEqual(cut, []);
});

test("what was deleted later keeps its name in the log", async () => {
  const clinic = await service.post("/workspaces", { name: "Gone Tomorrow" });
  const project = await service.post("/projects", { name: "Old site", workspace_id: clinic.id });
  await service.put(`/projects/${project.id}/preview-domain`, { preview_domain: "old.example" });
  await service.put(`/workspaces/${clinic.id}/settings`, { max_computers: 3 });
  await service.put(`/workspaces/${clinic.id}/budget`, { credits: 10, period: "month" });
  await service.call("DELETE", `/workspaces/${clinic.id}?force=1`);
  await page.goto("about:blank");
  await open("/activity");
  const row = (text) => page.getByRole("row").filter({ hasText: text }).first();
  await row("Preview domain updated").getByText("Old site").waitFor();
  await row("Settings changed").getByText("Gone Tomorrow").waitFor();
  await row("Budget updated").getByText("Gone Tomorrow").waitFor();
  // A link to it leads to where it can be brought back.
  await page.goto(`${service.origin}/admin#/workspaces/${clinic.id}/settings`);
  await page.getByRole("alert").getByRole("link", { name: "brought back" }).click();
  await page.locator('main[data-path="/deleted"]').getByText("Gone Tomorrow").waitFor();
  await open("/");
  const feed = page.locator(".feed li").filter({ hasText: "budget updated" });
  await feed.getByText("Gone Tomorrow").waitFor();
});
