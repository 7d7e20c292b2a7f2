// What lies where nobody sees or reaches it.

import { openScreen } from "./browser.js";

/** The widths that screens are looked at: 320 is also what 1280 pixels are at 400 %. */
export const WIDTHS = [1280, 390, 320];

/** What is `outside` of these screens at a width. */
export async function allOutside(page, origin, screens, width) {
  await page.setViewportSize({ width, height: 800 });
  const found = [];
  for (const hash of screens) {
    await openScreen(page, origin, hash);
    found.push(...(await outside(page)).map((what) => `${hash}: ${what}`));
  }
  return found;
}

/** What is wider than the window, and what can be pressed only after scrolling sideways. */
export const outside = (page) =>
  page.evaluate(() => {
    const found = [];
    const over = document.documentElement.scrollWidth - innerWidth;
    if (over > 0) {
      const wide = [...document.querySelectorAll("main *")].filter(
        (e) => e.getBoundingClientRect().right > innerWidth + 1,
      );
      found.push(`${over} px too wide: ${wide.at(-1)?.outerHTML.slice(0, 120)}`);
    }
    const place = document.querySelector("dialog[open]") ?? document.querySelector("main");
    for (const e of place.querySelectorAll("button, input, select, a.button")) {
      if (!e.checkVisibility() || e.closest(".twin, .sr, .tabs, [popover]")) continue;
      if (e.classList.contains("sr") || (innerWidth < 641 && e.closest("thead"))) continue;
      const { left, right, width } = e.getBoundingClientRect();
      if (width && (left < 0 || right > innerWidth + 1))
        found.push(`out of reach (${left}–${right}): ${e.outerHTML.slice(0, 120)}`);
    }
    for (const table of document.querySelectorAll("main .scroll:not(.twin, .twin *)"))
      if (table.scrollWidth > table.clientWidth + 1)
        found.push(
          `a table ${table.scrollWidth - table.clientWidth} px too wide: ${table.ariaLabel}`,
        );
    for (const row of document.querySelectorAll("main tbody tr"))
      if (row.scrollHeight > row.offsetHeight + 2)
        found.push(`over the next row: ${row.textContent.slice(0, 60)}`);
      else if (row.offsetHeight > 800)
        found.push(`${row.offsetHeight} px high: ${row.textContent.slice(0, 60)}`);
    // What lies over the next column.
    for (const cell of document.querySelectorAll("main tbody :is(th, td)")) {
      const { right } = cell.getBoundingClientRect();
      for (const e of cell.querySelectorAll(
        "*:not(svg, svg *, [popover], [popover] *, .sr, bdi, a > .name)",
      ))
        if (e.checkVisibility() && e.getBoundingClientRect().right > right + 1)
          found.push(`over the next column: ${e.outerHTML.slice(0, 120)}`);
    }
    return found;
  });
