// A page of another site whose owner lets its name lead to this machine: for the browser it is the same
// origin as a service in development mode, where everybody knows the key.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { FLAGS, startBrowser } from "./lib/browser.js";
import { startService } from "./lib/service.js";

const NAME = "evil.test";
let service, browser, page, port;
before(async () => {
  service = await startService("--dev");
  port = new URL(service.origin).port;
  browser = await startBrowser({
    args: [
      ...FLAGS,
      `--host-resolver-rules=MAP ${NAME} 127.0.0.1`,
      // Not every browser keeps pages of the internet from asking this machine, nor for ever.
      "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
    ],
  });
  page = await browser.page();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

/** Opens a page that was loaded from this origin before its name led here. */
async function open(origin) {
  await page.route(`${origin}/page`, (route) =>
    route.fulfill({ contentType: "text/html", body: "<title>a page</title>" }),
  );
  await page.goto(`${origin}/page`);
  // While requests are intercepted, the answers to preflights are made up.
  await page.unroute(`${origin}/page`);
}

/** What the page is answered: statuses, or that the browser did not let it ask. */
const operate = (base) =>
  page.evaluate(async (base) => {
    const key = { authorization: "Bearer msk_u_dev", "content-type": "application/json" };
    const admin = { "content-type": "application/json", "x-workspaced-admin": "1" };
    const asked = [
      ["GET", "/api/v1/whoami", key],
      ["POST", "/api/v1/api-keys", key, '{"name":"stolen"}'],
      ["POST", "/api/v1/webhooks", key, '{"url":"http://127.0.0.1:1/","events":["*"]}'],
      ["POST", "/admin/session", admin, '{"key":"msk_u_dev"}'],
      ["GET", "/admin", {}],
      ["GET", "/metrics", {}],
      ["GET", "/health", {}],
      ["GET", "/_dev/clock", {}],
      ["POST", "/_dev/snapshots", admin, '{"name":"theirs"}'],
    ];
    const answers = {};
    for (const [method, path, headers, body] of asked)
      answers[`${method} ${path}`] = await fetch(base + path, { method, headers, body })
        .then((answer) => answer.status)
        .catch(() => "refused by the browser");
    return answers;
  }, base);

test("a page of this machine's own name is answered", async () => {
  await open(service.origin);
  const answers = await operate("");
  assert.equal(answers["GET /api/v1/whoami"], 200);
  assert.equal(answers["GET /metrics"], 200);
  assert.equal(answers["GET /health"], 200);
});

test("a page of another name that leads here operates nothing", async () => {
  await page.context().clearCookies();
  const before = await service.get("/api-keys");
  const webhooks = await service.get("/webhooks");
  await open(`http://${NAME}:${port}`);
  // It is this service that the name leads to, and it says why it does not answer.
  const why = await page.evaluate(() => fetch("/api/v1/whoami").then((answer) => answer.text()));
  assert.match(why, /--dev-host/);
  for (const [request, status] of Object.entries(await operate("")))
    assert.equal(status, 403, request);
  assert.deepEqual(await page.context().cookies(), []);
  assert.equal((await service.get("/api-keys")).total, before.total);
  assert.equal((await service.get("/webhooks")).total, webhooks.total);
});

test("nor does it with the address of this machine", async () => {
  const before = await service.get("/api-keys");
  await open(`http://${NAME}:${port}`);
  for (const [request, status] of Object.entries(await operate(service.origin)))
    assert.notEqual(status, 200, request);
  assert.equal((await service.get("/api-keys")).total, before.total);
});
