import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

let service, browser, page, workspace, computer;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0", "--stop-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  // The middle of a month, for what is said of it.
  const next = new Date();
  next.setUTCMonth(next.getUTCMonth() + 1, 10);
  await clock({ now: next.toISOString() });
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const dialog = () => page.getByRole("dialog");
const item = (text) => page.locator(".attention li").filter({ hasText: text });
const tile = (text) => page.locator(".tile").filter({ hasText: text });
async function clock(set) {
  const response = await fetch(`${service.origin}/_dev/clock`, {
    method: "POST",
    headers: { authorization: `Bearer ${service.key}`, "content-type": "application/json" },
    body: JSON.stringify(set),
  });
  assert.equal(response.status, 200, await response.text());
}
async function home() {
  await page.goto("about:blank");
  await page.goto(`${service.origin}/admin#/`);
  await page.locator("main[data-path='/'] h1").waitFor();
}

test("a fresh installation shows how to begin, and no zeros", async () => {
  await home();
  await page.getByRole("heading", { name: "Five steps to a running installation" }).waitFor();
  assert.equal(await page.locator(".tile").count(), 0);
  assert.equal(await page.locator(".steps .mark").count(), 5);
  assert.equal(await page.locator("main .button.primary").count(), 1, "one primary button");
  assert.deepEqual(await violations(page), []);
  // The lines work as they stand.
  const lines = await page.locator(".steps code").allTextContents();
  assert.match(lines[4], /--backup-dir/);
  for (const line of lines.slice(0, 3)) {
    const [, method, url, body] = line.match(/^curl -X (\w+) (\S+) .* -d '(.*)'$/);
    const response = await fetch(url, {
      method,
      body,
      headers: {
        authorization: line.match(/Authorization: (Bearer \S+)"/)[1],
        "content-type": "application/json",
      },
    });
    assert.ok(response.ok, `${line}: ${response.status}`);
  }
  // The first computer makes it the usual overview, without a step of the reader.
  await tile("Running now").getByText("1", { exact: true }).waitFor();
  [workspace] = (await service.get("/workspaces?slug=dr-smith-clinic")).data;
  [computer] = (await service.get("/computers")).data;
});

test("a step of the list opens its dialog", async () => {
  await page.goto(`${service.origin}/admin#/workspaces?new=1`);
  await dialog().getByRole("heading", { name: "New workspace" }).waitFor();
  assert.ok(!page.url().includes("new="), "and is no part of the address");
  await page.keyboard.press("Escape");
});

test("where nothing is wrong it says so", async () => {
  await home();
  await page.getByText("Nothing needs attention.").waitFor();
});

test("a forgotten machine is named with what it has cost, and stopped from there", async () => {
  await service.call("PATCH", `/computers/${computer.id}`, { auto_stop_seconds: 0 });
  await clock({ advance_seconds: 3 * 86400 });
  await browser.context.clearCookies();
  await page.goto("about:blank");
  await signIn(page, service.origin);
  const forgotten = item("web-1");
  await forgotten.getByText(/runs for 3 d.* without auto-stop/).waitFor();
  const [row] = (await service.get("/overview")).long_running;
  const credits = new Intl.NumberFormat("en-GB").format(Math.floor(row.credits_micros / 1e6));
  await forgotten.getByText(`${credits} credits`).waitFor();
  assert.ok(row.credits_micros > 2000e6, `${row.credits_micros}`);
  assert.deepEqual(await violations(page), []);
  await forgotten.getByRole("button", { name: "Stop web-1" }).click();
  await dialog().getByRole("button", { name: "Stop computer" }).click();
  await until(
    async () => (await service.get(`/computers/${computer.id}`)).status === "stopped",
    "the stop",
  );
  await forgotten.waitFor({ state: "detached" });
});

test("caps, budgets, domains and webhooks in trouble, each with where to go", async () => {
  await service.put(`/workspaces/${workspace.id}/settings`, { max_computers: 1 });
  await service.put(`/workspaces/${workspace.id}/budget`, { credits: 10, period: "month" });
  await service.put(`/workspaces/${workspace.id}/preview-domain`, {
    preview_domain: "clinic.example",
  });
  await home();
  await item("is at its limit: 1 of 1 computer").getByRole("link", { name: "Limits" }).click();
  await page.locator(`main[data-path="/workspaces/${workspace.id}/settings"]`).waitFor();
  await home();
  await item("budget used up").waitFor();
  await item("clinic.example").getByRole("link", { name: "Records" }).click();
  await page.locator(`main[data-path="/workspaces/${workspace.id}/domain"]`).waitFor();
});

test("the month, its forecast, and the budget with the day it is used up", async () => {
  const { month } = await service.get("/overview");
  const used = Math.floor(month.used_micros / 1e6);
  const credits = used + Math.floor((month.forecast_micros - month.used_micros) / 2e6);
  await service.put("/tenant/budget", { credits, period: "month" });
  await home();
  const shown = (n) => new Intl.NumberFormat("en-GB").format(n);
  await tile("Credits this month").getByText(shown(used), { exact: true }).waitFor();
  await tile("Forecast for the month")
    .getByText(shown(Math.floor(month.forecast_micros / 1e6)), { exact: true })
    .waitFor();
  const budget = await service.get("/tenant/budget");
  if (budget.used_up_on) await tile("Budget").getByText("used up on").waitFor();
  assert.match(
    await tile("Budget").locator(".bar").getAttribute("aria-label"),
    new RegExp(`^${budget.used_percent} % of the budget`),
  );
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
