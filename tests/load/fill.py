"""Data to measure on: made through the API where it can be, the history of years straight into the file."""

from __future__ import annotations

import concurrent.futures
import hashlib
import pathlib
import secrets
import sqlite3
import subprocess
import time

from servers import Workspaced, ask

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


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


def made_earlier(binary: pathlib.Path, data: pathlib.Path, days: int) -> None:
    """Dates the external computers, in the file of a service that is stopped, as if they had been made so many days
    ago: what is reported about them after that is new, and not late."""
    with sqlite3.connect(data / "workspaced.db") as db:
        back = {"back": days * DAY_MS}
        db.execute("UPDATE computers SET created_at = created_at - :back WHERE driver = 'external'", back)
        db.execute(
            """UPDATE compute_events SET at = at - :back, recorded_at = recorded_at - :back
               WHERE computer_id IN (SELECT id FROM computers WHERE driver = 'external')""",
            back,
        )
    db.close()
    subprocess.run([binary, "rebuild-usage", "--data-dir", data], check=True, stdout=subprocess.DEVNULL)


def organizations(data: pathlib.Path, count: int, workspaces: int) -> list[tuple[str, str]]:
    """Organizations with a key and as many workspaces each, straight into the file of a service that is stopped: made in
    turns, so that what belongs to one lies as scattered as it would after years. Each workspace has a project and an
    external computer, for `history`; none has rows in the audit log. Returns the key and the id of every workspace."""
    began = time.time_ns() // 1_000_000 - 90 * DAY_MS

    def new_id(at: int) -> bytes:
        # As the service makes them: version 7, so that rows made one after the other are neighbours in an index.
        noise = bytearray(secrets.token_bytes(10))
        noise[0], noise[2] = noise[0] & 0x0F | 0x70, noise[2] & 0x3F | 0x80
        return at.to_bytes(6, "big") + noise

    keys = ["msk_a_" + secrets.token_hex(20) for _ in range(count)]
    tenants = [new_id(began + n) for n in range(count)]
    began += count
    made = [(tenants[n % count], new_id(began + n), n) for n in range(count * workspaces)]
    projects = [new_id(began + n) for _, _, n in made]
    with sqlite3.connect(data / "workspaced.db") as db:
        db.executemany(
            """INSERT INTO tenants (id, name, slug, workspace_count, created_at, updated_at)
               VALUES (?1, 'Agency ' || ?2, 'agency-' || ?2, ?3, ?4, ?4)""",
            ((tenant, n, workspaces, began) for n, tenant in enumerate(tenants)),
        )
        db.executemany(
            """INSERT INTO api_keys
                 (id, tenant_id, name, key_type, secret_hash, key_prefix, last4, status, last_used_at, created_at,
                  updated_at)
               VALUES (?1, ?2, 'all', 'admin', ?3, ?4, ?5, 'active', ?6, ?6, ?6)""",
            (
                (new_id(began), tenant, hashlib.sha256(key.encode()).digest(), key[:12], key[-4:], began)
                for tenant, key in zip(tenants, keys)
            ),
        )
        db.executemany(
            """INSERT INTO workspaces
                 (id, tenant_id, name, slug, external_workspace_id, is_default, created_at, updated_at)
               VALUES (?1, ?2, 'Clinic ' || ?3, 'clinic-' || ?3, 'crm-' || ?3, ?3 < ?4, ?5 + ?3, ?5 + ?3)""",
            ((workspace, tenant, n, count, began) for tenant, workspace, n in made),
        )
        db.executemany(
            """INSERT INTO projects (id, tenant_id, workspace_id, name, slug, is_default, created_at, updated_at)
               VALUES (?1, ?2, ?3, 'Default', 'default', 1, ?4, ?4)""",
            ((project, tenant, workspace, began + n) for project, (tenant, workspace, n) in zip(projects, made)),
        )
        db.executemany(
            """INSERT INTO computers
                 (id, tenant_id, workspace_id, project_id, name, slug, template_type, size, status, driver,
                  created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, 'pc-' || ?5, 'pc-' || ?5, 'miosa-desktop', 'small', 'stopped', 'external',
                       ?6, ?6)""",
            (
                (new_id(began + n), tenant, workspace, project, n, began + n)
                for project, (tenant, workspace, n) in zip(projects, made)
            ),
        )
    db.close()

    def as_text(uuid: bytes) -> str:
        digits = uuid.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    return [(keys[n % count], as_text(workspace)) for _, workspace, n in made]


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
