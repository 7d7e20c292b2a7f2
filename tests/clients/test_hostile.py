"""What no client of good will sends, over real sockets: the service answers or hangs up, keeps its
memory, does nothing it was not asked to, and serves the next request."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from workspaced import Server, eventually

MEMORY_MB = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    flags = ("--dev", "--request-timeout", "2s", "--max-connections", "40", "--log", "info")
    with Server(tmp_path_factory.mktemp("hostile"), *flags) as server:
        yield server
        assert '"code":"INTERNAL_ERROR"' not in server.log and "request failed" not in server.log


def connect(server):
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=10)
    return connection


def reply(connection) -> bytes:
    """Everything until the service hangs up."""
    out = b""
    try:
        while chunk := connection.recv(65536):
            out += chunk
    except ConnectionResetError:
        pass
    return out


def exchange(server, raw: bytes) -> bytes:
    with connect(server) as connection:
        try:
            connection.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return reply(connection)


def statuses(answer: bytes) -> list[int]:
    return [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def head(method="POST", path="/api/v1/workspaces", *lines: str) -> bytes:
    first = [f"{method} {path} HTTP/1.1", "Host: localhost", "Authorization: Bearer msk_u_dev", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, "", ""]).encode("latin-1")


def count(server) -> int:
    with server.http("msk_u_dev") as http:
        return http.get("/workspaces", params={"limit": 1}).json()["total"]


def memory(server) -> float:
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


# --- slow and many ---------------------------------------------------------------------------


def test_a_head_that_never_ends_is_cut_off(server):
    with connect(server) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\n")
        connection.settimeout(0.3)
        answer = None
        while answer is None:
            assert time.monotonic() - began < 8, "still held"
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                connection.sendall(b"X-A: 1\r\n")
            except ConnectionResetError:
                answer = b""
        assert 1.5 < time.monotonic() - began


def test_a_body_that_never_comes_is_cut_off(server):
    before = count(server)
    with connect(server) as connection:
        connection.sendall(head("POST", "/api/v1/workspaces", "Content-Length: 50") + b'{"name"')
        answer = connection.recv(65536)
    assert statuses(answer) == [408] and b"BODY_TIMEOUT" in answer
    assert count(server) == before


def test_one_connection_too_many_is_told_so_and_slow_ones_make_room(server):
    with server.http("msk_u_dev") as http:
        http.get("/whoami").raise_for_status()  # holds one place
        held = [connect(server) for _ in range(39)]

        def told():
            with connect(server) as connection:
                answer = reply(connection)
            return answer if answer else None

        answer = eventually(told, "503", 5)
        assert statuses(answer) == [503] and b"retry-after: 1" in answer
        body = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        assert body["error"]["code"] == body["code"] == "UNAVAILABLE"
        assert http.get("/whoami").status_code == 200, "who is in stays in"
        # They say nothing, so after the time for a head their places are free again.
        eventually(lambda: 200 in statuses(exchange(server, head("GET", "/api/v1/whoami", "Connection: close"))), "a place", 8)
        for connection in held:
            connection.close()


def test_ten_times_too_many_clients_are_served_or_told_and_then_all_is_as_before(server):
    def one(n):
        body = json.dumps({"name": f"crowd {n}"}).encode()
        try:
            answer = exchange(server, head("POST", "/api/v1/workspaces", f"Content-Length: {len(body)}", "Connection: close") + body)
        except OSError:
            return None
        return statuses(answer)[:1]

    before = count(server)
    with ThreadPoolExecutor(400) as crowd:
        outcomes = list(crowd.map(one, range(1200)))
    made = outcomes.count([201])
    assert made > 0
    assert all(outcome in ([201], [503], [], None) for outcome in outcomes), set(map(str, outcomes))
    assert count(server) == before + made, "what was acknowledged, and nothing else"
    began = time.monotonic()
    assert one("after") == [201]
    assert time.monotonic() - began < 1
    assert memory(server) < MEMORY_MB


# --- large and deep --------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [["X-Large: " + "a" * 200_000], [f"X-{n}: a" for n in range(2000)], ["Cookie: " + "a=b; " * 30_000]])
def test_huge_heads_are_refused(server, lines):
    assert statuses(exchange(server, head("GET", "/api/v1/whoami", *lines))) in ([431], [400], [])


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 150_000,
        b'{"name":"x","metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        json.dumps({"name": "x", "metadata": {f"key {n}": n for n in range(100_000)}}).encode()[: 2 << 20],
        json.dumps({"name": "x", "metadata": {f"k{n}": 1 for n in range(60_000)}}).encode(),
        b'{"name":"' + b"x" * 900_000 + b'"}',
        b'{"name":"\xff\xfe"}',
        b'{"name":"\\ud800"}',
        b'{"name":"a","name":"b"' + b',"name":"c"' * 50_000 + b"}",
        b'{"name":"x","metadata":{"n":' + b"9" * 500_000 + b"}}",
        b'{"name":"x","metadata":{"n":1e999999}}',
        b"\xef\xbb\xbf{}",
        b"\x00" * 1000,
    ],
)
def test_bodies_that_go_too_far(server, body):
    before = count(server)
    answer = exchange(server, head("POST", "/api/v1/workspaces", f"Content-Length: {len(body)}", "Connection: close") + body)
    [status] = statuses(answer)
    # A name that is given twice is legal JSON; everything else is refused.
    assert status < 500 and (status >= 400 or b'"name":"b"' in body), answer[:300]
    if status >= 400:
        parsed = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        assert parsed["error"]["request_id"] and len(answer) < 20_000
    assert count(server) == before + (status == 201)
    assert memory(server) < MEMORY_MB


# --- smuggling -------------------------------------------------------------------------------

HIDDEN = b"POST /api/v1/workspaces HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer msk_u_dev\r\nContent-Length: 17\r\n\r\n{\"name\":\"hidden\"}"
CHUNKED = b"0\r\n\r\n" + HIDDEN


@pytest.mark.parametrize(
    "raw",
    [
        head("POST", "/api/v1/workspaces", f"Content-Length: {len(CHUNKED)}", "Transfer-Encoding: chunked") + CHUNKED,
        head("POST", "/api/v1/workspaces", "Content-Length: 0", f"Content-Length: {len(HIDDEN)}") + HIDDEN,
        head("POST", "/api/v1/workspaces", f"Content-Length: 0, {len(HIDDEN)}") + HIDDEN,
        head("POST", "/api/v1/workspaces", "Content-Length: +0") + HIDDEN,
        head("POST", "/api/v1/workspaces", "Content-Length: -1") + HIDDEN,
        head("POST", "/api/v1/workspaces", "Content-Length: 99999999999999999999999") + HIDDEN,
        head("POST", "/api/v1/workspaces", "Transfer-Encoding: chunked, identity") + CHUNKED,
        head("POST", "/api/v1/workspaces", "Transfer-Encoding: xchunked") + CHUNKED,
        head("POST", "/api/v1/workspaces", "Transfer-Encoding : chunked") + CHUNKED,
        head("POST", "/api/v1/workspaces", "Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFFF\r\n" + HIDDEN,
        head("POST", "/api/v1/workspaces", "Transfer-Encoding: chunked") + b"-1\r\n" + HIDDEN,
        head("POST", "/api/v1/workspaces", "X-A: 1\r\n Content-Length: 5") + HIDDEN,
        head("POST", "/api/v1/workspaces", "X-A: 1\nContent-Length: 5") + b"\r\n" + HIDDEN,
        b"POST /api/v1/workspaces\r\n\r\n" + HIDDEN,
        b"POST /api/v1/workspaces HTTP/9.9\r\n\r\n" + HIDDEN,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 100,
        b"\x00" * 70_000,
    ],
)
def test_ambiguous_requests_are_refused_and_hide_nothing(server, raw):
    before = count(server)
    answer = exchange(server, raw)
    # The body may be read as the one that its head says; what comes after a refusal never counts.
    assert all(status >= 400 for status in statuses(answer)[:1]), answer[:200]
    with server.http("msk_u_dev") as http:
        names = [w["name"] for w in http.get("/workspaces", params={"page_size": 100, "q": "hidden"}).json()["data"]]
    assert "hidden" not in names and count(server) == before


# --- injection -------------------------------------------------------------------------------

NASTY = 'Ärger"; filename="x.exe\r\nSet-Cookie: a=b\r\n\r\n<script>=HYPERLINK("http://x")'


def test_names_stay_in_their_place(server):
    with server.http("msk_u_dev") as http:
        made = http.post("/workspaces", json={"name": NASTY.replace("\r\n", " "), "metadata": {"a": NASTY}})
        made.raise_for_status()
        refused = http.post("/workspaces", json={"name": NASTY})
        assert refused.status_code in (201, 422)
        for workspace in [made.json(), *([refused.json()] if refused.status_code == 201 else [])]:
            table = http.get(f"/workspaces/{workspace['id']}/usage", params={"format": "csv"})
            assert table.status_code == 200 and "set-cookie" not in table.headers
            disposition = table.headers.get("content-disposition", "")
            assert ".exe" not in disposition and disposition.count('"') in (0, 2), disposition
        answer = http.get("/whoami", headers={"X-Request-Id": "mine", "X-Forwarded-For": "evil"})
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/workspaces/%00", "/api/v1/workspaces/%ff%fe", "/api/v1/workspaces/..%2f..%2fetc%2fpasswd", "/assets/../Cargo.toml",
        "/assets/%2e%2e/Cargo.toml", "/assets/..%5c..%5cetc", "/api/v1/workspaces?q=%ff", "/api/v1/workspaces?page=9223372036854775808",
        "/api/v1/workspaces?page=-1", "/api/v1/workspaces?offset=99999999999999999999", "/api/v1/audit-log?cursor=%00%00", "//api//v1//whoami",
        "/api/v1/workspaces?" + "&".join(f"k{n}={n}" for n in range(3000)), "/api/v1/" + "a/" * 4000,
        "/api/v1/workspaces?metadata.a=' OR 1=1 --", "/api/v1/usage?from=+275760-09-13T00:00:00Z", "/api/v1/usage?tz=../../etc/passwd",
    ],
)  # fmt: skip
def test_paths_and_queries_that_go_too_far(server, path):
    [status] = statuses(exchange(server, head("GET", path.replace(" ", "%20"), "Connection: close")))
    assert status < 500


# --- secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_reaches_the_log_or_the_database(tmp_path, form):
    with Server(tmp_path, "--log", "trace", "--log-format", form) as server, server.http(server.first_key) as http:
        secrets = [server.first_key]
        for path, body in [
            ("/api-keys", {"name": "one"}),
            ("/api-keys/scoped", {"name": "two", "external_user_id": "u", "scopes": ["computers:read"]}),
            ("/platform/tenants", {"name": "Another"}),
        ]:
            reply = http.post(path, json=body, headers={"Idempotency-Key": "a-key-of-the-caller"})
            assert reply.status_code == 201, reply.text
            secrets += {v for v in json.dumps(reply.json()).split('"') if v.startswith("msk_") and len(v) > 20}
        key_id = http.get("/api-keys").json()["data"][-1]["id"]
        rotated = http.post(f"/api-keys/{key_id}/rotate")
        secrets += {v for v in rotated.text.split('"') if v.startswith("msk_") and len(v) > 20}
        wrong = "msk_u_aKeyThatSomebodyMistypedByOneLetter"
        with server.http(wrong) as stranger:
            assert stranger.get("/whoami").status_code == 401
        origin = {"Origin": server.url, "X-Workspaced-Admin": "1"}
        signed_in = http.post(f"{server.url}/admin/session", json={"key": server.first_key}, headers=origin)
        assert signed_in.status_code == 200, signed_in.text
        secrets += [wrong, next(cookie.value for cookie in signed_in.cookies.jar)]
        assert len(set(secrets)) >= 7 and all(secrets), secrets
        eventually(lambda: "/admin/session" in server.log, "the last request in the log")
        for secret in secrets:
            assert secret not in server.log
        files = b"".join(file.read_bytes() for file in server.data_dir.iterdir())
        for secret in secrets:
            assert secret.encode() not in files
        assert b"a-key-of-the-caller" not in files
