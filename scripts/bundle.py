#!/usr/bin/env python3
"""Builds what Lambda runs: `bootstrap`, as target/lambda/<arch>/bootstrap and bootstrap.zip, for arm64 and x86_64, with a list of what
is in it (bootstrap.cdx.json).

`make bundle` builds both, `bundle.py x86_64` one of them. The zip has one entry with fixed times and attributes: the same binary
is the same zip, and a deployment of the same code changes nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import sbom
import tools

TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
MACHINES = {"arm64": "AArch64", "x86_64": "Advanced Micro Devices X86-64"}
# What Amazon Linux 2023 has.
NEWEST_GLIBC = (2, 34)


class Failed(Exception):
    """Why there is no bundle, in one line."""


def main():
    wanted = sys.argv[1:]
    unknown = [arch for arch in wanted if arch not in TARGETS]
    if unknown:
        sys.exit(f"bundle: there is no architecture {unknown[0]}; there are: {' '.join(TARGETS)}")
    failed = False
    tools.install_cargo_lambda()
    for arch in wanted or TARGETS:
        try:
            require_target(arch)
        except Failed as why:
            # Asked for by name it must be there; else the other one will do.
            failed |= bool(wanted)
            print(f"{'FAILED' if wanted else 'SKIPPED'} {arch}: {why}", flush=True)
            continue
        try:
            print(f"ok {arch}: {bundle(arch)}", flush=True)
        except (Failed, subprocess.CalledProcessError) as why:
            failed = True
            print(f"FAILED {arch}: {why}", flush=True)
    sys.exit(1 if failed else 0)


def require_target(arch):
    """Makes sure that Rust's standard library for the target is there."""
    target = TARGETS[arch]
    if have_target(target):
        return
    if not shutil.which("rustup"):
        raise Failed(f"Rust's target {target} is not installed, and there is no rustup to add it")
    added = subprocess.run(["rustup", "target", "add", target], capture_output=True, text=True)
    if added.returncode != 0 or not have_target(target):
        why = (added.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Failed(f"Rust's target {target} is not installed, and `rustup target add {target}` failed: {why}")


def have_target(target):
    folder = subprocess.run(
        ["rustc", "--print", "target-libdir", "--target", target], capture_output=True, text=True, cwd=tools.ROOT
    )
    return folder.returncode == 0 and any(tools.Path(folder.stdout.strip()).glob("libstd-*"))


def bundle(arch):
    """Builds, checks and zips; gives a line about the result."""
    folder = tools.ROOT / "target" / "lambda" / arch
    build(arch, folder)
    binary = folder / "bootstrap"
    glibc = check(binary, arch)
    zipped = folder / "bootstrap.zip"
    write_zip(binary, zipped)
    crates, named = bill_of_materials(binary, arch, folder)
    print(f"ok {arch}: bootstrap.cdx.json lists {crates} crates, among them all {named} whose sources the binary names", flush=True)
    return f"{zipped.relative_to(tools.ROOT)}, binary {megabytes(binary)}, zip {megabytes(zipped)}, glibc {glibc} or later"


def bill_of_materials(binary, arch, folder):
    """Writes what is in the bundle beside it."""
    try:
        return sbom.write(binary, TARGETS[arch], folder / "bootstrap.cdx.json")
    except ValueError as why:
        raise Failed(str(why)) from why


def build(arch, folder):
    # cargo-lambda looks for its zig, and zig's Python, on the PATH.
    environment = os.environ | {"PATH": f"{tools.CARGO_LAMBDA_BIN}{os.pathsep}{os.environ['PATH']}"}
    # --profile lambda is used as it stands in Cargo.toml: cargo-lambda's own settings are for the profile `release`.
    command = ["cargo", "lambda", "build", "--quiet", "--locked", "--profile", "lambda", "-p", "handlers", "--bin", "bootstrap"]
    place = ["--target", target_with_glibc(arch), "--lambda-dir", str(folder), "--flatten", "bootstrap"]
    subprocess.run([*command, *place], cwd=tools.ROOT, env=environment, stdin=subprocess.DEVNULL, check=True)


def target_with_glibc(arch):
    """For cargo-lambda: linked with what Amazon Linux has, which is two libraries to load at each start instead of four."""
    return f"{TARGETS[arch]}.{'.'.join(map(str, NEWEST_GLIBC))}"


def check(binary, arch):
    """Makes sure the binary runs where Lambda will run it; gives the newest glibc it asks for."""
    machine = re.search(r"Machine:\s+(.*)", readelf("-hW", binary))
    if not machine or machine[1].strip() != MACHINES[arch]:
        raise Failed(f"{binary} is built for {machine and machine[1]}")
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", readelf("-VW", binary))}
    newest = max(versions, default=(0,))
    shown = ".".join(map(str, newest))
    if newest > NEWEST_GLIBC:
        raise Failed(f"{binary} needs glibc {shown}, and Amazon Linux 2023 has {'.'.join(map(str, NEWEST_GLIBC))}")
    return shown


def readelf(option, binary):
    if not shutil.which("readelf"):
        raise Failed("readelf is missing, which checks the binary: install binutils")
    return subprocess.run(["readelf", option, binary], capture_output=True, text=True, check=True).stdout


def write_zip(binary, zipped):
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, whatever this machine is
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), compresslevel=9)


def megabytes(file):
    return f"{file.stat().st_size / 1e6:.1f} MB"


if __name__ == "__main__":
    main()
