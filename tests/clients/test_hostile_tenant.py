"""A tenant, or somebody without a key, who means harm: others are served, memory stays bounded, nothing is lost.

The same attacks at once, for ten minutes and in full size: `tests/durability/hostile`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import raw
from exports import iso
from workspaced import BINARY, FAST, Server, environment, eventually, run

#: Where the attacks come from; the others are at 127.0.0.1.
ATTACKER = "127.0.0.66"
#: No requests a minute, since a test makes thousands of rows.
UNMETERED = ("--rate-limit", "0", "--address-rate-limit", "0")
#: What the service may take in memory beyond what it held before, in the small sizes here.
GROWTH_MB = 60


@pytest.fixture
def service(tmp_path):
    """An installation with an organization for the attacker."""
    with Server(tmp_path, *UNMETERED, *FAST, "--request-timeout", "20s") as server:
        with server.http(server.first_key) as http:
            server.attacker = http.post("/platform/tenants", json={"name": "Attacker"}).json()["api_key"]["key"]
        yield server


def now() -> datetime:
    return datetime.now(timezone.utc)


def in_threads(count, work):
    """`work(n)` for each n at the same time; their results."""
    results = [None] * count

    def one(n):
        results[n] = work(n)

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


class Highest:
    """Looks at a number again and again while a block runs, and keeps the highest."""

    def __init__(self, look):
        self.look, self.value, self.stop = look, look(), threading.Event()

    def __enter__(self):
        def watch():
            while not self.stop.wait(0.01):
                with contextlib.suppress(OSError, StopIteration):
                    self.value = max(self.value, self.look())

        self.thread = threading.Thread(target=watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def slowest(server, key, stop, method="POST", path="/api/v1/workspaces", body=lambda n: {"name": f"paying {n}"}):
    """One client that sends one request after the other; its slowest, in seconds, and what it was answered."""
    times, statuses = [], set()
    with raw.connect(server) as connection:
        replies = raw.Replies(connection)
        while not stop.is_set():
            began = time.monotonic()
            connection.sendall(raw.request(method, path, key, body(len(times)) if method == "POST" else None))
            statuses.add(replies.next().status)
            times.append(time.monotonic() - began)
            time.sleep(0.002)
    return max(times), statuses


# --- 1. a web page of another name ------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/whoami", None),
        ("POST", "/api/v1/api-keys", {"name": "stolen"}),
        ("GET", "/api/v1/api/v1/whoami", None),
        ("POST", "/admin/session", {"key": "msk_u_dev"}),
        ("GET", "/metrics", None),
        ("GET", "/admin", None),
        ("GET", "/openapi.json", None),
        ("GET", "/health", None),
        ("GET", "/no/such/route", None),
        ("GET", "/_dev/clock", None),
    ],
)
def test_development_mode_answers_no_foreign_host_name(server, method, path, body):
    port = server.url.rsplit(":", 1)[1]
    for name in (f"evil.example:{port}", "evil.example", f"localhost.evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"127.0.0.1@evil.example:{port}"):
        lines = [f"Host: {name}", f"Origin: http://{name}", "X-Workspaced-Admin: 1", "Connection: close"]
        answer = raw.exchange(server, raw.request(method, path, "msk_u_dev", body, *lines))
        assert answer.status == (400 if "@" in name else 403), (name, answer)
        assert "@" in name or "--dev-host" in answer.json()["message"]
        assert "set-cookie" not in answer.headers
    for name in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
        answer = raw.exchange(server, raw.request("GET", "/api/v1/whoami", "msk_u_dev", None, f"Host: {name}", "Connection: close"))
        assert answer.status == 200, name


def test_development_mode_answers_names_that_a_flag_adds(tmp_path):
    with Server(tmp_path, "--dev", "--dev-host", "api", "--dev-host", "ws.test") as server:
        for name, status in (("api:8400", 200), ("ws.test", 200), ("WS.test:1", 200), ("x.ws.test", 403), ("apix", 403)):
            answer = raw.exchange(server, raw.request("GET", "/api/v1/whoami", "msk_u_dev", None, f"Host: {name}", "Connection: close"))
            assert answer.status == status, name


# --- 2. memory --------------------------------------------------------------------------------


@contextlib.contextmanager
def bounded_memory(server):
    """Not much more memory inside than before, while others are answered; and given back in the end."""
    before = raw.memory_mb(server)
    with Highest(lambda: raw.memory_mb(server)) as memory, server.http(server.first_key) as http:
        yield http
        began = time.monotonic()
        assert http.get("/workspaces", params={"limit": 5}).status_code == 200, "an honest request meanwhile"
        assert time.monotonic() - began < 2
    assert memory.value - before < GROWTH_MB, f"{before:.0f} MB before, {memory.value:.0f} MB at the most"
    eventually(lambda: raw.memory_mb(server) - before < GROWTH_MB * 2 / 3, "the memory to be given back")


def test_lists_that_nobody_reads_do_not_fill_the_memory(service):
    rows = [{"name": f"w {n}", "metadata": {"pad": "x" * 10_000}} for n in range(600)]
    raw.make(service, service.attacker, "/workspaces", rows)
    with bounded_memory(service), contextlib.ExitStack() as held:
        for _ in range(40):  # 6 MB each
            connection = held.enter_context(raw.connect(service, ATTACKER, receive_buffer=4096))
            connection.sendall(raw.request("GET", "/api/v1/workspaces", service.attacker))
        time.sleep(2)


def test_documents_that_nobody_reads_are_held_once(service):
    size = len(raw.exchange(service, raw.request("GET", "/openapi.json", None, None, "Connection: close")).body)
    count = 2 * GROWTH_MB * (1 << 20) // size  # together they would be twice what is allowed
    with bounded_memory(service), contextlib.ExitStack() as held:
        for n in range(count):
            connection = held.enter_context(raw.connect(service, f"127.0.1.{n % 10 + 1}", receive_buffer=2048))
            connection.sendall(raw.request("GET", "/openapi.json"))
        time.sleep(1)


def test_a_whole_list_is_answered_whole(service):
    rows = [{"name": f"w {n}", "metadata": {"pad": "x" * 10_000}} for n in range(400)]
    raw.make(service, service.attacker, "/workspaces", rows)
    with service.http(service.attacker) as http:
        whole = http.get("/workspaces").json()
        assert set(whole) == {"data", "total"}
        assert whole["total"] == len(whole["data"]) == 401
        names = [row["name"] for row in whole["data"]]
        assert sorted(names) == sorted(["default", *(row["name"] for row in rows)])
        paged = [row["name"] for n in range(5) for row in http.get("/workspaces", params={"page": n + 1, "page_size": 100}).json()["data"]]
        assert names == paged


def test_bodies_whose_last_byte_does_not_come_do_not_fill_the_memory(service):
    body = os.urandom(8 << 20)

    def hold(n):
        connection = raw.connect(service, ATTACKER)
        with contextlib.suppress(OSError):
            connection.sendall(raw.head("POST", "/api/v1/workspaces/import", service.attacker, len(body)) + body[:-1])
        return connection

    with bounded_memory(service):
        for connection in in_threads(40, hold):
            connection.close()


def test_usage_by_computer_over_a_year_does_not_fill_the_memory(tmp_path):
    with Server(tmp_path, *UNMETERED, *FAST) as server:
        server.attacker = server.first_key
        usage_by_computer(server)


def usage_by_computer(service):
    workspace = raw.make(service, service.attacker, "/workspaces", [{"name": "w"}])[0]["id"]
    computers = raw.make(
        service, service.attacker, "/computers",
        [{"name": f"c {n}", "workspace_id": workspace, "driver": "external", "size": "xs"} for n in range(300)],
    )  # fmt: skip
    with service.http(service.attacker) as http:
        events = [
            {"id": f"e{n}", "type": "computer.started", "subject": computer["id"], "time": iso(now())}
            for n, computer in enumerate(computers)
        ]
        assert http.post("/compute-events", json={"events": events}).json()["accepted"] == len(events)
    path = f"/api/v1/workspaces/{workspace}/usage?granularity=day&group_by=computer&from={iso(now() - timedelta(days=399))}&to={iso(now())}"
    with bounded_memory(service):
        answers = in_threads(10, lambda _: raw.exchange(service, raw.request("GET", path, service.attacker, None, "Connection: close"), ATTACKER))
    assert {a.status for a in answers} <= {200, 503}
    whole = next(a for a in answers if a.status == 200).json()
    assert len(whole["groups"]) == 300 and len(whole["series"]) >= 399


def test_an_export_does_not_fill_the_memory(service):
    workspace = raw.make(service, service.attacker, "/workspaces", [{"name": "w"}])[0]["id"]
    raw.make(
        service, service.attacker, "/computers",
        [{"name": f"c {n}", "workspace_id": workspace, "driver": "external", "metadata": {"pad": "x" * 8000}} for n in range(1500)],
    )  # fmt: skip
    path = f"/api/v1/workspaces/{workspace}/export"
    with bounded_memory(service):
        answers = in_threads(3, lambda _: raw.exchange(service, raw.request("GET", path, service.attacker, None, "Connection: close"), ATTACKER))
    assert {a.status for a in answers} <= {200, 503}
    lines = next(a for a in answers if a.status == 200).body.splitlines(keepends=True)
    end = json.loads(lines[-1])["end"]
    assert end["rows"]["computers"] == 1500 and end["sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()


# --- 3. every wait for a peer ends --------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A service that takes few connections and waits for little."""
    with Server(tmp_path, *UNMETERED, *FAST, "--max-connections", "20", "--request-timeout", "3s") as server:
        yield server


