#!/usr/bin/env python3
"""Proves the deployment on an emulator of AWS that is not ours (ministack), with IAM enforced, and removes it again.

What is deployed is what goes to AWS: the same template, the same zip, by `deploy.py`; only the address of `@connections`
differs. The emulator listens on a free port of 127.0.0.1 and keeps its data in a temporary folder. Prints a line per check,
`ok …`, `FAILED …` or `SKIPPED …`; test.py counts them. Runs with ministack's own Python, which has botocore.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import tools

if sys.argv[1:] != ["with-botocore"]:
    tools.install_emulator()
    sys.exit(subprocess.run([tools.MINISTACK_BIN / "python", __file__, "with-botocore"]).returncode)

from emulator_stage import STACK, STAGE, Emulator, Failed  # noqa: E402 (needs botocore)

# Scenarios that ministack cannot play, and why. All of them are played by `cargo test` on the local runtime.
SKIPPED = {
    "a_binary_frame_or_one_message_too_long_is_closed_by_the_gateway": "ministack has no limits and takes binary frames",
    "a_frame_made_to_confuse_the_gateway_is_a_mistake_like_any_other": (
        "ministack drops the connection on deeply nested JSON, and lets a frame ask for the route $connect"
    ),
    "fifty_people_talking_at_once_all_hear_everything": "10,000 pushes at once are too many for ministack's one thread",
}
# What ministack does not do as AWS does, so that nothing here speaks for it; tests/tests/local_*.rs cover these.
NOT_EMULATED = {
    "a batch that failed in part comes again": "ministack ignores ReportBatchItemFailures, bisection and retry limits",
    "notices that cannot be handed over are kept": "ministack hands a notice over once and has no dead-letter queue for it",
    "CloudFront keeps files and forgets them when told": "ministack has no cache: each file comes from the bucket",
    "browsers trust the page's certificate": "ministack makes its own, and no name of AWS's leads here: the browser is told both",
}

OPENING = "a_new_connection_is_welcomed_unasked_and_listed_by_then"
BROADCAST = "a_broadcast_reaches_everyone_who_is_there_and_its_sender"
CHAT = "a_chat_reaches_its_recipient_alone_and_a_receipt_tells_the_sender"
# A function, a permission and its resource: what fails without it.
NEEDED = [
    ("connect", "dynamodb:PutItem", f"table/{STACK}-events", OPENING),
    ("disconnect", "dynamodb:PutItem", f"table/{STACK}-events", "whoever_leaves_is_no_longer_listed_however_they_left"),
    ("broadcast", "dynamodb:PutItem", f"table/{STACK}-events", BROADCAST),
    ("list", "dynamodb:Query", "index/live", "a_list_is_complete_and_comes_in_pages"),
    ("chat", "dynamodb:PutItem", f"table/{STACK}-events", CHAT),
    ("chat", "dynamodb:Query", f"table/{STACK}-events", CHAT),
    ("projector", "dynamodb:UpdateItem", f"table/{STACK}-connections", OPENING),
    ("projector", "events:PutEvents", f"event-bus/{STACK}", OPENING),
    ("post", "execute-api:ManageConnections", "/@connections/", OPENING),
    ("post", "dynamodb:Query", "index/live", BROADCAST),
    ("post", "dynamodb:PutItem", f"table/{STACK}-events", CHAT),
    ("manage", "dynamodb:Query", "index/live", None),
    ("manage", "execute-api:ManageConnections", "/@connections/", None),
]
# A scenario that can pass has passed by then.
GRACE = 10.0


def main():
    for what, why in NOT_EMULATED.items():
        print(f"SKIPPED {what}: {why}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="webchat-emulator-") as folder, Emulator(Path(folder)) as emulator:
        for what, prove in proofs(emulator):
            began = time.monotonic()
            try:
                prove()
                print(f"ok {what} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception as why:  # whatever it is, the other checks go on
                failed.append(what)
                print(f"FAILED {what}: {why}", flush=True)
                if what in ESSENTIAL:
                    print(emulator.last_words())
                    break
    sys.exit(1 if failed else 0)


ESSENTIAL = ["cdk bootstrap", "make deploy", "make deploy again adopts the events table"]


def proofs(emulator):
    """What is proven, in order: the later ones build on the earlier ones."""
    yield "cdk bootstrap", emulator.bootstrap
    yield "make deploy", lambda: emulator.deploy("auth=none", "web=true")
    yield from scenarios(emulator)
    yield from pages(emulator)
    for function, action, resource, scenario in NEEDED:
        yield f"{function} cannot do without {action} on {resource}", needs(emulator, function, action, resource, scenario)
    chosen = ["auth=iam", "allowedOrigins=https://a.example", "web=false"]
    # Without a permission the projector lost records, as ministack does not try again; and there is a row of no event.
    yield "webchat replay --stage repairs the view", lambda: says(emulator, "replay", "connections")
    yield "webchat verify --stage finds it equal to the events", lambda: says(emulator, "verify", "0 different")
    yield "webchat url --stage finds the address", lambda: says(emulator, "url", emulator.outputs()["Url"], "--plain")
    yield "an update keeps the events", lambda: keeps_events(emulator, lambda: emulator.deploy(*chosen))
    yield "an update with web=false removes the page", lambda: no_page(emulator)
    yield "auth=iam refuses a connection that is not signed", lambda: expect(403, handshake(emulator.url()))
    yield "auth=iam lets a signed connection in", lambda: expect(101, handshake(emulator.signed_url()))
    yield "auth=iam lets in an address that webchat url has signed", lambda: expect(101, handshake(signed_by_webchat(emulator)))
    yield "a page from elsewhere is refused", lambda: expect(403, handshake(emulator.signed_url(), "https://b.example"))
    yield "what is not chosen again stays as deployed", lambda: stays_as_deployed(emulator)
    yield "cdk destroy keeps the events", lambda: keeps_events(emulator, emulator.cdk_destroy)
    again = ["auth=none", "web=true"]
    yield "make deploy again adopts the events table", lambda: keeps_events(emulator, lambda: emulator.deploy(*again))
    yield "the adopted table serves", lambda: passes(emulator, OPENING)
    yield "make destroy asks", lambda: asks(emulator)
    yield "make destroy keeps the events", lambda: keeps_events(emulator, lambda: emulator.destroy(STAGE))
    yield "make destroy removes the functions", lambda: gone(emulator)
    yield "make destroy removes the page", lambda: no_page(emulator)
    yield "make destroy deletes the events when told by name", lambda: deletes_events(emulator)


def scenarios(emulator):
    """One check per scenario, all from one run."""
    ran = {}

    def outcome(name):
        if ran.get(name) != "ok":
            raise Failed("cargo test says so" if name in ran else "it did not run")

    skip = [word for name in SKIPPED for word in ("--skip", name)]
    listed = emulator.cargo_test("--list", *skip)
    names = re.findall(r"^(\w+): test$", listed.stdout, re.MULTILINE)
    tested = emulator.cargo_test(*skip)
    ran.update(re.findall(r"^test (\w+) \.\.\. (\w+)", tested.stdout, re.MULTILINE))
    if tested.returncode != 0:
        print(tested.stdout)
    for name, why in SKIPPED.items():
        print(f"SKIPPED {name}: {why}")
    for name in names or ["the scenarios"]:
        yield name, lambda name=name: outcome(name)


def pages(emulator):
    """The checks of a browser on the deployed page, all from one run."""
    what = "the page as deployed"
    try:
        tools.install_browser()
    except tools.Missing as missing:
        print(f"SKIPPED {what}: {missing}")
        return
    tested = emulator.browser_test()
    results = re.findall(r"^(ok|not ok) \d+ - (.*)$", tested.stdout, re.MULTILINE)
    if tested.returncode != 0 or not results:
        print(tested.stdout)
        results = results or [("not ok", what)]
    for result, name in results:
        yield name, lambda result=result: expect("ok", result)


def says(emulator, command, expected, *arguments):
    """Our own command against the stage."""
    ran = emulator.webchat(command, *arguments)
    if ran.returncode != 0 or expected not in ran.stdout + ran.stderr:
        raise Failed(f"exit code {ran.returncode}: {ran.stdout}{ran.stderr}")


def signed_by_webchat(emulator):
    return emulator.webchat("url", "--url", emulator.url()).stdout.strip()


def needs(emulator, function, action, resource, scenario):
    """A check that something fails with AccessDenied while a function lacks a permission."""

    def check():
        with emulator.without(function, action, resource):
            since = int(time.time() * 1000)
            running = emulator.start_scenario(scenario) if scenario else emulator.start_sweep()
            said = emulator.wait_for_denial(function, action, since)
            try:
                status = running.wait(GRACE)
            except subprocess.TimeoutExpired:
                running.kill()  # it waits for what never comes
                running.wait()
                status = None
            if not said:
                raise Failed(f"{function} logged no AccessDenied for {action}")
            if status == 0 and scenario:
                raise Failed(f"{scenario} passes all the same")

    return check


def passes(emulator, scenario):
    status = emulator.start_scenario(scenario).wait(120)
    if status != 0:
        raise Failed(f"{scenario} failed")


def keeps_events(emulator, act):
    before = emulator.events()
    act()
    lost = before - emulator.events()
    if lost or not before:
        raise Failed(f"{len(lost)} of {len(before)} events are lost")


def stays_as_deployed(emulator):
    emulator.deploy()
    expect("iam", json.loads(emulator.outputs()["Settings"])["auth"])


def asks(emulator):
    try:
        emulator.destroy("no")
    except subprocess.CalledProcessError:
        expect(True, bool(emulator.outputs()))
        return
    raise Failed("it went on without the stage's name")


def gone(emulator):
    left = [f["FunctionName"] for f in emulator.client("lambda").list_functions()["Functions"]]
    expect([], left)


def no_page(emulator):
    """Neither bucket nor distribution is left; the CDK's own bucket stays."""
    buckets = [bucket["Name"] for bucket in emulator.client("s3").list_buckets()["Buckets"]]
    expect([], [name for name in buckets if not name.startswith("cdk-")])
    expect([], emulator.client("cloudfront").list_distributions()["DistributionList"].get("Items", []))


def deletes_events(emulator):
    emulator.destroy(STAGE, f"deleteEvents={STACK}-events")
    expect([], [name for name in emulator.client("dynamodb").list_tables()["TableNames"] if name.startswith(STACK)])


def expect(wanted, got):
    if got != wanted:
        raise Failed(f"{got!r}, not {wanted!r}")


def handshake(url, origin=None):
    """The status that answers a WebSocket handshake."""
    request = urllib.request.Request(url.replace("ws://", "http://", 1))
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    for name, value in {**headers, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin}.items():
        if value:
            request.add_header(name, value)
    # urllib says `Connection: close` and would not wait for a 101: so by hand.
    with socket.create_connection((request.host.split(":")[0], int(request.host.split(":")[1])), timeout=30) as connection:
        lines = [f"GET {request.selector} HTTP/1.1", f"Host: {request.host}"]
        lines += [f"{name}: {value}" for name, value in request.header_items() if name != "Host"]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = connection.recv(4096).decode(errors="replace")
    found = re.match(r"HTTP/1.1 (\d+)", answer)
    return int(found[1]) if found else answer


if __name__ == "__main__":
    main()
