// @ts-check
// Back from a deletion: the button of the message that says so, and of the screen of what was deleted.

import { h } from "./dom.js";
import { api } from "./api.js";
import { toast, toastError } from "./ui.js";
import { count } from "./format.js";
import { filled, formDialog } from "./forms.js";

/**
 * Something that was deleted.
 * @typedef {{ type: "workspace" | "project" | "computer", id: string, name: string, slug?: string }} Gone
 */

/**
 * Says that it was deleted, with a button that undoes that.
 * @param {Gone} gone
 * @param {() => unknown} [back] what to do when it is there again; else it is opened
 */
export function deletedToast(gone, back) {
  const words = { workspace: "Workspace", project: "Project", computer: "Computer" };
  toast(`${words[gone.type]} ${gone.name} was deleted.`, "ok", {
    label: "Undo",
    run: () => restore(gone, back),
  });
}

/**
 * Brings it back; where another has its names by now, asks for others.
 * @param {Gone} gone
 * @param {() => unknown} [back]
 */
export async function restore(gone, back) {
  try {
    said(gone, await ask(gone, {}), back);
  } catch (e) {
    if (gone.type !== "computer" && (e.fields?.slug || e.fields?.[externalOf(gone)]))
      return otherNames(gone, e, back);
    const first = e.details?.restore_first;
    if (first?.type === "workspace" || first?.type === "project") {
      const action = {
        label: `Restore the ${first.type}`,
        run: () => restore({ ...first, name: `the ${first.type}` }, back),
      };
      return toast(`${gone.name} lies in a ${first.type} that is deleted, too.`, "bad", action);
    }
    toastError(e);
  }
}

/**
 * @param {Gone} gone
 * @param {Record<string, any>} names
 */
const ask = (gone, names) => api.post(`/${gone.type}s/${gone.id}/restore`, names);

/** @param {Gone} gone */
const externalOf = (gone) =>
  gone.type === "workspace" ? "external_workspace_id" : "external_project_id";

/**
 * @param {Gone} gone
 * @param {any} refused
 * @param {(() => unknown) | undefined} back
 */
function otherNames(gone, refused, back) {
  const external = externalOf(gone);
  const specs = [
    refused.fields.slug && {
      name: "slug",
      label: "Slug",
      required: true,
      value: gone.slug ? `${gone.slug}-2` : "",
    },
    refused.fields[external] && {
      name: external,
      label: "External ID",
      help: "Left empty it has none.",
    },
  ].filter(Boolean);
  formDialog(`Restore ${gone.name}`, specs, {
    label: "Restore",
    before: h("p", { class: "prose" }, "Another one has its names by now. Give it others."),
    submit: async (values) => {
      const names = filled(values);
      if (refused.fields[external]) names[external] = values[external];
      said(gone, await ask(gone, names), back);
    },
  }).show(refused);
}

/**
 * @param {Gone} gone
 * @param {any} restored
 * @param {(() => unknown) | undefined} back
 */
function said(gone, restored, back) {
  const lost = restored.not_restored.map((/** @type {any} */ one) => one.text);
  const computers = restored.restored?.computers ?? (gone.type === "computer" ? 1 : 0);
  const stopped =
    computers > 0 &&
    (gone.type === "computer"
      ? "It is stopped."
      : `${count(computers, "computer")} in it, stopped.`);
  const name = restored.name ?? gone.name;
  toast(
    [`${name} is there again.`, stopped, ...lost].filter(Boolean).join(" "),
    lost.length ? "bad" : "ok",
  );
  if (back) back();
  else location.hash = `/${gone.type}s/${gone.id}`;
}