def served(server, within: float, source="127.0.0.1"):
    """Whether somebody with a key gets an answer, within so many seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            answer = raw.exchange(server, raw.request("GET", "/api/v1/whoami", server.first_key, None, "Connection: close"), source, timeout=5)
            if answer and answer.status == 200:
                return True
        time.sleep(0.1)
    return False


UNFINISHED = {
    "nothing at all": b"",
    "half a head": b"GET /health HTTP/1.1\r\nHost: x\r\n",
    "a sign-in without its body": raw.head("POST", "/admin/session", None, 50, "Origin: http://localhost", "X-Workspaced-Admin: 1"),
    "a body for a route that takes none": raw.head("GET", "/health", None, 50),
    "a chunked body that stays open": raw.head("POST", "/api/v1/workspaces", None, None, "Transfer-Encoding: chunked"),
    "a body for a route that is not there": raw.head("POST", "/nowhere", None, 50),
}


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_whoever_sends_no_further_keeps_nobody_out(small, sent):
    with contextlib.ExitStack() as held:
        for _ in range(40):
            with contextlib.suppress(OSError):
                held.enter_context(raw.connect(small, ATTACKER)).sendall(sent)
        time.sleep(0.3)
        assert served(small, 1), "somebody at another address, at once"
        assert served(small, 1)


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_whoever_sends_no_further_is_hung_up_on(small, sent):
    with raw.connect(small, ATTACKER, timeout=10) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
        assert time.monotonic() - began < 8


def test_whoever_sends_a_byte_now_and_then_is_hung_up_on(small):
    with raw.connect(small, ATTACKER) as connection:
        connection.sendall(raw.head("POST", "/admin/session", None, 4000, "Origin: http://localhost", "X-Workspaced-Admin: 1"))
        connection.settimeout(0.2)
        began, answer = time.monotonic(), None
        while answer is None:
            assert time.monotonic() - began < 10, "still held"
            try:
                connection.sendall(b"x")
                answer = connection.recv(65536)
            except TimeoutError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                answer = b""


PATHS = ["/openapi.json", "/api/v1/compute/catalog", "/health", "/admin"]


@pytest.mark.parametrize("path", PATHS)
def test_whoever_asks_and_never_reads_keeps_nobody_out(small, path):
    ask = raw.request("GET", path, small.first_key) * 2000
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(raw.connect(small, ATTACKER, receive_buffer=2048)) for _ in range(30)]
        for connection in connections:
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.send(ask)
        assert served(small, 1), "somebody at another address, at once"
        # And where the one who never reads has only one address, its connections end, too.
        assert served(small, 12, ATTACKER), "the attacker's own place in the end"


def test_an_event_stream_that_nobody_reads_ends(small):
    with raw.connect(small, ATTACKER, receive_buffer=2048) as stream:
        stream.sendall(raw.request("GET", "/api/v1/events/stream", small.first_key))
        with small.http(small.first_key) as http:
            streams = lambda: http.get("/system").json()["counts"]["event_streams"]
            eventually(lambda: streams() == 1, "the stream")
            raw.make(small, small.first_key, "/workspaces", [{"name": f"w {n}"} for n in range(4000)], connections=4)
            eventually(lambda: streams() == 0, "the stream to be given up", 15)


def test_one_address_holds_a_share_of_the_connections_only(small):
    with contextlib.ExitStack() as held, small.http(small.first_key) as http:
        assert http.get("/whoami").status_code == 200
        for _ in range(60):
            with contextlib.suppress(OSError):
                held.enter_context(raw.connect(small, ATTACKER))
        time.sleep(0.2)
        for n in range(5):  # connections of their own, none of which waits for the attacker's to end
            began = time.monotonic()
            assert served(small, 1, f"127.0.0.{10 + n}")
            assert time.monotonic() - began < 1
        assert http.get("/whoami").status_code == 200, "who is in stays in"


# --- 4. the writer's turn -----------------------------------------------------------------------

#: Slowest write of a neighbour, seconds. On two quiet cores 0.1; these tests share theirs.
TURN = 0.5


def beside(server, attack):
    """Runs `attack` beside a client of another organization that writes; its slowest write."""
    stop, found = threading.Event(), []
    with server.http(server.first_key) as http:
        paying = http.post("/platform/tenants", json={"name": "Paying"}).json()["api_key"]["key"]
    thread = threading.Thread(target=lambda: found.append(slowest(server, paying, stop)))
    thread.start()
    time.sleep(0.3)
    try:
        result = attack()
    finally:
        stop.set()
        thread.join()
    longest, statuses = found[0]
    assert statuses == {201}
    assert longest < TURN, f"a neighbour's write took {longest:.2f} s"
    return result


def furnished(server, computers, running=False):
    """Two workspaces of the attacker, and a project in the first one with so many computers."""
    first, second = (row["id"] for row in raw.make(server, server.attacker, "/workspaces", [{"name": "from"}, {"name": "to"}]))
    project = raw.make(server, server.attacker, "/projects", [{"name": "p", "workspace_id": first}])[0]["id"]
    driver = "simulated" if running else "external"
    raw.make(server, server.attacker, "/computers", [{"name": f"c {n}", "project_id": project, "driver": driver} for n in range(computers)])
    return first, second, project


def adds_up(server):
    with server.http(server.first_key) as http:
        return http.get("/usage/verify").json()["ok"]


def done(http, reply, what):
    """An answer of 200, or the end of the job that an answer of 202 names."""
    if reply.status_code == 202:
        job = reply.json()["job"]["id"]
        eventually(lambda: http.get(f"/jobs/{job}").json()["state"] == "done", what, 60)
    else:
        assert reply.status_code == 200, reply.text


def test_moving_a_large_project_keeps_no_neighbour_waiting(service):
    first, second, project = furnished(service, 3000)

    def move():
        with service.http(service.attacker) as http:
            done(http, http.post(f"/projects/{project}/move", json={"workspace_id": second}), "the move")
            assert http.get(f"/projects/{project}").json()["workspace_id"] == second
            assert http.get(f"/workspaces/{second}/computers", params={"limit": 1}).json()["total"] == 3000
            assert http.get(f"/workspaces/{first}/computers", params={"limit": 1}).json()["total"] == 0

    beside(service, move)
    assert adds_up(service)


def test_deleting_a_large_workspace_keeps_no_neighbour_waiting(service):
    first, _, _ = furnished(service, 3000)

    def delete():
        with service.http(service.attacker) as http:
            done(http, http.delete(f"/workspaces/{first}", params={"force": "true"}), "the delete")
            assert http.get(f"/workspaces/{first}").status_code == 404
            assert http.get("/computers", params={"limit": 1}).json()["total"] == 0

    beside(service, delete)
    assert adds_up(service)


@pytest.mark.parametrize("kind", ["move", "delete"])
def test_a_long_change_that_is_killed_half_way_goes_on_after_the_start(tmp_path, kind):
    with Server(tmp_path, *UNMETERED, *FAST) as server:
        server.attacker = server.first_key
        first, second, project = furnished(server, 3000)

        def change():
            with contextlib.suppress(Exception), server.http(server.first_key) as http:
                if kind == "move":
                    http.post(f"/projects/{project}/move", json={"workspace_id": second})
                else:
                    http.delete(f"/workspaces/{first}", params={"force": "true"})

        thread = threading.Thread(target=change)
        thread.start()
        time.sleep(0.25)
        server.kill()
        thread.join()
        key = server.first_key
    with Server(tmp_path, *UNMETERED, *FAST) as server, server.http(key) as http:
        totals = lambda: tuple(
            http.get(f"/workspaces/{w}/computers", params={"limit": 1}).json().get("total") for w in (first, second)
        )
        ends = {(0, 3000), (3000, 0)} if kind == "move" else {(None, 0), (3000, 0)}
        eventually(lambda: totals() in ends, "all of it, or nothing", 30)
        assert http.get("/usage/verify").json()["ok"]


def test_the_longest_turn_of_the_writer_is_measured(service):
    with service.http(service.first_key) as http:
        http.post("/workspaces", json={"name": "w"})
        text = http.get(f"{service.url}/metrics").text
    line = next(line for line in text.splitlines() if line.startswith("workspaced_store_longest_turn_seconds "))
    assert 0 < float(line.split()[1]) < 5


# --- 5. a clock that was ahead for seconds ------------------------------------------------------

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static volatile long long *ahead;
__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("CLOCK_CONTROL"), O_RDWR);
    ahead = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);
    if (id == CLOCK_REALTIME && ahead) t->tv_sec += *ahead;
    return result;
}
"""


