"""A benchmark of an open loop waits until arrivals are chosen, and says so."""

from __future__ import annotations

import pytest

SUITE = """
import pytest

@pytest.mark.servebench(arrivals="open")
def test_users(servebench, case):
    servebench.measure(case)

@pytest.mark.servebench(concurrency=2, arrivals="closed")
def test_busy(servebench, case):
    servebench.measure(case)

def test_other():
    pass
"""


def collected(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Return a collection with one stack chosen; nothing is launched."""
    pytester.makepyfile(test_it=SUITE)
    options = ("--stack=fastapi", "--serve-format=onnx", "--serve-device=cpu", "--serve-launcher=process")
    return pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--collect-only", "-q", *options, *arguments
    )


def test_without_arrivals_there_is_no_case_and_the_reason_is_told(pytester: pytest.Pytester) -> None:
    """The default run is not lengthened, and the way to the benchmark is shown."""
    result = collected(pytester)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_other",
            "test_it.py::test_busy[[]fastapi-onnx-tensor-http-b1-i1-c2[]]",
            "servebench: test_users needs arrivals and was not run. Choose them with --serve-arrivals=*",
            "3/4 tests collected (1 deselected)*",
        ]
    )
    result.stdout.no_fnmatch_line("*::test_users*")


@pytest.mark.parametrize("place", ["line", "ini", "toml"])
def test_chosen_arrivals_make_its_cases_from_any_place(pytester: pytest.Pytester, place: str) -> None:
    """Command line, ini and TOML alike; a benchmark that means a closed loop keeps it."""
    arguments = ["--serve-arrivals=poisson:50"] if place == "line" else []
    if place == "ini":
        pytester.makeini("[pytest]\nserve_arrivals = poisson:50\n")
    if place == "toml":
        pytester.makepyprojecttoml('[tool.servebench]\narrivals = "poisson:50"\n')
    result = collected(pytester, *arguments)
    result.stdout.fnmatch_lines_random(
        [
            "test_it.py::test_users[[]fastapi-onnx-tensor-http-b1-i1-poisson-50[]]",
            "test_it.py::test_users[[]fastapi-onnx-tensor-http-b8-i1-poisson-50[]]",
            "test_it.py::test_busy[[]fastapi-onnx-tensor-http-b8-i1-c2[]]",
        ]
    )
    result.stdout.no_fnmatch_line("*needs arrivals*")
