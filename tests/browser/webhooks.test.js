import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { signIn, startBrowser } from "./lib/browser.js";
import { startReceiver } from "./lib/receiver.js";
import { startService, until } from "./lib/service.js";

let service, browser, page, receiver;
before(async () => {
  receiver = await startReceiver();
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  await receiver?.stop();
});

const row = (text) => page.getByRole("row", { name: text });
const dialog = () => page.getByRole("dialog");
const act = async (name) => {
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("button", { name, exact: true }).click();
};

test("a webhook by clicking: made, tested, failing, sent again, changed, deleted", async () => {
  await page.getByRole("link", { name: "Webhooks", exact: true }).click();
  await page.getByText("There is no webhook yet").waitFor();
  assert.deepEqual(await violations(page), [], "an empty list");
  await page.getByRole("button", { name: "New webhook" }).first().click();
  await dialog().getByLabel("URL").fill("http://10.0.0.1/");
  await dialog().getByRole("button", { name: "Create webhook" }).click();
  await dialog()
    .getByText(/URL leads to this machine, to a private network or to nowhere.*request req_/)
    .waitFor();
  await dialog()
    .getByText(/Events can't be blank/)
    .waitFor();
  await dialog().getByLabel("URL").fill(`${receiver.url}/orders`);
  await dialog().getByLabel("Name").fill("Orders");
  await dialog().getByLabel("Workspaces").check();
  await dialog()
    .getByText(/^Single events/)
    .click();
  await dialog().getByLabel("computer.running", { exact: true }).check();
  await dialog().getByRole("button", { name: "Create webhook" }).click();
  const code = dialog().locator(".secret code");
  await code.waitFor();
  const secret = await code.textContent();
  assert.match(secret, /^whsec_[0-9a-f]{64}$/);
  assert.deepEqual(await violations(page), [], "the secret");
  await dialog().getByRole("button", { name: "I have saved it" }).click();
  await page.getByRole("heading", { name: "Orders", level: 1 }).waitFor();
  assert.ok(!(await page.content()).includes(secret), "it is not shown again");

  await page.getByRole("button", { name: "Send a test" }).click();
  await page.getByText(/Orders answered 200 in/).waitFor();
  await row(/webhook\.test delivered/).waitFor();
  const [got] = receiver.got.splice(0);
  assert.equal(
    got.headers["x-miosa-signature"],
    `sha256=${createHmac("sha256", secret).update(got.body).digest("hex")}`,
  );

  receiver.answers = [500];
  const workspace = await service.post("/workspaces", { name: "Clinic" });
  await row(/workspace\.created pending 500 in/).waitFor();
  await page.getByText("1 attempt failed since the last success").waitFor();
  await row(/workspace\.created/)
    .getByRole("button")
    .click();
  await dialog().getByText(workspace.id).first().waitFor();
  assert.equal(
    await dialog().getByText("<b>not now</b>").count(),
    1,
    "what a receiver answers is text",
  );
  assert.deepEqual(await violations(page), [], "a delivery");
  receiver.answers = [200];
  await dialog().getByRole("button", { name: "Send again" }).click();
  await page.getByText(/^Answered 200 in/).waitFor();
  await row(/workspace\.created again delivered/).waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    assert.deepEqual(await violations(page), [], colorScheme);
  }
  await page.getByLabel("State").selectOption("delivered");
  // Both were there before the list was filtered, so that it was is seen by the one that has gone.
  await row(/pending/).waitFor({ state: "detached" });
  assert.equal(await row(/webhook\.test delivered/).count(), 1);

  await page.getByRole("button", { name: "Edit" }).click();
  assert.ok(await dialog().getByLabel("Workspaces").isChecked());
  assert.ok(await dialog().getByLabel("computer.running", { exact: true }).isChecked());
  await dialog().getByLabel("Retries").fill("0");
  await dialog().getByRole("button", { name: "Save" }).click();
  await until(async () => (await service.get("/webhooks")).data[0].retry_count === 0);
  await act("Disable…");
  await dialog().getByRole("button", { name: "Disable webhook" }).click();
  await page.locator(".head .status").filter({ hasText: "disabled" }).waitFor();
  await act("Enable");
  await page.locator(".head .status").filter({ hasText: "active" }).waitFor();
  await act("Rotate the secret…");
  await dialog().getByRole("button", { name: "Rotate secret" }).click();
  await code.waitFor();
  assert.notEqual(await code.textContent(), secret);
  await dialog().getByRole("button", { name: "I have saved it" }).click();

  await page.getByRole("link", { name: "Webhooks", exact: true }).last().click();
  await row(/Orders/)
    .getByText("active")
    .waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    assert.deepEqual(await violations(page), [], `list, ${colorScheme}`);
  }
  await page.getByRole("button", { name: "Actions for Orders" }).click();
  await page.getByRole("button", { name: "Delete…" }).click();
  await dialog().getByRole("button", { name: "Delete webhook" }).click();
  await page.getByText("There is no webhook yet").waitFor();
  assert.deepEqual(browser.faults, []);
});
