import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { allViolations, violations } from "./lib/axe.js";
import { openScreen, signIn, startBrowser } from "./lib/browser.js";
import { screensOf, uncovered } from "./lib/routes.js";
import { seed } from "./lib/seed.js";
import { startService } from "./lib/service.js";
import { filesOf, weigh } from "./lib/weight.js";

const MANUAL = ["", "/metering", "/figures", "/operating", "?q=late+reports", "/nowhere"];
let service, browser, page, screens;
before(async () => {
  service = await startService("--dev", "--provision-ms", "0");
  browser = await startBrowser();
  browser.only(service.origin);
  page = await browser.page();
  const made = await seed(service, { workspaces: 30, computers: 60 });
  const w = made.workspaces[1].id,
    c = made.computers[0];
  const [project] = (await service.get(`/workspaces/${w}/projects`)).data;
  const hook = await service.post("/webhooks", { url: "https://example.com/hook", events: ["*"] });
  screens = [
    ...screensOf({ workspace: w, computer: c.id, project: project.id, webhook: hook.data.id }),
    `/workspaces/${w}/usage`,
    `/workspaces/${w}/usage?window=7d&granularity=hour&group_by=size&table=1`,
  ];
  await service.call("DELETE", `/workspaces/${made.workspaces[2].id}?force=1`);
  await service.call("DELETE", `/computers/${made.computers.at(-1).id}`).catch(() => {});
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const open = (hash) => openScreen(page, service.origin, hash);

test("every screen of the page is looked at", async () =>
  assert.deepEqual(await uncovered(screens), []));

test("the whole page weighs less than 150 kB", async () => {
  await page.goto(`${service.origin}/admin`);
  await page.getByRole("button", { name: /msk_u_dev/ }).waitFor();
  assert.deepEqual(await violations(page), [], "signing in");
  await signIn(page, service.origin);
  const files = new Set();
  for (const hash of screens) {
    await open(hash);
    (await filesOf(page)).forEach((file) => files.add(file));
  }
  assert.ok(files.size > 25, `${files.size} files`);
  const sum = await weigh(service.origin, files);
  assert.ok(sum > 30_000 && sum < 150_000, `${sum} bytes`);
});

for (const theme of ["light", "dark"]) {
  test(`axe finds nothing in the ${theme} theme`, async () => {
    const found = await allViolations(page, service.origin, screens, theme);
    await open("/workspaces");
    await page.keyboard.press("n");
    await page.getByRole("dialog").waitFor();
    found.push(...(await violations(page)).map((v) => `dialog: ${v}`));
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    found.push(...(await violations(page)).map((v) => `shortcuts: ${v}`));
    await page.keyboard.press("Escape");
    await page.goto(`${service.origin}/docs`);
    await page.locator(".operation").first().waitFor();
    await page.locator(".operation details summary").first().click();
    found.push(...(await violations(page)).map((v) => `docs: ${v}`));
    for (const path of MANUAL) {
      await page.goto(`${service.origin}/docs/manual${path}`);
      found.push(...(await violations(page)).map((v) => `manual${path}: ${v}`));
    }
    assert.deepEqual(found, []);
  });
}

test("the switch of the theme is kept, and holds before the first paint", async () => {
  await page.emulateMedia({ colorScheme: "light" });
  await open("/");
  await page.getByRole("button", { name: "Appearance and times" }).click();
  await page.getByRole("button", { name: /Dark theme/ }).click();
  const ground = () =>
    page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await ground();
  await page.reload({ waitUntil: "commit" });
  await page.waitForFunction(() => document.body);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.locator("main h1").waitFor();
  assert.equal(await ground(), dark);
  await page.getByRole("button", { name: "Appearance and times" }).click();
  await page.getByRole("button", { name: /System theme/ }).click();
  assert.notEqual(await ground(), dark);
});

test("times in UTC by one switch", async () => {
  await open("/activity");
  const shown = () => page.locator("tbody time").first().textContent();
  const local = await shown();
  await page.getByRole("button", { name: "Appearance and times" }).click();
  await page.getByRole("button", { name: /Times in UTC/ }).click();
  await page.waitForFunction(
    (was) =>
      document.querySelector("tbody time") &&
      document.querySelector("tbody time").textContent !== was,
    local,
  );
  assert.match(await page.locator("tbody time").first().getAttribute("title"), /UTC$/);
  await page.getByRole("button", { name: "Appearance and times" }).click();
  await page.getByRole("button", { name: /Times in Europe\/Budapest/ }).click();
});

// 320 is also what 1280 pixels are at 400 %.
for (const width of [320, 360, 390, 820, 3840]) {
  test(`${width} pixels wide nothing scrolls sideways`, async () => {
    await page.setViewportSize({ width, height: 800 });
    const wide = [];
    for (const hash of screens) {
      await open(hash);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) wide.push(`${hash}: ${over} px`);
      const small = await page.evaluate(() =>
        [...document.querySelectorAll("a, button, input, select")]
          .filter((e) => {
            const box = e.getBoundingClientRect();
            return (
              e.checkVisibility() &&
              box.width > 0 &&
              (box.height < 16 || box.width < 16) &&
              !e.closest(".segmented, .sr, .skip")
            );
          })
          .map((e) => e.outerHTML.slice(0, 80)),
      );
      wide.push(...small.map((e) => `${hash}: too small ${e}`));
    }
    for (const path of MANUAL) {
      await page.goto(`${service.origin}/docs/manual${path}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) wide.push(`manual${path}: ${over} px`);
    }
    await page.goto(`${service.origin}/docs`);
    await page.locator(".operation").first().waitFor();
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) wide.push(`docs: ${over} px`);
    await open("/");
    assert.deepEqual(wide, []);
    await page.setViewportSize({ width: 1440, height: 900 });
  });
}

test("on a phone there are five destinations, and the others behind More", async () => {
  await page.setViewportSize({ width: 390, height: 800 });
  await open("/");
  const nav = page.getByRole("navigation", { name: "Sections" });
  assert.deepEqual(await nav.getByRole("link").allTextContents(), [
    "Overview",
    "Workspaces",
    "Computers",
    "Projects",
    "Billing",
  ]);
  await nav.getByRole("button", { name: "More sections" }).click();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "API keys" }).click();
  await page.locator('main[data-path="/keys"] h1').waitFor();
  await page.setViewportSize({ width: 1440, height: 900 });
});

test("rows are 44 pixels high, numbers stand below each other, one button is primary", async () => {
  for (const hash of ["/computers", "/workspaces", "/keys", "/billing", "/projects"]) {
    await open(hash);
    const heights = await page.evaluate(() =>
      [...document.querySelectorAll("main tbody tr")].map((row) => row.offsetHeight),
    );
    assert.ok(
      heights.every((height) => height >= 44 && height <= 56),
      `${hash}: ${heights}`,
    );
    const align = await page.evaluate(() =>
      [...document.querySelectorAll("main td.num")].map((td) => {
        const style = getComputedStyle(td);
        return `${style.textAlign} ${style.fontVariantNumeric}`;
      }),
    );
    assert.deepEqual(
      [...new Set(align)].filter((one) => one !== "right tabular-nums"),
      [],
      hash,
    );
  }
  for (const hash of screens) {
    await open(hash);
    assert.ok((await page.locator("main .button.primary").count()) <= 1, `${hash}: primary`);
  }
});

test("beside each other panels begin at one height, and below each other they keep one distance", async () => {
  await page.setViewportSize({ width: 1280, height: 900 });
  for (const hash of screens) {
    await open(hash);
    const found = await page.evaluate(() => {
      const box = (e) => e.getBoundingClientRect();
      const panels = [...document.querySelectorAll("main .panel")].filter((e) => box(e).height);
      const found = [];
      for (const group of document.querySelectorAll("main .columns")) {
        const tops = [...group.children]
          .map((part) => panels.find((one) => part.contains(one)))
          .filter(Boolean)
          .map((one) => Math.round(box(one).top));
        if (tops.some((top) => tops[0] !== top && tops[0] + 40 > top)) found.push(`tops ${tops}`);
      }
      const gaps = panels.flatMap((one) =>
        panels
          // What stands above it.
          .filter((over) => box(over).left < box(one).right && box(one).left < box(over).right)
          .map((over) => Math.round(box(one).top - box(over).bottom))
          // What is further away has something else between.
          .filter((gap) => gap >= 0 && gap < 60)
          .sort((a, b) => a - b)
          .slice(0, 1),
      );
      if (new Set(gaps).size > 1) found.push(`distances ${gaps}`);
      return found;
    });
    assert.deepEqual(found, [], hash);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
});

test("by keyboard only: sign in, find a workspace, read its usage, open a dialog and leave it", async () => {
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: /msk_u_dev/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator("main[data-path] h1").waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("w");
  await page.getByRole("heading", { name: "Workspaces", level: 1 }).waitFor();
  await page.locator("main tbody tr").first().waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("smith");
  await page.waitForFunction(() => document.querySelectorAll("main tbody tr").length === 1);
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  assert.match(await page.evaluate(() => document.activeElement.textContent), /Dr\. Smith/);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Dr. Smith Clinic" }).waitFor();
  const scrub = page.getByRole("slider");
  await scrub.waitFor();
  for (let i = 0; i < 60 && !(await scrub.evaluate((e) => e === document.activeElement)); i++)
    await page.keyboard.press("Tab");
  assert.ok(
    await scrub.evaluate((e) => e === document.activeElement),
    "the chart is reached by Tab",
  );
  const at = Number(await scrub.getAttribute("aria-valuenow"));
  await page.keyboard.press("ArrowLeft");
  assert.equal(Number(await scrub.getAttribute("aria-valuenow")), at - 1);
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await page.keyboard.press("Escape");
  assert.ok(
    await scrub.evaluate((e) => e === document.activeElement),
    "the focus is back where it was",
  );
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await page.getByRole("heading", { name: "Computers", level: 1 }).waitFor();
  await page.locator("main tbody tr").first().waitFor();
  await page.keyboard.press("l");
  await page.getByText(/26–50 of/).waitFor();
  assert.match(page.url(), /page=2/);
  await page.keyboard.press("h");
  await page.getByText(/1–25 of/).waitFor();
  // The first Tab of a page is the way past its frame.
  await page.reload();
  await page.locator("main h1").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
});

test("the API reference works from this server alone", async () => {
  await page.goto(`${service.origin}/docs`);
  const card = page
    .locator(".operation")
    .filter({ has: page.getByText("/api/v1/workspaces", { exact: true }) })
    .first();
  await card.getByText("curl", { exact: true }).waitFor();
  await card.getByRole("radio", { name: "Python" }).check();
  await card.getByText("urllib.request.Request").waitFor();
  await card.getByRole("radio", { name: "TypeScript" }).check();
  await card.getByText("await fetch(").waitFor();
  await card.getByRole("radio", { name: "Go", exact: true }).check();
  await card.getByText("http.NewRequest").waitFor();
  await card.locator(".try").getByText("Send").click();
  await card.getByText(/200 OK · request req_/).waitFor();
  // Every endpoint stands in the list by what it does, and one that changes something can be tried, too.
  const list = page.getByRole("navigation", { name: "Endpoints" });
  await list.getByRole("link", { name: "POST Create a workspace", exact: true }).click();
  const create = page.locator("#post_workspaces");
  await create.getByRole("textbox", { name: "Body" }).fill('{ "name": "Made in the reference" }');
  await create.locator(".try").getByText("Send").click();
  await create.getByText(/201 Created · request req_/).waitFor();
  const types = await page.locator(".operation td code").allTextContents();
  assert.deepEqual(
    types.filter((type) => /View|Sourced_|BTreeMap|i64/.test(type)),
    [],
  );
});

test("an address of the reference leads to its endpoint, which is marked; a language holds for all", async () => {
  await page.goto("about:blank");
  await page.goto(`${service.origin}/docs#post_workspaces`);
  const card = page.locator("#post_workspaces");
  await card.getByRole("radio", { name: "Go", exact: true }).waitFor();
  const top = async () => (await card.boundingBox()).y;
  await page.waitForTimeout(500);
  assert.ok((await top()) > -5 && (await top()) < 200, `${await top()}`);
  const list = page.getByRole("navigation", { name: "Endpoints" });
  assert.equal(await list.locator("[aria-current]").getAttribute("href"), "#post_workspaces");
  await card.getByRole("radio", { name: "Go", exact: true }).check();
  await page.locator("#get_workspaces").getByText("http.NewRequest").waitFor();
});

test("in the examples every part of a path is a variable of the language", async () => {
  await page.goto(`${service.origin}/docs`);
  const card = page
    .locator(".operation")
    .filter({ has: page.getByText("/api/v1/webhooks/{id}/deliveries/{did}", { exact: true }) });
  await card.scrollIntoViewIfNeeded();
  const path = `${service.origin}/api/v1/webhooks`;
  await card.getByText(`curl "${path}/$ID/deliveries/$DID"`).waitFor();
  await card.getByRole("radio", { name: "Python" }).check();
  await card.getByText(`f"${path}/{id}/deliveries/{did}"`).waitFor();
  await card.getByRole("radio", { name: "TypeScript" }).check();
  await card.getByText("fetch(`" + path + "/${id}/deliveries/${did}`").waitFor();
});

test("the manual is reached from the page and searched without a script of its own", async () => {
  await open("/");
  await page.getByRole("link", { name: "Manual", exact: true }).click();
  await page.getByRole("heading", { name: "The manual" }).waitFor();
  const pages = page.getByRole("navigation", { name: "Pages of the manual" });
  await pages.getByRole("link", { name: "Metering" }).click();
  await page.getByRole("heading", { name: "Metering", level: 1 }).waitFor();
  await page.getByRole("searchbox").fill("late reports");
  await page.keyboard.press("Enter");
  const first = page.locator(".hits > li").first();
  await first.locator("mark").first().waitFor();
  await first.getByRole("link").click();
  await page.waitForURL(/\/docs\/manual\/metering#reports-clocks-and-corrections$/);
  await page.getByRole("link", { name: "API reference" }).click();
  await page.locator(".operation").first().waitFor();
  await page.getByRole("link", { name: "Manual", exact: true }).waitFor();
});

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
