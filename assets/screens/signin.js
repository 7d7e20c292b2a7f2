// @ts-check
// Signing in: an API key for a session.

/** @import { Session } from "../lib/api.js" */
import { h, fill, find, icon } from "../lib/dom.js";
import { session } from "../lib/api.js";
import { form } from "../lib/forms.js";
import { WANTED } from "../lib/organizations.js";
import { copyable } from "../lib/ui.js";

/**
 * @param {object} context
 * @param {HTMLElement} context.main
 * @param {Session} context.who
 * @param {string} [context.note]
 * @param {(found: Session) => void} context.done
 */
export function show({ main, who, note, done }) {
  // Password managers keep a key under the name of an account; here that is the server's own.
  const account = h("input", {
    class: "sr",
    type: "text",
    name: "username",
    autocomplete: "username",
    value: location.host,
    readonly: true,
    tabindex: -1,
    "aria-hidden": "true",
  });
  const made = form(
    [
      {
        name: "password",
        also: ["key"],
        label: "API key",
        kind: "password",
        required: true,
        placeholder: "msk_…",
        autocomplete: "current-password",
      },
    ],
    {
      label: "Sign in",
      before: account,
      submit: async ({ password: key }) => {
        if (!key) throw { message: "", fields: { key: ["can't be blank"] }, status: 0 };
        done(await session.signIn(key));
      },
    },
  );
  const dev =
    who.dev_key &&
    devButton(who.dev_key, async (key) => {
      try {
        done(await session.signIn(key));
      } catch (e) {
        made.show(e);
      }
    });
  fill(
    main,
    h(
      "div",
      { class: "signin" },
      h("img", { src: "assets/icon.svg", alt: "", width: 44, height: 44 }),
      h("h1", null, "Sign in to workspaced"),
      note && h("p", { class: "hint", role: "status" }, note),
      dev,
      dev && h("p", { class: "or" }, h("span", null, "or with another key")),
      who.provider && byName(who.provider),
      who.provider && h("p", { class: "or" }, h("span", null, "or with an API key")),
      made.element,
      h(
        "p",
        { class: "hint" },
        "The key is exchanged for a session of this browser; the page does not keep it.",
      ),
      end(who.version),
    ),
  );
  // One way in is the first, and looks like it.
  if (who.provider || dev) find(".button.primary", made.element)?.classList.remove("primary");
  const first = who.provider && find(".button.primary", main);
  (dev ? find("button", dev) : first || made.get("password")?.input)?.focus();
}

/**
 * In development mode one click signs in.
 * @param {string} key
 * @param {(key: string) => void} signIn
 */
const devButton = (key, signIn) =>
  h(
    "div",
    { class: "dev" },
    h("p", null, "This server runs in development mode."),
    h(
      "button",
      { type: "button", class: "button primary", onclick: () => signIn(key) },
      icon("keys"),
      `Sign in with ${key}`,
    ),
  );

/**
 * To the provider, which sends the browser back.
 * @param {string} provider
 */
const byName = (provider) =>
  h(
    "a",
    {
      class: "button primary",
      href: "admin/oidc/start",
      onclick: () => sessionStorage.setItem(WANTED, location.hash),
    },
    icon("person"),
    `Sign in with ${provider}`,
  );

/** @param {string} version */
const end = (version) =>
  h(
    "div",
    { class: "signin-end" },
    h(
      "p",
      { class: "hint" },
      "Lost the key? Make another one on the server: ",
      copyable("workspaced keys create --name admin --operator", { label: "Copy the command" }),
    ),
    h("p", { class: "hint" }, `Version ${version} · `, h("a", { href: "docs" }, "API reference")),
  );
