// Debian's Chromium through Playwright, with an eye on what no page of ours may do: errors in the
// console, and requests to another origin.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--disable-quic",
  // A page that was left stays as it is, with its connections, until there is none left for the next one.
  "--disable-features=BackForwardCache",
];

/** A browser of its own with a fresh profile. */
export async function startBrowser(options = {}) {
  const dir = await mkdtemp(join(tmpdir(), "workspaced-profile-"));
  const context = await chromium.launchPersistentContext(dir, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
    headless: true,
    viewport: { width: 1440, height: 900 },
    locale: "en-GB",
    timezoneId: "Europe/Budapest",
    acceptDownloads: true,
    // A page that is still scrolling or pulsing has no place and no colour to be looked at.
    reducedMotion: "reduce",
    ...options,
  });
  context.setDefaultTimeout(30_000);
  // DELAY_MS=200 holds every answer of the API back, up to so long: what a test takes for granted
  // because the service is quick fails then, every time and not once a week.
  const delay = Number(process.env.DELAY_MS ?? 0);
  if (delay)
    await context.route(/\/(api\/v1|_dev|admin\/session)/, async (route) => {
      await new Promise((resolve) => setTimeout(resolve, delay * Math.random()));
      await route.continue().catch(() => {});
    });
  const faults = [];
  const watch = (page) => {
    page.on("console", (message) => {
      // A refusal that a test provokes is logged by the browser itself as a failed resource.
      if (message.type() === "error" && !/Failed to load resource/.test(message.text()))
        faults.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  };
  context.on("page", watch);
  context.pages().forEach(watch);
  let allowed = [];
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (!allowed.includes(url.origin) && !["data:", "blob:", "about:"].includes(url.protocol))
      faults.push(`request to ${url.origin}`);
  });
  return {
    context,
    faults,
    /** The services that pages may ask from now on. */
    only(...origins) {
      allowed = origins;
    },
    async page() {
      return context.pages().find((p) => p.url() === "about:blank") ?? context.newPage();
    },
    async stop() {
      await context.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Opens the page and signs in by the one click of development mode. */
export async function signIn(page, origin, hash = "") {
  await page.goto(`${origin}/admin${hash}`);
  await page.getByRole("button", { name: "Sign in with msk_u_dev" }).click();
  await page.locator("body.signed-in").waitFor();
}

/** Opens a screen of the page and waits until all of it is there. */
export async function openScreen(page, origin, hash) {
  await page.goto(`${origin}/admin#${hash}`);
  await page.locator(`main[data-path="${hash.split("?")[0]}"] h1`).waitFor();
  await page.waitForFunction(
    () => !document.querySelector("main [aria-busy=true], main .skeleton"),
  );
}
