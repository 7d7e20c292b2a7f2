"""Webhooks through the official client, with its own verifier on what really arrives."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from miosa import Miosa
from miosa.resources.webhooks import verify_signature

from workspaced import FAST, Server, eventually


class Receiver:
    """A receiver on loopback that answers with `status` and keeps what it got."""

    def __init__(self):
        got, outer = [], self
        self.got, self.status, self.came = got, 200, threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with outer.came:
                    got.append((dict(self.headers.items()), body))
                    outer.came.notify_all()
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(b"thank you")

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def wait_for(self, kind):
        """The first message of a type."""
        find = lambda: [one for one in self.got if json.loads(one[1])["type"] == kind]
        with self.came:
            assert self.came.wait_for(find, timeout=20), f"no {kind} among {self.got}"
            return find()[0]

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.stop()


def test_the_whole_life_of_a_webhook(client, receiver):
    made = client.webhooks.create(url=receiver.url, events=["workspace.*"], name="orders")
    secret = made["secret"]
    assert made["name"] == "orders" and made["active"] is True and secret.startswith("whsec_")
    assert [hook["id"] for hook in client.webhooks.list()] == [made["id"]]
    assert "secret" not in client.webhooks.get(made["id"])

    tested = client.webhooks.test(made["id"])
    assert tested["success"] is True and tested["response_body"] == "thank you"

    workspace = client.workspaces.create("Dr. Smith Clinic")
    headers, body = receiver.wait_for("workspace.created")
    event = json.loads(body)
    assert event["data"]["id"] == workspace.id and event["tenant_id"] == made["tenant_id"]

    # The client's own verifier takes both headers, and nothing else.
    for name in ("x-miosa-signature", "miosa-signature"):
        signature = headers[name]
        assert verify_signature(body, signature, secret)
        assert not verify_signature(body + b" ", signature, secret)
        assert not verify_signature(body, signature, secret + "x")

    def delivered():
        rows = client.webhooks.deliveries(made["id"])
        return [row for row in rows if row["event"] == "workspace.created" and row["state"] == "delivered"]

    (row,) = eventually(delivered, "the delivery")
    assert row["status_code"] == row["response_status"] == 200 and row["attempt_count"] == 1
    assert headers["x-miosa-delivery-id"] == row["id"]

    changed = client.webhooks.update(made["id"], active=False, retry_count=0)
    assert changed["enabled"] is False and changed["retry_count"] == 0
    client.webhooks.delete(made["id"])
    assert client.webhooks.list() == []


def test_what_a_receiver_refuses_is_seen(client, receiver):
    receiver.status = 500
    made = client.webhooks.create(url=receiver.url, events=["workspace.*"])
    tested = client.webhooks.test(made["id"])
    assert tested["success"] is False and tested["status_code"] == 500
    client.workspaces.create("A")

    def waiting():
        rows = client.webhooks.deliveries(made["id"])
        return [row for row in rows if row["state"] == "pending" and row["attempt_count"] == 1]

    (row,) = eventually(waiting, "a retry")
    assert row["error"] == "answered 500" and row["next_retry_at"]


def test_retries_go_by_the_clock_that_is_driven(tmp_path, receiver):
    # A proxy of the environment is not asked.
    proxies = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY")}
    with Server(tmp_path, "--dev", "--clock", "virtual", *FAST, **proxies) as server:
        client = Miosa(api_key="msk_u_dev", base_url=server.url)

        def advance(seconds):
            drive = {"advance_seconds": seconds}
            reply = httpx.post(f"{server.url}/_dev/clock", json=drive, headers={"Authorization": "Bearer msk_u_dev"}, timeout=60)
            assert reply.status_code == 200, reply.text

        receiver.status = 503
        made = client.webhooks.create(url=receiver.url, events=["workspace.created"])
        client.workspaces.create("A")
        _, first = receiver.wait_for("workspace.created")
        eventually(lambda: client.webhooks.get(made["id"])["failed_attempts"] == 1, "the failure")
        advance(29)
        assert len(receiver.got) == 1
        # Half an hour passes, and all three retries in it.
        advance(1800)
        assert {body for _, body in receiver.got} == {first}
        assert [headers["x-miosa-attempt"] for headers, _ in receiver.got] == ["1", "2", "3", "4"]
        (row,) = client.webhooks.deliveries(made["id"])
        assert row["state"] == "failed" and row["attempt_count"] == 4
        # However far the clock has been driven, the client takes the signature for a fresh one.
        advance(86_400)
        receiver.status = 200
        assert client.webhooks.test(made["id"])["success"] is True
        headers, body = receiver.wait_for("webhook.test")
        assert verify_signature(body, headers["miosa-signature"], made["secret"])
        client.close()


def test_what_waits_is_sent_after_a_crash(tmp_path, receiver):
    receiver.status = 500
    with Server(tmp_path, "--dev", "--clock", "virtual", *FAST) as server:
        client = Miosa(api_key="msk_u_dev", base_url=server.url)
        made = client.webhooks.create(url=receiver.url, events=["workspace.created"])
        client.workspaces.create("A")
        eventually(lambda: client.webhooks.get(made["id"])["failed_attempts"] == 1, "the failure")
        client.close()
        server.kill()
    receiver.status = 200
    # The clock of this machine now, so that the retry falls due by itself.
    with Server(tmp_path, "--dev", *FAST) as server:
        client = Miosa(api_key="msk_u_dev", base_url=server.url)
        reply = httpx.post(f"{server.url}/_dev/clock", json={"advance_seconds": 60}, headers={"Authorization": "Bearer msk_u_dev"}, timeout=60)
        assert reply.status_code == 200, reply.text
        (row,) = client.webhooks.deliveries(made["id"])
        assert row["state"] == "delivered" and row["attempt_count"] == 2
        assert [body for _, body in receiver.got] == [receiver.got[0][1]] * 2
        client.close()
