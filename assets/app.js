// @ts-check
// The page: who is signed in, which screen the address names, and what holds on all of them.

/** @import { Action } from "./lib/ui.js" */
/** @import { Session } from "./lib/api.js" */
/** @import { Section } from "./lib/shortcuts.js" */
import { byId, debounce, h, fill, find, icon } from "./lib/dom.js";
import { api, forget, onSignedOut, session } from "./lib/api.js";
import { errorBox, menu, say, toastError } from "./lib/ui.js";
import { forgetCells } from "./lib/cells.js";
import { installPalette, showPalette } from "./lib/palette.js";
import { prefer, preference, zone, LOCAL_ZONE } from "./lib/format.js";
import { actAs, acting, organizationSwitch, WANTED } from "./lib/organizations.js";
import { installShortcuts, showShortcuts } from "./lib/shortcuts.js";
import { drawBanner, forgetEmulator, installEmulator, readEmulator } from "./lib/emulator.js";
import * as live from "./lib/live.js";

/**
 * What a screen gets.
 * @typedef {object} Context
 * @property {HTMLElement} main its place
 * @property {URLSearchParams} query of the address
 * @property {(changes: Record<string, any>) => void} setQuery
 * @property {AbortSignal} signal aborted when the screen is left
 * @property {Session} who
 * @property {(scope: string) => boolean} covers whether the key may do something
 * @property {(text: string) => void} title
 * @property {(path: string) => void} go
 * @property {() => void} reroute draws the screen anew
 */
/** @typedef {{ show: (context: Context, ...parts: string[]) => Promise<unknown> }} Screen */

// Each screen is a module of its own, loaded when it is first opened.
/** @type {[pattern: RegExp, load: () => Promise<Screen>, section: string][]} */
const SCREENS = [
  [/^\/$/, () => import("./screens/overview.js"), "overview"],
  [/^\/workspaces$/, () => import("./screens/workspaces.js"), "workspaces"],
  [
    /^\/workspaces\/([0-9a-f-]{36})(?:\/(usage|bill|computers|projects|domain|settings|activity))?$/,
    () => import("./screens/workspace.js"),
    "workspaces",
  ],
  [/^\/computers$/, () => import("./screens/computers.js"), "computers"],
  [/^\/computers\/([0-9a-f-]{36})$/, () => import("./screens/computer.js"), "computers"],
  [/^\/projects$/, () => import("./screens/projects.js"), "projects"],
  [/^\/projects\/([0-9a-f-]{36})$/, () => import("./screens/project.js"), "projects"],
  [/^\/billing$/, () => import("./screens/billing.js"), "billing"],
  [/^\/keys$/, () => import("./screens/keys.js"), "keys"],
  [/^\/webhooks$/, () => import("./screens/webhooks.js"), "webhooks"],
  [/^\/webhooks\/([0-9a-f-]{36})$/, () => import("./screens/webhook.js"), "webhooks"],
  [/^\/activity$/, () => import("./screens/activity.js"), "activity"],
  [/^\/deleted$/, () => import("./screens/deleted.js"), "workspaces"],
  [/^\/system$/, () => import("./screens/system.js"), "system"],
];
/** @type {Section[]} */
const NAV = [
  ["overview", "Overview", "#/", "o", "usage:read"],
  ["workspaces", "Workspaces", "#/workspaces", "w", "workspaces:read"],
  ["computers", "Computers", "#/computers", "c", "computers:read"],
  ["projects", "Projects", "#/projects", "p", "projects:read"],
  ["billing", "Billing", "#/billing", "b", "tenant:admin"],
  ["keys", "API keys", "#/keys", "k", "keys:admin"],
  ["webhooks", "Webhooks", "#/webhooks", "h", "webhooks:read"],
  ["activity", "Activity", "#/activity", "a", "audit:read"],
  ["system", "System", "#/system", "s"],
];
/**
 * Whether the key of the session may read something: no scopes means all, and writing includes reading.
 * @param {string} scope
 */
function covers(scope) {
  const [what] = scope.split(":");
  const enough = [
    "*",
    "*:*",
    scope,
    `${what}:*`,
    `${what}:write`,
    scope === "audit:read" && "audit_log:read",
  ];
  return (
    !who.key.scopes.length ||
    who.key.scopes.some((/** @type {string} */ one) => enough.includes(one))
  );
}
/** @param {Section} section */
const may = ([id, , , , scope]) => (scope ? covers(scope) : id === "system" && who.key.operator);

const main = byId("main"),
  top = byId("top");
/** @type {Session} */
let who = { signed_in: false, version: "", key: null };
/** @type {AbortController | null} */
let leaving = null;
/** @type {any[]} that an operator may act as */
let organizations = [];
let home = "";
let firstScreen = true;

/** The address behind the #: path and query. */
function address() {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  return { path: path || "/", query: new URLSearchParams(query ?? "") };
}

/**
 * Another query of the same screen; a filter is not a step in the history.
 * @param {Record<string, any>} changes
 */
