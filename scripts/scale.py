#!/usr/bin/env python3
"""What breaks first as users grow: AWS's quotas against what the chat uses. Writes the tables of docs/SCALE.md.

    scripts/scale.py            writes the tables into docs/SCALE.md
    scripts/scale.py --check    says whether they are current, and tests the simulation; `make test` does that

Units come from tests/costs.json, which a test compares with the code; quotas and our own settings are the tables below.
Where arithmetic does not do, a small simulation does: many pages of a broadcast that share one bucket of requests.
"""

import json
import math
import sys
from collections import deque
from dataclasses import dataclass, field

import cost
import generated
from generated import table


@dataclass
class Quota:
    """A limit of AWS in us-east-1, or one of ours."""

    value: float
    what: str
    change: str
    source: str


QUOTAS = {
    "frames": Quota(1_000, "frames a second from clients", "ours: `THROTTLE`", "`cdk/lib/gateway.ts`"),
    "requests": Quota(10_000, "gateway requests a second: frames, handshakes, pushes and looks of all APIs of the account", "AWS, on request", "apigateway developerguide, limits"),
    "bucket": Quota(5_000, "requests that may come at once", "AWS, on request", "apigateway developerguide, limits"),
    "handshakes": Quota(500, "new connections a second", "AWS, on request", "apigateway developerguide, WebSocket limits"),
    "concurrency": Quota(1_000, "Lambda invocations at once", "AWS, on request", "lambda developerguide, scaling behavior"),
    "partition": Quota(1_000, "write units a second of one partition key", "none: more keys", "dynamodb developerguide, key range throughput"),
    "partition_read": Quota(3_000, "read units a second of one partition key", "none: more keys", "dynamodb developerguide, key range throughput"),
    "table": Quota(40_000, "write units a second of one table or index, on demand (a new one begins at 4,000)", "AWS, on request", "repost.aws, on-demand throttling"),
    "put_events": Quota(10_000, "PutEvents a second", "AWS, on request", "eventbridge userguide, quotas"),
    "bus": Quota(18_750, "targets invoked a second by the bus; more wait", "AWS, on request", "eventbridge userguide, quotas"),
    "look_rate": Quota(200, "looks a second of a sweep", "ours: `RATE`", "`handlers/src/manage.rs`"),
}

LIVE_SHARDS = 4  # projections/src/connections.rs
LOG_SHARDS = 8  # events/src/stored.rs
SWEEP_SECONDS = 230  # manage's timeout less its margin (events/src/timing.rs)
BATCH = 100  # records of a batch (cdk/lib/functions.ts)
WRITES = 16  # rows at once (handlers/src/projector.rs)
ENTRIES = 10  # entries of a PutEvents


def quota(name):
    """The value of a quota."""
    return QUOTAS[name].value


