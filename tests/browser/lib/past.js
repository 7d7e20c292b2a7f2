// A month behind a service that was started just now. The API takes no report that is older than its
// computer, so what was seeded is made older in the file, and its history is then reported as usual.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const SCRIPT = `
import sqlite3, sys
db, ms = sqlite3.connect(sys.argv[1], timeout=60), int(sys.argv[2])
with db:
    for table, columns in {"workspaces": ["created_at"], "projects": ["created_at"], "computers": ["created_at"], "api_keys": ["created_at"]}.items():
        for column in columns:
            db.execute(f"UPDATE {table} SET {column} = {column} - ?", (ms,))
    db.execute("UPDATE compute_events SET at = at - ?, recorded_at = recorded_at - ? WHERE billable = 0 AND computer_id IN (SELECT id FROM computers WHERE driver = 'external')", (ms, ms))
`;

/** Makes everything that is there `days` older. */
export const backdate = (service, days) =>
  promisify(execFile)("python3", [
    "-c",
    SCRIPT,
    join(service.dir, "data", "workspaced.db"),
    String(days * 864e5),
  ]);

/** Hands the computers that the seed reported about to the built-in driver, so that each can be acted on. */
export const handOver = (service) =>
  promisify(execFile)("python3", [
    "-c",
    `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
with db:
    db.execute("UPDATE computers SET driver = 'simulated', due_at = CASE status WHEN 'provisioning' THEN 0 END WHERE driver = 'external' AND status IN ('running', 'stopped', 'provisioning')")
`,
    join(service.dir, "data", "workspaced.db"),
  ]);
