// Names, texts and domains at their longest and strangest, on every screen that shows them.

import { screensBelow, screensOf } from "./routes.js";

export const LONG = "W".repeat(120);
export const RTL = "مركز الشفاء الطبي (٣)";
const EMOJI = `👩‍⚕️🏥 ${"🦷".repeat(50)}`;
export const UNBROKEN = "m".repeat(2000);
const SLUG = "s".repeat(60);
const LABEL = "d".repeat(60);
const DOMAIN = `${LABEL}.${LABEL}.${"e".repeat(40)}.example`;
const METADATA = { ["k".repeat(60)]: "v".repeat(900), note: UNBROKEN.slice(0, 900) };

/** Fills a service; returns the addresses of the screens that show it. */
export async function makeHostile(service) {
  const made = [];
  for (const [i, name] of [LONG, RTL, EMOJI].entries()) {
    const w = await service.post("/workspaces", {
      name,
      slug: `${SLUG}${i}`,
      external_workspace_id: `${"x".repeat(100)}${i}`,
      description: i === 1 ? `${RTL} ${RTL}`.repeat(20) : UNBROKEN,
      metadata: METADATA,
    });
    const c = await service.post("/computers", {
      name,
      workspace_id: w.id,
      project_slug: `${SLUG}${i}`,
      project_name: name,
      metadata: METADATA,
      external_user_id: "u".repeat(100),
      auto_stop_seconds: 0,
    });
    made.push({ workspace: w.id, computer: c.id, project: c.project_id });
    await service.call("PATCH", `/projects/${c.project_id}`, {
      description: UNBROKEN,
      external_project_id: "p".repeat(100),
      metadata: METADATA,
    });
    await service.put(`/workspaces/${w.id}/preview-domain`, { preview_domain: `w${i}.${DOMAIN}` });
    await service.put(`/workspaces/${w.id}/settings`, { max_computers: 1 });
    await service.put(`/workspaces/${w.id}/budget`, { credits: 1, period: "month" });
    await service.put(`/projects/${c.project_id}/preview-domain`, {
      preview_domain: `p${i}.${DOMAIN}`,
    });
    await service.post("/api-keys", { name, workspace_id: w.id });
    await service.post("/webhooks", {
      url: `https://example.com/${"h".repeat(800)}`,
      name: name.slice(0, 100),
      events: ["computer.*", "workspace.*", "project.*", "api_key.*"],
      enabled: false,
    });
  }
  const gone = await service.post("/workspaces", {
    name: `${LONG.slice(1)}x`,
    slug: `${SLUG}gone`,
  });
  await service.call("DELETE", `/workspaces/${gone.id}`);
  const webhook = (await service.get("/webhooks")).data[0].id;
  const [first, ...others] = made;
  return [...screensOf({ ...first, webhook }), ...others.flatMap(screensBelow)];
}
