// Data that looks like a practice platform: clinics with projects, computers, and a month behind them.

const CLINICS = [
  "Harbor Dental",
  "Dr. Smith Clinic",
  "Northside Pediatrics",
  "Lakeview Eye Care",
  "Summit Orthopedics",
  "Maple Street Vets",
  "Riverside Physio",
  "Bright Smiles",
  "Cedar Family Practice",
  "Oakwood Dermatology",
  "Elm Park Surgery",
  "Westgate Cardiology",
  "Sunrise Wellness",
  "Blue Door Therapy",
  "Hillcrest Hospital",
  "Old Town Pharmacy",
  "Pinecrest Allergy",
  "Valley Sleep Center",
  "Greenfield Fertility",
  "Stonebridge Urology",
  "Meadow Nursing",
  "Lighthouse Hearing",
  "Fairview Imaging",
  "Kingsway Podiatry",
  "Orchard Midwives",
  "Silver Lake Spa",
  "Parkside Nutrition",
  "Crescent Labs",
  "Ångström & Söhne Praxis",
  "東京クリニック",
];
const PROJECTS = [
  ["booking", "Booking site"],
  ["lead-magnet", "Lead Magnet"],
  ["intake", "Patient intake"],
  ["ads", "Spring campaign"],
];
const SIZES = ["xs", "small", "small", "small", "medium", "large"];

/** Numbers that look random and are the same every time. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

async function inParallel(items, width, f) {
  const queue = [...items.entries()];
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let next; (next = queue.shift());) await f(next[1], next[0]);
    }),
  );
}

/** `workspaces` clinics with `computers` in all, each with `days` of history. */
export async function seed(
  service,
  { workspaces = 30, computers = 90, days = 30, sessions = 12, backdate } = {},
) {
  const next = random(7),
    now = Date.now(),
    made = [];
  const names = Array.from({ length: workspaces }, (_, i) =>
    i < CLINICS.length
      ? CLINICS[i]
      : `${CLINICS[i % CLINICS.length]} ${Math.floor(i / CLINICS.length) + 1}`,
  );
  await inParallel(names, 16, async (name, i) => {
    made[i] = await service.post("/workspaces", {
      name,
      slug: i === 29 ? "tokyo-clinic" : undefined,
      external_workspace_id: `clinic_${100 + i}`,
      description: i % 5 === 0 ? "Front office, booking and two campaigns." : undefined,
      allow_duplicate_name: true,
    });
  });
  const plan = Array.from({ length: computers }, (_, n) => ({
    n,
    w: made[n < workspaces ? n : Math.floor(next() * next() * workspaces)],
    size: SIZES[Math.floor(next() * SIZES.length)],
    project: PROJECTS[Math.floor(next() * PROJECTS.length)],
    outside: n % 5 !== 0,
  }));
  const events = [];
  await inParallel(plan, 16, async (p) => {
    const made = await service.post("/computers", {
      name: `${p.project[0]}-${p.n + 1}`,
      workspace_id: p.w.id,
      project_slug: p.project[0],
      project_name: p.project[1],
      size: p.size,
      driver: p.outside ? "external" : undefined,
      auto_stop_seconds: p.n % 3 === 0 ? 7200 : 0,
    });
    p.id = made.id;
  });
  // A report cannot be older than its computer; whoever wants a past makes the computers older first.
  if (backdate) await backdate(days);
  for (const p of backdate ? plan.filter((p) => p.outside) : []) {
    let at = now - days * 864e5 * next();
    for (let s = 0; s < sessions && at < now - 36e5; s++) {
      const length = 36e5 * (1 + 9 * next());
      events.push({
        id: `e-${p.n}-${s}a`,
        type: "computer.started",
        subject: p.id,
        time: new Date(at).toISOString(),
      });
      const end = at + length;
      if (end > now - 6e4) break;
      events.push({
        id: `e-${p.n}-${s}b`,
        type: "computer.stopped",
        subject: p.id,
        time: new Date(end).toISOString(),
      });
      at = end + ((days * 864e5) / sessions) * next();
    }
  }
  for (let i = 0; i < events.length; i += 5000)
    await service.post("/compute-events", { events: events.slice(i, i + 5000) });
  // Caps of all kinds: with room, near, full, and one that was lowered below what is there.
  for (const [i, room] of [
    [0, 2],
    [1, 1],
    [2, 0],
    [3, 10],
    [4, -1],
  ]) {
    const has = plan.filter((p) => p.w === made[i]).length;
    if (made[i])
      await service.put(`/workspaces/${made[i].id}/settings`, {
        max_computers: Math.max(1, has + room),
        max_computer_size: i % 2 ? "medium" : "large",
      });
  }
  if (made[1])
    await service.put(`/workspaces/${made[1].id}/preview-domain`, {
      preview_domain: "drsmith.example",
    });
  if (made[5])
    await service.put(`/workspaces/${made[5].id}/preview-domain`, {
      preview_domain: "maplevets.example",
    });
  return { workspaces: made, computers: plan };
}
