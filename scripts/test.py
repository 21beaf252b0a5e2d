#!/usr/bin/env python3
"""Runs the lint steps and every test, and ends with one line of real counts: `N passed, N failed[, N skipped]`.

Used by `make test` (all steps), `make lint` (`test.py lint`) and so by continuous integration. A step that fails does not
stop the ones after it. To add a step, add a line to STEPS: by default a step counts as one, `count` reads more from its output.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable

import tools


def count_cargo_test(line):
    """The counts in one of cargo test's `test result:` lines; doctests print them too."""
    found = re.match(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", line)
    if not found:
        return Counter()
    passed, failed, ignored = map(int, found.groups())
    return Counter(passed=passed, failed=failed, skipped=ignored)


def count_checks(line):
    """One check in the output of our own scripts: a line `ok …`, `FAILED …` or `SKIPPED …`."""
    return Counter(
        passed=line.startswith("ok "), failed=line.startswith("FAILED "), skipped=line.startswith("SKIPPED ")
    )


def count_node_test(line):
    """The totals at the end of what node's test runner prints (TAP)."""
    found = re.match(r"# (pass|fail|skipped) (\d+)$", line)
    names = {"pass": "passed", "fail": "failed", "skipped": "skipped"}
    return Counter({names[found[1]]: int(found[2])}) if found else Counter()


@dataclass
class Step:
    """One command, and what it needs."""

    name: str
    group: str
    command: list
    count: Callable = None  # the counts in a line of output; None: the step itself counts as one
    install: Callable = None  # runs before the command
    needs_node: bool = False
    env: dict = field(default_factory=dict)


STEPS = [
    Step("format", "lint", ["cargo", "fmt", "--all", "--check"]),
    Step("clippy", "lint", ["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    Step("docs", "lint", ["cargo", "doc", "--no-deps", "--workspace"], env={"RUSTDOCFLAGS": "-D warnings"}),
    Step(
        "licences",
        "lint",
        [tools.CARGO_DENY, "check", "--hide-inclusion-graph", "licenses", "bans", "sources"],
        install=tools.install_cargo_deny,
    ),
    Step("cost", "lint", [sys.executable, "scripts/cost.py", "--check"], count=count_checks),
    Step("scale", "lint", [sys.executable, "scripts/scale.py", "--check"], count=count_checks),
    Step("unused crates", "lint", [tools.CARGO_MACHETE, "--with-metadata"], install=tools.install_cargo_machete),
    Step("advisories", "lint", [sys.executable, "scripts/advisories.py"], count=count_checks),
    Step("cargo test", "test", ["cargo", "test", "--workspace", "--no-fail-fast"], count=count_cargo_test),
    # The same scenarios with every function a process, as on Lambda. `cargo test` has built bootstrap. One at a time, and
    # without the crowd: its 10,000 pushes from unoptimised processes on two processors run into the calls' 1 s. The bundle's
    # processes are optimised, and are given the crowd below.
    Step(
        "scenarios by process",
        "test",
        ["cargo", "test", "--workspace", "--test", "scenarios", "--", "--test-threads=1", "--skip=fifty_people"],
        count=count_cargo_test,
        env={"WEBCHAT_BOOTSTRAP": str(tools.ROOT / "target/debug/bootstrap")},
    ),
    Step(
        "wscat",
        "test",
        [sys.executable, "scripts/transcript.py", "--check"],
        count=count_checks,
        install=tools.install_wscat,
        needs_node=True,
    ),
    Step(
        "browser",
        "browser",
        ["npm", "test", "--silent", "--prefix", "tests/browser"],
        count=count_node_test,
        install=tools.install_browser,
        needs_node=True,
    ),
    # One architecture: two from scratch take over 8 minutes on two processors. `make bundle` builds both.
    Step("bundle", "bundle", [sys.executable, "scripts/bundle.py", "x86_64"], count=count_checks),
    Step(
        "bundle's crowd",
        "bundle",
        ["cargo", "test", "--workspace", "--test", "scenarios", "--", "fifty_people"],
        count=count_cargo_test,
        install=tools.require_x86_64,
        env={"WEBCHAT_BOOTSTRAP": str(tools.ROOT / "target/lambda/x86_64/bootstrap")},
    ),
    Step(
        "cdk types",
        "cdk",
        ["npm", "run", "--silent", "check", "--prefix", "cdk"],
        install=tools.install_cdk,
        needs_node=True,
    ),
    Step(
        "cdk test",
        "cdk",
        ["npm", "test", "--silent", "--prefix", "cdk"],
        count=count_node_test,
        install=tools.install_cdk,
        needs_node=True,
    ),
    Step(
        "emulator",
        "emulator",
        [sys.executable, "scripts/emulator.py"],
        count=count_checks,
        install=tools.install_emulator,
        needs_node=True,
    ),
]


def run(step):
    """Runs one step, showing its output as it comes; gives its counts."""
    print(f"\n=== {step.name}", flush=True)
    if step.needs_node and not tools.have_node():
        print(f"SKIPPED {step.name}: needs Node 20 and npm, which are not on the PATH")
        return Counter(skipped=1)
    try:
        if step.install:
            step.install()
        status, counts = stream(step)
    except tools.Missing as missing:
        print(f"SKIPPED {step.name}: {missing}")
        return Counter(skipped=1)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"FAILED {step.name}: {error}")
        return Counter(failed=1)
    if status == 0 and step.count is None:
        counts["passed"] += 1
    if status != 0 and not counts["failed"]:
        counts["failed"] += 1  # the step itself: it did not compile, or broke off
        print(f"FAILED {step.name}: exit status {status}")
    return counts


def stream(step):
    """Runs the step's command line by line; gives its exit status and what its lines count."""
    counts = Counter()
    with subprocess.Popen(
        step.command,
        cwd=tools.ROOT,
        env=os.environ | step.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if step.count:
                counts.update(step.count(line))
    return process.returncode, counts


def main():
    groups = set(sys.argv[1:])
    steps = [step for step in STEPS if not groups or step.group in groups]
    if not steps:
        there_are = " ".join(dict.fromkeys(step.group for step in STEPS))
        sys.exit(f"no such steps: {' '.join(sorted(groups))}; there are: {there_are}")
    total, table = Counter(), []
    for step in steps:
        began = time.monotonic()
        counts = run(step)
        total.update(counts)
        table.append((step.name, time.monotonic() - began, counts))

    print("\nstep              seconds  passed  failed  skipped")
    for name, seconds, counts in table:
        print(f"{name:<16} {seconds:>8.1f}  {counts['passed']:>6}  {counts['failed']:>6}  {counts['skipped']:>7}")
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"\n{total['passed']} passed, {total['failed']} failed{skipped}", flush=True)
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    main()
