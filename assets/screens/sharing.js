// @ts-check
// Links under which a customer looks at a workspace without a key.

import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { button, empty, none, panel, resource, table, toast } from "../lib/ui.js";
import { ago, number, time } from "../lib/format.js";
import { confirmDialog, formDialog, secretDialog } from "../lib/forms.js";

/** @type {[value: string, text: string][]} */
const PARTS = [
  ["usage", "Usage"],
  ["statements", "Statements"],
  ["domain", "Preview domain"],
];
const DAY = 86_400;

/**
 * @param {HTMLElement} place
 * @param {{ id: string, signal: AbortSignal }} workspace
 */
export function sharePanel(place, { id, signal }) {
  const inner = h("div");
  const path = `/workspaces/${id}/share-links`;
  const make = button("New link…", () => makeLink(path, again), {
    kind: "small",
    dataset: { key: "share" },
  });
  fill(
    place,
    panel(
      "Links for the customer",
      { actions: make, note: "One page about this workspace, without a key" },
      inner,
    ),
  );
  function again() {
    reload();
  }
  const reload = resource(
    inner,
    (o) => api.get(`${path}?limit=100`, o),
    (list) => (list.data.length ? links(list.data, path, again) : empty("There is no link")),
    { signal, lines: 2 },
  );
}

/**
 * @param {any[]} rows
 * @param {string} path
 * @param {() => void} done
 */
const links = (rows, path, done) =>
  table(
    "Links for the customer",
    [
      { label: "For", cell: (l) => l.label ?? none() },
      { label: "Shows", hide: "wide", cell: (l) => l.shows.join(", ") },
      {
        label: "Last opened",
        cell: (l) => (l.last_opened_at ? ago(l.last_opened_at) : "never"),
      },
      { label: "Opened", num: true, hide: "wide", cell: (l) => number(l.opened) },
      { label: "Until", cell: (l) => time(l.expires_at) },
      {
        label: "End",
        end: true,
        cell: (l) =>
          button("Revoke", () => revoke(l, path, done), {
            kind: "small",
            "aria-label": `Revoke the link for ${l.label ?? "nobody named"}`,
          }),
      },
    ],
    rows,
  );

/**
 * @param {any} link
 * @param {string} path
 * @param {() => void} done
 */
const revoke = (link, path, done) =>
  confirmDialog(
    "Revoke the link?",
    h("p", null, "It opens nothing any more, at once. It cannot be brought back."),
    {
      label: "Revoke link",
      submit: async () => {
        await api.delete(`${path}/${link.id}`);
        toast("The link was revoked.");
        done();
      },
    },
  );

/**
 * @param {string} path
 * @param {() => void} done
 */
const makeLink = (path, done) =>
  formDialog(
    "A link for the customer",
    [
      { name: "label", label: "For", placeholder: "Dr. Smith", help: "Shown in the list only." },
      {
        name: "shows",
        label: "Shows",
        kind: "checks",
        value: PARTS.map(([value]) => value),
        options: PARTS,
      },
      {
        name: "ttl_seconds",
        label: "Opens for",
        kind: "select",
        value: 30 * DAY,
        options: [7, 30, 90, 366].map((n) => [String(n * DAY), n === 366 ? "a year" : `${n} days`]),
      },
    ],
    {
      label: "Make link",
      submit: async (values) => {
        const body = { ...values, ttl_seconds: Number(values.ttl_seconds) };
        const made = await api.post(path, body);
        done();
        // The dialog that shows it opens when this one has closed.
        setTimeout(() =>
          secretDialog(
            "The link",
            new URL(made.url, location.href).href,
            "It is shown this once: only a hash of it is kept. Whoever has it can look.",
            "Copy the link",
          ),
        );
      },
    },
  );
