"""Published clients of other versions than the one that the other tests use, unmodified.

Each is installed without its dependencies into a directory of its own below `target`, once, and shares those
of the tests. All are given the address that the first start prints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from test_mcp import anyio_backend, id_in, tools  # noqa: F401
from workspaced import ROOT, environment

#: Every second major form of the client; up to 2.19.0 it appends paths to the address as it is.
CLIENTS = ["0.4.0", "1.4.0", "2.0.0", "2.19.0", "2.19.2"]
#: The tool server, with the client that an installer takes for it today: the newest. From 0.3 on it takes
#: `/api/v1` off its address for the calls of the client, which only 2.19.1 and later put back.
SERVERS = ["0.2.7", "0.3.3", "0.4.3", "0.5.0"]

CALLS = """
import json
from miosa import Miosa
from miosa.resources.workspaces import Workspaces

client = Miosa()
workspaces = Workspaces(client._transport)
workspace = workspaces.create(name="Dr. Smith Clinic")
computer = client.computers.create("desk", workspace_id=workspace.id)
print(json.dumps({
    "workspace": workspace.id,
    "computer": computer.id,
    "workspaces": [row.id for row in workspaces.list()],
    "computers": [row.id for row in client.computers.list(workspace_id=workspace.id)],
    "usage": workspaces.get_usage(workspace.id)["workspace_id"],
    "balance": client.get_balance().balance,
}))
"""


def path_to(*packages: str) -> str:
    """A PYTHONPATH with these packages, and nothing that they bring along."""
    places = []
    for package in packages:
        place = ROOT / "target" / "published" / package.replace("==", "-")
        if not place.exists():
            new = place.with_suffix(f".{os.getpid()}")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
            done = subprocess.run(
                [*pip, "--no-deps", "--target", new, package], capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, f"{package} was not installed: {done.stderr}"
            new.rename(place)
        places.append(str(place))
    return os.pathsep.join(places)


def call(version: str, address: str, key: str) -> subprocess.CompletedProcess[str]:
    env = environment(
        PYTHONPATH=path_to(f"miosa=={version}"), PYTHONDONTWRITEBYTECODE="1", MIOSA_BASE_URL=address, MIOSA_API_KEY=key
    )
    # Its own `__version__` is not always the one that it was published under.
    check = f"import miosa; assert '/miosa-{version}/' in miosa.__file__, miosa.__file__\n"
    command = [sys.executable, "-c", check + CALLS]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def right(done: subprocess.CompletedProcess[str], api) -> None:
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert api.get(f"/computers/{seen['computer']}").json()["workspace_id"] == seen["workspace"]
    assert seen["usage"] == seen["workspace"]
    assert seen["computers"] == [seen["computer"]]
    assert seen["workspaces"] == [row["id"] for row in api.get("/workspaces").json()["data"]]
    assert seen["balance"] == api.get("/credits/balance").json()["balance"]


@pytest.mark.parametrize("version", CLIENTS)
def test_a_client_works_with_the_address_that_is_printed(version, server, organization, api):
    right(call(version, f"{server.url}/api/v1", organization.key), api)


def test_the_newest_client_works_with_the_bare_address_too(server, organization, api):
    right(call(CLIENTS[-1], server.url, organization.key), api)


def test_an_older_client_with_the_bare_address_is_told_the_right_one(server, organization):
    done = call("2.19.0", server.url, organization.key)
    assert done.returncode != 0
    assert "this is /api/v1/workspaces;" in done.stderr, done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("version", SERVERS)
async def test_a_tool_server_works(version, server, organization, api):
    path = path_to(f"miosa-mcp=={version}", f"miosa=={CLIENTS[-1]}")
    async with tools(f"{server.url}/api/v1", organization.key, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1") as call:
        workspace = id_in(await call("workspace_create", name="From a tool"))
        assert workspace in await call("workspace_list")
        computer = id_in(await call("computer_create", name="box"))
        assert computer in await call("computer_list")
        assert api.get(f"/computers/{computer}").json()["name"] == "box"
        usage = await call("workspace_usage", workspace_id=workspace, period="2026-05")
        assert "'window_start': '2026-05-01T00:00:00.000Z'" in usage
        assert "'window_end': '2026-06-01T00:00:00.000Z'" in usage
