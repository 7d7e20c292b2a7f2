"""The API page over the socket: its Quick Start and examples as they stand, then every promise.

The curl commands below are those of the page. They are read here as curl reads them, with the
host, the key and the ids filled in.
"""

import re
import shlex
import uuid
from datetime import datetime

import pytest

from workspaced import eventually

WORKSPACE_KEYS = [
    "id", "tenant_id", "name", "slug", "external_workspace_id", "description", "metadata",
    "is_default", "computer_count", "created_at", "updated_at",
]  # fmt: skip
PROJECT_KEYS = {
    "id", "tenant_id", "workspace_id", "external_workspace_id", "external_project_id", "name",
    "slug", "description", "metadata", "created_at", "updated_at",
}  # fmt: skip
TAKEN = "has already been taken"
FORMAT = "must start with alphanumeric and contain only a-z 0-9 -"
UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
def curl(server, organization, api):
    """Runs a command of the page; words in `fill` replace its placeholders."""

    def run(command: str, **fill: str):
        for placeholder, value in fill.items():
            command = command.replace(placeholder, value).replace("{" + value + "}", value)
        command = command.replace("$MIOSA_API_KEY", organization.key)
        words = iter(shlex.split(command.replace("https://api.miosa.ai", server.url)))
        assert next(words) == "curl"
        method, url, headers, body = None, None, {}, None
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(words)
            else:
                url = word
        return api.request(method or ("POST" if body else "GET"), url, headers=headers, content=body)

    return run


@pytest.fixture
def workspace(api):
    """A workspace of this test."""
    reply = api.post("/workspaces", json={"name": "Harbor Dental", "external_workspace_id": "cust_88"})
    assert reply.status_code == 201, reply.text
    return reply.json()


def refused(reply, status: int, code: str, message: str | None = None) -> dict:
    """The one error body, whole."""
    body = reply.json()
    error = body["error"]
    assert (reply.status_code, error["code"]) == (status, code), reply.text
    assert reply.headers["content-type"] == "application/json"
    assert (body["code"], body["message"]) == (code, error["message"])
    assert body["request_id"] == error["request_id"] == reply.headers["x-request-id"]
    assert isinstance(error["details"], dict)
    if message is not None:
        assert message == error["message"] or message in str(error["details"])
    return error


def ok(reply, status: int = 200) -> dict:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    return reply.json()


# --- the page's examples ---------------------------------------------------------------------


def test_quick_start_in_curl(curl):
    made = ok(
        curl(
            """curl -X POST https://api.miosa.ai/api/v1/workspaces
            -H "Authorization: Bearer $MIOSA_API_KEY"
            -H "Content-Type: application/json"
            -d '{"name": "Dr. Smith Clinic", "slug": "dr-smith-clinic", "external_workspace_id": "clinic_123"}'"""
        ),
        201,
    )
    assert (made["slug"], made["external_workspace_id"]) == ("dr-smith-clinic", "clinic_123")


def test_quick_start_in_javascript(api):
    """What its calls put on the wire: camelCase fields."""
    workspace = ok(
        api.post(
            "/workspaces",
            json={"name": "Dr. Smith Clinic", "slug": "dr-smith-clinic", "externalWorkspaceId": "clinic_123"},
        ),
        201,
    )
    assert workspace["external_workspace_id"] == "clinic_123"
    computer = ok(
        api.post(
            "/computers",
            json={
                "name": "clinic-builder",
                "templateType": "miosa-desktop",
                "workspaceId": workspace["id"],
                "projectSlug": "lead-magnet",
                "projectName": "Lead Magnet",
            },
        ),
        201,
    )
    assert (computer["workspace_id"], computer["template_type"]) == (workspace["id"], "miosa-desktop")
    listed = ok(api.get(f"/workspaces/{workspace['id']}/computers"))
    assert [c["id"] for c in listed["data"]] == [computer["id"]]
    [project] = ok(api.get(f"/workspaces/{workspace['id']}/projects"))["data"]
    assert (project["slug"], project["name"]) == ("lead-magnet", "Lead Magnet")
    assert (project["external_workspace_id"], project["id"]) == ("clinic_123", computer["project_id"])


