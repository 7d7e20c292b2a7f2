// What screenshots are taken of: an installation with data of some kind, and the screens to look at.
// A screen: what its pictures are called, its address, and what is done there first.

import { join } from "node:path";
import { startDns } from "./dns.js";
import { makeHostile } from "./hostile.js";
import { backdate, handOver } from "./past.js";
import { seed } from "./seed.js";
import { startReceiver } from "./receiver.js";
import { startDemo, startService, until } from "./service.js";

/** The same screens of whatever there is. */
async function plain(service) {
  const first = async (path) => (await service.get(path)).data.at(-1)?.id;
  const [w, c, p, hook] = await Promise.all(
    ["/workspaces", "/computers", "/projects", "/webhooks"].map(first),
  );
  const screens = {
    signin: ["", null],
    overview: ["/"],
    workspaces: ["/workspaces"],
    "all-computers": ["/computers"],
    "all-projects": ["/projects"],
    billing: ["/billing"],
    keys: ["/keys"],
    webhooks: ["/webhooks"],
    "all-activity": ["/activity"],
    deleted: ["/deleted"],
    system: ["/system"],
  };
  for (const tab of ["usage", "bill", "computers", "projects", "domain", "settings", "activity"])
    screens[`workspace-${tab}`] = [`/workspaces/${w}/${tab}`];
  if (c) screens.computer = [`/computers/${c}`];
  if (p) screens.project = [`/projects/${p}`];
  if (hook) screens.webhook = [`/webhooks/${hook}`];
  return screens;
}

async function seeded(dir, page) {
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
  await service.call("DELETE", `/workspaces/${made.workspaces[7].id}?force=1`);
  await service.call("DELETE", `/computers/${made.computers[3].id}`).catch(() => {});
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
    deleted: ["/deleted"],
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
  return { service, screens, stop: [dns, receiver] };
}

async function demo() {
  const service = await startDemo();
  return { service, screens: await plain(service), stop: [] };
}

async function fresh() {
  const service = await startService("--dev");
  return { service, screens: await plain(service), stop: [] };
}

/** A thousand customers with three thousand computers and a month of what they did. */
async function many(dir) {
  const service = await startService(
    "--dev",
    "--provision-ms",
    "0",
    "--backup-dir",
    join(dir, "backups"),
  );
  const made = await seed(service, {
    workspaces: 1000,
    computers: 3000,
    sessions: 3,
    backdate: (days) => backdate(service, days),
  });
  await handOver(service);
  for (let n = 1; n <= 60; n++) await service.post("/api-keys", { name: `Application ${n}` });
  for (let n = 1; n <= 20; n++)
    await service.post("/webhooks", {
      url: `https://example.com/hooks/${n}`,
      name: `Receiver ${n}`,
      events: ["computer.*"],
      enabled: false,
    });
  for (const { id } of made.workspaces.slice(900, 960))
    await service.call("DELETE", `/workspaces/${id}?force=1`);
  return { service, screens: await plain(service), stop: [] };
}

async function hostile() {
  const service = await startService("--dev", "--provision-ms", "0");
  const hashes = await makeHostile(service);
  const name = (hash) =>
    hash
      .replace(/\?.*/, "")
      .replace(/[0-9a-f-]{36}/g, "x")
      .replaceAll("/", "-");
  const screens = Object.fromEntries(
    hashes.map((hash, n) => [`${String(n).padStart(2, "0")}${name(hash)}`, [hash]]),
  );
  return { service, screens: { signin: ["", null], ...screens }, stop: [] };
}

export const SCENES = { seeded, demo, fresh, many, hostile };
