"""`--strict` and the emulator's report, with the published client and the API page's own examples."""

import httpx
import pytest
from miosa import MiosaError
from miosa.resources.workspaces import AsyncWorkspaces, Workspaces

from conftest import Blocking
from workspaced import FAST, Server


@pytest.fixture
def strict(tmp_path):
    with Server(tmp_path, "--dev", "--strict", "--dns-resolver", "127.0.0.1:9", *FAST) as server:
        yield server


def dev(server, method: str, path: str, body=None):
    headers = {"Authorization": "Bearer msk_u_dev", "Content-Type": "application/json"}
    reply = httpx.request(method, f"{server.url}/_dev{path}", headers=headers, json=body)
    assert reply.is_success, reply.text
    return reply.json()


def test_the_published_client_sends_nothing_unknown(connect, strict):
    """Every keyword of every call that the service has a route for."""
    client = connect(api_key="msk_u_dev", base_url=strict.url)
    inner = client._inner if isinstance(client, Blocking) else client
    if isinstance(client, Blocking):
        workspaces = Blocking(AsyncWorkspaces(inner._transport), client._run)
    else:
        workspaces = Workspaces(inner._transport)
    workspace = workspaces.create(
        name="Dr. Smith Clinic", slug="dr-smith-clinic", external_workspace_id="clinic_123", description="A clinic"
    )
    workspaces.update(workspace.id, name="Smith", description="x")
    settings = {"max_computers": 9, "max_computer_size": "large", "default_auto_stop_seconds": 60}
    workspaces.update_settings(workspace.id, settings)
    workspaces.get_usage(workspace.id)
    project = client.projects.create(
        "Site", workspace_id=workspace.id, slug="site", description="x", metadata={"any": {"thing": 1}}
    )
    client.projects.update(project["id"], name="Site 2", slug="site-2", description="y", metadata={})
    client.projects.list(workspace_id=workspace.id)
    computer = client.computers.create(
        "desk", size="small", metadata={"any": 1}, workspace_id=workspace.id, external_workspace_id="clinic_123",
        agent_runtime_profile_id="p", agent_profile_id="p", skip_agent_runtime_profile=True, setup_file="f",
        environment="e", environment_id="e", env_id="e", no_env=True, env={"A": "1"}, fail_fast=True,
    )  # fmt: skip
    client.computers.list(workspace_id=workspace.id)
    computer.destroy()
    report = dev(strict, "GET", "/compat")
    assert (report["ok"], report["unknown_fields"], report["unknown_routes"]) == (True, 0, 0), report
    assert report["ignored_fields"] == 10
    assert any("miosa" in row["user_agent"] for row in report["clients"])


def test_the_examples_of_the_api_page_are_accepted(strict):
    with strict.http("msk_u_dev") as http:

        def ok(reply):
            assert reply.is_success, reply.text
            return reply.json()

        body = {"name": "Dr. Smith Clinic", "slug": "dr-smith-clinic", "external_workspace_id": "clinic_123"}
        there = f"/workspaces/{ok(http.post('/workspaces', json=body))['id']}"
        ok(http.patch(there, json={"name": "production-us-east"}))
        settings = {"max_computers": 10, "max_computer_size": "large", "default_auto_stop_seconds": 3600}
        ok(http.put(f"{there}/settings", json=settings))
        ok(http.put(f"{there}/preview-domain", json={"preview_domain": "drsmithclinic.com"}))
        ok(http.get(f"{there}/usage", params={"window": "24h", "granularity": "hour"}))
        # The page's other spelling, which its JavaScript uses.
        ok(http.post("/projects", json={"name": "Site", "workspaceSlug": "dr-smith-clinic"}))
        for part in ("computers", "projects", "stats", "preview-domain/verify", "settings"):
            ok(http.get(f"{there}/{part}"))
    assert dev(strict, "GET", "/compat")["ok"]


def test_an_unknown_field_is_refused_at_its_name(connect, strict):
    with strict.http("msk_u_dev") as http:
        reply = http.post("/workspaces", json={"name": "One", "descripton": "x"})
        assert reply.status_code == 422
        assert reply.json()["errors"]["descripton"] == ["is not a field of this request; did you mean description?"]
        assert http.get("/workspaces", params={"pagesize": 5}).json()["errors"]["pagesize"]
    client = connect(api_key="msk_u_dev", base_url=strict.url)
    inner = client._inner if isinstance(client, Blocking) else client
    with pytest.raises(MiosaError, match="did you mean workspace_slug"):
        request = inner._transport.request("POST", "/projects", json_body={"name": "One", "workspace_slag": "default"})
        client._run(request) if isinstance(client, Blocking) else request


@pytest.mark.parametrize("fault", [{"status": 503, "retry_after": 0}, {"drop": True}], ids=["status", "drop"])
def test_what_was_done_before_the_answer_was_lost_is_done_once(connect, strict, fault):
    """The client repeats after a 503 by itself; a cut connection it reports, and the caller repeats."""
    dev(strict, "POST", "/faults", {"route": "POST /workspaces", "when": "after", "times": 2} | fault)
    client = connect(api_key="msk_u_dev", base_url=strict.url)
    inner = client._inner if isinstance(client, Blocking) else client

    def create():
        request = inner._transport.request(
            "POST", "/workspaces", json_body={"name": "Once"}, headers={"Idempotency-Key": "once"}
        )
        return client._run(request) if isinstance(client, Blocking) else request

    if "drop" in fault:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
                create()
    reply = create()
    with strict.http("msk_u_dev") as http:
        rows = [row for row in http.get("/workspaces").json()["data"] if row["name"] == "Once"]
    assert [row["id"] for row in rows] == [reply["id"]]
    [rule] = dev(strict, "GET", "/faults")["data"]
    assert rule["fired"] == 2, "the client did meet it"


def test_without_dev_strict_holds_and_there_is_no_emulator(tmp_path):
    with Server(tmp_path, WORKSPACED_STRICT="1") as server, server.http(server.first_key) as http:
        assert http.post("/workspaces", json={"name": "One", "colour": "red"}).status_code == 422
        for path in ("/_dev/faults", "/_dev/compat"):
            assert httpx.get(server.url + path, headers=dict(http.headers)).status_code == 404
        assert http.get("/system").json()["faults"] is None
        assert "_dev" not in httpx.get(f"{server.url}/openapi.json").text
