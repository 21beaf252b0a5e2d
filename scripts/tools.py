"""Installs what the other scripts need and the machine lacks, once.

Used by test.py, transcript.py, bundle.py, deploy.py and emulator.py. Versions are pinned: here, or in the package-lock.json of
tests/wscat and cdk. What is large or takes minutes to build (cargo-deny, cargo-lambda, the emulator) is kept outside the
checkout, so that a clean checkout does not fetch or build it again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "webchat-tools"

CARGO_DENY_VERSION = "0.20.2"
CARGO_DENY_ROOT = CACHE / f"cargo-deny-{CARGO_DENY_VERSION}"
CARGO_DENY = CARGO_DENY_ROOT / "bin" / "cargo-deny"

# cargo-lambda comes with zig, which links for Amazon Linux from any machine.
CARGO_LAMBDA_VERSION = "1.9.2"
CARGO_LAMBDA_BIN = CACHE / f"cargo-lambda-{CARGO_LAMBDA_VERSION}" / "bin"

# An emulator of AWS that is not ours, and the AWS command line for it. They want different versions of one library.
MINISTACK_VERSION = "1.5.33"
MINISTACK_BIN = CACHE / f"ministack-{MINISTACK_VERSION}" / "bin"
AWS_CLI_VERSION = "1.45.64"
AWS_CLI_BIN = CACHE / f"awscli-{AWS_CLI_VERSION}" / "bin"

CDK_FOLDER = ROOT / "cdk"
CDK = CDK_FOLDER / "node_modules" / ".bin" / "cdk"

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


def install_cargo_lambda():
    """Fetches cargo-lambda and zig, unless they are there."""
    install_from_pypi(f"cargo-lambda=={CARGO_LAMBDA_VERSION}", CARGO_LAMBDA_BIN)


def install_emulator():
    """Fetches the emulator and the AWS command line, unless they are there, and the CDK."""
    install_from_pypi(f"ministack=={MINISTACK_VERSION}", MINISTACK_BIN)
    install_from_pypi(f"awscli=={AWS_CLI_VERSION}", AWS_CLI_BIN)
    install_cdk()


def install_from_pypi(package, programs):
    """Installs a package into a virtual environment of its own, whose programs are in that folder."""
    done = programs.parent / "installed"
    if done.exists():
        return
    print(f"installing {package} into {programs.parent}", flush=True)
    shutil.rmtree(programs.parent, ignore_errors=True)  # a try that broke off
    run(sys.executable, "-m", "venv", programs.parent)
    run(programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package)
    done.touch()


def install_wscat():
    """Brings tests/wscat/node_modules up to its package-lock.json."""
    install_from_npm(WSCAT_FOLDER)


def install_cdk():
    """Brings cdk/node_modules up to its package-lock.json."""
    install_from_npm(CDK_FOLDER)


def install_from_npm(folder):
    """Brings a folder's node_modules up to its package-lock.json."""
    installed = folder / "node_modules" / ".package-lock.json"  # npm writes it last
    wanted = folder / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    print(f"installing {folder / 'node_modules'}", flush=True)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)


def run(*command, cwd=ROOT):
    """Runs a command to its end; raises CalledProcessError if it fails."""
    subprocess.run(command, cwd=cwd, check=True, stdin=subprocess.DEVNULL)
