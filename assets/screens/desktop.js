// @ts-check
// The screen of a computer whose image has one, and links to it for who has no key.

import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { button, copyable, empty, toast, toastError } from "../lib/ui.js";
import { actingIn } from "../lib/organizations.js";
import { show } from "../lib/rfb.js";
import { time } from "../lib/format.js";

/** Seconds of a link. */
const TTL = 3600;

/**
 * The panel's place, its buttons, and what closes it.
 * @param {string} id
 */
export function desktop(id) {
  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": "Screen" });
  const links = h("div");
  const note = h("p", { class: "hint", role: "status" });
  const place = h(
    "div",
    { class: "screen" },
    empty("No screen is open", "Watching keeps no computer awake; pointer and keys do."),
  );
  /** @type {ReturnType<typeof show> | null} */
  let open = null;

  /** @param {boolean} viewOnly */
  async function look(viewOnly) {
    open?.close();
    const url = new URL(
      `api/v1/computers/${id}/desktop/stream?view_only=${viewOnly}`,
      document.baseURI,
    );
    url.protocol = url.protocol.replace("http", "ws");
    actingIn(url);
    fill(place, canvas, note);
    note.textContent = "Connecting…";
    const mine = show(url, canvas, {
      viewOnly,
      onopen() {
        note.textContent = viewOnly
          ? "You only watch."
          : "Click into it to type; Ctrl+Alt+Shift leaves it.";
        if (!viewOnly) canvas.focus();
      },
      async onend(why) {
        if (open !== mine) return;
        open = null;
        note.textContent = why === "closed" ? "Closed." : `It ended: ${await reason(why)}.`;
      },
    });
    open = mine;
  }
  /**
   * A connection that was refused says nothing; the API says why.
   * @param {string} why
   */
  async function reason(why) {
    if (why !== "there is no connection") return why;
    const said = await api.get(`/computers/${id}/desktop/screen-size`).then(
      () => why,
      (e) => e.message,
    );
    return said.replace(/\.$/, "");
  }
  async function make() {
    try {
      const made = await api.post(`/computers/${id}/desktop-links`, { ttl_seconds: TTL });
      // By the address at which this page was reached.
      const url = new URL(`desktop/${made.token}`, document.baseURI).href;
      const row = h("p", null);
      async function revoke() {
        try {
          await api.delete(`/computers/${id}/desktop-links/${made.id}`);
          row.remove();
          toast("The link opens nothing any more.");
        } catch (e) {
          toastError(e);
        }
      }
      fill(
        row,
        "To watch, until ",
        time(made.expires_at),
        ": ",
        copyable(url, { label: "Copy the link" }),
        " ",
        button("Revoke", revoke, { kind: "small" }),
      );
      links.append(row);
    } catch (e) {
      toastError(e);
    }
  }
  async function paste() {
    try {
      const text = await navigator.clipboard.readText();
      await api.post(`/computers/${id}/desktop/clipboard`, { text });
      toast("It is in the clipboard of the computer.");
    } catch (e) {
      toastError(e);
    }
  }
  async function copy() {
    try {
      const { text } = await api.get(`/computers/${id}/desktop/clipboard`);
      await navigator.clipboard.writeText(text);
      toast("The clipboard of the computer is in yours.");
    } catch (e) {
      toastError(e);
    }
  }
  function fit() {
    const width = Math.floor(place.clientWidth / 8) * 8;
    const height = Math.floor((window.innerHeight * 0.8) / 8) * 8;
    if (!open?.resize(width, height)) toast("This screen cannot have another size.", "bad");
  }
  const close = () => open?.close();
  const actions = [
    button("Open", () => look(false)),
    button("Watch", () => look(true)),
    button("Fit", fit),
    button("Copy", copy),
    button("Paste", paste),
    button("Link to watch", make),
    button("Close", close),
  ];
  return { element: h("div", null, place, links), actions, close };
}