class Wall:
    """The wall clock of a service that is started with `environment`."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        source, library, self.control = home / "clock.c", home / "clock.so", home / "clock"
        source.write_text(CLOCK)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self.control.write_bytes(bytes(4096))
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_CONTROL": str(self.control)}

    def ahead(self, by: timedelta) -> None:
        with self.control.open("r+b") as file:
            file.write(int(by.total_seconds()).to_bytes(8, "little", signed=True))


def test_a_clock_that_is_ahead_for_seconds_deletes_nothing_and_stops_nothing(tmp_path):
    wall, got, status = Wall(tmp_path / "clock"), [], [500]

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    flags = (*FAST, "--audit-retention-days", "30", "--webhook-allow-private")
    with Server(tmp_path, *flags, **wall.environment) as server, server.http(server.first_key) as http:
        key = {"Idempotency-Key": "once"}
        made = http.post("/workspaces", json={"name": "w"}, headers=key).json()
        origin = {"Origin": server.url, "X-Workspaced-Admin": "1"}
        cookies = http.post(f"{server.url}/admin/session", json={"key": server.first_key}, headers=origin).cookies
        http.post("/webhooks", json={"url": f"http://127.0.0.1:{receiver.server_port}/", "events": ["*"]}).raise_for_status()
        rows = http.get("/audit-log").json()["data"]
        assert rows
        wall.ahead(timedelta(days=400))
        http.patch(f"/workspaces/{made['id']}", json={"description": "in the future"})
        eventually(lambda: got, "the first attempt of a delivery, which fails")
        time.sleep(3)
        wall.ahead(timedelta(0))
        status[0] = 200
        seen = [row["id"] for row in http.get("/audit-log").json()["data"]]
        assert all(row["id"] in seen for row in rows), "the audit log is still there"
        again = http.post("/workspaces", json={"name": "w"}, headers=key)
        assert (again.json()["id"], again.headers.get("idempotency-replayed")) == (made["id"], "true")
        with server.http(None, cookies=cookies) as page:
            assert page.get("/whoami", headers={"X-Workspaced-Admin": "1"}).status_code == 200, "the session goes on"
        before = len(got)
        http.patch(f"/workspaces/{made['id']}", json={"description": "now"})
        eventually(lambda: len(got) > before, "a webhook's turn, which is not a year away", 10)
    receiver.shutdown()
    receiver.server_close()


# --- 6. the first key ---------------------------------------------------------------------------


def test_a_first_start_on_a_taken_port_makes_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        failed = run("--data-dir", tmp_path / "data", "--listen", address)
        assert failed.returncode == 1 and "MIOSA_API_KEY" not in failed.stdout
        failed = run("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0", "--admin-listen", address)
        assert failed.returncode == 1 and "MIOSA_API_KEY" not in failed.stdout
    with Server(tmp_path) as server, server.http(server.first_key) as http:
        assert http.get("/whoami").json()["operator"] is True


def test_a_first_start_that_is_killed_does_not_cost_the_only_key(tmp_path):
    began = time.monotonic()
    with Server(tmp_path / "measured"):
        whole = time.monotonic() - began
    for n in range(16):
        home = tmp_path / str(n)
        home.mkdir()
        with (home / "out").open("w") as out:
            command = [BINARY, "--data-dir", home / "data", "--listen", "127.0.0.1:0"]
            process = subprocess.Popen(command, env=environment(), stdout=out, stderr=subprocess.DEVNULL, cwd=home)
            time.sleep(whole * (n + 1) / 16)
            process.kill()
            process.wait()
        with Server(home) as server, server.http(server.first_key) as http:
            assert http.get("/whoami").json()["operator"] is True


def test_a_key_that_was_used_is_not_shown_again(tmp_path):
    with Server(tmp_path) as server:
        first = server.first_key
        with server.http(first) as http:
            assert http.get("/whoami").status_code == 200
        server.kill()
    with Server(tmp_path) as server:
        assert "MIOSA_API_KEY" not in server.output
        with server.http(first) as http:
            assert http.get("/whoami").status_code == 200


# --- 7. a directory that goes away --------------------------------------------------------------


@pytest.mark.parametrize("how", ["moved", "unlinked", "replaced"])
def test_no_write_is_acknowledged_into_a_directory_that_is_gone(tmp_path, how):
    with Server(tmp_path) as server, server.http(server.first_key) as http:
        assert http.post("/workspaces", json={"name": "before"}).status_code == 201
        elsewhere = tmp_path / "elsewhere"
        if how == "moved":
            server.data_dir.rename(elsewhere)
        elif how == "unlinked":
            shutil.copytree(server.data_dir, elsewhere)
            shutil.rmtree(server.data_dir)
        else:
            shutil.copytree(server.data_dir, elsewhere)
            (elsewhere / "workspaced.db").rename(server.data_dir / "workspaced.db")
        for n in range(5):
            refused = http.post("/workspaces", json={"name": f"gone {n}"})
            assert (refused.status_code, refused.json().get("code")) == (503, "STORAGE_FAILED"), refused.text
        ready = http.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "STORAGE_FAILED")
        assert http.get(f"{server.url}/health").json()["status"] == "degraded"
        assert http.get("/workspaces", params={"limit": 1}).status_code == 200, "reads go on"
        if how == "moved":
            elsewhere.rename(server.data_dir)
            eventually(lambda: http.get(f"{server.url}/readyz").status_code == 200, "the service to go on", 5)
            assert http.post("/workspaces", json={"name": "after"}).status_code == 201


# --- 8. receivers that hang ---------------------------------------------------------------------


def hanging():
    """An address where connections are taken and nothing is ever answered."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    held = []

    def take():
        with contextlib.suppress(OSError):
            while True:
                held.append(listener.accept()[0])

    threading.Thread(target=take, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_receivers_that_hang_do_not_stop_those_of_others(tmp_path):
    came = {}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            came[body["resource_id"]] = time.monotonic()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    listener, nowhere = hanging()
    with Server(tmp_path, *UNMETERED, *FAST, "--webhook-allow-private") as server, server.http(server.first_key) as http:
        http.post("/webhooks", json={"url": f"http://127.0.0.1:{receiver.server_port}/", "events": ["workspace.created"]}).raise_for_status()
        for n in range(8):
            with server.http(http.post("/platform/tenants", json={"name": f"Attacker {n}"}).json()["api_key"]["key"]) as attacker:
                for _ in range(6):
                    attacker.post("/webhooks", json={"url": nowhere, "events": ["*"]}).raise_for_status()
                for m in range(10):
                    attacker.post("/workspaces", json={"name": f"w {m}"}).raise_for_status()
        time.sleep(0.5)
        delays = []
        for n in range(5):
            sent = time.monotonic()
            made = http.post("/workspaces", json={"name": f"healthy {n}"}).json()["id"]
            eventually(lambda: made in came, "the healthy receiver's delivery", 15)
            delays.append(came[made] - sent)
            time.sleep(0.4)
        assert max(delays) < 2, delays
        server.kill()
    receiver.shutdown()
    receiver.server_close()
    listener.close()


# --- 9. what an import says of time and people ---------------------------------------------------


def resealed(file: bytes, change) -> bytes:
    lines = [json.loads(line) for line in file.splitlines()]
    change(lines)
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1])
    lines[-1]["end"]["sha256"] = hashlib.sha256(body.encode()).hexdigest()
    return (body + json.dumps(lines[-1]) + "\n").encode()