def test_every_other_command_of_the_page(curl, api):
    key = '-H "Authorization: Bearer $MIOSA_API_KEY"'
    json = f'{key} -H "Content-Type: application/json"'
    base = "https://api.miosa.ai/api/v1"
    made = ok(
        curl(
            f"""curl -X POST {base}/workspaces {json} -d '{{
            "name": "Dr. Smith Clinic",
            "slug": "dr-smith-clinic",
            "external_workspace_id": "clinic_123",
            "description": "Client workspace for Dr. Smith Clinic"
            }}'"""
        ),
        201,
    )
    assert made["description"] == "Client workspace for Dr. Smith Clinic"
    at = {"{id}": made["id"]}
    assert ok(curl(f"curl {base}/workspaces {key}"))["total"] == 2
    assert ok(curl(f"curl {base}/workspaces/{{id}} {key}", **at)) == made

    changed = ok(curl(f"curl -X PATCH {base}/workspaces/{{id}} {json} -d '{{\"name\": \"production-us-east\"}}'", **at))
    assert (changed["name"], changed["slug"]) == ("production-us-east", "dr-smith-clinic")

    settings = ok(
        curl(
            f"""curl -X PUT {base}/workspaces/{{id}}/settings {json} -d '{{
            "max_computers": 10,
            "max_computer_size": "large",
            "default_auto_stop_seconds": 3600
            }}'""",
            **at,
        )
    )
    assert settings["settings"] == {
        "max_computers": 10,
        "max_computer_size": "large",
        "default_computer_size": "small",
        "default_auto_stop_seconds": 3600,
        "allowed_template_types": [],
    }

    domain = ok(
        curl(f"curl -X PUT {base}/workspaces/{{id}}/preview-domain {json} -d '{{\"preview_domain\":\"drsmithclinic.example\"}}'", **at)
    )
    assert domain["preview_domain"] == "drsmithclinic.example"
    assert ok(curl(f"curl {base}/workspaces/{{id}}/preview-domain/verify {key}", **at))["scope"] == "workspace"
    assert ok(curl(f"curl -X DELETE {base}/workspaces/{{id}}/preview-domain {key}", **at))["preview_domain"] is None

    for path in ("computers", "projects"):
        assert ok(curl(f"curl {base}/workspaces/{{id}}/{path} {key}", **at)) == {"data": [], "total": 0}
    assert ok(curl(f"curl {base}/workspaces/{{id}}/stats {key}", **at))["workspace_id"] == made["id"]
    usage = ok(curl(f'curl "{base}/workspaces/{{id}}/usage?window=7d&granularity=day" {key}', **at))
    assert (usage["window"], usage["granularity"]) == ("7d", "day")

    computer = ok(api.post("/computers", json={"name": "runner-1"}), 201)
    move = f"curl -X POST {base}/computers/{{computer_id}}/move {json} -d '{{\"workspace_id\": \"target-workspace-id\"}}'"
    moved = ok(curl(move, **{"{computer_id}": computer["id"], "target-workspace-id": made["id"]}))
    assert moved["workspace_id"] == made["id"]
    ok(api.delete(f"/computers/{computer['id']}"))
    assert ok(curl(f"curl -X DELETE {base}/workspaces/{{id}} {key}", **at)) == {"deleted": True}


# --- its promises, one test each -------------------------------------------------------------


def test_create_answers_the_whole_workspace(api, organization):
    made = ok(
        api.post(
            "/workspaces",
            json={"name": "Dr. Smith Clinic", "slug": "dr-smith-clinic", "external_workspace_id": "clinic_123"},
        ),
        201,
    )
    assert list(made) == WORKSPACE_KEYS
    assert str(uuid.UUID(made["id"])) == made["id"]
    for time in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made[time])
    assert {k: made[k] for k in WORKSPACE_KEYS[1:9]} == {
        "tenant_id": organization.id,
        "name": "Dr. Smith Clinic",
        "slug": "dr-smith-clinic",
        "external_workspace_id": "clinic_123",
        "description": None,
        "metadata": {},
        "is_default": False,
        "computer_count": 0,
    }


def test_the_list_holds_the_default_workspace_and_the_new_one(api, workspace, organization):
    listed = ok(api.get("/workspaces"))
    assert list(listed) == ["data", "total"] and listed["total"] == 2
    default, other = listed["data"]
    assert (default["id"], default["name"], default["slug"], default["is_default"]) == (
        organization.default_workspace_id, "default", "default", True,
    )  # fmt: skip
    assert other == workspace
    assert list(default) == WORKSPACE_KEYS


