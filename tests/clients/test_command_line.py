"""The client commands: what they print for people, for programs and on a terminal; the page, signed in."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import termios

import httpx
import pytest
import yaml

from workspaced import BINARY, FAST, PATIENCE, Server, environment, eventually, run


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("service"), *FAST, "--dns-resolver", "127.0.0.1:9") as server:
        yield server


@pytest.fixture
def ws(service):
    """Runs `workspaced` against the service."""
    env = {"MIOSA_BASE_URL": service.url, "MIOSA_API_KEY": service.first_key}

    def command(*arguments: object, code: int = 0, **extra: str) -> str:
        done = run(*arguments, **(env | extra))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    return command


def on_a_terminal(service: Server, *arguments: str, columns: int = 60, typed: str = "", **extra: str) -> str:
    """What a command writes to a terminal of so many columns, where `typed` is typed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = environment(MIOSA_BASE_URL=service.url, MIOSA_API_KEY=service.first_key, **extra)
    process = subprocess.Popen([BINARY, *arguments], env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, typed.encode())
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    process.wait(PATIENCE)
    os.close(ours)
    return seen.decode()


def test_an_operator_names_another_organization(ws, service):
    ws("tenants", "create", "--slug", "globex", "--name", "Globex", "--data-dir", service.data_dir)
    ws("ws", "create", "Theirs", "--tenant", "globex")
    assert "Theirs" in ws("ws", "ls", MIOSA_TENANT="globex")
    assert "Theirs" not in ws("ws", "ls")
    assert "names no organization" in ws("ws", "ls", "--tenant", "nowhere", code=4)


def test_a_list_in_every_form(ws):
    ws("ws", "create", "Comma, \"quoted\"", "--slug", "forms")
    whole = json.loads(ws("ws", "ls", "--search", "forms", "--output", "json"))
    assert whole == json.loads(ws("ws", "ls", "--search", "forms", "--json"))
    assert whole["total"] == 1
    assert yaml.safe_load(ws("ws", "ls", "--search", "forms", "-o", "yaml")) == whole
    [row] = csv.DictReader(io.StringIO(ws("ws", "ls", "--search", "forms", "--csv")))
    assert row["name"] == whole["data"][0]["name"] and row["slug"] == "forms"
    assert row.keys() == whole["data"][0].keys()
    table = ws("ws", "ls", "--search", "forms").splitlines()
    assert table[0].split() == ["ID", "SLUG", "COMPUTER", "COUNT", "EXTERNAL", "WORKSPACE", "ID", "NAME"]
    shown = ws("ws", "show", "forms", "--output", "yaml")
    assert yaml.safe_load(shown)["settings"] == json.loads(ws("ws", "show", "forms", "--json"))["settings"]
    assert "one of them" in ws("ws", "ls", "--json", "--csv", code=2)


def test_a_workspace_is_removed_by_who_says_so(ws, service):
    ws("ws", "create", "Gone", "--slug", "gone")
    ws("computers", "create", "c", "--workspace", "gone", "--project", "p")
    refused = ws("ws", "rm", "gone", "--force", code=2)
    assert "Gone (gone) with 1 computers and 1 projects" in refused and "--yes" in refused
    assert "WORKSPACE_HAS_COMPUTERS" in ws("ws", "rm", "gone", "--yes", code=2)
    assert "nothing was deleted" in on_a_terminal(service, "ws", "rm", "gone", "--force", typed="n\n")
    asked = on_a_terminal(service, "ws", "rm", "gone", "--force", typed="y\n")
    assert "Delete workspace Gone (gone) with 1 computers and 1 projects? [y/N]" in asked and "deleted" in asked
    ws("ws", "show", "gone", code=3)
    ws("ws", "create", "Gone", "--slug", "gone")
    assert json.loads(ws("ws", "rm", "gone", "--yes", "--json"))["deleted"] is True


def test_the_preview_domain_of_a_workspace(ws):
    ws("ws", "create", "Domain", "--slug", "domain")
    assert "miosa.ai" in ws("ws", "domain", "domain")
    shown = ws("ws", "domain", "domain", "previews.example.com")
    assert "previews.example.com" in shown and re.search(r"^TYPE +NAME +VALUE +STATUS$", shown, re.MULTILINE)
    assert "CNAME" in shown
    whole = json.loads(ws("ws", "domain", "domain", "--verify", "--json"))
    assert whole["records"] and whole["verified"] is False
    assert "miosa.ai" in ws("ws", "domain", "domain", "none")
    assert "preview_domain" in ws("ws", "domain", "domain", "not a host", code=2)


def test_the_usage_of_all(ws):
    ws("ws", "create", "Billed", "--slug", "billed")
    ws("computers", "create", "metered", "--workspace", "billed")

    def listed():
        found = list(csv.DictReader(io.StringIO(ws("ws", "usage", "--all", "--csv"))))
        return found if "Billed" in [row["workspace_name"] for row in found] else None

    rows = eventually(listed, "something to bill")
    assert {"workspace_id", "credits", "compute_hours", "workspace_name"} == rows[0].keys()
    whole = json.loads(ws("ws", "usage", "--all", "--json"))
    assert {row["workspace_id"] for row in whole["results"]} == {row["workspace_id"] for row in rows}
    ran = {row["workspace_id"]: row["compute_ms"] / 3_600_000 for row in whole["results"]}
    assert all(abs(float(row["compute_hours"]) - ran[row["workspace_id"]]) < 0.01 for row in rows)
    assert "WORKSPACE NAME" in ws("ws", "usage", "--all", "--window", "30d")
    assert "WORKSPACE NAME" in ws("ws", "usage", "--all", "--window", "this_month")
    assert "--tz" in ws("ws", "usage", "--all", "--tz", "Europe/Budapest", code=2), "what would be ignored is refused"
    ws("ws", "usage", code=2)
    ws("ws", "usage", "billed", "--all", code=2)


