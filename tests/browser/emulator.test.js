import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startDemo, startService, until } from "./lib/service.js";

let service, browser, page;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  await signIn(page, service.origin, "#/workspaces");
  await page.locator("main[data-path='/workspaces'] h1").waitFor();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

async function faults(method, body) {
  const response = await fetch(`${service.origin}/_dev/faults`, {
    method,
    headers: { authorization: `Bearer ${service.key}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  return response.json();
}
const banner = () => page.locator("#banner");
const remove = () => banner().getByRole("button", { name: /^Remove/ });

test("without a rule there is nothing about faults", async () => {
  await banner().getByText("Development mode").waitFor();
  assert.equal(await page.locator("#banner .faults").count(), 0);
});

test("a rule is announced without a step of the reader, and removed from there", async () => {
  await faults("POST", { route: "GET /projects", status: 503 });
  await banner().getByText("1 fault rule is active").waitFor({ timeout: 15_000 });
  await faults("POST", { route: "POST /workspaces", when: "after", drop: true, times: 1 });
  await page.goto(`${service.origin}/admin#/projects`);
  await banner().getByText("2 fault rules are active").waitFor();
  // What the rule answers is shown with its reason.
  await page
    .getByText(/fault rule f1 of \/_dev\/faults/)
    .first()
    .waitFor();
  for (const scheme of ["light", "dark"]) {
    for (const [width, height] of [
      [1440, 900],
      [390, 844],
    ]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height });
      assert.ok(await remove().isVisible());
      assert.ok(
        await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
        `${width} ${scheme}: no scrolling sideways`,
      );
      assert.deepEqual(await violations(page), [], `${width} ${scheme}`);
      if (process.env.SHOTS)
        await page.screenshot({ path: `${process.env.SHOTS}/faults-${width}-${scheme}.png` });
    }
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await remove().click();
  await page.locator("#banner .faults").waitFor({ state: "detached" });
  assert.equal((await faults("GET")).total, 0);
  await page.goto(`${service.origin}/admin#/workspaces`);
  await page.goto(`${service.origin}/admin#/projects`);
  await page.locator("main[data-path='/projects'] h1").waitFor();
});

test("a create whose answer is lost after the commit is there once when it is sent again", async () => {
  await page.goto(`${service.origin}/admin#/workspaces`);
  await page.locator("main[data-path='/workspaces'] h1").waitFor();
  await faults("POST", { route: "POST /workspaces", when: "after", status: 502, times: 1 });
  await page
    .getByRole("button", { name: /New workspace/ })
    .first()
    .click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(/^Name/).fill("Lost and Found");
  await dialog.getByRole("button", { name: /Create/ }).click();
  await dialog.getByText(/only its answer is lost/).waitFor();
  await dialog.getByRole("button", { name: /Create/ }).click();
  await dialog.waitFor({ state: "detached" });
  const found = (await service.get("/workspaces")).data.filter((w) => w.name === "Lost and Found");
  assert.equal(found.length, 1);
  await faults("DELETE");
});

test("where there is no emulator the page does not keep asking", async () => {
  assert.deepEqual(browser.faults, []);
  const own = await startService();
  const other = await browser.context.newPage();
  try {
    // The first page still asks its own service meanwhile.
    browser.only(service.origin, own.origin);
    await other.goto(`${own.origin}/admin`);
    await other.getByRole("textbox", { name: "API key" }).fill(own.key);
    await other.getByRole("button", { name: "Sign in", exact: true }).click();
    await other.locator("body.signed-in").waitFor();
    await other.locator("main[data-path='/'] h1").waitFor();
    assert.ok(await other.locator("#banner").isHidden());
    const asked = [];
    other.on("request", (request) => {
      if (request.url().endsWith("/api/v1/system")) asked.push(request.url());
    });
    await other.goto(`${own.origin}/admin#/workspaces`);
    await other.locator("main[data-path='/workspaces'] h1").waitFor();
    assert.deepEqual(asked, []);
  } finally {
    await other.close();
    browser.only(service.origin);
    await own.stop();
  }
});

test("a demonstration says that it is one, and its clock is driven from a small bar", async () => {
  const own = await startDemo();
  const other = await browser.context.newPage();
  browser.only(service.origin, own.origin);
  try {
    await signIn(other, own.origin, "#/workspaces");
    const bar = other.locator("#banner");
    const now = async () => Date.parse((await own.get("/system")).now);
    await bar.getByText("60 times as fast").waitFor();
    await bar.getByText("Demo", { exact: true }).waitFor();
    await bar.getByRole("button", { name: "Pause" }).click();
    await bar.getByText(/stands still at/).waitFor();
    const stood = await now();
    await bar.getByRole("button", { name: "+1 day" }).click();
    await bar.getByRole("button", { name: "Run" }).waitFor();
    await until(async () => (await now()) === stood + 864e5, "a day later");
    await own.post("/workspaces", { name: "Made in the demo" });
    await bar.getByRole("button", { name: "Run" }).click();
    await bar.getByText("60 times as fast").waitFor();
    await bar.getByRole("button", { name: "Reset" }).click();
    await other.getByRole("dialog").getByRole("button", { name: "Reset" }).click();
    await other.getByText("The demo begins anew.").waitFor();
    assert.equal((await own.get("/workspaces?q=made+in")).total, 0);
    assert.ok((await now()) < stood + 864e5);
    // It is there beside every screen, and covers none of it for good.
    for (const width of [1440, 390, 320]) {
      await other.setViewportSize({ width, height: 844 });
      assert.ok(
        await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
        `${width}: no scrolling sideways`,
      );
      assert.deepEqual(await violations(other), [], `${width}`);
    }
    // People, keys, a webhook, a budget, a statement, a share link, something that was deleted.
    for (const [path, least] of [
      ["/api-keys", 5],
      ["/webhooks", 1],
      ["/budgets", 1],
      ["/statements", 5],
      ["/deleted", 1],
    ])
      assert.ok((await own.get(path)).total >= least, path);
    const [riverside] = (await own.get("/workspaces?q=riverside")).data;
    assert.equal((await own.get(`/workspaces/${riverside.id}/share-links`)).total, 1);
  } finally {
    await other.close();
    browser.only(service.origin);
    await own.stop();
  }
});
