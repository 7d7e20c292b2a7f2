import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService } from "./lib/service.js";

let dir, service, browser, page;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), "workspaced-backups-"));
  service = await startService("--dev", "--backup-dir", dir, "--backup-every", "0s");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  await rm(dir, { recursive: true, force: true });
});

test("a backup by clicking", async () => {
  await page.goto(`${service.origin}/admin#/system`);
  await page.getByText("None yet.").waitFor();
  await page.getByRole("button", { name: "Back up now" }).click();
  await page.getByText(/Backup workspaced-\S+\.db was made/).waitFor();
  await page.getByRole("row", { name: /workspaced-\S+\.db/ }).waitFor();
  assert.equal((await readdir(dir)).filter((name) => name.endsWith(".db")).length, 1);
  assert.deepEqual(await violations(page), []);
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
