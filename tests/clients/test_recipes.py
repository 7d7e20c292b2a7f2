"""The recipes of the manual, run as far as this machine can; what it cannot run is skipped and says why."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import yaml

from test_readme import MANUAL, block
from workspaced import BINARY, FAST, PATIENCE, ROOT, Server, environment, eventually, run

RECIPES = f"{MANUAL}/recipes.md"
COMPOSE = block("yaml", RECIPES, "ENTRYPOINT [")


def tool(name: str) -> str:
    """A program that the recipe needs; nginx and the like are not on everybody's PATH."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if not found:
        pytest.skip(f"{name} is not installed: this recipe was not run")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_the_path(directory: Path) -> str:
    """A PATH on which `workspaced` is the binary under test."""
    directory.mkdir()
    (directory / "workspaced").symlink_to(BINARY)
    return f"{directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"


APPLICATION = """
from miosa import Miosa

def test_the_application():
    client = Miosa()
    made = client.workspaces.create("Dr. Jones Clinic", external_workspace_id="clinic_124")
    assert made["name"] == "Dr. Jones Clinic"
"""


def test_github_actions(tmp_path):
    """Every `run` step in the shell that GitHub uses, in order, with an application to test."""
    port = free_port()
    text = block("yaml", RECIPES, "## GitHub Actions").replace("8400", str(port))
    workflow = yaml.safe_load(text)
    assert workflow[True] == "push", "YAML reads `on` as true"
    job = workflow["jobs"]["test"]
    work = tmp_path / "work"
    work.mkdir()
    (work / "test_application.py").write_text(APPLICATION)
    env = environment(PATH=on_the_path(tmp_path / "bin"), CI="true", **job["env"])
    steps = [step for step in job["steps"] if "run" in step]
    assert [step["name"] for step in steps] == ["Start workspaced", "Test", "What it logged"]
    # As on a runner, what a step leaves in the background lives on: all steps are children of one shell.
    script = "\n".join(f"bash --noprofile --norc -eo pipefail {n}.sh || exit 1" for n in range(len(steps)))
    for n, step in enumerate(steps):
        (work / f"{n}.sh").write_text(step["run"])
    job = subprocess.Popen(
        ["bash", "-c", script], cwd=work, env=env, start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        code = job.wait(120)
        log = (work / "workspaced.log").read_text()
        assert code == 0, log
        assert f"listening on http://127.0.0.1:{port}" in log
    finally:
        os.killpg(job.pid, signal.SIGTERM)
    output = job.communicate(timeout=PATIENCE)[0]
    assert "1 passed" in output, output


def test_the_container_starts_and_stops_as_the_image_says(tmp_path):
    """The commands of the image without the image: no Docker daemon is needed, so none is asked."""
    dockerfile = block("dockerfile", RECIPES, "## A container")
    instructions = dict(re.findall(r"^(USER|ENV|VOLUME|EXPOSE|HEALTHCHECK CMD|ENTRYPOINT) (.*)$", dockerfile, re.MULTILINE))
    assert "RUN cargo build --locked --release" in dockerfile
    oldest = re.search(r'^rust-version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert f"FROM rust:{oldest}-" in dockerfile
    service = compose()
    assert service["ports"] == ["127.0.0.1:{0}:{0}".format(instructions["EXPOSE"])]
    assert service["volumes"] == [f"data:{instructions['VOLUME']}"]
    command = json.loads(instructions["ENTRYPOINT"]) + service["command"]
    assert command[0] == "workspaced"
    home = tmp_path / "data"
    port = free_port()

    def here(word: str) -> str:
        return word.replace("/data", str(home)).replace("0.0.0.0:8400", f"0.0.0.0:{port}")

    env = environment(**dict(word.split("=", 1) for word in here(instructions["ENV"]).split()))
    out = tmp_path / "out.txt"
    with out.open("w") as stdout:
        process = subprocess.Popen([BINARY, *map(here, command[1:])], env=env, stdout=stdout, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: "listening on " in out.read_text(), "it to listen")
        assert "MIOSA_API_KEY=" in out.read_text(), "the key that `docker compose logs` shows"
        check = json.loads(instructions["HEALTHCHECK CMD"])
        assert check[0] == "workspaced" and subprocess.run([BINARY, *check[1:]], env=env, timeout=PATIENCE).returncode == 0
        # Everything that it writes is below the one volume: the rest may be read-only.
        assert service["read_only"] is True and home.exists()
    finally:
        process.terminate()
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert process.wait(grace) == 0


def test_the_service_container(tmp_path):
    """The emulator with the environment that the workflow gives the image, reached as the job reaches it."""
    dockerfile = block("dockerfile", RECIPES, "## A container")
    job = yaml.safe_load(block("yaml", RECIPES, "## A service container"))["jobs"]["test"]
    service = job["services"]["workspaced"]
    assert service["ports"] == ["127.0.0.1:8400:8400"]
    port = free_port()
    image = dict(re.findall(r"(WORKSPACED_\w+)=(\S+)", dockerfile))
    image["WORKSPACED_LISTEN"] = image["WORKSPACED_LISTEN"].replace("8400", str(port))
    env = environment(**image, **service["env"], TMPDIR=str(tmp_path))
    process = subprocess.Popen([BINARY], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    try:
        check = re.search(r'--health-cmd "workspaced ([^"]*)"', service["options"])[1].split()
        waited = subprocess.run([BINARY, *check, "--wait", "15s"], env=env, timeout=PATIENCE, capture_output=True)
        assert waited.returncode == 0, waited.stderr
        key = {"Authorization": f"Bearer {job['env']['MIOSA_API_KEY']}"}
        base = job["env"]["MIOSA_BASE_URL"].replace("8400", str(port))
        for host, status in ((f"127.0.0.1:{port}", 200), ("workspaced:8400", 200), ("evil.example", 403)):
            with httpx.Client(base_url=base, headers=key | {"Host": host}, timeout=PATIENCE) as http:
                assert http.get("/whoami").status_code == status, host
                moved = http.post(f"http://127.0.0.1:{port}/_dev/clock", json={"advance_seconds": 60})
                assert moved.status_code == status, (host, moved.text)
        # The job's client, unmodified.
        (tmp_path / "test_application.py").write_text(APPLICATION)
        tested = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "test_application.py"],
            cwd=tmp_path, env=environment(MIOSA_BASE_URL=base, MIOSA_API_KEY="msk_u_dev"), capture_output=True, text=True,
        )  # fmt: skip
        assert tested.returncode == 0, tested.stdout
    finally:
        process.terminate()
    assert process.wait(PATIENCE) == 0
    assert not list(tmp_path.glob("workspaced-ephemeral-*")), "nothing is kept"


def compose() -> dict:
    """The one service of the file."""
    whole = yaml.safe_load(COMPOSE)
    assert set(whole["volumes"]) == {"data"}
    return whole["services"]["workspaced"]


def test_compose_takes_the_file(tmp_path):
    docker = shutil.which("docker")
    plugin = docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
    command = [docker, "compose"] if plugin else [tool("docker-compose")]
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    done = subprocess.run(
        [*command, "-f", "compose.yaml", "config"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    service = yaml.safe_load(done.stdout)["services"]["workspaced"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]


def test_the_systemd_unit(tmp_path):
    """Read by systemd itself: no unknown setting, and little that is left open."""
    analyze = tool("systemd-analyze")
    unit = block("ini", f"{MANUAL}/operating.md", "## systemd")
    start = re.search(r"^ExecStart=(\S+) (.*)$", unit, re.MULTILINE)
    assert start[1] == "/usr/local/bin/workspaced"
    # Each flag is one of this binary.
    help_text = run("--help").stdout
    assert all(flag in help_text for flag in re.findall(r"--[a-z-]+", start[2]))
    file = tmp_path / "workspaced.service"
    file.write_text(unit.replace(start[1], str(BINARY)))
    done = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "workspaced.service" in line]
    assert done.returncode == 0 and not complaints, done.stderr
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", file],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


NGINX = """
daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
    scgi_temp_path {dir}/s;
    server {{ listen 127.0.0.1:{port}; {recipe} }}
}}
"""


def nginx(home: Path, port: int, backend: str) -> list[str]:
    return nginx_with(block("nginx", RECIPES, "## nginx or Caddy"), home, port, backend)


def nginx_with(recipe: str, home: Path, port: int, backend: str) -> list[str]:
    program = tool("nginx")
    recipe = recipe.replace("127.0.0.1:8400", backend)
    (home / "nginx.conf").write_text(NGINX.format(dir=home, port=port, recipe=recipe))
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    return [program, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log"), *user]


def caddy(home: Path, port: int, backend: str) -> list[str]:
    program = tool("caddy")
    recipe = block("caddy", RECIPES, "## nginx or Caddy").replace("127.0.0.1:8400", backend)
    # On loopback there is no certificate to be had.
    recipe = recipe.replace("workspaces.example.com", f"http://127.0.0.1:{port}")
    (home / "Caddyfile").write_text("{\n admin off\n grace_period 1s\n}\n" + recipe)
    return [program, "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]


@contextlib.contextmanager
def running(command: list[str], home: Path):
    """A proxy that runs meanwhile."""
    env = environment(HOME=str(home), XDG_DATA_HOME=str(home), XDG_CONFIG_HOME=str(home))
    with (home / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
        assert process.poll() is None, (home / "log.txt").read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_behind_a_proxy(proxy, tmp_path):
    home, port = tmp_path / "proxy", free_port()
    home.mkdir()
    with Server(tmp_path / "trusting", *FAST, "--trusted-proxy", "127.0.0.1") as server:
        with running(proxy(home, port, server.url.removeprefix("http://")), home):
            check_proxy(server, f"http://127.0.0.1:{port}")


def signed_in(url: str, key: str, **options) -> httpx.Client:
    """A browser of a kind that has signed in at `url`."""
    origin = "/".join(url.split("/")[:3])
    http = httpx.Client(headers={"X-Workspaced-Admin": "1", "Origin": origin}, timeout=PATIENCE, **options)

    def there():
        with contextlib.suppress(httpx.TransportError):
            return http.get(f"{url}/health").status_code == 200

    eventually(there, "the proxy")
    reply = http.post(f"{url}/admin/session", json={"key": key})
    assert reply.status_code == 200, reply.text
    return http


@pytest.mark.parametrize("takes_the_path_off", [False, True])
def test_below_a_path(takes_the_path_off, tmp_path):
    """Page, API, reference and manual below a path, with the proxy's usual Host, which is that of the service."""
    home, port = tmp_path / "proxy", free_port()
    home.mkdir()
    url = f"http://127.0.0.1:{port}/workspaced"
    recipe = block("nginx", RECIPES, "Below a path")
    if takes_the_path_off:
        recipe = recipe.replace("8400;", "8400/;")
    flags = ("--trusted-proxy", "127.0.0.1", "--public-url", url)
    with Server(tmp_path / "below", *FAST, *flags) as server:
        assert f"{url}/admin" in server.output and f"export MIOSA_BASE_URL={url}/api/v1" in server.output
        with running(nginx_with(recipe, home, port, server.url.removeprefix("http://")), home):
            with contextlib.closing(signed_in(url, server.first_key)) as http:
                [cookie] = http.cookies.jar
                assert cookie.path == "/workspaced/" and str(port) in cookie.name
                assert http.post(f"{url}/api/v1/workspaces", json={"name": "Below"}).status_code == 201
                first = http.get(f"{url}/")
                assert first.headers["location"] == "/workspaced/admin", first.headers
                # Everything that a page names is there, and below the path.
                seen, todo = set(), [f"{url}/admin", f"{url}/docs", f"{url}/docs/manual"]
                while todo:
                    page = todo.pop()
                    if page in seen:
                        continue
                    seen.add(page)
                    reply = http.get(page)
                    assert reply.status_code == 200, page
                    if reply.headers["content-type"].startswith("text/html"):
                        names = re.findall(r'(?:href|src|action)="([^"#]+)', reply.text)
                    elif reply.headers["content-type"].startswith("text/javascript"):
                        names = re.findall(r'(?:from |import |import\()"([^"]+)"', reply.text)
                    else:
                        names = []
                    links = [str(httpx.URL(page).join(name)) for name in names if "://" not in name]
                    assert all(link.startswith(f"{url}/") for link in links), (page, links)
                    todo += links
                below = {page.removeprefix(url) for page in seen}
                assert {"/assets/screens/usage.js", "/docs/manual/metering", "/openapi.json"} <= below, below
                document = http.get(f"{url}/openapi.json").json()
                assert document["servers"] == [{"url": url}]
            # The official client and our own.
            from miosa import Miosa

            with Miosa(api_key=server.first_key, base_url=f"{url}/api/v1") as client:
                assert "Below" in [w["name"] for w in client.workspaces.list()]
            done = run("ws", "ls", MIOSA_BASE_URL=url, MIOSA_API_KEY=server.first_key)
            assert "Below" in done.stdout, done.stderr


def test_what_a_trusted_proxy_says_of_the_host_is_believed(tmp_path):
    """The sign-in, with the Host of the backend, as most proxies pass it on unless they are told otherwise."""
    page = {"X-Workspaced-Admin": "1", "Origin": "https://ws.example.com"}

    def sign_in(server: Server, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{server.url}/admin/session", json={"key": server.first_key}, headers=page | named)

    with Server(tmp_path / "trusting", "--trusted-proxy", "127.0.0.1") as server:
        for headers in (
            {"X_Forwarded_Host": "ws.example.com"},
            {"X_Forwarded_Host": "ws.example.com:443", "X_Forwarded_Proto": "https"},
            {"Host": "ws.example.com:443"},
            {"Host": "ws.example.com"},
        ):
            reply = sign_in(server, **headers)
            assert reply.status_code == 200, (headers, reply.text)
            assert reply.headers["set-cookie"].startswith("__Host-workspaced_session_443=")
            assert "; Secure" in reply.headers["set-cookie"]
        assert sign_in(server, X_Forwarded_Host="evil.example").status_code == 403
    with Server(tmp_path / "alone") as server:
        assert sign_in(server, X_Forwarded_Host="ws.example.com").status_code == 403, "of anybody it is not believed"
    with Server(tmp_path / "public", "--public-url", "https://ws.example.com") as server:
        assert sign_in(server, Host="backend").status_code == 200


def whoami(http: httpx.Client, server: Server) -> int:
    return http.get(f"{server.url}/api/v1/whoami", headers={"Origin": server.url}).status_code


def test_two_installations_on_one_host_do_not_sign_each_other_out(tmp_path):
    with Server(tmp_path / "a") as a, Server(tmp_path / "b") as b:
        with contextlib.closing(signed_in(a.url, a.first_key)) as http:
            reply = http.post(f"{b.url}/admin/session", json={"key": b.first_key}, headers={"Origin": b.url})
            assert reply.status_code == 200
            for server in (a, b):
                assert whoami(http, server) == 200, server.url
            http.delete(f"{b.url}/admin/session", headers={"Origin": b.url})
            assert (whoami(http, a), whoami(http, b)) == (200, 401)


def check_proxy(server: Server, url: str) -> None:
    headers = {"Authorization": f"Bearer {server.first_key}", "X-Forwarded-For": "203.0.113.9"}
    # A client of its own address, which also lies about it.
    transport = httpx.HTTPTransport(local_address="127.0.0.7")
    with httpx.Client(base_url=f"{url}/api/v1", headers=headers, transport=transport, timeout=PATIENCE) as http:

        def there():
            try:
                return http.get("/whoami").status_code == 200
            except httpx.TransportError:
                return False

        eventually(there, "the proxy")
        made = http.post("/workspaces", json={"name": "Behind"})
        assert made.status_code == 201 and made.headers["x-request-id"].startswith("req_")
        rows = http.get("/audit-log", params={"resource_id": made.json()["id"]}).json()["data"]
        assert rows[0]["request_id"] == made.headers["x-request-id"]
        assert rows[0]["ip_address"] == "127.0.0.7", "the client's, neither the proxy's nor a made up one"
        # Errors are the service's own, and large bodies get through to it.
        large = http.post("/compute-events", json={"events": [], "padding": "x" * (4 << 20)})
        assert large.status_code == 422 and large.json()["code"] == "VALIDATION_FAILED", large.text[:300]
        # Live events come one by one, while the stream is open.
        seen = threading.Event()

        def listen():
            with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=PATIENCE) as other:
                with other.stream("GET", "/events/stream") as stream:
                    connected.set()
                    for line in stream.iter_lines():
                        if "workspace.updated" in line:
                            seen.set()
                            return

        connected = threading.Event()
        threading.Thread(target=listen, daemon=True).start()
        assert connected.wait(PATIENCE)
        http.patch(f"/workspaces/{made.json()['id']}", json={"name": "Seen"})
        assert seen.wait(PATIENCE), "the event was held back by the proxy"


@pytest.fixture
def started(tmp_path):
    with Server(tmp_path / "service", *FAST) as server:
        yield server


def test_javascript(started):
    env = environment(MIOSA_BASE_URL=f"{started.url}/api/v1", MIOSA_API_KEY=started.first_key)
    script = block("js", RECIPES, "## From JavaScript")
    done = subprocess.run(
        [tool("node"), "--input-type=module", "-e", script], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["clinic-builder", "0"]


def test_moving_a_workspace(started, tmp_path):
    out, into = [line.split("#")[0].split() for line in block("sh", RECIPES, "## Move a workspace").strip().splitlines()]
    old = {"MIOSA_BASE_URL": started.url, "MIOSA_API_KEY": started.first_key}
    assert run("ws", "create", "Clinic", "--external-id", out[2].removeprefix("external:"), **old).returncode == 0
    file = tmp_path / out[3]
    done = run(*out[1:3], file, **old)
    assert done.returncode == 0, done.stderr
    with Server(tmp_path / "new", *FAST) as new:
        env = {"MIOSA_BASE_URL": new.url, "MIOSA_API_KEY": new.first_key}
        assert into[1:] == ["import", out[3]]
        done = run(into[1], file, **env)
        assert done.returncode == 0, done.stderr
        assert "Clinic" in run("ws", "ls", **env).stdout
