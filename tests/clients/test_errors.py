"""Each refusal reaches the caller of the official client as the right class, with its parts."""

import uuid

import pytest
from miosa.errors import (
    AuthenticationError,
    MiosaError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionError,
    ServerError,
    ValidationError,
)

UNKNOWN = str(uuid.UUID(int=7))


def test_400_a_malformed_id(client):
    with pytest.raises(ValidationError) as refused:
        client.workspaces.get("not-a-uuid")
    assert (refused.value.status_code, refused.value.code) == (400, "INVALID_ID")


@pytest.mark.parametrize("key", ["msk_u_unknown", "nonsense"])
def test_401_an_unknown_key(connect, server, key):
    with pytest.raises(AuthenticationError) as refused:
        connect(api_key=key, base_url=server.url).workspaces.list()
    assert (refused.value.status_code, refused.value.code) == (401, "invalid_token")
    assert refused.value.request_id.startswith("req_")


def test_403_the_workspace_of_somebody_else(client, stranger):
    theirs = stranger.get("/workspaces").json()["data"][0]["id"]
    for call in (client.workspaces.get, client.workspaces.delete):
        with pytest.raises(PermissionError, match="^forbidden$") as refused:
            call(theirs)
        assert (refused.value.status_code, refused.value.code) == (403, "FORBIDDEN")
    with pytest.raises(PermissionError, match="^forbidden$"):
        client.computers.create("box", workspace_id=theirs)


def test_404_an_unknown_id(client):
    for get, what in ((client.workspaces.get, "workspace"), (client.computers.get, "computer"),
                      (client.projects.get, "project")):
        with pytest.raises(NotFoundError, match=f"^{what} not found$") as refused:
            get(UNKNOWN)
        assert (refused.value.status_code, refused.value.code) == (404, "NOT_FOUND")


def test_404_a_feature_of_the_hosted_platform_says_so(client):
    computer = client.computers.create("box")
    for call in (computer.vnc_credentials, computer.list_volumes, lambda: client.databases.create(name="db")):
        with pytest.raises(NotFoundError, match="not part of this server"):
            call()


def test_409_the_default_workspace_cannot_be_deleted(client, organization):
    with pytest.raises(MiosaError) as refused:
        client.workspaces.delete(organization.default_workspace_id)
    assert type(refused.value) is MiosaError
    assert (refused.value.status_code, refused.value.code) == (409, "WORKSPACE_IS_DEFAULT")


def test_413_a_body_over_one_mebibyte(client, requests_seen):
    with pytest.raises((PayloadTooLargeError, MiosaError)) as refused:
        client.workspaces.create("Big", metadata={"text": "x" * (1 << 20)})
    assert (refused.value.status_code, refused.value.code) == (413, "PAYLOAD_TOO_LARGE")
    assert len(client.workspaces.list()) == 1


def test_422_validation_names_the_field(client):
    for name, text in (("", "can't be blank"), ("x" * 121, "should be at most 120 character(s)")):
        with pytest.raises(ValidationError) as refused:
            client.workspaces.create(name)
        assert (refused.value.status_code, refused.value.code) == (422, "VALIDATION_FAILED")
        assert refused.value.details == {"name": [text]}
        assert refused.value.body["errors"] == {"name": [text]}
        assert refused.value.body["request_id"] == refused.value.request_id
    assert len(client.workspaces.create("x" * 120).name) == 120


def test_422_a_limit_is_a_validation_error_and_is_not_tried_again(client, full_workspaces, requests_seen):
    workspace = client.workspaces.create("Small")
    full_workspaces.update_settings(workspace.id, {"max_computers": 1})
    client.computers.create("one", workspace_id=workspace.id)
    requests_seen.clear()
    with pytest.raises(ValidationError) as refused:
        client.computers.create("two", workspace_id=workspace.id)
    assert len(requests_seen) == 1
    assert (refused.value.status_code, refused.value.code) == (422, "LIMIT_EXCEEDED")
    assert refused.value.retryable is False
    details = refused.value.details
    assert (details["limit"], details["scope"]) == ("max_computers", "workspace")
    assert (details["max"], details["current"]) == (1, 1)


def test_422_sizes_and_templates_outside_the_caps(client, full_workspaces):
    workspace = client.workspaces.create("Small")
    full_workspaces.update_settings(
        workspace.id, {"max_computer_size": "small", "allowed_template_types": ["miosa-headless"]}
    )
    for call, field in (
        (lambda: client.computers.create("box", workspace_id=workspace.id, size="large"), "size"),
        (lambda: client.computers.create("box", workspace_id=workspace.id), "template_type"),
    ):
        with pytest.raises(ValidationError) as refused:
            call()
        assert refused.value.code == "VALIDATION_FAILED"
        assert field in refused.value.details


def test_nobody_meets_a_server_error(server):
    """What the tests of this folder did so far has not failed inside the service."""
    assert ServerError is not None
    assert '"request failed"' not in server.log and "ERROR" not in server.log
