"""What usage must be, by plain arithmetic: facts about computers, intervals between them, integers.

Written from the rules of the meter alone; nothing here knows how the service stores anything.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

HOUR = 3_600_000
QUARTER = HOUR // 4
DAY = 24 * HOUR
SIZES = ("xs", "small", "medium", "large", "xl")
VCPUS = {"xs": 1, "small": 1, "medium": 2, "large": 4, "xl": 8}
BASE_RATES = {"xs": 15, "small": 30, "medium": 60, "large": 120, "xl": 240}
#: One credit in credit-ms per hour.
CREDIT = HOUR


class Tariff:
    """What an hour of a size costs from which instant on."""

    def __init__(self) -> None:
        self.changes = {size: [(0, rate)] for size, rate in BASE_RATES.items()}

    def change(self, at: int, size: str, rate: int) -> None:
        self.changes[size].append((at, rate))

    def rate(self, size: str, at: int) -> int:
        steps = self.changes[size]
        return steps[bisect_right(steps, (at, 1 << 62)) - 1][1]

    def instants(self, size: str) -> list[int]:
        return [at for at, _ in self.changes[size]]


class Computer:
    """Facts of one computer: each is about its status, its size or its place, from an instant on."""

    def __init__(self, at: int, status: str, size: str, place: tuple[str, str]) -> None:
        self.arrivals = 0
        self.facts: dict[str, list] = {"status": [], "size": [], "place": []}
        for what, value in (("status", status), ("size", size), ("place", place)):
            self.add(what, at, value)

    def add(self, what: str, at: int, value) -> None:
        """A fact that has arrived; of two at the same instant the one that came later holds."""
        self.arrivals += 1
        self.facts[what].append((at, self.arrivals, value))
        self.facts[what].sort(key=lambda fact: fact[:2])

    def follow(self, at: int, project: str, workspace: str) -> None:
        """Its project went to another workspace: that moves it only if it was in that project."""
        self.add("place", at, (workspace, project, "if it is in it"))

    def value(self, what: str, at: int):
        """What held at an instant; None before the first fact."""
        held = None
        for fact_at, _, value in self.facts[what]:
            if fact_at > at:
                break
            if what != "place" or len(value) == 2:
                held = value
            elif held is not None and held[1] == value[1]:
                held = value[:2]
        return held

    def sessions(self, tariff: Tariff, until: int) -> list[tuple]:
        """(from, to or None, size, place, ms, credits, micros), the newest first: a change of size or place ends one,
        and credits are differences of the floored reading of the computer's own meter."""
        runs: list[list] = []
        for a, b, size, place, rate in self.intervals(tariff, until):
            if runs and runs[-1][1:4] == [a, size, place]:
                runs[-1][1] = b
                runs[-1][4] += (b - a) * rate
            else:
                runs.append([a, b, size, place, (b - a) * rate])
        found, used = [], 0
        now = (until, self.value("size", until), self.value("place", until))
        for a, b, size, place, amount in runs:
            goes_on = (b, size, place) == now and self.value("status", until) == "running"
            credits = (used + amount) // CREDIT - used // CREDIT
            micros = (used + amount) * 1_000_000 // CREDIT - used * 1_000_000 // CREDIT
            found.append((a, None if goes_on else b, size, place, b - a, credits, micros))
            used += amount
        return found[::-1]

    def intervals(self, tariff: Tariff, until: int) -> list[tuple[int, int, str, tuple[str, str], int]]:
        """(from, to, size, place, rate) of all running time before `until`, cut wherever anything changes."""
        cuts = {at for facts in self.facts.values() for at, _, _ in facts}
        first, last = min(cuts), until
        for _, _, size in self.facts["size"]:
            cuts |= {at for at in tariff.instants(size) if at > first}
        ordered = sorted(at for at in cuts if at < last) + [last]
        found = []
        for a, b in zip(ordered, ordered[1:]):
            if a < b and self.value("status", a) == "running":
                size = self.value("size", a)
                found.append((a, b, size, self.value("place", a), tariff.rate(size, a)))
        return found


class Both:
    """One tariff up to an instant, another one from then on."""

    def __init__(self, before: Tariff, at: int, after: Tariff) -> None:
        self.before, self.at, self.after = before, at, after

    def rate(self, size: str, at: int) -> int:
        return (self.before if at < self.at else self.after).rate(size, at)

    def instants(self, size: str) -> list[int]:
        return [self.at, *self.before.instants(size), *self.after.instants(size)]


class Meter:
    """Running time and credits of one workspace, from its birth."""

    def __init__(self) -> None:
        self.intervals: list[tuple[int, int, int]] = []
        self.corrections: list[tuple[int, int]] = []

    def ms(self, a: int, b: int) -> int:
        return sum(max(0, min(b, end) - max(a, start)) for start, end, _ in self.intervals)

    def units(self, at: int) -> int:
        """Millionths of credit-ms per hour that were used before an instant, corrections included."""
        used = sum(rate * max(0, min(at, end) - start) for start, end, rate in self.intervals if start < at)
        return used * 1_000_000 + CREDIT * sum(micros for when, micros in self.corrections if when < at)

    def micros(self, a: int, b: int) -> int:
        return self.units(b) // CREDIT - self.units(a) // CREDIT

    def credits(self, a: int, b: int) -> int:
        whole = CREDIT * 1_000_000
        return self.units(b) // whole - self.units(a) // whole


class Organization:
    """The meters of workspaces together: their micro-credits add up, and the sum is rounded once."""

    def __init__(self, meters) -> None:
        self.meters = list(meters)

    def ms(self, a: int, b: int) -> int:
        return sum(m.ms(a, b) for m in self.meters)

    def micros(self, a: int, b: int) -> int:
        return sum(m.micros(a, b) for m in self.meters)

    def reading(self, at: int) -> int:
        return sum(m.units(at) // CREDIT for m in self.meters) // 1_000_000

    def credits(self, a: int, b: int) -> int:
        return self.reading(b) - self.reading(a)


def instant(ms: int) -> str:
    whole = datetime.fromtimestamp(ms // 1000, timezone.utc)
    return whole.strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def milliseconds(text: str) -> int:
    delta = datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return delta // timedelta(milliseconds=1)


def buckets(a: int, b: int, granularity: str, zone: str) -> list[int]:
    """The aligned starts of all buckets that touch [a, b)."""
    tz = ZoneInfo(zone)

    def local(ms: int) -> datetime:
        return datetime.fromtimestamp(ms // 1000, tz)

    def offset(ms: int) -> int:
        return local(ms).utcoffset() // timedelta(milliseconds=1)

    starts = []
    if granularity == "hour":
        # An hour begins where the clock shows a full one, before or after it moves; all offsets are quarters.
        at = a - a % QUARTER - 2 * HOUR
        before = offset(at - 1)
        while at < b:
            after = offset(at)
            if (at + before) % HOUR == 0 or (at + after) % HOUR == 0:
                if at <= a:
                    starts.clear()
                starts.append(at)
            at, before = at + QUARTER, after
        return starts
    date = local(a).date()
    while True:
        # A midnight that does not exist is read with the offset before it: the first instant of the day.
        midnight = datetime(date.year, date.month, date.day, tzinfo=tz)
        at = int(midnight.timestamp()) * 1000
        if at >= b:
            return starts
        starts.append(at)
        date += timedelta(days=1)
