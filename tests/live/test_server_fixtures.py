"""The fixtures that bring a stack up for a test of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SUITE = """
import json, os
import httpx
import pytest
from pathlib import Path

seen = []

def test_ready(fastapi_server):
    assert httpx.get(f"http://{fastapi_server.authority()}/v2/health/ready").status_code == 200
    seen.append(fastapi_server.pid)

def test_same_one(fastapi_server):
    seen.append(fastapi_server.pid)

@pytest.mark.servebench(items_per_request=(1,))
def test_measured(servebench, case):
    seen.append(servebench.up(case).pid)
    servebench.measure(case)
    seen.append(servebench.up(case).pid)
    Path(os.environ["SEEN"]).write_text(json.dumps(seen))

def test_not_chosen(triton_server):
    raise AssertionError("triton was not chosen")
"""


@pytest.mark.live
def test_a_stack_is_brought_up_once_for_fixtures_and_cases(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A test of one's own and a benchmark of the same deployment share one server; others are skipped."""
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    pytester.makepyfile(SUITE)
    options = ("--stack=fastapi", "--serve-format=onnx", "--serve-quick", "--serve-duration=1")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rs", *options)
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["*triton was not chosen: --stack=triton*"])
    seen = json.loads((tmp_path / "seen").read_text())
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert seen[0] is not None
