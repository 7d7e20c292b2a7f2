import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { allViolations } from "./lib/axe.js";
import { openScreen, signIn, startBrowser } from "./lib/browser.js";
import { LONG, RTL, UNBROKEN, makeHostile } from "./lib/hostile.js";
import { WIDTHS, allOutside, outside } from "./lib/outside.js";
import { uncovered } from "./lib/routes.js";
import { startService } from "./lib/service.js";

let service, browser, page, screens;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  screens = await makeHostile(service);
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
  test(`${width} pixels wide no text of anybody breaks a screen`, async () =>
    assert.deepEqual(await allOutside(page, service.origin, screens, width), []));

// Light comes last: the tests that follow go on in it.
for (const theme of ["dark", "light"])
  test(`axe finds nothing about them either, in the ${theme} theme`, async () => {
    await page.setViewportSize({ width: 1280, height: 800 });
    // Each kind of screen once.
    const once = screens.slice(0, 20);
    assert.deepEqual(await allViolations(page, service.origin, once, theme), []);
  });

test("nor a dialog", async () => {
  const [{ id }] = (await service.get(`/workspaces?q=${LONG}`)).data;
  for (const width of [1280, 320]) {
    await page.setViewportSize({ width, height: 800 });
    await open(`/workspaces/${id}/settings`);
    await page.getByRole("button", { name: "Edit", exact: true }).click();
    await page.getByRole("dialog").waitFor();
    assert.deepEqual(await outside(page), [], `edit at ${width}`);
    await page.keyboard.press("Escape");
    await page.locator("main").getByRole("button", { name: "More" }).first().click();
    await page.getByRole("button", { name: "Delete workspace" }).click();
    await page.getByRole("dialog").waitFor();
    assert.deepEqual(await outside(page), [], `delete at ${width}`);
    await page.keyboard.press("Escape");
  }
  await page.setViewportSize({ width: 1280, height: 800 });
});

test("a long description is shown in part, and whole when it is asked for", async () => {
  const [{ id }] = (await service.get(`/workspaces?q=${LONG}`)).data;
  await open(`/workspaces/${id}/settings`);
  const words = page.locator(".words");
  const height = async () => (await words.boundingBox()).height;
  assert.ok((await height()) < 80, `${await height()}`);
  await page.getByRole("button", { name: "Show all" }).click();
  assert.ok((await height()) > 200, `${await height()}`);
  assert.equal(await words.textContent(), UNBROKEN);
});

test("names from right to left turn around nothing beside them", async () => {
  await open("/workspaces");
  const name = page.getByRole("link", { name: RTL });
  assert.equal(await name.locator("bdi").count(), 1);
  const [{ id }] = (await service.get(`/workspaces?q=${encodeURIComponent("الشفاء")}`)).data;
  await open(`/workspaces/${id}/settings`);
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  const title = page.getByRole("dialog").getByRole("heading");
  // "Edit " stays before it: the name is a part of its own.
  assert.equal(await title.locator("bdi").textContent(), RTL.replace(/ \(.*/, " (٣"));
  assert.equal(await page.getByLabel("Name", { exact: true }).getAttribute("dir"), "auto");
  await page.keyboard.press("Escape");
  const refused = await service
    .post("/workspaces", { name: "Clinic \u202Ecilbup" })
    .catch((e) => e.reply);
  assert.match(refused.errors.name[0], /invisible character U\+202E/);
});

test("on the way back a list is where it was left", async () => {
  for (let i = 0; i < 22; i++) await service.post("/workspaces", { name: `Practice ${i}` });
  await page.setViewportSize({ width: 1280, height: 500 });
  await open("/workspaces");
  await page.getByRole("link", { name: "Practice 20" }).scrollIntoViewIfNeeded();
  const y = await page.evaluate(() => scrollY);
  assert.ok(y > 200, `${y}`);
  await page.waitForFunction(() => history.state?.y > 200);
  await page.getByRole("link", { name: "Practice 20" }).click();
  await page.getByRole("heading", { name: "Practice 20" }).waitFor();
  assert.equal(await page.evaluate(() => scrollY), 0);
  await page.goBack();
  await page.getByRole("link", { name: "Practice 20" }).waitFor();
  await page.waitForFunction((was) => Math.abs(scrollY - was) < 3, y);
});

test("password managers understand the form", async () => {
  const other = await startBrowser();
  try {
    const asked = await other.page();
    await asked.goto(`${service.origin}/admin`);
    const form = asked.locator("form");
    const key = form.getByLabel("API key");
    assert.deepEqual(await key.evaluate((e) => [e.type, e.name, e.autocomplete]), [
      "password",
      "password",
      "current-password",
    ]);
    assert.deepEqual(
      await form.locator("[name=username]").evaluate((e) => [e.autocomplete, e.value]),
      ["username", new URL(service.origin).host],
    );
    await key.fill("msk_u_dev");
    await key.press("Enter");
    await asked.locator("body.signed-in").waitFor();
  } finally {
    await other.stop();
  }
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
