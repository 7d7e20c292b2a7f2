"""The servers that are measured, each started on a free port of this machine and stopped by its id."""

from __future__ import annotations

import json
import os
import pathlib
import re
import socket
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PASSWORD = "only-for-this-run"


def ask(method: str, url: str, key: str | None = None, body: object = None):
    """One JSON request."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as reply:
        return json.load(reply)


def release_binary() -> pathlib.Path:
    """The server, built as it is released."""
    root = HERE.parents[1]
    subprocess.run(["cargo", "build", "--release", "--bins"], cwd=root, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release" / "workspaced"


class Process:
    """A server process: its address, what it costs, and its end."""

    wal: pathlib.Path | None = None
    key = "none"

    def __init__(self, name: str, command: list, log, directory: pathlib.Path) -> None:
        self.name = name
        self._spawn = lambda: subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=log, text=True, cwd=directory
        )
        self._began = time.monotonic()
        self.process = self._spawn()

    def listening(self) -> tuple[str, str]:
        """The address from the line that says it, and what was said before; notes how long the start took."""
        shown = ""
        for line in self.process.stdout:
            if match := re.match(r"listening on (http://\S+)", line):
                self.start_ms = (time.monotonic() - self._began) * 1000
                return match[1], shown
            shown += line
        raise SystemExit(f"{self.name} did not start")

    def memory_mb(self) -> float:
        """Resident memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def io_kb(self) -> tuple[int, int]:
        """What it has read and written so far by system calls, whether or not that came from a cache."""
        counts = dict(line.split(": ") for line in pathlib.Path(f"/proc/{self.process.pid}/io").read_text().splitlines())
        return int(counts["rchar"]) // 1024, int(counts["wchar"]) // 1024

    def wal_mb(self) -> float:
        """Size of the write-ahead log."""
        return self.wal.stat().st_size / 2**20 if self.wal and self.wal.exists() else 0.0

    def stop(self) -> int:
        """Asks it to end, if it has not; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(30)


class Workspaced(Process):
    """The server of this project as in production, but for limits on the rate of requests."""

    def __init__(self, binary: pathlib.Path, directory: pathlib.Path, log) -> None:
        data = directory / "workspaced"
        delays = ["--provision-ms", "0", "--start-ms", "0", "--stop-ms", "0"]
        limits = ["--rate-limit", "0", "--address-rate-limit", "0"]
        super().__init__(
            "workspaced", [binary, "--listen", "127.0.0.1:0", "--data-dir", data, *delays, *limits], log, directory
        )
        self.url, shown = self.listening()
        # The first start shows the key, this once.
        kept = directory / "key"
        if key := re.search(r"MIOSA_API_KEY=(\S+)", shown):
            kept.write_text(key[1])
        self.key = kept.read_text()
        self.wal = data / "workspaced.db-wal"


class Bare(Process):
    """The same framework answering JSON of the same size, and nothing else."""

    def __init__(self, binary: pathlib.Path, directory: pathlib.Path, log) -> None:
        super().__init__("bare axum", [binary], log, directory)
        self.url, _ = self.listening()


class PocketBase(Process):
    """A peer with the same table and the same check of the tenant, and usage by a JS route over raw events."""

    TENANT = "t1"

    def __init__(self, binary: pathlib.Path, directory: pathlib.Path, log) -> None:
        data = directory / "pocketbase"
        places = [f"--dir={data}", f"--migrationsDir={HERE}/pocketbase/pb_migrations", f"--hooksDir={HERE}/pocketbase/pb_hooks"]
        for command in (["migrate", "up"], ["superuser", "upsert", "load@example.com", PASSWORD]):
            subprocess.run([binary, *command, *places], check=True, stdout=log, stderr=log)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        super().__init__("PocketBase", [binary, "serve", f"--http=127.0.0.1:{port}", "--hooksWatch=false", *places], log, directory)
        self.url = f"http://127.0.0.1:{port}"
        self._answers()
        self.start_ms = (time.monotonic() - self._began) * 1000
        self.wal = data / "data.db-wal"
        self.database = data / "data.db"
        login = {"identity": "load@example.com", "password": PASSWORD}
        root = ask("POST", f"{self.url}/api/collections/_superusers/auth-with-password", None, login)["token"]
        # What is measured is asked by a member, as customers would: no rule holds for a superuser.
        member = {"email": "member@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD, "tenant": self.TENANT}
        ask("POST", f"{self.url}/api/collections/members/records", root, member)
        login = {"identity": member["email"], "password": PASSWORD}
        self.key = ask("POST", f"{self.url}/api/collections/members/auth-with-password", None, login)["token"]

    def _answers(self) -> None:
        """Waits until it does."""
        while True:
            try:
                ask("GET", f"{self.url}/api/health")
                return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("PocketBase did not start") from None
                time.sleep(0.005)

    def restart(self) -> None:
        """Ends what it may still be working at for clients that have gone."""
        self.process.kill()
        self.process.wait()
        self.process = self._spawn()
        self._answers()
