"""Servers of a few lines that are up in 0.1 s, each with one bad habit."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_servebench.launchers.process import ProcessLauncher, ProcessServer
from pytest_servebench.plan import LaunchSpec, ReadyCheck, WorkFile

GOOD = """
import os, socketserver, sys
from pathlib import Path

class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1]
        status = b"200 OK" if path == b"/ready" else b"503 Busy"
        head = b"\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n"
        self.wfile.write(b"HTTP/1.1 " + status + head)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

def note(name, text):
    # Renamed into place, so that nobody reads half of it.
    Path(name + ".part").write_text(str(text))
    os.rename(name + ".part", name)

def serve():
    note("server.pid", os.getpid())
    print("serving", flush=True)
    Server(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""

SERVE = "serve()\n"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
"""Does not hear TERM."""
LAST_WORD = "print('I cannot find my model', flush=True); sys.exit(3)\n"
RUNAWAY = """
import signal, subprocess
deaf = "import os, signal; signal.signal(15, signal.SIG_IGN); os.write(1, b'up'); signal.pause()"
argv = [sys.executable, "-I", "-S", "-c", deaf]
child = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE)
child.stdout.read(2)
note("child.pid", child.pid)
"""
"""Has a child in a session of its own, which does not hear TERM."""
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import signal
        note("daemon.pid", os.getpid())
        while True:
            signal.pause()
    os._exit(0)
os.wait()
while not Path("daemon.pid").exists():
    os.sched_yield()
"""
"""Has a grandchild that left the session and whose parent is gone."""


def tiny_spec(
    habits: str = "",
    *,
    name: str = "tiny",
    path: str = "/ready",
    deadline_s: float = 10.0,
    grace_s: float = 5.0,
    port_roles: tuple[str, ...] = ("http",),
    environment: dict[str, str] | None = None,
) -> LaunchSpec:
    """Return how to launch a tiny server that runs ``habits`` before it serves."""
    return LaunchSpec(
        name=name,
        argv=(sys.executable, "-I", "-S", "${workdir}/server.py", "${http_port}"),
        files=(WorkFile(path="server.py", text=GOOD + habits + SERVE),),
        port_roles=port_roles,
        environment=environment or {},
        ready=ReadyCheck(path=path, deadline_s=deadline_s),
        stop_grace_s=grace_s,
    )


def noted_pid(workdir: Path, name: str) -> int:
    """Return the process id that a tiny server noted in its folder."""
    return int((workdir / f"{name}.pid").read_text())


def start_tiny(work: Path, habits: str = "", grace_s: float = 5.0) -> ProcessServer:
    """Return a running tiny server with these habits."""
    return ProcessLauncher().start("tiny", tiny_spec(habits, grace_s=grace_s), work)
