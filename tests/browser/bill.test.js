import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

// A month that is over, and some days of the next one in which something became dearer.
let service, browser, page, clinic, other, month;
const at = (months, day) => {
  const date = new Date();
  date.setUTCHours(0, 0, 0, 0);
  date.setUTCDate(1);
  date.setUTCMonth(date.getUTCMonth() + months, day);
  return date.toISOString();
};
async function clock(now) {
  const response = await fetch(`${service.origin}/_dev/clock`, {
    method: "POST",
    headers: { authorization: `Bearer ${service.key}`, "content-type": "application/json" },
    body: JSON.stringify({ now }),
  });
  assert.equal(response.status, 200, await response.text());
}
before(async () => {
  service = await startService("--dev", "--provision-ms", "0", "--stop-ms", "0");
  browser = await startBrowser({ acceptDownloads: true });
  browser.only(service.origin);
  page = await browser.page();
  month = at(1, 1).slice(0, 7);
  await clock(at(1, 2));
  clinic = await service.post("/workspaces", { name: "Sunrise Radiology" });
  other = await service.post("/workspaces", { name: "Harbor Dental" });
  for (const [name, size, workspace] of [
    ["reader", "small", clinic],
    ["front-desk", "xs", other],
  ])
    await service.post("/computers", {
      name,
      size,
      workspace_id: workspace.id,
      auto_stop_seconds: 0,
    });
  await clock(at(2, 3));
  await service.post("/computers", {
    name: "gpu-retrain",
    size: "xl",
    workspace_id: clinic.id,
    auto_stop_seconds: 0,
  });
  await clock(at(2, 5));
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const dialog = () => page.getByRole("dialog");
const row = (name) => page.getByRole("row", { name });
async function open(hash) {
  await page.goto("about:blank");
  await page.goto(`${service.origin}/admin#${hash}`);
  await page.locator(`main[data-path="${hash.split("?")[0]}"] h1`).waitFor();
  await page.waitForFunction(
    () => !document.querySelector("main [aria-busy=true], main .skeleton"),
  );
}
async function download(link) {
  const [file] = await Promise.all([page.waitForEvent("download"), link.click()]);
  return { name: file.suggestedFilename(), body: await readFile(await file.path()) };
}

test("why it costs more: the computers that make the difference, the largest first", async () => {
  await open(`/workspaces/${clinic.id}/bill`);
  const first = page.getByRole("group", { name: "Differences by computer" }).locator("tbody tr");
  await first.first().waitFor();
  // Two days of an xl, against nothing: 48 h of 240.
  assert.match(await first.first().textContent(), /gpu-retrain.*11,520.*\+11,520/);
  assert.match(await first.nth(1).textContent(), /reader/);
  assert.deepEqual(await violations(page), []);
  // And what happened to it.
  await page.getByRole("button", { name: "Why gpu-retrain" }).click();
  const events = dialog().getByRole("group", { name: "Events" }).locator("tbody tr");
  await events.first().waitFor();
  assert.match(await events.first().textContent(), /started|running/);
  assert.match(await events.first().textContent(), /240/);
  assert.deepEqual(await violations(page), []);
  await page.keyboard.press("Escape");
});

test("a price list and a budget by their forms", async () => {
  await open("/billing");
  await page.locator("[data-key=prices]").click();
  await dialog().getByLabel("Currency").fill("EUR");
  await dialog().getByLabel("Price of a credit").fill("0.01");
  await dialog().getByLabel("Tax, percent").fill("twenty");
  await dialog().getByLabel("Holds from").fill(month);
  await dialog().getByRole("button", { name: "Save prices" }).click();
  await dialog()
    .getByText(/Tax, percent must be/)
    .waitFor();
  await dialog().getByLabel("Tax, percent").fill("20");
  await dialog().getByRole("button", { name: "Save prices" }).click();
  await page.getByText("0.01", { exact: true }).waitFor();
  const { effective } = await service.get("/tenant/prices");
  assert.deepEqual([effective.currency, effective.tax_rate], ["EUR", "20"]);

  await open(`/workspaces/${clinic.id}/bill`);
  await page.getByRole("button", { name: "Set a budget…" }).click();
  await dialog().getByLabel("Credits").fill("20000");
  await dialog().getByLabel("When it is used up").selectOption("refuse_start");
  await dialog().getByLabel("Tell at, percent").fill("75 %, 100");
  await dialog().getByRole("button", { name: "Save budget" }).click();
  await page.getByText(/of 20,000 credits; used up on/).waitFor();
  const budget = await service.get(`/workspaces/${clinic.id}/budget`);
  assert.deepEqual(
    [budget.credits, budget.on_exceeded, budget.notify_at],
    [20000, "refuse_start", [75, 100]],
  );
  // And on the overview it is something to look at.
  await open("/");
  await page
    .locator(".attention li")
    .filter({ hasText: "budget will be used up on" })
    .getByRole("link", { name: "Why" })
    .click();
  await page.locator(`main[data-path="/workspaces/${clinic.id}/bill"]`).waitFor();
});

test("fees and prices by the hour, a line each", async () => {
  await open(`/workspaces/${other.id}/bill`);
  await page.locator("[data-key=prices]").click();
  await dialog().getByLabel("Fixed monthly fees").fill("Support 9.90\nOne-off visit: 5");
  await dialog().getByLabel("Price of an hour, by size").fill("xs a lot");
  await dialog().getByLabel("Holds from").fill(month);
  await dialog().getByRole("button", { name: "Save prices" }).click();
  await dialog()
    .getByText(/Price of an hour, by size must be/)
    .waitFor();
  await dialog().getByLabel("Price of an hour, by size").fill("xs 0.20");
  await dialog().getByRole("button", { name: "Save prices" }).click();
  await page.getByText("Support 9.90").waitFor();
  const { data } = await service.get(`/workspaces/${other.id}/prices`);
  assert.deepEqual(data[0].fees, [
    { name: "Support", amount: "9.90" },
    { name: "One-off visit", amount: "5" },
  ]);
  assert.deepEqual(data[0].price_per_hour, { xs: "0.2" });
});

test("credits per hour are agreed with a workspace, and taken back", async () => {
  await open(`/workspaces/${other.id}/bill`);
  await page.locator("[data-key=rates]").click();
  await dialog().getByLabel("small").fill("much");
  await dialog().getByRole("button", { name: "Set rates" }).click();
  await dialog()
    .getByText(/must be/)
    .first()
    .waitFor();
  await dialog().getByLabel("small").fill("25");
  await dialog().getByLabel("Holds from").fill(at(3, 1).slice(0, 10));
  await dialog().getByRole("button", { name: "Set rates" }).click();
  const ahead = page.getByRole("group", { name: "Rates that lie ahead" });
  await ahead.getByText("25", { exact: true }).waitFor();
  const path = `/workspaces/${other.id}/rates`;
  assert.equal((await service.get(path)).data[0].rate, 25);
  assert.deepEqual(await violations(page), []);
  await ahead.getByRole("button", { name: "Take back small" }).click();
  await ahead.waitFor({ state: "detached" });
  assert.deepEqual((await service.get(path)).data, []);
  await page.locator("[data-key=rates]").click();
  await dialog().getByLabel("large").fill("100");
  await dialog().getByRole("button", { name: "Set rates" }).click();
  await row(/large 100 agreed for this workspace/).waitFor();
});

test("a link for the customer: made, opened, revoked", async () => {
  await open(`/workspaces/${other.id}/bill`);
  await page.locator("[data-key=share]").click();
  await dialog().getByLabel("For", { exact: false }).first().fill("Dr. Smith");
  await dialog().getByLabel("Preview domain").uncheck();
  await dialog().getByRole("button", { name: "Make link" }).click();
  const secret = await dialog().locator(".secret code").textContent();
  assert.match(secret, /\/share\//);
  await page.getByRole("button", { name: "I have saved it" }).click();
  await row(/Dr\. Smith .*never/).waitFor();
  const seen = await fetch(`${service.origin}${new URL(secret).pathname}`);
  assert.equal(seen.status, 200);
  await open(`/workspaces/${other.id}/bill`);
  await row(/Dr\. Smith/).waitFor();
  assert.equal(await row(/Dr\. Smith .*never/).count(), 0);
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Revoke the link for Dr. Smith" }).click();
  await dialog().getByRole("button", { name: "Revoke link" }).click();
  await row(/Dr\. Smith/).waitFor({ state: "detached" });
  assert.notEqual((await fetch(`${service.origin}${new URL(secret).pathname}`)).status, 200);
});

test("history comes in after it was rehearsed", async () => {
  await open(`/workspaces/${other.id}/bill`);
  const place = page.locator("details").filter({ hasText: "Bring in a table" });
  await place.locator("summary").click();
  await place.getByLabel("Table").fill("id,computer\nold-1,pc");
  await page.locator("[data-key=history]").click();
  await place.getByText(/size must be one of/).waitFor();
  const table =
    "id,computer,project,size,from,to,rate\n" +
    "old-1,front desk,,small,2025-11-30T23:00:00Z,2025-12-01T02:00:00Z,30\n";
  await place
    .getByLabel("Or a file")
    .setInputFiles({ name: "old.csv", mimeType: "text/csv", buffer: Buffer.from(table) });
  await page.locator("[data-key=history]").click();
  await place.getByText("would come in").waitFor();
  await place.getByRole("row", { name: /December 2025/ }).waitFor();
  const used = async () =>
    (await service.get(`/workspaces/${other.id}/usage?period=2025-12`)).total_credits_micros;
  assert.equal(await used(), 0, "only rehearsed");
  assert.deepEqual(await violations(page), []);
  await place.getByRole("button", { name: "Bring in 1 interval" }).click();
  await place.getByText(/came in/).waitFor();
  assert.equal(await used(), 60_000_000);
});

test("what a cap refused is told where it is set", async () => {
  const path = `/workspaces/${other.id}/settings`;
  await service.put(path, { max_computers: 1 });
  for (let n = 0; n < 3; n += 1)
    await assert.rejects(
      service.post("/computers", { name: `more-${n}`, size: "xs", workspace_id: other.id }),
    );
  await open(path);
  await page.getByText("refused, most by max_computers").waitFor();
  await row(/max_computers workspace POST \/computers 1 3/).waitFor();
  assert.deepEqual(await violations(page), []);
  await service.put(path, { max_computers: null });
  await open("/billing");
  await row(/max_computers workspace/).waitFor();
});

test("the statement of one month: made, read, downloaded", async () => {
  await open(`/workspaces/${clinic.id}/bill`);
  await page.getByRole("button", { name: "Make the statement" }).click();
  const lines = page.getByRole("group", { name: "Lines" });
  await lines.waitFor();
  const [made] = (await service.get(`/workspaces/${clinic.id}/statements`)).data;
  assert.equal(made.period, month);
  const whole = await service.get(`/workspaces/${clinic.id}/statements/${made.number}`);
  assert.equal(await lines.locator("tbody tr").count(), whole.lines.length);
  await page.locator("#statement .facts").getByText(`${whole.total} EUR`).waitFor();
  assert.deepEqual(await violations(page), []);
  const pdf = await download(page.locator("#statement").getByText("PDF"));
  assert.match(pdf.name, new RegExp(`^statement-${made.number}-${month}\\.pdf$`));
  assert.equal(pdf.body.subarray(0, 5).toString(), "%PDF-");
  const csv = await download(page.locator("#statement").getByText("CSV"));
  assert.match(csv.body.toString(), /reader/);
  assert.match(page.url(), new RegExp(`statement=${made.number}`));
});

test("a month is closed for all customers, and handed out as one file", async () => {
  await open("/billing");
  await page.getByRole("button", { name: "Close the month for all customers" }).click();
  await page.getByText(/is closed: 1 new statement\./).waitFor();
  await row(/Harbor Dental/).waitFor();
  await row(/Sunrise Radiology/).waitFor();
  assert.equal((await service.get(`/statements?period=${month}`)).total, 2);
  const zip = await download(page.getByText("All PDFs"));
  assert.equal(zip.body.subarray(0, 2).toString(), "PK");
  const csv = await download(page.getByText("All as CSV"));
  assert.match(csv.body.toString(), /Harbor Dental/);
  assert.deepEqual(await violations(page), []);
  await row(/Harbor Dental/)
    .getByRole("link", { name: "Harbor Dental" })
    .click();
  await page.locator("#statement").waitFor();
});

test("usage of a month by its name, and of one part by the legend", async () => {
  await open(`/workspaces/${clinic.id}/usage?group_by=computer`);
  await page.getByRole("radio", { name: "Last month" }).check();
  const last = await service.get(
    `/workspaces/${clinic.id}/usage?window=last_month&tz=Europe/Budapest`,
  );
  const shown = new Intl.NumberFormat("en-GB").format(last.total_credits_used);
  await page.locator(".totals b").getByText(shown, { exact: true }).waitFor();
  await page.getByLabel("Month", { exact: true }).selectOption(month);
  await until(() => page.url().includes(`period=${month}`), "the address");
  await page.locator(".totals b").getByText(shown, { exact: true }).waitFor();
  await page.getByRole("radio", { name: "This month" }).check();
  const part = page.locator(".legend").getByRole("button", { name: /gpu-retrain/ });
  await part.click();
  await page
    .locator("figcaption .hint")
    .getByText(/^11,5\d\d credits/)
    .waitFor();
  assert.equal(await part.getAttribute("aria-pressed"), "true");
  assert.match(page.url(), /only=/);
  assert.deepEqual(await violations(page), []);
  await part.click();
  await until(() => !page.url().includes("only="), "all parts again");
});

test("limits are written as people say them, with what they would do", async () => {
  await open(`/workspaces/${clinic.id}/settings`);
  await page.getByLabel("Maximum computers").fill("1");
  await page.getByText("Saved like this, 1 computer would be over the cap").waitFor();
  await page.getByLabel("Maximum computers").fill("5");
  await page.getByText("Saved like this, 3 computers may still be created").waitFor();
  await page.getByLabel("Default idle auto-stop").fill("1 h 30 min");
  await page.getByRole("button", { name: "Save settings" }).click();
  await row(/Default idle auto-stop 1 h 30 min/).waitFor();
  const { settings } = await service.get(`/workspaces/${clinic.id}/settings`);
  assert.deepEqual([settings.max_computers, settings.default_auto_stop_seconds], [5, 5400]);
});

test("a key has a role, and nothing ticked is not everything", async () => {
  await open("/keys");
  await page.getByRole("button", { name: "New key" }).click();
  await dialog().getByLabel("Name", { exact: true }).fill("accounting");
  await dialog().getByRole("button", { name: "Create key" }).click();
  await dialog().getByText("Scopes has none ticked").waitFor();
  await dialog().getByLabel("Role").selectOption("bill");
  assert.ok(await dialog().getByLabel("usage:read").isChecked());
  await dialog().getByRole("button", { name: "Create key" }).click();
  await page.getByRole("button", { name: "I have saved it" }).click();
  await row(/accounting .*Bill/).waitFor();
  const made = (await service.get("/api-keys")).data.find(({ name }) => name === "accounting");
  assert.deepEqual(made.scopes.sort(), ["projects:read", "usage:read", "workspaces:read"]);
});

test("the log names people by their keys, and shows one of them", async () => {
  const key = (await service.post("/api-keys", { name: "Anna", scopes: ["*"] })).data;
  await service.post("/workspaces", { name: "Made by Anna" }, key.key);
  await open("/activity");
  await row(/Workspace created Made by Anna Anna/).waitFor();
  await page.getByLabel("Who").selectOption("Anna");
  await page.waitForFunction(() => document.querySelectorAll("main tbody tr").length === 1);
  assert.match(page.url(), new RegExp(`actor_id=${key.id}`));
});

test("the system tells its disk and the flags that hold", async () => {
  await open("/system");
  const system = await service.get("/system");
  assert.ok(system.database.disk_free_bytes > 0);
  const flags = page.locator("#flags");
  await flags.getByText("--request-timeout").waitFor();
  assert.equal(await flags.locator("dt").count(), system.flags.length);
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
