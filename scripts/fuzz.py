#!/usr/bin/env python3
"""Looks for input that breaks a promise: runs the fuzz targets of fuzz/ one after another, for some minutes each.

`make fuzz MINUTES=10 [TARGET=frames]`. The engine is libFuzzer, and any stable Rust with a C++ compiler builds it. New inputs go into
target/fuzz and stay there; `make fuzz-keep` puts the few that reach code no other reaches into fuzz/corpus, where `cargo test` replays
them. An input that breaks something is left in target/fuzz/<target>/findings: fix the cause, and move the input into fuzz/corpus.

Ends with a table and one JSON line per target. Exit status 1 if there is a finding. Ctrl-C ends the target that runs; the others are left out.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import tools

FUZZ = tools.ROOT / "fuzz"
CORPUS = FUZZ / "corpus"
WORK = tools.ROOT / "target" / "fuzz"
TARGETS = sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())

# Largest input, in bytes: a little over what each target's protocol takes, where that is small enough to be worth trying.
MAX_LEN = {"frames": 20_000, "handshakes": 4096, "management": 4096, "stored": 8192, "notices": 8192, "cursors": 256}
# An input that takes longer than this is a finding, as is memory beyond that: time in s, memory in MB.
TIMEOUT, MEMORY = 30, 2048


def main():
    command, minutes, target = (sys.argv[1:] + ["", ""])[:3]
    wanted = [target] if target else TARGETS
    if unknown := [name for name in wanted if name not in TARGETS]:
        sys.exit(f"fuzz: there is no target {unknown[0]}; there are: {' '.join(TARGETS)}")
    engine = build()
    if command == "keep":
        for name in wanted:
            keep(engine, name)
        return
    seconds = round(float(minutes or 10) * 60)
    runs = []
    for name in wanted:
        runs.append(run(engine, name, seconds))
        if runs[-1]["interrupted"]:
            break
    print(f"\n{'target':<12} {'seconds':>8} {'executions':>11} {'per second':>11} {'corpus':>7} {'findings':>9}")
    for each in runs:
        rate = each["executions"] / max(each["seconds"], 1)
        print(
            f"{each['target']:<12} {each['seconds']:>8} {each['executions']:>11} {rate:>11.0f} {each['corpus']:>7}"
            f" {each['findings']:>9}"
        )
    for each in runs:
        print(json.dumps(each))
    sys.exit(1 if any(each["findings"] for each in runs) else 0)


def build():
    """Builds the engine; gives its path. Only our own crates are built for it (fuzz/instrument.sh)."""
    # --workspace, so that cargo chooses the dependencies' features as for `cargo test --workspace`, and finds them built.
    command = ["cargo", "test", "--workspace", "--features", "fuzz/engine", "--test", "engine", "--no-run"]
    environment = os.environ | {"RUSTC_WORKSPACE_WRAPPER": str(FUZZ / "instrument.sh")}
    built = subprocess.run(
        [*command, "--message-format=json"], cwd=tools.ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    if built.returncode != 0:
        sys.exit("fuzz: the engine was not built; the reason is above")
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "engine":
            return message["executable"]
    sys.exit("fuzz: cargo built no engine")


def run(engine, name, seconds):
    """Runs one target; says what came of it."""
    corpus, findings = WORK / name / "corpus", WORK / name / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    before = set(findings.iterdir())
    command = [
        engine, corpus, CORPUS / name, f"-max_total_time={seconds}", f"-max_len={MAX_LEN[name]}", f"-timeout={TIMEOUT}",
        f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={findings}/", "-print_final_stats=1", "-reload=0", "-verbosity=1",
    ]  # fmt: skip
    if (words := FUZZ / "dictionaries" / name).exists():
        command.append(f"-dict={words}")
    print(f"\n=== {name}: {seconds} s; Ctrl-C ends it", flush=True)
    began, executions, interrupted = time.monotonic(), 0, False
    log = WORK / name / "log"
    with subprocess.Popen(
        command, env=environment(name), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, errors="replace",
    ) as process, log.open("w") as kept:  # fmt: skip
        try:
            for line in process.stderr:
                kept.write(line)
                if counted := re.match(r"#(\d+)\t(\w+)", line):
                    executions = int(counted[1])
                    if counted[2] in ("INITED", "pulse"):
                        print(line, end="", flush=True)
                elif counted := re.match(r"stat::number_of_executed_units: (\d+)", line):
                    executions = int(counted[1])
                elif "panicked at" in line or line.startswith(("SUMMARY", "==")):
                    print(line, end="", flush=True)
        except KeyboardInterrupt:
            interrupted = True
            process.terminate()
    new = set(findings.iterdir()) - before
    for finding in sorted(new):
        print(f"FAILED {name}: {finding.relative_to(tools.ROOT)}; the panic is in {log.relative_to(tools.ROOT)}")
    return {
        "target": name, "seconds": round(time.monotonic() - began), "executions": executions,
        "corpus": sum(1 for _ in corpus.iterdir()), "findings": len(new), "interrupted": interrupted,
    }  # fmt: skip


def keep(engine, name):
    """Adds to fuzz/corpus what reaches more than it does, and nothing else."""
    more = WORK / name / "more"
    shutil.rmtree(more, ignore_errors=True)
    more.mkdir(parents=True)
    before = len(list((CORPUS / name).iterdir()))
    # The engine's own choice of the smallest set, with what is committed as a part of it. Counted by the code that is reached and not by
    # how often, which is what keeps the set small.
    shutil.copytree(CORPUS / name, more, dirs_exist_ok=True)
    command = [engine, "-merge=1", "-use_counters=0", f"-max_len={MAX_LEN[name]}", more, WORK / name / "corpus"]
    subprocess.run(command, env=environment(name), check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    committed = {file.read_bytes() for file in (CORPUS / name).iterdir()}
    for file in more.iterdir():
        if file.read_bytes() not in committed:
            shutil.copy(file, CORPUS / name / file.name[:16])
    print(f"{name}: {before} inputs, {len(list((CORPUS / name).iterdir()))} now")


def environment(name):
    return os.environ | {"WEBCHAT_FUZZ_TARGET": name}


if __name__ == "__main__":
    main()
