import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

let service, browser, tabs;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  tabs = [await browser.page()];
  await signIn(tabs[0], service.origin, "#/workspaces");
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const streams = async () => (await service.get("/system")).counts.event_streams;
const live = (tab) => tab.locator(".live[data-state=live]").waitFor();

test("eight tabs work, with one stream among them", async () => {
  for (let i = 1; i < 8; i++) {
    const tab = await browser.context.newPage();
    tabs.push(tab);
    await tab.goto(`${service.origin}/admin#/workspaces`);
    await tab.getByRole("link", { name: "default" }).waitFor();
    await live(tab);
  }
  assert.equal(await streams(), 1);
});

test("what happens is told to all of them at once", async () => {
  await service.post("/workspaces", { name: "Told to all" });
  await Promise.all(
    tabs.map((tab) => tab.getByRole("link", { name: "Told to all" }).waitFor({ timeout: 8000 })),
  );
});

test("when the tab that listens is closed, another goes on, and nothing is missed", async () => {
  await tabs.shift().close();
  await service.post("/workspaces", { name: "In between" });
  await Promise.all(
    tabs.map((tab) => tab.getByRole("link", { name: "In between" }).waitFor({ timeout: 8000 })),
  );
  await until(async () => (await streams()) === 1, "one stream");
  await Promise.all(tabs.map(live));
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
