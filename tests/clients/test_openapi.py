"""What /openapi.json says against what the service does: thousands of generated requests."""

import re
import subprocess
import sys
from pathlib import Path

from workspaced import FAST, Server, environment

#: Seconds for the whole run; the phases share them.
BUDGET = 75
CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_no_server_error_no_undocumented_status_no_other_shape(tmp_path, capsys):
    with Server(tmp_path, "--dev", "--dns-resolver", "127.0.0.1:9", "--log", "warn", *FAST) as server:
        with server.http("msk_u_dev") as http:
            # Something to find under the ids that generated requests learn from lists.
            for name in ("One", "Two"):
                workspace = http.post("/workspaces", json={"name": name}).json()
                body = {"name": name, "workspace_id": workspace["id"], "project_slug": "site"}
                assert http.post("/computers", json=body).status_code == 201
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--no-color",
                "--config-file", CONFIG,
                "run", f"{server.url}/openapi.json",
                "--header", "Authorization: Bearer msk_u_dev",
                "--max-time", str(BUDGET),
            ],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUDGET * 4,
        )  # fmt: skip
        print(done.stdout, done.stderr)
        assert done.returncode == 0, "see the failures above"
        assert "request failed" not in server.log and "ERROR" not in server.log, server.log
    tested = re.search(r"Tested: (\d+)", done.stdout)
    cases = re.search(r"(\d+) generated", done.stdout)
    assert int(tested[1]) >= 60, "nearly every operation was tried"
    with capsys.disabled():
        print(f"\n{tested[1]} operations, {cases[1]} generated requests", end="")
