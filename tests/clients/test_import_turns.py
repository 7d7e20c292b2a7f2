"""An import goes in turns: nobody waits for it, nothing of it is seen before its end, and a kill leaves nothing of it."""

from __future__ import annotations

import re
import sqlite3
import threading
import time

import pytest

import raw
from exports import grown, iso
from test_hostile_tenant import ATTACKER, UNMETERED, now, slowest
from workspaced import FAST, Server, eventually, run

EVENTS = 60_000
TABLES = (
    "workspaces", "projects", "computers", "compute_events", "meter_steps", "meter_hours", "meter_eras",
    "metered_computers", "preview_domains", "imported_rates", "imports", "audit_log WHERE seq < 1",
)  # fmt: skip


def history(server) -> bytes:
    """The export of a workspace with a computer, made long."""
    with server.http(server.first_key) as http:
        workspace = http.post("/workspaces", json={"name": "history"}).json()["id"]
        computer = http.post("/computers", json={"name": "c", "workspace_id": workspace, "driver": "external"}).json()["id"]
        for kind in ("started", "stopped"):
            event = {"id": kind, "type": f"computer.{kind}", "subject": computer, "time": iso(now())}
            assert http.post("/compute-events", json={"events": [event]}).json()["accepted"] == 1
        http.put(f"/workspaces/{workspace}/preview-domain", json={"preview_domain": "history.example.net"})
        file = http.get(f"/workspaces/{workspace}/export").content
        assert http.delete(f"/workspaces/{workspace}?force=true").status_code == 200
        return grown(file, EVENTS)


@pytest.fixture
def service(tmp_path):
    with Server(tmp_path, *UNMETERED, *FAST) as server:
        with server.http(server.first_key) as http:
            server.attacker = http.post("/platform/tenants", json={"name": "Attacker"}).json()["api_key"]["key"]
        yield server


def counts(server) -> list[int]:
    with sqlite3.connect(f"file:{server.data_dir}/workspaced.db?mode=ro", uri=True) as db:
        return [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES]


def begin(server, file, key) -> tuple[threading.Thread, list]:
    head = raw.head("POST", "/api/v1/workspaces/import?slug=copy&rename_computers=true", key, None, f"Content-Length: {len(file)}", "Connection: close")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(raw.exchange(server, head + file, ATTACKER, timeout=120)))
    thread.start()
    return thread, answers


def without_instants(value):
    """The same without what moves with the clock."""
    if isinstance(value, dict):
        return {name: without_instants(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_instants(inner) for inner in value]
    return "an instant" if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) else value


def seen(http) -> dict:
    """All that an organization is told of what it has."""
    found = {}
    for path in ("/workspaces", "/projects", "/computers", "/audit-log?limit=100", "/usage/sessions", "/usage/adjustments", "/usage", "/overview"):
        reply = http.get(path)
        body = reply.json()
        if path == "/overview":  # the import counts against the ceilings from its beginning
            body = {name: body[name] for name in ("near_limit", "domain_problems", "burn_rate_credits_per_hour")}
        found[path] = (reply.status_code, without_instants(body))
    return found


def test_nothing_of_an_import_is_seen_before_its_end_and_nobody_waits_for_it(service):
    file = history(service)
    with service.http(service.attacker) as http, service.http(service.first_key) as operator:
        before = seen(http)
        assert before["/workspaces"][0] == before["/computers"][0] == before["/audit-log?limit=100"][0] == 200
        stop, waited = threading.Event(), []
        neighbour = threading.Thread(target=lambda: waited.append(slowest(service, service.first_key, stop)))
        neighbour.start()
        thread, answers = begin(service, file, service.attacker)
        looks = 0
        while thread.is_alive():
            meanwhile = seen(http)
            if counts(service)[TABLES.index("imports")]:
                assert meanwhile == before
                looks += 1
        thread.join()
        stop.set()
        neighbour.join()
        assert answers[0].status == 201, answers[0].body
        assert looks >= 2, "it was over before anybody could look"
        longest, statuses = waited[0]
        assert statuses == {201} and longest < 0.4, f"{longest:.2f} s"
        assert {row["slug"] for row in http.get("/workspaces").json()["data"]} == {"default", "copy"}
        assert http.get("/computers").json()["total"] == 1
        rows = http.get("/audit-log?limit=100").json()["data"]
        assert {row["type"] for row in rows if row["imported"]} >= {"workspace.created", "computer.created"}
        assert not [row for row in rows if row["imported"] and row["type"] == "workspace.imported"]
        assert operator.get("/usage/verify").json()["ok"] is True
    assert counts(service)[TABLES.index("imports")] == 0


def test_a_kill_in_the_middle_of_an_import_leaves_nothing_of_it(service, tmp_path):
    file, key = history(service), service.attacker
    before = counts(service)
    thread, _ = begin(service, file, key)
    eventually(lambda: counts(service)[TABLES.index("compute_events")] > before[3] + 1000, "the middle")
    service.kill()
    thread.join()
    assert counts(service)[TABLES.index("imports")] == 1
    done = run("verify", "--data-dir", service.data_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    with Server(tmp_path, *UNMETERED, *FAST) as again:
        eventually(lambda: counts(again) == before, f"{before}, as it was before")
        thread, answers = begin(again, file, key)
        thread.join()
        assert answers[0].status == 201, answers[0].body
        thread, answers = begin(again, file, key)
        thread.join()
        assert answers[0].status == 200 and answers[0].json()["imported"] is False
    done = run("verify", "--data-dir", again.data_dir)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_goes_on_when_its_client_has_left(service):
    file = history(service)
    head = raw.head("POST", "/api/v1/workspaces/import?slug=copy&rename_computers=true", service.attacker, None, f"Content-Length: {len(file)}")
    connection = raw.connect(service, ATTACKER)
    connection.sendall(head + file)
    eventually(lambda: counts(service)[TABLES.index("imports")] == 1, "the import")
    connection.close()
    with service.http(service.attacker) as http:
        eventually(lambda: http.get("/workspaces?slug=copy").json()["total"] == 1, "its end", 60)
