#!/usr/bin/env python3
"""Two wscat sessions against a real `webchat local`: writes the transcript in README.md, or checks everything it saw.

Used by `make transcript` (writes the block between the README's two markers) and by `make test` (`--check`: writes nothing,
prints a line `ok …` or `FAILED …` for each check, the README's block being one of them). With `--url` it talks to a webchat
that is already running or deployed, and leaves the README alone.
To know: a push may overtake its sender's `accepted`, and a list may lag behind, so frames are awaited by type and shown in
the order in which `converse` asks for them; nothing here sleeps.
"""

import argparse
import json
import os
import pty
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time

import tools

README = tools.ROOT / "README.md"
BEGIN, END = "<!-- transcript:begin -->", "<!-- transcript:end -->"
PATIENCE = 30  # seconds for anything awaited; generous, since a busy machine is no failure
LISTENING = re.compile(r"listening on (ws://127\.0\.0\.1:\d+/local)")
RECEIVED = re.compile(rb"\x1b\[34m< (.*?)\x1b\[39m")  # wscat prints what it received in blue, after `< `
# What differs from run to run: ids and times, by their JSON names or in the welcome's text.
VARIES = re.compile(r'("(?:id|message_id|connection|from|to|at|opened_at)":"|connected on )[^"]+')
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")


class Silence(Exception):
    """What we waited for did not come."""


class Record:
    """The lines of the transcript and the outcome of each check."""

    def __init__(self):
        self.lines = []
        self.outcomes = []

    def check(self, ok, what, detail=""):
        self.outcomes.append(bool(ok))
        print(f"ok {what}" if ok else f"FAILED {what}: {detail}", flush=True)


