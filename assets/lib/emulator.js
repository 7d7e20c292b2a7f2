// @ts-check
// The emulator: a clock that is driven and answers that are spoiled would puzzle whoever does not know. A small
// bar says so, and drives the clock.

import { byId, fill, h, icon } from "./dom.js";
import { api, dev, session } from "./api.js";
import { button, toast, toastError } from "./ui.js";
import { confirmDialog } from "./forms.js";
import { fullTime, setClock, zone } from "./format.js";

const DAY_S = 86_400;
/** How fast it goes on after a pause where nobody knows how fast it went before. */
const USUAL_SPEED = 60;

/**
 * What the bar is about.
 * @typedef {{ who: () => import("./api.js").Session, again: () => unknown }} Page
 */
/** @type {Page} */
let page;
/** @type {any} what /system says */
let system = null;
/** @type {any} what the clock says, where it is driven */
let clock = null;
/** There is a beginning to go back to. */
let seeded = false;
let speed = USUAL_SPEED;

/** @param {Page} about */
export function installEmulator(about) {
  page = about;
  setInterval(() => {
    if (page.who().signed_in && !document.hidden) readEmulator();
  }, 10_000);
}

/** Nobody is signed in any more. */
export function forgetEmulator() {
  system = clock = null;
  seeded = false;
}

/** What the emulator does, where there is one and the key may know: the page goes by its clock. */
export async function readEmulator() {
  if (!page.who().key?.operator || system?.faults === null) return;
  try {
    const first = system === null;
    system = await api.get("/system");
    if (system.faults === null) return;
    setClock(system.now);
    const driven = system.clock !== "system";
    clock = driven ? await dev.clock() : null;
    if (clock?.mode === "running" && clock.speed > 1) speed = clock.speed;
    if (first && driven)
      seeded = (await dev.snapshots()).data.some((/** @type {any} */ one) => one.name === "seed");
    drawBanner();
  } catch {
    /* the System screen says what is wrong */
  }
}

export function drawBanner() {
  const banner = byId("banner");
  const key = page.who().dev_key;
  const { faults } = system ?? {};
  const running = clock && clock.mode !== "frozen";
  const parts = [
    seeded
      ? h("b", null, "Demo")
      : key && h("span", null, "Development mode: the key is ", h("code", null, key)),
    clock && h("span", null, pace()),
    clock &&
      h(
        "span",
        { class: "drive" },
        running ? button("Pause", pause, { kind: "small" }) : button("Run", run, { kind: "small" }),
        button("+1 day", nextDay, { kind: "small", title: "Everything that falls due happens" }),
        seeded && button("Reset", reset, { kind: "small" }),
      ),
    faults > 0 && faultsPart(faults),
  ].filter(Boolean);
  banner.hidden = !parts.length;
  // Drawn again only when it says something else, for whoever is about to press a button, and for
  // screen readers, which read it out each time: a clock that runs is no news.
  const stands = clock?.mode === "frozen" && system.now;
  const said = [seeded, key, clock?.mode, clock?.speed, stands, faults, zone()].join();
  if (banner.dataset.said !== said) {
    banner.dataset.said = said;
    fill(banner, parts);
  }
}

function pace() {
  if (clock.mode === "frozen") return `The clock stands still at ${fullTime(system.now)}`;
  return clock.speed > 1 ? `${clock.speed} times as fast` : "The clock is set by hand";
}

/** @param {number} faults */
const faultsPart = (faults) =>
  h(
    "span",
    { class: "faults" },
    icon("warn"),
    `${faults} fault ${faults === 1 ? "rule is" : "rules are"} active `,
    button(
      faults === 1 ? "Remove it" : "Remove them all",
      () => change(() => dev.clearFaults(), false),
      { kind: "small" },
    ),
  );

/**
 * Does something to the emulator, then shows what there is by then.
 * @param {() => Promise<unknown>} act
 * @param {boolean} [all] what a screen shows is another by then
 */
async function change(act, all = true) {
  const buttons = byId("banner").querySelectorAll("button");
  buttons.forEach((one) => (one.disabled = true));
  try {
    await act();
  } catch (e) {
    toastError(e);
  }
  buttons.forEach((one) => (one.disabled = false));
  await readEmulator();
  if (all) page.again();
}

const pause = () => change(() => dev.drive({ mode: "frozen" }));
const run = () => change(() => dev.drive({ mode: "running", speed }));
const nextDay = () => change(() => dev.drive({ advance_seconds: DAY_S }));

function reset() {
  const text = h(
    "p",
    null,
    "Everything is as it was at the start of the demo; what was changed since is gone.",
  );
  confirmDialog("Reset the demo?", text, {
    label: "Reset",
    submit: () =>
      change(async () => {
        await dev.reset("seed");
        // The session went with everything else.
        const key = page.who().dev_key;
        if (key) await session.signIn(key);
        toast("The demo begins anew.");
      }),
  });
}
