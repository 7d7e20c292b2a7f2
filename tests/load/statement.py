"""Time and peak memory of making and proving the statement of a large workspace.

    WORKSPACED_BIN=target/release/workspaced python3 tests/load/statement.py [--computers 1000] [--events 1000000]

The computers are made through the API; their events of a month are written into the file of the stopped service, each
computer going on and off all month, and the meter is built anew from them (`rebuild-usage`). Then the month's statement is
made, once as JSON and once more as PDF, and proven by the service and by the command. By hand: nothing is asserted but that
the statement says what the meter says, and that the proof finds nothing.
"""

import argparse
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

BIN = os.environ.get("WORKSPACED_BIN") or sys.exit("WORKSPACED_BIN: name the built program")
KEY = "msk_u_dev"


class Service:
    """The program in development mode, whose clock can be set."""

    def __init__(self, data: Path) -> None:
        flags = ["--dev", "--data-dir", str(data), "--listen", "127.0.0.1:0", "--log", "warn", "--request-timeout", "600s"]
        self.process = subprocess.Popen([BIN, *flags], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if found := re.match(r"listening on (\S+)", line):
                self.origin = found[1]
                return
        sys.exit("the service did not start")

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        request = urllib.request.Request(self.origin + path, method=method)
        request.add_header("authorization", f"Bearer {KEY}")
        data = None
        if body is not None:
            request.add_header("content-type", "application/json")
            data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=900) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")

    def api(self, method: str, path: str, body: object = None) -> dict:
        return json.loads(self.ask(method, "/api/v1" + path, body))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def peak(self) -> int:
        """Megabytes that it had at most since the last call."""
        proc = Path(f"/proc/{self.process.pid}")
        found = re.search(r"VmHWM:\s+(\d+)", (proc / "status").read_text())
        (proc / "clear_refs").write_text("5")
        return int(found[1]) // 1024


    def processor(self) -> float:
        """Seconds of a processor that it has used: what counts where others are at work, too."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(service: Service, what: str, f):
    before, used = service.peak(), service.processor()
    began = time.monotonic()
    result = f()
    took, used = time.monotonic() - began, service.processor() - used
    print(f"{what:24} {took:8.2f} s, {used:6.2f} s of a processor, {service.peak():4} MB at the peak, {before} MB up to then")
    return result


def months() -> tuple[str, int, int]:
    """The next month of the calendar: its name, its first instant and that of the one after."""
    now = datetime.now(timezone.utc)
    of = lambda n: datetime(now.year + (now.month - 1 + n) // 12, (now.month - 1 + n) % 12 + 1, 1, tzinfo=timezone.utc)
    return of(1).strftime("%Y-%m"), int(of(1).timestamp() * 1000), int(of(2).timestamp() * 1000)


def fill(database: Path, events: int, start: int, end: int) -> int:
    """On and off through the month, each computer a little after the one before."""
    db = sqlite3.connect(database)
    computers = db.execute("SELECT tenant_id, workspace_id, project_id, id FROM computers ORDER BY id").fetchall()
    each = max(2, events // len(computers) // 2 * 2)
    step = (end - start) // each

    def rows():
        for n in range(each):
            on = n % 2 == 0
            status = "running" if on else "stopped"
            for k, (tenant, workspace, project, computer) in enumerate(computers):
                at = start + n * step + k % (step // 2)
                yield tenant, workspace, project, computer, "computer.reported", at, start, status, int(on), "small", 30, 1

    names = "tenant_id, workspace_id, project_id, computer_id, type, at, recorded_at, status, billable, size, rate, stated"
    db.executemany(f"INSERT INTO compute_events ({names}) VALUES ({', '.join('?' * 12)})", rows())
    # As the last of them says.
    db.execute("UPDATE computers SET status = 'stopped'")
    db.commit()
    db.close()
    return each * len(computers)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--computers", type=int, default=1000)
    options.add_argument("--events", type=int, default=1_000_000)
    given = options.parse_args()
    period, start, end = months()
    with tempfile.TemporaryDirectory(prefix="workspaced-statement-") as dir:
        data = Path(dir)
        service = Service(data)
        try:
            workspace = service.api("POST", "/workspaces", {"name": "Clinic"})["id"]
            for n in range(given.computers):
                body = {"name": f"pc-{n}", "size": "small", "driver": "external", "workspace_id": workspace}
                service.api("POST", "/computers", body)
            prices = {"effective_from": period, "currency": "EUR", "price_per_credit": "0.0125", "billing_increment": "minute"}
            service.api("PUT", "/tenant/prices", prices)
        finally:
            service.stop()
        events = fill(data / "workspaced.db", given.events, start, end)
        began = time.monotonic()
        subprocess.run([BIN, "rebuild-usage", "--data-dir", dir], check=True, stdout=subprocess.DEVNULL)
        print(f"{given.computers} computers, {events} events; meter built in {time.monotonic() - began:.2f} s")
        service = Service(data)
        try:
            ahead = datetime.fromtimestamp(end / 1000 + 86_400, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            service.ask("POST", "/_dev/clock", {"now": ahead})
            path = f"/workspaces/{workspace}/statements"
            make = lambda: service.api("POST", path, {"period": period})
            made = measured(service, "statement made", make)
            measured(service, "shown as PDF", lambda: service.ask("GET", f"/api/v1{path}/{made['number']}?format=pdf"))
            proof = measured(service, "proven by the service", lambda: service.api("GET", "/statements/verify"))
            meter = service.api("GET", f"/workspaces/{workspace}/usage?period={period}&granularity=month")
            print(f"{len(made['lines'])} lines, {made['credits_micros']} micro-credits, {made['total']} EUR")
            assert proof["ok"], proof
            assert meter["total_credits_micros"] == made["credits_micros"], meter["total_credits_micros"]
            began = time.monotonic()
            command = [BIN, "statements", "verify", "--data-dir", dir]
            subprocess.run(["/usr/bin/env", *command], check=True)
            print(f"proven by the command: {time.monotonic() - began:.2f} s")
        finally:
            service.stop()


main()
