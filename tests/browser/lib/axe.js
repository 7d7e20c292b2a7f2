// axe-core in the page. It is evaluated by the browser's debugger, so the page's own policy, which
// allows no such script, stays as it is.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { openScreen } from "./browser.js";

const source = await readFile(
  createRequire(import.meta.url).resolve("axe-core/axe.min.js"),
  "utf8",
);

/** The violations of a page in short; empty when there is none. */
export async function violations(page) {
  if (!(await page.evaluate("Boolean(window.axe)"))) await page.evaluate(source);
  const found = await page.evaluate(() =>
    window.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }),
  );
  return found.violations.map(
    (v) =>
      `${v.id}: ${v.help} (${v.nodes
        .slice(0, 3)
        .map((n) => `${n.target.join(" ")} ${n.any[0]?.message ?? ""}`)
        .join("; ")})`,
  );
}

/** The violations of these screens in a theme. */
export async function allViolations(page, origin, screens, theme) {
  await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
  const found = [];
  for (const hash of screens) {
    await openScreen(page, origin, hash);
    found.push(...(await violations(page)).map((v) => `${hash}: ${v}`));
  }
  return found;
}
