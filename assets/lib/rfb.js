// @ts-check
// A viewer of screens: RFB 3.8 (RFC 6143) over a WebSocket, without a password, since the server decides who may look.
// Pictures come raw, as copies of what is there already, or packed as ZRLE.

const COPY = 1,
  ZRLE = 16,
  SIZE = -223,
  CURSOR = -239,
  SCREENS = -308;
/** Red, green, blue and nothing, a byte each: as a canvas has them. */
const FORMAT = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0];
const TILE = 64;
/** A wheel turns by a notch for so many pixels. */
const NOTCH = 60;

/** @type {Record<string, number>} */
const KEYS = {
  Backspace: 0xff08,
  Tab: 0xff09,
  Enter: 0xff0d,
  Pause: 0xff13,
  ScrollLock: 0xff14,
  Escape: 0xff1b,
  Home: 0xff50,
  ArrowLeft: 0xff51,
  ArrowUp: 0xff52,
  ArrowRight: 0xff53,
  ArrowDown: 0xff54,
  PageUp: 0xff55,
  PageDown: 0xff56,
  End: 0xff57,
  PrintScreen: 0xff61,
  Insert: 0xff63,
  ContextMenu: 0xff67,
  NumLock: 0xff7f,
  Shift: 0xffe1,
  Control: 0xffe3,
  CapsLock: 0xffe5,
  Alt: 0xffe9,
  Meta: 0xffeb,
  AltGraph: 0xfe03,
  Delete: 0xffff,
};

/**
 * The number by which X knows a key; 0 for one that it does not.
 * @param {{ key: string }} event
 */
export function keysym({ key }) {
  const known = KEYS[key];
  if (known) return known;
  const f = /^F(\d\d?)$/.exec(key);
  if (f) return 0xffbd + Number(f[1]);
  const point = key.codePointAt(0) ?? 0;
  if (String.fromCodePoint(point) !== key || point < 32) return 0;
  return point < 256 ? point : 0x01000000 + point;
}

/** Bytes that have come and were not read. */
class Bytes {
  /** @type {Uint8Array[]} */
  #chunks = [];
  #at = 0;
  #length = 0;
  #over = false;
  /** @type {(() => void) | null} */
  #woken = null;

  /** @param {Uint8Array} bytes */
  push(bytes) {
    this.#chunks.push(bytes);
    this.#length += bytes.length;
    this.#woken?.();
  }
  end() {
    this.#over = true;
    this.#woken?.();
  }
  /** @param {number} length */
  has(length) {
    return this.#length >= length;
  }
  /** @param {number} length */
  async wait(length) {
    while (!this.has(length)) {
      if (this.#over) throw new Error("it ended");
      await new Promise((resolve) => {
        this.#woken = () => resolve(null);
      });
    }
  }
  /** @param {number} length */
  async take(length) {
    if (!this.has(length)) await this.wait(length);
    return this.read(length);
  }
  /**
   * Bytes that are there.
   * @param {number} length
   */
  read(length) {
    this.#length -= length;
    const [first] = this.#chunks;
    if (first && first.length - this.#at > length) {
      this.#at += length;
      return first.subarray(this.#at - length, this.#at);
    }
    const whole = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const chunk = this.#chunks[0].subarray(this.#at, this.#at + length - done);
      whole.set(chunk, done);
      done += chunk.length;
      this.#at += chunk.length;
      if (this.#at === this.#chunks[0].length) {
        this.#chunks.shift();
        this.#at = 0;
      }
    }
    return whole;
  }
}

/** @param {Uint8Array} bytes */
const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** What is packed on the way: one stream for as long as the connection lasts. */
function unpacker() {
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  const out = new Bytes();
  (async () => {
    const reader = stream.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      out.push(value);
    }
  })().catch(() => out.end());
  /** @param {Uint8Array} bytes */
  const add = (bytes) => writer.write(/** @type {any} */ (bytes)).catch(() => out.end());
  return { out, add };
}

