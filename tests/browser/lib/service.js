// The built binary, on a free port and a directory of its own; and its API for what tests need.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = process.env.WORKSPACED_BIN;

export const DEV_KEY = "msk_u_dev";

/** Starts a service; `stop()` ends it by its own process id. */
export async function startService(...flags) {
  const dir = await mkdtemp(join(tmpdir(), "workspaced-browser-"));
  return start(dir, ["--data-dir", join(dir, "data"), ...flags]);
}

/** The same with the month of the demonstration, which is kept nowhere. */
export async function startDemo(...flags) {
  const dir = await mkdtemp(join(tmpdir(), "workspaced-browser-"));
  return start(dir, ["demo", "--no-open", ...flags], 180);
}

async function start(dir, flags, patience = 20) {
  if (!BINARY)
    throw new Error("WORKSPACED_BIN: name the built program, such as target/release/workspaced");
  const child = spawn(BINARY, [...flags, "--listen", "127.0.0.1:0", "--log", "warn"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  const origin = await new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`the service did not start in ${patience} s: ${said}`)),
      patience * 1000,
    );
    const hear = (data) => {
      said += data;
      const found = said.match(/^listening on (http:\/\/\S+)$/m);
      if (found) {
        clearTimeout(timer);
        resolve(found[1]);
      }
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`the service ended with ${code}: ${said}`));
    });
  });
  const key = said.match(/MIOSA_API_KEY=(\S+)/)?.[1] ?? DEV_KEY;

  async function call(method, path, body, as = key) {
    const response = await fetch(`${origin}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${as}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    const reply = text ? JSON.parse(text) : null;
    if (!response.ok)
      throw Object.assign(new Error(`${method} ${path}: ${response.status} ${text}`), {
        status: response.status,
        reply,
      });
    return reply;
  }
  return {
    origin,
    key,
    dir,
    pid: child.pid,
    call,
    get: (path, as) => call("GET", path, undefined, as),
    post: (path, body = {}, as) => call("POST", path, body, as),
    put: (path, body) => call("PUT", path, body),
    async stop() {
      if (child.exitCode === null) {
        child.kill("SIGTERM");
        await new Promise((resolve) => {
          const hard = setTimeout(() => child.kill("SIGKILL"), 12_000);
          child.on("exit", () => {
            clearTimeout(hard);
            resolve();
          });
        });
      }
      await rm(dir, { recursive: true, force: true });
      return { code: child.exitCode, said };
    },
  };
}

/** Waits until `f` answers something true. */
export async function until(f, what, ms = 30_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await f();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
