#!/usr/bin/env python3
"""Asks whether anything we depend on is known to be vulnerable: cargo deny's advisories, and npm audit for each package-lock.json.

Both ask a database on the network when they run. Where it cannot be reached the check is SKIPPED and says so: nothing was found out.
Prints one line per check, as the other scripts do.
"""

import json
import shutil
import subprocess
import sys

import tools

# An answer takes seconds; a network that swallows requests takes for ever.
PATIENCE = 120
# Of npm's levels (info, low, moderate, high, critical): what these packages do is build and test, on this machine.
NPM_LEVELS = ("high", "critical")


def main():
    failed = rust_advisories()
    for folder in (tools.CDK_FOLDER, tools.BROWSER_FOLDER, tools.WSCAT_FOLDER):
        failed |= npm_audit(folder)
    sys.exit(1 if failed else 0)


def rust_advisories():
    """RustSec's advisories against Cargo.lock; whether something was found."""
    name = "advisories of Cargo.lock"
    try:
        tools.install_cargo_deny()
        command = [tools.CARGO_DENY, "check", "--hide-inclusion-graph", "advisories"]
        done = subprocess.run(
            command, cwd=tools.ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return skipped(name, f"no answer of the advisory database within {PATIENCE} s")
    said = done.stdout + done.stderr
    if done.returncode == 0:
        return ok(name)
    # Found advisories are told with their codes; without one, the database was not there.
    if "advisories FAILED" in said and "error[" in said:
        return found(name, said)
    reason = next((line.strip() for line in said.splitlines() if "fetch" in line or "database" in line), said.strip()[-200:])
    return skipped(name, f"the advisory database cannot be reached: {reason}")


def npm_audit(folder):
    """npm's advisories against a folder's package-lock.json; whether something was found."""
    name = f"npm audit of {folder.relative_to(tools.ROOT)}"
    if not shutil.which("npm"):
        return skipped(name, "needs npm, which is not on the PATH")
    command = ["npm", "audit", "--json", "--package-lock-only", "--fetch-retries=0"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
        )
        report = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return skipped(name, f"no answer of the registry within {PATIENCE} s")
    except json.JSONDecodeError:
        return skipped(name, "npm printed no report")
    if "vulnerabilities" not in report:
        reason = report.get("message") or (report.get("error") or {}).get("summary") or "no reason given"
        return skipped(name, f"the registry cannot be asked: {' '.join(str(reason).split())[:200]}")
    serious = [
        f"{package} ({about['severity']})"
        for package, about in report["vulnerabilities"].items()
        if about["severity"] in NPM_LEVELS
    ]
    return found(name, ", ".join(serious)) if serious else ok(name)


def ok(name):
    print(f"ok {name}", flush=True)
    return False


def skipped(name, why):
    print(f"SKIPPED {name}: {why}", flush=True)
    return False


def found(name, what):
    print(f"FAILED {name}: {what}", flush=True)
    return True


if __name__ == "__main__":
    main()
