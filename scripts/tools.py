"""Installs what the other scripts need and the machine lacks, once.

Used by test.py, transcript.py, screenshots.py, bundle.py, deploy.py and emulator.py. Versions are pinned: here, or in the
package-lock.json of tests/wscat, tests/browser and cdk. What is large or takes minutes to build (cargo-deny, cargo-lambda, the
emulator) is kept outside the checkout, so that a clean checkout does not fetch or build it again.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "webchat-tools"

CARGO_DENY_VERSION = "0.20.2"
CARGO_DENY_ROOT = CACHE / f"cargo-deny-{CARGO_DENY_VERSION}"
CARGO_DENY = CARGO_DENY_ROOT / "bin" / "cargo-deny"

CARGO_MACHETE_VERSION = "0.9.2"
CARGO_MACHETE_ROOT = CACHE / f"cargo-machete-{CARGO_MACHETE_VERSION}"
CARGO_MACHETE = CARGO_MACHETE_ROOT / "bin" / "cargo-machete"

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

BROWSER_FOLDER = ROOT / "tests" / "browser"
BROWSERS = [Path("/usr/bin") / name for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")]


class Missing(Exception):
    """Something this machine lacks and we cannot install. What needs it is skipped."""


def have_node():
    """Whether the steps that use Node can run at all."""
    return bool(shutil.which("node") and shutil.which("npm"))


def require_x86_64():
    """For what runs the bundle that `make test` builds."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise Missing("the bundle that is built here is for x86_64")


def install_cargo_deny():
    """Builds cargo-deny, unless it is there."""
    install_from_crates_io("cargo-deny", CARGO_DENY_VERSION, CARGO_DENY_ROOT)


def install_cargo_machete():
    """Builds cargo-machete, unless it is there."""
    install_from_crates_io("cargo-machete", CARGO_MACHETE_VERSION, CARGO_MACHETE_ROOT)


def install_from_crates_io(program, version, root):
    """Builds a program into a folder of its own, unless it is there."""
    if (root / "bin" / program).exists():
        return
    print(f"building {program} {version} into {root}: once, some minutes", flush=True)
    run("cargo", "install", "--quiet", "--locked", "--root", root, "--version", version, program)


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


def install_browser():
    """Brings tests/browser/node_modules up to its package-lock.json and, as root with apt, Chromium where no browser is."""
    if not have_browser():
        if os.name != "posix" or os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Missing("needs Chromium or Chrome, in /usr/bin or named by CHROME_PATH")
        print("installing chromium: once", flush=True)
        apt("update")
        apt("install", "--no-install-recommends", "chromium", "fonts-dejavu-core")
        if not have_browser():
            raise Missing("needs Chromium or Chrome, and apt has none")
    install_from_npm(BROWSER_FOLDER)


def have_browser():
    """Whether tests/browser/stage.js will find one."""
    return bool(os.environ.get("CHROME_PATH")) or any(path.exists() for path in BROWSERS)


def apt(*arguments):
    """Runs apt-get without questions; whether it helped shows afterwards."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "-y", *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


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
