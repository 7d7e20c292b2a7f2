import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

// Two people have the same form open. Who saves last takes nothing back of what the other one did.
let service, browser, page, workspace, computer;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  workspace = await service.post("/workspaces", { name: "Clinic" });
  computer = await service.post("/computers", { name: "front", workspace_id: workspace.id });
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const dialog = () => page.getByRole("dialog");
const field = (name, place = dialog()) => place.getByLabel(name, { exact: false }).first();
const patch = (path, body) => service.call("PATCH", path, body);
async function open(hash) {
  await page.goto(`${service.origin}/admin#${hash}`);
  await page.locator(`main[data-path="${hash}"] h1`).waitFor();
}
const told = (place = page) => place.getByText("Somebody else changed this meanwhile");

test("of a workspace: what both changed is to be chosen, the rest is taken over", async () => {
  await open(`/workspaces/${workspace.id}/settings`);
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  await field("Name").fill("Mine");
  const path = `/workspaces/${workspace.id}`;
  await patch(path, { name: "Theirs", description: "Written meanwhile" });
  await dialog().getByRole("button", { name: "Save" }).click();
  await told().waitFor();
  await dialog().getByText("Name is now Theirs").waitFor();
  assert.deepEqual(await violations(page), []);
  assert.equal((await service.get(path)).name, "Theirs", "nothing was saved yet");
  assert.equal(await field("Description").inputValue(), "Written meanwhile");
  assert.equal(await field("Name").inputValue(), "Mine");
  await dialog().getByRole("button", { name: "Save" }).click();
  await dialog().waitFor({ state: "detached" });
  const after = await service.get(path);
  assert.deepEqual([after.name, after.description], ["Mine", "Written meanwhile"]);
});

test("theirs can be taken, field by field", async () => {
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  await field("Name").fill("Mine again");
  await field("External ID").fill("clinic_7");
  const path = `/workspaces/${workspace.id}`;
  await patch(path, { name: "Theirs again" });
  await dialog().getByRole("button", { name: "Save" }).click();
  await dialog().getByRole("button", { name: "Take theirs" }).click();
  assert.equal(await field("Name").inputValue(), "Theirs again");
  await dialog().getByRole("button", { name: "Save" }).click();
  await dialog().waitFor({ state: "detached" });
  const after = await service.get(path);
  assert.deepEqual([after.name, after.external_workspace_id], ["Theirs again", "clinic_7"]);
});

test("of the limits of a workspace", async () => {
  const path = `/workspaces/${workspace.id}/settings`;
  await open(path);
  await page.getByLabel("Default idle auto-stop").waitFor();
  await service.put(path, { max_computers: 5 });
  await page.getByLabel("Default idle auto-stop").fill("7200");
  await page.getByRole("button", { name: "Save settings" }).click();
  await told().waitFor();
  assert.equal(await page.getByLabel("Maximum computers").inputValue(), "5");
  await page.getByRole("button", { name: "Save settings" }).click();
  await until(
    async () => (await service.get(path)).settings.default_auto_stop_seconds === 7200,
    "the setting",
  );
  assert.equal((await service.get(path)).settings.max_computers, 5);
});

test("of a project, a computer, a key and a webhook, from their lists too", async () => {
  const project = (await service.get(`/computers/${computer.id}`)).project_id;
  const key = (await service.post("/api-keys", { name: "billing" })).data;
  const hook = (
    await service.post("/webhooks", { url: "https://example.com/a", name: "orders", events: ["*"] })
  ).data;
  const menu = async (name, item) => {
    await page.getByRole("button", { name: `Actions for ${name}` }).click();
    await page.getByRole("button", { name: item }).click();
  };
  const forms = [
    {
      path: `/projects/${project}`,
      hash: `/projects/${project}`,
      edit: () => page.getByRole("button", { name: "Edit", exact: true }).click(),
      theirs: { description: "theirs" },
    },
    {
      path: `/computers/${computer.id}`,
      hash: "/computers",
      edit: () => menu("front", "Edit…"),
      theirs: { auto_stop_seconds: 60 },
    },
    {
      path: `/api-keys/${key.id}`,
      hash: "/keys",
      edit: () => menu("billing", "Rename…"),
      theirs: { scopes: ["usage:read"] },
    },
    {
      path: `/webhooks/${hook.id}`,
      hash: "/webhooks",
      edit: () => menu("orders", "Edit…"),
      theirs: { retry_count: 7, events: ["computer.*"] },
    },
  ];
  for (const { path, hash, edit, theirs } of forms) {
    await open(hash);
    await edit();
    await field("Name").fill("Named by me");
    await patch(path, theirs);
    await dialog().getByRole("button", { name: "Save" }).click();
    await told(dialog()).waitFor();
    await dialog().getByRole("button", { name: "Save" }).click();
    await dialog().waitFor({ state: "detached" });
    const read = await service.get(path);
    const after = read.data ?? read;
    assert.equal(after.name, "Named by me", path);
    for (const [name, value] of Object.entries(theirs)) assert.deepEqual(after[name], value, path);
  }
});

test("of a domain", async () => {
  const path = `/workspaces/${workspace.id}/preview-domain`;
  await open(`/workspaces/${workspace.id}/domain`);
  await field("Domain", page.locator("main")).waitFor();
  const input = page.locator("main input[name=preview_domain]");
  await input.fill("mine.example");
  await service.put(path, { preview_domain: "theirs.example" });
  await page.getByRole("button", { name: "Set domain" }).click();
  await page.getByText("Domain is now theirs.example").waitFor();
  await page.getByRole("button", { name: "Take theirs" }).click();
  await page.getByRole("button", { name: "Set domain" }).click();
  await page.getByText("In effect").waitFor();
  assert.equal((await service.get(path)).preview_domain, "theirs.example");
});

test("a webhook lists its events, to be ticked one by one", async () => {
  const types = (await service.get("/webhooks/events")).data;
  await open("/webhooks");
  await page.getByRole("button", { name: "New webhook" }).click();
  await dialog().getByLabel("URL").fill("https://example.com/single");
  await dialog().getByText(`Single events (${types.length})`).click();
  await dialog().getByLabel("computer.running", { exact: true }).check();
  await dialog().getByLabel("budget.threshold", { exact: true }).check();
  await dialog().getByRole("button", { name: "Create webhook" }).click();
  await page.getByRole("button", { name: "I have saved it" }).click();
  const made = (await service.get("/webhooks")).data.find(({ url }) => url.endsWith("/single"));
  assert.deepEqual(made.events.sort(), ["budget.threshold", "computer.running"]);
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