def test_a_slug_is_derived_from_the_name(api):
    for name, slug in (
        ("Dr. Smith Clinic", "dr-smith-clinic"),
        ("  Café  Zürich — West!  ", "cafe-zurich-west"),
        ("東京", "dong-jing"),
    ):
        assert ok(api.post("/workspaces", json={"name": name}), 201)["slug"] == slug
    # Another name with the same slug gets one of its own; the same name is refused.
    assert ok(api.post("/workspaces", json={"name": "dr smith clinic"}), 201)["slug"] == "dr-smith-clinic-2"
    again = api.post("/workspaces", json={"name": "Dr. Smith Clinic"})
    assert again.status_code == 422, again.text
    assert again.json()["error"]["details"] == {"slug": [TAKEN]}


def test_slugs_are_unique_and_well_formed(api, workspace):
    error = refused(
        api.post("/workspaces", json={"name": "Other", "slug": "harbor-dental"}), 422, "VALIDATION_FAILED", TAKEN
    )
    assert error["details"] == {"slug": [TAKEN]} and error["message"] == f"slug {TAKEN}"
    for slug in ("-bad", "Bad_Slug", "x" * 81, "", "ümlaut", "a b"):
        reply = api.post("/workspaces", json={"name": "Other", "slug": slug})
        error = refused(reply, 422, "VALIDATION_FAILED", FORMAT)
        assert error["details"] == {"slug": [FORMAT]}
    for slug in ("x" * 80, "0", "a-"):
        assert ok(api.post("/workspaces", json={"name": "Other", "slug": slug}), 201)["slug"] == slug
    assert ok(api.get("/workspaces"))["total"] == 5


def test_a_name_has_1_to_120_characters(api):
    for body in ({"name": ""}, {"name": "   "}, {"name": "x" * 121}, {}, {"name": None}, {"name": 5}, {"name": ["x"]}):
        error = refused(api.post("/workspaces", json=body), 422, "VALIDATION_FAILED")
        assert list(error["details"]) == ["name"], body
    assert ok(api.post("/workspaces", json={"name": "é" * 120}), 201)["name"] == "é" * 120
    assert ok(api.get("/workspaces"))["total"] == 2


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("PUT", "/settings", {"max_computers": 1}),
        ("GET", "/stats", None),
        ("GET", "/usage", None),
        ("GET", "/computers", None),
        ("GET", "/projects", None),
        ("GET", "/preview-domain", None),
        ("PUT", "/preview-domain", {"preview_domain": "a.example"}),
        ("DELETE", "/preview-domain", None),
        ("GET", "/preview-domain/verify", None),
    ],
)
def test_foreign_is_403_and_unknown_is_404(api, stranger, method, path, body):
    theirs = ok(stranger.get("/workspaces"))["data"][0]
    send = {"json": body} if body else {}
    refused(api.request(method, f"/workspaces/{theirs['id']}{path}", **send), 403, "FORBIDDEN", "forbidden")
    unknown = api.request(method, f"/workspaces/{UNKNOWN}{path}", **send)
    refused(unknown, 404, "NOT_FOUND", "workspace not found")
    assert ok(stranger.get(f"/workspaces/{theirs['id']}")) == theirs


def test_patch_changes_what_it_names(api, workspace):
    path = f"/workspaces/{workspace['id']}"
    first = ok(api.patch(path, json={"description": "About", "metadata": {"a": 1, "b": [2]}}))
    assert (first["description"], first["metadata"]) == ("About", {"a": 1, "b": [2]})
    second = ok(api.patch(path, json={"metadata": {"c": {}}}))
    assert (second["description"], second["metadata"]) == ("About", {"c": {}})
    third = ok(api.patch(path, json={"description": None, "name": "New", "slug": "new-slug"}))
    assert (third["description"], third["name"], third["slug"]) == (None, "New", "new-slug")
    assert third["external_workspace_id"] == "cust_88"
    assert ok(api.patch(path, json={})) == third

    ok(api.post("/workspaces", json={"name": "Other", "external_workspace_id": "cust_89"}), 201)
    refused(api.patch(path, json={"slug": "other"}), 422, "VALIDATION_FAILED", TAKEN)
    refused(api.patch(path, json={"external_workspace_id": "cust_89"}), 422, "VALIDATION_FAILED", TAKEN)
    refused(api.patch(path, json={"slug": "Bad_Slug"}), 422, "VALIDATION_FAILED", FORMAT)
    assert ok(api.get(path)) == third
    assert ok(api.patch(path, json={"external_workspace_id": None}))["external_workspace_id"] is None


