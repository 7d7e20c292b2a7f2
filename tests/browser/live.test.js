import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

let service, browser, page, second, id, computer;
before(async () => {
  service = await startService(
    "--dev",
    "--provision-ms",
    "200",
    "--start-ms",
    "200",
    "--stop-ms",
    "200",
  );
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  id = (await service.post("/workspaces", { name: "Live Clinic" })).id;
  computer = await service.post("/computers", { name: "front-desk", workspace_id: id });
  await signIn(page, service.origin, `#/workspaces/${id}/computers`);
  second = await browser.context.newPage();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

// Sooner than the page would ask by itself: only the stream can have told it.
const SOON = { timeout: 8000 };
const statusIn = (p) => p.getByRole("row", { name: /front-desk/ }).locator(".status");

test("a second tab is told at once", async () => {
  await second.goto(`${service.origin}/admin#/workspaces/${id}/computers`);
  await second.locator(".live[data-state=live]").waitFor();
  await statusIn(second).filter({ hasText: "running" }).waitFor();
  // Playwright keeps both tabs visible; the first one acts.
  await page.getByRole("button", { name: "Stop front-desk" }).click();
  await statusIn(second).filter({ hasText: "stopped" }).waitFor(SOON);
  await second.getByText("0 running").waitFor();
});

test("what another client does is seen too, without a request of the page", async () => {
  await service.post(`/computers/${computer.id}/start`);
  await statusIn(second).filter({ hasText: "running" }).waitFor(SOON);
  await service.post("/computers", { name: "back-office", workspace_id: id });
  await second.getByRole("row", { name: /back-office/ }).waitFor(SOON);
  await second.getByText("2 running").waitFor();
});

test("where it never stops, the list follows all the same", async () => {
  let on = true,
    n = 0;
  const busy = (async () => {
    while (on)
      await service.call("PATCH", `/computers/${computer.id}`, { name: `front-desk-${++n}` });
  })();
  try {
    await second.getByRole("row", { name: /front-desk-\d/ }).waitFor(SOON);
  } finally {
    on = false;
    await busy;
  }
  await service.call("PATCH", `/computers/${computer.id}`, { name: "front-desk" });
  await second
    .getByRole("row", { name: "front-desk", exact: false })
    .filter({ hasNotText: /front-desk-\d/ })
    .first()
    .waitFor();
});

test("a new cap is seen in the list of workspaces, whatever happens right after it", async () => {
  await second.goto(`${service.origin}/admin#/workspaces`);
  const row = second.getByRole("row", { name: /Live Clinic/ });
  await row.getByText("no cap").waitFor();
  await second.locator(".live[data-state=live]").waitFor();
  await service.put(`/workspaces/${id}/settings`, { max_computers: 17 });
  await service.call("PATCH", `/workspaces/${id}`, { description: "Front office" });
  await row.getByText(/ of 17/).waitFor(SOON);
  await service.put(`/workspaces/${id}/settings`, { max_computers: null });
  await second.goto(`${service.origin}/admin#/workspaces/${id}/computers`);
  await statusIn(second).waitFor();
});

test("a screen reader hears of it", async () => {
  await service.post(`/computers/${computer.id}/stop`);
  await until(
    async () => /front-desk: stopp/.test(await second.locator("#said").textContent()),
    "the announcement",
  );
});

test("without the stream the page asks every ten seconds", async () => {
  // In a browser of its own: here another tab would tell it.
  const other = await startBrowser();
  other.only(service.origin);
  const third = await other.page();
  await third.route("**/events/stream*", (route) => route.abort());
  await signIn(third, service.origin, `#/workspaces/${id}/computers`);
  await third.locator(".live[data-state=polling]").waitFor();
  await statusIn(third).waitFor();
  await service.call("PATCH", `/computers/${computer.id}`, { name: "reception" });
  await third.getByRole("row", { name: /reception/ }).waitFor({ timeout: 40_000 });
  // And goes back to the stream when that works again.
  await third.unroute("**/events/stream*");
  await third.locator(".live[data-state=live]").waitFor({ timeout: 60_000 });
  await other.stop();
});

test("a hidden tab asks for nothing, and catches up when it is seen again", async () => {
  const hide = (hidden) =>
    second.evaluate((h) => {
      Object.defineProperty(document, "hidden", { value: h, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await hide(true);
  await second.locator(".live[data-state=paused]").waitFor();
  const asked = [];
  const note = (request) => asked.push(request.url());
  second.on("request", note);
  await service.post("/computers", { name: "while-hidden", workspace_id: id });
  // Another tab has heard of it, so this one could have.
  await page.getByRole("row", { name: /while-hidden/ }).waitFor();
  assert.deepEqual(asked, []);
  second.off("request", note);
  await hide(false);
  await second.getByRole("row", { name: /while-hidden/ }).waitFor();
  await second.locator(".live[data-state=live]").waitFor();
});

test("a clock that is set by hand is the page's clock too", async () => {
  const own = await startService("--dev", "--provision-ms", "0", "--clock", "virtual");
  const other = await browser.context.newPage();
  try {
    await fetch(`${own.origin}/_dev/clock`, {
      method: "POST",
      headers: { authorization: `Bearer ${own.key}`, "content-type": "application/json" },
      body: JSON.stringify({ now: "2031-05-10T12:00:00Z" }),
    });
    const workspace = await own.post("/workspaces", { name: "Clinic of the future" });
    // The other tabs go on asking theirs.
    browser.only(service.origin, own.origin);
    await signIn(other, own.origin, "#/workspaces");
    await other
      .locator("#banner")
      .getByText(/stands still at 10 May 2031/)
      .waitFor();
    await other.getByRole("row", { name: /Clinic of the future .*just now/ }).waitFor();
    assert.equal((await own.get(`/workspaces/${workspace.id}`)).created_at.slice(0, 4), "2031");
  } finally {
    await other.close();
    browser.only(service.origin);
    await own.stop();
  }
});

test("the service stops at once though streams are open", async () => {
  const began = Date.now();
  const { code } = await service.stop();
  assert.equal(code, 0);
  assert.ok(Date.now() - began < 9000, `${Date.now() - began} ms`);
  await second.locator(".live[data-state=polling]").waitFor();
  assert.deepEqual(browser.faults, []);
});
