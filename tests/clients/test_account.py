"""API keys, organizations, who-am-I and the catalogue through the official client."""

import pytest
from miosa.errors import AuthenticationError, NotFoundError, PermissionError, ValidationError


def test_a_key_is_shown_once_and_works(client, connect, server):
    made = client.api_keys.create(name="ci", scopes=["workspaces:read", "computers:*"])
    secret = made["key"]
    assert secret.startswith("msk_u_") and secret == made["token"] == made["secret"]
    assert made["key_prefix"] == secret[:12]
    listed = {key["id"]: key for key in client.api_keys.list()}
    assert made["id"] in listed and len(listed) == 2
    assert not any(secret in str(key) for key in listed.values())
    assert listed[made["id"]]["scopes"] == ["workspaces:read", "computers:*"]
    assert client.api_keys.get(made["id"])["name"] == "ci"

    limited = connect(api_key=secret, base_url=server.url)
    assert len(limited.workspaces.list()) == 1
    with pytest.raises(PermissionError) as refused:
        limited.workspaces.create("Not allowed")
    assert refused.value.code == "insufficient_scope"
    with pytest.raises(PermissionError):
        limited.api_keys.list()


def test_rotate_replaces_the_secret_at_once(client, connect, server):
    made = client.api_keys.create(name="ci")
    old = connect(api_key=made["key"], base_url=server.url)
    old.workspaces.list()
    rotated = client.api_keys.rotate(made["id"])
    assert rotated["id"] == made["id"] and rotated["key"] != made["key"]
    with pytest.raises(AuthenticationError):
        old.workspaces.list()
    connect(api_key=rotated["key"], base_url=server.url).workspaces.list()


def test_a_revoked_key_is_refused_at_once(client, connect, server):
    made = client.api_keys.create(name="ci")
    other = connect(api_key=made["key"], base_url=server.url)
    other.workspaces.list()
    client.api_keys.delete(made["id"])
    with pytest.raises(AuthenticationError) as refused:
        other.workspaces.list()
    assert (refused.value.status_code, refused.value.code) == (401, "invalid_token")


def test_a_key_is_renamed_and_disabled(client, connect, server):
    made = client.api_keys.create(name="ci")
    assert client.api_keys.update(made["id"], name="build")["name"] == "build"
    assert client.api_keys.update(made["id"], status="disabled")["status"] == "disabled"
    with pytest.raises(AuthenticationError):
        connect(api_key=made["key"], base_url=server.url).workspaces.list()


def test_a_delegated_key_reaches_one_end_user_only(client, connect, server, api):
    mine = api.post("/computers", json={"name": "mine", "external_user_id": "alice"}).json()
    theirs = api.post("/computers", json={"name": "theirs", "external_user_id": "bob"}).json()
    made = client.api_keys.create_scoped(external_user_id="alice", scopes=["computers:read"])
    delegated = connect(api_key=made["key"], base_url=server.url)
    assert [c.id for c in delegated.computers.list()] == [mine["id"]]
    with pytest.raises(PermissionError):
        delegated.computers.get(theirs["id"])


def test_no_key_makes_a_stronger_one(client, connect, server):
    made = client.api_keys.create(name="weak", scopes=["keys:admin", "workspaces:read"])
    weak = connect(api_key=made["key"], base_url=server.url)
    for scopes in (["computers:write"], ["*"], ["workspaces:write"], []):
        with pytest.raises((PermissionError, ValidationError)):
            weak.api_keys.create(name="strong", scopes=scopes)
    assert weak.api_keys.create(name="fine", scopes=["workspaces:read"])["scopes"] == ["workspaces:read"]


def test_organizations(client, organization):
    current = client.organizations.current()
    assert (current["id"], current["slug"]) == (organization.id, organization.slug)
    assert {"id", "name", "slug", "plan", "credit_balance", "inserted_at"} <= current.keys()
    assert [o["id"] for o in client.organizations.list()] == [organization.id]
    with pytest.raises(PermissionError):
        client.organizations.switch(organization.slug)


def test_an_operator_sees_every_organization(connect, server, new_organization):
    made = {new_organization().id for _ in range(2)}
    operator = connect(api_key="msk_u_dev", base_url=server.url)
    assert made <= {o["id"] for o in operator.organizations.list()}


def test_whoami(client, organization):
    who = client.account.whoami()
    assert who["organization"]["id"] == organization.id
    assert who["workspace"]["id"] == organization.default_workspace_id
    assert {"user", "plan", "scopes"} <= who.keys()
    assert client.account.whoami(tenant=organization.slug)["organization"]["id"] == organization.id


def test_the_tenant_header_must_name_the_keys_organization(connect, server, organization, new_organization):
    connect(api_key=organization.key, base_url=server.url, tenant=organization.id).workspaces.list()
    elsewhere = connect(api_key=organization.key, base_url=server.url, tenant=new_organization().slug)
    with pytest.raises(PermissionError):
        elsewhere.workspaces.list()


def test_an_operator_acts_as_the_organization_that_the_client_is_set_up_for(connect, server, new_organization):
    there = new_organization()
    made = connect(api_key="msk_u_dev", base_url=server.url, tenant=there.slug).workspaces.create("Set up")
    assert made["tenant_id"] == there.id
    assert connect(api_key=there.key, base_url=server.url).workspaces.get(made["id"])["name"] == "Set up"


def test_sizes_regions_templates_catalog_pricing(client):
    sizes = {size["slug"]: size for size in client.regions.list_sizes()}
    assert list(sizes) == ["xs", "small", "medium", "large", "xl"]
    hardware = {name: (s["vcpus"], s["memory_mb"], s["disk_gb"]) for name, s in sizes.items()}
    assert hardware["small"] == (1, 4096, 20)
    assert hardware["medium"] == (2, 8192, 50)
    assert hardware["large"] == (4, 16384, 100)

    regions = client.regions.list_regions()
    assert regions and all(region["available"] is True for region in regions)
    assert [t["slug"] for t in client.regions.list_templates()] == ["miosa-desktop", "miosa-headless"]
    assert client.regions.get_template("miosa-desktop")["slug"] == "miosa-desktop"
    with pytest.raises(NotFoundError):
        client.regions.get_template("no-such-template")
    catalog = client.regions.catalog()
    assert catalog["products"][0]["default_template"] == "miosa-desktop"
    assert catalog["sizes"]
    assert client.regions.pricing()
    assert client.templates.list()


def test_the_preview_domain_of_the_organization(client):
    assert client.tenant.preview_domain.get()["status"] == "not_configured"
    set_to = client.tenant.preview_domain.set("acme.example")
    assert (set_to["domain"], set_to["status"]) == ("acme.example", "pending_dns")
    assert set_to["dns_instructions"]["type"] == "CNAME"
    client.tenant.preview_domain.delete()
    assert client.tenant.preview_domain.get()["preview_domain"] is None


def test_the_audit_log_says_who_changed_what(client):
    workspace = client.workspaces.create("Audited")
    client.workspaces.update(workspace.id, name="Renamed")
    rows = client.audit_log.list(resource_id=workspace.id)
    assert [row["type"] for row in rows] == ["workspace.updated", "workspace.created"]
    assert all(row["actor_id"] and row["resource_id"] == workspace.id for row in rows)
    assert len(client.audit_log.list(limit=1)) == 1
