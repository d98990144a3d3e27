"""What is built of pytest-benchmark's private API, and how a version that has changed it is refused."""

from __future__ import annotations

import re

import pytest

from pytest_servebench.entries import check_pytest_benchmark, entries_of
from pytest_servebench.errors import MissingPieceError


def test_thinned_samples_keep_the_exact_mean() -> None:
    """Mean and spread are those of all samples, not of the ones that were kept."""
    parcel = {
        "record": {"response_time_ms": {"p95": 2.0}, "throughput_per_s": 500.0},
        **dict.fromkeys(("name", "fullname", "group"), "t"),
        "label": "",
        "param": None,
        "params": {},
        "data": [1.0, 5.0],
        "mean_s": 2.5,
        "stddev_s": 0.25,
    }
    stats = entries_of(parcel)[0].as_dict()["stats"]
    assert (stats["mean"], stats["stddev"], stats["min"], stats["max"]) == (2.5, 0.25, 1.0, 5.0)


def test_unknown_pytest_benchmark_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose private API differs is refused before any test, saying what to install."""
    check_pytest_benchmark()
    monkeypatch.delattr("pytest_benchmark.stats.Metadata")
    with pytest.raises(MissingPieceError) as caught:
        check_pytest_benchmark()
    message = str(caught.value)
    assert re.match(r"pytest-benchmark \S+ cannot be written to by this pytest-servebench", message)
    assert "ImportError: cannot import name 'Metadata'" in message
    assert "pip install 'pytest-benchmark>=5.3.1,<6'" in message


def test_changed_statistics_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that takes the entry but saves other numbers is refused too."""
    monkeypatch.setattr("pytest_benchmark.stats.Stats.fields", ("ops",))
    monkeypatch.setattr("pytest_benchmark.stats.Stats.as_dict", lambda _: {"ops": 1.0})
    with pytest.raises(MissingPieceError, match=r"entries \["):
        check_pytest_benchmark()