def exported(http) -> tuple[str, bytes]:
    workspace = http.post("/workspaces", json={"name": "w", "slug": "travelling"}).json()["id"]
    return workspace, http.get(f"/workspaces/{workspace}/export").content


def bring(http, file: bytes):
    return http.post("/workspaces/import", content=file, headers={"content-type": "application/x-ndjson"})


def test_an_import_with_audit_rows_of_the_future_is_refused(tmp_path):
    with Server(tmp_path / "a") as a, Server(tmp_path / "b") as b, a.http(a.first_key) as source, b.http(b.first_key) as target:
        _, file = exported(source)

        def ahead(lines):
            row = next(line["audit"] for line in lines if "audit" in line)
            row["at"] = 253_370_764_800_000  # the year 9999

        refused = bring(target, resealed(file, ahead))
        assert refused.status_code in (400, 422) and refused.json()["code"].startswith("CAPSULE_"), refused.text
        assert bring(target, file).status_code == 201


# --- 10. limits of rates --------------------------------------------------------------------------


def test_no_key_of_an_organization_lifts_the_operators_rate_limit(tmp_path):
    with Server(tmp_path, "--rate-limit", "120") as server, server.http(server.first_key) as operator:
        tenant = operator.post("/platform/tenants", json={"name": "Tenant"}).json()["api_key"]["key"]
        with server.http(tenant) as http:
            body = {"name": "fast", "rate_limit_rpm": 4_294_967_295}
            made = http.post("/api-keys", json=body)
            fast = made.json()["data"]["key"] if made.status_code == 201 else tenant
        answers = raw.pipeline(server, [raw.request("GET", "/api/v1/whoami", fast)] * 300)
        assert [a.status for a in answers].count(200) <= 125


