// Signing in by name: with a real provider, in a real browser.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { startBrowser } from "./lib/browser.js";
import { CLIENT, SECRET, startProvider } from "./lib/provider.js";
import { startService } from "./lib/service.js";

let service, browser, page, provider, origin, callback;

/** A port that was free a moment ago: the provider has to know the address before the service is there. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const flags = (port) => [
  ...["--listen", `127.0.0.1:${port}`, "--public-url", `http://127.0.0.1:${port}`],
  ...["--oidc-issuer", provider.issuer, "--oidc-client-id", CLIENT],
  ...["--oidc-scopes", "openid email profile roles", "--oidc-role", "staff=admin"],
];

before(async () => {
  const port = await freePort();
  origin = `http://127.0.0.1:${port}`;
  provider = await startProvider(`${origin}/admin/oidc/callback`, {
    ada: { name: "Ada Lovelace", email: "ada@example.com", roles: ["staff"] },
    mallory: { name: "Mallory", email: "mallory@example.com", roles: ["guests"] },
  });
  process.env.WORKSPACED_OIDC_CLIENT_SECRET = SECRET;
  service = await startService(...flags(port));
  browser = await startBrowser();
  browser.only(origin, provider.issuer);
  page = await browser.page();
  page.on("request", (request) => {
    if (request.url().startsWith(`${origin}/admin/oidc/callback`)) callback = request.url();
  });
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  await provider?.stop().catch(() => {});
});

const byName = () => page.getByRole("link", { name: /^Sign in with 127\.0\.0\.1/ });
async function logIn(name) {
  await byName().click();
  await page.getByLabel("Name").fill(name);
  await page.getByRole("button", { name: "Log in" }).click();
}

test("a person signs in and is where the address was", async () => {
  await page.goto(`${origin}/admin#/workspaces?q=clinic`);
  await byName().waitFor();
  assert.deepEqual(await violations(page), []);
  await logIn("ada");
  await page.getByRole("heading", { name: "Workspaces" }).waitFor();
  assert.equal(await page.getByRole("searchbox").inputValue(), "clinic");
  assert.match(
    await page.getByRole("button", { name: "Sign out" }).getAttribute("title"),
    /Ada Lovelace/,
  );
  const cookies = (await browser.context.cookies(origin)).filter(({ name }) =>
    name.startsWith("workspaced_"),
  );
  assert.deepEqual(
    cookies.map(({ httpOnly, sameSite }) => [httpOnly, sameSite]),
    [[true, "Strict"]],
    "what tied the attempt to this browser is gone",
  );
  assert.equal(await page.evaluate(() => document.cookie), "");
});

test("who deleted it is a person", async () => {
  const made = await service.post("/workspaces", { name: "Closed clinic" });
  await page.goto(`${origin}/admin#/workspaces/${made.id}/settings`);
  const status = await page.evaluate(
    (id) =>
      fetch(`/api/v1/workspaces/${id}`, {
        method: "DELETE",
        headers: { "X-Workspaced-Admin": "1" },
      }).then((response) => response.status),
    made.id,
  );
  assert.equal(status, 200);
  await page.goto(`${origin}/admin#/activity`);
  const row = page.getByRole("row").filter({ hasText: "Workspace deleted" });
  await row.getByText("Ada Lovelace").waitFor();
  await row.getByRole("button", { name: "Workspace deleted" }).click();
  await page.getByRole("dialog").getByText("ada@example.com").first().waitFor();
  await page.keyboard.press("Escape");
  await page.goto(`${origin}/admin#/keys`);
  const person = page.getByRole("row").filter({ hasText: "Ada Lovelace" });
  await person.getByText("signs in by name").waitFor();
  assert.equal(await person.getByRole("button", { name: /Rotate/ }).count(), 0);
});

test("the way back, gone once more, signs nobody in", async () => {
  const other = await page.goto(callback);
  assert.equal(other.status(), 400);
  await page.getByText("not begun in this browser").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: "Back to the sign-in page" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You have signed out.").waitFor();
});

test("who has no role is told so, and by whom one is given", async () => {
  await browser.context.clearCookies();
  await page.goto(`${origin}/admin`);
  await logIn("mallory");
  await page.getByText(/Mallory \(mallory@example\.com\) .* has no role here/).waitFor();
  const shown = await service.get("/audit-log?type=organization.sign_in_failed");
  assert.equal(shown.data[0].metadata.after.person.subject, "mallory");
  await page.getByRole("link", { name: "Back to the sign-in page" }).click();
  await page.getByRole("heading", { name: "Sign in to workspaced" }).waitFor();
});

test("a provider that signs with a new key is believed", async () => {
  provider.rotate();
  await browser.context.clearCookies();
  await page.goto(`${origin}/admin`);
  await logIn("ada");
  await page.locator('#main[data-path="/"]').waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You have signed out.").waitFor();
});

test("while the provider is down, a key still signs in", async () => {
  await provider.stop();
  // What is known of a provider is believed for an hour: a service that has just been started knows nothing.
  const port = await freePort();
  const lone = await startService(...flags(port));
  try {
    const at = `http://127.0.0.1:${port}`;
    browser.only(at);
    await page.goto(`${at}/admin`);
    await byName().click();
    await page.getByText("cannot be used now: it refused the connection").waitFor();
    assert.deepEqual(await violations(page), []);
    await page.getByRole("link", { name: "Back to the sign-in page" }).click();
    await page.getByLabel("API key").fill(lone.key);
    await page.keyboard.press("Enter");
    await page.locator('#main[data-path="/"]').waitFor();
  } finally {
    // A page that is left asks nobody who has gone.
    await page.goto("about:blank");
    await lone.stop();
  }
});

test("no page asked anybody else, and none complained", () => {
  assert.deepEqual(browser.faults, []);
});
