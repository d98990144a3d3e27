"""What the proof says of stock pytest-benchmark is what stock pytest-benchmark does."""

from __future__ import annotations

import pytest

from benchmarks.gate.others import stock_fails

BEFORE = (0.010, 0.011, 0.012, 0.018)
SUITE = """
import pytest

TIMES = {times}

class Replay:
    __name__ = "replay"

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return 0.0 if self.calls % 2 else TIMES[self.calls // 2 - 1]

@pytest.mark.benchmark(timer=Replay())
def test_speed(benchmark):
    benchmark.pedantic(lambda: None, rounds=len(TIMES), iterations=1)
"""


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.09, 1.11, 1.5])
def test_the_rule_is_the_exit_code(pytester: pytest.Pytester, factor: float) -> None:
    """On the same response times the real command line fails exactly where the proof says so."""
    now = tuple(factor * time for time in BEFORE)
    options = ("-p", "no:cacheprovider", "-p", "no:servebench", "-p", "no:xdist")
    pytester.makepyfile(test_it=SUITE.format(times=BEFORE))
    assert pytester.runpytest_subprocess(*options, "--benchmark-save=before").ret == pytest.ExitCode.OK
    pytester.makepyfile(test_it=SUITE.format(times=now))
    result = pytester.runpytest_subprocess(
        *options, "--benchmark-compare", "--benchmark-compare-fail=mean:10%"
    )
    assert "test_speed" in result.stdout.str()
    assert (result.ret != pytest.ExitCode.OK) == stock_fails(BEFORE, now) == (factor > 1.1)
