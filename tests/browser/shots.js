// Screenshots of every screen at two widths and in two themes, with a month of believable data, to be
// looked at while building: `node shots.js DIRECTORY [part of a screen's name]`.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { signIn, startBrowser } from "./lib/browser.js";
import { startDns } from "./lib/dns.js";
import { backdate, handOver } from "./lib/past.js";
import { seed } from "./lib/seed.js";
import { startReceiver } from "./lib/receiver.js";
import { startService, until } from "./lib/service.js";

const [dir, only = ""] = process.argv.slice(2);
if (!dir) throw new Error("node shots.js DIRECTORY [part of a screen's name]");
await mkdir(dir, { recursive: true });
const sizes = (process.env.SIZES ?? "1440x900,390x844")
  .split(",")
  .map((s) => s.split("x").map(Number));
const themes = (process.env.THEMES ?? "light,dark").split(",");

const dns = await startDns({
  ".drsmith.example": "proxy.miosa.ai",
  ".maplevets.example": "parking.example",
});
const service = await startService(
  "--dev",
  "--provision-ms",
  "0",
  "--dns-resolver",
  dns.address,
  "--backup-dir",
  join(dir, "backups"),
);
const receiver = await startReceiver();
const browser = await startBrowser();
const page = await browser.page();
try {
  const made = await seed(service, {
    workspaces: 30,
    computers: 90,
    backdate: (days) => backdate(service, days),
  });
  await handOver(service);
  const w = made.workspaces[1].id,
    c =
      made.computers.find((one) => one.w === made.workspaces[1] && one.outside) ??
      made.computers[1];
  const project = (await service.get(`/workspaces/${w}/projects`)).data[0];
  for (const name of ["Billing job", "Reporting (read only)"])
    await service.post("/api-keys", {
      name,
      scopes: name.includes("read") ? ["usage:read", "workspaces:read"] : undefined,
    });
  const hook = (
    await service.post("/webhooks", {
      url: `${receiver.url}/orders`,
      name: "Order service",
      events: ["computer.*", "workspace.created"],
    })
  ).data;
  await service.post("/webhooks", {
    url: "https://example.com/hooks/audit",
    name: "Audit trail",
    events: ["*"],
    enabled: false,
  });
  await service.post(`/webhooks/${hook.id}/test`);
  receiver.answers = [503];
  await service.post("/workspaces", { name: "Hooked Clinic" });
  await until(async () => (await service.get(`/webhooks/${hook.id}`)).data.failed_attempts > 0);
  for (const at of [1, 5])
    await service.get(`/workspaces/${made.workspaces[at].id}/preview-domain/verify`);
  const day = (await service.get(`/workspaces/${w}/usage?window=30d&granularity=day`)).series.at(
    -4,
  ).ts;
  const open = (name) => page.getByRole("button", { name }).first().click();
  const bar = async () => {
    const box = await page.getByRole("slider").boundingBox();
    await page.mouse.move(box.x + box.width * 0.7, box.y + 150);
  };
  const screens = {
    signin: ["", null],
    overview: ["/"],
    workspaces: ["/workspaces"],
    search: ["/workspaces?q=smith"],
    nothing: ["/workspaces?q=nobody"],
    usage: [`/workspaces/${w}/usage`, bar],
    "usage-hours": [`/workspaces/${w}/usage?window=7d&granularity=hour`],
    "usage-stacked": [`/workspaces/${w}/usage?group_by=project`, bar],
    "usage-table": [`/workspaces/${w}/usage?group_by=size&table=1`],
    "usage-explained": [`/workspaces/${w}/usage?ts=${day}`],
    "usage-custom": [
      `/workspaces/${w}/usage?window=custom&granularity=day&from=${new Date(Date.now() - 9e8).toISOString().slice(0, 19)}Z`,
    ],
    computers: [`/workspaces/${w}/computers`],
    projects: [`/workspaces/${w}/projects`],
    domain: [`/workspaces/${w}/domain`],
    "domain-wrong": [`/workspaces/${made.workspaces[5].id}/domain`],
    settings: [`/workspaces/${w}/settings`],
    activity: [`/workspaces/${w}/activity`],
    bill: [`/workspaces/${w}/bill`],
    billing: ["/billing"],
    "all-computers": ["/computers"],
    computer: [`/computers/${c.id}`],
    "all-projects": ["/projects"],
    project: [`/projects/${project.id}`],
    keys: ["/keys"],
    webhooks: ["/webhooks"],
    webhook: [`/webhooks/${hook.id}`],
    "webhook-delivery": [
      `/webhooks/${hook.id}`,
      async () => {
        await open("workspace.created");
        await page.locator("dialog pre").first().waitFor();
      },
    ],
    "webhook-new": ["/webhooks", () => page.keyboard.press("n")],
    "all-activity": ["/activity"],
    system: ["/system", () => open("Verify now")],
    "empty-workspace": [
      `/workspaces/${(await service.post("/workspaces", { name: "Brand New Clinic" })).id}/computers`,
    ],
    missing: ["/nowhere"],
    "dialog-new": ["/workspaces", () => page.keyboard.press("n")],
    "dialog-computer": [`/workspaces/${w}/computers`, () => page.keyboard.press("n")],
    "dialog-keys": ["/", () => page.keyboard.press("?")],
    "dialog-delete": [
      `/workspaces/${w}/usage`,
      async () => {
        await open("More");
        await open("Delete workspace");
        await page.getByRole("dialog").waitFor();
      },
    ],
    palette: [
      "/",
      async () => {
        await page.keyboard.press("Control+k");
        await page.keyboard.type("clinic");
        await page.getByRole("option").first().waitFor();
        await page.waitForTimeout(400);
      },
    ],
    menu: ["/", () => open("Appearance and times")],
  };
  let signedIn = false;
  for (const [name, [hash, act]] of Object.entries(screens)) {
    if (!signedIn && name !== "signin") {
      await signIn(page, service.origin);
      signedIn = true;
    }
    if (!name.includes(only)) continue;
    for (const [width, height] of sizes) {
      await page.setViewportSize({ width, height });
      for (const theme of themes) {
        await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
        await page.goto("about:blank");
        await page.goto(`${service.origin}/admin#${hash}`);
        await page.locator("main h1").waitFor();
        // What is out of sight does not ask for its numbers: everything is in sight once.
        await page.setViewportSize({ width, height: 2600 });
        await page
          .waitForFunction(
            () =>
              !document.querySelector("main [aria-busy=true], main .skeleton, .sparkcell > .none"),
            null,
            { timeout: 4000 },
          )
          .catch(() => {});
        await page.setViewportSize({ width, height });
        if (act) await act();
        await page.waitForTimeout(250);
        const dialog = await page.locator("dialog[open], .menu:popover-open").count();
        await page.screenshot({
          path: join(dir, `${name}-${width}-${theme}.png`),
          fullPage: !dialog,
        });
      }
    }
    console.log(name);
  }
  if (browser.faults.length) console.error(browser.faults);
} finally {
  await browser.stop();
  await service.stop();
  await dns.stop();
  await receiver.stop();
}