def test_many_keys_of_an_organization_share_its_rate_limit(tmp_path):
    with Server(tmp_path, "--rate-limit", "120") as server, server.http(server.first_key) as operator:
        tenant = operator.post("/platform/tenants", json={"name": "Tenant"}).json()["api_key"]["key"]
        with server.http(tenant) as http:
            keys = [http.post("/api-keys", json={"name": f"k {n}"}).json() for n in range(20)]
        keys = [next(v for v in json.dumps(k).split('"') if v.startswith("msk_") and len(v) > 20) for k in keys]
        answers = raw.pipeline(server, [raw.request("GET", "/api/v1/whoami", key) for key in keys * 50])
        passed = [a.status for a in answers].count(200)
        assert passed < 700, f"{passed} of 1000 requests of one organization passed a limit of 120 a minute"
        assert operator.get("/whoami").status_code == 200, "others are not counted with it"


# --- 11. metadata that is too deep -----------------------------------------------------------------


def nested(depth: int) -> dict:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("path", ["/workspaces", "/projects", "/computers"])
def test_metadata_is_taken_as_deep_as_every_part_of_the_program_can_carry_it(service, tmp_path, path):
    with service.http(service.attacker) as http:
        workspace = http.post("/workspaces", json={"name": "w"}).json()["id"]
        for depth in (33, 60, 120, 126):
            refused = http.post(path, json={"name": f"d {depth}", "workspace_id": workspace, "metadata": nested(depth)})
            assert refused.status_code == 422 and "32" in refused.json()["errors"]["metadata"][0], (depth, refused.text)
        body = {"name": "deepest", "workspace_id": workspace, "metadata": nested(32)}
        made = http.post(path, json=body).json()
        assert made["metadata"] == nested(32)
        again = http.patch(f"{path}/{made['id']}", json={"metadata": nested(33)})
        assert again.status_code == 422
        id = made["id"] if path == "/workspaces" else workspace
        file = http.get(f"/workspaces/{id}/export")
        assert file.status_code == 200
        assert http.get("/audit-log", params={"limit": 5}).json()["data"]
    with Server(tmp_path / "other", *FAST) as other, other.http(other.first_key) as target:
        assert bring(target, file.content).status_code == 201
    for command in ("ws", "computers"):
        listed = run(command, "ls", MIOSA_BASE_URL=service.url, MIOSA_API_KEY=service.attacker)
        assert listed.returncode == 0, listed.stderr