def test_settings(api, workspace):
    path = f"/workspaces/{workspace['id']}/settings"
    given = {
        "max_computers": 10,
        "max_computer_size": "large",
        "default_computer_size": "medium",
        "default_auto_stop_seconds": 3600,
        "allowed_template_types": ["miosa-desktop"],
    }
    reply = ok(api.put(path, json=given))
    assert (reply["workspace_id"], reply["settings"]) == (workspace["id"], given)
    assert datetime.fromisoformat(reply["updated_at"]).tzinfo is not None
    for bad in (
        {"max_computer_size": "huge"},
        {"max_computer_size": "xl"},
        {"default_computer_size": "huge"},
        {"max_computers": -1},
        {"max_computers": "10"},
        {"max_computers": 1.5},
        {"default_auto_stop_seconds": -1},
        {"default_auto_stop_seconds": 2_592_001},
        {"allowed_template_types": "miosa-desktop"},
        {"allowed_template_types": [1]},
        {"max_computer_size": "small", "default_computer_size": "large"},
    ):
        refused(api.put(path, json=bad), 422, "VALIDATION_FAILED")
    assert ok(api.get(path))["settings"] == given
    assert ok(api.put(path, json={"max_computers": None}))["settings"] == given | {"max_computers": None}


def test_caps_bite(api, workspace):
    at, settings = {"workspace_id": workspace["id"]}, f"/workspaces/{workspace['id']}/settings"
    ok(api.put(settings, json={"max_computers": 1}))
    ok(api.post("/computers", json={"name": "one"} | at), 201)
    error = refused(api.post("/computers", json={"name": "two", "project_slug": "new"} | at), 422, "LIMIT_EXCEEDED")
    assert {"limit": "max_computers", "scope": "workspace", "max": 1, "current": 1}.items() <= error["details"].items()
    slugs = [p["slug"] for p in ok(api.get(f"/workspaces/{workspace['id']}/projects"))["data"]]
    assert "new" not in slugs, "a refused create leaves nothing behind"

    ok(api.put(settings, json={"max_computers": None, "max_computer_size": "small"}))
    error = refused(api.post("/computers", json={"name": "big", "size": "large"} | at), 422, "VALIDATION_FAILED")
    assert list(error["details"]) == ["size"]

    ok(api.put(settings, json={"allowed_template_types": ["miosa-headless"]}))
    error = refused(api.post("/computers", json={"name": "other"} | at), 422, "VALIDATION_FAILED")
    assert list(error["details"]) == ["template_type"]
    ok(api.put(settings, json={"allowed_template_types": []}))
    ok(api.post("/computers", json={"name": "other", "template_type": "miosa-headless"} | at), 201)


def test_defaults_apply_where_nothing_is_given(api, workspace):
    at = {"workspace_id": workspace["id"]}
    ok(
        api.put(
            f"/workspaces/{workspace['id']}/settings",
            json={"default_computer_size": "medium", "default_auto_stop_seconds": 1800},
        )
    )
    defaults = ok(api.post("/computers", json={"name": "a"} | at), 201)
    assert (defaults["size"], defaults["auto_stop_seconds"]) == ("medium", 1800)
    given = ok(api.post("/computers", json={"name": "b", "size": "small", "auto_stop_seconds": 0} | at), 201)
    assert (given["size"], given["auto_stop_seconds"]) == ("small", 0)


def test_a_project_is_made_once_by_its_slug(api, workspace):
    body = {"workspace_id": workspace["id"], "project_slug": "lead-magnet", "project_name": "Lead Magnet"}
    first = ok(api.post("/computers", json={"name": "a"} | body), 201)
    second = ok(api.post("/computers", json={"name": "b"} | body), 201)
    assert first["project_id"] == second["project_id"]
    projects = ok(api.get(f"/workspaces/{workspace['id']}/projects"))
    [project] = [p for p in projects["data"] if p["slug"] == "lead-magnet"]
    assert PROJECT_KEYS <= project.keys()
    assert project["name"] == "Lead Magnet"


