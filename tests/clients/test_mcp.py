"""The published MCP server over its stdio protocol. Its calls arrive under a doubled prefix."""

import re
import sys
from contextlib import asynccontextmanager

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from workspaced import environment

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@asynccontextmanager
async def tools(url: str, key: str, **extra: str):
    """Calls tools by name; gives their text."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "miosa_mcp"],
        env=environment(MIOSA_BASE_URL=url, MIOSA_API_KEY=key, **extra),
    )
    async with stdio_client(command) as streams, ClientSession(*streams) as session:
        await session.initialize()

        async def call(name: str, /, **arguments) -> str:
            result = await session.call_tool(name, arguments)
            text = "\n".join(part.text for part in result.content)
            assert not result.isError, f"{name}: {text}"
            return text

        yield call


def id_in(text: str) -> str:
    return re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)[0]


async def test_workspaces_projects_and_computers(server, organization, api):
    async with tools(f"{server.url}/api/v1", organization.key) as call:
        assert organization.default_workspace_id in await call("workspace_list")
        workspace = id_in(await call("workspace_create", name="From a tool", description="made by one"))
        assert "From a tool" in await call("workspace_get", workspace_id=workspace)
        await call("workspace_update", workspace_id=workspace, name="Renamed by a tool")
        assert api.get(f"/workspaces/{workspace}").json()["name"] == "Renamed by a tool"
        assert "by_status" in await call("workspace_stats", workspace_id=workspace)

        project = id_in(await call("project_create", name="Site", workspace_id=workspace))
        assert project in await call("project_list", workspace_id=workspace)
        assert project in await call("project_get", project_id=project)

        # It starts a computer right after it created it, without waiting.
        computer = id_in(await call("computer_create", name="box", workspace_id=workspace))
        assert computer in await call("computer_list")
        assert "box" in await call("computer_get", computer_id=computer)
        assert computer in await call("computer_destroy", computer_id=computer)
        assert api.get("/computers").json() == {"data": [], "total": 0}


async def test_keys_organization_and_regions(server, organization, api):
    async with tools(server.url, organization.key) as call:
        assert organization.slug in await call("organization_list")
        assert organization.id in await call("organization_current")
        assert "local" in await call("region_list")
        made = await call("api_key_create", name="from a tool", scopes=["workspaces:read"])
        secret = re.search(r"msk_u_\w+", made)[0]
        with server.http(secret) as limited:
            assert limited.get("/workspaces").status_code == 200
        assert "from a tool" in await call("api_key_list")
        await call("api_key_delete", key_id=id_in(made))
        with server.http(secret) as revoked:
            assert revoked.get("/workspaces").status_code == 401


async def test_webhooks(server, organization, api):
    async with tools(server.url, organization.key) as call:
        # Nobody listens there.
        made = await call("webhook_create", url="http://127.0.0.1:1024/", events=["computer.started"])
        hook = id_in(made)
        assert hook in await call("webhook_list")
        assert "status=failed" in await call("webhook_test", webhook_id=hook)
        await call("webhook_delete", webhook_id=hook)
        assert api.get("/webhooks").json()["total"] == 0


async def test_usage(server, organization):
    async with tools(server.url, organization.key) as call:
        usage = await call("workspace_usage", workspace_id=organization.default_workspace_id, period="2026-05")
        assert "total_credits_used" in usage


async def test_a_tool_without_the_scope_is_denied_before_it_acts(server, organization, api):
    made = api.post("/api-keys", json={"name": "reader", "scopes": ["workspaces:read"]}).json()
    async with tools(server.url, made["data"]["key"]) as call:
        await call("workspace_list")
        with pytest.raises(AssertionError, match="denied this action"):
            await call("workspace_create", name="Not allowed")
    assert api.get("/workspaces").json()["total"] == 1
