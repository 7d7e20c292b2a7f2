// The list of workspaces.

import { h, fill, icon, debounce } from "../lib/dom.js";
import { api, query as queryString } from "../lib/api.js";
import { button, capBar, empty, head, pager, resource, table, toast } from "../lib/ui.js";
import { ago, number } from "../lib/format.js";
import { formDialog } from "../lib/forms.js";
import { sparkline } from "../lib/chart.js";
import { listen } from "../lib/live.js";

const SIZE = 25;
const SORTS = [["", "Default first, then oldest"], ["name", "Name"], ["-created_at", "Newest"], ["-computer_count", "Most computers"], ["-updated_at", "Changed last"]];

/** The dialog that makes a workspace. */
export function createWorkspace(go) {
  formDialog("New workspace", [
    { name: "name", label: "Name", required: true, help: "A customer, a clinic, a site: 1 to 120 characters." },
    { name: "slug", label: "Slug", help: "For addresses; made from the name if left out." },
    { name: "external_workspace_id", label: "External ID", help: "Your own id of this customer." },
    { name: "description", label: "Description", kind: "textarea" },
  ], {
    label: "Create workspace",
    submit: async (values) => {
      const set = Object.fromEntries(Object.entries(values).filter(([, v]) => v !== null));
      const made = await api.post("/workspaces", set);
      toast(made.reused ? `There was a workspace with this external ID already: ${made.name}.` : `Workspace ${made.name} was created.`);
      go(`/workspaces/${made.id}`);
    },
  });
}

// Thirty days of each row that is seen, asked for as it comes into view, four at a time.
const sparks = new Map();
const waiting = [];
let busy = 0;
function spark(id, place, signal) {
  const known = sparks.get(id);
  if (known && Date.now() - known.at < 60_000) return fill(place, known.drawn());
  waiting.push(async () => {
    if (signal.aborted || !place.isConnected) return;
    const usage = await api.get(`/workspaces/${id}/usage?window=30d&granularity=day`, { signal });
    const drawn = () => [sparkline(usage.series), h("span", { class: "num", title: "Credits in 30 days" }, number(usage.total_credits_used))];
    sparks.set(id, { at: Date.now(), drawn });
    fill(place, drawn());
  });
  pump();
}
function pump() {
  while (busy < 4 && waiting.length) {
    busy++;
    waiting.shift()().catch(() => {}).finally(() => { busy--; pump(); });
  }
}

export async function show({ main, signal, title, query, setQuery, go }) {
  title("Workspaces");
  const state = { q: query.get("q") ?? "", sort: query.get("sort") ?? "", page: Number(query.get("page")) || 1 };
  const place = h("div", { class: "panel" });
  const search = h("input", { type: "search", placeholder: "Name, slug, external ID or ID", "aria-label": "Search workspaces", title: "Search (/)", value: state.q });
  const sorts = h("select", { "aria-label": "Order" }, SORTS.map(([value, text]) => h("option", { value, selected: value === state.sort }, text)));
  fill(main, head("Workspaces", { actions: [button("New workspace", () => createWorkspace(go), { kind: "primary", ico: "plus", "data-new": true, title: "New workspace (n)" })] }),
    h("div", { class: "filters" }, h("span", { class: "search" }, icon("search"), search), sorts), place);

  const caps = new Map();
  const cap = async (workspace, cell) => {
    // The cap is a part of the settings; rows that are seen ask for it once.
    if (!caps.has(workspace.id)) caps.set(workspace.id, api.get(`/workspaces/${workspace.id}/settings`, { signal }).then((s) => s.effective.max_computers.value, () => undefined));
    const max = await caps.get(workspace.id);
    if (max !== undefined && cell.isConnected) fill(cell, capBar(workspace.computer_count, max));
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      entry.target.load?.();
    }
  }, { rootMargin: "200px" });
  signal.addEventListener("abort", () => seen.disconnect(), { once: true });

  const reload = resource(place, (options) => api.get(`/workspaces${queryString({ q: state.q, sort: state.sort, page: state.page, page_size: SIZE })}`, options), (list) => {
    if (!list.total) return state.q ? empty(`Nothing matches “${state.q}”`, "Name, slug, external ID and ID are searched.") : empty("There is no workspace yet");
    const rows = list.data;
    return [table("Workspaces", [
      { label: "Name", sort: "name", cell: (w) => h("div", { class: "stack" }, h("span", null, h("a", { class: "row-link", href: `#/workspaces/${w.id}` }, w.name), w.is_default && h("span", { class: "tag" }, "default")), h("code", { class: "hint" }, w.slug)) },
      { label: "External ID", hide: "wide", cell: (w) => (w.external_workspace_id ? h("code", null, w.external_workspace_id) : h("span", { class: "none" }, "–")) },
      { label: "Computers", sort: "computer_count", cell: (w) => {
        const cell = h("span", { class: "cell" }, capBar(w.computer_count, null));
        cell.load = () => cap(w, cell);
        seen.observe(cell);
        return cell;
      } },
      { label: "Credits, 30 days", cell: (w) => {
        const cell = h("span", { class: "cell sparkcell" }, h("span", { class: "none" }, "…"));
        cell.load = () => spark(w.id, cell, signal);
        seen.observe(cell);
        return cell;
      } },
      { label: "Created", sort: "created_at", hide: "wide", cell: (w) => ago(w.created_at) },
    ], rows, { sort: state.sort, onsort: (sort) => change({ sort, page: 1 }) }),
    pager(state.page, SIZE, list.total, (page) => change({ page }))];
  }, { signal, lines: 12 });

  function change(next) {
    Object.assign(state, next);
    sorts.value = SORTS.some(([v]) => v === state.sort) ? state.sort : "";
    setQuery({ q: state.q, sort: state.sort, page: state.page > 1 ? state.page : null });
    reload();
  }
  search.addEventListener("input", debounce(() => change({ q: search.value.trim(), page: 1 }), 150));
  sorts.addEventListener("change", () => change({ sort: sorts.value, page: 1 }));
  listen(/^(workspace|computer)\./, debounce((event) => { if (event?.type === "workspace.settings_updated") caps.delete(event.resource_id); if (!signal.aborted) reload(); }, 400), signal);
}
