// @ts-check
// A screen by a link. Whether pointer and keys do anything is decided by the server.

import { show } from "./lib/rfb.js";

const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("screen"));
const note = /** @type {HTMLElement} */ (document.getElementById("note"));
const url = new URL(`${location.pathname.replace(/\/$/, "")}/stream`, location.href);
url.protocol = url.protocol.replace("http", "ws");

show(url, canvas, {
  onopen() {
    note.textContent = "";
    canvas.focus();
  },
  onend(why) {
    canvas.hidden = true;
    const none = why === "there is no connection";
    note.textContent = none
      ? "This link has ended or was taken back, or its computer does not run. Ask whoever gave it to you."
      : `The screen is closed: ${why}.`;
  },
});
