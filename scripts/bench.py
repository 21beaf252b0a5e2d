#!/usr/bin/env python3
"""Measures, and prints one table: what it was before us, what it is here, what it must be.

`bench.py` runs every part, `bench.py lambda` one of them (`make bench`, `make bench PART=lambda`); `--table` measures nothing and
prints what was measured last; `--readme` also writes that table into README.md. A part is a command. It prints its progress, writes
the file that WEBCHAT_BENCH_JSON names (target/bench/<part>.json) and knows its own targets:

    {"machine": "…", "rows": [{"name": "cold start, …", "before": "4.8 ms (…)", "value": 1.9, "unit": "ms", "spread": "1.8–2.2",
                               "target": "≤ 1.9 ms", "meets": true, "note": "…"}]}

`before` is what others reach; it, `spread`, `target`, `meets` and `note` may be null. To add a part, add a line to PARTS.
"""

import json
import os
import platform
import subprocess
import sys
import time

import bundle
import tools

FOLDER = tools.ROOT / "target" / "bench"
README = tools.ROOT / "README.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

ARCH = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
BUNDLE = [sys.executable, "scripts/bundle.py", ARCH]
FLOORS_BUILD = [
    "cargo", "lambda", "build", "--quiet", "--locked", "--profile", "lambda", "-p", "bench",
    "--target", bundle.target_with_glibc(ARCH),
]  # fmt: skip
FLOORS = "target/lambda/floors"

# The commands of each part, in the order of the table.
PARTS = {
    "lambda": [
        BUNDLE,
        [*FLOORS_BUILD, "--bin", "bare", "--bin", "empty", "--bin", "put", "--lambda-dir", FLOORS],
        ["cargo", "run", "--quiet", "--release", "-p", "bench", "--bin", "bench", "--", f"target/lambda/{ARCH}/bootstrap", FLOORS],
    ],
    "replay": [["cargo", "bench", "-q", "-p", "tests", "--bench", "replay"]],
    "growth": [["cargo", "bench", "-q", "-p", "tests", "--bench", "growth"]],
    "local": [
        ["cargo", "build", "-q", "--release", "-p", "cli", "--bin", "webchat"],
        ["cargo", "run", "-q", "--release", "-p", "tests", "--bin", "load", "--", "bench"],
    ],
}


def main():
    arguments = sys.argv[1:]
    measure, readme = "--table" not in arguments, "--readme" in arguments
    wanted = [name for name in arguments if not name.startswith("--")]
    unknown = [name for name in arguments if name not in PARTS and name not in ("--table", "--readme")]
    if unknown:
        sys.exit(f"bench: there is no {unknown[0]}; there are: {' '.join(PARTS)}, --table, --readme")
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = [name for name in wanted or PARTS if measure and not run(name)]
    table = markdown(wanted or PARTS)
    print(f"\n{table}")
    if readme:
        write_readme(markdown(PARTS))
    for name in failed:
        print(f"FAILED {name}: what it shows above, if anything, is of an earlier run")
    sys.exit(1 if failed else 0)


def run(name):
    """Runs one part; whether it came to its end."""
    file = FOLDER / f"{name}.json"
    environment = os.environ | {"WEBCHAT_BENCH_JSON": str(file)}
    # For `cargo lambda`: it looks for its zig, and zig's Python, on the PATH.
    environment["PATH"] = f"{tools.CARGO_LAMBDA_BIN}{os.pathsep}{environment['PATH']}"
    environment.setdefault("WEBCHAT_BENCH_EVENTS", "100000,1000000")
    started = time.time()
    for command in PARTS[name]:
        print(f"\n=== {name}: {' '.join(map(str, command))}", flush=True)
        if subprocess.run(command, cwd=tools.ROOT, env=environment, stdin=subprocess.DEVNULL).returncode != 0:
            return False
    if not file.exists() or file.stat().st_mtime < started:
        print(f"{name} wrote no {file.relative_to(tools.ROOT)}")
        return False
    return True


def markdown(parts):
    """The table of these parts, from what each wrote last."""
    lines = ["| what | before | here | target | |", "|---|---|---|---|---|"]
    machines, notes = [], []
    for part in parts:
        file = FOLDER / f"{part}.json"
        if not file.exists():
            lines.append(f"| {part} | | not measured: `make bench PART={part}` | | |")
            continue
        measured = json.loads(file.read_text(encoding="utf-8"))
        taken = time.strftime("%Y-%m-%d", time.gmtime(file.stat().st_mtime))
        machines.append(f"{part}: {taken}, {measured.get('machine') or 'machine not named'}")
        for row in measured["rows"]:
            lines.append(line(row, notes))
    notes = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([*lines, "", *notes, *([""] if notes else []), f"Measured: {'; '.join(machines) or 'nothing yet'}."])


def line(row, notes):
    spread = f" ({row['spread']})" if row.get("spread") else ""
    verdict = {True: "meets", False: "**misses**, [why](docs/SPEED.md)"}.get(row.get("meets"), "")
    if row.get("note"):
        notes.append(row["note"])
        verdict = f"{verdict} [{len(notes)}]".strip()
    here = f"{number(row['value'])} {row['unit']}".strip() + spread
    return f"| {row['name']} | {row.get('before') or '–'} | {here} | {row.get('target') or '–'} | {verdict} |"


def number(value):
    """A number with three digits that matter; a text as it is."""
    if not isinstance(value, (int, float)):
        return value
    for limit, unit in [(1e6, "M"), (1e5, "k")]:
        if abs(value) >= limit:
            return f"{value / (limit if unit == 'M' else 1e3):.3g}{unit}"
    digits = next((digits for limit, digits in [(100, 0), (10, 1), (1, 2)] if abs(value) >= limit), 3)
    return f"{value:,.0f}" if value == int(value) else f"{value:,.{digits}f}"


def write_readme(table):
    text = README.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"bench: README.md has no place for the table, between `{BEGIN}` and `{END}`")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    README.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    print("wrote the table into README.md")


if __name__ == "__main__":
    main()
