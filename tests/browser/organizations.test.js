// An operator looks at another organization, and acts as it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService } from "./lib/service.js";

let service, browser, page, globex;
before(async () => {
  service = await startService("--dev");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  globex = await service.post("/platform/tenants", { name: "Globex Corporation", slug: "globex" });
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const picker = (on = page) => on.getByLabel("Organization", { exact: true });

test("the bar offers the organizations, and every request is about the chosen one", async () => {
  await signIn(page, service.origin);
  assert.equal(await picker().inputValue(), "default");
  /** @type {string[]} */
  const others = [];
  page.on("request", (request) => {
    const named = request.headers()["x-miosa-tenant"];
    if (request.url().includes("/api/v1/") && named !== "globex") others.push(request.url());
  });
  await picker().selectOption("globex");
  await page.locator("select.acting").waitFor();
  await page.getByText("Organization globex").waitFor();
  // Those of the page that was left may still be counted.
  others.length = 0;
  await page.goto(`${service.origin}/admin#/workspaces`);
  await page.reload();
  await page.getByRole("link", { name: "default" }).waitFor();
  assert.deepEqual(await violations(page), []);
  for (const section of ["computers", "projects", "billing", "keys", "webhooks", "activity"]) {
    await page.goto(`${service.origin}/admin#/${section}`);
    await page.locator(`#main[data-path="/${section}"]`).waitFor();
  }
  assert.deepEqual(others, []);
});

test("what is made there is theirs, and their log says that it was the operator", async () => {
  await page.goto(`${service.origin}/admin#/workspaces?new=1`);
  await page.getByRole("dialog").getByLabel("Name", { exact: true }).fill("Harbor Dental");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Harbor Dental" }).waitFor();
  const theirs = await service.get("/workspaces?q=Harbor", globex.api_key.key);
  assert.equal(theirs.total, 1);
  assert.equal((await service.get("/workspaces?q=Harbor")).total, 0);
  const log = await service.get("/audit-log?type=workspace.created", globex.api_key.key);
  assert.equal(log.data[0].actor.operator_of, "default");
  await page.goto(`${service.origin}/admin#/activity`);
  const row = page.getByRole("row").filter({ hasText: "Harbor Dental" });
  await row.getByText("operator of default").first().waitFor();
});

test("another tab is at home, and signing out ends it", async () => {
  const other = await browser.context.newPage();
  await other.goto(`${service.origin}/admin`);
  await other.locator("body.signed-in").waitFor();
  assert.equal(await picker(other).inputValue(), "default");
  await other.close();
  await page.setViewportSize({ width: 320, height: 640 });
  assert.ok(await picker().isVisible());
  assert.equal(
    await page.evaluate(() => document.documentElement.scrollWidth > innerWidth),
    false,
    "nothing is wider than a small phone",
  );
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.getByRole("button", { name: "Sign out" }).click();
  await signIn(page, service.origin);
  assert.equal(await picker().inputValue(), "default");
});

test("no page complained", () => assert.deepEqual(browser.faults, []));
