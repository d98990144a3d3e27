"""k6 ends with the process that owns it, however that ends, and leaves no files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_servebench.k6.binary import find_k6
from pytest_servebench.testing.server import ScriptedReply, ScriptedServer
from tests.processes import ended

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(find_k6() is None, reason="k6 is not installed"),
]

ROOT = Path(__file__).parents[2]
OWNER = """
import sys
from pytest_servebench.k6.k6 import K6
from pytest_servebench.plan import Load
from pytest_servebench.results import Endpoint
from tests.loads import Onlooker, posts

class Telling(Onlooker):
    def progress(self, progress):
        if progress.completed:
            print("sending", flush=True)

endpoint = Endpoint(stack="x", host="127.0.0.1", ports={"http": int(sys.argv[1])}, launcher="attach")
K6().run(endpoint, posts(2), Load(concurrency=2, warmup_s=0.1, duration_s=60.0), Telling())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return an empty folder for the owner's temporary files."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_k6_does_not_outlive_its_owner(how: signal.Signals, folder: Path) -> None:
    """In the middle of a load; also when the owner cannot clear up, since its files are in memory only."""
    with ScriptedServer(ScriptedReply(delay_s=0.01)) as server:
        command = [sys.executable, "-c", OWNER, str(server.port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as owner:
            assert owner.stdout
            assert owner.stdout.readline() == "sending\n"
            below = psutil.Process(owner.pid).children(recursive=True)
            assert "k6" in [one.name() for one in below]
            owner.send_signal(how)
            owner.wait(20)
        assert ended(*(one.pid for one in below), within_s=5.0)
    assert list(folder.iterdir()) == []
