#!/usr/bin/env python3
"""What the chat costs on AWS: the counts of tests/costs.json times the prices below. Writes the tables of docs/COST.md.

    scripts/cost.py            writes the tables into docs/COST.md and the sentence into README.md
    scripts/cost.py --check    says whether they are current; `make test` does that
    scripts/cost.py --json     everything as JSON, for other programs

The counts are asserted by `cargo test -p tests --test local_cost`; prices and assumptions are here and nowhere else.
"""

import json
import sys
from dataclasses import dataclass

import generated

COUNTS = generated.ROOT / "tests/costs.json"
MONTH_MINUTES = 30 * 24 * 60


@dataclass
class Price:
    """Dollars for so many of a unit."""

    dollars: float
    per: int
    unit: str
    read: str  # the date of the source
    source: str


# us-east-1, list prices, no free tier, no volume discount.
PRICES = {
    "message": Price(1.00, 10**6, "gateway message, per 32 KB, in or out", "2026-09-20", "aws.amazon.com/api-gateway/pricing"),
    "minute": Price(0.25, 10**6, "minute of a connection", "2026-09-20", "aws.amazon.com/api-gateway/pricing"),
    "request": Price(0.20, 10**6, "Lambda invocation", "2025", "cloudchipr.com/blog/aws-lambda-pricing"),
    "gb_second": Price(0.0000133334, 1, "Lambda GB-second, arm64", "2025", "cloudchipr.com/blog/aws-lambda-pricing"),
    "write": Price(0.625, 10**6, "DynamoDB write unit, on demand, per 1 KB", "2025-07-21", "airbyte.com/data-engineering-resources/dynamodb-pricing"),
    "read": Price(0.125, 10**6, "DynamoDB read unit, on demand, per 4 KB", "2025-07-21", "airbyte.com/data-engineering-resources/dynamodb-pricing"),
    "event": Price(1.00, 10**6, "EventBridge event, per 64 KB", "2026-03-13", "cloudburn.io/blog/amazon-eventbridge-pricing"),
    "log_gb": Price(0.50, 1, "GB of logs taken in", "2026-06", "c3x.dev/blog/cloudwatch-logs-cost-optimization"),
    "trace": Price(5.00, 10**6, "X-Ray trace", "2026", "aws.amazon.com/xray/pricing"),
    "out_gb": Price(0.09, 1, "GB sent to clients", "2026-09-20", "aws.amazon.com/api-gateway/pricing"),
    "stored_gb": Price(0.25, 1, "GB stored in DynamoDB for a month", "2019, not confirmed since", "public price lists"),
}

# What no test can count. Name: value and why.
ASSUMED = {
    "call_ms": (10, "ms that a call to DynamoDB, EventBridge or the gateway takes; Lambda is billed while it waits"),
    "invocation_ms": (1, "ms of an invocation beside its calls: measured CPU is below that (`make bench`)"),
    "in_flight": (64, "pushes that a page has in flight in a function that has just started (`HANDSHAKES` of `handlers/src/gateway.rs`; warm, up to 128)"),
    "page": (500, "recipients of a page (`PAGE` of `handlers/src/fan_out.rs`)"),
    "batch": (1, "events in a batch for the projector: 1 when little happens; under load up to 100, and its part shrinks to nothing"),
    "log_bytes": (1_400, "bytes of logs for an invocation: our line of about 400, Lambda's own two of about 1,000"),
    "access_bytes": (400, "bytes of the gateway's access log for a frame, a handshake or an end"),
    "traced": (0.05, "share of requests that X-Ray records beyond the first in a second"),
    "route_gb": (256 / 1024, "memory of the functions behind routes and of `manage` (`cdk/lib/functions.ts`)"),
    "post_gb": (512 / 1024, "memory of `projector` and `post`"),
    "ping_minutes": (4, "minutes of quiet after which the page's client pings (`web/client.js`)"),
    "sweep_minutes": (5, "minutes between sweeps"),
    "look_ms": (5, "ms of a sweep for each connection: 200 looks a second"),
    "reconnect_minutes": (110, "minutes after which the page's client connects anew; the gateway ends a connection after 120"),
}


def assumed(name):
    """The value of an assumption."""
    return ASSUMED[name][0]


ROUTES = ("connect", "disconnect", "broadcast", "list", "chat", "fallback", "manage")
# The function that makes a call; what is not here is made by `post`.
CALLERS = {
    "PutItem events ConnectionOpened": "connect",
    "PutItem events ConnectionClosed": "disconnect",
    "PutItem events MessageSent": "chat",
    "PutItem events MessageBroadcast": "broadcast",
    "PutItem events ConnectionLost": "manage",
    "UpdateItem connections": "projector",
    "Query events": "chat",
    "GetConnection": "manage",
}