class Load:
    """What so many connections, so many direct messages and so many broadcasts a second need of each resource."""

    def __init__(self, counts, connections=0, chats=0.0, broadcasts=0.0, handshakes=None, background=True):
        self.counts = counts
        self.connections = connections
        self.chats = chats
        self.broadcasts = broadcasts
        # Every connection is made anew in good time; those who talk more often than they would ping do not ping.
        turnover = connections / (cost.assumed("reconnect_minutes") * 60)
        self.handshakes = turnover if handshakes is None else handshakes
        talk = (chats + broadcasts) / connections if connections else math.inf
        quiet = cost.assumed("ping_minutes") * 60
        self.pings = 0 if talk * quiet >= 1 or not background else connections / quiet
        self.looks = min(quota("look_rate"), connections / (cost.assumed("sweep_minutes") * 60)) if background else 0

    def each(self, of):
        """A sum over operations: `of(counts of one)` times how many there are a second."""
        rates = {
            "chat": self.chats,
            "connect": self.handshakes,
            "disconnect": self.handshakes,
            "ping": self.pings,
            "broadcast to 10": self.broadcasts,
        }
        return sum(of(self.counts[name]) * rate for name, rate in rates.items() if rate)

    def calls(self, prefix, unit="calls"):
        """Calls a second, or one of their units, whose name begins so."""
        return self.each(lambda counted: sum(c.get(unit, 0) for call, c in counted["calls"].items() if call.startswith(prefix)))

    def used(self):
        """By resource: how much is used, of how much."""
        listeners = self.broadcasts * max(0, self.connections - 10)
        pages = self.broadcasts * self.connections / cost.assumed("page")
        frames = self.chats + self.broadcasts + self.pings
        pushes = self.calls("PostToConnection") + listeners
        events = self.calls("PutItem events", "write") + pages
        index = self.calls("PutItem events", "index_write") + pages
        return {
            "frames": (frames, quota("frames")),
            "handshakes": (self.handshakes, quota("handshakes")),
            "requests": (frames + 2 * self.handshakes + pushes + self.looks, quota("requests")),
            "log": (index, LOG_SHARDS * quota("partition")),
            "lobby": (self.broadcasts, quota("partition")),
            "live": (self.calls("UpdateItem connections", "index_write"), LIVE_SHARDS * quota("partition")),
            "table": (events, quota("table")),
            "put_events": (self.calls("PutEvents") + pages, quota("put_events")),
            "bus": (self.calls("event ") + pages, quota("bus")),
            "concurrency": (self.concurrency(pages), quota("concurrency")),
        }

    def concurrency(self, pages):
        """Invocations at once: how many begin a second, times how long they take."""
        call, own = cost.assumed("call_ms") / 1000, cost.assumed("invocation_ms") / 1000
        waits = self.each(lambda counted: sum(c["calls"] for call, c in counted["calls"].items() if not call.startswith("event ")))
        begun = self.each(lambda counted: sum(counted["invocations"].values()) + counted["records"] / BATCH)
        rounds = math.ceil(cost.assumed("page") / cost.assumed("in_flight")) + 2
        return waits * call + begun * own + pages * (rounds * call + own)


TITLES = {
    "frames": "frames from clients, our throttle",
    "handshakes": "new connections",
    "requests": "gateway requests of the account",
    "log": f"index `log`: {LOG_SHARDS} keys of a day",
    "lobby": "stream `conversation#lobby`",
    "live": f"index `live`: {LIVE_SHARDS} keys",
    "table": "events table",
    "put_events": "PutEvents",
    "bus": "targets of the bus",
    "concurrency": "Lambda concurrency",
}

CHANGES = {
    "frames": "raise `THROTTLE` (a setting)",
    "handshakes": "ask AWS; clients already wait a random time before they come back",
    "requests": "ask AWS; then several APIs in accounts of their own",
    "log": "more shards from some day on (a version of the key)",
    "lobby": "rooms, or shards of the lobby",
    "live": "more shards (a rebuild of the view)",
    "table": "ask AWS, and warm the table up before a launch",
    "put_events": "ask AWS",
    "bus": "ask AWS; what is over waits, nothing is lost",
    "concurrency": "ask AWS",
}


def breaking(of):
    """By resource: the rate at which `of(rate)` uses it up. Every use grows with the rate, if not always in proportion."""
    limits = {}
    for name, (used, _) in of(1.0).used().items():
        low, high = 0.0, 1e12
        for _ in range(60 if used else 0):
            middle = (low + high) / 2
            use, limit = of(middle).used()[name]
            low, high = (low, middle) if use > limit else (middle, high)
        limits[name] = high if used else math.inf
    return limits


def first_table(counts):
    """What breaks first when only one thing grows."""
    kinds = {
        "direct messages / s": lambda rate: Load(counts, chats=rate),
        "pushes of broadcasts / s": lambda rate: Load(counts, connections=10_000, broadcasts=rate / 10_000, handshakes=0, background=False),
        "connects and ends / s": lambda rate: Load(counts, handshakes=rate),
        "idle connections": lambda rate: Load(counts, connections=rate),
    }
    limits = {kind: breaking(of) for kind, of in kinds.items()}
    rows = []
    for name, title in TITLES.items():
        cells = []
        for kind in kinds:
            least = min(limits[kind].values())
            limit = limits[kind][name]
            cell = "–" if limit > 1000 * least else f"{significant(limit):,.0f}"
            cells.append(f"**{cell}**" if limit == least else cell)
        rows.append([title] + cells + [CHANGES[name]])
    return table(["used up at"] + list(kinds) + ["then"], rows)


def significant(value):
    """Two digits that matter."""
    if value <= 0 or value == math.inf:
        return value
    digits = 1 - math.floor(math.log10(value))
    return round(value, digits)


