"""The program itself: first start, flags, signals, a second process, crashes, the command line."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from contextlib import closing
from datetime import datetime

import httpx
import pytest

from workspaced import BINARY, FAST, PATIENCE, Server, environment, eventually, run


def answers(server: Server, key: str) -> int:
    with server.http(key) as http:
        return http.get("/workspaces").status_code


# --- first start -----------------------------------------------------------------------------


def test_the_first_start_prints_what_a_newcomer_needs_and_the_second_does_not(tmp_path):
    with Server(tmp_path) as server:
        lines = [line.strip() for line in server.output.splitlines()]
        key = server.first_key
        assert f"export MIOSA_BASE_URL={server.url}/api/v1" in lines
        assert f"export MIOSA_API_KEY={key}" in lines
        assert any(f"{server.url}/admin" in line for line in lines)
        assert lines[-1] == f"listening on {server.url}"
        assert key.startswith("msk_a_") and len(key) >= 40
        assert answers(server, key) == 200
        with server.http(key) as http:
            who = http.get("/whoami").json()
            assert who["operator"] is True
            [default] = http.get("/workspaces").json()["data"]
            assert (default["name"], default["is_default"]) == ("default", True)
    with Server(tmp_path) as server:
        lines = [line.strip() for line in server.output.splitlines()]
        assert lines[-1] == f"listening on {server.url}"
        # Where to sign in and how to come by a key, but no key.
        assert any(line.endswith(f"{server.url}/admin") for line in lines)
        assert "msk_" not in server.output and "MIOSA_API_KEY" not in server.output
        assert answers(server, key) == 200
        [line] = [line for line in lines if "workspaced keys create" in line]
        made = run(*line.partition("workspaced ")[2].split())
        assert made.returncode == 0, made.stderr
        assert answers(server, made.stdout.partition("MIOSA_API_KEY=")[2].strip()) == 200


def test_the_data_directory_is_for_its_owner_only(tmp_path):
    with Server(tmp_path) as server:
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
        assert (server.data_dir / "workspaced.db").is_file()


def test_the_fixed_key_opens_development_mode_only(tmp_path):
    with Server(tmp_path, "--dev") as server:
        assert server.first_key == "msk_u_dev"
        assert answers(server, "msk_u_dev") == 200
        with server.http("msk_u_dev") as http:
            assert http.get("/whoami").json()["operator"] is True
    with Server(tmp_path) as server:
        key = server.first_key
        assert key != "msk_u_dev", "without a usable operator key a new one is made"
        assert answers(server, "msk_u_dev") == 401
        assert answers(server, key) == 200
    with Server(tmp_path, "--dev") as server:
        assert answers(server, "msk_u_dev") == 200


# --- flags, variables, configuration ---------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_development_mode_refuses_addresses_that_others_reach(tmp_path, address):
    done = run("--data-dir", tmp_path / "data", "--dev", "--listen", address)
    assert done.returncode == 2
    assert "--listen" in done.stderr and "loopback" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "nonsense"], ["--listen"]),
        (["--listen", "127.0.0.1"], ["--listen", "[::1]:8400"]),
        (["--listen", "no-such-name.invalid:80"], ["--listen", "no-such-name.invalid"]),
        (["--log-format", "xml"], ["--log-format", "text", "json"]),
        (["--provision-ms", "-1"], ["--provision-ms", "0", "3600000"]),
        (["--start-ms", "3600001"], ["--start-ms", "3600000"]),
        (["--stop-ms", "soon"], ["--stop-ms"]),
        (["--readers", "0"], ["--readers", "1", "64"]),
        (["--base-domain", "https://x.example"], ["--base-domain"]),
        (["--proxy-host", "not a host"], ["--proxy-host"]),
        (["--dns-resolver", "dns.example"], ["--dns-resolver"]),
        (["--log", "chatty=loud"], ["--log", "error, warn, info, debug, trace"]),
        (["--config", "/no/such/file.toml"], ["--config", "/no/such/file.toml"]),
        (["--oidc-issuer", "https://login.example", "--oidc-client-id", "x"], ["--oidc-issuer", "--public-url"]),
        (["--oidc-issuer", "http://login.example", "--oidc-client-id", "x"], ["--oidc-issuer", "https://"]),
        (["--oidc-role", "staff=boss"], ["--oidc-role", "--oidc-issuer"]),
        # A secret on the command line would be seen by other users of the machine.
        (["--oidc-client-secret", "x"], ["--oidc-client-secret", "--oidc-client-secret-file"]),
        (["--no-such-flag"], ["--no-such-flag"]),
        (["no-such-command"], ["no-such-command"]),
        (["tenants", "create", "--name", ""], ["--name"]),
        (["keys", "revoke", "nonsense"], ["nonsense", "keys list"]),
        (["keys", "create", "--name", "x", "--expires-at", "soon"], ["--expires-at", "RFC 3339"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_bad_value_names_the_flag_and_what_is_allowed(tmp_path, arguments, says):
    done = run(*arguments, WORKSPACED_DATA_DIR=str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    for text in says:
        assert text in done.stderr
    assert not (tmp_path / "data").exists(), "nothing is made before everything is known to be right"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml", "line 1"),
        ("max_computer = 5", "max_computer"),
        ("[limits]\nmax_computers = -1", "limits.max_computers"),
        ("[sizes.huge]\nvcpus = 1", "huge"),
        ("[sizes.small]\ncredits_per_hour = 100001", "sizes.small.credits_per_hour"),
        ("[sizes.small]\nvcpus = 0", "sizes.small.vcpus"),
        ("templates = []", "templates"),
    ],
)
def test_a_bad_configuration_file_says_where(tmp_path, text, says):
    config = tmp_path / "bad.toml"
    config.write_text(text)
    done = run("--data-dir", tmp_path / "data", "--config", config)
    assert done.returncode == 2
    assert str(config) in done.stderr and says in done.stderr


def test_the_configuration_file_sets_sizes_templates_and_ceilings(tmp_path):
    config = tmp_path / "good.toml"
    config.write_text(
        'templates = ["bare"]\n'
        "[limits]\nmax_computers = 1\nmax_computer_size = \"medium\"\n"
        "[sizes.small]\nvcpus = 3\ncredits_per_hour = 7\n"
    )
    with Server(tmp_path, "--dev", "--config", config) as server, server.http("msk_u_dev") as http:
        sizes = {size["slug"]: size for size in http.get("/compute/sizes").json()["data"]}
        assert (sizes["small"]["vcpus"], sizes["small"]["memory_mb"]) == (3, 4096)
        too_big = http.post("/computers", json={"name": "a", "size": "large"}).json()
        assert "max_computer_size medium" in too_big["message"]
        computer = http.post("/computers", json={"name": "a"}).json()
        assert (computer["template_type"], computer["vcpus"]) == ("bare", 3)
        refused = http.post("/computers", json={"name": "b"})
        assert (refused.status_code, refused.json()["code"]) == (422, "LIMIT_EXCEEDED")
        assert refused.json()["error"]["details"]["scope"] == "tenant"
        assert http.get("/tenant/plan").json()["limits"]["max_computers"] == 1


def test_every_flag_has_a_variable(tmp_path):
    variables = {
        "WORKSPACED_DATA_DIR": str(tmp_path / "elsewhere"),
        "WORKSPACED_DEV": "true",
        "WORKSPACED_LOG_FORMAT": "json",
        "WORKSPACED_BASE_DOMAIN": "previews.example",
        "WORKSPACED_PROXY_HOST": "proxy.example",
        "WORKSPACED_PROVISION_MS": "0",
    }
    done = run("--log-format", "json", "--help")
    assert done.returncode == 0
    for name in [*variables, "WORKSPACED_LISTEN", "WORKSPACED_CONFIG", "WORKSPACED_DNS_RESOLVER"]:
        assert name in done.stdout

    del variables["WORKSPACED_DATA_DIR"]  # the flag, which wins, is given by Server
    with Server(tmp_path, **variables) as server, server.http("msk_u_dev") as http:
        computer = http.post("/computers", json={"name": "a"}).json()
        assert computer["preview_domain"] == "previews.example"
        assert http.get("/tenant/preview-domain").json()["cname_target"] == "proxy.example"
        eventually(lambda: http.get(f"/computers/{computer['id']}").json()["status"] == "running", "running at once")
        assert all(line.startswith("{") for line in server.log.splitlines())
    for name, value in (("WORKSPACED_PROVISION_MS", "x"), ("WORKSPACED_LISTEN", "x")):
        done = run("--data-dir", tmp_path / "data", **{name: value})
        assert done.returncode == 2 and name.removeprefix("WORKSPACED_").lower().replace("_", "-") in done.stderr


def test_every_flag_is_shown_as_it_is_in_effect_and_no_secret(tmp_path):
    named = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", run("serve", "--help").stdout, re.M)) - {"--help", "--version"}
    assert {"--listen", "--data-dir", "--clock", "--oidc-issuer"} <= named
    secret = "msk_a_0123456789abcdefghijKLMNOPqrstuvwxyz01"
    with Server(tmp_path, "--low-credits", "7", WORKSPACED_BOOTSTRAP_KEY=secret) as server, server.http(secret) as http:
        reply = http.get("/system")
        shown = {flag["name"]: flag["value"] for flag in reply.json()["flags"]}
        assert set(shown) == named
        assert secret not in reply.text and shown["--bootstrap-key"] == "given, not shown"
        # The port that was free, the whole path, what was given and what was not.
        assert shown["--listen"] == server.url
        assert shown["--data-dir"] == str(server.data_dir.absolute())
        assert (shown["--low-credits"], shown["--clock"], shown["--config"]) == ("7", "real", "none")


def test_links_have_the_port_that_was_free(tmp_path):
    with Server(tmp_path) as server, server.http(server.first_key) as http:
        [workspace] = http.get("/workspaces").json()["data"]
        link = http.post(f"/workspaces/{workspace['id']}/share-links", json={}).json()
        assert link["url"] == server.url + link["path"]
        assert httpx.get(link["url"]).status_code == 200


def test_help_and_version(tmp_path):
    done = run("--help")
    assert done.returncode == 0
    for word in ("serve", "tenants", "keys", "version", "--data-dir", "127.0.0.1:8400", "workspaced-data"):
        assert word in done.stdout
    assert run("version").stdout == run("--version").stdout
    assert run("version").stdout.startswith("workspaced ")


def test_an_address_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        done = run("--data-dir", tmp_path / "data", "--listen", address)
    assert done.returncode == 1
    assert address in done.stderr and "choose another" in done.stderr
    assert not (tmp_path / "data").exists(), "nothing is made, above all no key that nobody sees"


def test_a_name_is_listened_on_with_all_its_addresses_and_so_is_each_flag(tmp_path):
    flags = ("--listen", "localhost:0", "--listen", "127.0.0.9:0")
    with Server(tmp_path, *flags) as server:
        port = server.url.rpartition(":")[2]
        assert server.url == f"http://localhost:{port}"
        [also] = re.findall(r"also on (http://127\.0\.0\.9:\d+)", server.output)
        names = {address[0] for *_, address in socket.getaddrinfo("localhost", int(port), type=socket.SOCK_STREAM)}
        assert "127.0.0.1" in names
        urls = [f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}" for name in names]
        for url in [*urls, server.url, also]:
            assert httpx.get(f"{url}/health").status_code == 200, url
        assert "plain HTTP" not in server.log


def test_what_others_reach_by_plain_http_is_told(tmp_path):
    with Server(tmp_path, "--listen", "0.0.0.0:0") as server:
        assert server.output.endswith(f"listening on {server.url}\n") and "0.0.0.0" in server.url
        usable = next(line for line in server.output.splitlines() if "Admin page" in line).split()[-1]
        assert "0.0.0.0" not in usable
        assert httpx.get(usable).status_code == 200
        eventually(lambda: "plain HTTP" in server.log and "--trusted-proxy" in server.log, "a word in the log")
    with Server(tmp_path, "--listen", "0.0.0.0:0", "--trusted-proxy", "127.0.0.1") as server:
        assert "plain HTTP" not in server.log


def test_a_directory_that_would_be_ignored_is_told(tmp_path):
    done = run("demo", "--no-open", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "--data-dir" in done.stderr and "workspaced seed" in done.stderr
    with Server(tmp_path, "--ephemeral") as server:
        eventually(lambda: "--data-dir" in server.log and "not used" in server.log, "a word in the log")
    assert not (tmp_path / "data").exists()


# --- a key that is known before the first start ------------------------------------------------

CHOSEN = "msk_a_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c"


def test_a_key_may_be_chosen_before_the_first_start(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"{CHOSEN}\n")
    for given in ({"WORKSPACED_BOOTSTRAP_KEY": CHOSEN}, {"WORKSPACED_BOOTSTRAP_KEY_FILE": str(secret)}):
        home = tmp_path / next(iter(given))
        with Server(home, **given) as server, server.http(CHOSEN) as http:
            assert http.get("/whoami").json()["operator"] is True
            [made] = http.get("/audit-log", params={"type": "api_key.created"}).json()["data"]
            assert made["actor_type"] == "operator"
            assert CHOSEN not in server.output and CHOSEN not in server.log
            assert "WORKSPACED_BOOTSTRAP_KEY" in server.output
        # With the same environment again, as a container starts; another key counts for nothing then.
        other = CHOSEN.replace("9f86", "1234")
        for again in (given, {}, {"WORKSPACED_BOOTSTRAP_KEY": other}):
            with Server(home, **again) as server:
                assert "msk_" not in server.output
                assert answers(server, CHOSEN) == 200 and answers(server, other) == 401


def test_a_chosen_key_that_nobody_has_used_yet_stays_the_only_one(tmp_path):
    for _ in range(2):
        with Server(tmp_path, WORKSPACED_BOOTSTRAP_KEY=CHOSEN) as server:
            assert "msk_" not in server.output
    with Server(tmp_path, WORKSPACED_BOOTSTRAP_KEY=CHOSEN) as server, server.http(CHOSEN) as http:
        assert http.get("/api-keys").json()["total"] == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"WORKSPACED_BOOTSTRAP_KEY": "secret"}, "begin with msk_"),
        ({"WORKSPACED_BOOTSTRAP_KEY": "msk_short"}, "too short"),
        ({"WORKSPACED_BOOTSTRAP_KEY": "msk_" + "ab" * 20}, "could be guessed"),
        ({"WORKSPACED_BOOTSTRAP_KEY_FILE": "/no/such/file"}, "/no/such/file"),
        ({"WORKSPACED_BOOTSTRAP_KEY": CHOSEN, "WORKSPACED_BOOTSTRAP_KEY_FILE": "x"}, "not both"),
        ({"WORKSPACED_BOOTSTRAP_KEY": CHOSEN, "WORKSPACED_DEV": "true"}, "--dev"),
    ],
)
def test_a_chosen_key_that_could_be_guessed_is_refused(tmp_path, given, says):
    done = run("--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0", **given)
    assert done.returncode == 2, done.stderr
    assert "WORKSPACED_BOOTSTRAP_KEY" in done.stderr and says in done.stderr
    assert given["WORKSPACED_BOOTSTRAP_KEY"] not in done.stderr if "WORKSPACED_BOOTSTRAP_KEY" in given else True
    assert not (tmp_path / "data").exists()


# --- health ------------------------------------------------------------------------------------


def test_health_answers_by_its_exit_code(tmp_path):
    with Server(tmp_path) as server:
        listen = server.url.removeprefix("http://")
        for command in [("health", server.url), ("health", "--live", "--listen", listen)]:
            done = run(*command)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
            assert done.stdout.strip() in ("ready", "ok")
        # As a container's own check: by the variable that the service has, a wildcard included.
        assert run("health", WORKSPACED_LISTEN=listen.replace("127.0.0.1", "0.0.0.0")).returncode == 0
        server.send(signal.SIGSTOP)
        server.send(signal.SIGCONT)
    done = run("health", server.url)
    assert done.returncode == 1 and server.url in done.stderr
    began = time.monotonic()
    assert run("health", server.url, "--wait", "1s").returncode == 1
    assert time.monotonic() - began >= 1


def test_health_waits_for_a_service_that_starts(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = "127.0.0.1:%d" % probe.getsockname()[1]
    command = [BINARY, "health", "--wait", "15s", "--listen", listen]
    waiting = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    with Server(tmp_path, "--listen", listen):
        assert waiting.wait(PATIENCE) == 0
        assert waiting.communicate()[0] == "ready\n"


# --- one process per directory ---------------------------------------------------------------


def test_a_second_service_on_the_same_directory_is_refused(tmp_path):
    with Server(tmp_path) as server:
        done = run("--data-dir", server.data_dir, "--listen", "127.0.0.1:0")
        assert done.returncode == 1
        assert "another workspaced" in done.stderr and str(server.data_dir) in done.stderr
        assert answers(server, server.first_key) == 200


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--data-dir", tmp_path / "file" / "data")
    assert done.returncode == 1
    assert "--data-dir" in done.stderr


def test_a_newer_database_is_refused(tmp_path):
    with Server(tmp_path) as server:
        pass
    with closing(sqlite3.connect(server.data_dir / "workspaced.db")) as db:
        [version] = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version + 1}")
    done = run("--data-dir", server.data_dir, "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "newer" in done.stderr


def test_the_way_back_from_a_newer_schema_is_named(tmp_path):
    with Server(tmp_path) as server:
        key = server.first_key
    home = server.data_dir
    with closing(sqlite3.connect(home / "workspaced.db")) as db:
        [version] = db.execute("PRAGMA user_version").fetchone()
    for earlier in (f"version-{version}-20260101T000000000Z", f"version-{version + 1}-20270101T000000000Z"):
        assert run("backup", home / f"workspaced.db.{earlier}", "--data-dir", home).returncode == 0
    with closing(sqlite3.connect(home / "workspaced.db")) as db:
        db.execute(f"PRAGMA user_version = {version + 2}")
    done = run("--data-dir", home, "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    [way] = re.findall(r"workspaced (restore \S+ --data-dir \S+?)\.? ", done.stderr)
    assert f"version-{version}-2026" in way, "the newest that this program can read"
    back = run(*way.split())
    assert back.returncode == 0, back.stderr
    with Server(tmp_path) as server:
        assert answers(server, key) == 200


# --- stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_finished_before_the_end(tmp_path, number):
    with Server(tmp_path) as server:
        key, body = server.first_key, b'{"name": "Under way"}'
        host, port = server.url.removeprefix("http://").rsplit(":", 1)
        with socket.create_connection((host, int(port))) as connection:
            head = (
                f"POST /api/v1/workspaces HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body[:5])
            answers(server, key)  # a round trip later the service has read the head
            server.send(number)
            eventually(lambda: "stopping" in server.log, "the service to begin to stop")
            assert server.process.poll() is None
            connection.sendall(body[5:])
            connection.settimeout(10)
            reply = b"".join(iter(lambda: connection.recv(65536), b""))
        assert reply.startswith(b"HTTP/1.1 201 ")
        assert server.wait() == 0
        assert not (server.data_dir / "workspaced.db-wal").exists(), "the log is folded into the database"
    with Server(tmp_path) as server, server.http(key) as http:
        assert [w["name"] for w in http.get("/workspaces").json()["data"]] == ["default", "Under way"]


def test_new_connections_are_refused_while_it_stops_and_idle_ones_do_not_hold_it(tmp_path):
    with Server(tmp_path) as server:
        host, port = server.url.removeprefix("http://").rsplit(":", 1)
        with socket.create_connection((host, int(port))):
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 5
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))


def test_open_event_streams_do_not_hold_a_stop(tmp_path):
    with Server(tmp_path) as server, server.http(server.first_key) as http:
        with http.stream("GET", "/events/stream") as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 5


# --- restarts --------------------------------------------------------------------------------


def test_a_restart_keeps_everything_and_catches_up(tmp_path):
    """What fell due while nobody served is done at the start, dated when it was due."""
    slow = ("--provision-ms", "1500", "--stop-ms", "0")
    with Server(tmp_path, "--dev", *slow) as server, server.http("msk_u_dev") as http:
        workspace = http.post("/workspaces", json={"name": "Kept", "metadata": {"a": [1, None]}}).json()
        computer = http.post(
            "/computers", json={"name": "late", "workspace_id": workspace["id"], "auto_stop_seconds": 1}
        ).json()
        assert computer["status"] == "provisioning"
        before = http.get(f"/workspaces/{workspace['id']}").json()
    stopped_at = time.time()
    eventually(lambda: time.time() > stopped_at + 3.5, "both deadlines to pass")
    with Server(tmp_path, "--dev", *slow) as server, server.http("msk_u_dev") as http:
        def stopped():
            now = http.get(f"/computers/{computer['id']}").json()
            return now if now["status"] == "stopped" else None

        caught_up = eventually(stopped, "the computer to be stopped")
        assert http.get(f"/workspaces/{workspace['id']}").json() == before
        created, started, ended = (
            datetime.fromisoformat(caught_up[name]).timestamp() for name in ("created_at", "started_at", "stopped_at")
        )
        assert created + 1 <= started <= created + 2
        assert ended == started + 1, "dated at its deadline, not at the restart"


def test_acknowledged_writes_survive_a_kill(tmp_path):
    acknowledged: list[list[str]] = [[] for _ in range(4)]
    with Server(tmp_path) as server:
        key = server.first_key

        def write(mine: list[str], writer: int) -> None:
            with server.http(key) as http:
                try:
                    while http.post("/workspaces", json={"name": f"w{writer}-{len(mine)}"}).status_code == 201:
                        mine.append(f"w{writer}-{len(mine)}")
                except httpx.TransportError:
                    pass  # the service is gone

        writers = [threading.Thread(target=write, args=(mine, n)) for n, mine in enumerate(acknowledged)]
        for writer in writers:
            writer.start()
        eventually(lambda: all(len(mine) >= 10 for mine in acknowledged), "some writes")
        server.kill()
        for writer in writers:
            writer.join()

    with Server(tmp_path) as server, server.http(key) as http:
        found = {w["name"] for w in http.get("/workspaces").json()["data"]}
        written = {name for mine in acknowledged for name in mine}
        assert written <= found
        assert len(found - written - {"default"}) <= len(writers), "at most the one under way of each"


# --- the command line beside a running service -----------------------------------------------


def test_tenants_and_keys_beside_a_running_service(tmp_path):
    with Server(tmp_path, *FAST) as server:
        at = ("--data-dir", server.data_dir)
        made = run("tenants", "create", *at, "--name", "Acme Inc", "--credits", "5")
        assert made.returncode == 0, made.stderr
        key = made.stdout.partition("MIOSA_API_KEY=")[2].strip()
        with server.http(key) as http:
            current = http.get("/platform/tenants/current").json()
            assert (current["name"], current["slug"]) == ("Acme Inc", "acme-inc")
            assert http.get("/workspaces").json()["total"] == 1
            assert http.post("/platform/tenants", json={"name": "x"}).status_code == 403

        listed = run("tenants", "list", *at).stdout
        assert "acme-inc" in listed and "Acme Inc" in listed and "default" in listed
        again = run("tenants", "create", *at, "--name", "Acme Inc")
        assert again.returncode == 2 and "has already been taken" in again.stderr

        which = run("keys", "create", *at, "--name", "x")
        assert which.returncode == 2 and "acme-inc" in which.stderr
        made = run("keys", "create", *at, "--tenant", "acme-inc", "--name", "reader", "--scope", "workspaces:read")
        reader = made.stdout.partition("MIOSA_API_KEY=")[2].strip()
        with server.http(reader) as http:
            assert http.get("/workspaces").status_code == 200
            assert http.post("/workspaces", json={"name": "x"}).json()["code"] == "insufficient_scope"

        rows = [line.split() for line in run("keys", "list", *at, "--tenant", "acme-inc").stdout.splitlines()]
        [row] = [row for row in rows if row[-1] == "reader"]
        assert reader[:12] in row and reader not in str(rows)
        misspelt = run("keys", "create", *at, "--tenant", "acme-inc", "--name", "x", "--scope", "computer:*")
        assert misspelt.returncode == 2 and "--scope" in misspelt.stderr and "computers:*" in misspelt.stderr
        assert run("keys", "revoke", *at, row[0]).returncode == 0
        with server.http(key) as http:
            rows = http.get("/audit-log", params={"resource_type": "api_key"}).json()["data"]
        seen = [(r["type"], r["actor_type"], (r["metadata"]["after"] or r["metadata"]["before"])["name"]) for r in rows]
        assert seen == [
            ("api_key.revoked", "operator", "reader"),
            ("api_key.created", "operator", "reader"),
            ("api_key.created", "operator", "first key"),
        ]
        began = time.monotonic()
        eventually(lambda: answers(server, reader) == 401, "the revoked key to be refused", 3)
        assert time.monotonic() - began < 2
        assert answers(server, key) == 200


def test_the_command_line_needs_a_database(tmp_path):
    for command in (["tenants", "list"], ["keys", "list"]):
        done = run(*command, "--data-dir", tmp_path / "nothing")
        assert done.returncode == 2
        assert "there is no database yet" in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_the_log_never_shows_a_secret(tmp_path):
    with Server(tmp_path, "--log", "trace", "--log-format", "json") as server:
        key = server.first_key
        with server.http(key) as http:
            secret = http.post("/api-keys", json={"name": "x"}).json()["data"]["key"]
        assert answers(server, secret) == 200
        assert '"status":200' in eventually(lambda: server.log, "a line of log")
        assert key not in server.log and secret not in server.log


# --- standard output and secrets ---------------------------------------------------------------


def into_a_closed_pipe(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs the binary where nobody reads what it prints, as behind `| head -1` once that has its line."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [BINARY, *map(str, arguments)],
            env=environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        os.close(writing)


def test_every_command_ends_quietly_when_its_reader_has_left(tmp_path):
    with Server(tmp_path) as server:
        env = {"MIOSA_BASE_URL": f"{server.url}/api/v1", "MIOSA_API_KEY": server.first_key}
        data = ("--data-dir", server.data_dir)
        for command in [
            ("ws", "ls"),
            ("ws", "ls", "--json"),
            ("ws", "show", "default"),
            ("ws", "usage", "default"),
            ("ws", "ls", "--csv"),
            ("ws", "show", "default", "--output", "yaml"),
            ("ws", "domain", "default"),
            ("ws", "usage", "--all"),
            ("open", "--no-open"),
            ("health", server.url),
            ("ws", "create", "W"),
            ("computers", "create", "c"),
            ("computers", "ls"),
            ("computers", "rm", "c"),
            ("tenants", "list", *data),
            ("tenants", "create", "--name", "Other", *data),
            ("keys", "list", *data),
            ("verify", *data),
            ("scenario", "list"),
            ("completions", "bash"),
            ("man",),
            ("version",),
            ("help",),
            ("help", "metering"),
            ("--help",),
            ("--version",),
        ]:
            done = into_a_closed_pipe(*command, **env)
            assert (done.returncode, done.stderr) == (0, ""), command


def test_a_service_goes_on_where_nobody_reads_its_first_lines(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [BINARY, "--dev", "--data-dir", tmp_path / "data", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, env=environment(), stdout=writing, stderr=subprocess.DEVNULL)
    os.close(writing)
    try:

        def ready() -> bool:
            assert process.poll() is None, process.returncode
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            return False

        eventually(ready, "an answer")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


@contextlib.contextmanager
def unread_log(tmp_path):
    """A service whose log goes into a pipe that nobody reads, and its other end; it ends when it is told to."""
    reading, writing = os.pipe()
    command = [BINARY, "--dev", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=writing, text=True)
    os.close(writing)
    try:
        url = next(line.split()[-1] for line in process.stdout if line.startswith("listening on "))
        with httpx.Client(base_url=url, headers={"Authorization": "Bearer msk_u_dev"}, timeout=10) as http:
            yield http, reading
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_service_goes_on_where_its_log_is_not_read(tmp_path):
    """A pager at its first page, a terminal whose output is held: the log waits, and nobody else."""
    log = bytearray()
    with unread_log(tmp_path) as (http, reading):
        # Far more lines than a pipe and the lines that may wait have room for.
        for _ in range(6000):
            assert http.get("/api/v1/whoami").status_code == 200

        def read() -> None:
            while piece := os.read(reading, 1 << 16):
                log.extend(piece)

        # Read again, it goes on, and says what is missing.
        threading.Thread(target=read, daemon=True).start()
        eventually(lambda: b"lines of the log were lost" in log, "a word of what was lost")
        assert log.count(b"/api/v1/whoami") > 4000


def test_a_service_whose_log_is_not_read_ends_when_it_is_told(tmp_path):
    with unread_log(tmp_path) as (http, _):
        for _ in range(1000):
            assert http.get("/api/v1/whoami").status_code == 200


def test_a_key_from_a_file_of_secrets_may_end_its_line(tmp_path):
    with Server(tmp_path) as server:
        key = server.first_key
        for written in [f"{key}\n", f"{key}\r\n", f"  {key} "]:
            done = run("ws", "ls", MIOSA_BASE_URL=f"{server.url}/api/v1\n", MIOSA_API_KEY=written)
            assert (done.returncode, done.stderr) == (0, ""), repr(written)
            assert "default" in done.stdout
        nothing = run("ws", "ls", MIOSA_BASE_URL=server.url, MIOSA_API_KEY="\n")
        assert nothing.returncode == 2
        assert "there is no API key" in nothing.stderr
