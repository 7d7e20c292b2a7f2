import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { signIn, startBrowser } from "./lib/browser.js";
import { startDns } from "./lib/dns.js";
import { startService, until } from "./lib/service.js";

let service, browser, page, dns;
const cnames = {};
before(async () => {
  dns = await startDns(cnames);
  service = await startService(
    "--dev",
    "--provision-ms",
    "100",
    "--start-ms",
    "100",
    "--stop-ms",
    "100",
    "--dns-resolver",
    dns.address,
  );
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  await dns?.stop();
});

const row = (text) => page.getByRole("row", { name: text });
const dialog = () => page.getByRole("dialog");

test("the Quick Start by clicking: a workspace, a computer in a project, the list", async () => {
  await page.getByRole("link", { name: "Workspaces", exact: true }).first().click();
  await page.getByRole("button", { name: "New workspace" }).click();
  await dialog().getByLabel("Name", { exact: false }).first().fill("Dr. Smith Clinic");
  await dialog().getByLabel("Slug").fill("dr-smith-clinic");
  await dialog().getByLabel("External ID").fill("clinic_123");
  await dialog().getByRole("button", { name: "Create workspace" }).click();
  await page.getByRole("heading", { name: "Dr. Smith Clinic", level: 1 }).waitFor();
  await page.getByRole("link", { name: "Computers" }).last().click();
  await page.getByText("There is no computer yet").waitFor();
  await page.getByRole("button", { name: "New computer" }).click();
  await dialog().getByLabel("Name", { exact: true }).fill("clinic-builder");
  await dialog().getByLabel("Project slug").fill("lead-magnet");
  await dialog().getByLabel("Project name").fill("Lead Magnet");
  await dialog().getByRole("button", { name: "Create computer" }).click();
  await row(/clinic-builder/)
    .getByText("running")
    .waitFor();

  const [workspace] = (await service.get("/workspaces?slug=dr-smith-clinic")).data;
  assert.deepEqual(
    [workspace.name, workspace.external_workspace_id, workspace.computer_count],
    ["Dr. Smith Clinic", "clinic_123", 1],
  );
  const [computer] = (await service.get(`/workspaces/${workspace.id}/computers`)).data;
  assert.deepEqual([computer.name, computer.template_type], ["clinic-builder", "miosa-desktop"]);
  assert.equal((await service.get(`/projects/${computer.project_id}`)).slug, "lead-magnet");
});

