"""The process under a wall clock that lies, and the commands beside it."""

import os
import random
import shutil
import sqlite3
import subprocess
import time
import uuid
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

from test_hostile_tenant import Wall
from workspaced import BINARY, Server, environment, eventually, run

AT_ONCE = ("--provision-ms", "0", "--start-ms", "0", "--stop-ms", "0")


def workspace(http):
    made = http.post("/workspaces", json={"name": "Clinic"}).json()["id"]
    http.put(f"/workspaces/{made}/settings", json={"default_auto_stop_seconds": 600}).raise_for_status()
    return made


def computer(http, where):
    made = http.post("/computers", json={"name": "pc", "workspace_id": where, "size": "small"})
    made.raise_for_status()
    id = made.json()["id"]
    eventually(lambda: status(http, id) == "running", "a computer that runs")
    return id


def status(http, id):
    return http.get(f"/computers/{id}").json()["status"]


def used(http, where):
    return http.get(f"/workspaces/{where}/usage", params={"window": "24h"}).json()["total_compute_ms"]


def test_an_hour_ahead_for_two_seconds_stops_nothing_and_holds_nothing_up(tmp_path):
    wall = Wall(tmp_path / "clock")
    with Server(tmp_path, *AT_ONCE, **wall.environment) as server, server.http(server.first_key) as http:
        where = workspace(http)
        id = computer(http, where)
        wall.ahead(timedelta(hours=1))
        time.sleep(2)
        health = http.get(f"{server.url}/health").json()
        assert "jumped ahead" in health["clock"] and health["status"] == "ok", health
        assert status(http, id) == "running"
        wall.ahead(timedelta(0))
        assert status(http, id) == "running"
        for what, then in (("stop", "stopped"), ("start", "running"), ("stop", "stopped")):
            assert http.post(f"/computers/{id}/{what}", json={}).status_code == 200
            eventually(lambda: status(http, id) == then, then, 5)
        before = used(http, where)
        assert before < 60_000
        time.sleep(1)
        assert used(http, where) == before
        assert "clock" not in http.get(f"{server.url}/health").json()
        eventually(lambda: "jumped ahead" in server.log, "a word in the log")
        found = run("verify", "--data-dir", server.data_dir)
        assert found.returncode == 0 and "ahead" not in found.stdout, found


def test_a_clock_that_was_ahead_from_the_start_is_put_right(tmp_path):
    wall = Wall(tmp_path / "clock")
    wall.ahead(timedelta(days=14 * 365))
    since = datetime.now(timezone.utc)
    with Server(tmp_path, *AT_ONCE, **wall.environment) as server, server.http(server.first_key) as http:
        where = workspace(http)
        touched, deleted, left, stopped = (computer(http, where) for _ in range(4))
        http.post(f"/computers/{stopped}/stop", json={}).raise_for_status()
        eventually(lambda: status(http, stopped) == "stopped", "stopped", 5)
        wall.ahead(timedelta(0))
        http.post(f"/computers/{touched}/stop", json={}).raise_for_status()
        eventually(lambda: status(http, touched) == "stopped", "stopped", 5)
        assert http.delete(f"/computers/{deleted}").status_code == 200
        eventually(lambda: "see `workspaced repair-clock`" in server.log.lower() or "repair-clock" in server.log, "a word in the log")
        metrics = http.get(f"{server.url}/metrics").text
        assert "workspaced_events_ahead 0" not in metrics and "workspaced_events_ahead" in metrics
        found = run("verify", "--data-dir", server.data_dir)
        assert found.returncode == 0 and "dated ahead of the clock" in found.stdout, found
        doctor = run("doctor", "--data-dir", server.data_dir).stdout
        assert "warn  events" in doctor, doctor

        repair = ("repair-clock", "--data-dir", server.data_dir, "--since", since.isoformat())
        dry = run(*repair)
        assert dry.returncode == 0 and "Nothing was changed" in dry.stdout, dry
        assert left in dry.stdout and touched not in dry.stdout
        assert "dated ahead" in run("verify", "--data-dir", server.data_dir).stdout
        done = run(*repair, "--apply")
        assert done.returncode == 0 and "0 differences" in done.stdout and "dated ahead" not in done.stdout, done
        assert "0 events were dated wrongly" in run(*repair).stdout
        assert status(http, stopped) == "stopped" and status(http, left) == "running"
        before = used(http, where)
        time.sleep(1)
        passed = used(http, where) - before
        assert 900 < passed < 5000, f"{passed} ms of the one that runs"
        far = run("repair-clock", "--data-dir", server.data_dir, "--since", "2099-01-01T00:00:00Z")
        assert far.returncode == 2 and "ahead of the clock" in far.stderr
    assert run("verify", "--data-dir", tmp_path / "data").returncode == 0