# --- 13. characters that are not seen ---------------------------------------------------------------

UNSEEN = {
    "line break": "a\nb", "carriage return": "a\rb", "tab": "a\tb", "escape": "a\x1b[31mb", "null": "a\x00b", "C1 control": "a\x9bb",
    "right-to-left override": "a\u202eb", "isolate": "a\u2066b", "end of isolate": "a\u2069b", "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b", "zero width space": "a\u200bb", "byte order mark": "a\ufeffb", "tag": "a\U000e0041b",
    "noncharacter": "a\uffffb", "noncharacter of a plane": "a\U0001fffeb", "noncharacter block": "a\ufdd0b",
}  # fmt: skip


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN.keys())
def test_what_nobody_can_see_is_refused_in_names_and_ids(api, text):
    workspace = api.post("/workspaces", json={"name": "w"}).json()["id"]
    for path, field, body in [
        ("/workspaces", "name", {}),
        ("/workspaces", "external_workspace_id", {"name": "x"}),
        ("/projects", "name", {"workspace_id": workspace}),
        ("/projects", "external_project_id", {"name": "x", "workspace_id": workspace}),
        ("/computers", "name", {"workspace_id": workspace}),
        ("/computers", "external_user_id", {"name": "x", "workspace_id": workspace}),
        ("/computers", "external_workspace_id", {"name": "x"}),
        ("/computers", "external_project_id", {"name": "x", "workspace_id": workspace}),
        ("/api-keys", "name", {}),
        ("/api-keys/scoped", "external_user_id", {"name": "x", "scopes": ["computers:read"]}),
        ("/webhooks", "name", {"url": "http://127.0.0.1:9/", "events": ["*"]}),
    ]:
        refused = api.post(path, json=body | {field: text})
        assert refused.status_code == 422 and field in refused.json()["errors"], (path, field, refused.text)
    for field in ("name", "external_workspace_id"):
        assert api.patch(f"/workspaces/{workspace}", json={field: text}).status_code == 422, field
    # What people do write stays: emoji with joiners, right-to-left letters, accents.
    for n, good in enumerate(("Dr. Müller 👩‍⚕️", "مرحبا بك", "عيادة\u200fـ", "नमस्ते")):
        assert api.post("/projects", json={"name": good, "slug": f"p{n}", "workspace_id": workspace}).status_code == 201, good


