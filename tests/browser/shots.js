// Screenshots of every screen at two widths and in two themes, to be looked at while building:
// `node shots.js DIRECTORY [part of a screen's name]`. DATA says what there is to see: seeded (a month of believable
// data), demo, fresh, many (1,000 workspaces) or hostile.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { signIn, startBrowser } from "./lib/browser.js";
import { SCENES } from "./lib/scenes.js";

const [dir, only = ""] = process.argv.slice(2);
const make = SCENES[process.env.DATA ?? "seeded"];
if (!dir || !make)
  throw new Error(
    `[DATA=${Object.keys(SCENES).join("|")}] node shots.js DIRECTORY [part of a name]`,
  );
await mkdir(dir, { recursive: true });
const sizes = (process.env.SIZES ?? "1440x900,390x844")
  .split(",")
  .map((s) => s.split("x").map(Number));
const themes = (process.env.THEMES ?? "light,dark").split(",");

const browser = await startBrowser();
// Nobody waits for it, and the machine may be busy with other things.
browser.context.setDefaultTimeout(120_000);
const page = await browser.page();
const { service, screens, stop } = await make(dir, page);
browser.only(service.origin);
const failed = [];
try {
  let signedIn = false;
  for (const [name, [hash, act]] of Object.entries(screens)) {
    if (!signedIn && name !== "signin") {
      await signIn(page, service.origin);
      signedIn = true;
    }
    if (!name.includes(only)) continue;
    try {
      for (const [width, height] of sizes) {
        await page.setViewportSize({ width, height });
        for (const theme of themes) {
          await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
          await page.goto("about:blank");
          await page.goto(`${service.origin}/admin#${hash}`);
          await page.locator("main h1").waitFor();
          // What is out of sight does not ask for its numbers: everything is in sight once.
          await page.setViewportSize({ width, height: 7000 });
          await page
            .waitForFunction(
              () =>
                !document.querySelector(
                  "main [aria-busy=true], main .skeleton, .sparkcell > .none",
                ),
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
    } catch (e) {
      // One screen that does not come keeps nobody from the others.
      failed.push(name);
      console.error(`${name}: ${e.message}`);
    }
  }
  if (browser.faults.length) console.error(browser.faults);
} finally {
  await browser.stop();
  await service.stop();
  for (const one of stop) await one.stop();
}
if (failed.length) {
  console.error(`not taken: ${failed.join(", ")}`);
  process.exitCode = 1;
}
