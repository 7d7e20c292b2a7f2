// The screens of the page, read from its source: a screen that is added is looked at, too, or a test says so.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

const SOURCE = join(import.meta.dirname, "../../../assets/app.js");

/** The screens, and the sides of a screen, that are not among these addresses. */
export async function uncovered(hashes) {
  const paths = hashes.map((hash) => hash.split("?")[0]);
  const source = await readFile(SOURCE, "utf8");
  const patterns = [...source.matchAll(/^\s*\[?\/(\^.*\$)\/,/gm)].map((found) => found[1]);
  if (patterns.length < 10) throw new Error(`app.js names ${patterns.length} screens`);
  return patterns.flatMap(sidesOf).filter((one) => !paths.some((path) => RegExp(one).test(path)));
}

/** One pattern for each word of the alternatives in a pattern. */
function sidesOf(pattern) {
  const words = pattern.match(/\((\w+(?:\|\w+)+)\)/)?.[1];
  return words
    ? words.split("|").map((word) => pattern.replace(/\(\?:.*\)\?/, `\\/${word}`))
    : [pattern];
}

/** The screens of an installation with this workspace, computer, project and webhook, and all sides of them. */
export const screensOf = ({ workspace, computer, project, webhook }) => [
  "/",
  "/workspaces",
  "/computers",
  "/projects",
  "/billing",
  "/keys",
  "/webhooks",
  `/webhooks/${webhook}`,
  "/activity",
  "/deleted",
  "/system",
  ...screensBelow({ workspace, computer, project }),
];

/** Those of one workspace and of what is in it. */
export const screensBelow = ({ workspace, computer, project }) => [
  `/workspaces/${workspace}/usage?group_by=computer&table=1`,
  `/workspaces/${workspace}/bill`,
  `/workspaces/${workspace}/computers`,
  `/workspaces/${workspace}/projects`,
  `/workspaces/${workspace}/domain`,
  `/workspaces/${workspace}/settings`,
  `/workspaces/${workspace}/activity`,
  `/computers/${computer}`,
  `/projects/${project}`,
];
