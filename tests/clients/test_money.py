"""Numbers that are billed, where they are easily wrong: reports ahead of the clock, changes beside them,
moves, deletions, prices, sessions, rounding, and what is left to see after a deletion."""

import json
import os
import re
import socket
import threading
import time
from datetime import datetime, timedelta, timezone

import httpx
import pytest

from workspaced import FAST, Server, eventually, run

START = datetime(2030, 1, 1, tzinfo=timezone.utc)
HOUR = 3_600_000
MICROS = 1_000_000
#: How often the proof is asked for under load; TEST_PROOFS=1000 by hand.
PROOFS = int(os.environ.get("TEST_PROOFS", "200"))


def stamp(seconds: float) -> str:
    """An instant so long after START."""
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Book:
    """A service whose clock stands until it is driven, and an agent that reports to it."""

    def __init__(self, home, *flags):
        self.server = Server(home, "--dev", "--clock", "virtual", *flags)
        self.http = self.server.http("msk_u_dev")
        self.dev = httpx.Client(base_url=self.server.url, headers=self.http.headers, timeout=30)
        self.name = home.name
        self.numbers = iter(range(1, 1_000_000))

    def call(self, method: str, path: str, body=None, expect: tuple = (200, 201)):
        reply = self.http.request(method, path, json=body)
        assert reply.status_code in expect, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json()

    def get(self, path: str, **query):
        return self.call("GET", str(httpx.URL(path, params=query)) if query else path)

    def clock(self, seconds: float) -> None:
        reply = self.dev.post("/_dev/clock", json={"now": stamp(seconds)})
        assert reply.status_code == 200, reply.text

    def workspace(self, name: str, **fields) -> str:
        return self.call("POST", "/workspaces", {"name": name} | fields)["id"]

    def project(self, workspace: str, name: str, **fields) -> str:
        return self.call("POST", "/projects", {"name": name, "workspace_id": workspace} | fields)["id"]

    def computer(self, workspace: str, **fields) -> str:
        body = {"name": f"box {next(self.numbers)}", "workspace_id": workspace, "driver": "external", "size": "small"}
        return self.call("POST", "/computers", body | fields)["id"]

    def event(self, computer: str, kind: str, seconds: float, **data) -> dict:
        event = {"id": f"{self.name} {next(self.numbers)}", "type": f"computer.{kind}", "subject": computer, "time": stamp(seconds)}
        return event | ({"data": data} if data else {})

    def report(self, computer: str, kind: str, seconds: float, **data):
        return self.call("POST", "/compute-events", {"events": [self.event(computer, kind, seconds, **data)]})

    def usage(self, workspace: str, to: float, since: float = 0) -> tuple[int, int]:
        """Milliseconds and micro-credits of a workspace."""
        reply = self.get(f"/workspaces/{workspace}/usage", **{"from": stamp(since), "to": stamp(to)})
        return reply["total_compute_ms"], reply["total_credits_micros"]

    def sound(self) -> None:
        assert self.get("/usage/verify")["ok"], self.get("/usage/verify")["found"]

    def close(self) -> None:
        self.http.close()
        self.dev.close()
        self.server.kill()


@pytest.fixture
def opened(tmp_path):
    made = []

    def make(name: str = "book", *flags):
        made.append(Book(tmp_path / name, *flags))
        made[-1].clock(0)
        return made[-1]

    yield make
    for book in made:
        book.close()


@pytest.fixture
def book(opened):
    return opened()


CHANGES = {
    "a rename": ("PATCH", "", {"name": "other"}),
    "metadata": ("PATCH", "", {"metadata": {"a": "b"}}),
    "the auto-stop": ("PATCH", "/auto-stop", {"auto_stop_seconds": 600}),
    "a resize": ("POST", "/resize", {"size": "medium"}),
}


# Reports ahead of the clock, and changes beside them.


