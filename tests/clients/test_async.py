"""What only the asynchronous client can do: many calls at once, and blocks that clean up."""

import asyncio

import anyio
import pytest
from miosa import AsyncMiosa
from miosa.errors import NotFoundError, ValidationError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def client(server, organization):
    async with AsyncMiosa(api_key=organization.key, base_url=server.url) as client:
        yield client


async def test_many_creates_at_once_stay_below_the_cap(client, api):
    workspace = await client.workspaces.create("One computer")
    api.put(f"/workspaces/{workspace.id}/settings", json={"max_computers": 1})
    outcomes = await asyncio.gather(
        *(client.computers.create(f"box-{n}", workspace_id=workspace.id) for n in range(64)),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(refused) == 63
    assert all(isinstance(e, ValidationError) and e.code == "LIMIT_EXCEEDED" for e in refused)
    assert len(await client.computers.list(workspace_id=workspace.id)) == 1
    assert (api.get(f"/workspaces/{workspace.id}").json())["computer_count"] == 1


async def test_the_same_external_id_at_once_makes_one_workspace(client):
    made = await asyncio.gather(
        *(client.workspaces.create(f"Clinic {n}", external_workspace_id="cust_1") for n in range(16))
    )
    assert len({workspace.id for workspace in made}) == 1
    assert sum(workspace.reused is None for workspace in made) == 1


async def test_a_block_destroys_its_computer(client):
    async with await client.computers.create("short-lived") as computer:
        assert (await computer.wait_until_ready(timeout=20, poll_interval=0.02)).status == "running"
    with pytest.raises(NotFoundError):
        await client.computers.get(computer.id)


async def test_events_arrive_as_they_happen(client):
    seen: asyncio.Queue[dict] = asyncio.Queue()

    async def listen() -> None:
        async for event in client.events.stream(types=["workspace.created", "computer.*"]):
            seen.put_nowait(event)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            while seen.empty():  # until the stream is open: it begins with what happens from then on
                await client.workspaces.create("Knock", allow_duplicate_name=True)
                await asyncio.sleep(0.02)
            assert seen.get_nowait()["type"] == "workspace.created"

            computer = await client.computers.create("box")
            types = []
            while "computer.running" not in types:
                event = await seen.get()
                if event["type"].startswith("computer."):
                    assert computer.id in str(event)
                    assert {"id", "tenant_id", "ts"} <= event.keys()
                    types.append(event["type"])
            assert types == ["computer.created", "computer.running"]
            tasks.cancel_scope.cancel()
