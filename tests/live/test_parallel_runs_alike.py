"""Real servers, one process and two workers: the same benchmarks with the same results, within noise."""

from __future__ import annotations

import pickle
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from pytest_servebench.plan import Artifact
from tests.plugin.echo_suite import ROOT, EchoSuite, echo_suite

pytestmark = pytest.mark.live

CONFTEST = """
import os
import pickle
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import pytest
from pytest_servebench import session
from pytest_servebench.stacks.fastapi import Fastapi

HERE = Path(__file__).parent

def pytest_servebench_gate(result):
    begin_ns, end_ns = result.samples.window_ns
    with open(HERE / "windows", "a") as file:
        file.write(f"{{begin_ns}} {{end_ns}} {{os.getpid()}}\\n")

ARTIFACTS = pickle.loads((HERE / "artifacts").read_bytes())
session.artifact = lambda _model, model_format, _cache, **_kind: ARTIFACTS[f"tiny_{{model_format}}"]

def pytest_servebench_stacks(config):
    return [Fastapi(name="one"), Fastapi(name="other")]

@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_generate_machine_info():
    return {{"node": "made-up", "cpu": {{}}}}  # the real one takes a second
"""
LOWEST, HIGHEST = 0.4, 2.5
"""Of the throughput under two workers to that without, over all cases: generous, for busy machines."""


@pytest.fixture
def suite(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, artifacts: dict[str, Artifact]
) -> EchoSuite:
    """Return a suite of two FastAPI stacks with the tiny model in both formats."""
    one = echo_suite(pytester, monkeypatch)
    one.write()
    pytester.makeconftest(CONFTEST.format(root=str(ROOT)))
    (pytester.path / "artifacts").write_bytes(pickle.dumps(artifacts))
    return one


def measured(suite: EchoSuite, workers: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the names of the saved benchmarks, and the records by case.

    A neighbour who takes the cores away within a window makes it `unstable`, which says nothing of workers.
    """
    (suite.pytester.path / "windows").unlink(missing_ok=True)
    suite.run_apart("--stack=one,other", "-n", workers, "--serve-duration=1", "--serve-warmup=0.3")
    assert {record["validity"] for record in suite.records.values()} <= {"valid", "unstable"}
    return sorted(bench["name"] for bench in suite.json["benchmarks"]), suite.records


def windows(suite: EchoSuite) -> list[tuple[int, int, int]]:
    """Return when each case of the last run was measured, begin first, and in which process."""
    text = (suite.pytester.path / "windows").read_text(encoding="ascii")
    found = (tuple(map(int, line.split())) for line in text.splitlines())
    return sorted((begin_ns, end_ns, process) for begin_ns, end_ns, process in found)


def test_two_workers_measure_what_one_process_measures(suite: EchoSuite) -> None:
    """One JSON with the same names and tests; throughput differs by no more than noise."""
    names_alone, alone = measured(suite, "0")
    names, together = measured(suite, "2")
    assert names == names_alone
    assert len(names) == 3 * len(together) == 3 * 2 * 2
    assert {record["test"] for record in together.values()} == {record["test"] for record in alone.values()}
    assert {record["worker"] for record in alone.values()} == {None}
    assert {record["worker"] for record in together.values()} == {"gw0", "gw1"}
    # That throughput is alike does not tell it: two servers may well have a core each.
    spans = windows(suite)
    assert len({process for _, _, process in spans}) == 2
    assert len(spans) == len(together)
    assert all(end_ns <= begin_ns for (_, end_ns, _), (begin_ns, _, _) in pairwise(spans)), spans
    ratios = [together[name]["throughput_per_s"] / alone[name]["throughput_per_s"] for name in alone]
    assert LOWEST < median(ratios) < HIGHEST, ratios
