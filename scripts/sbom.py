"""What is in the bundle: a software bill of materials (CycloneDX 1.5, JSON) beside each bootstrap.zip.

Used by bundle.py. Lists the crates that cargo links into `bootstrap` for a target: normal dependencies of `handlers`, with its features,
no build scripts and no macros. The same sources give the same file: it has no date and no serial number. What the list says is checked
against the binary itself, which names the source files of the crates in its panic messages.
"""

import hashlib
import json
import re
import subprocess

import tools

# What a panic message names: …/registry/src/<registry>/<crate>-<version>/src/…
SOURCE = re.compile(rb"registry/src/[^/]+/([a-zA-Z0-9_-]+?)-(\d+\.\d+\.\d+[^/]*)/")
# A package of Cargo.lock that comes from a registry.
LOCKED = re.compile(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"')
# Fewer would mean that the binary names its sources no more, and that the check checks nothing.
FEWEST_NAMED = 20


def write(binary, target, file):
    """Writes the list of what the binary holds; gives the number of crates. Raises ValueError if the binary holds more."""
    components = linked(target)
    missing, named = unlisted(binary, components)
    if named < FEWEST_NAMED:
        raise ValueError(f"{binary} names the sources of {named} crates only: its contents cannot be checked")
    if missing:
        raise ValueError(f"{binary} holds what its bill of materials does not list: {', '.join(sorted(missing))}")
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "bootstrap",
                "name": "bootstrap",
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(binary.read_bytes()).hexdigest()}],
                "properties": [{"name": "target", "value": target}],
            }
        },
        "components": components,
    }
    file.write_text(json.dumps(bill, indent=1) + "\n")
    return len(components), named


def linked(target):
    """The crates that cargo links into bootstrap, as components."""
    command = ["cargo", "tree", "--locked", "-p", "handlers", "-e", "normal,no-proc-macro", "--target", target]
    shown = ["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"]
    tree = subprocess.run([*command, *shown], cwd=tools.ROOT, capture_output=True, text=True, check=True).stdout
    lock = (tools.ROOT / "Cargo.lock").read_text()
    checksums = {(name, version): checksum for name, version, checksum in LOCKED.findall(lock)}
    found = {}
    for line in filter(None, tree.splitlines()):
        package, licence = line.split("|")
        name, version = re.match(r"(\S+) v(\S+)", package).groups()
        found[name, version] = component(name, version, licence, checksums.get((name, version)))
    return [found[key] for key in sorted(found)]


def component(name, version, licence, checksum):
    purl = f"pkg:cargo/{name}@{version}"
    described = {"type": "library", "bom-ref": purl, "name": name, "version": version}
    if checksum:
        described["purl"] = purl  # our own crates are in no registry
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if licence:
        described["licenses"] = [{"expression": licence.replace("/", " OR ")}]
    return described


def unlisted(binary, components):
    """The crates whose sources the binary names and the list does not, and how many the binary names."""
    named = {(name.decode(), version.decode()) for name, version in SOURCE.findall(binary.read_bytes())}
    listed = {(component["name"], component["version"]) for component in components}
    return {f"{name} {version}" for name, version in named - listed}, len(named)