/**
 * A tile of a ZRLE rectangle, as pixels of a canvas.
 * @param {Bytes} from
 * @param {ImageData} image
 */
async function tile(from, { data, width, height }) {
  const [how] = await from.take(1);
  const many = width * height;
  let at = 0;
  /**
   * @param {Uint8Array} colour
   * @param {number} offset
   * @param {number} count
   */
  function fill(colour, offset, count) {
    for (; count > 0; count--, at += 4) {
      data[at] = colour[offset];
      data[at + 1] = colour[offset + 1];
      data[at + 2] = colour[offset + 2];
      data[at + 3] = 255;
    }
  }
  async function run() {
    let length = 1,
      more;
    do {
      [more] = await from.take(1);
      length += more;
    } while (more === 255);
    return length;
  }
  if (how === 0) {
    const pixels = await from.take(many * 3);
    for (let i = 0; i < many; i++) fill(pixels, i * 3, 1);
  } else if (how === 1) {
    fill(await from.take(3), 0, many);
  } else if (how <= 16) {
    const palette = await from.take(how * 3);
    const bits = how === 2 ? 1 : how <= 4 ? 2 : 4;
    const row = Math.ceil((width * bits) / 8);
    const packed = await from.take(row * height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const bit = x * bits;
        const byte = packed[y * row + (bit >> 3)];
        fill(palette, ((byte >> (8 - bits - (bit & 7))) & ((1 << bits) - 1)) * 3, 1);
      }
  } else if (how === 128) {
    while (at < many * 4) {
      const colour = await from.take(3);
      fill(colour, 0, await run());
    }
  } else if (how >= 130) {
    const palette = await from.take((how - 128) * 3);
    while (at < many * 4) {
      const [index] = await from.take(1);
      fill(palette, (index & 127) * 3, index & 128 ? await run() : 1);
    }
  } else throw new Error("a picture that nobody knows");
}

/**
 * Shows a screen on a canvas, and takes pointer and keys to it. `onend` is told why it ended.
 * @param {string | URL} url
 * @param {HTMLCanvasElement} canvas
 * @param {{ viewOnly?: boolean, onopen?: () => void, onend?: (why: string) => void }} [options]
 */
