// @ts-check
// What ran before it was metered here: a table is pasted or chosen, rehearsed, and brought in.

import { h, fill } from "../lib/dom.js";
import { api } from "../lib/api.js";
import { button, errorBox, facts, panel, table, toast } from "../lib/ui.js";
import { count, credits, decimals, number } from "../lib/format.js";
import { monthName } from "./usage.js";

const HEAD = "id,computer,project,size,from,to,rate";
const EXAMPLE = `${HEAD}\nold-1,front desk,,small,2025-11-30T23:00:00Z,2025-12-01T02:00:00Z,30`;

/**
 * @param {HTMLElement} place
 * @param {{ id: string, signal: AbortSignal, done: () => void }} context
 */
export function historyPanel(place, { id, signal, done }) {
  const text = h("textarea", {
    id: "history-table",
    rows: 5,
    class: "mono",
    spellcheck: "false",
    placeholder: EXAMPLE,
    "aria-describedby": "history-hint",
  });
  const file = h("input", { type: "file", id: "history-file", accept: ".csv,text/csv" });
  const result = h("div", { role: "status" });
  /** @param {boolean} dry */
  const send = (dry) =>
    api.post(`/workspaces/${id}/history${dry ? "?dry_run=true" : ""}`, text.value, { signal });
  /** @param {boolean} dry */
  async function run(dry) {
    try {
      const said = await send(dry);
      fill(result, gained(said, dry), dry && said.added > 0 && confirm(said));
      if (dry) return;
      toast(`${count(said.added, "interval")} came in.`);
      done();
    } catch (e) {
      if (e.name !== "AbortError") fill(result, errorBox(e));
    }
  }
  /** @param {any} said */
  const confirm = (said) =>
    h(
      "div",
      { class: "form-end" },
      button(`Bring in ${count(said.added, "interval")}`, () => run(false), { kind: "primary" }),
    );
  text.addEventListener("input", () => fill(result));
  file.addEventListener("change", async () => {
    text.value = (await file.files?.[0]?.text()) ?? "";
    fill(result);
  });
  fill(
    place,
    panel(
      "History from before",
      { note: "What ran before it was metered here" },
      h(
        "details",
        null,
        h("summary", null, "Bring in a table"),
        h(
          "div",
          { class: "form" },
          h(
            "div",
            { class: "field" },
            h("label", { for: "history-table" }, "Table"),
            text,
            h(
              "p",
              { class: "hint", id: "history-hint" },
              "CSV with the columns id, computer, project, size, from, to and rate or credits_micros; or what “sessions” exports. ",
              "All of it comes in, or nothing; what is there already is not added again.",
            ),
          ),
          h("div", { class: "field" }, h("label", { for: "history-file" }, "Or a file"), file),
          h(
            "div",
            { class: "form-end" },
            button("See what it would add", () => run(true), { dataset: { key: "history" } }),
          ),
          result,
        ),
      ),
    ),
  );
}

/**
 * @param {any} said what was, or would be, added
 * @param {boolean} dry
 */
function gained(said, dry) {
  const months = Object.entries(said.months);
  return [
    h(
      "p",
      { class: "lead" },
      h("strong", null, count(said.added, "interval")),
      dry ? " would come in" : " came in",
      said.known ? `; ${number(said.known)} are there already.` : ".",
    ),
    facts([
      ["Computers of the past", number(said.computers)],
      ["Hours", decimals(said.compute_ms / 3_600_000)],
      ["Credits", credits(said.credits_micros)],
    ]),
    months.length > 0 &&
      table(
        "What each month gains",
        [
          { label: "Month", cell: ([month]) => monthName(month) },
          { label: "Hours", num: true, cell: ([, gain]) => decimals(gain.compute_ms / 3_600_000) },
          { label: "Credits", num: true, cell: ([, gain]) => credits(gain.credits_micros) },
        ],
        /** @type {[string, any][]} */ (months),
        { rowKey: ([month]) => month },
      ),
  ];
}