def test_a_clock_of_2016_meters_nothing_and_goes_on_by_itself(tmp_path):
    wall = Wall(tmp_path / "clock")
    wall.ahead(datetime(2016, 5, 1, tzinfo=timezone.utc) - datetime.now(timezone.utc))
    with Server(tmp_path, *AT_ONCE, **wall.environment) as server, server.http(server.first_key) as http:
        assert http.get("/computers").status_code == 200
        refused = http.post("/computers", json={"name": "pc"})
        assert (refused.status_code, refused.json()["code"]) == (503, "CLOCK_WRONG"), refused.text
        health = http.get(f"{server.url}/health").json()
        assert health["status"] == "degraded" and "2016-05-01" in health["clock"]
        assert "workspaced_clock_wrong 1" in http.get(f"{server.url}/metrics").text
        eventually(lambda: "before this program was built" in server.log, "a word in the log")
        wall.ahead(timedelta(0))
        made = http.post("/computers", json={"name": "pc"})
        assert made.status_code == 201, made.text
        assert abs(datetime.fromisoformat(made.json()["created_at"]) - datetime.now(timezone.utc)) < timedelta(minutes=1)
        assert http.get(f"{server.url}/health").json()["status"] == "ok"


def test_commands_beside_a_driven_clock_take_its_time(tmp_path):
    with Server(tmp_path, "--dev", *AT_ONCE) as server, server.http("msk_u_dev") as http:
        http.post(f"{server.url}/_dev/clock", json={"mode": "frozen"}).raise_for_status()
        where = http.post("/workspaces", json={"name": "w"}).json()["id"]
        http.post("/computers", json={"name": "pc", "workspace_id": where}).raise_for_status()
        http.post(f"{server.url}/_dev/clock", json={"advance_seconds": 400 * 86400}).raise_for_status()
        http.patch(f"/workspaces/{where}", json={"description": "in a year"}).raise_for_status()
        year = http.get(f"{server.url}/_dev/clock").json()["now"][:7]
        for command in (("verify",), ("doctor",)):
            found = run(*command, "--data-dir", server.data_dir)
            assert "warn  events" not in found.stdout and "events are dated" not in found.stdout and "went back" not in found.stdout, found
        backup = run("backup", f"{tmp_path}/b/", "--data-dir", server.data_dir)
        assert f"state of {year}" in backup.stdout, backup
        assert "warning" not in backup.stderr
        found = run("check", server.data_dir / "workspaced.db")
        assert found.returncode == 0 and "are dated ahead" not in found.stdout, found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_what_cannot_be_opened_is_not_called_damaged(tmp_path):
    with Server(tmp_path) as server, server.http(server.first_key) as http:
        http.post("/workspaces", json={"name": "w"}).raise_for_status()
    shelf = tmp_path.parent / f"{tmp_path.name}-shelf"
    for part in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        part.chmod(0o755)
    shutil.copytree(tmp_path / "data", shelf)
    binary = tmp_path / "workspaced"
    shutil.copy(BINARY, binary)

    def as_nobody(*arguments):
        return subprocess.run([binary, *map(str, arguments)], env=environment(), capture_output=True, text=True, user=65534, group=65534, extra_groups=[], cwd="/", timeout=30)

    database = shelf / "workspaced.db"
    shelf.chmod(0o755)
    for command in (("check", database), ("verify", "--data-dir", shelf), ("--data-dir", shelf, "--listen", "127.0.0.1:0")):
        refused = as_nobody(*command)
        assert refused.returncode == 5, (command, refused)
        assert "runs as uid 65534" in refused.stderr and "belongs to uid 0" in refused.stderr, refused
        assert "damaged" not in refused.stderr and "cannot be opened" in refused.stderr, refused
    shelf.chmod(0o700)
    assert as_nobody("check", database).returncode == 5
    assert as_nobody("verify", "--data-dir", shelf).returncode == 5

    # Readable, and nothing can be written: read without a trace.
    for path in shelf.iterdir():
        path.chmod(0o444)
    shelf.chmod(0o555)
    before = sorted(path.name for path in shelf.iterdir())
    found = as_nobody("check", database)
    assert found.returncode == 0 and "sound" in found.stdout, found
    assert sorted(path.name for path in shelf.iterdir()) == before
    refused = as_nobody("verify", "--data-dir", shelf)
    assert refused.returncode == 5 and "uid 65534" in refused.stderr, refused
    shelf.chmod(0o700)
    # Damage is still damage.
    database.chmod(0o600)
    data = bytearray(database.read_bytes())
    data[4096:8192] = b"\xa5" * 4096
    database.write_bytes(data)
    broken = run("check", database)
    assert broken.returncode == 1 and "damaged" in broken.stderr, broken