def test_rates_are_set_rehearsed_and_taken_back(ws):
    ws("ws", "create", "Agreed", "--slug", "agreed")
    of = ("--workspace", "agreed")
    dry = ws("rates", "set", "small=25", *of, "--from", "2099-01-01", "--dry-run")
    assert re.search(r"^small +25 +ahead +2099-01-01T00:00:00Z$", dry, re.MULTILINE), dry
    assert "ahead" not in ws("rates", "ls", *of)
    ws("rates", "set", "small=25", "xl=none", *of, "--from", "2099-01-01")
    ws("rates", "set", "large=7", *of)
    shown = ws("rates", "ls", *of)
    assert re.search(r"^large +7 +workspace ", shown, re.MULTILINE) and shown.count("ahead") == 2, shown
    whole = json.loads(ws("rates", "ls", *of, "--json"))
    assert [row["size"] for row in whole["data"]] == ["small", "large", "xl"]
    assert "ahead" not in ws("rates", "withdraw", *of)
    assert "lies ahead" in ws("rates", "withdraw", *of, code=2)
    assert "small=25" in ws("rates", "set", "small", *of, code=2)
    assert "rates.tiny" in ws("rates", "set", "tiny=1", code=2)
    ws("rates", "set", "small=1", "--workspace", "nowhere", code=3)


def test_a_terminal_has_its_colours_and_its_width(ws, service):
    ws("ws", "create", "Narrow " + "n" * 100, "--slug", "narrow")
    ws("computers", "create", "narrow-computer", "--workspace", "narrow")
    bare = on_a_terminal(service, "ws", "ls", "--search", "narrow", NO_COLOR="1", columns=110)
    assert "\x1b[" not in bare and "…" in bare
    assert all(len(line) <= 110 for line in bare.splitlines()), bare
    coloured = on_a_terminal(service, "computers", "ls", "--workspace", "narrow", columns=200)
    assert "\x1b[1m" in coloured, coloured
    assert "\x1b[" not in on_a_terminal(service, "computers", "ls", "--color", "never")
    # In a pipe everything is whole, and without colours unless they are asked for.
    piped = ws("ws", "ls", "--search", "narrow")
    assert "n" * 100 in piped and "\x1b[" not in piped
    assert "\x1b[1m" in ws("ws", "ls", "--color", "always")
    bars = on_a_terminal(service, "ws", "usage", "narrow", columns=50)
    assert all(len(line) <= 50 for line in bars.splitlines() if "█" in line or "▏" in line), bars


def test_what_others_wrote_moves_no_cursor(tmp_path, ws, service):
    """Rows from before such names were refused, messages that repeat them, and each form for people."""
    import sqlite3
    from contextlib import closing

    ws("ws", "create", "Old", "--slug", "old-name")
    with closing(sqlite3.connect(service.data_dir / "workspaced.db", timeout=10)) as db, db:
        db.execute("UPDATE workspaces SET name = 'evil' || char(27) || '[2J' WHERE slug = 'old-name'")
    for command in (["ws", "ls"], ["ws", "show", "old-name"], ["ws", "rm", "old-name"], ["tenants", "list"]):
        more = ["--data-dir", str(service.data_dir)] if command[0] == "tenants" else []
        seen = on_a_terminal(service, *command, *more, typed="n\n", NO_COLOR="1", columns=200)
        assert "\x1b" not in seen, command


def test_the_page_opens_signed_in(ws, service):
    link = ws("open", "--no-open").split()[-1]
    assert link.startswith(f"{service.url}/admin/enter/")
    # A page of another site cannot sign anybody in under a key of its own.
    assert httpx.get(link, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    with httpx.Client(headers={"X-Workspaced-Admin": "1"}) as browser:
        entered = browser.get(link, headers={"Sec-Fetch-Site": "none"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/admin")
        assert browser.get(f"{service.url}/admin/session").json()["key"]["key_prefix"] == service.first_key[:12]
    with httpx.Client() as second:
        again = second.get(link)
        assert again.headers["location"] == "/admin" and "set-cookie" not in again.headers, "good once"
    assert ws("open", "--no-open", code=4, MIOSA_API_KEY="msk_u_unknown")
    assert link.rpartition("/")[2] not in service.log
    with httpx.Client(headers={"X-Workspaced-Admin": "1"}) as nobody:
        assert nobody.post(f"{service.url}/admin/session/link").status_code == 401


def test_what_was_deleted_is_listed_and_comes_back(ws):
    made = json.loads(ws("ws", "create", "Back Again", "--json"))
    ws("computers", "create", "box", "--workspace", "back-again")
    assert f"workspaced ws restore {made['id']}" in ws("ws", "rm", "back-again", "--force", "--yes")
    assert "Back Again" in ws("ws", "deleted")
    ws("ws", "create", "Another", "--slug", "back-again")
    assert "has already been taken" in ws("ws", "restore", made["id"], code=2)
    said = ws("ws", "restore", "back-again", "--slug", "back-again-2")
    assert "restored, with 1 projects and 1 computers, which are stopped" in said
    assert json.loads(ws("ws", "show", "back-again-2", "--json"))["id"] == made["id"]
    box = json.loads(ws("computers", "ls", "--workspace", "back-again-2", "--json"))["data"][0]["id"]
    ws("computers", "rm", box)
    assert "it is stopped" in ws("computers", "restore", box)
    assert "no deleted workspace" in ws("ws", "restore", "nobody", code=2)
