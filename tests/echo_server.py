"""A server of stdlib parts that says which images it was asked for, and misbehaves as it is told.

``echo_server.py HOST:PORT SETTINGS TAG``: SETTINGS is JSON with the fields of `echo_stack.Faults`, and
``models``, the names loaded at start. TAG is there to be found by in the list of processes.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = json.loads(sys.argv[2])
NOBODY = -1
"""An image that is none, for a wrong answer."""
EVERY = -1
"""As the wrong image: whichever is asked for."""


class Counts:
    """What all connections count together."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loaded = set(SETTINGS["models"])
        self.asked = 0
        """Of the model that the faults are meant for, or of all."""
        self.images = 0
        self.executions = 0


class Journal:
    """A file for each server, named by its process: a word, an instant of CLOCK_MONOTONIC, and its cores."""

    def __init__(self) -> None:
        self.folder = SETTINGS["journal"]
        self.lock = threading.Lock()
        self.written: set[str] = set()

    def write(self, word: str) -> None:
        """Write that something happened, the first time that it does."""
        with self.lock:
            if not self.folder or word in self.written:
                return
            self.written.add(word)
            cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
            with (Path(self.folder) / str(os.getpid())).open("a") as file:
                file.write(f"{word} {time.monotonic_ns()} {cores}\n")

    def count(self, word: str) -> int:
        """Return in how many servers it happened."""
        files = Path(self.folder).iterdir() if self.folder else ()
        return sum(f"{word} " in file.read_text() for file in files)


counts = Counts()
journal = Journal()


def say(text: str) -> None:
    """Write one line to the log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def infer(model: str, images: list[int]) -> tuple[int, object]:
    """Return which images were asked for, or what the faults make of that."""
    faulty = SETTINGS["only"] in ("", model)
    with counts.lock:
        counts.asked += faulty
        number = counts.asked
        counts.images += len(images)
        counts.executions += 1
        known = model in counts.loaded
    if not known:
        return 404, f"no model {model}"
    time.sleep(SETTINGS["delay_s"])
    if not faulty:
        return 200, images
    misfortune(number)
    if SETTINGS["fails_every"] and number % SETTINGS["fails_every"] == 0:
        return 500, "out of memory"
    if SETTINGS["mixes_up"]:
        images.reverse()
    wrong = SETTINGS["wrong_image"] if number > SETTINGS["wrong_after"] else None
    return 200, [NOBODY if wrong in (one, EVERY) else one for one in images]


def misfortune(number: int) -> None:
    """Die or hang when it is time."""
    if SETTINGS["dies_after"] is not None and number > SETTINGS["dies_after"]:
        say("I lost my model")
        os._exit(7)
    if SETTINGS["hangs_after"] is not None and number > SETTINGS["hangs_after"]:
        threading.Event().wait()


def command(word: str, model: str) -> tuple[int, object]:
    """Load or unload a model."""
    say(f"{word} {model}")
    if word == "load" and model == SETTINGS["refuses"]:
        return 400, f"{model} does not fit"
    with counts.lock:
        (counts.loaded.add if word == "load" else counts.loaded.discard)(model)
    return 200, "done"


def answer(path: str, body: bytes) -> tuple[int, object]:
    """Return status and JSON for a request."""
    word, _, model = path.strip("/").partition("/")
    if word == "ready":
        if SETTINGS["never_ready"] or journal.count("started") < SETTINGS["start_together"]:
            return 503, "not yet"
        journal.write("ready")
        return 200, "ready"
    if word == "infer":
        return infer(model, json.loads(body))
    if word == "counters":
        return 200, {"images": counts.images, "executions": counts.executions}
    if word == "served":
        return 200, json.loads(SETTINGS["says"] or "null")
    return command(word, model)


class Connection(socketserver.StreamRequestHandler):
    """One connection, kept open."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer until the client goes away."""
        while line := self.rfile.readline().decode():
            length = 0
            while (header := self.rfile.readline().decode().strip().lower()) != "":
                if header.startswith("content-length:"):
                    length = int(header.partition(":")[2])
            status, said = answer(line.split()[1], self.rfile.read(length))
            body = json.dumps(said).encode()
            head = f"HTTP/1.1 {status} Echo\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            self.wfile.write(head.encode() + b"\r\n\r\n" + body)


class Server(socketserver.ThreadingTCPServer):
    """A thread per connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that resets its connection is none of our business."""


def main() -> None:
    """Serve until killed."""
    if SETTINGS["exits_at_start"]:
        say("I cannot find my model")
        sys.exit(3)
    journal.write("started")
    say(f"serving {', '.join(SETTINGS['models']) or 'no model yet'}")
    host, _, port = sys.argv[1].partition(":")
    Server((host, int(port)), Connection).serve_forever()


if __name__ == "__main__":
    main()
