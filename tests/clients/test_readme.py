"""What the README and the manual tell people to paste does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from workspaced import FAST, ROOT, Server, environment, run

MANUAL = "assets/manual"


def block(language: str, page: str, after: str) -> str:
    """The first fenced block of a language after a text of a page."""
    text = (ROOT / page).read_text()
    found = re.search(rf"```{language}\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found, f"no {language} block after {after!r} in {page}"
    return found[1]


@pytest.fixture
def started(tmp_path):
    """A first start, and the environment after its two `export` lines were pasted."""
    with Server(tmp_path, *FAST) as server:
        exports = re.findall(r"^ *export (MIOSA_\w+)=(\S+)$", server.output, re.MULTILINE)
        assert [name for name, _ in exports] == ["MIOSA_BASE_URL", "MIOSA_API_KEY"]
        yield environment(**dict(exports))


def test_the_quick_start_with_curl(started):
    # A newline after each reply: as pasted line by line, each would stand on its own.
    script = block("sh", "README.md", "## Quick start").replace("curl -s ", "curl -s -w '\\n' --fail-with-body ")
    done = subprocess.run(["bash", "-e", "-c", script], env=started, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    workspace, computer, settings, stats, usage = map(json.loads, done.stdout.split("\n")[:-1])
    assert workspace["external_workspace_id"] == "clinic_123"
    assert computer["workspace_id"] == workspace["id"]
    assert settings["settings"]["max_computers"] == 10
    assert stats["computers"]["total"] == 1
    assert usage["workspace_id"] == workspace["id"]
    assert len(usage["series"]) in (24, 25)


def test_the_quick_start_with_python(started):
    script = block("python", "README.md", "## Quick start")
    done = subprocess.run([sys.executable, "-c", script], env=started, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    name, status = done.stdout.split()
    assert name == "clinic-builder"
    assert status in ("provisioning", "running")


def test_the_configuration_file(tmp_path):
    file = tmp_path / "workspaced.toml"
    file.write_text(block("toml", f"{MANUAL}/configuration.md", "## The configuration file"))
    with Server(tmp_path, "--dev", "--config", file) as server, server.http("msk_u_dev") as http:
        small = next(size for size in http.get("/compute/sizes").json()["data"] if size["id"] == "small")
        assert (small["vcpus"], small["credits_per_hour"]) == (2, 30)


def test_the_commands_for_organizations_and_keys(tmp_path):
    commands = block("sh", f"{MANUAL}/configuration.md", "## Organizations and API keys").strip().splitlines()
    assert len(commands) == 2
    with Server(tmp_path) as server:
        for command in commands:
            words = command.partition("#")[0].replace("'", "").split()
            assert words[0] == "workspaced"
            done = run(*words[1:], "--data-dir", server.data_dir)
            assert done.returncode == 0, done.stderr
            assert "msk_" in done.stdout


def test_the_litestream_configuration_is_the_one_that_is_tested():
    shown = block("yaml", f"{MANUAL}/operating.md", "## Continuous replication: Litestream")
    assert shown == (ROOT / "tests/durability/litestream.yml").read_text()