def test_only_an_empty_workspace_is_deleted(api, workspace):
    path = f"/workspaces/{workspace['id']}"
    computer = ok(api.post("/computers", json={"name": "a", "workspace_id": workspace["id"]}), 201)
    refused(api.delete(path), 409, "WORKSPACE_HAS_COMPUTERS", "workspace has computers")
    ok(api.delete(f"/computers/{computer['id']}"))
    project = ok(api.post("/projects", json={"name": "p", "workspace_id": workspace["id"]}), 201)
    refused(api.delete(path), 409, "WORKSPACE_HAS_PROJECTS", "workspace has projects")
    assert ok(api.delete(f"/projects/{project['id']}"))["deleted"] is True
    assert ok(api.delete(path)) == {"deleted": True}
    refused(api.delete(path), 404, "NOT_FOUND", "workspace not found")
    assert workspace["id"] not in [w["id"] for w in ok(api.get("/workspaces"))["data"]]


def test_stats_count_by_status_and_add_up_the_hardware(api, workspace, status_of):
    at = {"workspace_id": workspace["id"]}
    ok(
        api.put(
            f"/workspaces/{workspace['id']}/settings",
            json={"max_computers": 10, "max_computer_size": "large", "default_auto_stop_seconds": 3600},
        )
    )
    ids = [
        ok(api.post("/computers", json={"name": f"c{n}", "size": size} | at), 201)["id"]
        for n, size in enumerate(["small", "small", "small", "medium", "medium"])
    ]
    for computer in ids:
        status_of(computer, "running")
    for computer in ids[3:]:
        ok(api.post(f"/computers/{computer}/stop"))
        status_of(computer, "stopped")
    stats = ok(api.get(f"/workspaces/{workspace['id']}/stats"))
    assert stats["workspace_id"] == workspace["id"]
    assert stats["computers"] == {
        "total": 5,
        "by_status": {"running": 3, "stopped": 2, "provisioning": 0, "error": 0},
    }
    assert stats["resources"] == {"total_vcpus": 7, "total_memory_mb": 28672, "total_disk_gb": 160}
    assert {
        "max_computers": 10,
        "max_computer_size": "large",
        "default_auto_stop_seconds": 3600,
    }.items() <= stats["settings"].items()


def test_usage(api, workspace):
    path = f"/workspaces/{workspace['id']}/usage"
    usage = ok(api.get(path))
    assert (usage["window"], usage["granularity"]) == ("24h", "hour")
    for window, granularity, buckets in (
        ("24h", "hour", (24, 25)),
        ("24h", "day", (1, 2)),
        ("7d", "day", (7, 8)),
        ("30d", "day", (30, 31)),
        ("30d", "hour", (720, 721)),
    ):
        usage = ok(api.get(path, params={"window": window, "granularity": granularity}))
        assert (usage["workspace_id"], usage["window"], usage["granularity"]) == (workspace["id"], window, granularity)
        series = usage["series"]
        assert len(series) in buckets
        stamps = [bucket["ts"] for bucket in series]
        assert stamps == sorted(set(stamps))
        end = "T00:00:00Z" if granularity == "day" else ":00:00Z"
        assert all(ts.endswith(end) for ts in stamps)
        assert usage["total_credits_used"] == sum(bucket["credits_used"] for bucket in series)
        assert isinstance(usage["total_credits_used"], int)
        assert abs(usage["total_compute_hours"] - sum(bucket["compute_hours"] for bucket in series)) < 0.001
    for bad in ("window=1y", "granularity=minute", "window=", "window=24H", "window=24h&window=7d"):
        refused(api.get(f"{path}?{bad}"), 422, "VALIDATION_FAILED")


