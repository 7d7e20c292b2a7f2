// The page below a path, as behind a proxy that serves other things beside it.

import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { after, before, test } from "node:test";
import { startBrowser } from "./lib/browser.js";
import { startService } from "./lib/service.js";

/** Passes on what is asked below the path; everything else is somebody else's. */
function startProxy(path) {
  const proxy = { backend: null, astray: [] };
  const server = createServer((asked, reply) => {
    if (!asked.url.startsWith(`${path}/`)) {
      proxy.astray.push(asked.url);
      return reply.writeHead(404).end();
    }
    const { hostname, port } = new URL(proxy.backend);
    const headers = { ...asked.headers, host: `${hostname}:${port}` };
    const passed = request({ hostname, port, path: asked.url, method: asked.method, headers });
    passed.on("response", (from) => from.pipe(reply.writeHead(from.statusCode, from.headers)));
    passed.on("error", () => reply.destroy());
    reply.on("close", () => passed.destroy());
    asked.pipe(passed);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      proxy.url = `http://127.0.0.1:${server.address().port}${path}`;
      proxy.stop = () => {
        server.closeAllConnections();
        server.close();
      };
      resolve(proxy);
    });
  });
}

let proxy, service, browser, page;
before(async () => {
  proxy = await startProxy("/workspaced");
  service = await startService("--public-url", proxy.url);
  proxy.backend = service.origin;
  browser = await startBrowser();
  browser.only(new URL(proxy.url).origin);
  page = await browser.page();
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  proxy?.stop();
});

test("below a path one signs in, works, and is told what others do", async () => {
  await page.goto(`${proxy.url}/`);
  assert.equal(page.url(), `${proxy.url}/admin`);
  await page.getByLabel("API key").fill(service.key);
  await page.keyboard.press("Enter");
  await page.locator("body.signed-in").waitFor();
  await page.goto(`${proxy.url}/admin#/workspaces`);
  await page.getByRole("link", { name: "default" }).waitFor();
  await service.post("/workspaces", { name: "Seen live" });
  await page.getByRole("link", { name: "Seen live" }).waitFor();
  await page.getByRole("link", { name: "Seen live" }).click();
  const csv = page.getByRole("link", { name: "CSV" }).first();
  await csv.waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), csv.click()]);
  assert.equal(await download.failure(), null);
});

test("the reference and the manual are below it, too", async () => {
  await page.goto(`${proxy.url}/docs`);
  await page.getByRole("heading", { name: "Who this key is" }).waitFor();
  await page.getByText(`${proxy.url}/api/v1/`).first().waitFor();
  await page.getByRole("link", { name: "Manual" }).first().click();
  await page.waitForURL(`${proxy.url}/docs/manual`);
  await page.getByRole("searchbox").fill("whoami");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${proxy.url}/docs/manual?q=whoami`);
});

test("nothing asked for anything outside, and no error in the console", () => {
  assert.deepEqual(proxy.astray, []);
  assert.deepEqual(browser.faults, []);
});
