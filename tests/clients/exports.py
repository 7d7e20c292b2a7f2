"""Exports of workspaces that are made up for a test."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from datetime import datetime


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def grown(file: bytes, events: int) -> bytes:
    """The export of another workspace with a longer history: a computer that goes on and off."""
    text = file.decode()
    # New ids, so that it is not the workspace that is here already.
    salt = random.randrange(1, 1 << 44)
    for old in set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", text)):
        text = text.replace(old, old[:-12] + f"{int(old[-12:], 16) ^ salt:012x}")
    lines = [json.loads(line) for line in text.splitlines()]
    at = next(n for n, line in enumerate(lines) if "event" in line)
    computer, birth = lines[at]["event"]["computer_id"], lines[at]["event"]["at"]
    running = next(line["event"] for line in lines if "event" in line and line["event"]["status"] == "running")
    more = []
    for n in range(events):
        status = ("running", "stopped")[n % 2]
        moment = birth - 3_600_000 - (events - n) * 1000
        more.append({"event": running | {"type": f"computer.{status}", "status": status, "at": moment}})
        more[-1]["event"].pop("event_id", None)
    lines[at:at] = more
    ran = events // 2 * 1000
    for line in lines:
        usage = (line.get("computer") or line.get("end") or {}).get("usage")
        if usage and ("end" in line or line["computer"]["id"] == computer):
            usage["compute_ms"] += ran
            usage["credit_ms"] += ran * running["rate"]
            usage["credits_micros"] = usage["credit_ms"] * 10 // 36
    lines[-1]["end"]["rows"]["events"] += events
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1])
    lines[-1]["end"]["sha256"] = hashlib.sha256(body.encode()).hexdigest()
    return gzip.compress((body + json.dumps(lines[-1]) + "\n").encode())
