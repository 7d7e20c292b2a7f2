"""Data to measure on: made through the API where it can be, the history of years straight into the file."""

from __future__ import annotations

import concurrent.futures
import pathlib
import sqlite3
import subprocess
import time

from servers import Workspaced, ask

HOUR_MS = 3_600_000


def workspaces_and_computers(server: Workspaced, workspaces: int, computers: int) -> tuple[list[str], list[str], list[str]]:
    """New workspaces, computers of the built-in driver spread over them, and 100 external ones: their ids."""
    api = f"{server.url}/api/v1"

    def workspace(n: int) -> str:
        body = {"name": f"Clinic {n}", "slug": f"clinic-{n}", "external_workspace_id": f"crm-{n}"}
        return ask("POST", f"{api}/workspaces", server.key, body)["id"]

    def computer(n: int) -> str:
        body = {"name": f"pc-{n}", "workspace_id": ids[n % workspaces], "size": "small"}
        return ask("POST", f"{api}/computers", server.key, body)["id"]

    def external(n: int) -> str:
        body = {"name": f"agent-{n}", "workspace_id": ids[0], "size": "small", "driver": "external"}
        return ask("POST", f"{api}/computers", server.key, body)["id"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(workspace, range(workspaces)))
        return ids, list(pool.map(computer, range(computers))), list(pool.map(external, range(100)))


#: `:events` events of the external computers of one workspace, half of them starts, over `:span` until now.
EVENTS = """
WITH RECURSIVE
machines AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY id) - 1 AS n, count(*) OVER () AS machines
    FROM computers WHERE driver = 'external'
),
numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :events / :machines)
INSERT INTO compute_events (tenant_id, workspace_id, project_id, computer_id, type, at, recorded_at, status, billable, size, rate)
SELECT tenant_id, workspace_id, project_id, id, CASE i % 2 WHEN 0 THEN 'computer.running' ELSE 'computer.stopped' END,
       at, at, CASE i % 2 WHEN 0 THEN 'running' ELSE 'stopped' END, 1 - i % 2, size, 30
FROM (
    SELECT machines.*, i, :now - :span + i * (:span / (:events / :machines)) + n * 7919 % 600000 AS at
    FROM numbers CROSS JOIN machines
)
ORDER BY at
"""


def history(binary: pathlib.Path, data: pathlib.Path, events: int) -> None:
    """30 days of history of the external computers, into the file of a service that is stopped."""
    with sqlite3.connect(data / "workspaced.db") as db:
        now = time.time_ns() // 1_000_000
        span = 30 * 24 * HOUR_MS
        machines = db.execute("SELECT count(*) FROM computers WHERE driver = 'external'").fetchone()[0]
        db.execute("UPDATE computers SET created_at = created_at - ? WHERE driver = 'external'", [span + HOUR_MS])
        db.execute(EVENTS, {"events": events, "machines": machines, "now": now - HOUR_MS, "span": span})
    db.close()
    subprocess.run([binary, "rebuild-usage", "--data-dir", data], check=True, stdout=subprocess.DEVNULL)


def history_of_pocketbase(database: pathlib.Path, events: int) -> None:
    """The same number of events, for the peer's question."""
    with sqlite3.connect(database) as db:
        db.execute(
            """WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :events)
               INSERT INTO compute_events (workspace_id, computer_id, at, billable, rate)
               SELECT 'w', 'c' || i % 100, :now - :span + i / 100 * (:span / (:events / 100)) + i % 100 * 7919 % 600000,
                      1 - i / 100 % 2, 30 FROM numbers""",
            {"events": events, "now": time.time_ns() // 1_000_000 - HOUR_MS, "span": 30 * 24 * HOUR_MS},
        )
    db.close()