@pytest.mark.parametrize(
    "offsets", [(0, 3_600, 400 * 86_400), (0, 45, -60, -1_200, -3_600, 3_600)], ids=["ahead", "both ways"]
)
def test_random_changes_under_a_wall_clock_that_jumps(tmp_path, offsets):
    """What is billed is what the events say; and while nothing but jumps ahead happens, what really ran."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng, wall = random.Random(seed), Wall(tmp_path / "clock")
    with Server(tmp_path, *AT_ONCE, **wall.environment) as server, server.http(server.first_key) as http:
        places = [http.post("/workspaces", json={"name": f"Clinic {n}"}).json()["id"] for n in range(3)]
        runs, ran, slack = {}, {}, {}
        for n in range(6):
            began = time.monotonic()
            made = http.post("/computers", json={"name": f"pc {n}", "workspace_id": rng.choice(places), "size": "small"})
            id = made.json()["id"]
            eventually(lambda: status(http, id) == "running", "a computer that runs")
            runs[id], ran[id], slack[id] = time.monotonic(), 0.0, time.monotonic() - began
        until = time.monotonic() + 12
        while time.monotonic() < until:
            if rng.random() < 0.3:
                wall.ahead(timedelta(seconds=rng.choice(offsets)))
            id, began = rng.choice(list(runs)), time.monotonic()
            what = rng.choice(["turn", "turn", "move", "resize", "rename"])
            if what == "turn":
                running = runs[id] is not None
                reply = http.post(f"/computers/{id}/{'stop' if running else 'start'}", json={})
                assert reply.status_code == 200, reply.text
                wanted = "stopped" if running else "running"
                eventually(lambda: status(http, id) == wanted, wanted, 5)
                ended = time.monotonic()
                if running:
                    ran[id] += ended - runs[id]
                runs[id] = None if running else ended
                slack[id] += ended - began
            elif what == "move":
                http.post(f"/computers/{id}/move", json={"workspace_id": rng.choice(places)}).raise_for_status()
            elif what == "resize":
                http.post(f"/computers/{id}/resize", json={"size": rng.choice(["small", "medium"])}).raise_for_status()
            else:
                http.patch(f"/computers/{id}", json={"name": f"pc {rng.randrange(1 << 30)}"}).raise_for_status()
            time.sleep(rng.random() / 5)
        wall.ahead(timedelta(0))
        for id, since in runs.items():
            began = time.monotonic()
            if since is not None:
                http.post(f"/computers/{id}/stop", json={}).raise_for_status()
                eventually(lambda: status(http, id) == "stopped", "a stop", 5)
                ran[id] += time.monotonic() - since
            slack[id] += time.monotonic() - began
        metered = sum(used(http, place) for place in places)
        found = run("verify", "--data-dir", server.data_dir)
        assert found.returncode == 0, found.stdout + found.stderr
        assert not server.log.count("panicked")
    billed = {}
    with sqlite3.connect(server.data_dir / "workspaced.db") as db:
        for id in runs:
            sql = "SELECT at, status FROM compute_events WHERE computer_id = ? ORDER BY at, seq"
            events = db.execute(sql, (uuid.UUID(id).bytes,)).fetchall()
            assert events[-1][1] == "stopped"
            billed[id] = sum(to - at for (at, status), (to, _) in pairwise(events) if status == "running")
    assert metered == sum(billed.values())
    if min(offsets) == 0:
        for id, ms in billed.items():
            assert abs(ms / 1000 - ran[id]) <= slack[id] + 0.05, (id, ms, ran[id], slack[id])