test("a refusal appears at the field, with the request id", async () => {
  await page.goto(`${service.origin}/admin#/workspaces`);
  await page.getByRole("button", { name: "New workspace" }).click();
  await dialog().getByLabel("Name", { exact: true }).fill("Another");
  await dialog().getByLabel("Slug").fill("dr-smith-clinic");
  await dialog().getByRole("button", { name: "Create workspace" }).click();
  const slug = dialog().getByLabel("Slug");
  await dialog()
    .getByText(/Slug has already been taken \(request req_/)
    .waitFor();
  assert.equal(await slug.getAttribute("aria-invalid"), "true");
  assert.ok(await slug.evaluate((e) => e === document.activeElement), "the field has the focus");
  await page.keyboard.press("Escape");
  assert.ok(
    await page
      .getByRole("button", { name: "New workspace" })
      .evaluate((e) => e === document.activeElement),
    "the focus is back",
  );
});

test("settings: a refusal at its field, then what holds and where it comes from", async () => {
  const [workspace] = (await service.get("/workspaces?slug=dr-smith-clinic")).data;
  await page.goto(`${service.origin}/admin#/workspaces/${workspace.id}/settings`);
  await page.getByLabel("Maximum size").selectOption("small");
  await page.getByLabel("Default size").selectOption("large");
  await page.getByRole("button", { name: "Save settings" }).click();
  await page.locator(".field-error").filter({ hasText: "request req_" }).first().waitFor();
  await page.getByLabel("Default size").selectOption("small");
  await page.getByLabel("Maximum computers").fill("1");
  await page.getByRole("button", { name: "Save settings" }).click();
  await row(/Maximum computers 1 this workspace/).waitFor();
  await page.getByText("0 computers may still be created here.").waitFor();
  assert.equal(
    (await service.get(`/workspaces/${workspace.id}/settings`)).settings.max_computers,
    1,
  );

  await page.getByRole("link", { name: "Computers" }).last().click();
  await page.getByRole("button", { name: "New computer" }).click();
  await dialog().getByLabel("Name", { exact: true }).fill("one too many");
  await dialog().getByRole("button", { name: "Create computer" }).click();
  await dialog().getByRole("alert").filter({ hasText: "1" }).first().waitFor();
  await dialog()
    .getByText(/Request req_/)
    .waitFor();
  await page.keyboard.press("Escape");
  assert.equal((await service.get(`/workspaces/${workspace.id}`)).computer_count, 1);
});

test("a computer through its life: stop, resize, clone, move, delete by its name", async () => {
  const [workspace] = (await service.get("/workspaces?slug=dr-smith-clinic")).data;
  await service.put(`/workspaces/${workspace.id}/settings`, {
    max_computers: null,
    max_computer_size: null,
  });
  const target = await service.post("/workspaces", { name: "Second Clinic" });
  await page.goto(`${service.origin}/admin#/workspaces/${workspace.id}/computers`);
  await page.getByRole("button", { name: "Stop clinic-builder" }).click();
  await row(/clinic-builder/)
    .getByText("stopped")
    .waitFor();
  const act = async (name) => {
    await page.getByRole("button", { name: "Actions for clinic-builder", exact: true }).click();
    await page.getByRole("button", { name, exact: true }).click();
  };
  await act("Resize…");
  await dialog().getByLabel("Size").selectOption("medium");
  await dialog().getByRole("button", { name: "Resize" }).click();
  await row(/clinic-builder/)
    .getByText("medium")
    .waitFor();
  await act("Clone…");
  await dialog().getByRole("button", { name: "Clone" }).click();
  await row(/clinic-builder-copy/).waitFor();
  await act("Move…");
  // Two letters are enough: the field searches.
  await dialog().getByLabel("To workspace").fill("second");
  await page.getByRole("option", { name: /Second Clinic/ }).waitFor();
  await page.keyboard.press("Enter");
  assert.equal(await dialog().getByLabel("To workspace").inputValue(), "Second Clinic");
  await dialog().getByRole("button", { name: "Move" }).click();
  await until(
    async () => (await service.get(`/workspaces/${target.id}`)).computer_count === 1,
    "the move",
  );
  await row(/clinic-builder stopped|clinic-builder clinic-builder stopped/).waitFor({
    state: "detached",
  });

  const [moved] = (await service.get(`/workspaces/${target.id}/computers`)).data;
  await page.goto(`${service.origin}/admin#/computers/${moved.id}`);
  await page.getByRole("heading", { name: "clinic-builder" }).waitFor();
  await page.getByRole("row", { name: /computer.moved/ }).waitFor();
  await page.getByRole("button", { name: "More actions" }).click();
  await page.getByRole("button", { name: "Delete…" }).click();
  await dialog()
    .getByLabel(/^Type clinic-builder/)
    .fill("wrong");
  await dialog().getByRole("button", { name: "Delete computer" }).click();
  await dialog()
    .getByText(/must be clinic-builder/)
    .waitFor();
  await dialog()
    .getByLabel(/^Type clinic-builder/)
    .fill(moved.slug);
  await dialog().getByRole("button", { name: "Delete computer" }).click();
  await page.getByText("There is no computer yet").waitFor();
});

test("a workspace with things in it names what goes", async () => {
  const [workspace] = (await service.get("/workspaces?slug=dr-smith-clinic")).data;
  await page.goto(`${service.origin}/admin#/workspaces/${workspace.id}`);
  await page.getByRole("heading", { name: "Dr. Smith Clinic", level: 1 }).waitFor();
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("button", { name: "Delete workspace" }).click();
  await dialog().getByText("1 computer").waitFor();
  await dialog().getByText("1 project").waitFor();
  await dialog().getByLabel("Type dr-smith-clinic to confirm").fill("dr-smith-clinic");
  await dialog().getByRole("button", { name: "Delete everything in it" }).click();
  await page.getByRole("heading", { name: "Workspaces", level: 1 }).waitFor();
  assert.equal((await service.get("/workspaces?slug=dr-smith-clinic")).total, 0);
});

test("a domain: the records it needs, what is found, and after the change that it works", async () => {
  const workspace = await service.post("/workspaces", { name: "Domain Clinic" });
  await page.goto(`${service.origin}/admin#/workspaces/${workspace.id}/domain`);
  await page.getByLabel("Domain", { exact: true }).fill("http://x");
  await page.getByRole("button", { name: "Set domain" }).click();
  await page
    .locator(".field-error")
    .filter({ hasText: /Domain .*request req_/ })
    .waitFor();
  await page.getByLabel("Domain", { exact: true }).fill("clinic.example");
  await page.getByRole("button", { name: "Set domain" }).click();
  await row(/CNAME \*\.clinic\.example/)
    .getByText("unchecked")
    .waitFor();
  assert.equal(
    await page.getByRole("button", { name: "Copy the target: proxy.miosa.ai" }).count(),
    2,
  );
  await page.getByRole("button", { name: "Check now" }).click();
  await row(/CNAME \*\.clinic\.example/)
    .getByText("missing")
    .waitFor();
  cnames[".clinic.example"] = "proxy.miosa.ai";
  // The button rests for a few seconds, and so do resolvers.
  await page.getByRole("button", { name: "Check now" }).click({ timeout: 15_000 });
  await row(/CNAME \*\.sandbox\.clinic\.example/)
    .locator(".status")
    .filter({ hasText: "ok" })
    .waitFor();
  await page.getByText("verified").first().waitFor();
  assert.equal((await service.get(`/workspaces/${workspace.id}/preview-domain`)).verified, true);
});

test("a key is shown once, works, is rotated and revoked", async () => {
  await page.goto(`${service.origin}/admin#/keys`);
  await page.getByRole("button", { name: "New key" }).click();
  await dialog().getByLabel("Name", { exact: true }).fill("reporting");
  await dialog().getByLabel("usage:read").check();
  await dialog().getByRole("button", { name: "Create key" }).click();
  const secret = dialog().locator(".secret code");
  await secret.waitFor();
  const first = await secret.textContent();
  assert.match(first, /^msk_u_\w{40}$/);
  await page.keyboard.press("Escape");
  assert.ok(await secret.isVisible(), "a slip of a key does not lose it");
  assert.deepEqual((await service.get("/whoami", first)).scopes, ["usage:read"]);
  await dialog().getByRole("button", { name: "I have saved it" }).click();
  await row(/reporting/).waitFor();
  await page.reload();
  await row(/reporting/).waitFor();
  assert.ok(!(await page.content()).includes(first), "it is not shown again");

  const act = async (name) => {
    await page.getByRole("button", { name: "Actions for reporting" }).click();
    await page.getByRole("button", { name, exact: true }).click();
  };
  await act("Rotate…");
  await dialog().getByRole("button", { name: "Rotate key" }).click();
  await secret.waitFor();
  const second = await secret.textContent();
  assert.notEqual(second, first);
  await assert.rejects(service.get("/whoami", first), { status: 401 });
  await dialog().getByRole("button", { name: "I have saved it" }).click();
  await act("Revoke…");
  await dialog().getByRole("button", { name: "Revoke key" }).click();
  await row(/reporting/).waitFor({ state: "detached" });
  await assert.rejects(service.get("/whoami", second), { status: 401 });
});

test("names are text, whatever they look like", async () => {
  const name = '<img src=x onerror="window.hacked=1">';
  const workspace = await service.post("/workspaces", {
    name,
    slug: "hostile",
    description: "<script>window.hacked=1</script>",
  });
  await service.post("/computers", {
    name,
    workspace_id: workspace.id,
    project_slug: "p",
    project_name: name,
  });
  for (const hash of [
    "/workspaces",
    `/workspaces/${workspace.id}`,
    `/workspaces/${workspace.id}/computers`,
    `/workspaces/${workspace.id}/usage?group_by=computer`,
    "/projects",
    "/activity",
    "/",
  ]) {
    await page.goto(`${service.origin}/admin#${hash}`);
    await page.getByText(name).first().waitFor();
  }
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("main img").count(), 0);
});

