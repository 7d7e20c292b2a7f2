"""The dashboard and the alert rules speak of metrics that there are, and the rules mean what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import httpx
import pytest
import yaml

from workspaced import FAST, ROOT, Server, eventually

MONITORING = ROOT / "assets" / "monitoring"


def rules() -> list[dict]:
    [group] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return group["rules"]


def queries() -> dict[str, str]:
    """Every question to Prometheus, by where it is asked."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


def test_every_metric_is_one_of_the_service_with_the_labels_that_are_asked_for(tmp_path):
    with Server(tmp_path, *FAST) as server, server.http(server.first_key) as http:
        http.post("/computers", json={"name": "c"})
        headers = {"Authorization": f"Bearer {server.first_key}"}

        def metrics() -> str | None:
            text = httpx.get(f"{server.url}/metrics", headers=headers).text
            return text if 'status="running"' in text else None

        text = eventually(metrics, "a running computer in the metrics")
        served = httpx.get(f"{server.url}/assets/monitoring/alerts.yml")
        assert served.text == (MONITORING / "alerts.yml").read_text(), "the binary has them"
    # Those of machines are there where a container engine is to run computers, whether or not there is one.
    (tmp_path / "engine.toml").write_text('[images]\nmiosa-desktop = "localhost/none:1"\n')
    flags = ("--driver", "docker", "--config", tmp_path / "engine.toml", "--engine-socket", f"unix://{tmp_path}/none.sock")
    with Server(tmp_path / "engine", *flags) as server:
        headers = {"Authorization": f"Bearer {server.first_key}"}
        text += httpx.get(f"{server.url}/metrics", headers=headers).text
    labels: dict[str, set[str]] = {}
    for name, inside in re.findall(r"^(workspaced_\w+)(?:\{(.*?)\})? ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r"(\w+)=", inside))
    asked = queries()
    assert len(asked) > 25
    seen = set()
    for place, expr in asked.items():
        for name, inside in re.findall(r"(workspaced_\w+)(?:\{(.*?)\})?", expr):
            assert name in labels, f"{place}: there is no {name}"
            # What Prometheus adds itself.
            wanted = set(re.findall(r"(\w+)\s*=", inside)) - {"instance", "job"}
            assert wanted <= labels[name], f"{place}: {name} has {labels[name]}"
            seen.add(name)
        for by in re.findall(r"by \((.*?)\)", expr):
            names = [name for name, _ in re.findall(r"(workspaced_\w+)(\{)?", expr)]
            known = {"instance"} | set().union(*(labels[name] for name in names))
            assert set(by.replace(" ", "").split(",")) <= known, place
    # What operating.md promises is on the dashboard or in a rule.
    promised = set(re.findall(r"`(workspaced_\w+)", (ROOT / "assets/manual/operating.md").read_text()))
    missing = {name for name in promised if not any(found.startswith(name) for found in seen)}
    assert missing <= {"workspaced_meter_lag_seconds", "workspaced_clock_jumps", "workspaced_clock_"}, missing


def test_every_rule_says_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and "$labels.instance" in rule["annotations"]["description"]
        assert rule["for"]


def promtool() -> str:
    found = shutil.which("promtool") or shutil.which("promtool", path=str(ROOT / "target/promtool/usr/bin"))
    if not found:
        pytest.skip("promtool is not installed: the rules were not tried")
    return found


def test_the_rules_fire_when_they_should(tmp_path):
    checked = subprocess.run([promtool(), "check", "rules", MONITORING / "alerts.yml"], capture_output=True, text=True)
    assert checked.returncode == 0 and f"{len(rules())} rules found" in checked.stdout, checked.stdout + checked.stderr
    tests = (ROOT / "tests/clients/alerts_test.yml").read_text().replace("RULES", str(MONITORING / "alerts.yml"))
    (tmp_path / "tests.yml").write_text(tests)
    done = subprocess.run([promtool(), "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
