"""Workspaces through the official client: `client.workspaces` and the full `Workspaces` class."""

import pytest
from miosa.errors import MiosaError, NotFoundError, ValidationError, WorkspaceNameExistsError


def test_create_get_update_list_delete(client):
    made = client.workspaces.create(
        "Harbor Dental", description="A clinic", metadata={"tier": "gold", "seats": 4}
    )
    assert (made.name, made.slug, made.description) == ("Harbor Dental", "harbor-dental", "A clinic")
    assert made.metadata == {"tier": "gold", "seats": 4}
    assert made.reused is None
    assert client.workspaces.get(made.id) == made

    changed = client.workspaces.update(made.id, name="Harbor Dental West", description=None)
    assert (changed.name, changed.slug, changed.description) == ("Harbor Dental West", "harbor-dental", None)
    assert changed.metadata == made.metadata
    assert changed.updated_at >= made.updated_at

    assert [w.name for w in client.workspaces.list()] == ["default", "Harbor Dental West"]
    client.workspaces.delete(made.id)
    assert [w.name for w in client.workspaces.list()] == ["default"]
    with pytest.raises(NotFoundError, match="workspace not found"):
        client.workspaces.get(made.id)


def test_a_known_external_id_is_reused(client):
    first = client.workspaces.create("Acme", external_workspace_id="cust_1")
    again = client.workspaces.create("Another name", external_workspace_id="cust_1")
    assert (first.reused, again.reused) == (None, True)
    assert (again.id, again.name) == (first.id, "Acme")
    assert len(client.workspaces.list()) == 2


def test_a_taken_name_shows_the_workspace_that_has_it(client):
    first = client.workspaces.create("Acme")
    with pytest.raises(WorkspaceNameExistsError) as refused:
        client.workspaces.create("Acme")
    assert refused.value.status_code == 422
    assert refused.value.code == "WORKSPACE_NAME_EXISTS"
    assert refused.value.body["error"]["existing"]["id"] == first.id
    assert refused.value.body["error"]["existing"]["slug"] == "acme"
    assert "has already been taken" in str(refused.value.details)

    second = client.workspaces.create("Acme", allow_duplicate_name=True)
    assert (second.name, second.slug) == ("Acme", "acme-2")


def test_workspaces_that_hold_computers_are_kept(client, full_workspaces):
    workspace = client.workspaces.create("Full")
    computer = client.computers.create("one", workspace_id=workspace.id)
    assert [c.id for c in full_workspaces.list_computers(workspace.id)] == [computer.id]
    if hasattr(client.workspaces, "list_computers"):  # the asynchronous form lacks it
        assert [c.id for c in client.workspaces.list_computers(workspace.id)] == [computer.id]
    with pytest.raises(MiosaError, match="workspace has computers") as refused:
        client.workspaces.delete(workspace.id)
    assert (refused.value.status_code, refused.value.code) == (409, "WORKSPACE_HAS_COMPUTERS")
    computer.destroy()
    client.workspaces.delete(workspace.id)


def test_the_full_class_creates_with_a_slug_and_reads_everything_back(full_workspaces):
    made = full_workspaces.create("Dr. Smith Clinic", slug="smith", external_workspace_id="clinic_123")
    assert (made.name, made.slug) == ("Dr. Smith Clinic", "smith")
    assert full_workspaces.get(made.id) == made
    assert [w.id for w in full_workspaces.list()][1:] == [made.id]
    renamed = full_workspaces.update(made.id, name="Smith", metadata={"a": 1})
    assert (renamed.name, renamed.metadata) == ("Smith", {"a": 1})
    for empty in ("list_computers", "list_projects", "list_sandboxes", "list_deployments", "list_databases"):
        assert getattr(full_workspaces, empty)(made.id) == []
    full_workspaces.delete(made.id)


def test_settings_come_back_as_a_workspace_and_show_in_the_stats(client, full_workspaces):
    made = full_workspaces.create("Limited")
    settings = {"max_computers": 3, "max_computer_size": "medium", "default_auto_stop_seconds": 600}
    reply = full_workspaces.update_settings(made.id, settings)
    assert (reply.id, reply.name) == (made.id, "Limited")

    client.computers.create("one", workspace_id=made.id, size="medium")
    stats = full_workspaces.get_stats(made.id)
    assert stats["workspace_id"] == made.id
    assert stats["computers"]["total"] == sum(stats["computers"]["by_status"].values()) == 1
    assert stats["resources"] == {"total_vcpus": 2, "total_memory_mb": 8192, "total_disk_gb": 50}
    assert settings.items() <= stats["settings"].items()


def test_projects_of_a_workspace(client, full_workspaces):
    workspace = full_workspaces.create("With projects", external_workspace_id="cust_9")
    project = client.projects.create("Lead Magnet", workspace_id=workspace.id)
    listed = full_workspaces.list_projects(workspace.id)
    assert [p["id"] for p in listed] == [project["id"]]
    assert listed[0]["external_workspace_id"] == "cust_9"


def test_a_bad_slug_says_what_is_allowed(full_workspaces):
    for slug in ("-bad", "Bad_Slug", "x" * 81):
        with pytest.raises(ValidationError, match="must start with alphanumeric and contain only a-z 0-9 -"):
            full_workspaces.create("Fine", slug=slug)
    full_workspaces.create("Fine", slug="fine")
    with pytest.raises(ValidationError, match="has already been taken"):
        full_workspaces.create("Other", slug="fine")


def test_the_list_has_exactly_two_keys(api, full_workspaces):
    """A third key would make `Workspaces.list` of the client fail."""
    for query in ("", "?page=1&page_size=10", "?limit=1&offset=0"):
        assert sorted(api.get(f"/workspaces{query}").json()) == ["data", "total"]
    assert len(full_workspaces.list()) == 1