def test_descriptions_keep_their_lines_and_nothing_that_turns_text_around(api):
    assert api.post("/workspaces", json={"name": "lines", "description": "one\ntwo\tthree"}).status_code == 201
    for text in ("a\u202eb", "a\x1b[2Jb", "a\u2066b"):
        assert api.post("/workspaces", json={"name": "x", "description": text}).status_code == 422, text


def test_a_name_moves_no_cursor_of_a_terminal(tmp_path):
    """Rows that are there already, from before such names were refused."""
    with Server(tmp_path, *FAST) as server, server.http(server.first_key) as http:
        key = server.first_key
        made = http.post("/workspaces", json={"name": "victim"}).json()["id"]
    with sqlite3.connect(tmp_path / "data" / "workspaced.db") as db:
        text = "a\x1b[2J\nforged\trow\u202e"
        db.execute("UPDATE workspaces SET name = ?, external_workspace_id = ? WHERE hex(id) = ?", (text, text, made.replace("-", "").upper()))
    db.close()
    with Server(tmp_path, *FAST) as server:
        for command in (("ws", "ls"), ("ws", "show", made)):
            shown = run(*command, MIOSA_BASE_URL=server.url, MIOSA_API_KEY=key)
            assert shown.returncode == 0, shown.stderr
            assert not set(shown.stdout) & {"\x1b", "\u202e"}, shown.stdout
            assert not any(line.lstrip().startswith("forged") for line in shown.stdout.splitlines())


# --- 14. files --------------------------------------------------------------------------------------


def modes(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): oct(stat.S_IMODE(path.stat().st_mode)) for path in [directory, *directory.rglob("*")]}


def back_up(http):
    """A backup by hand, once the service is done with its own first one."""
    deadline = time.monotonic() + 20
    while (made := http.post("/system/backups")).status_code == 409 and time.monotonic() < deadline:
        assert made.json()["code"] == "BACKUP_RUNNING", made.text
        time.sleep(0.1)
    assert made.status_code == 201, made.text


