"""The built binary as a process: starting it, waiting for it, stopping it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("WORKSPACED_BIN") or ROOT / "target" / "debug" / "workspaced").resolve()
#: Short delays of the built-in driver, so that a test sees every status without waiting long.
FAST = ("--provision-ms", "50", "--start-ms", "50", "--stop-ms", "50")
READY = "listening on "
PATIENCE = 20.0


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without anything that configures the service or a client."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WORKSPACED_", "MIOSA_"))}
    return clean | extra


def run(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs the binary to its end."""
    return subprocess.run(
        [BINARY, *map(str, arguments)],
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def eventually(check, what: str, patience: float = PATIENCE):
    """The first truthy answer of `check`."""
    deadline = time.monotonic() + patience
    while True:
        if found := check():
            return found
        assert time.monotonic() < deadline, f"waited {patience} s for {what}"
        time.sleep(0.01)


class Server:
    """One service on a free port of this machine, over a data directory."""

    def __init__(self, home: Path, *flags: object, **extra: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.data_dir = home / "data"
        self.killed = False
        self._out, self._err = home / "stdout.txt", home / "stderr.txt"
        listen = () if "--listen" in flags else ("--listen", "127.0.0.1:0")
        arguments = ["--data-dir", self.data_dir, *listen, *flags]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [BINARY, *map(str, arguments)],
                env=environment(**extra),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=home,
            )
        self.url = eventually(self._ready, f"{READY!r} on standard output")

    def _ready(self) -> str | None:
        lines = self.output.splitlines()
        if lines and lines[-1].startswith(READY) and self.output.endswith("\n"):
            return lines[-1].removeprefix(READY)
        code = self.process.poll()
        assert code is None, f"ended with {code} instead of listening: {self.log}"
        return None

    @property
    def output(self) -> str:
        """What it printed on standard output so far."""
        return self._out.read_text()

    @property
    def log(self) -> str:
        """What it logged on standard error so far."""
        return self._err.read_text()

    @property
    def first_key(self) -> str:
        """The key that the first start printed."""
        line = next(line for line in self.output.splitlines() if "MIOSA_API_KEY=" in line)
        return line.partition("MIOSA_API_KEY=")[2].strip()

    def http(self, key: str | None, **options) -> httpx.Client:
        """Plain HTTP with a key, paths below /api/v1."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30, **options)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks it to stop and waits. Returns its exit code."""
        if self.process.poll() is None:
            self.send(number)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        """Ends it as a power loss would."""
        self.killed = True
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, failed: type | None, *_: object) -> None:
        if self.killed:
            return
        code = self.stop()
        if failed is None:
            assert code == 0, f"exit code {code} after SIGTERM: {self.log[-2000:]}"
            assert "panic" not in self.log, self.log
