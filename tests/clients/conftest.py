"""One service for all tests, an organization of its own for each.

The official client comes in two forms. Tests that take `client` run with both: the asynchronous
one is driven through `Blocking`, which runs each call to its end, so that a test is written once.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
from dataclasses import dataclass

import httpx
import pytest
from miosa import AsyncMiosa, Miosa
from miosa.resources.workspaces import AsyncWorkspaces, Workspaces

from workspaced import BINARY, FAST, Server, eventually

for name in [name for name in os.environ if name.startswith("MIOSA_")]:
    del os.environ[name]


def pytest_report_header() -> str:
    return f"binary: {BINARY}"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("service")
    config = home / "workspaced.toml"
    config.write_text('templates = ["miosa-desktop", "miosa-headless"]\n')
    # Nothing answers on the discard port of this machine, so that no check leaves it.
    flags = ("--dev", "--config", config, "--dns-resolver", "127.0.0.1:9", *FAST)
    with Server(home, *flags) as server:
        yield server


@pytest.fixture(scope="session")
def operator(server):
    """Plain HTTP as the operator of the installation."""
    with server.http("msk_u_dev") as http:
        yield http


@dataclass
class Organization:
    id: str
    slug: str
    key: str
    default_workspace_id: str


_numbers = itertools.count(1)


@pytest.fixture
def new_organization(operator):
    """Makes an organization with its first key, as an operator does."""

    def make(**fields) -> Organization:
        n = next(_numbers)
        body = {"name": f"Organization {n}", "slug": f"org-{n}"} | fields
        reply = operator.post("/platform/tenants", json=body)
        assert reply.status_code == 201, reply.text
        body = reply.json()
        return Organization(body["id"], body["slug"], body["api_key"]["key"], body["default_workspace_id"])

    return make


@pytest.fixture
def organization(new_organization):
    """The organization of this test."""
    return new_organization()


@pytest.fixture
def stranger(server, new_organization):
    """Plain HTTP with a key of another organization."""
    with server.http(new_organization().key) as http:
        yield http


@pytest.fixture
def api(server, organization):
    """Plain HTTP with a key of this test's organization."""
    with server.http(organization.key) as http:
        yield http


class Blocking:
    """An asynchronous client, or something that it returned, called like the synchronous one."""

    def __init__(self, inner, run):
        self._inner, self._run = inner, run

    def __getattr__(self, name):
        return self._wrap(getattr(self._inner, name))

    def __call__(self, *args, **kwargs):
        result = self._inner(*args, **kwargs)
        return self._wrap(self._run(result) if inspect.isawaitable(result) else result)

    def _wrap(self, value):
        if isinstance(value, list):
            return [self._wrap(item) for item in value]
        if callable(value) or type(value).__module__.startswith(("miosa.resources", "miosa._http")):
            return Blocking(value, self._run)
        return value


@pytest.fixture(params=["sync", "async"])
def connect(request):
    """Makes official clients of one form; they are closed at the end."""
    if request.param == "sync":
        made = []

        def make(**options):
            made.append(Miosa(**options))
            return made[-1]

        yield make
        for client in made:
            client.close()
    else:
        loop = asyncio.new_event_loop()
        made = []

        def make(**options):
            made.append(AsyncMiosa(**options))
            return Blocking(made[-1], loop.run_until_complete)

        yield make
        for client in made:
            loop.run_until_complete(client.close())
        loop.close()


@pytest.fixture
def client(connect, server, organization):
    """The official client with a key of this test's organization."""
    return connect(api_key=organization.key, base_url=server.url)


@pytest.fixture
def full_workspaces(client):
    """The client's class with slug, settings, stats and usage; its `workspaces` has another."""
    if isinstance(client, Blocking):
        return Blocking(AsyncWorkspaces(client._inner._transport), client._run)
    return Workspaces(client._transport)


@pytest.fixture
def requests_seen(client):
    """The requests that the client really sends, in order."""
    inner = client._inner if isinstance(client, Blocking) else client
    transport = inner._transport._client
    seen: list[httpx.Request] = []

    if isinstance(client, Blocking):

        async def note(request):
            seen.append(request)
    else:

        def note(request):
            seen.append(request)

    transport.event_hooks = {"request": [note]}
    return seen


@pytest.fixture
def status_of(api):
    """Waits until a computer has a status."""

    def wait(computer_id: str, status: str) -> dict:
        def look():
            computer = api.get(f"/computers/{computer_id}").json()
            return computer if computer["status"] == status else None

        return eventually(look, f"computer {computer_id} to be {status}")

    return wait