def test_preview_domains_inherit_and_override(api, workspace):
    name = f"clinic-{uuid.uuid4().hex[:8]}.example"
    path = f"/workspaces/{workspace['id']}/preview-domain"
    before = ok(api.get(path))
    assert (before["preview_domain"], before["effective_domain"], before["status"]) == (None, "miosa.ai", "not_configured")

    put = ok(api.put(path, json={"preview_domain": name}))
    seven = ["scope", "id", "preview_domain", "effective_domain", "status", "dns_status", "url_examples"]
    assert {key: put[key] for key in seven} == {
        "scope": "workspace",
        "id": workspace["id"],
        "preview_domain": name,
        "effective_domain": name,
        "status": "pending_dns",
        "dns_status": "pending",
        "url_examples": {
            "default_preview": f"https://<slug>.{name}",
            "port_preview": f"https://3000-<slug>.sandbox.{name}",
            "deployment": f"https://<deployment-slug>.{name}",
        },
    }
    assert ok(api.get(path)) == put
    verify = ok(api.get(f"{path}/verify"))
    assert verify["verified"] is False
    records = [(r["type"], r["name"]) for r in verify["records"]]
    assert records[:2] == [("CNAME", "*"), ("CNAME", "*.sandbox")]
    # Where there are several organizations, the proof of whose it is.
    assert records[2:] in ([], [("TXT", "_workspaced-challenge")])

    computer = ok(api.post("/computers", json={"name": "c", "workspace_id": workspace["id"]}), 201)
    assert computer["preview_domain"] == name
    of_project = f"/projects/{computer['project_id']}/preview-domain"
    assert ok(api.get(of_project))["effective_domain"] == name
    assert ok(api.put(of_project, json={"preview_domain": f"site.{name}"}))["effective_domain"] == f"site.{name}"
    assert ok(api.get(f"/computers/{computer['id']}"))["preview_domain"] == f"site.{name}"
    assert ok(api.delete(of_project))["effective_domain"] == name

    ok(api.put("/tenant/preview-domain", json={"preview_domain": f"org.{name}"}))
    assert ok(api.delete(path))["effective_domain"] == f"org.{name}"
    ok(api.delete("/tenant/preview-domain"))
    assert ok(api.get(path)) == before
    for bad in ("https://a.example", "a.example/x", "localhost", "*.a.example", "10.0.0.1", "", 5):
        refused(api.put(path, json={"preview_domain": bad}), 422, "VALIDATION_FAILED")


def test_a_computer_moves_by_move_only(api, workspace):
    target = ok(api.post("/workspaces", json={"name": "Target"}), 201)
    computer = ok(api.post("/computers", json={"name": "c", "workspace_id": workspace["id"]}), 201)

    def counts():
        return [ok(api.get(f"/workspaces/{w['id']}"))["computer_count"] for w in (workspace, target)]

    assert counts() == [1, 0]
    error = refused(
        api.patch(f"/computers/{computer['id']}", json={"workspace_id": target["id"]}), 422, "VALIDATION_FAILED"
    )
    assert "/move" in error["message"]
    assert counts() == [1, 0]
    moved = ok(api.post(f"/computers/{computer['id']}/move", json={"workspace_id": target["id"]}))
    assert moved["workspace_id"] == moved["data"]["workspace_id"] == target["id"]
    assert counts() == [0, 1]
    assert ok(api.get(f"/computers/{computer['id']}"))["workspace_id"] == target["id"]


def test_without_a_key_nothing_else_is_looked_at(server, workspace):
    with server.http(None) as nobody:
        for method, path, send in (
            ("GET", "/workspaces", {}),
            ("POST", "/workspaces", {"content": "{not json"}),
            ("GET", f"/workspaces/{workspace['id']}", {}),
            ("GET", f"/workspaces/{UNKNOWN}", {}),
            ("GET", "/workspaces/not-a-uuid", {}),
            ("PUT", f"/workspaces/{workspace['id']}/settings", {"json": {"max_computers": -1}}),
            ("DELETE", f"/workspaces/{workspace['id']}", {}),
            ("GET", "/no/such/route", {}),
            ("BREW", "/workspaces", {}),
        ):
            reply = nobody.request(method, path, **send)
            refused(reply, 401, "invalid_token")
            assert reply.headers["www-authenticate"] == "Bearer"