def gb(function):
    """Memory of a function."""
    return assumed("route_gb") if function in ROUTES else assumed("post_gb")


class Bill:
    """Units by price, with the part of the chat that causes them."""

    def __init__(self):
        self.lines = []

    def add(self, part, price, units):
        """So many units for a part."""
        if units:
            self.lines.append((part, price, units))

    def units(self, *prices, part=None):
        """Units at these prices."""
        return sum(u for p, price, u in self.lines if price in prices and (part is None or p == part))

    def dollars(self, *prices, part=None):
        """Dollars, of all or of some."""
        chosen = (
            (price, units)
            for of, price, units in self.lines
            if (not prices or price in prices) and (part is None or of == part)
        )
        return sum(units * PRICES[price].dollars / PRICES[price].per for price, units in chosen)


def invocation(bill, part, function, count=1):
    """An invocation: its request, the milliseconds that are its own, its logs."""
    bill.add(part, "request", count)
    bill.add(part, "gb_second", count * assumed("invocation_ms") / 1000 * gb(function))
    bill.add(part, "log_gb", count * assumed("log_bytes") / 1e9)


def waiting(bill, part, function, rounds):
    """The time a function is billed for while its calls are answered."""
    bill.add(part, "gb_second", rounds * assumed("call_ms") / 1000 * gb(function))


OUTCOMES = ("MessageDelivered", "MessageUndeliverable", "BroadcastDelivered")


def appended(bill, call, counted):
    """An event: its item, its place in the index `log`, its record for the projector."""
    part = "outcomes" if call.split()[-1] in OUTCOMES else "events"
    bill.add(part, "write", counted.get("write", 0))
    bill.add("index log", "write", counted.get("index_write", 0))
    waiting(bill, part, CALLERS.get(call, "post"), counted["calls"])
    if not call.endswith("there already"):
        invocation(bill, part, "projector", counted["calls"] / assumed("batch"))


