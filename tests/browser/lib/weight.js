// What the page weighs on its way: every file that it has asked for, compressed as a browser asks for it.

import { get } from "node:http";

const bytes = (url) =>
  new Promise((resolve, reject) => {
    get(url, { headers: { "accept-encoding": "gzip" } }, (response) => {
      let sum = 0;
      response.on("data", (chunk) => {
        sum += chunk.length;
      });
      response.on("end", () =>
        response.statusCode === 200
          ? resolve(sum)
          : reject(new Error(`${url}: ${response.statusCode}`)),
      );
    }).on("error", reject);
  });

/** The paths of the files that a page, so far, consists of. */
export const filesOf = (page) =>
  page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .concat(performance.getEntriesByType("navigation"))
      .map((e) => new URL(e.name).pathname)
      .filter((path) => /^\/(admin$|assets\/)/.test(path)),
  );

/** The sum of the bodies, in bytes. */
export async function weigh(origin, paths) {
  let sum = 0;
  for (const path of new Set(paths)) sum += await bytes(origin + path);
  return sum;
}
