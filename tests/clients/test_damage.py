"""`workspaced verify` on a database that was damaged behind its back: twenty ways, each of which it must find."""

import shutil
import sqlite3
import time
from datetime import datetime, timezone

import pytest

from test_money import START, Book
from workspaced import run

#: What is damaged, and how; `computers` of the sound database: one runs, one has stopped, one is deleted.
DAMAGES = {
    "the instant of a start": "UPDATE compute_events SET at = at + 1 WHERE event_id = 'start'",
    "the instant of a stop": "UPDATE compute_events SET at = at - 1 WHERE event_id = 'stop'",
    "the rate of an event": "UPDATE compute_events SET rate = rate + 1 WHERE event_id = 'start'",
    "the size of the last event": "UPDATE compute_events SET size = 'xl' WHERE event_id = 'resize'",
    "the status of an event": "UPDATE compute_events SET status = 'error', billable = 0 WHERE event_id = 'start'",
    "the workspace of an event": "UPDATE compute_events SET workspace_id = (SELECT id FROM workspaces WHERE name = 'B')"
    " WHERE event_id = 'start'",
    "the computer of an event": "UPDATE compute_events SET computer_id ="
    " (SELECT computer_id FROM compute_events WHERE event_id = 'stop') WHERE event_id = 'start'",
    "an event that is missing": "DELETE FROM compute_events WHERE event_id = 'stop'",
    "an event that is there twice": "INSERT INTO compute_events SELECT seq + 1000, 'twice', tenant_id, workspace_id,"
    " project_id, computer_id, type, at + 5, recorded_at, 'stopped', 0, size, rate, stated, amount_micros, reason, actor"
    " FROM compute_events WHERE event_id = 'start'",
    "the amount of a correction": "UPDATE compute_events SET amount_micros = amount_micros + 1 WHERE event_id = 'correction'",
    "a correction that is missing": "DELETE FROM compute_events WHERE event_id = 'correction'",
    "a step that is missing": "DELETE FROM meter_steps WHERE seq = (SELECT seq FROM compute_events WHERE event_id = 'stop')",
    "the credits of a step": "UPDATE meter_steps SET credit_ms = credit_ms + 1"
    " WHERE seq = (SELECT seq FROM compute_events WHERE event_id = 'stop')",
    "an hour that is missing": "DELETE FROM meter_hours WHERE hour = (SELECT min(hour) FROM meter_hours)",
    "the running time of an hour": "UPDATE meter_hours SET running_ms = running_ms + 1"
    " WHERE hour = (SELECT min(hour) FROM meter_hours)",
    "an era that is missing": "DELETE FROM meter_eras",
    "the sign of an era": "UPDATE meter_eras SET rate = -rate - 1",
    "a computer that is not metered": "DELETE FROM metered_computers WHERE computer_id ="
    " (SELECT computer_id FROM compute_events WHERE event_id = 'start')",
    "the status of a computer": "UPDATE computers SET status = 'stopped' WHERE status = 'running'",
    "the place of a computer": "UPDATE computers SET workspace_id = (SELECT id FROM workspaces WHERE name = 'B'),"
    " project_id = (SELECT id FROM projects WHERE workspace_id = (SELECT id FROM workspaces WHERE name = 'B'))"
    " WHERE status = 'running'",
    "the size of a deleted computer": "UPDATE computers SET size = 'xs' WHERE status = 'destroyed'",
    "the place of a deleted computer": "UPDATE computers SET workspace_id = (SELECT id FROM workspaces WHERE name = 'B')"
    " WHERE status = 'destroyed'",
    "the size of a computer": "UPDATE computers SET size = 'xs' WHERE status = 'running'",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The data of a service that has stopped, and that is sound."""
    # On the clock of this machine, which `verify` reads when no service runs.
    book = Book(tmp_path_factory.mktemp("sound") / "book")
    book.dev.post("/_dev/clock", json={"mode": "real"})
    a, b = book.workspace("A"), book.workspace("B")
    book.computer(b, size="xs")
    runs, stopped, deleted = (book.computer(a) for _ in range(3))
    # No report may be dated before its computer: all of it happens within a second.
    begin = (datetime.now(timezone.utc) - START).total_seconds()
    time.sleep(1)
    events = [
        book.event(runs, "started", begin + 0.1) | {"id": "start"},
        book.event(runs, "resized", begin + 0.5, size="large") | {"id": "resize"},
        book.event(stopped, "started", begin + 0.2),
        book.event(stopped, "stopped", begin + 0.9) | {"id": "stop"},
        book.event(deleted, "started", begin + 0.3),
    ]
    assert book.call("POST", "/compute-events", {"events": events})["accepted"] == 5
    book.call("DELETE", f"/computers/{deleted}")
    body = {"id": "correction", "workspace_id": a, "amount_micros": -7, "reason": "r"}
    book.call("POST", "/usage/adjustments", body)
    book.server.stop()
    book.close()
    return book.server.data_dir


def damaged(sound, tmp_path, statement: str):
    """A copy on which a statement was carried out; it must have changed something."""
    copy = tmp_path / "data"
    shutil.copytree(sound, copy)
    with sqlite3.connect(copy / "workspaced.db") as database:
        assert database.execute(statement).rowcount > 0
    database.close()
    return copy


def test_the_sound_one_passes(sound, tmp_path):
    copy = damaged(sound, tmp_path, "UPDATE tenants SET updated_at = updated_at")
    done = run("verify", "--data-dir", copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("what", DAMAGES)
def test_verify_finds(sound, tmp_path, what):
    done = run("verify", "--data-dir", damaged(sound, tmp_path, DAMAGES[what]))
    assert done.returncode == 1, f"{done.returncode}: {done.stdout}{done.stderr}"
