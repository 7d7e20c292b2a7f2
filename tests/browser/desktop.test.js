// The viewer of screens, against a screen that a test draws: what it is sent it shows, and what is done to it it sends.

import assert from "node:assert/strict";
import { constants, createDeflate } from "node:zlib";
import { after, before, test } from "node:test";
import { violations } from "./lib/axe.js";
import { startBrowser } from "./lib/browser.js";
import { startService, until } from "./lib/service.js";

let service, browser;
before(async () => {
  service = await startService("--dev");
  browser = await startBrowser();
  browser.only(service.origin);
});
after(async () => {
  await browser?.stop();
  await service?.stop();
});

const short = (n) => [(n >> 8) & 255, n & 255];
const long = (n) => [(n >> 24) & 255, (n >> 16) & 255, (n >> 8) & 255, n & 255];
const rectangle = (x, y, width, height, how, ...rest) => [
  ...short(x),
  ...short(y),
  ...short(width),
  ...short(height),
  ...long(how),
  ...rest,
];
const update = (...all) => [0, 0, ...short(all.length), ...all.flat()];
const RED = [255, 0, 0],
  GREEN = [0, 255, 0],
  BLUE = [0, 0, 255];

/** One stream of packed pieces, as a server keeps it. */
function packer() {
  const stream = createDeflate({ flush: constants.Z_SYNC_FLUSH });
  return (bytes) =>
    new Promise((resolve) => {
      const out = [];
      const take = (piece) => out.push(piece);
      stream.on("data", take);
      stream.write(Uint8Array.from(bytes), () =>
        stream.flush(constants.Z_SYNC_FLUSH, () => {
          setTimeout(() => {
            stream.off("data", take);
            resolve([...Buffer.concat(out)]);
          }, 20);
        }),
      );
    });
}

/** A screen of 100 x 80 behind the page of a link; `got` is what the viewer sent after its hello. */
async function screen(page) {
  const state = { got: [], socket: null, asked: 0 };
  await page.routeWebSocket(/\/desktop\/x\/stream$/, (socket) => {
    state.socket = socket;
    let step = 0;
    socket.send(Buffer.from("RFB 003.008\n"));
    socket.onMessage((message) => {
      const bytes = [...Buffer.from(message)];
      step += 1;
      if (step === 1) socket.send(Buffer.from([1, 1]));
      else if (step === 2) socket.send(Buffer.from([0, 0, 0, 0]));
      else if (step === 3) {
        const name = [...Buffer.from("test")];
        const format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        socket.send(
          Buffer.from([...short(100), ...short(80), ...format, ...long(name.length), ...name]),
        );
      } else {
        if (bytes[0] === 3) state.asked += 1;
        state.got.push(bytes);
      }
    });
  });
  // Nothing is behind this link: the page is served all the same, and says so.
  await page.goto(`${service.origin}/desktop/x`);
  await until(() => state.asked > 0, "the picture to be asked for");
  return { ...state, state, say: (bytes) => state.socket.send(Buffer.from(bytes)) };
}

const pixel = (page, x, y) =>
  page.evaluate(
    ([x, y]) => [
      ...document.querySelector("canvas").getContext("2d").getImageData(x, y, 1, 1).data,
    ],
    [x, y],
  );
const looks = (page, x, y, colour) =>
  until(
    async () => String(await pixel(page, x, y)) === String([...colour, 255]),
    `${colour} at ${x},${y}`,
  );

