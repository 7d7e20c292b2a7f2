"""Projects through the official client."""

import pytest
from miosa.errors import MiosaError, NotFoundError, ValidationError


def test_create_get_update_list_delete(client, organization):
    workspace = client.workspaces.create("Home")
    made = client.projects.create(
        "Lead Magnet", workspace_id=workspace.id, description="Landing page", metadata={"a": 1}
    )
    assert (made["name"], made["slug"], made["workspace_id"]) == ("Lead Magnet", "lead-magnet", workspace.id)
    assert client.projects.get(made["id"]) == made
    assert client.projects.list(workspace_id=workspace.id) == [made]
    assert client.projects.list(workspace_id=organization.default_workspace_id) == []

    changed = client.projects.update(made["id"], name="Magnet", slug="magnet")
    assert (changed["name"], changed["slug"], changed["description"]) == ("Magnet", "magnet", "Landing page")
    client.projects.delete(made["id"])
    with pytest.raises(NotFoundError, match="project not found"):
        client.projects.get(made["id"])


def test_a_project_names_its_workspace_by_slug(client):
    workspace = client.workspaces.create("Home")
    made = client.projects.create("Site", workspace_slug="home", slug="my-site")
    assert (made["workspace_id"], made["slug"]) == (workspace.id, "my-site")


def test_a_project_needs_a_workspace(client):
    with pytest.raises(ValidationError) as refused:
        client.projects.create("Site")
    assert refused.value.status_code == 422


def test_a_slug_is_unique_inside_its_workspace(client):
    one, two = (client.workspaces.create(name) for name in ("One", "Two"))
    client.projects.create("Site", workspace_id=one.id)
    with pytest.raises(ValidationError, match="has already been taken"):
        client.projects.create("Site", workspace_id=one.id)
    client.projects.create("Site", workspace_id=two.id)


def test_move_takes_the_computers_along(client, api):
    source, target = (client.workspaces.create(name) for name in ("Source", "Target"))
    computer = api.post("/computers", json={"name": "box", "workspace_id": source.id, "project_slug": "site"}).json()
    moved = client.projects.move(computer["project_id"], target.id)
    assert moved["workspace_id"] == target.id
    assert [c.id for c in client.computers.list(workspace_id=target.id)] == [computer["id"]]
    assert client.computers.list(workspace_id=source.id) == []


def test_projects_that_hold_computers_are_kept(client, api):
    workspace = client.workspaces.create("Home")
    computer = api.post("/computers", json={"name": "box", "workspace_id": workspace.id, "project_slug": "site"}).json()
    with pytest.raises(MiosaError, match="project has computers") as refused:
        client.projects.delete(computer["project_id"])
    assert refused.value.status_code == 409
