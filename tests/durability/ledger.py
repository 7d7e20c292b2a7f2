"""Clients that write, and the ledger of what they were told: what has to be in the database afterwards.

Every change carries an Idempotency-Key. A client that gets no answer keeps the request and sends it
again, under the same key, when the service is back; from then on it knows. So at any quiet moment the
ledger says exactly what must be there, and `Ledger.differences` compares it with the file itself.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import sqlite3
import sys
import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

KEY = "msk_u_dev"
#: Only the service's own word for it counts as "not done".
NOT_DONE = {503, 507, 429}


class Gone(Exception):
    """The connection broke: nobody knows yet what became of the request."""


@dataclass
class Request:
    """One change, as it is sent, however often."""

    kind: str
    method: str
    path: str
    body: dict | None
    about: dict
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    answer: bytes = b""


@dataclass
class Counts:
    acknowledged: int = 0
    refused: int = 0
    not_done: int = 0
    unanswered: int = 0
    executed_before: int = 0
    replays: int = 0


class Ledger:
    """What was acknowledged, by all clients of a run."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = Counts()
        self.workspaces: dict[str, dict] = {}  # by name
        self.computers: dict[str, dict] = {}  # by name
        self.events: set[str] = set()
        self.never: set[str] = set()  # names of what was refused
        self.wrong: list[str] = []  # answers that should not have been

    def differences(self, database: Path) -> list[str]:
        """What the file has too much, too little or otherwise."""
        found: list[str] = []
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
            self._workspaces(db, found)
            self._computers(db, found)
            events = dict(db.execute("SELECT event_id, count(*) FROM compute_events WHERE event_id IS NOT NULL GROUP BY 1"))
            found += [f"event {e}: acknowledged, and not there" for e in self.events - events.keys()]
            found += [f"event {e}: there, and not acknowledged" for e in events.keys() - self.events]
            found += [f"event {e}: {n} times" for e, n in events.items() if n != 1]
            [check] = db.execute("PRAGMA quick_check").fetchone()
            if check != "ok":
                found.append(check)
        db.close()
        return found + self.wrong

    def _workspaces(self, db, found):
        rows = list(db.execute("SELECT name, hex(id), description, deleted_at IS NOT NULL FROM workspaces WHERE is_default = 0"))
        audit = self._audit(db)
        seen = {}
        for name, row_id, description, deleted in rows:
            if name in seen:
                found.append(f"workspace {name}: twice")
            seen[name] = row_id
            expected = self.workspaces.get(name)
            if expected is None:
                found.append(f"workspace {name}: {'refused' if name in self.never else 'not acknowledged'}, and there")
                continue
            if (description, bool(deleted)) != (expected["description"], expected["deleted"]):
                found.append(f"workspace {name}: {description!r}, deleted {deleted}, and not {expected}")
            for kind, count in (("created", 1), ("updated", expected["updates"]), ("deleted", int(expected["deleted"]))):
                written = audit.get((f"workspace.{kind}", row_id), 0)
                if written != count:
                    found.append(f"workspace {name}: {kind} {written} times in the audit log, not {count}")
        found += [f"workspace {name}: acknowledged, and not there" for name in self.workspaces.keys() - seen.keys()]

    def _computers(self, db, found):
        audit = self._audit(db)
        seen = set()
        for name, row_id, status, driver in db.execute("SELECT name, hex(id), status, driver FROM computers"):
            if name in seen:
                found.append(f"computer {name}: twice")
            seen.add(name)
            expected = self.computers.get(name)
            if expected is None:
                found.append(f"computer {name}: not acknowledged, and there")
            elif driver == "external":
                if status != expected["status"]:
                    found.append(f"computer {name}: {status}, reported {expected['status']}")
            else:
                written = audit.get(("computer.starting", row_id), 0)
                if written != expected["restarts"]:
                    found.append(f"computer {name}: restarted {written} times, acknowledged {expected['restarts']} times")
        found += [f"computer {name}: acknowledged, and not there" for name in self.computers.keys() - seen]

    @staticmethod
    def _audit(db):
        rows = db.execute(
            "SELECT type, hex(resource_id), count(*) FROM audit_log WHERE actor_type = 'api_key' GROUP BY 1, 2"
        )
        return {(kind, resource): count for kind, resource, count in rows}


