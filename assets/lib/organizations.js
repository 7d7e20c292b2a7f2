// @ts-check
// Which organization an operator acts as: kept by the tab, named by every request of it, and always to be seen.

import { h } from "./dom.js";

// Several installations may share an origin, below paths of their own.
const KEPT = `organization ${new URL(".", document.baseURI).pathname}`;

/** Under this name the tab keeps where somebody was who goes to the sign-in provider. */
export const WANTED = `wanted ${new URL(".", document.baseURI).pathname}`;

/** The slug of the organization that this tab acts as; null where that is the key's own. */
export const acting = () => sessionStorage.getItem(KEPT);

/**
 * What requests carry.
 * @returns {Record<string, string>}
 */
export function actingHeaders() {
  const slug = acting();
  return slug ? { "X-MIOSA-Tenant": slug } : {};
}

/**
 * The same for a WebSocket, which carries an address only.
 * @param {URL} url
 */
export function actingIn(url) {
  const slug = acting();
  if (slug) url.searchParams.set("tenant", slug);
}

/** @param {string | null} slug */
export function actAs(slug) {
  if (slug) sessionStorage.setItem(KEPT, slug);
  else sessionStorage.removeItem(KEPT);
}

/**
 * The switch, for who may look at more than one.
 * @param {any[]} all the organizations
 * @param {string} own the slug of the key's own
 */
export function organizationSwitch(all, own) {
  const now = acting() ?? own;
  const pick = h(
    "select",
    {
      "aria-label": "Organization",
      class: now === own ? "organization" : "organization acting",
      title: now === own ? "Your organization" : `You act as ${now}; its activity log says so`,
    },
    all.map(({ slug, name }) =>
      h("option", { value: slug, selected: slug === now }, slug === own ? `${name} (yours)` : name),
    ),
  );
  pick.addEventListener("change", () => {
    actAs(pick.value === own ? null : pick.value);
    // Nothing that was read of one is shown, or acted on, as the other's.
    location.hash = "#/";
    location.reload();
  });
  return pick;
}