def test_every_file_is_for_its_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        with Server(tmp_path, "--dev", "--backup-dir", tmp_path / "backups") as server, server.http("msk_u_dev") as http:
            json_type = {"content-type": "application/json"}
            made = http.post(f"{server.url}/_dev/snapshots", json={"name": "one"}, headers=json_type)
            assert made.status_code == 201, made.text
            # The service may be at its own first one.
            back_up(http)
            for directory in (server.data_dir, tmp_path / "backups"):
                for name, mode in modes(directory).items():
                    assert mode in ("0o600", "0o700"), (name, mode)
            assert run("export", "default", tmp_path / "w.jsonl.gz", MIOSA_BASE_URL=server.url, MIOSA_API_KEY="msk_u_dev").returncode == 0
            assert stat.S_IMODE((tmp_path / "w.jsonl.gz").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_what_a_killed_backup_left_behind_is_removed(tmp_path):
    backups = tmp_path / "backups"
    with Server(tmp_path, "--backup-dir", backups) as server, server.http(server.first_key) as http:
        raw.make(server, server.first_key, "/workspaces", [{"name": f"w {n}", "metadata": {"pad": "x" * 12_000}} for n in range(1500)])
        for n in range(6):
            process = subprocess.Popen([BINARY, "backup", "--data-dir", server.data_dir, backups / f"hand-{n}.db"], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.01 + 0.02 * n)
            process.kill()
            process.wait()
        back_up(http)
        left = [p.name for p in backups.iterdir() if "partial" in p.name or p.name.endswith((".tmp", "-journal", "-wal"))]
        assert not left, left


def test_what_a_killed_ephemeral_service_left_behind_is_removed_by_the_next(tmp_path):
    def start(n):
        return Server(tmp_path / str(n), "--ephemeral", TMPDIR=str(tmp_path / "tmp"))

    (tmp_path / "tmp").mkdir()
    first = start(1)
    first.kill()
    with start(2) as second, start(3) as third:
        left = [p for p in (tmp_path / "tmp").iterdir()]
        assert len(left) == 2, left
        assert {second.process.poll(), third.process.poll()} == {None}
    assert not list((tmp_path / "tmp").iterdir())


# --- 15. a restore and keys that were revoked -------------------------------------------------------


def test_a_restore_does_not_bring_revoked_keys_back(tmp_path):
    with Server(tmp_path) as server, server.http(server.first_key) as http:
        operator = server.first_key
        made = {name: http.post("/api-keys", json={"name": name}).json() for name in ("revoked", "rotated", "kept")}
        secret = lambda reply: next(v for v in json.dumps(reply).split('"') if v.startswith("msk_") and len(v) > 20)
        ids = {key["name"]: key["id"] for key in http.get("/api-keys").json()["data"]}
        done = run("backup", "--data-dir", server.data_dir, tmp_path / "backup.db")
        assert done.returncode == 0, done.stderr
        assert http.delete(f"/api-keys/{ids['revoked']}").status_code == 200
        rotated = secret(http.post(f"/api-keys/{ids['rotated']}/rotate").json())
    done = run("restore", tmp_path / "backup.db", "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "revoked" in done.stdout + done.stderr
    with Server(tmp_path) as server:
        status = lambda key: raw.exchange(server, raw.request("GET", "/api/v1/whoami", key, None, "Connection: close")).status
        assert status(operator) == status(secret(made["kept"])) == status(rotated) == 200
        assert status(secret(made["revoked"])) == status(secret(made["rotated"])) == 401


# --- 16. readers --------------------------------------------------------------------------------------


def many_events(server, events=60_000):
    """A workspace with so many events within one hour, none of which runs anything."""
    with server.http(server.attacker) as http:
        workspace = http.post("/workspaces", json={"name": "busy"}).json()["id"]
        computer = http.post("/computers", json={"name": "c", "workspace_id": workspace, "driver": "external"}).json()["id"]
        for kind in ("started", "stopped"):  # what never ran has no part in any explanation
            event = {"id": kind, "type": f"computer.{kind}", "subject": computer, "time": iso(now())}
            assert http.post("/compute-events", json={"events": [event]}).json()["accepted"] == 1
        for n in range(0, events, 10_000):
            batch = [
                {"id": f"e{m}", "type": "computer.resized", "subject": computer, "time": iso(now()), "data": {"size": ("small", "medium")[m % 2]}}
                for m in range(n, n + 10_000)
            ]
            reply = http.post("/compute-events", json={"events": batch})
            assert reply.json()["accepted"] == 10_000, reply.text[:300]
    return workspace


def test_many_explanations_at_once_do_not_hold_up_a_neighbours_list(service):
    workspace = many_events(service)
    path = f"/api/v1/workspaces/{workspace}/usage/explain?granularity=day&ts={iso(now())}"
    with service.http(service.first_key) as http:
        paying = http.post("/platform/tenants", json={"name": "Paying"}).json()["api_key"]["key"]
    stop, found = threading.Event(), []
    look = lambda: found.append(slowest(service, paying, stop, "GET", "/api/v1/workspaces"))
    thread = threading.Thread(target=look)
    thread.start()
    ask = raw.request("GET", path, service.attacker, None, "Connection: close")
    answers = in_threads(64, lambda _: raw.exchange(service, ask, ATTACKER))
    stop.set()
    thread.join()
    assert {a.status for a in answers} <= {200, 422, 503} and 200 in {a.status for a in answers}
    longest, statuses = found[0]
    assert statuses == {200} and longest < 0.3, f"{longest:.2f} s"


# --- 17. at the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /api/v1/whoami HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: user@a\r\n\r\n",
    ],
)
def test_a_request_names_one_host(service, sent):
    answer = raw.exchange(service, sent)
    assert answer.status == 400 and answer.json()["code"] == "INVALID_HOST", answer
    assert raw.exchange(service, b"GET /health HTTP/1.0\r\n\r\n").status == 200, "the older version has none"
    assert raw.exchange(service, b"GET /health HTTP/1.1\r\nHost: \r\n\r\n").status == 200, "an empty one is allowed"


def test_a_key_that_may_only_administer_keys_does_not_touch_stronger_ones(service):
    with service.http(service.attacker) as http:
        weak = http.post("/api-keys", json={"name": "weak", "scopes": ["keys:admin"]}).json()
        strong = http.post("/api-keys", json={"name": "strong", "scopes": ["computers:*"]}).json()
        peer = http.post("/api-keys", json={"name": "peer", "scopes": ["keys:admin"]}).json()
        ids = {key["name"]: key["id"] for key in http.get("/api-keys").json()["data"]}
        secret = lambda reply: next(v for v in json.dumps(reply).split('"') if v.startswith("msk_") and len(v) > 20)
        assert secret(strong) and secret(peer)
        with service.http(secret(weak)) as other:
            for id in (ids["strong"], *(id for name, id in ids.items() if name not in ("weak", "peer", "strong"))):
                for refused in (
                    other.delete(f"/api-keys/{id}"),
                    other.post(f"/api-keys/{id}/rotate"),
                    other.patch(f"/api-keys/{id}", json={"enabled": False}),
                    other.patch(f"/api-keys/{id}", json={"name": "mine"}),
                ):
                    assert (refused.status_code, refused.json().get("code")) == (403, "insufficient_scope"), refused.text
            assert other.delete(f"/api-keys/{ids['peer']}").status_code == 200
        assert http.get("/whoami").status_code == 200
