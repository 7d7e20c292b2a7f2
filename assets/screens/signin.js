// Signing in: an API key for a session.

import { h, fill, icon } from "../lib/dom.js";
import { session } from "../lib/api.js";
import { form } from "../lib/forms.js";
import { copyable } from "../lib/ui.js";

export function show({ main, who, note, done }) {
  const made = form(
    [{ name: "key", label: "API key", kind: "password", required: true, placeholder: "msk_…" }],
    {
      label: "Sign in",
      submit: async ({ key }) => {
        if (!key) throw { message: "", fields: { key: ["can't be blank"] }, status: 0 };
        done(await session.signIn(key));
      },
    },
  );
  const dev =
    who.dev_key &&
    h(
      "div",
      { class: "dev" },
      h("p", null, "This server runs in development mode."),
      h(
        "button",
        {
          type: "button",
          class: "button primary",
          onclick: async () => {
            try {
              done(await session.signIn(who.dev_key));
            } catch (e) {
              made.show(e);
            }
          },
        },
        icon("keys"),
        `Sign in with ${who.dev_key}`,
      ),
    );
  fill(
    main,
    h(
      "div",
      { class: "signin" },
      h("img", { src: "/assets/icon.svg", alt: "", width: 44, height: 44 }),
      h("h1", null, "Sign in to workspaced"),
      note && h("p", { class: "hint", role: "status" }, note),
      dev,
      dev && h("p", { class: "or" }, h("span", null, "or with another key")),
      made.element,
      h(
        "p",
        { class: "hint" },
        "The key is exchanged for a session of this browser; the page does not keep it.",
      ),
      h(
        "div",
        { class: "signin-end" },
        h(
          "p",
          { class: "hint" },
          "Lost the key? Make another one on the server: ",
          copyable("workspaced keys create --name admin --operator", { label: "Copy the command" }),
        ),
        h(
          "p",
          { class: "hint" },
          `Version ${who.version} · `,
          h("a", { href: "/docs" }, "API reference"),
        ),
      ),
    ),
  );
  (dev ? dev.querySelector("button") : made.get("key").input).focus();
}