class Server:
    """`webchat local --memory` on a free port, started as the README says."""

    def __init__(self):
        subprocess.run(["cargo", "build", "-q", "--bin", "webchat"], cwd=tools.ROOT, check=True)
        self.process = subprocess.Popen(
            ["cargo", "run", "-q", "--", "local", "--memory", "--port", "0"],
            cwd=tools.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self.output, self.said = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        """Reads all output, so that the server never blocks on a full pipe."""
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            self.output.put(self.said[-1])
        self.output.put(None)

    def url(self):
        """Waits for the line that says where it listens."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.output.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Silence(f"no line `listening on …` in {PATIENCE} s, only {self.said}") from None
            if line is None:
                raise Silence(f"the server ended and said {self.said}")
            if found := LISTENING.search(line):
                return found.group(1)

    def stop(self):
        """As a user would, with Ctrl-C; not gently if that does not help."""
        stop(self.process)


class Terminal:
    """One wscat session on a pseudo terminal."""

    def __init__(self, name, url, record):
        self.name, self.record = name, record
        self.printed, self.taken = b"", 0  # and how far that is read
        self.seen, self.waiting = set(), []
        self.show(f"$ wscat -c {url}")
        self.screen, inner = pty.openpty()
        self.process = subprocess.Popen(
            ["node", tools.WSCAT, "-c", url],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=os.environ | {"TERM": "xterm"},
            start_new_session=True,
        )
        os.close(inner)

    def connected(self):
        """Waits until typing makes sense: before that, wscat drops what is typed."""
        line = "Connected (press CTRL+C to quit)"
        self.wait(lambda: line.encode() in self.printed, line)
        self.show(line)

    def show(self, line):
        """Adds a line to the transcript."""
        self.record.lines.append(f"{self.name} | {line}")

    def type(self, **message):
        """Types a message and Enter."""
        line = json.dumps(message, separators=(",", ":"))
        self.show(f"> {line}")
        self.send(line)

    def send(self, line):
        os.write(self.screen, line.encode() + b"\r")

    def frame(self, kind):
        """Waits for a frame of this type; gives it as text and as JSON."""
        self.wait(lambda: any(parsed["type"] == kind for _, parsed in self.waiting), f"a frame {kind!r}")
        found = next(one for one in self.waiting if one[1]["type"] == kind)
        self.waiting.remove(found)
        return found

    def wait(self, there, what):
        """Reads what wscat prints until `there()`."""
        deadline = time.monotonic() + PATIENCE
        while not there():
            ready, _, _ = select.select([self.screen], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Silence(f"{self.name} waited {PATIENCE} s for {what}; not asked for yet: {self.left()}")
            if not self.read():
                raise Silence(f"{self.name}'s wscat ended before {what}: {self.printed[-300:]!r}")

    def read(self):
        """Takes in what wscat printed; False when it has ended."""
        try:
            chunk = os.read(self.screen, 65536)
        except OSError:  # Linux says EIO when nobody holds the terminal any more
            chunk = b""
        self.printed += chunk
        for found in RECEIVED.finditer(self.printed, self.taken):
            self.taken = found.end()
            self.receive(found.group(1).decode())
        return bool(chunk)

    def receive(self, text):
        """Keeps a frame until it is asked for; a push delivered twice is dropped, as every client must."""
        parsed = json.loads(text)
        key = (parsed["type"], parsed.get("id"))
        if key[1] is None or key not in self.seen:
            self.seen.add(key)
            self.waiting.append((text, parsed))

    def left(self):
        """The frames that nobody asked for."""
        return [text for text, _ in self.waiting]

    def hang_up(self):
        """Ctrl-C, which closes the connection."""
        self.show("^C")
        os.write(self.screen, b"\x03")
        self.process.wait(PATIENCE)


def stop(process):
    """Ends a process that we started, if it still runs."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def expect(terminal, kind, what, **fields):
    """Waits for a frame, shows it, and checks that it has these fields."""
    text, frame = terminal.frame(kind)
    terminal.show(f"< {text}")
    wrong = {name: frame.get(name) for name, value in fields.items() if frame.get(name) != value}
    terminal.record.check(not wrong, what, f"not {wrong} in {text}")
    return frame


def expect_list(terminal, what, there=(), gone=()):
    """Asks who is there until these are and those are not; the last answer is shown."""
    message = {"action": "list"}
    terminal.type(**message)
    deadline = time.monotonic() + PATIENCE
    while True:
        text, frame = terminal.frame("connections")
        listed = {one["connection"] for one in frame["connections"]}
        ok = listed.issuperset(there) and listed.isdisjoint(gone)
        if ok or time.monotonic() > deadline:
            break
        terminal.send(json.dumps(message))
    terminal.show(f"< {text}")
    terminal.record.check(ok, what, text)


def join(terminal):
    """Waits until this terminal is in the chat; gives its connection."""
    terminal.connected()
    return expect(terminal, "welcome", f"{terminal.name} is welcomed")["connection"]


def converse(start):
    """The conversation; each line typed, then what it makes arrive, in this order."""
    a = start("A")
    on_a = join(a)
    b = start("B")
    on_b = join(b)

    expect_list(a, "the list holds A and B", there=[on_a, on_b])

    a.type(action="broadcast", message="Anybody home?")
    said = expect(a, "accepted", "A's broadcast is accepted")["id"]
    for terminal in (a, b):
        what = f"{terminal.name} hears the broadcast"
        expect(terminal, "broadcast", what, id=said, **{"from": on_a}, message="Anybody home?")

    b.type(action="chat", connection=on_a, message="Yo!", receipt=True)
    sent = expect(b, "accepted", "B's chat is accepted")["id"]
    expect(a, "chat", "A gets the chat", id=sent, **{"from": on_b}, to=on_a, message="Yo!")
    expect(b, "receipt", "B gets the receipt", message_id=sent, status="delivered")

    b.type(action="ping")
    expect(b, "pong", "B's ping is answered", connection=on_b)

    a.type(action="dance")
    expect(a, "error", "A's mistake is named", code="unknown_action", field="action")

    b.hang_up()
    expect_list(a, "the list holds A alone", there=[on_a], gone=[on_b])

    left = a.left() + b.left()
    a.record.check(not left, "nothing else arrived", left)


def run(url, record):
    """The whole run, and whether it came to its end; whatever was started is ended."""
    server, terminals = None, []

    def start(name):
        terminals.append(Terminal(name, url, record))
        return terminals[-1]

    try:
        if url is None:
            server = Server()
            url = server.url()
        converse(start)
        return True
    except (Silence, subprocess.SubprocessError, OSError) as error:
        record.check(False, "the conversation", error)
        for line in server.said[-20:] if server else ():
            print(f"  server: {line}", flush=True)
        return False
    finally:
        for one in terminals:
            stop(one.process)
        if server:
            server.stop()


def readme():
    """README.md in three: up to and with the first marker, the block, the rest."""
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    block, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md lacks the markers {BEGIN} and {END}, in this order")
    return before + begin, block, end + after


def shape(block):
    """The block with all that differs from run to run masked."""
    return PORT.sub("…", VARIES.sub(r"\1…", block))


def check_readme(block, record):
    """Whether the README shows the same conversation."""
    try:
        shown, ran = shape(readme()[1]).strip().splitlines(), shape(block).strip().splitlines()
    except ValueError as error:
        record.check(False, "README.md shows this conversation", error)
        return
    differing = [pair for pair in zip(shown, ran) if pair[0] != pair[1]]
    detail = f"README.md and the run: {differing[0]}" if differing else f"{len(shown)} lines, the run has {len(ran)}"
    record.check(shown == ran, "README.md shows this conversation", f"{detail}; `make transcript` writes it anew")


def main():
    parser = argparse.ArgumentParser(description="Two wscat sessions against a real webchat.")
    parser.add_argument("--check", action="store_true", help="write nothing; also check that README.md shows the same")
    parser.add_argument("--url", help="a webchat that runs already (ws:// or wss://); README.md is left alone")
    arguments = parser.parse_args()
    if not tools.have_node():
        sys.exit("needs Node 20 and npm")
    tools.install_wscat()

    record = Record()
    whole = run(arguments.url, record)
    block = "```text\n" + "\n".join(record.lines) + "\n```"
    if whole and arguments.check and not arguments.url:
        check_readme(block, record)
    failed = record.outcomes.count(False)
    print(f"wscat: {len(record.outcomes) - failed} checks held, {failed} did not")
    if failed:
        sys.exit(1)
    if not arguments.check and not arguments.url:
        try:
            before, _, after = readme()
        except ValueError as error:
            sys.exit(str(error))
        README.write_text(f"{before}\n{block}\n{after}", encoding="utf-8")
        print("README.md: transcript written")


if __name__ == "__main__":
    main()
