"""Installs what the other scripts need and the machine lacks, once.

Used by test.py and transcript.py. Versions are pinned: cargo-deny here, wscat in tests/wscat/package-lock.json.
cargo-deny is kept outside the checkout, since it takes minutes to build and a clean checkout would build it again.
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "webchat-tools"

CARGO_DENY_VERSION = "0.20.2"
CARGO_DENY_ROOT = CACHE / f"cargo-deny-{CARGO_DENY_VERSION}"
CARGO_DENY = CARGO_DENY_ROOT / "bin" / "cargo-deny"

WSCAT_FOLDER = ROOT / "tests" / "wscat"
WSCAT = WSCAT_FOLDER / "node_modules" / "wscat" / "bin" / "wscat"


def have_node():
    """Whether the steps that use Node can run at all."""
    return bool(shutil.which("node") and shutil.which("npm"))


def install_cargo_deny():
    """Builds cargo-deny, unless it is there."""
    if CARGO_DENY.exists():
        return
    print(f"building cargo-deny {CARGO_DENY_VERSION} into {CARGO_DENY_ROOT}: once, some minutes", flush=True)
    run("cargo", "install", "--quiet", "--locked", "--root", CARGO_DENY_ROOT, "--version", CARGO_DENY_VERSION, "cargo-deny")


def install_wscat():
    """Brings tests/wscat/node_modules up to its package-lock.json."""
    installed = WSCAT_FOLDER / "node_modules" / ".package-lock.json"  # npm writes it last
    wanted = WSCAT_FOLDER / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    print(f"installing wscat into {WSCAT_FOLDER / 'node_modules'}", flush=True)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=WSCAT_FOLDER)


def run(*command, cwd=ROOT):
    """Runs a command to its end; raises CalledProcessError if it fails."""
    subprocess.run(command, cwd=cwd, check=True, stdin=subprocess.DEVNULL)
