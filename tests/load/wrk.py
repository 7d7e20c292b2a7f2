"""Load by wrk on one server, and what that costs the server; for the scripts of this folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

from servers import HERE

UNITS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


@dataclass
class Sample:
    """One run of wrk against one server."""

    rate: float
    p50: float
    p99: float
    cpu: float
    memory: float
    wal: float


def command(server, clients, seconds, path, extra=()):
    """wrk, asking as whoever was created for it."""
    return ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "--timeout", "90s",
            "-H", f"Authorization: Bearer {server.key}", *extra, server.url + path]


def wrk(server, clients, seconds, beside, path, script=None, *arguments):
    """Loads a server with one kind of request."""
    extra = ["-s", str(HERE / script)] if script else []
    env = {**os.environ, "LOAD_KEY": server.key, "LOAD_LIB": str(HERE / "lib.lua")}
    other = None
    if beside:
        other = subprocess.Popen(command(server, 1, seconds + 1, beside), stdout=subprocess.DEVNULL, env=env)
        time.sleep(0.5)
    before, began = server.cpu_seconds(), time.monotonic()
    out = subprocess.run(
        [*command(server, clients, seconds, path, extra), "--", *map(str, arguments)],
        capture_output=True, text=True, check=True, env=env,
    ).stdout
    if other:
        other.wait()
    cpu = (server.cpu_seconds() - before) / (time.monotonic() - began)
    if bad := re.search(r"Non-2xx or 3xx responses: (\d+)", out):
        said = f"{server.name} {path} {script or ''}: {bad[0]}"
        if server.name == "workspaced":
            sys.exit(said)
        print(said, file=sys.stderr)  # a peer that gives up under load is a result, too

    def latency(percent):
        found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", out)
        return float(found[1]) * UNITS[found[2]]

    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    return Sample(rate, latency(50), latency(99), cpu, server.memory_mb(), server.wal_mb())


def quiet(servers, patience=30):
    """Waits until no server is busy with what was asked of it before (the search index that catches up,
    a question whose client has gone): it would be charged to the one that is measured next."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = sum(server.cpu_seconds() for server in servers)
        time.sleep(0.5)
        if sum(server.cpu_seconds() for server in servers) - before < 0.05:
            return
