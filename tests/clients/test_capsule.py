"""A workspace as a file: from one running installation into another, by the command line."""

import gzip
import hashlib
import json
import re
import stat
import threading
import time

import pytest

from workspaced import FAST, Server, eventually, run


@pytest.fixture
def two(tmp_path):
    """Two installations, and how the command line reaches each."""
    with Server(tmp_path / "from", *FAST) as first, Server(tmp_path / "to", *FAST) as second:
        yield first, second


def at(server, key=None):
    return {"MIOSA_BASE_URL": server.url, "MIOSA_API_KEY": key or server.first_key}


def furnish(http):
    """A workspace in which a computer ran for a moment and another one runs."""
    workspace = http.post("/workspaces", json={"name": "Dr. Smith", "external_workspace_id": "clinic_1"}).json()["id"]
    computers = [
        http.post("/computers", json={"name": name, "workspace_id": workspace, "project_slug": "site"}).json()["id"]
        for name in ("one", "two")
    ]
    for computer in computers:
        eventually(lambda: http.get(f"/computers/{computer}").json()["status"] == "running", "it to run")
    http.post(f"/computers/{computers[0]}/stop")
    eventually(lambda: http.get(f"/computers/{computers[0]}").json()["status"] == "stopped", "it to stop")
    return workspace, computers


def test_out_of_one_installation_and_into_another(two, tmp_path):
    first, second = two
    file = tmp_path / "smith.jsonl.gz"
    with first.http(first.first_key) as http:
        workspace, computers = furnish(http)
    done = run("export", "external:clinic_1", file, **at(first))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and not file.with_suffix(".gz.partial").exists()
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    assert json.loads(lines[0])["capsule"]["workspace_id"] == workspace
    end = json.loads(lines[-1])["end"]
    assert end["sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    again = run("export", "external:clinic_1", file, **at(first))
    assert again.returncode == 2 and "there already" in again.stderr
    assert run("export", "nobody", tmp_path / "x", **at(first)).returncode == 3

    done = run("import", file, **at(second))
    assert done.returncode == 0, done.stderr
    assert workspace in done.stdout and "2 computers" in done.stdout and "1 computers that ran" in done.stdout
    with second.http(second.first_key) as http:
        used = f"/workspaces/{workspace}/usage?window=24h"
        usage = http.get(used).json()
        assert usage["total_compute_ms"] == end["usage"]["compute_ms"]
        assert [http.get(f"/computers/{c}").json()["status"] for c in computers] == ["stopped", "stopped"]
        done = run("import", file, **at(second))
        assert done.returncode == 0 and "nothing has changed" in done.stdout
        assert http.get(used).json()["total_compute_ms"] == usage["total_compute_ms"]
        assert http.get("/usage/verify").json()["ok"]
        made = run("tenants", "create", "--slug", "other", "--name", "Other", "--data-dir", second.data_dir)
        key = re.search(r"msk_\S+", made.stdout)[0]
    refused = run("import", file, **at(second, key))
    assert refused.returncode == 2 and "another organization" in refused.stderr

    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(file.read_bytes()[:-9])
    refused = run("import", broken, **at(second))
    assert refused.returncode == 2 and "damaged" in refused.stderr
    flags = ("--keep-running", "--rename-computers", "--without-domains", "--slug", "s", "--external-id", "", "--json")
    missing = run("import", tmp_path / "none", *flags, **at(second))
    assert missing.returncode == 1


def grown(file, events):
    """The capsule with a longer history: a computer that goes on and off."""
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    at = next(n for n, line in enumerate(lines) if "event" in line)
    computer = lines[at]["event"]["computer_id"]
    birth = lines[at]["event"]["at"]
    more = []
    for n in range(events):
        status = ("running", "stopped")[n % 2]
        moment = birth - 3_600_000 - (events - n) * 1000
        more.append({"event": lines[at]["event"] | {"type": f"computer.{status}", "status": status, "at": moment}})
    lines[at:at] = more
    ran = events // 2 * 1000
    for line in lines:
        usage = (line.get("computer") or line.get("end") or {}).get("usage")
        if usage and ("end" in line or line["computer"]["id"] == computer):
            rate = more[0]["event"]["rate"]
            usage["compute_ms"] += ran
            usage["credit_ms"] += ran * rate
            usage["credits_micros"] = usage["credit_ms"] * 10 // 36
    lines[-1]["end"]["rows"]["events"] += events
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1])
    lines[-1]["end"]["sha256"] = hashlib.sha256(body.encode()).hexdigest()
    file.write_bytes(gzip.compress((body + json.dumps(lines[-1]) + "\n").encode()))


def test_killed_in_the_middle_leaves_all_or_nothing(two, tmp_path):
    first, second = two
    file = tmp_path / "long.jsonl.gz"
    with first.http(first.first_key) as http:
        workspace, _ = furnish(http)
    assert run("export", workspace, file, **at(first)).returncode == 0
    grown(file, 20_000)
    key, home = second.first_key, tmp_path / "to"
    outcomes = set()
    for moment in (0.05, 0.3, 0.6, 0.9):
        answered = []
        thread = threading.Thread(target=lambda: answered.append(run("import", file, **at(second, key))))
        thread.start()
        time.sleep(moment)
        second.kill()
        thread.join()
        second = Server(home, *FAST)
        with second.http(key) as http:
            there = http.get(f"/workspaces/{workspace}").status_code == 200
            assert there or answered[0].returncode != 0, answered
            found = http.get("/usage/verify").json()
            assert found["ok"] and (found["events"] > 20_000) == there, found
            outcomes.add(there)
        if there:
            break
    try:
        done = run("import", file, **at(second, key))
        assert done.returncode == 0, done.stderr
        assert ("nothing has changed" in done.stdout) == there
        with second.http(key) as http:
            assert http.get("/usage/verify").json()["events"] > 20_000
    finally:
        second.stop()