STEPS = [(1_000, 100), (10_000, 1_000), (100_000, 10_000), (1_000_000, 100_000)]


def steps_table(counts):
    """Every connection says something every 10 s: how much of each limit is used."""
    loads = [Load(counts, connections=c, chats=m) for c, m in STEPS]
    used = [load.used() for load in loads]
    rows = []
    for name, title in TITLES.items():
        if not any(use[name][0] for use in used):
            continue
        cells = []
        for use in used:
            share = use[name][0] / use[name][1]
            text = f"{share:.1f} ×" if share > 1 else f"{share:.0%}" if share >= 0.005 else "–"
            cells.append(f"**{text}**" if share > 1 else text)
        rows.append([title, f"{used[0][name][1]:,.0f} / s" if name != "concurrency" else "1,000"] + cells)
    head = ["of the limit", "limit"] + [f"{c:,} connections, {m:,} messages / s" for c, m in STEPS]
    return table(head, rows)


def projector_table():
    """How many records a second one shard of the stream takes, and what its partition can bring."""
    call = cost.assumed("call_ms") / 1000
    mixes = {
        "openings: a row and a welcome each": math.ceil(BATCH / WRITES) + BATCH / ENTRIES,
        "messages and their outcomes: a notice every second": BATCH / 2 / ENTRIES,
        "ends: a row each": math.ceil(BATCH / WRITES),
    }
    rows = [[mix, f"{rounds * call * 1000:,.0f} ms", f"{BATCH / (rounds * call):,.0f} / s"] for mix, rounds in mixes.items()]
    return table(["100 records of", "one after the other", "a shard takes"], rows)


# Simulation


@dataclass
class Page:
    """One `deliver`: who is not reached yet, and how it goes on."""

    pending: int
    attempt: int = 1
    again: int = 0
    wait: float = 0.1
    resume: float = 0.0
    give_up: float = 0.0


@dataclass
class Outcome:
    """What became of a broadcast."""

    seconds: float = 0.0
    reached: int = 0
    given_up: int = 0
    refused: int = 0
    at_once: int = 0
    tokens: float = field(default=0.0, repr=False)


TICK = 0.01  # seconds of a push
BACKOFF, BACKOFF_MAX, BUDGET, ATTEMPTS = 0.1, 3.0, 20.0, 5  # events/src/timing.rs, handlers/src/post.rs
HOP = 0.25  # seconds over the bus
PLANNED = 0.02  # seconds of a page: one read and one PutEvents
PACED, BURST = 0.05, 10  # page_interval of events/src/timing.rs, BURST of handlers/src/fan_out.rs


def fan_out(recipients, concurrency, rate, bucket, paced=PACED, page=500, in_flight=64):
    """A broadcast to many, in ticks of one push. Every push takes a token, or is refused (429) and tried again."""
    tokens, outcome = float(bucket), Outcome()
    waiting, running, now = deque(), [], 0.0
    # A raised quota would need ten pages in a PutEvents; the planner is then no slower than its pace.
    planning = min(PLANNED, paced) if paced else PLANNED
    due = lambda n: planning + max(n * planning, (n + 1 - BURST) * paced)
    coming = deque((due(n), Page(min(page, recipients - n * page))) for n in range(math.ceil(recipients / page)))
    slots = max(1, round(in_flight))
    while coming or waiting or running:
        tokens = min(bucket, tokens + rate * TICK)
        while coming and coming[0][0] <= now:
            waiting.append(coming.popleft()[1])
        while waiting and len(running) < concurrency:
            started = waiting.popleft()
            started.give_up = now + BUDGET
            running.append(started)
        outcome.at_once = max(outcome.at_once, len(running))
        still = []
        # Whose turn it is first rotates, so that nobody is served last for ever.
        turn = int(now / TICK) % len(running) if running else 0
        for one in running[turn:] + running[:turn]:
            if one.resume > now:
                still.append(one)
                continue
            sent = min(slots, one.pending)
            taken = min(sent, int(tokens))
            tokens -= taken
            one.pending -= sent
            one.again += sent - taken
            outcome.reached += taken
            outcome.refused += sent - taken
            if one.pending:
                still.append(one)
            elif one.again:
                if now + one.wait < one.give_up:
                    one.pending, one.again = one.again, 0
                    one.resume, one.wait = now + one.wait, min(one.wait * 2, BACKOFF_MAX)
                    still.append(one)
                elif one.attempt < ATTEMPTS:
                    coming.append((now + HOP, Page(one.again, one.attempt + 1)))
                else:
                    outcome.given_up += one.again
        running = still
        now += TICK
    outcome.seconds, outcome.tokens = now, tokens
    return outcome