@pytest.mark.parametrize("change", CHANGES)
def test_a_stop_dated_ahead_holds_after_a_change(book, change):
    w = book.workspace("A")
    c = book.computer(w)
    book.report(c, "started", 0)
    book.report(c, "stopped", 120)
    method, path, body = CHANGES[change]
    book.call(method, f"/computers/{c}{path}", body)
    book.clock(180)
    assert book.get(f"/computers/{c}")["status"] == "stopped"
    book.sound()
    book.clock(36_000)
    book.call("POST", f"/computers/{c}/resize", {"size": "large"})
    book.clock(72_000)
    rate = 60 if change == "a resize" else 30
    assert book.usage(w, 72_000) == (120_000, rate * MICROS // 30), "two minutes"
    book.sound()


def test_a_stop_dated_ahead_holds_after_a_move(book):
    a, b = book.workspace("A"), book.workspace("B")
    c = book.computer(a)
    book.report(c, "started", 0)
    book.report(c, "stopped", 120)
    book.clock(60)
    book.call("POST", f"/computers/{c}/move", {"workspace_id": b})
    book.clock(36_000)
    assert book.usage(a, 36_000) == (60_000, 500_000)
    assert book.usage(b, 36_000) == (60_000, 500_000)
    assert book.get(f"/computers/{c}")["status"] == "stopped"
    book.sound()


def test_a_start_milliseconds_ahead_holds_after_a_resize_at_its_instant(server, api):
    w = api.post("/workspaces", json={"name": "A"}).json()["id"]
    lost = 0
    for n in range(20):
        body = {"name": f"box {n}", "workspace_id": w, "driver": "external", "size": "small"}
        c = api.post("/computers", json=body).json()["id"]
        at = datetime.now(timezone.utc) + timedelta(milliseconds=25)
        event = {"id": f"e{n}", "type": "computer.started", "subject": c, "time": at.isoformat()}
        assert api.post("/compute-events", json={"events": [event]}).json()["accepted"] == 1
        while datetime.now(timezone.utc) < at + timedelta(milliseconds=n % 3):
            pass
        assert api.post(f"/computers/{c}/resize", json={"size": "large"}).status_code == 200
        time.sleep(0.05)
        newest = api.get(f"/computers/{c}/events").json()["data"][0]
        lost += not newest["billable"] or api.get(f"/computers/{c}").json()["status"] != "running"
    assert lost == 0, f"{lost} of 20 started computers are not billed"


def test_an_auto_stop_that_fell_due_in_a_downtime_keeps_its_deadline(tmp_path):
    """Six times: killed, due meanwhile, and a client that is there before the service listens."""
    home = tmp_path / "home"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = (*FAST, "--dev", "--listen", address)
    key = {"Authorization": "Bearer msk_u_dev"}
    server = Server(home, *flags)
    http = httpx.Client(base_url=f"http://{address}/api/v1", headers=key, timeout=30)
    w = http.post("/workspaces", json={"name": "A"}).json()["id"]

    def events(computer):
        with httpx.Client(base_url=http.base_url, headers=key) as client:
            return client.get(f"/computers/{computer}/events").json()["data"]

    try:
        for n in range(6):
            with httpx.Client(base_url=http.base_url, headers=key) as client:
                body = {"name": f"box {n}", "workspace_id": w, "auto_stop_seconds": 1}
                c = client.post("/computers", json=body).json()["id"]
            eventually(lambda: any(e["status"] == "running" for e in events(c)), "running")
            [started] = [e for e in events(c) if e["status"] == "running"]
            server.kill()
            time.sleep(1.5)
            taken = []

            def first():
                """Changes the auto-stop as soon as anybody answers."""
                deadline = time.monotonic() + 20
                while not taken and time.monotonic() < deadline:
                    try:
                        reply = httpx.patch(
                            f"http://{address}/api/v1/computers/{c}/auto-stop", headers=key, json={"auto_stop_seconds": 3600}
                        )
                        taken.append(reply.status_code)
                    except httpx.TransportError:
                        time.sleep(0.0005)

            client = threading.Thread(target=first)
            client.start()
            server = Server(home, *flags)
            client.join()
            assert taken == [200]
            time.sleep(0.2)
            ended = [e for e in events(c) if e["seq"] > started["seq"] and not e["billable"]]
            assert ended, f"start {n}: it was not stopped"
            began = datetime.fromisoformat(started["at"])
            assert datetime.fromisoformat(ended[-1]["at"]) == began + timedelta(seconds=1), f"start {n}"
    finally:
        http.close()
        server.kill()


# Deleted workspaces, moved projects.


def test_a_move_ahead_into_a_workspace_that_is_deleted(book):
    a, w = book.workspace("A"), book.workspace("W")
    c, other = book.computer(a), book.computer(a)
    book.report(c, "started", 0)
    book.report(c, "moved", 240, workspace_id=w)
    deleted = book.http.delete(f"/workspaces/{w}", params={"force": "true"})
    book.clock(600)
    computer = book.http.get(f"/computers/{c}")
    if deleted.status_code == 200 and computer.status_code == 200:
        body = computer.json()
        assert body["workspace_id"] != w or body["status"] != "running", "it runs in a deleted workspace"
    overview = book.get("/overview")["computers"]
    assert overview["total"] == sum(overview["by_status"].values())
    total = book.get("/usage/series", **{"from": stamp(0), "to": stamp(600)})["total_compute_ms"]
    assert total in (240_000, 600_000)
    book.sound()
    both = [book.event(c, "stopped", 550), book.event(other, "started", 550)]
    reply = book.http.post("/compute-events", json={"events": both})
    assert reply.status_code in (200, 207), f"one computer refuses the whole batch: {reply.text}"
    assert book.get(f"/computers/{other}")["status"] == "running"


def test_a_late_move_after_the_project_moved_gives_the_numbers_of_in_order_arrival(book):
    """In the project that leaves for B, but the late move took the computer out of it before that."""
    a, b = book.workspace("A"), book.workspace("B")
    p, q = book.project(a, "p"), book.project(a, "q")
    c = book.computer(a, project_id=p)
    book.report(c, "started", 0)
    book.clock(2 * 3600)
    book.call("POST", f"/projects/{p}/move", {"workspace_id": b})
    book.clock(4 * 3600)
    book.report(c, "moved", 3600, workspace_id=a, project_id=q)
    assert (book.usage(a, 4 * 3600)[0], book.usage(b, 4 * 3600)[0]) == (4 * HOUR, 0)
    assert book.get(f"/computers/{c}")["workspace_id"] == a
    book.sound()


def test_a_move_ahead_into_a_project_that_leaves_before(book):
    a, b = book.workspace("A"), book.workspace("B")
    p = book.project(a, "p")
    c = book.computer(a)
    book.report(c, "started", 0)
    book.report(c, "moved", 240, workspace_id=a, project_id=p)
    book.clock(60)
    book.http.post(f"/projects/{p}/move", json={"workspace_id": b})
    book.clock(600)
    computer = book.get(f"/computers/{c}")
    project = book.get(f"/projects/{computer['project_id']}")
    assert computer["workspace_id"] == project["workspace_id"]
    book.sound()


# Prices and owners of the past.


def test_late_reports_leave_the_prices_of_imported_history(opened, tmp_path):
    """Ten hours at 30; an hour of them turns out to have been a stop: nine at 30, whatever small costs here."""
    dear = tmp_path / "dear.toml"
    dear.write_text("[sizes.small]\ncredits_per_hour = 60\n")
    old, new = opened("old"), opened("new", "--config", dear)
    w = old.workspace("A")
    c = old.computer(w)
    old.report(c, "started", 0)
    old.clock(10 * 3600)
    old.report(c, "stopped", 10 * 3600)
    old.clock(11 * 3600)
    file = old.http.get(f"/workspaces/{w}/export")
    assert file.status_code == 200, file.text
    new.clock(12 * 3600)
    kind = file.headers["content-type"]
    taken = new.http.post("/workspaces/import", content=file.content, headers={"content-type": kind})
    assert taken.status_code == 201, taken.text
    w = next(x["id"] for x in new.get("/workspaces")["data"] if x["name"] == "A")
    c = new.get(f"/workspaces/{w}/computers")["data"][0]["id"]
    assert new.usage(w, 12 * 3600) == (10 * HOUR, 300 * MICROS)
    new.report(c, "stopped", 3600)
    new.report(c, "started", 2 * 3600)
    assert new.usage(w, 12 * 3600) == (9 * HOUR, 270 * MICROS)
    new.sound()


@pytest.mark.parametrize("group", ["external_user_id", "external_project_id"])
def test_past_usage_keeps_its_owner(book, group):
    w = book.workspace("A")
    p = book.project(w, "p", external_project_id="old")
    c = book.computer(w, project_id=p, external_user_id="old")
    book.report(c, "started", 0)
    book.clock(3600)
    path = f"/computers/{c}" if group == "external_user_id" else f"/projects/{p}"
    book.call("PATCH", path, {group: "new"})
    book.clock(2 * 3600)
    rows = book.get("/usage", group_by=group, start=stamp(0), end=stamp(2 * 3600))["results"]
    assert {row[group]: row["compute_ms"] for row in rows} == {"old": HOUR, "new": HOUR}


def test_past_vcpu_seconds_keep_the_vcpus_that_held(opened, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[sizes.small]\nvcpus = 2\n")
    book = opened("book", "--config", config)
    c = book.computer(book.workspace("A"))
    book.report(c, "started", 0)
    book.clock(3600)
    book.report(c, "stopped", 3600)
    question = {"group_by": "workspace_id", "start": stamp(0), "end": stamp(3600)}
    assert book.get("/usage", **question)["results"][0]["computer_seconds"] == 7200
    book.close()
    config.write_text("[sizes.small]\nvcpus = 8\n")
    again = Book(book.server.data_dir.parent, "--config", config)
    try:
        assert again.get("/usage", **question)["results"][0]["computer_seconds"] == 7200
    finally:
        again.close()


def test_the_instant_of_a_correction_belongs_to_it(book):
    w = book.workspace("A")
    book.clock(7200)
    body = {"id": "a", "workspace_id": w, "amount_micros": -5, "reason": "r"}
    book.call("POST", "/usage/adjustments", body | {"at": stamp(60)}, (201,))
    book.call("POST", "/usage/adjustments", body | {"at": stamp(60)}, (200,))
    book.call("POST", "/usage/adjustments", body | {"at": stamp(120)}, (409,))


def test_a_price_that_is_dated_in_the_past_is_logged_once(tmp_path):
    home = tmp_path / "home"
    book = Book(home)
    book.clock(86400)
    book.server.stop()
    config = home / "prices.toml"
    config.write_text(f'[[rates]]\neffective_from = "{stamp(3600)}"\nsmall = 77\n')
    says = "a price is dated in the past and was not known then"
    for expected in (1, 0):
        server = Server(home, "--dev", "--clock", "virtual", "--config", config)
        with server.http("msk_u_dev") as http:
            sizes = http.get("/compute/sizes").json()["data"]
            assert next(s for s in sizes if s["id"] == "small")["credits_per_hour"] == 77
        time.sleep(2.5)
        lines = [line for line in server.log.splitlines() if says in line]
        server.stop()
        assert len(lines) == expected, server.log
        assert not lines or stamp(3600)[:19] in lines[0], lines
    book.close()


def test_the_burn_rate_is_what_the_next_hour_costs(opened, tmp_path):
    config = tmp_path / "rates.toml"
    config.write_text(f'[[rates]]\neffective_from = "{stamp(3600)}"\nsmall = 7\n')
    book = opened("book", "--config", config)
    c = book.computer(book.workspace("A"))
    book.report(c, "started", 0)
    assert book.get("/overview")["burn_rate_credits_per_hour"] == 30
    book.clock(7200)
    assert book.get("/overview")["burn_rate_credits_per_hour"] == 7
    book.sound()


# The proof.


def test_a_backup_made_while_a_report_lay_ahead_is_sound_ever_after(book, tmp_path):
    c = book.computer(book.workspace("A"))
    book.report(c, "started", 0)
    book.report(c, "stopped", 5)
    target = tmp_path / "backup.db"
    made = run("backup", target, "--data-dir", book.server.data_dir)
    assert made.returncode == 0, made.stderr
    book.clock(3600)
    checked = run("check", target)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_deleted_computer_with_a_report_ahead_is_sound(book):
    c = book.computer(book.workspace("A"))
    book.report(c, "started", 0)
    book.report(c, "stopped", 120)
    book.clock(60)
    book.call("DELETE", f"/computers/{c}")
    book.sound()
    book.clock(3600)
    book.sound()


def test_commands_beside_a_driven_clock_find_nothing(book, tmp_path):
    """The clock of the service stands years ahead of this machine's, with reports that lie ahead of it."""
    w = book.workspace("A")
    c, gone = book.computer(w), book.computer(w)
    book.report(c, "started", 0)
    book.report(gone, "started", 0)
    book.clock(3600)
    book.report(c, "stopped", 3660)
    book.report(gone, "stopped", 3660)
    book.call("DELETE", f"/computers/{gone}")
    home = ("--data-dir", book.server.data_dir)
    backup = tmp_path / "backup.db"
    commands = [
        ("verify", *home), ("rebuild-usage", *home), ("verify", *home), ("doctor", *home),
        ("backup", *home, backup), ("check", backup),
    ]
    for command in commands:
        done = run(*command)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    # Also when nobody has the data open, and after the reports have come to hold.
    book.clock(7200)
    book.sound()
    book.server.stop()
    for command in (("verify", *home), ("doctor", *home), ("check", backup)):
        done = run(*command)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def test_verify_never_fails_under_load(api, operator):
    """Computers start a few milliseconds ahead and auto-stop while the proof is asked for again and again."""
    w = api.post("/workspaces", json={"name": "A"}).json()["id"]
    ids = [
        api.post("/computers", json={"name": f"b{n}", "workspace_id": w, "driver": "external"}).json()["id"]
        for n in range(20)
    ]
    done = threading.Event()

    def load():
        with httpx.Client(base_url=api.base_url, headers=api.headers) as http:
            n = 0
            while not done.is_set():
                at = datetime.now(timezone.utc) + timedelta(milliseconds=20)
                kind = "computer.started" if n // 20 % 2 == 0 else "computer.stopped"
                event = {"id": f"l{n}", "type": kind, "subject": ids[n % 20], "time": at.isoformat()}
                http.post("/compute-events", json={"events": [event]})
                n += 1

    writer = threading.Thread(target=load)
    writer.start()
    try:
        failed = [r for r in (operator.get("/usage/verify").json() for _ in range(PROOFS)) if not r["ok"]]
    finally:
        done.set()
        writer.join()
    assert not failed, f"{len(failed)} of {PROOFS} failed: {failed[0]}"


# Sessions and rounding.


@pytest.fixture
def hundred(book):
    """A hundred sessions of 49.001 s at 30 an hour: 40.834166... credits."""
    w = book.workspace("A")
    c = book.computer(w)
    book.clock(10_000)
    events = []
    for n in range(100):
        events += [book.event(c, "started", n * 100 + 0.25), book.event(c, "stopped", n * 100 + 49.251)]
    book.call("POST", "/compute-events", {"events": events})
    return book, w


def test_sessions_add_up_to_the_series(hundred):
    book, w = hundred
    series = book.get(f"/workspaces/{w}/usage")
    sessions = book.get("/usage/sessions", limit=100)["data"]
    assert len(sessions) == 100
    assert series["total_credits_used"] == 40
    assert sum(s["credits_used"] for s in sessions) == series["total_credits_used"]
    assert sum(s["credits_micros"] for s in sessions) == series["total_credits_micros"]


def test_a_session_says_its_milliseconds(hundred):
    book, _ = hundred
    for session in book.get("/usage/sessions", limit=100)["data"]:
        assert session["duration_ms"] == 49_001
        began, ended = (datetime.fromisoformat(session[f"{end}_at_exact"]) for end in ("started", "ended"))
        assert ended - began == timedelta(milliseconds=49_001)


def test_a_period_that_is_echoed_gives_the_same_number_again(book):
    c = book.computer(book.workspace("A"))
    book.report(c, "started", 0)
    book.clock(1000.75)
    first = book.get("/usage", group_by="workspace_id", period="7d")
    again = book.get("/usage", group_by="workspace_id", start=first["period_start"], end=first["period_end"])
    assert again["results"] == first["results"]
    assert first["results"][0]["compute_ms"] == 1_000_750


def test_micro_credits_of_groups_are_those_of_the_series(book):
    sizes = ["xs", "small", "medium", "large", "xl"]
    spaces = [book.workspace(f"W{n}") for n in range(12)]
    book.clock(1)
    for n, w in enumerate(spaces):
        book.report(book.computer(w, size=sizes[n % 5]), "started", 1 + n * 0.007)
    book.clock(5000.123)
    since, to = 1000.001, 5000.123
    question = {"from": stamp(since), "to": stamp(to)}
    series = {w: book.usage(w, to, since)[1] for w in spaces}
    rows = book.get("/usage", group_by="workspace_id", start=stamp(since), end=stamp(to))["results"]
    assert {row["workspace_id"]: row["credits_micros"] for row in rows} == series
    assert book.get("/usage/series", **question)["total_credits_micros"] == sum(series.values())


# Batches, deletions, and what is shown.


def test_a_batch_that_is_taken_in_part_is_loud(book):
    c = book.computer(book.workspace("A"))
    good, bad = book.event(c, "started", 0), book.event(c, "stopped", 3600)
    reply = book.http.post("/compute-events", json={"events": [good, bad]})
    assert reply.status_code == 207
    assert (reply.json()["accepted"], [r["id"] for r in reply.json()["rejected"]]) == (1, [bad["id"]])


def test_all_or_nothing_takes_nothing(book):
    c = book.computer(book.workspace("A"))
    good, bad = book.event(c, "started", 0), book.event(c, "stopped", 3600)
    reply = book.http.post("/compute-events?all_or_nothing=1", json={"events": [good, bad]})
    assert reply.status_code == 422
    assert bad["id"] in json.dumps(reply.json())
    assert book.get(f"/computers/{c}")["status"] == "provisioning"
    assert book.call("POST", "/compute-events?all_or_nothing=1", {"events": [good]})["accepted"] == 1


@pytest.fixture
def deleted(book):
    """A workspace that is deleted after its computer ran for an hour."""
    w = book.workspace("A")
    c = book.computer(w)
    book.report(c, "started", 0)
    book.clock(3600)
    book.call("DELETE", f"/computers/{c}")
    book.call("DELETE", f"/workspaces/{w}?force=true")
    book.clock(7200)
    return book, w, c


@pytest.mark.parametrize("path", ["usage?from={0}", "usage/explain?ts={0}"])
def test_the_last_bill_of_a_deleted_workspace_can_be_explained(deleted, path):
    book, w, _ = deleted
    path = f"/workspaces/{w}/{path.format(stamp(0))}"
    assert book.http.get(path).status_code == 404
    reply = book.http.get(f"{path}&include_deleted=1")
    assert reply.status_code == 200, reply.text
    if "export" not in path:
        body = reply.json()
        assert body.get("total_compute_ms", body.get("compute_ms")) == HOUR


def test_the_events_of_a_deleted_computer_can_be_read(deleted):
    book, _, c = deleted
    events = book.get(f"/computers/{c}/events", include_deleted=1)["data"]
    assert [e["at"] for e in events if e["billable"]] == [stamp(0)]


def test_corrections_are_listed_and_are_transactions_of_their_own(book):
    w = book.workspace("A")
    book.clock(7200)
    body = {"id": "a", "workspace_id": w, "amount_micros": -5 * MICROS, "reason": "r", "at": stamp(60)}
    book.call("POST", "/usage/adjustments", body)
    [row] = book.get("/usage/adjustments")["data"]
    assert (row["id"], row["amount_micros"], row["at"]) == ("a", -5 * MICROS, stamp(60))
    rows = [t for t in book.get("/credits/transactions")["data"] if t["type"] == "adjustment"]
    assert [(t["amount"], t["workspace_id"]) for t in rows] == [(-5, w)]
    assert datetime.fromisoformat(rows[0]["created_at"]) == START + timedelta(seconds=60)


def test_the_edition_of_the_time_zones_is_shown(book):
    edition = book.dev.get("/health").json()["tzdata"]
    assert re.fullmatch(r"20\d\d[a-z]", edition)
    assert edition in run("version").stdout
