import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inflateRawSync } from "node:zlib";
import { signIn, startBrowser } from "./lib/browser.js";
import { startDemo } from "./lib/service.js";

// The month of the demonstration, which is over: twelve customers, and the workspace that each organization has.
const MONTH = "2026-05";
let service, browser, page, dir;
before(async () => {
  service = await startDemo("--speed", "1");
  const clock = await fetch(`${service.origin}/_dev/clock`, {
    method: "POST",
    headers: { authorization: `Bearer ${service.key}`, "content-type": "application/json" },
    body: JSON.stringify({ now: "2026-06-02T00:00:00Z" }),
  });
  assert.equal(clock.status, 200);
  await service.put("/tenant/prices", {
    effective_from: MONTH,
    currency: "EUR",
    price_per_credit: "0.0125",
    discount_percent: "10",
    included_credits: "100",
    billing_increment: "minute",
    tax_rate: "27",
    tax_name: "VAT",
    head: "Meridian Care Hosting Ltd.\n12 Quay Street, Dublin 2\nVAT IE1234567T",
    foot: "Payable within 14 days.",
  });
  dir = process.env.PICTURES ?? (await mkdtemp(join(tmpdir(), "workspaced-close-")));
  browser = await startBrowser({ acceptDownloads: true });
  browser.only(service.origin);
  page = await browser.page();
  await signIn(page, service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
  if (dir && !process.env.PICTURES) await rm(dir, { recursive: true, force: true });
});

/** The files of a zip, by name. */
function unzipped(bytes) {
  const files = new Map();
  let at = bytes.readUInt32LE(bytes.length - 6);
  for (let left = bytes.readUInt16LE(bytes.length - 12); left > 0; left -= 1) {
    const [size, name, extra, comment] = [20, 28, 30, 32].map((n) =>
      n === 20 ? bytes.readUInt32LE(at + n) : bytes.readUInt16LE(at + n),
    );
    const local = bytes.readUInt32LE(at + 42);
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const data = bytes.subarray(start, start + size);
    const whole = bytes.readUInt16LE(at + 10) === 0 ? data : inflateRawSync(data);
    files.set(bytes.toString("utf8", at + 46, at + 46 + name), whole);
    at += 46 + name + extra + comment;
  }
  return files;
}

const hasPictures = () => {
  try {
    execFileSync("pdftoppm", ["-v"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

test("the month of the demonstration is closed: a statement for each of twelve customers", async () => {
  await page.goto(`${service.origin}/admin#/billing`);
  await page.getByRole("button", { name: "Close the month for all customers" }).click();
  await page.getByText("is closed: 12 new statements.").waitFor();
  const { data, total } = await service.get(`/statements?period=${MONTH}&limit=100`);
  assert.equal(total, 12);
  // Together they are what the organization used, to the millionth of a credit.
  const used = await service.get(`/usage/series?period=${MONTH}`);
  const sum = data.reduce((micros, one) => micros + one.credits_micros, 0);
  assert.equal(sum, used.total_credits_micros);
  let lines = 0;
  for (const one of data) {
    const whole = await service.get(`/workspaces/${one.workspace_id}/statements/${one.number}`);
    for (const line of whole.lines) if (line.computer_id) lines += line.credits_micros;
  }
  assert.equal(lines, sum, "and so are their lines");
  assert.equal((await service.get("/statements/verify")).ok, true);
});

for (const [paper, size] of [
  ["a4", /595\.\d+ 841\.\d+/],
  ["letter", /612(\.0+)? 792(\.0+)?/],
])
  test(`all of them as PDF on ${paper}, a page each`, async (t) => {
    const response = await fetch(
      `${service.origin}/api/v1/statements?period=${MONTH}&format=zip&paper=${paper}`,
      { headers: { authorization: `Bearer ${service.key}` } },
    );
    const files = unzipped(Buffer.from(await response.arrayBuffer()));
    assert.equal(files.size, 12);
    for (const [name, bytes] of files) {
      const text = bytes.toString("latin1");
      assert.match(text, size, name);
      assert.match(text, /\/Count 1\b/, name);
      await writeFile(join(dir, `${paper}-${name}`), bytes);
    }
    if (!hasPictures()) return t.skip("there is no pdftoppm: pages are not drawn");
    for (const name of await readdir(dir)) {
      if (!name.startsWith(`${paper}-`) || !name.endsWith(".pdf")) continue;
      const to = join(dir, name.replace(".pdf", ""));
      execFileSync("pdftoppm", ["-r", "50", "-gray", "-singlefile", join(dir, name), to]);
      const bytes = await readFile(`${to}.pgm`);
      const [, width, height] = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString("latin1", 0, 40));
      const pixels = bytes.subarray(bytes.length - width * height);
      // Something is drawn, and nothing of it reaches the margins.
      const dark = (x, y) => pixels[y * width + x] < 200;
      const all = [...pixels.keys()].filter((n) => pixels[n] < 200);
      assert.ok(all.length > 800, `${name}: ${all.length} dark pixels`);
      const edge = 15;
      for (let y = 0; y < height; y += 1)
        for (let x = 0; x < edge; x += 1)
          assert.ok(!dark(x, y) && !dark(width - 1 - x, y), `${name} at ${x}, ${y}`);
    }
    return undefined;
  });

test("no error in the console, no request to another origin", () =>
  assert.deepEqual(browser.faults, []));
