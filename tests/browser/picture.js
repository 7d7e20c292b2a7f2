// The picture in the README: the overview of the demo, `node picture.js ../../assets/manual/overview.png`.

import { spawn } from "node:child_process";
import { startBrowser } from "./lib/browser.js";

const [file] = process.argv.slice(2);
if (!file || !process.env.WORKSPACED_BIN)
  throw new Error("WORKSPACED_BIN=PROGRAM node picture.js FILE");

const browser = await startBrowser();
const demo = spawn(
  process.env.WORKSPACED_BIN,
  ["demo", "--no-open", "--speed", "1", "--listen", "127.0.0.1:0", "--log", "warn"],
  { stdio: ["ignore", "pipe", "inherit"] },
);
try {
  let said = "";
  for await (const data of demo.stdout) {
    said += data;
    if (/^listening on /m.test(said)) break;
  }
  const page = await browser.page();
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await page.goto(said.match(/http:\S+\/_dev\/visit\/\S+/)[0]);
  await page.locator("main h1").waitFor();
  await page.waitForFunction(
    () => !document.querySelector("main [aria-busy=true], main .skeleton"),
  );
  await page.waitForTimeout(500);
  await page.screenshot({ path: file });
} finally {
  await browser.stop();
  demo.kill();
}
