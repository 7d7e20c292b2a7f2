import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

let service, browser, page;
before(async () => {
  service = await startService();
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

test("the root leads to the page, which asks for a key", async () => {
  await page.goto(service.origin);
  assert.equal(page.url(), `${service.origin}/admin`);
  await page.getByRole("heading", { name: "Sign in to workspaced" }).waitFor();
  assert.equal(
    await page.getByRole("button", { name: /msk_u_dev/ }).count(),
    0,
    "outside development mode no key is offered",
  );
});

test("a wrong key is refused at its field", async () => {
  await page.getByLabel("API key").fill("msk_u_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page
    .getByRole("alert")
    .filter({ hasText: "unknown, revoked, replaced or expired" })
    .waitFor();
  await page.getByText(/Request req_/).waitFor();
});

test("after a few wrong keys it has to wait, and says how long", async () => {
  for (let i = 0; i < 6; i++) {
    await page.getByLabel("API key").fill(`msk_u_wrong${i}`);
    const answered = page.waitForResponse("**/admin/session");
    await page.getByRole("button", { name: "Sign in" }).click();
    if ((await answered).status() === 429) break;
  }
  await page
    .getByRole("alert")
    .filter({ hasText: /too many wrong keys/ })
    .waitFor();
  await page.getByText(/Try again in \d+ s/).waitFor();
  // The wait of the first refusal is two seconds.
  await until(
    async () =>
      (
        await fetch(`${service.origin}/admin/session`, {
          method: "POST",
          body: JSON.stringify({ key: service.key }),
          headers: {
            "content-type": "application/json",
            "x-workspaced-admin": "1",
            origin: service.origin,
          },
        })
      ).ok,
    "the end of the wait",
    70_000,
  );
});

test("the right key opens the page, and no script can read the cookie", async () => {
  await page.goto(`${service.origin}/admin#/workspaces?q=default`);
  await page.reload();
  await page.getByLabel("API key").fill(service.key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Workspaces" }).waitFor();
  await page.getByRole("link", { name: "default" }).waitFor();
  assert.equal(await page.evaluate(() => document.cookie), "");
  const [cookie] = await browser.context.cookies();
  assert.deepEqual(
    [cookie.name, cookie.httpOnly, cookie.sameSite],
    [`workspaced_session_${new URL(service.origin).port}`, true, "Strict"],
  );
  const kept = await page.evaluate(() =>
    JSON.stringify([
      { ...localStorage },
      { ...sessionStorage },
      document.documentElement.outerHTML,
    ]),
  );
  assert.ok(!kept.includes(service.key), "the key is nowhere in the page");
  assert.ok(!(await page.content()).includes(service.key.slice(14)), "nor a part of it");
});

test("the session outlives a reload, and a filter is in the address", async () => {
  await page.reload();
  await page.getByRole("link", { name: "default" }).waitFor();
  assert.equal(await page.getByRole("searchbox").inputValue(), "default");
  await page.getByRole("searchbox").fill("nothing of that name");
  await page.getByText("Nothing matches").waitFor();
  assert.match(page.url(), /q=nothing\+of\+that\+name/);
});

test("a page of another origin cannot use the session", async () => {
  const status = await page.evaluate(
    async () => (await fetch("/api/v1/whoami", { credentials: "same-origin" })).status,
  );
  assert.equal(status, 200, "the browser itself proves where it comes from");
  const [cookie] = await browser.context.cookies();
  const forged = await fetch(`${service.origin}/api/v1/workspaces`, {
    method: "POST",
    body: '{"name":"x"}',
    headers: {
      cookie: `${cookie.name}=${cookie.value}`,
      origin: "http://evil.test",
      "content-type": "application/json",
    },
  });
  assert.equal(forged.status, 403);
});

test("signing out ends it, here and for the cookie", async () => {
  const [cookie] = await browser.context.cookies();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You have signed out.").waitFor();
  assert.equal((await browser.context.cookies()).length, 0);
  const again = await fetch(`${service.origin}/api/v1/whoami`, {
    headers: { cookie: `${cookie.name}=${cookie.value}`, "x-workspaced-admin": "1" },
  });
  assert.equal(again.status, 401);
});

test("a revoked key ends the session where it is, and the address stays", async () => {
  const made = (await service.post("/api-keys", { name: "brief" })).data;
  await page.goto(`${service.origin}/admin#/projects`);
  await page.getByLabel("API key").fill(made.key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Projects", level: 1 }).waitFor();
  await service.call("DELETE", `/api-keys/${made.id}`);
  // By the address: the end of the stream may have told the page before.
  await page.goto(`${service.origin}/admin#/workspaces`);
  await page.getByText("The session is over.").waitFor();
  await page.getByLabel("API key").fill(service.key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Workspaces", level: 1 }).waitFor();
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
