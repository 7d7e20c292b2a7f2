"""Backup, restore and check as a person runs them, beside a live service and without one."""

import hashlib
import os
import re
import sqlite3
import stat
import threading
import time
from contextlib import closing

from workspaced import FAST, Server, eventually, run


def names(http):
    return [w["name"] for w in http.get("/workspaces").json()["data"]]


def test_back_up_while_it_serves_lose_it_all_and_restore(tmp_path):
    with Server(tmp_path, *FAST) as server, server.http(server.first_key) as http:
        key, data = server.first_key, server.data_dir
        http.post("/workspaces", json={"name": "Kept"})
        backup = tmp_path / "backup.db"
        done = run("backup", backup, "--data-dir", data)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(backup.read_bytes()).hexdigest() in done.stdout
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600
        http.post("/workspaces", json={"name": "Too late"})
        again = run("backup", backup, "--data-dir", data)
        assert again.returncode == 2 and "there already" in again.stderr
        live = run("restore", backup, "--data-dir", data)
        assert live.returncode == 1 and "another workspaced is running" in live.stderr
        assert names(http) == ["default", "Kept", "Too late"]
        checked = run("check", data / "workspaced.db")
        assert checked.returncode == 0 and "3 workspaces" in checked.stdout, checked.stderr + checked.stdout

    checked = run("check", backup)
    assert checked.returncode == 0 and "as recorded" in checked.stdout and "2 workspaces" in checked.stdout
    done = run("restore", backup, "--data-dir", data)
    assert done.returncode == 0, done.stderr
    [kept] = data.glob("workspaced.db.before-restore-*")
    assert str(kept) in done.stdout
    assert "3 workspaces" in run("check", kept).stdout
    with Server(tmp_path, *FAST) as server, server.http(key) as http:
        assert names(http) == ["default", "Kept"]


def test_a_damaged_backup_is_not_restored_and_a_damaged_database_not_served(tmp_path):
    with Server(tmp_path) as server:
        data = server.data_dir
    database = data / "workspaced.db"
    backup = tmp_path / "backup.db"
    assert run("backup", backup, "--data-dir", data).returncode == 0
    good = backup.read_bytes()
    backup.write_bytes(good[:8192] + b"\xa5" * 4096 + good[12288:])
    done = run("restore", backup, "--data-dir", data)
    assert done.returncode == 2 and "checksum" in done.stderr and "Nothing was changed" in done.stderr
    done = run("restore", backup, "--data-dir", data, "--no-checksum")
    assert done.returncode == 2 and "Nothing was changed" in done.stderr
    assert run("check", backup).returncode == 1

    database.write_bytes(good[: len(good) // 2])
    before = database.read_bytes()
    done = run("--data-dir", data, "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "damaged" in done.stderr and "workspaced restore BACKUP --data-dir" in done.stderr
    assert database.read_bytes() == before
    assert run("check", database).returncode == 1
    backup.write_bytes(good)
    assert run("restore", backup, "--data-dir", data).returncode == 0
    with Server(tmp_path):
        pass


def test_backups_by_the_clock(tmp_path):
    to = tmp_path / "backups"
    flags = ("--backup-dir", to, "--backup-every", "1s", "--backup-keep", "2")
    with Server(tmp_path, *flags) as server:
        first = eventually(lambda: sorted(to.glob("*.db")), "the first backup")[0]
        eventually(lambda: not first.exists(), "the first to make room")
        assert len(list(to.glob("*.db"))) <= 3
        with server.http(server.first_key) as http:
            listed = http.get("/system/backups").json()
            assert listed["every_seconds"] == 1 and listed["keep"] == 2 and listed["last_error"] is None
    assert not list(to.glob("*.partial"))
    for file in to.glob("*.db"):
        assert run("check", file).returncode == 0
    wrong = run("--data-dir", tmp_path / "x", "--backup-every", "1h")
    assert wrong.returncode == 2 and "--backup-dir" in wrong.stderr


def test_a_backup_does_not_hold_up_writes(tmp_path):
    """That they go on at all; `tests/durability/backup` measures how fast."""
    with Server(tmp_path, *FAST) as server, server.http(server.first_key) as http:
        for n in range(20):
            blob = {str(i): "x" * 450 for i in range(30)}
            http.post("/workspaces", json={"name": f"w{n}", "metadata": blob}).raise_for_status()
        done, slowest = threading.Event(), 0.0

        def back_up():
            for n in range(5):
                assert run("backup", tmp_path / f"{n}.db", "--data-dir", server.data_dir).returncode == 0
            done.set()

        thread = threading.Thread(target=back_up)
        thread.start()
        writes = 0
        while not done.is_set():
            began = time.monotonic()
            http.post("/workspaces", json={"name": f"during {writes}"}).raise_for_status()
            slowest, writes = max(slowest, time.monotonic() - began), writes + 1
            assert thread.is_alive() or done.is_set()
        thread.join()
        assert writes > 10 and slowest < 5, f"{writes} writes, the slowest {slowest:.3f} s"


def test_free_pages_are_given_back(tmp_path):
    with Server(tmp_path, *FAST) as server, server.http(server.first_key) as http:
        key, database = server.first_key, server.data_dir / "workspaced.db"
        http.post("/workspaces", json={"name": "Kept"})
        refused = run("compact", "--data-dir", server.data_dir)
        assert refused.returncode == 1 and "another workspaced is running" in refused.stderr
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE much (what BLOB)")
        db.executemany("INSERT INTO much VALUES (?)", [(os.urandom(100_000),)] * 100)
        db.commit()
        db.execute("DROP TABLE much")
        # As a file of an earlier version, which cannot give pages back one by one.
        db.execute("PRAGMA auto_vacuum = NONE")
        db.execute("VACUUM")
        db.execute("CREATE TABLE much (what BLOB)")
        db.executemany("INSERT INTO much VALUES (?)", [(os.urandom(100_000),)] * 100)
        db.commit()
        db.execute("DROP TABLE much")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.stat().st_size > 10_000_000
    done = run("compact", "--data-dir", server.data_dir)
    assert done.returncode == 0, done.stderr
    before, after = map(int, re.findall(r"(\d+) bytes", done.stdout))
    assert before > 10_000_000 and after == database.stat().st_size < 2_000_000
    assert run("check", database).returncode == 0
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,), "from then on by itself"
    with Server(tmp_path, *FAST) as server, server.http(key) as http:
        assert names(http) == ["default", "Kept"]
    assert run("compact", "--data-dir", tmp_path / "nowhere").returncode == 2