function setQuery(changes) {
  const { path, query } = address();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  history.replaceState(history.state, "", `#${path}${text ? `?${text}` : ""}`);
}

function closeDialogs() {
  document.querySelectorAll("dialog").forEach((dialog) => dialog.open && dialog.close());
}

async function route() {
  leaving?.abort();
  closeDialogs();
  if (!who.signed_in) return signIn();
  const mine = (leaving = new AbortController());
  const { path, query } = address();
  // A key that may not see the overview begins with the first section that it may see.
  const first = NAV.find(may);
  if (path === "/" && first && first[0] !== "overview") return void location.replace(first[2]);
  delete main.dataset.path;
  const found = SCREENS.find(([pattern]) => pattern.test(path));
  drawNav(found?.[2]);
  if (!found) {
    title("Not found");
    fill(
      main,
      h("div", { class: "head" }, h("h1", null, "There is no such page")),
      h("p", null, h("a", { href: "#/" }, "To the overview")),
    );
    return;
  }
  /** @type {Context} */
  const context = {
    main,
    query,
    setQuery,
    signal: mine.signal,
    who,
    covers,
    title,
    go: (to) => {
      location.hash = to;
    },
    reroute: route,
  };
  try {
    // A file that was lost on the way is asked for once more.
    const screen = await found[1]().catch(found[1]);
    if (mine.signal.aborted) return;
    await screen.show(context, ...(path.match(found[0]) ?? []).slice(1));
  } catch (e) {
    if (e.name === "AbortError" || mine.signal.aborted) return;
    if (e.status === undefined) console.error(e);
    fill(main, errorBox(e, route));
  }
  // Which screen is there, once it is: for tests, and for whoever reads the elements.
  main.dataset.path = path;
  // On the way back it is where it was left; what is drawn later may have to come first.
  scrollBack(history.state?.y ?? 0, mine.signal);
  // A screen reader hears of the new screen; the first one it hears of anyway.
  if (!firstScreen && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
  firstScreen = false;
  // A link may ask for the dialog of a screen that makes something.
  if (query.has("new")) {
    setQuery({ new: null });
    find("[data-new]", main)?.click();
  }
}

/**
 * Scrolls to where it was, as soon as there is enough to scroll, unless somebody scrolls first.
 * @param {number} y
 * @param {AbortSignal} left
 */
function scrollBack(y, left) {
  const end = performance.now() + 3000;
  const stop = new AbortController();
  const { signal } = stop;
  for (const kind of ["wheel", "touchstart", "keydown", "pointerdown"])
    window.addEventListener(kind, () => stop.abort(), { signal, passive: true });
  function step() {
    if (signal.aborted || left.aborted) return;
    window.scrollTo(0, y);
    if (Math.abs(window.scrollY - y) < 2 || performance.now() > end) stop.abort();
    else requestAnimationFrame(step);
  }
  step();
}
// Each entry of the history knows how far down it was.
history.scrollRestoration = "manual";
window.addEventListener(
  "scroll",
  debounce(() => {
    if (main.dataset.path === address().path)
      history.replaceState({ ...history.state, y: Math.round(window.scrollY) }, "");
  }, 100),
  { passive: true },
);

/** @param {string} text */
function title(text) {
  document.title = text ? `${text} · workspaced` : "workspaced";
  if (text && !firstScreen) say(text);
}

/** Sections that a phone has room for; the others are behind "More". */
const ON_A_PHONE = 5;

/** @param {string} [current] */
function drawNav(current) {
  const mine = NAV.filter(may);
  const rest = mine.slice(ON_A_PHONE);
  const more = menu(
    "More sections",
    rest.map(([, name, href]) => [name, () => (location.hash = href.slice(1))]),
  );
  fill(
    byId("nav"),
    mine.map(([id, name, href, letter]) =>
      h(
        "a",
        { href, "aria-current": id === current ? "page" : null, title: `${name} (g ${letter})` },
        icon(id),
        h("span", null, name),
      ),
    ),
    rest.length > 0 &&
      h("div", { class: `nav-more ${rest.some(([id]) => id === current) ? "current" : ""}` }, more),
  );
}

function drawTop() {
  top.hidden = !who.signed_in;
  document.body.classList.toggle("signed-in", Boolean(who.signed_in));
  drawBanner();
  if (!who.signed_in) return;
  const theme = preference("theme") ?? "system";
  /**
   * @param {string} name
   * @param {string} value
   * @returns {Action}
   */
  const pick = (name, value) => [
    `${theme === value ? "✓ " : ""}${name}`,
    () => setTheme(value === "system" ? null : value),
  ];
  const utc = zone() === "UTC";
  /** @type {Action[]} */
  const looks = [
    pick("System theme", "system"),
    pick("Light theme", "light"),
    pick("Dark theme", "dark"),
    [`${utc ? "" : "✓ "}Times in ${LOCAL_ZONE}`, () => setZone(null)],
    [`${utc ? "✓ " : ""}Times in UTC`, () => setZone("utc")],
    ["Keyboard shortcuts (?)", showShortcuts],
  ];
  fill(byId("organization"), organizations.length > 1 && organizationSwitch(organizations, home));
  fill(
    byId("jump"),
    h(
      "button",
      { type: "button", class: "jump", title: "Jump to (Ctrl+K)", onclick: showPalette },
      icon("search"),
      h("span", null, "Jump to…"),
      h("kbd", null, "Ctrl K"),
    ),
  );
  fill(
    byId("tools"),
    live.indicator(),
    h(
      "a",
      {
        class: "icon-button roomy",
        href: "docs/manual",
        title: "Manual",
        "aria-label": "Manual",
      },
      icon("book"),
    ),
    h(
      "a",
      {
        class: "icon-button",
        href: "docs",
        title: "API reference",
        "aria-label": "API reference",
      },
      icon("docs"),
    ),
    menu("Appearance and times", looks, { ico: "sun" }),
    h(
      "button",
      {
        type: "button",
        class: "icon-button",
        title: `Sign out ${who.key.person?.name ?? `${who.key.key_prefix}…`}`,
        "aria-label": "Sign out",
        onclick: signOut,
      },
      icon("out"),
    ),
  );
}

/**
 * What of the page itself can be set, for Ctrl+K.
 * @returns {[name: string, act: () => unknown][]}
 */
const settings = () => [
  ["Theme of the system", () => setTheme(null)],
  ["Light theme", () => setTheme("light")],
  ["Dark theme", () => setTheme("dark")],
  [`Times in ${LOCAL_ZONE}`, () => setZone(null)],
  ["Times in UTC", () => setZone("utc")],
  ["Flags of this server", () => (location.hash = "#/system")],
  ["Backups of this server", () => (location.hash = "#/system")],
  ["Price list", () => (location.hash = "#/billing")],
];

/** @param {string | null} value */
function setTheme(value) {
  prefer("theme", value);
  if (value) document.documentElement.dataset.theme = value;
  else delete document.documentElement.dataset.theme;
  drawTop();
  readEmulator();
}
/** @param {string | null} value */
function setZone(value) {
  prefer("times", value);
  drawTop();
  readEmulator();
  route();
}

// ---------------------------------------------------------------------------------------------
// Signing in and out

/** @param {string} [note] */
async function signIn(note) {
  live.stop();
  // Whoever signs in next begins as nobody else.
  if (acting()) {
    actAs(null);
    return location.reload();
  }
  organizations = [];
  forgetEmulator();
  forget();
  forgetCells();
  drawTop();
  title("Sign in");
  delete main.dataset.path;
  const { show } = await import("./screens/signin.js");
  show({
    main,
    who,
    note,
    done: (/** @type {Session} */ found) => {
      who = found;
      begin();
    },
  });
}

async function signOut() {
  try {
    await session.signOut();
  } catch (e) {
    return toastError(e);
  }
  leaving?.abort();
  who = { ...who, signed_in: false, key: null };
  signIn("You have signed out.");
}

onSignedOut(() => {
  if (!who.signed_in) return;
  leaving?.abort();
  closeDialogs();
  who = { ...who, signed_in: false, key: null };
  signIn("The session is over. Sign in again to go on where you were.");
});

/** The organizations that an operator may act as, and what this tab looks at. */
async function readOrganizations() {
  home = who.key.tenant_slug;
  if (!who.key.operator) return actAs(null);
  const ask = () => api.get("/platform/tenants");
  const again = () => {
    actAs(null);
    return ask();
  };
  organizations = (
    await ask()
      .catch(again)
      .catch(() => ({ data: [] }))
  ).data;
  const chosen = organizations.find(({ slug }) => slug === acting());
  if (chosen) who = { ...who, key: { ...who.key, tenant_id: chosen.id, tenant_slug: chosen.slug } };
}

async function begin() {
  // Where somebody was on the way to who went to the sign-in provider.
  const wanted = sessionStorage.getItem(WANTED);
  sessionStorage.removeItem(WANTED);
  if (wanted && !location.hash) history.replaceState(null, "", wanted);
  await readOrganizations();
  drawTop();
  live.start();
  await readEmulator();
  await route();
  // The other screens are fetched while nobody waits for them.
  (window.requestIdleCallback ?? setTimeout)(() =>
    SCREENS.forEach(([, load]) => load().catch(() => {})),
  );
}

async function boot() {
  try {
    who = await session.show();
  } catch (e) {
    fill(main, errorBox(e, boot));
    return;
  }
  installEmulator({ who: () => who, again: route });
  installShortcuts(NAV);
  installPalette(NAV, () => Boolean(who.signed_in), settings());
  window.addEventListener("hashchange", () => {
    readEmulator();
    route();
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
    main.scrollIntoView();
  });
  if (who.signed_in) begin();
  else signIn();
}
boot();