class Client:
    """One writer with things of its own; what it does depends on its seed and on the answers."""

    names = itertools.count()

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger = ledger
        self.dice = random.Random(seed)
        self.pending: Request | None = None
        self.connection: http.client.HTTPConnection | None = None
        self.recent: list[Request] = []
        self.workspaces: list[dict] = []  # those of this client that are there
        self.computers: list[dict] = []

    # --- sending -----------------------------------------------------------------------------

    def work(self, address: tuple[str, int], until: threading.Event) -> None:
        """Writes until told to stop, or until the service is gone."""
        try:
            while not until.is_set():
                self.send(address, self.pending or self.choose())
        except Gone:
            pass
        except Exception as e:  # a client that no longer writes proves nothing
            self.ledger.wrong.append(f"a client failed: {e!r}")

    def resolve(self, address: tuple[str, int]) -> None:
        """Sends what was left unanswered once more."""
        if self.pending:
            self.send(address, self.pending)

    def send(self, address: tuple[str, int], request: Request) -> int:
        again, self.pending = request is self.pending, request
        status, replayed, answer = self.exchange(address, request)
        counts = self.ledger.counts
        with self.ledger.lock:
            if request.kind == "replay":
                counts.replays += 1
                if status in NOT_DONE:
                    counts.not_done += 1
                elif not replayed or answer != request.answer:
                    self.ledger.wrong.append(f"{request.method} {request.path}: the repeat was answered {status} {answer[:200]!r}")
            elif status in NOT_DONE:
                counts.not_done += 1
                if b"may be there" in answer:
                    return status  # undecided: it stays pending
                self.undone(request)
            else:
                counts.executed_before += again and replayed
                if 200 <= status < 300:
                    counts.acknowledged += 1
                    request.answer = answer
                    self.done(request, json.loads(answer))
                elif request.kind == "refused" or status == 409:
                    counts.refused += 1
                else:
                    self.ledger.wrong.append(f"{request.method} {request.path}: {status} {answer[:300]!r}")
        self.pending = None
        return status

    def exchange(self, address, request) -> tuple[int, bool, bytes]:
        try:
            if self.connection is None or (self.connection.host, self.connection.port) != address:
                self.connection = http.client.HTTPConnection(*address, timeout=30)
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", "Idempotency-Key": request.key}
            body = json.dumps(request.body) if request.body is not None else None
            self.connection.request(request.method, "/api/v1" + request.path, body, headers)
            reply = self.connection.getresponse()
            return reply.status, reply.getheader("Idempotency-Replayed") == "true", reply.read()
        except (OSError, http.client.HTTPException) as e:
            self.connection = None
            self.ledger.counts.unanswered += 1
            raise Gone from e

    # --- what to do, and what it means that it was done ----------------------------------------

    def choose(self) -> Request:
        mine, computers = self.workspaces, self.computers
        roll = self.dice.random()
        if not mine or roll < 0.25:
            name = self.name("w")
            body = {"name": name, "metadata": {"n": self.dice.randrange(1000), "pad": "x" * self.dice.randrange(2000)}}
            return Request("workspace", "POST", "/workspaces", body, {"name": name})
        workspace = self.dice.choice(mine)
        path = f"/workspaces/{workspace['id']}"
        if roll < 0.40:
            return Request("update", "PATCH", path, {"description": self.name("d")}, {"name": workspace["name"]})
        if roll < 0.47:
            used = {c["workspace"] for c in computers}
            if empty := [w for w in mine if w["id"] not in used]:
                workspace = self.dice.choice(empty)
                return Request("delete", "DELETE", f"/workspaces/{workspace['id']}", None, {"name": workspace["name"]})
        if roll < 0.55:
            name = self.name("never")
            return Request("refused", "POST", "/workspaces", {"name": name, "slug": workspace["slug"]}, {"name": name})
        if roll < 0.65 and self.recent:
            before = self.dice.choice(self.recent)
            return Request("replay", before.method, before.path, before.body, {}, before.key, before.answer)
        if roll < 0.72 or not computers:
            name, driver = self.name("c"), self.dice.choice(["external", "simulated"])
            body = {"name": name, "workspace_id": workspace["id"], "size": "small", "driver": driver}
            return Request("computer", "POST", "/computers", body, {"name": name, "driver": driver, "workspace": workspace["id"]})
        computer = self.dice.choice(computers)
        if computer["driver"] == "external":
            events, last = [], computer["status"]
            for _ in range(self.dice.randrange(1, 5)):
                last = "stopped" if last == "running" else "running"
                kind = "started" if last == "running" else "stopped"
                now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
                events.append({"id": self.name("e"), "type": f"computer.{kind}", "subject": computer["id"], "time": now})
            about = {"name": computer["name"], "events": [e["id"] for e in events], "status": last}
            return Request("events", "POST", "/compute-events", {"events": events}, about)
        # Unlike start and stop, a restart is never "already done": it happens, or it is refused.
        return Request("restart", "POST", f"/computers/{computer['id']}/restart", None, {"name": computer["name"]})

    def done(self, request: Request, answer: dict) -> None:
        ledger, about = self.ledger, request.about
        match request.kind:
            case "workspace":
                made = {"id": answer["id"], "name": about["name"], "slug": answer["slug"]}
                ledger.workspaces[about["name"]] = made | {"description": None, "updates": 0, "deleted": False}
                self.workspaces.append(ledger.workspaces[about["name"]])
            case "update":
                workspace = ledger.workspaces[about["name"]]
                workspace["description"] = request.body["description"]
                workspace["updates"] += 1
            case "delete":
                ledger.workspaces[about["name"]]["deleted"] = True
                self.workspaces.remove(ledger.workspaces[about["name"]])
            case "computer":
                ledger.computers[about["name"]] = {"id": answer["id"], **about, "status": answer["status"], "restarts": 0}
                self.computers.append(ledger.computers[about["name"]])
            case "events":
                if answer["accepted"] != len(about["events"]):
                    ledger.wrong.append(f"events: {answer}")
                ledger.events.update(about["events"])
                ledger.computers[about["name"]]["status"] = about["status"]
            case "restart":
                ledger.computers[about["name"]]["restarts"] += 1
            case "refused":
                ledger.wrong.append(f"{about['name']}: a taken slug was given away")
        self.recent = [*self.recent[-19:], request]

    def undone(self, request: Request) -> None:
        """The service says that nothing was changed: it must not be there."""
        if request.kind in ("workspace", "refused"):
            self.ledger.never.add(request.about["name"])

    def name(self, prefix: str) -> str:
        return f"{prefix}-{next(self.names)}"
