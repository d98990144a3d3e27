"""A server of a few lines that runs inside a container, with nothing but Python there.

Arguments: host, port, and what it does before it serves: ``exit``, ``eat`` (all memory it gets),
``deaf`` (to TERM), ``scratch=FOLDER`` (writes there).
"""

from __future__ import annotations

import os
import signal
import socketserver
import sys
from pathlib import Path


def say(text: str) -> None:
    """Write a line of log at once."""
    os.write(1, text.encode() + b"\n")


class Answer(socketserver.StreamRequestHandler):
    """200 for ``/ready``, the end of the server for ``/die``, the region's bytes for ``/dev/shm/...``."""

    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode()
        if path == "/die":
            say("told to die")
            os._exit(7)
        body = Path(path).read_bytes() if path.startswith("/dev/shm/") else b""
        status = "200 OK" if path == "/ready" or body else "503 Busy"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode() + body)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main(host: str, port: str, *habits: str) -> None:
    """Serve, after doing what ``habits`` say."""
    if "exit" in habits:
        say("I cannot find my model")
        sys.exit(3)
    if "eat" in habits:
        eaten = []
        while True:
            eaten.append(b"x" * 2**20 * len(habits))
    if "deaf" in habits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for habit in habits:
        if habit.startswith("scratch="):
            (Path(habit.removeprefix("scratch=")) / "written").write_text("x")
    say(" ".join(("serving", *habits)))
    Server((host, int(port)), Answer).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