test("an error of the API is shown with its request id and can be tried again", async () => {
  let fail = true;
  await page.route("**/api/v1/projects?*", (route) =>
    fail
      ? route.fulfill({
          status: 500,
          contentType: "application/json",
          body: JSON.stringify({
            message: "something went wrong",
            code: "INTERNAL_ERROR",
            request_id: "req_test",
          }),
        })
      : route.continue(),
  );
  await page.goto(`${service.origin}/admin#/projects`);
  await page.getByRole("alert").filter({ hasText: "something went wrong" }).waitFor();
  await page.getByText("req_test").waitFor();
  fail = false;
  await page.getByRole("button", { name: "Retry" }).click();
  await page.getByRole("table", { name: "Projects" }).waitFor();
  await page.unroute("**/api/v1/projects?*");
});

test("what was shown stays, greyed, when a later load fails", async () => {
  let fail = false;
  const refuse = (route) =>
    fail
      ? route.fulfill({
          status: 503,
          contentType: "application/json",
          body: JSON.stringify({
            message: "come back later",
            code: "OVERLOADED",
            request_id: "req_stale",
          }),
        })
      : route.continue();
  await page.route("**/api/v1/projects?*", refuse);
  await page.goto("about:blank");
  await page.goto(`${service.origin}/admin#/projects`);
  await page.getByRole("table", { name: "Projects" }).waitFor();
  await page.locator(".live[data-state=live]").waitFor();
  fail = true;
  const workspace = await service.post("/workspaces", { name: "Stale Clinic" });
  const project = await service.post("/projects", {
    name: "Unseen yet",
    workspace_id: workspace.id,
  });
  await page.getByText(/^As of .*come back later/).waitFor();
  assert.ok(
    await page.getByRole("table", { name: "Projects" }).isVisible(),
    "the old rows are still there",
  );
  assert.equal(await page.getByRole("link", { name: project.name }).count(), 0);
  fail = false;
  await page.locator(".stale-note").getByRole("button", { name: "Retry" }).click();
  await page.getByRole("link", { name: project.name }).waitFor();
  assert.equal(await page.locator(".stale").count(), 0);
  await page.unroute("**/api/v1/projects?*", refuse);
});

