// What the page says in words: numbers with their nouns, lengths of time, names instead of ids, sums that add up.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openScreen, signIn, startBrowser } from "./lib/browser.js";
import { startService } from "./lib/service.js";

let service, browser, page, computer;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  computer = await service.post("/computers", { name: "front-desk" });
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const open = (hash) => openScreen(page, service.origin, hash);
/** Calls a function of a module of the page. */
const inPage = (name, ...given) =>
  page.evaluate(
    async ([name, given]) =>
      (await import(new URL("assets/lib/format.js", document.baseURI).href))[name](...given),
    [name, given],
  );

test("one of a thing is no plural", async () => {
  assert.equal(await inPage("counted", "1"), "1 credit");
  assert.equal(await inPage("counted", "1.5"), "1.5 credits");
  assert.equal(await inPage("count", 1, "difference"), "1 difference");
  // Nobody puts a number that may be 1 before a plural by hand: limits that are named stay as they are, as do
  // the lines of statements, which are never changed.
  const ALLOWED =
    /MAX_|MOST|LONGEST|DAYS|credits\/h|are called|\) with \{\} computers|that ran at the export|restored, with|a month"|n === 366|amount\(|Included|for \{\} minutes|than in the month/;
  const PLURAL =
    /\{[^{}"]*\} (credits|computers|workspaces|projects|events|days|hours|keys|rows|organizations|differences|corrections|intervals|statements)\b/;
  const found = [];
  for (const place of ["../../assets", "../../src"])
    for (const name of await readdir(join(import.meta.dirname, place), { recursive: true })) {
      if (!/\.(js|rs)$/.test(name)) continue;
      const text = await readFile(join(import.meta.dirname, place, name), "utf8");
      for (const line of text.split("\n"))
        if (PLURAL.test(line) && !/^\s*(\/\/|\*|\/\*\*)/.test(line) && !ALLOWED.test(line))
          found.push(`${name}: ${line.trim()}`);
    }
  assert.deepEqual(found, []);
});

test("what has happened is never ahead, whatever the clocks say", async () => {
  const text = (name, ms) =>
    page.evaluate(
      async ([name, ms]) => {
        const format = await import(new URL("assets/lib/format.js", document.baseURI).href);
        return format[name](new Date(Date.now() + ms).toISOString()).textContent;
      },
      [name, ms],
    );
  assert.equal(await text("ago", 3000), "just now");
  assert.equal(await text("ago", 3 * 60_000), "just now");
  assert.equal(await text("ago", -3 * 60_000), "3 minutes ago");
  assert.equal(await text("until", 3000), "in a moment");
});

test("whole credits of parts add up to those of the whole", async () => {
  const thirds = [400_000, 400_000, 400_000, 900_000, 3_900_000];
  assert.deepEqual(await inPage("shares", thirds, 6_000_000), [1, 0, 0, 1, 4]);
  assert.deepEqual(await inPage("shares", [5_000_000, 0], 5_000_000), [5, 0]);
  // Also with a refund.
  const parts = await inPage("shares", [-1_500_000, 2_700_000], 1_200_000);
  assert.equal(parts[0] + parts[1], 1);
});

test("what a form refuses is said in its own words", async () => {
  await open(`/workspaces/${computer.workspace_id}/settings`);
  const refusal = page.locator(".field-error:not(:empty)");
  const save = page.getByRole("button", { name: "Save settings" });
  await page.getByLabel(/^Default idle auto-stop/).fill("99 d");
  await save.click();
  await refusal.first().waitFor();
  assert.match(await refusal.first().innerText(), /must be never to 30 d$/);
  // Who asks about it finds by which number.
  assert.match(await refusal.first().getAttribute("title"), /request req_/);
  await page.getByLabel(/^Default idle auto-stop/).fill("never");
  await page.getByLabel(/^Maximum computers/).fill("-1");
  await save.click();
  await page.waitForFunction(() =>
    document.querySelector(".field-error:not(:empty)")?.innerText.includes("Maximum computers"),
  );
  assert.equal(
    await refusal.first().innerText(),
    "Maximum computers must be 0 or more; empty: no cap",
  );
});

test("whatever happened, the log names what it happened to", async () => {
  const kinds = (await service.get("/webhooks/events")).data.map(
    (one) => one.type ?? one.name ?? one,
  );
  const [key] = (await service.get("/api-keys")).data;
  const hook = await service.post("/webhooks", { url: "https://example.com/in", events: ["*"] });
  const [sample] = (await service.get("/audit-log?limit=1")).data;
  const ids = {
    workspace: computer.workspace_id,
    project: computer.project_id,
    computer: computer.id,
    api_key: key.id,
    webhook: hook.data?.id ?? hook.id,
  };
  assert.ok(kinds.length > 60, `${kinds.length} kinds`);
  const rows = kinds.map((type, n) => {
    const resource = type.split(".")[0];
    const inside = ["workspace", "project", "computer", "usage", "statement"].includes(resource);
    // What goes has shown what it was; a backup has its file's name.
    const last = /\.(deleted|revoked)$/.test(type) ? { name: "What was there" } : null;
    return {
      ...sample,
      id: String(1000 + n),
      type,
      resource_type: resource,
      resource_id: ids[resource] ?? sample.tenant_id,
      workspace_id: inside ? computer.workspace_id : null,
      metadata: { before: last, after: resource === "backup" ? { name: "a.db" } : null },
    };
  });
  await page.route(/\/audit-log\?/, (route) =>
    route.fulfill({ json: { data: rows, next_cursor: null } }),
  );
  await page.setViewportSize({ width: 1280, height: 60 * rows.length });
  await open("/activity");
  const bare = () =>
    page.locator("main tbody tr").evaluateAll((list) =>
      list
        .filter((tr) => {
          const cell = tr.children[1];
          return cell.querySelector("code") || cell.textContent.trim().length < 3;
        })
        .map((tr) => tr.textContent),
    );
  for (let i = 0; i < 100 && (await bare()).length; i++) await page.waitForTimeout(100);
  assert.deepEqual(await bare(), []);
  const low = page.locator("tbody tr").filter({ hasText: "Credits low" });
  const own = (await service.get("/platform/tenants")).data.find(
    (one) => one.id === sample.tenant_id,
  );
  assert.equal(await low.locator("td, th").nth(1).textContent(), own.name);
  await page.unroute(/\/audit-log\?/);
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
