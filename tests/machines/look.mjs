// The screen of a real computer in a real browser: opened and typed into on the admin page, then only watched by a link.

import assert from "node:assert/strict";
import { join } from "node:path";
import { signIn, startBrowser } from "../browser/lib/browser.js";

const [origin, id, link, shots] = process.argv.slice(2);

/** How many colours a canvas shows. */
const colours = (page) =>
    page.evaluate(() => {
        const canvas = document.querySelector("canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const seen = new Set();
        for (let i = 0; i < data.length; i += 4)
            seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
        return [canvas.width, canvas.height, seen.size];
    });

async function shown(page) {
    for (let i = 0; i < 100; i++) {
        const [width, , many] = await colours(page);
        if (width > 100 && many > 5) return;
        await page.waitForTimeout(100);
    }
    assert.fail(`nothing is shown: ${await colours(page)}`);
}

const browser = await startBrowser();
browser.only(origin, new URL(link).origin);
try {
    const page = await browser.page();
    await signIn(page, origin, `#/computers/${id}`);
    const panel = page.locator("section", { has: page.getByRole("heading", { name: "Desktop" }) });
    const began = Date.now();
    await panel.getByRole("button", { name: "Open", exact: true }).click();
    await page.getByText("Click into it to type").waitFor();
    await shown(page);
    console.log(`the page shows the screen after ${Date.now() - began} ms`);
    await page.keyboard.type("echo by the page > /tmp/page", { delay: 20 });
    await page.keyboard.press("Enter");
    await page.waitForTimeout(1000);
    await panel.scrollIntoViewIfNeeded();
    await page.screenshot({ path: join(shots, "4-page.png"), fullPage: true });
    await panel.getByRole("button", { name: "Fit" }).click();
    await page.waitForFunction(() => document.querySelector("canvas").width !== 1280);
    await shown(page);
    await panel.screenshot({ path: join(shots, "5-fit.png") });

    const other = await browser.context.newPage();
    await other.goto(link);
    await shown(other);
    await other.locator("canvas").click();
    await other.keyboard.type("echo by the link > /tmp/link", { delay: 20 });
    await other.keyboard.press("Enter");
    await other.waitForTimeout(1000);
    await other.screenshot({ path: join(shots, "6-link.png") });
    assert.deepEqual(browser.faults, []);
} finally {
    await browser.stop();
}