# --- bad input of each kind ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("send", "status", "code"),
    [
        ({"content": "{not json", "headers": {"content-type": "application/json"}}, 400, "INVALID_JSON"),
        ({"content": "[1]", "headers": {"content-type": "application/json"}}, 422, "VALIDATION_FAILED"),
        ({"content": '"x"', "headers": {"content-type": "application/json"}}, 422, "VALIDATION_FAILED"),
        ({"content": b"\xff\xfe", "headers": {"content-type": "application/json"}}, 400, "INVALID_JSON"),
        ({"content": '{"name":"x"}', "headers": {"content-type": "text/plain"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"data": {"name": "x"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"json": {"name": "x" * (1 << 20)}}, 413, "PAYLOAD_TOO_LARGE"),
        ({"json": {"name": "x", "external_workspace_id": "a", "externalWorkspaceId": "b"}}, 422, "VALIDATION_FAILED"),
        ({"json": {"name": "x", "metadata": {"big": "x" * (16 << 10)}}}, 422, "VALIDATION_FAILED"),
        ({"json": {"name": "x", "metadata": "text"}}, 422, "VALIDATION_FAILED"),
        ({"json": {"name": "x", "description": "x" * 2001}}, 422, "VALIDATION_FAILED"),
        ({"json": {"name": "x", "external_workspace_id": "x" * 256}}, 422, "VALIDATION_FAILED"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_bodies_get_their_answer_and_change_nothing(api, send, status, code):
    refused(api.post("/workspaces", **send), status, code)
    assert ok(api.get("/workspaces"))["total"] == 1


def test_unknown_routes_and_methods(api, workspace):
    refused(api.get("/no/such/route"), 404, "NOT_FOUND")
    refused(api.put(f"/workspaces/{workspace['id']}", json={}), 405, "METHOD_NOT_ALLOWED")
    assert "PATCH" in api.put(f"/workspaces/{workspace['id']}", json={}).headers["allow"]
    for far in ("/agents", "/ai/models", f"/computers/{UNKNOWN}/exec"):
        assert "not part of this server" in refused(api.get(far), 404, "NOT_FOUND")["message"]
    for product in ("sandboxes", "deployments", "databases", "volumes", "storage/buckets", "functions", "cron-jobs"):
        assert ok(api.get(f"/{product}")) == {"data": [], "total": 0}
        reply = refused(api.post(f"/{product}", json={"name": "x"}), 404, "NOT_FOUND")
        assert "not part of this server" in reply["message"]


def test_the_doubled_prefix_is_the_same_api(api, workspace):
    doubled = ok(api.get(f"/api/v1/workspaces/{workspace['id']}"))
    assert doubled == workspace
    refused(api.get("/api/v1/no/such/route"), 404, "NOT_FOUND")


def test_paging_is_optional(api):
    names = [f"w{n}" for n in range(5)]
    for name in names:
        ok(api.post("/workspaces", json={"name": name}), 201)

    def page(**query):
        listed = ok(api.get("/workspaces", params=query))
        assert listed["total"] == 6
        return [w["name"] for w in listed["data"]]

    assert page() == ["default", *names]
    assert page(page=2, page_size=2) == page(page=2, per_page=2) == page(limit=2, offset=2) == ["w1", "w2"]
    assert page(offset=5) == ["w4"] and page(limit=100, offset=6) == []
    for bad in ({"page": 0}, {"page_size": 101}, {"limit": "x"}, {"offset": -1}):
        refused(api.get("/workspaces", params=bad), 422, "VALIDATION_FAILED")


def test_computers_stop_by_themselves_when_idle(api, workspace, status_of):
    body = {"name": "idle", "workspace_id": workspace["id"], "auto_stop_seconds": 1}
    computer = ok(api.post("/computers", json=body), 201)
    status_of(computer["id"], "running")
    assert status_of(computer["id"], "stopped")["stopped_at"] is not None
    stats = eventually(
        lambda: ok(api.get(f"/workspaces/{workspace['id']}/stats"))["computers"], "stats"
    )
    assert stats["by_status"]["stopped"] == 1


def test_health_openapi_and_docs_need_no_key(server, api):
    for path in ("/health", "/openapi.json", "/docs", "/admin"):
        reply = api.get(f"{server.url}{path}", headers={"Authorization": ""})
        assert reply.status_code == 200, (path, reply.text)
    assert api.get(f"{server.url}/openapi.json").json()["openapi"].startswith("3.")
