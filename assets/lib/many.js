// @ts-check
// One thing done to many: first what it will do, then how far it is.

/** @import { Child } from "./dom.js" */
/** @import { FieldSpec } from "./forms.js" */
import { h, fill } from "./dom.js";
import { toast } from "./ui.js";
import { count } from "./format.js";
import { formDialog } from "./forms.js";

/**
 * @param {string} title
 * @param {any[]} list to what it is done, one after the other
 * @param {object} how
 * @param {Child} how.text what it will do
 * @param {string} how.label
 * @param {string} how.past what has been done in the end
 * @param {(one: any, values: any) => Promise<unknown>} how.each
 * @param {() => void} how.done
 * @param {FieldSpec[]} [how.fields]
 * @param {string} [how.kind]
 */
export function actOnMany(title, list, { text, label, past, each, done, fields = [], kind }) {
  const progress = h("div", { role: "status" });
  const names = h(
    "ul",
    { class: "names" },
    list.map((one) => h("li", null, one.name)),
  );
  const nothing = list.length === 0;
  const made = formDialog(title, nothing ? [] : fields, {
    label: nothing ? "Close" : label,
    kind: nothing ? "" : kind,
    before: h("div", { class: "prose" }, text, names),
    after: progress,
    submit: async (values) => {
      /** @type {[name: string, why: string][]} */
      const failed = [];
      for (const [n, one] of list.entries()) {
        fill(
          progress,
          h("progress", { max: list.length, "aria-label": label, value: n }),
          h("span", null, ` ${n + 1} of ${list.length}: ${one.name}`),
        );
        // Somebody has closed it: what is left is not done.
        if (!made.box.isConnected) break;
        try {
          await each(one, values);
        } catch (e) {
          // What is wrong with the values is wrong for all of them.
          if (e.status === 422 && n === 0) throw e;
          failed.push([one.name, e.message]);
        }
      }
      fill(progress);
      done();
      const well = list.length - failed.length;
      if (well) toast(`${count(well, "computer")} ${past}.`);
      if (!failed.length) return;
      throw { status: 0, message: failed.map(([name, why]) => `${name}: ${why}`).join("; ") };
    },
  });
  return made;
}