def bill_of(counts, name):
    """One operation. Which function a call belongs to follows from the call; of the live index, from the operation."""
    cost, bill = counts[name], Bill()
    reader = {"l": "list", "s": "manage"}.get(name[0], "post")
    for function, count in cost["invocations"].items():
        # Without the bus the projector would push and look itself: their invocations are part of the hop.
        part = "bus" if function in ("post", "manage") and not name.startswith("sweep") else "functions"
        invocation(bill, part, function, count)
    for call, counted in cost["calls"].items():
        if call.startswith("event "):
            bill.add("bus", "event", counted["parts"])
        elif call == "PutEvents":
            waiting(bill, "bus", "post", counted["calls"])
        elif call.startswith("PutItem events"):
            appended(bill, call, counted)
        elif call == "UpdateItem connections":
            bill.add("view", "write", counted.get("write", 0))
            bill.add("index live", "write", counted.get("index_write", 0))
            waiting(bill, "view", "projector", counted["calls"])
        elif call.startswith("PostToConnection"):
            if call == "PostToConnection":  # and not one that was refused
                bill.add("gateway", "message", counted["parts"])
                bill.add("gateway", "out_gb", counted["bytes"] / 1e9)
            pages = -(-counted["calls"] // assumed("page"))
            in_page = -(-counted["calls"] // pages)
            waiting(bill, "functions", "post", pages * -(-in_page // assumed("in_flight")))
        elif call == "GetConnection" and name.startswith("sweep"):
            bill.add("functions", "gb_second", counted["calls"] * assumed("look_ms") / 1000 * gb("manage"))
        else:
            function = CALLERS.get(call, reader)
            bill.add("functions", "read", counted.get("read", 0))
            bill.add("functions", "write", counted.get("write", 0))
            waiting(bill, "functions", function, counted["calls"])
    bill.add("gateway", "message", 2 * cost["answered"])
    requests = cost["answered"] + sum(cost["invocations"].get(f, 0) for f in ("connect", "disconnect"))
    bill.add("gateway", "log_gb", requests * assumed("access_bytes") / 1e9)
    bill.add("gateway", "trace", requests * assumed("traced"))
    return bill


def number(value):
    """A count for people: no more digits than it has meaning."""
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"


def money(value):
    """Dollars for people."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 100 else f"{value:,.2f}"


SHOWN = [
    "connect",
    "disconnect",
    "ping",
    "list of 100",
    "chat",
    "chat with receipt",
    "chat of 16 KiB",
    "chat to one who vanished",
    "broadcast to 10",
    "broadcast to 100",
    "broadcast to 1000",
    "broadcast to 10000",
]


def label(name):
    """An operation's name as it is written in the tables."""
    return name.replace("10000", "10,000").replace("1000", "1,000") if "broadcast" in name else name


def units_table(counts):
    """What one of each operation takes."""
    rows = []
    for name in SHOWN:
        bill, cost = bill_of(counts, name), counts[name]
        called = sum(c["calls"] for call, c in cost["calls"].items() if not call.startswith("event "))
        stored = sum(c.get("bytes", 0) for call, c in cost["calls"].items() if call.startswith("PutItem events"))
        units = [called, sum(cost["invocations"].values()) + cost["records"]]
        units += [bill.units("write"), bill.units("read"), bill.units("event"), bill.units("message"), stored]
        rows.append([label(name)] + [number(u) for u in units])
    head = ["one", "calls", "invocations", "write units", "read units", "bus events", "messages", "event bytes"]
    return generated.table(head, rows)


COLUMNS = {
    "gateway": ("message",),
    "Lambda": ("request", "gb_second"),
    "DynamoDB": ("write", "read"),
    "EventBridge": ("event",),
    "logs, traces": ("log_gb", "trace"),
    "traffic": ("out_gb",),
}


def dollars_table(counts):
    """Dollars for a million of each operation."""
    rows = []
    for name in SHOWN:
        bill = bill_of(counts, name)
        columns = [money(bill.dollars(*prices) * 1e6) for prices in COLUMNS.values()]
        rows.append([label(name), f"**{money(bill.dollars() * 1e6)}**"] + columns)
    return generated.table(["a million", "$"] + list(COLUMNS), rows)


PARTS = [
    ("a chat that only forwards", ("gateway", "functions")),
    ("connections view", ("view",)),
    ("its index `live`", ("index live",)),
    ("events", ("events",)),
    ("their index `log`", ("index log",)),
    ("outcomes", ("outcomes",)),
    ("bus hop", ("bus",)),
]


def parts_table(counts):
    """What each part adds to a million."""
    bills = {
        "connect and disconnect": [bill_of(counts, "connect"), bill_of(counts, "disconnect")],
        "chat": [bill_of(counts, "chat")],
        "broadcast to 10": [bill_of(counts, "broadcast to 10")],
        "broadcast to 1,000": [bill_of(counts, "broadcast to 1000")],
    }

    def of(bills, parts):
        return sum(bill.dollars(part=part) for bill in bills for part in parts) * 1e6

    rows = [[title] + [money(of(some, parts)) for some in bills.values()] for title, parts in PARTS]
    receipt = (bill_of(counts, "chat with receipt").dollars() - bill_of(counts, "chat").dollars()) * 1e6
    rows.append(["a receipt, if asked for", "–", money(receipt), "–", "–"])
    total = [money(sum(bill.dollars() for bill in some) * 1e6) for some in bills.values()]
    rows.append(["**together, without receipt**"] + [f"**{t}**" for t in total])
    return generated.table(["it adds, in $ a million"] + list(bills), rows)


def idle(counts):
    """Dollars a month for one connection that is open and says nothing, by cause."""
    sweep = bill_of(counts, "sweep of 400")
    sweeps = MONTH_MINUTES / assumed("sweep_minutes")
    reconnects = MONTH_MINUTES / assumed("reconnect_minutes")
    reconnect = bill_of(counts, "connect").dollars() + bill_of(counts, "disconnect").dollars()
    looks = sweep.dollars("read", "gb_second") / 400 * sweeps
    return {
        "connection minutes": MONTH_MINUTES * PRICES["minute"].dollars / PRICES["minute"].per,
        "sweeps": looks,
        "a ping after every 4 min of quiet": MONTH_MINUTES / assumed("ping_minutes") * bill_of(counts, "ping").dollars(),
        "a new connection every 110 min": reconnects * reconnect,
    }


def idle_table(counts):
    """One, ten thousand and a million idle connections for a month."""
    costs = idle(counts)
    cells = lambda cost: [f"{cost:.4f}", money(cost * 1e4), money(cost * 1e6)]
    rows = [[cause] + cells(cost) for cause, cost in costs.items()]
    rows.append(["**together**"] + [f"**{cell}**" for cell in cells(sum(costs.values()))])
    return generated.table(["$ a month", "one connection", "10,000", "1,000,000"], rows)


def prices_table():
    """The inputs."""
    rows = [[price.unit, f"${price.dollars:g}" + (f" / {price.per // 10**6} M" if price.per > 1 else ""), price.read, price.source] for price in PRICES.values()]
    return generated.table(["unit", "us-east-1", "read", "source"], rows)


def assumptions_table():
    """What is not counted."""
    return generated.table(["assumed", "what"], [[f"{value:g}", why] for value, why in ASSUMED.values()])


def per_listener(counts):
    """A million broadcasts to N: a sum, and so much for each listener. Holds within 2 % between 10 and 10,000."""
    cost = {n: bill_of(counts, f"broadcast to {n}").dollars() * 1e6 for n in (10, 100, 1000, 10000)}
    slope = (cost[10000] - cost[10]) / (10000 - 10)
    base = cost[10] - 10 * slope
    for n, real in cost.items():
        if abs(base + n * slope - real) > 0.02 * real:
            raise SystemExit(f"a broadcast to {n} costs {real}, not {base} + {n} x {slope}: say so in another way")
    return base, slope


def nothing(counts):
    """Dollars a month if nobody is there: the schedule, which finds nobody."""
    empty = Bill()
    sweeps = MONTH_MINUTES / assumed("sweep_minutes")
    invocation(empty, "functions", "manage", sweeps)
    waiting(empty, "functions", "manage", 4 * sweeps)
    empty.add("functions", "read", 2 * sweeps)
    return empty.dollars()


def sentence(counts):
    """The README's paragraph."""
    base, slope = per_listener(counts)
    chat, receipt = (bill_of(counts, name).dollars() * 1e6 for name in ("chat", "chat with receipt"))
    cycle = sum(bill_of(counts, name).dollars() for name in ("connect", "disconnect")) * 1e6
    return (
        f"Cost (us-east-1, list prices of 2025 to 2026-09, no free tier): a stage where nobody is costs about ${nothing(counts):.2f} a month, and CloudWatch's price for its\n"
        f"alarms. A million chats to one recipient: about ${chat:.2f}, with receipts ${receipt:.2f}. A million broadcasts to N listeners: about ${base:.2f} + N × ${slope:.2f}. A million\n"
        f"connections opened and closed: ${cycle:.2f}; 10,000 open all month and idle: ${sum(idle(counts).values()) * 1e4:,.0f}. Storage, backups and CloudWatch's alarms come on top.\n"
        "Calls and capacity are counted by a test, prices are a table: [docs/COST.md](docs/COST.md), where it breaks first: [docs/SCALE.md](docs/SCALE.md)."
    )


def answer(counts):
    """The first lines of docs/COST.md."""
    chat, forwards = bill_of(counts, "chat"), sum(bill_of(counts, "chat").dollars(part=p) for p in ("gateway", "functions"))
    base, slope = per_listener(counts)
    thousand = bill_of(counts, "broadcast to 1000")
    kept = sum(thousand.dollars(part=p) for p in ("events", "index log", "outcomes", "view", "index live", "bus"))
    costs = idle(counts)
    return (
        f"A million direct messages cost about **${chat.dollars() * 1e6:.2f}**; ${forwards * 1e6:.2f} of that a chat that keeps nothing would pay, too. A million broadcasts to N\n"
        f"listeners cost **${base:.2f} + N × ${slope:.2f}**: at 1,000 listeners the gateway's messages are {thousand.dollars('message') / thousand.dollars():.0%} of it, and everything that makes this an event-sourced chat is\n"
        f"{kept / thousand.dollars():.1%}. 10,000 connections that are open all month and say nothing cost **${sum(costs.values()) * 1e4:,.0f}**, ${costs['connection minutes'] * 1e4:,.0f} of it for being open. A stage where nobody is: ${nothing(counts):.2f} a month."
    )


def parts(counts):
    """By document: its generated parts."""
    return {
        "docs/COST.md": {
            "answer": answer(counts),
            "dollars": dollars_table(counts),
            "units": units_table(counts),
            "parts": parts_table(counts),
            "idle": idle_table(counts),
            "prices": prices_table(),
            "assumptions": assumptions_table(),
        },
        "README.md": {"cost": sentence(counts)},
    }


def as_json(counts):
    """The same for programs."""
    operations = {
        name: {"dollars_per_million": round(bill.dollars() * 1e6, 4), "units": {p: round(bill.units(p), 6) for p in PRICES if bill.units(p)}}
        for name, bill in ((name, bill_of(counts, name)) for name in counts)
    }
    return json.dumps({"region": "us-east-1", "operations": operations, "idle_connection_month": idle(counts)}, indent=2)


def main():
    counts = json.loads(COUNTS.read_text(encoding="utf-8"))
    if "--json" in sys.argv:
        print(as_json(counts))
    elif "--check" in sys.argv:
        sys.exit(0 if generated.check(parts(counts), "scripts/cost.py") else 1)
    else:
        generated.write(parts(counts))


if __name__ == "__main__":
    main()
