#!/usr/bin/env python3
"""Runs on and on what `make test` runs for some minutes: `make soak MINUTES=30`.

Each part runs for its share of the time, shows one line of progress, can be interrupted (Ctrl-C ends it with what there is),
prints what it did as a table for people and at the end of all a JSON line for programs. A failure is printed with the command
that shows it again, and makes the exit status 1. To add a part, write a function and put it into PARTS.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter

import tools


class Part:
    """What a part has come to: counts by name, failures as lines."""

    def __init__(self, name):
        self.name = name
        self.counts = Counter()
        self.details = Counter()  # counts of one kind, shown below the others
        self.failures = []
        self.began = time.monotonic()

    def progress(self, text):
        """One line, rewritten in place on a terminal and left out elsewhere but for one a minute."""
        seconds = time.monotonic() - self.began
        line = f"{self.name}: {seconds:.0f} s, {text}, {len(self.failures)} failed"
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif seconds >= getattr(self, "next_line", 0):
            self.next_line = seconds + 60
            print(line, file=sys.stderr, flush=True)

    def fails(self, what):
        self.failures.append(what)
        print(f"\n{self.name} FAILED {what}", flush=True)

    def report(self):
        if sys.stderr.isatty():
            print(file=sys.stderr)
        seconds = time.monotonic() - self.began
        print(f"\n{self.name}: {seconds:.0f} s, {len(self.failures)} failed")
        for name, count in self.counts.items():
            print(f"{count:>14,}  {name}")
        for name, count in sorted(self.details.items()):
            print(f"{count:>14,}    {name}")
        return {
            "part": self.name,
            "seconds": round(seconds),
            **self.counts,
            "details": dict(sorted(self.details.items())),
            "failures": self.failures,
        }


def faults(part, seconds):
    """Seeds of the simulation that nobody has played yet: their numbers begin with the time of day."""
    build = ["cargo", "build", "--release", "-q", "-p", "tests", "--bin", "play-seeds"]
    subprocess.run(build, cwd=tools.ROOT, check=True)
    part.began = time.monotonic()
    first = int(os.environ.get("SOAK_FROM", int(time.time()) * 1000))
    program = os.path.join(tools.ROOT, os.environ.get("CARGO_TARGET_DIR", "target"), "release", "play-seeds")
    with subprocess.Popen([program, str(first)], stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            for line in process.stdout:
                played = json.loads(line)
                part.counts["seeds"] += 1
                for name in ("connections", "events", "frames", "virtual_seconds"):
                    part.counts[name] += played[name]
                part.counts["mishaps"] += sum(played["mishaps"].values())
                part.details.update(played["mishaps"])
                if played["wrong"]:
                    again = f"CHAOS_SEED={played['seed']} CHAOS_TRACE=1 cargo test -p tests --test local_chaos promise"
                    part.fails(f"seed {played['seed']}: {played['wrong']}\n  again: {again} -- --nocapture")
                part.progress(f"{part.counts['seeds']} seeds, {part.counts['mishaps']} mishaps")
                if time.monotonic() - part.began > seconds:
                    break
        finally:
            process.kill()


def connections(part, seconds):
    """Ten thousand idle connections to a real `webchat local`, while clients behave badly and others talk."""
    for package, program in (("cli", "webchat"), ("tests", "load")):
        build = ["cargo", "build", "--release", "-q", "-p", package, "--bin", program]
        subprocess.run(build, cwd=tools.ROOT, check=True)
    part.began = time.monotonic()
    release = os.path.join(tools.ROOT, os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    connections = os.environ.get("SOAK_CONNECTIONS", "10000")
    command = [os.path.join(release, "load"), "soak", "--webchat", os.path.join(release, "webchat")]
    command += ["--connections", connections, "--minutes", str(int(seconds // 60))]
    # It ends after a whole round, so it may take some minutes longer than it was given.
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            for line in process.stdout:
                done = json.loads(line)
                part.counts["steps"] += 1
                part.counts["connections held"] = max(part.counts["connections held"], done.get("held", 0))
                part.counts["messages of others"] += done.get("others", {}).get("received", 0)
                if "bytes_each" in done:
                    part.counts["bytes of an idle connection"] = done["bytes_each"]
                print(line, end="", flush=True)
                part.progress(f"{part.counts['steps']} steps, {part.counts['messages of others']} messages of others")
            if process.wait() != 0:
                part.fails(f"the step after these; again: {' '.join(command)}")
        finally:
            process.kill()


# Name, function of (part, seconds), share of the time.
PARTS = [("faults", faults, 0.75), ("connections", connections, 0.25)]


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else 30.0
    reports, interrupted = [], False
    shares = sum(share for _, _, share in PARTS)
    for name, run, share in PARTS:
        part = Part(name)
        try:
            run(part, minutes * 60 * share / shares)
        except KeyboardInterrupt:
            interrupted = True
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            part.fails(str(error))
        reports.append(part.report())
        if interrupted:
            break
    failed = sum(len(report["failures"]) for report in reports)
    print(json.dumps({"minutes": minutes, "interrupted": interrupted, "failed": failed, "parts": reports}))
    sys.exit(130 if interrupted else 1 if failed else 0)


if __name__ == "__main__":
    main()
