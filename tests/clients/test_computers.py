"""Computers through the official client: their life, their size, their place."""

import pytest
from miosa.errors import NotFoundError, ValidationError


def test_a_computer_is_created_provisions_and_runs(client, organization, requests_seen):
    computer = client.computers.create("front-desk", metadata={"floor": 2})
    assert (computer.name, computer.slug, computer.status) == ("front-desk", "front-desk", "provisioning")
    # What the client sends unasked: a default size of a workspace never acts on it.
    assert b'"size":"small"' in requests_seen[0].content
    assert b'"template_type":"miosa-desktop"' in requests_seen[0].content

    assert computer.wait_until_ready(timeout=20, poll_interval=0.02).status == "running"
    same = client.computers.get(computer.id)
    assert (same.name, same.status) == ("front-desk", "running")
    assert same.data.metadata == {"floor": 2}
    assert [c.id for c in client.computers.list()] == [computer.id]
    assert [c.id for c in client.computers.list(workspace_id=organization.default_workspace_id)] == [computer.id]


def test_start_and_stop_may_be_said_twice(client, status_of):
    computer = client.computers.create("box")
    # One client starts a computer right after it has created it.
    assert computer.start().status == "provisioning"
    status_of(computer.id, "running")
    assert computer.start().status == "running"

    assert computer.stop().status in ("stopping", "stopped")
    assert computer.stop().status in ("stopping", "stopped")
    status_of(computer.id, "stopped")
    assert computer.stop().status == "stopped"

    assert computer.start().success is True
    status_of(computer.id, "running")
    restarted = computer.restart()
    assert (restarted.success, restarted.status) == (True, "starting")
    status_of(computer.id, "running")


def test_refresh_and_update(client):
    computer = client.computers.create("old name")
    changed = client.computers.update(computer.id, name="new name", metadata={"k": "v"})
    assert (changed.name, changed.data.metadata) == ("new name", {"k": "v"})
    assert computer.refresh().name == "new name"


def test_resize(client):
    computer = client.computers.create("box", size="small")
    computer.resize("medium")
    assert computer.data.size.value == "medium"
    assert client.computers.get(computer.id).data.size.value == "medium"
    computer.resize("xlarge")
    assert computer.data.size.value == "xl"


def test_move_takes_the_computer_to_another_workspace(client):
    source = client.workspaces.create("Source")
    target = client.workspaces.create("Target", external_workspace_id="cust_7")
    computer = client.computers.create("box", workspace_id=source.id)
    computer.move(workspace_id=target.id)
    assert client.computers.list(workspace_id=source.id) == []
    assert [c.id for c in client.computers.list(workspace_id=target.id)] == [computer.id]


def test_clone_makes_a_second_computer_like_the_first(client):
    workspace = client.workspaces.create("Clones")
    computer = client.computers.create("box", size="medium", workspace_id=workspace.id)
    copy = computer.clone()
    assert copy.id != computer.id
    assert (copy.name, copy.data.size.value) == ("box-copy", "medium")
    assert computer.clone(name="third").name == "third"
    assert len(client.computers.list(workspace_id=workspace.id)) == 3


def test_destroy_works_on_a_running_computer(client, status_of):
    computer = client.computers.create("box")
    status_of(computer.id, "running")
    gone = computer.destroy()
    assert (gone.success, gone.status) == (True, "destroyed")
    with pytest.raises(NotFoundError, match="computer not found"):
        client.computers.get(computer.id)
    assert client.computers.list() == []

    other = client.computers.create("other")
    client.computers.delete(other.id)
    assert client.computers.list() == []


def test_auto_stop_is_read_and_set_and_acts(client, status_of):
    computer = client.computers.create("box")
    assert computer.auto_stop.get()["seconds"] == 0
    set_to = computer.auto_stop.update(1)
    assert (set_to["computer_id"], set_to["seconds"], set_to["enabled"]) == (computer.id, 1, True)
    assert status_of(computer.id, "stopped")["stopped_at"]
    assert computer.auto_stop.update(0)["enabled"] is False
    with pytest.raises(ValidationError, match="seconds"):
        computer.auto_stop.update(-1)


def test_metrics_of_each_window(client):
    computer = client.computers.create("box")
    computer.wait_until_ready(timeout=20, poll_interval=0.02)
    for window in ("1h", "24h", "7d"):
        metrics = computer.metrics(window)
        assert (metrics["computer_id"], metrics["window"]) == (computer.id, window)
        assert metrics["series"]
    with pytest.raises(ValidationError, match="window"):
        computer.metrics("1y")


def test_external_ids_find_or_make_workspace_and_project(client):
    first = client.computers.create("a", external_workspace_id="cust_5", external_project_id="site_1")
    second = client.computers.create("b", external_workspace_id="cust_5", external_project_id="site_1")
    assert len(client.workspaces.list()) == 2
    made = client.workspaces.create("whatever", external_workspace_id="cust_5")
    assert made.reused is True
    assert {c.id for c in client.computers.list(workspace_id=made.id)} == {first.id, second.id}
    assert len(client.projects.list(workspace_id=made.id)) == 1


def test_sizes_outside_the_table_and_unknown_templates_are_refused(client):
    with pytest.raises(ValidationError, match="template_type"):
        client.computers.create("box", template_type="no-such-template")
    computer = client.computers.create("box")
    with pytest.raises(ValidationError, match="size"):
        computer.resize("huge")