test("a menu that is open is not pulled away by what happens meanwhile", async () => {
  const workspace = await service.post("/workspaces", { name: "Busy Clinic" });
  await service.post("/computers", { name: "steady", workspace_id: workspace.id });
  await page.goto(`${service.origin}/admin#/workspaces/${workspace.id}/computers`);
  await row(/steady/)
    .getByText("running")
    .waitFor();
  await page.locator(".live[data-state=live]").waitFor();
  await page.getByRole("button", { name: "Actions for steady" }).click();
  const made = page.waitForResponse((r) => r.url().includes("/api/v1/computers?") && r.ok());
  await service.post("/computers", { name: "newcomer", workspace_id: workspace.id });
  await made;
  await page.getByRole("button", { name: "Resize…" }).click();
  await dialog().waitFor();
  await page.keyboard.press("Escape");
  await row(/newcomer/).waitFor();
});

test("Ctrl+K goes to a workspace by a part of its name", async () => {
  await page.goto(`${service.origin}/admin#/`);
  await page.locator('main[data-path="/"] h1').waitFor();
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Workspace or section" }).fill("second");
  await page.getByRole("option", { name: /Second Clinic/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Second Clinic", level: 1 }).waitFor();
  assert.equal(await dialog().count(), 0);
});

test("a key that may do little sees the sections that it may read", async () => {
  const made = (
    await service.post("/api-keys", { name: "reader", scopes: ["workspaces:read", "usage:read"] })
  ).data;
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key").fill(made.key);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("navigation", { name: "Sections" }).waitFor();
  assert.deepEqual(
    await page.getByRole("navigation", { name: "Sections" }).getByRole("link").allTextContents(),
    ["Overview", "Workspaces"],
  );
  await page.locator(".chart-svg").waitFor();
  await page.waitForFunction(() => !document.querySelector("main [aria-busy=true]"));
  assert.equal(await page.getByRole("alert").count(), 0, "and nothing that it may not");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: /msk_u_dev/ }).click();
  await page.locator("body.signed-in").waitFor();
});

test("the books are verified from the System screen", async () => {
  await page.goto(`${service.origin}/admin#/system`);
  await page
    .getByText("version 2")
    .or(page.getByText(/version \d+, SQLite/))
    .first()
    .waitFor();
  await page.getByRole("button", { name: "Verify now" }).click();
  await page.getByText(/events, 0 differences/).waitFor();
});

test("the System screen says how to have backups", async () => {
  await page.getByText("No directory for backups").waitFor();
  assert.equal(await page.getByRole("button", { name: "Back up now" }).count(), 0);
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