test("pictures are shown in every form that is asked for", async () => {
  const page = await browser.page();
  const { say, state } = await screen(page);
  const encodings = state.got.find((bytes) => bytes[0] === 2);
  assert.equal(encodings[3], 6, "packed, copied, raw, two sizes, pointer");
  const square = (colour) =>
    Array(16)
      .fill([...colour, 0])
      .flat();
  say(update(rectangle(0, 0, 4, 4, 0, ...square(RED)), rectangle(4, 0, 4, 4, 0, ...square(BLUE))));
  await looks(page, 3, 3, RED);
  await looks(page, 4, 0, BLUE);
  say(update(rectangle(20, 20, 4, 4, 1, ...short(4), ...short(0))));
  await looks(page, 21, 21, BLUE);

  // Tiles of ZRLE: one colour; a palette; runs; runs of a palette; raw. Wider than a tile.
  const pack = packer();
  const zrle = async (x, y, width, height, tiles) => {
    const packed = await pack(tiles);
    say(update(rectangle(x, y, width, height, 16, ...long(packed.length), ...packed)));
  };
  await zrle(0, 0, 70, 2, [1, ...GREEN, 1, ...RED]);
  await looks(page, 63, 1, GREEN);
  await looks(page, 64, 0, RED);
  await zrle(0, 10, 4, 2, [2, ...RED, ...BLUE, 0b01010000, 0b10100000]);
  await looks(page, 1, 10, BLUE);
  await looks(page, 1, 11, RED);
  await zrle(0, 30, 20, 20, [128, ...GREEN, 255, 44, ...BLUE, 99]);
  await looks(page, 19, 44, GREEN);
  await looks(page, 0, 45, BLUE);
  await zrle(0, 60, 3, 1, [130, ...RED, ...GREEN, 0, 0x81, 1]);
  await looks(page, 0, 60, RED);
  await looks(page, 2, 60, GREEN);
  await zrle(0, 70, 2, 1, [0, ...BLUE, ...GREEN]);
  await looks(page, 1, 70, GREEN);

  // Cut anywhere on its way.
  const whole = update(rectangle(50, 50, 4, 4, 0, ...square(GREEN)));
  for (const byte of whole) say([byte]);
  await looks(page, 53, 53, GREEN);

  const before = state.asked;
  say(update(rectangle(0, 0, 120, 90, -223)));
  await page.waitForFunction(() => document.querySelector("canvas").width === 120);
  await until(() => state.asked > before, "all of it to be asked for again");
  assert.deepEqual(await violations(page), []);
});

test("pointer, wheel and keys are sent, and let go when the keyboard goes elsewhere", async () => {
  const page = await browser.context.newPage();
  const { state } = await screen(page);
  const canvas = page.locator("canvas");
  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down({ button: "right" });
  await page.mouse.up({ button: "right" });
  await page.mouse.wheel(0, 120);
  const points = () => state.got.filter((bytes) => bytes[0] === 5);
  await until(() => points().some((p) => p[1] === 16), "the wheel");
  const pressed = points().find((p) => p[1] === 4);
  assert.ok(Math.abs(pressed[3] - 50) <= 1 && Math.abs(pressed[5] - 40) <= 1, `${pressed}`);
  await until(() => points().at(-1)[1] === 0, "the wheel to be let go");

  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  // A letter of another keyboard.
  for (const kind of ["keydown", "keyup"])
    await canvas.dispatchEvent(kind, { key: "€", code: "KeyE" });
  await page.keyboard.down("Shift");
  const keys = () => state.got.filter((bytes) => bytes[0] === 4).map((k) => [k[1], k.slice(4)]);
  await until(() => keys().length >= 7, "the keys");
  assert.deepEqual(keys().slice(0, 7), [
    [1, long(0x61)],
    [0, long(0x61)],
    [1, long(0xff0d)],
    [0, long(0xff0d)],
    [1, long(0x010020ac)],
    [0, long(0x010020ac)],
    [1, long(0xffe1)],
  ]);
  // The way out for who has no mouse, which lets go what is down.
  await page.keyboard.down("Control");
  await page.keyboard.down("Alt");
  await until(() => keys().some(([down, key]) => !down && key[3] === 0xe1), "Shift to be let go");
  assert.equal(await page.evaluate(() => document.activeElement === document.body), true);
});

test("a link that opens nothing says so, and a strange screen ends it", async () => {
  const page = await browser.context.newPage();
  await page.goto(`${service.origin}/desktop/0123456789`);
  await page.getByText("This link has ended or was taken back").waitFor();
  const { say } = await screen(page);
  say([99]);
  await page.getByText("The screen is closed: a message that nobody knows.").waitFor();
});

test("nothing else was asked for, and nothing went wrong", () => {
  assert.deepEqual(
    browser.faults.filter((fault) => !/WebSocket connection to/.test(fault)),
    [],
  );
});
