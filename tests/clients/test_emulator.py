"""The emulator as a process: demo, scenarios, the driven clock, and the client in the same binary."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
import time

import httpx
import pytest
from miosa import Miosa
from miosa.resources.workspaces import Workspaces

from workspaced import BINARY, Server, environment, eventually, run

# --- demo ------------------------------------------------------------------------------------

#: Runs inside the namespace, where nothing but this interpreter is at hand.
VISIT = textwrap.dedent(
    """
    import http.client, json, re, subprocess, sys, time
    begin = time.monotonic()
    demo = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    try:
        lines = []
        for line in demo.stdout:
            lines.append(line.strip())
            if line.startswith("listening on "):
                break
        port = int(lines[-1].rsplit(":", 1)[1])
        link = next(line for line in lines if "/_dev/visit/" in line)

        def get(path, **headers):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply, reply.read().decode()

        visit, _ = get("/_dev/visit/" + link.rsplit("/", 1)[1])
        cookie = visit.headers["set-cookie"].split(";")[0]
        page, html = get(visit.headers["location"], cookie=cookie)
        shown_after = time.monotonic() - begin
        _, who = get("/admin/session", cookie=cookie)
        again, _ = get("/_dev/visit/" + link.rsplit("/", 1)[1])
        bearer = {"authorization": "Bearer msk_u_dev"}
        _, overview = get("/api/v1/overview", **bearer)
        _, before = get("/_dev/clock", **bearer)
        time.sleep(0.2)
        _, after = get("/_dev/clock", **bearer)
        others = subprocess.run(["ls", "/sys/class/net"], capture_output=True, text=True).stdout.split()
    finally:
        demo.terminate()
        code = demo.wait(20)
    print(json.dumps({
        "shown_after": shown_after, "status": visit.status, "page": page.status, "html": html[:15],
        "who": json.loads(who), "again": again.headers["set-cookie"], "overview": json.loads(overview),
        "before": json.loads(before), "after": json.loads(after), "code": code, "interfaces": others,
    }))
    """
)


def namespace() -> list[str]:
    """A network namespace with nothing but loopback, where this machine allows one."""
    enter = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") and shutil.which("ip"):
        if subprocess.run([*enter, "true"], capture_output=True).returncode == 0:
            return enter
    return []


def test_the_demo_shows_a_living_month_within_three_seconds_and_without_a_network(tmp_path):
    enter = namespace()
    demo = [BINARY, "demo", "--no-open", "--listen", "127.0.0.1:0", "--log", "warn"]
    done = subprocess.run(
        [*enter, sys.executable, "-c", VISIT, *demo],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    if "release" in BINARY.parts:
        assert seen["shown_after"] < 3, "the page is to be there within three seconds"
    assert (seen["status"], seen["page"], seen["html"]) == (303, 200, "<!doctype html>")
    assert seen["who"]["signed_in"] is True
    assert seen["again"] is None, "the link is good once"
    assert seen["overview"]["computers"]["total"] == 40
    assert seen["overview"]["near_limit"][0]["name"] == "Lakeside Pediatrics"
    assert seen["overview"]["domain_problems"][0]["domain"] == "apps.oldtown-derma.com"
    assert (seen["before"]["mode"], seen["before"]["speed"]) == ("running", 60)
    assert seen["before"]["now"] < seen["after"]["now"], "time goes on, a minute a second"
    assert seen["code"] == 0
    assert list(tmp_path.iterdir()) == [], "nothing is kept"
    if enter:
        assert "/sys" and done.stderr == ""


def test_nothing_below_dev_is_there_without_it(tmp_path):
    paths = ["clock", "snapshots", "snapshots/a/restore", "reset", "faults", "compat", "visit/x"]
    with Server(tmp_path) as server, server.http(server.first_key) as http:
        for path in paths:
            for method in ("GET", "POST"):
                reply = http.request(method, f"{server.url}/_dev/{path}", json={})
                assert reply.status_code == 404, (method, path)


# --- scenarios -------------------------------------------------------------------------------


def seed(home, number: int) -> str:
    done = run("seed", "clinic", "--seed", number, "--data-dir", home)
    assert done.returncode == 0, done.stderr
    assert "13 workspaces, 40 computers" in done.stdout
    return hashlib.sha256((home / "workspaced.db").read_bytes()).hexdigest()


def test_a_seed_makes_the_same_file_every_time(tmp_path):
    first = seed(tmp_path / "a", 42)
    assert first == seed(tmp_path / "b", 42)
    assert first != seed(tmp_path / "c", 43)
    again = run("seed", "clinic", "--data-dir", tmp_path / "a")
    assert again.returncode == 2 and "empty" in again.stderr
    assert run("verify", "--data-dir", tmp_path / "a").returncode == 0


def test_a_seeded_directory_is_served_at_its_end_and_saved_as_a_file(tmp_path):
    data = tmp_path / "data"
    seed(data, 42)
    with Server(tmp_path, "--dev") as server, server.http("msk_u_dev") as http:
        clock = http.get(f"{server.url}/_dev/clock").json()
        assert clock["now"].startswith("2026-05-20T09:40:")
        back = http.post(f"{server.url}/_dev/reset", json={"to": "seed"})
        assert back.status_code == 200, back.text
    saved = run("scenario", "save", "--data-dir", data)
    assert saved.returncode == 0, saved.stderr
    (tmp_path / "saved.toml").write_text(saved.stdout)
    done = run("seed", tmp_path / "saved.toml", "--data-dir", tmp_path / "again")
    assert "13 workspaces, 40 computers" in done.stdout, done.stderr


def test_ephemeral_keeps_nothing(tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with Server(tmp_path, "--ephemeral", TMPDIR=str(temporary)) as server:
        assert len(list(temporary.iterdir())) == 1
        assert not server.data_dir.exists()
        assert server.stop() == 0
    assert list(temporary.iterdir()) == []


# --- a month by the official client ----------------------------------------------------------


def month(home) -> dict:
    """What a month on the driven clock comes to, told by the official client."""
    with Server(home, "--clock", "virtual") as server, server.http(server.first_key) as http:

        def clock(**body):
            reply = http.post(f"{server.url}/_dev/clock", json=body, timeout=120)
            assert reply.status_code == 200, reply.text
            return reply.json()["now"]

        clock(now="2031-03-01T00:00:00Z")
        client = Miosa(api_key=server.first_key, base_url=server.url)
        workspace = client.workspaces.create(name="Acme Dental")
        desk = client.computers.create(name="desk", workspace_id=workspace.id, size="small")
        lab = client.computers.create(name="lab", workspace_id=workspace.id, size="large")
        assert http.patch(f"/computers/{lab.id}", json={"auto_stop_seconds": 5400}).status_code == 200
        clock(advance_seconds=1)
        desk.stop()
        days = []
        for _ in range(31):
            clock(advance_seconds=8 * 3600)
            desk.start()
            clock(advance_seconds=9 * 3600)
            desk.stop()
            lab.start()
            clock(advance_seconds=7 * 3600)
            last_day = Workspaces(client._transport).get_usage(workspace.id)
            days.append((last_day["total_compute_ms"], last_day["total_credits_micros"]))
        client.close()
        path = f"/workspaces/{workspace.id}/usage?window=30d&granularity=day"
        usage = http.get(path).json()
        assert usage.pop("workspace_id") == workspace.id
        assert http.get("/usage/verify").json()["ok"] is True
        balance = http.get("/credits/balance").json()
        return {"days": days, "usage": usage, "balance": balance["balance"], "now": clock()}


def test_a_month_on_the_driven_clock_gives_the_same_digits_on_every_run(tmp_path):
    first = month(tmp_path / "first")
    again = month(tmp_path / "second")
    assert first == again
    assert first["now"] == "2031-04-01T00:00:01Z"
    # The desk takes a second to come up and runs until the ninth hour is over; the lab, until it has
    # been idle for an hour and a half.
    desk, lab = 9 * 3600 - 1, 5400
    assert [ms for ms, _ in first["days"][1:]] == [(desk + lab) * 1000] * 30
    # 30 credits an hour for a small one, 120 for a large one; what a day rounds off, another one makes up.
    credits = 30 * (desk * 30 + lab * 120) * 1_000_000 // 3600
    assert credits == 13_499_750_000
    assert sum(micros for _, micros in first["days"][1:]) == credits
    assert first["usage"]["total_compute_ms"] == 30 * (desk + lab) * 1000
    assert first["usage"]["total_credits_micros"] == credits


# --- the client in the same binary -----------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    seed(home / "data", 42)
    with Server(home, "--dev") as server:
        yield {"MIOSA_BASE_URL": server.url, "MIOSA_API_KEY": "msk_u_dev"}


def test_workspaces_are_listed_shown_made_and_limited(demo):
    listed = run("ws", "ls", **demo)
    assert listed.returncode == 0, listed.stderr
    head, *rows = listed.stdout.splitlines()
    assert head.split() == ["ID", "SLUG", "COMPUTER", "COUNT", "EXTERNAL", "WORKSPACE", "ID", "NAME"]
    assert len(rows) == 13
    as_json = json.loads(run("ws", "ls", "--search", "dental", "--json", **demo).stdout)
    assert [row["name"] for row in as_json["data"]] == ["Riverside Dental"]

    made = run("ws", "create", "Westend Optics", "--external-id", "clinic_west", **demo)
    assert made.returncode == 0, made.stderr
    id = made.stdout.strip()
    for name in (id, "westend-optics", "external:clinic_west"):
        shown = json.loads(run("ws", "show", name, "--json", **demo).stdout)
        assert (shown["id"], shown["settings"]["max_computers"]) == (id, None)
    assert run("ws", "set", "westend-optics", "--max-computers", 1, "--max-size", "small", **demo).returncode == 0
    shown = json.loads(run("ws", "show", id, "--json", **demo).stdout)
    assert (shown["settings"]["max_computers"], shown["settings"]["max_computer_size"]) == (1, "small")
    assert run("ws", "set", id, "--max-computers", "none", **demo).returncode == 0
    assert json.loads(run("ws", "show", id, "--json", **demo).stdout)["settings"]["max_computers"] is None


def test_computers_are_made_started_stopped_and_removed(demo):
    made = run("computers", "create", "kiosk", "--workspace", "external:clinic_elm", "--size", "xs", **demo)
    assert made.returncode == 0, made.stderr
    id = made.stdout.strip()
    rows = json.loads(run("computers", "ls", "--workspace", "external:clinic_elm", "--json", **demo).stdout)["data"]
    assert id in [row["id"] for row in rows]
    with httpx.Client(headers={"Authorization": "Bearer msk_u_dev"}) as http:
        http.post(f"{demo['MIOSA_BASE_URL']}/_dev/clock", json={"advance_seconds": 5})
        assert run("computers", "stop", "kiosk", **demo).stdout == f"{id} stopping\n"
        http.post(f"{demo['MIOSA_BASE_URL']}/_dev/clock", json={"advance_seconds": 5})
    assert run("computers", "start", id, **demo).stdout == f"{id} starting\n"
    assert run("computers", "rm", "kiosk", **demo).returncode == 0
    assert run("computers", "start", "kiosk", **demo).returncode == 3


def test_usage_is_drawn_as_bars(demo):
    drawn = run("ws", "usage", "riverside-dental", "--window", "7d", **demo)
    assert drawn.returncode == 0, drawn.stderr
    bars = re.findall(r"^(2026-05-\d\d)  (█*[▏▎▍▌▋▊▉]?) *(\d+)$", drawn.stdout, re.M)
    assert len(bars) == 8
    by_day = {day: (len(bar), int(credits)) for day, bar, credits in bars}
    assert by_day["2026-05-17"] == (0, 0), "on Sunday the practice is closed"
    assert by_day["2026-05-18"][0] > 40
    assert re.search(r"\d+ credits, \d+(\.\d+)? compute hours", drawn.stdout)


def test_exit_codes_tell_scripts_what_happened(demo):
    assert run("ws", "show", "no-such-one", **demo).returncode == 3
    assert run("ws", "ls", **(demo | {"MIOSA_API_KEY": "msk_u_wrong"})).returncode == 4
    assert run("ws", "create", "Riverside Dental", **demo).returncode == 2
    assert run("ws", "set", "default", **demo).returncode == 2
    assert run("ws", "ls", MIOSA_BASE_URL=demo["MIOSA_BASE_URL"]).returncode == 2
    nobody = run("ws", "ls", **(demo | {"MIOSA_BASE_URL": "http://127.0.0.1:9"}))
    assert nobody.returncode == 1 and "is the service running" in nobody.stderr
    refused = run("computers", "create", "x", "--workspace", "external:clinic_lakeside", **demo)
    assert refused.returncode == 2 and "LIMIT_EXCEEDED" in refused.stderr


# --- for operators ---------------------------------------------------------------------------


def test_doctor_says_what_is_wrong(tmp_path):
    with Server(tmp_path) as server:
        fine = run("doctor", "--data-dir", server.data_dir, "--dns-resolver", "127.0.0.1:9")
        assert fine.returncode == 0, fine.stdout
        lines = {line.split()[1]: line for line in fine.stdout.splitlines()}
        assert {"permissions", "schema", "database", "wal", "clock", "service", "disk", "dns"} <= lines.keys()
        assert lines["service"].endswith("running") and "not running" not in lines["service"]
        assert lines["dns"].startswith("warn")
    (tmp_path / "data").chmod(0o755)
    wrong = run("doctor", "--data-dir", tmp_path / "data", "--dns-resolver", "127.0.0.1:9")
    assert wrong.returncode == 1
    assert "chmod 700" in wrong.stdout and "not running" in wrong.stdout


def test_the_log_gets_louder_while_it_runs(tmp_path):
    with Server(tmp_path, "--log", "error") as server, server.http(server.first_key) as http:
        http.get("/whoami")
        assert http.put("/system/log", json={"filter": "info"}).status_code == 200
        http.get("/projects")
        eventually(lambda: "/projects" in server.log, "the request in the log")
        assert "whoami" not in server.log


def test_the_admin_page_and_the_metrics_have_a_listener_of_their_own(tmp_path):
    with Server(tmp_path, "--admin-listen", "127.0.0.1:0") as server:
        page = re.search(r"Admin page +(http://\S+)/admin", server.output)[1]
        assert page != server.url
        assert httpx.get(f"{server.url}/admin").status_code == 404
        assert httpx.get(f"{page}/admin").status_code == 200
        metrics = httpx.get(f"{page}/metrics")
        assert metrics.status_code == 200 and "workspaced_http_requests_total" in metrics.text
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 10


def test_completions_and_the_manual_page_name_the_commands():
    for shell in ("bash", "zsh", "fish"):
        completions = run("completions", shell)
        assert completions.returncode == 0 and "rebuild-usage" in completions.stdout, shell
    manual = run("man")
    assert manual.stdout.startswith(".ie") and "workspaced" in manual.stdout