# Listeners, times the default quota, seconds between pages.
FANS = [
    (1_000, 1, PACED),
    (10_000, 1, PACED),
    (100_000, 1, PACED),
    (100_000, 1, 0),
    (1_000_000, 1, PACED),
    (1_000_000, 1, 0),
    (1_000_000, 10, PACED / 10),
]


def fan_out_table():
    """Time of a broadcast, and what the gateway refuses meanwhile."""
    rows = []
    for recipients, times, paced in FANS:
        rate, bucket = quota("requests") * times, quota("bucket") * times
        floor = max(0, recipients - bucket) / rate
        out = fan_out(recipients, quota("concurrency"), rate, bucket, paced)
        assert out.reached + out.given_up == recipients
        lost = f"**{out.given_up:,}**" if out.given_up else "none"
        rows.append([f"{recipients:,}", f"{rate:,.0f}", f"{paced * 1000:g} ms" if paced else "no pace", f"{floor:.1f}", f"{out.seconds:.1f}", f"{out.refused:,}", lost])
    return table(["listeners", "requests / s", "a page every", "floor, s", "last one reached, s", "refused (429)", "given up"], rows)


def sweep_table():
    """How long until a connection that ended without a word is looked at, at the latest."""
    rows = []
    for connections in (10_000, 46_000, 100_000, 1_000_000):
        each = quota("look_rate") * SWEEP_SECONDS
        sweeps = max(1, connections / each)
        minutes = connections / quota("look_rate") / 60 if sweeps == 1 else sweeps * cost.assumed("sweep_minutes")
        rows.append([f"{connections:,}", f"{min(each, connections):,.0f}", f"{minutes:,.0f} min"])
    return table(["connections", "looked at by one sweep", "all of them once (on average)"], rows)


def quotas_table():
    """The inputs."""
    return table(["limit", "what", "who changes it", "source"], [[f"{q.value:,.0f}", q.what, q.change, q.source] for q in QUOTAS.values()])


def parts(counts):
    """By document: its generated parts."""
    return {
        "docs/SCALE.md": {
            "first": first_table(counts),
            "steps": steps_table(counts),
            "fan-out": fan_out_table(),
            "projector": projector_table(),
            "sweep": sweep_table(),
            "quotas": quotas_table(),
        }
    }


def test():
    """The simulation against what can be worked out by hand."""
    free = fan_out(1_000, 10, rate=1e9, bucket=1e9)
    cases = {
        "without a limit a page of 500 takes 8 rounds": (free.refused, free.given_up, 0.1 <= free.seconds <= 0.12) == (0, 0, True),
        "nobody is counted twice": free.reached == 1_000,
        "no broadcast beats the bucket": all(
            fan_out(n, c, 10_000, 5_000).seconds >= (n - 5_000) / 10_000 for n in (10_000, 50_000) for c in (2, 1_000)
        ),
        "who cannot be reached in time is given up, and counted": (lambda out: (out.reached + out.given_up, out.given_up > 0))(
            fan_out(50_000, 100, 100, 100)
        )
        == (50_000, True),
        "half as many break what twice as large ones break": math.isclose(
            breaking(lambda r: Load(COUNTED, chats=2 * r))["requests"] * 2, breaking(lambda r: Load(COUNTED, chats=r))["requests"], rel_tol=1e-6
        ),
        "two requests a chat: 10,000 requests are 5,000 chats": round(breaking(lambda r: Load(COUNTED, chats=r))["requests"]) == 5_000,
    }
    for name, holds in cases.items():
        print(f"{'ok' if holds else 'FAILED'} scale: {name}")
    return all(cases.values())


COUNTED = json.loads(cost.COUNTS.read_text(encoding="utf-8")) if cost.COUNTS.exists() else {}


def main():
    if "--check" in sys.argv:
        sound = test()
        sys.exit(0 if generated.check(parts(COUNTED), "scripts/scale.py") and sound else 1)
    generated.write(parts(COUNTED))


if __name__ == "__main__":
    main()
