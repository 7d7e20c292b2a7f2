import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { signIn, startBrowser } from "./lib/browser.js";
import { startDns } from "./lib/dns.js";
import { startService, until } from "./lib/service.js";

// What people come for, from the overview on: none of it takes more than four clicks.
let service, browser, page, dns, clinic, machine;
let clicks = 0;
before(async () => {
  dns = await startDns({ ".clinic.example": "proxy.miosa.ai" });
  service = await startService(
    "--dev",
    "--provision-ms",
    "0",
    "--stop-ms",
    "0",
    "--dns-resolver",
    dns.address,
  );
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  clinic = await service.post("/workspaces", { name: "Sunrise Radiology" });
  machine = await service.post("/computers", {
    name: "gpu-retrain",
    workspace_id: clinic.id,
    auto_stop_seconds: 0,
  });
  await service.put(`/workspaces/${clinic.id}/preview-domain`, {
    preview_domain: "clinic.example",
  });
  await service.post("/api-keys", { name: "application" });
  await fetch(`${service.origin}/_dev/clock`, {
    method: "POST",
    headers: { authorization: `Bearer ${service.key}`, "content-type": "application/json" },
    body: JSON.stringify({ advance_seconds: 3 * 86400 }),
  });
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  await dns?.stop();
});

async function home() {
  await page.goto("about:blank");
  await page.goto(`${service.origin}/admin#/`);
  await page.locator("main[data-path='/'] .tile").first().waitFor();
  clicks = 0;
}
async function click(locator) {
  await locator.click();
  clicks++;
}
const link = (name) => page.getByRole("link", { name, exact: true }).first();
const button = (name) => page.getByRole("button", { name, exact: true });
const dialog = () => page.getByRole("dialog");

test("a customer in three clicks, and capped in two more", async () => {
  await home();
  await click(link("Workspaces"));
  await click(page.getByRole("button", { name: "New workspace" }));
  await dialog().getByLabel("Name", { exact: true }).fill("Harbor Dental");
  await click(button("Create workspace"));
  await page.getByRole("heading", { name: "Harbor Dental", level: 1 }).waitFor();
  assert.equal(clicks, 3);
  clicks = 0;
  await click(link("Settings"));
  await page.getByLabel("Maximum computers").fill("5");
  await click(button("Save settings"));
  const [{ id }] = (await service.get("/workspaces?q=harbor")).data;
  await until(
    async () => (await service.get(`/workspaces/${id}/settings`)).settings.max_computers === 5,
    "the cap",
  );
  assert.equal(clicks, 2);
});

test("who costs most this month, and why, in two", async () => {
  await home();
  await click(page.locator(".ranks a").first());
  await click(link("Bill"));
  await page.getByRole("group", { name: "Differences by computer" }).waitFor();
  await page.getByRole("link", { name: "gpu-retrain" }).waitFor();
  assert.equal(clicks, 2);
});

test("last month for one client, in two", async () => {
  await home();
  await click(page.locator(".ranks a").first());
  await click(page.getByRole("radio", { name: "Last month" }));
  await until(() => page.url().includes("window=last_month"), "the month");
  assert.equal(clicks, 2);
});

test("any month for one client by its name, in three", async () => {
  await home();
  await click(page.locator(".ranks a").first());
  // A list that opens is one click, and what is chosen in it another.
  const months = page.getByLabel("Month", { exact: true });
  await months.waitFor();
  const [name] = await months
    .locator("option")
    .evaluateAll((all) => all.slice(-1).map((o) => o.value));
  await months.selectOption(name);
  clicks += 2;
  await until(() => page.url().includes(`period=${name}`), "the month");
  assert.equal(clicks, 3);
});

test("a domain is verified in two", async () => {
  await home();
  await click(link("Records"));
  await click(button("Check now"));
  await page.getByText("Every record leads here.").first().waitFor();
  assert.equal(clicks, 2);
});

test("the forgotten machine is found and stopped in two", async () => {
  await home();
  await click(button("Stop gpu-retrain"));
  await click(button("Stop computer"));
  await until(
    async () => (await service.get(`/computers/${machine.id}`)).status === "stopped",
    "the stop",
  );
  assert.equal(clicks, 2);
});

test("a key is rotated in four", async () => {
  await home();
  await click(link("API keys"));
  await click(button("Rotate application"));
  await click(button("Rotate key"));
  await dialog().locator(".secret code").waitFor();
  await click(button("I have saved it"));
  assert.equal(clicks, 4);
});

test("who deleted it is seen in one, and it is back in three", async () => {
  await service.call("DELETE", `/computers/${machine.id}`);
  await home();
  await click(link("Activity"));
  // On the screen that was asked for: the one before names it, too.
  const log = page.locator("main[data-path='/activity']");
  await log
    .getByText(/gpu-retrain/)
    .first()
    .waitFor();
  assert.match(await log.textContent(), /deleted/);
  assert.equal(clicks, 1);
  await home();
  await click(link("Computers"));
  await click(link("Deleted"));
  await click(button("Restore gpu-retrain"));
  await page.getByText(/gpu-retrain is there again\. It is stopped\./).waitFor();
  assert.equal(clicks, 3);
  assert.equal((await service.get(`/computers/${machine.id}`)).status, "stopped");
});

test("a customer that was deleted by mistake is back in one click", async () => {
  await page.goto(`${service.origin}/admin#/workspaces/${clinic.id}/usage`);
  await page.getByRole("heading", { name: "Sunrise Radiology", level: 1 }).waitFor();
  await page.getByRole("button", { name: "More", exact: true }).click();
  await button("Delete workspace").click();
  await dialog().getByRole("textbox").fill("sunrise-radiology");
  await dialog()
    .getByRole("button", { name: /^Delete/ })
    .click();
  await page.locator("main[data-path='/workspaces'] h1").waitFor();
  clicks = 0;
  await click(page.locator("#toasts").getByRole("button", { name: "Undo" }));
  await page.getByRole("heading", { name: "Sunrise Radiology", level: 1 }).waitFor();
  assert.equal(clicks, 1);
  assert.equal((await service.get(`/workspaces/${clinic.id}`)).computer_count, 1);
});
