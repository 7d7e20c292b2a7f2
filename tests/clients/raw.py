"""Requests over bare sockets: many at once on one connection, and clients that do not behave."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass

from workspaced import Server


def memory_mb(server: Server) -> float:
    """What the service holds in memory by now."""
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def connect(server: Server, source: str = "127.0.0.1", receive_buffer: int | None = None, timeout: float = 30) -> socket.socket:
    """A connection from an address of this machine; every 127.x.y.z is one."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(timeout)
    connection.bind((source, 0))
    connection.connect((host, int(port)))
    return connection


def head(method: str, path: str, key: str | None = None, length: int | None = None, *lines: str) -> bytes:
    """The head of a request; what `lines` say of the host wins."""
    first = [f"{method} {path} HTTP/1.1"]
    if not any(line.lower().startswith("host:") for line in lines):
        first.append("Host: localhost")
    if key:
        first.append(f"Authorization: Bearer {key}")
    if length is not None:
        first += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*first, *lines, "", ""]).encode("latin-1")


def request(method: str, path: str, key: str | None = None, body=None, *lines: str) -> bytes:
    """A whole request; a body is sent as JSON."""
    if body is None:
        return head(method, path, key, None, *lines)
    text = json.dumps(body).encode()
    return head(method, path, key, len(text), *lines) + text


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class Replies:
    """Reads the answers on a connection one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self.file = connection.makefile("rb")

    def next(self) -> Answer | None:
        """The next one; `None` when the service has hung up."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        status, headers = int(line.split()[1]), {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline().split(b";")[0], 16):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
        else:
            body = self.file.read(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)


def exchange(server: Server, raw: bytes, source: str = "127.0.0.1", timeout: float = 30) -> Answer | None:
    """One request on a connection of its own."""
    with connect(server, source, timeout=timeout) as connection:
        try:
            connection.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return Replies(connection).next()


def pipeline(server: Server, requests: list[bytes]) -> list[Answer]:
    """Many requests at once on one connection, which is how a test makes thousands of rows in seconds."""
    with connect(server, timeout=120) as connection:

        def send() -> None:
            for n in range(0, len(requests), 100):
                connection.sendall(b"".join(requests[n : n + 100]))

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        replies = Replies(connection)
        answers = []
        for n in range(len(requests)):
            answer = replies.next()
            assert answer, f"hung up after {n} of {len(requests)} answers"
            answers.append(answer)
        sender.join()
        return answers


def make(server: Server, key: str, path: str, bodies: list[dict], connections: int = 8) -> list[dict]:
    """Makes rows by POST, on several connections at once; what is made, in the order of `bodies`."""
    parts = [bodies[n::connections] for n in range(connections)]
    made: list[list[Answer]] = [[] for _ in parts]

    def work(n: int) -> None:
        made[n] = pipeline(server, [request("POST", f"/api/v1{path}", key, body) for body in parts[n]])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows: list[dict] = [{}] * len(bodies)
    for n, answers in enumerate(made):
        assert len(answers) == len(parts[n]), "a connection that makes rows was cut off"
        for at, answer in enumerate(answers):
            assert answer.status in (200, 201), answer.body[:500]
            rows[n + at * connections] = answer.json()
    return rows