export function show(url, canvas, { viewOnly = false, onopen, onend } = {}) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  const come = new Bytes(),
    packed = unpacker(),
    listening = new AbortController();
  /** @type {Uint8Array | null} Of the one screen, as the server describes it; it can then be asked for another size. */
  let screen = null;
  let over = "";
  /** @param {ArrayLike<number>} bytes */
  function say(bytes) {
    if (socket.readyState === WebSocket.OPEN) socket.send(Uint8Array.from(bytes));
  }
  /** @param {number} n */
  const short = (n) => [(n >> 8) & 255, n & 255];
  /** @param {number} n */
  const long = (n) => [(n >> 24) & 255, (n >> 16) & 255, (n >> 8) & 255, n & 255];
  /** @param {boolean} changes */
  const ask = (changes) =>
    say([3, changes ? 1 : 0, 0, 0, 0, 0, ...short(canvas.width), ...short(canvas.height)]);

  /**
   * @param {number} width
   * @param {number} height
   */
  function resized(width, height) {
    if (canvas.width === width && canvas.height === height) return;
    canvas.width = width;
    canvas.height = height;
    canvas.dispatchEvent(new Event("resize"));
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  async function raw(width, height) {
    const image = new ImageData(width, height);
    image.data.set(await come.take(width * height * 4));
    for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
    return image;
  }

  /**
   * @param {number} left
   * @param {number} top
   * @param {number} width
   * @param {number} height
   */
  async function zrle(left, top, width, height) {
    const length = view(await come.take(4)).getUint32(0);
    packed.add((await come.take(length)).slice());
    for (let y = 0; y < height; y += TILE)
      for (let x = 0; x < width; x += TILE) {
        const image = new ImageData(Math.min(TILE, width - x), Math.min(TILE, height - y));
        await tile(packed.out, image);
        pen.putImageData(image, left + x, top + y);
      }
  }

  /**
   * The pointer is drawn by the browser: it is where the hand is, and not where the network has come to.
   * @param {number} x
   * @param {number} y
   * @param {number} width
   * @param {number} height
   */
  async function cursor(x, y, width, height) {
    if (!width || !height) {
      canvas.style.cursor = "default";
      return;
    }
    const image = await raw(width, height);
    const row = Math.ceil(width / 8);
    const mask = await come.take(row * height);
    for (let i = 0; i < width * height; i++) {
      const column = i % width;
      const byte = mask[Math.floor(i / width) * row + (column >> 3)];
      if (!(byte & (128 >> (column & 7)))) image.data[i * 4 + 3] = 0;
    }
    const small = document.createElement("canvas");
    small.width = width;
    small.height = height;
    small.getContext("2d")?.putImageData(image, 0, 0);
    canvas.style.cursor = `url(${small.toDataURL()}) ${x} ${y}, default`;
  }

  /** @returns {Promise<boolean>} whether there may be more */
  async function rectangle() {
    const head = view(await come.take(12));
    const [x, y, width, height] = [0, 2, 4, 6].map((at) => head.getUint16(at));
    const how = head.getInt32(8);
    if (how === 0) {
      if (width && height) pen.putImageData(await raw(width, height), x, y);
    } else if (how === COPY) {
      const from = view(await come.take(4));
      const [left, top] = [from.getUint16(0), from.getUint16(2)];
      pen.drawImage(canvas, left, top, width, height, x, y, width, height);
    } else if (how === ZRLE) await zrle(x, y, width, height);
    else if (how === CURSOR) await cursor(x, y, width, height);
    else if (how === SIZE) {
      resized(width, height);
      ask(false);
    } else if (how === SCREENS) {
      const [count] = await come.take(4);
      const screens = (await come.take(16 * count)).slice();
      screen = count === 1 ? screens : null;
      // Refused: it stays as it is.
      if (x !== 1 || y === 0) resized(width, height);
      ask(false);
    } else throw new Error("a picture that nobody knows");
    return true;
  }

  async function talk() {
    await come.take(12);
    say(new TextEncoder().encode("RFB 003.008\n"));
    const [kinds] = await come.take(1);
    await come.take(kinds);
    say([1]);
    await come.take(4);
    say([1]);
    const head = view(await come.take(24));
    await come.take(head.getUint32(20));
    resized(head.getUint16(0), head.getUint16(2));
    say([0, 0, 0, 0, ...FORMAT]);
    // Who only looks has the pointer of who does something in the picture.
    const known = [ZRLE, COPY, 0, SIZE, SCREENS, ...(viewOnly ? [] : [CURSOR])];
    say([2, 0, ...short(known.length), ...known.flatMap(long)]);
    ask(false);
    onopen?.();
    for (;;) {
      const [kind] = await come.take(1);
      if (kind === 0) {
        const count = view(await come.take(3)).getUint16(1);
        for (let i = 0; i < count; i++) await rectangle();
        ask(true);
      } else if (kind === 1) {
        const count = view(await come.take(5)).getUint16(3);
        await come.take(count * 6);
      } else if (kind === 3) {
        const length = view(await come.take(7)).getInt32(3);
        await come.take(Math.abs(length));
      } else if (kind !== 2) throw new Error("a message that nobody knows");
    }
  }

  /** @type {Map<string, number>} Keys that are down, by where they are. */
  const down = new Map();
  /**
   * @param {boolean} pressed
   * @param {number} key
   */
  const press = (pressed, key) => say([4, pressed ? 1 : 0, 0, 0, ...long(key)]);
  function release() {
    down.forEach((key) => press(false, key));
    down.clear();
  }
  /** @type {MouseEvent | null} */
  let moved = null;
  /**
   * @param {MouseEvent} event
   * @param {number} [wheel]
   */
  function point(event, wheel = 0) {
    moved = null;
    const place = canvas.getBoundingClientRect();
    /**
     * @param {number} at
     * @param {number} size
     * @param {number} pixels
     */
    const scaled = (at, size, pixels) =>
      Math.max(0, Math.min(pixels - 1, Math.round((at / size) * pixels)));
    const x = scaled(event.clientX - place.left, place.width, canvas.width);
    const y = scaled(event.clientY - place.top, place.height, canvas.height);
    const { buttons } = event;
    const mask = (buttons & 1) | (buttons & 4 ? 2 : 0) | (buttons & 2 ? 4 : 0) | wheel;
    say([5, mask, ...short(x), ...short(y)]);
  }
  function work() {
    /**
     * @param {string} name
     * @param {(event: any) => void} then
     */
    const on = (name, then) =>
      canvas.addEventListener(name, then, { signal: listening.signal, passive: false });
    on("pointerdown", (event) => {
      canvas.focus();
      canvas.setPointerCapture(event.pointerId);
      point(event);
      event.preventDefault();
    });
    on("pointerup", (event) => point(event));
    on("pointermove", (event) => {
      if (!moved) requestAnimationFrame(() => moved && point(moved));
      moved = event;
    });
    on("contextmenu", (event) => event.preventDefault());
    let turned = 0;
    on("wheel", (event) => {
      event.preventDefault();
      const sideways = !event.deltaY;
      turned += (sideways ? event.deltaX : event.deltaY) * (event.deltaMode ? NOTCH / 3 : 1);
      for (; Math.abs(turned) >= NOTCH; turned -= Math.sign(turned) * NOTCH) {
        const back = turned < 0;
        point(event, sideways ? (back ? 32 : 64) : back ? 8 : 16);
        point(event);
      }
    });
    on("keydown", (event) => {
      // The way out for who has no mouse.
      if (event.ctrlKey && event.altKey && event.shiftKey) {
        release();
        canvas.blur();
        return;
      }
      const key = keysym(event);
      if (!key) return;
      event.preventDefault();
      down.set(event.code, key);
      press(true, key);
    });
    on("keyup", (event) => {
      const key = down.get(event.code);
      if (!key) return;
      event.preventDefault();
      down.delete(event.code);
      press(false, key);
    });
    on("blur", release);
  }

  socket.onmessage = ({ data }) => come.push(new Uint8Array(data));
  socket.onclose = ({ code, reason }) => {
    over ||= reason || (code === 1006 ? "there is no connection" : "it ended");
    come.end();
  };
  if (!viewOnly) work();
  talk().catch((e) => {
    over ||= e.message;
    listening.abort();
    packed.out.end();
    socket.close(1000);
    onend?.(over);
  });
  return {
    close() {
      over ||= "closed";
      socket.close(1000);
      come.end();
    },
    /** @param {string} text */
    text(text) {
      const letters = Array.from(text, (c) => c.codePointAt(0) ?? 63);
      const bytes = letters.map((point) => (point < 256 ? point : 63));
      say([6, 0, 0, 0, ...long(bytes.length), ...bytes]);
    },
    /** Keys that the browser keeps to itself. */
    reset: () => {
      const keys = [KEYS.Control, KEYS.Alt, KEYS.Delete];
      keys.forEach((key) => press(true, key));
      keys.reverse().forEach((key) => press(false, key));
    },
    /**
     * Asks for another size; false where it cannot have one.
     * @param {number} width
     * @param {number} height
     */
    resize(width, height) {
      if (!screen) return false;
      const one = Array.from(screen);
      one.splice(4, 8, 0, 0, 0, 0, ...short(width), ...short(height));
      say([251, 0, ...short(width), ...short(height), 1, 0, ...one]);
      return true;
    },
  };
}
