"""How the official client finds the service, and what it repeats."""

import socket
import threading

import pytest
from miosa.errors import ConnectionError, MiosaError


@pytest.mark.parametrize("suffix", ["", "/", "/api/v1", "/api/v1/"])
def test_the_environment_points_the_client_here(connect, server, organization, monkeypatch, suffix):
    monkeypatch.setenv("MIOSA_BASE_URL", server.url + suffix)
    monkeypatch.setenv("MIOSA_API_KEY", organization.key)
    assert connect().workspaces.list()[0].id == organization.default_workspace_id


def test_an_unbranded_client_is_served_too(connect, server, organization):
    """It sends an empty User-Agent."""
    assert connect(api_key=organization.key, base_url=server.url, unbranded=True).workspaces.list()


def test_every_reply_carries_a_request_id(api):
    replies = [api.get("/workspaces"), api.get("/nothing"), api.post("/workspaces", json={})]
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert len(set(ids)) == 3
    assert replies[1].json()["error"]["request_id"] == ids[1]


class LostReply:
    """Stands between client and service, and loses replies: the first `lose` of them."""

    def __init__(self, server, lose: int) -> None:
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        self.target, self.lose, self.requests = (host, int(port)), lose, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self.target) as service:
                request = client.recv(65536)
                while b"\r\n\r\n" not in request:
                    request += client.recv(65536)
                head, _, body = request.partition(b"\r\n\r\n")
                length = next(
                    (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
                )
                while len(body) < length:
                    body += client.recv(65536)
                service.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
                reply = b"".join(iter(lambda: service.recv(65536), b""))
                self.requests += 1
                if self.requests <= self.lose:
                    reply = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0.01\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                client.sendall(reply)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def test_an_idempotency_key_makes_a_repeated_create_safe(connect, server, organization, client):
    """The service did the work, the reply was lost, the client repeats: one workspace."""
    with LostReply(server, lose=2) as network:
        flaky = connect(api_key=organization.key, base_url=network.url)
        reply = flaky._transport.request(
            "POST", "/workspaces", json_body={"name": "Once"}, headers={"Idempotency-Key": "create-once"}
        )
        assert network.requests == 3
    assert [w.name for w in client.workspaces.list()] == ["default", "Once"]
    assert client.workspaces.list()[1].id == reply["id"]


def test_without_a_key_a_create_is_not_repeated(connect, server, organization, client):
    with LostReply(server, lose=1) as network:
        flaky = connect(api_key=organization.key, base_url=network.url)
        with pytest.raises(MiosaError):
            flaky.workspaces.create("Once")
        assert network.requests == 1
    assert [w.name for w in client.workspaces.list()] == ["default", "Once"]


def test_reads_are_repeated(connect, server, organization):
    with LostReply(server, lose=2) as network:
        assert connect(api_key=organization.key, base_url=network.url).workspaces.list()
        assert network.requests == 3


def test_a_replay_says_that_it_is_one_and_another_payload_is_refused(api):
    key = {"Idempotency-Key": "k" * 255}
    first = api.post("/workspaces", json={"name": "One"}, headers=key)
    again = api.post("/workspaces", json={"name": "One"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = api.post("/workspaces", json={"name": "Two"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_PAYLOAD_MISMATCH")
    assert api.get("/workspaces").json()["total"] == 2


def test_a_body_that_nobody_asked_for_does_not_cost_the_connection(server, organization):
    """Refused before the body is read: the next request on the connection must find it open."""
    for key, status, path in (
        (organization.key, 404, "/sandboxes"),
        (organization.key, 404, "/no/such/route"),
        (organization.key, 403, "/platform/tenants"),
        ("msk_u_wrong", 401, "/workspaces"),
    ):
        with server.http(key) as http:
            assert {http.post(path, json={"name": "x"}).status_code for _ in range(100)} == {status}


def test_nobody_listening_is_a_connection_error(connect):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = connect(api_key="msk_u_x", base_url=f"http://127.0.0.1:{port}", max_retries=0)
    with pytest.raises(ConnectionError):
        client.workspaces.list()
