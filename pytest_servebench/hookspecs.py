"""The extension points, for ``conftest.py`` files and other plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import Case, Threshold
from pytest_servebench.results import CaseResult, Verdict


@pytest.hookspec
def pytest_servebench_stacks(config: pytest.Config) -> Sequence[Stack]:  # type: ignore[empty-body]  # as hooks are
    """Return stacks to offer after ``--stack=``; the built-in ones arrive the same way."""


@pytest.hookspec
def pytest_servebench_thresholds(config: pytest.Config, case: Case) -> Sequence[Threshold]:  # type: ignore[empty-body]  # as hooks are
    """Return limits for ``case``, on top of those in the thresholds file."""


@pytest.hookspec(firstresult=True)
def pytest_servebench_gate(
    config: pytest.Config,
    result: CaseResult,
    thresholds: Sequence[Threshold],
) -> Verdict | None:
    """Judge one measured case; the first verdict wins, the default compares with ``thresholds``."""


@pytest.hookspec
def pytest_servebench_update_record(config: pytest.Config, record: dict[str, Any]) -> None:
    """Add to or change the record of a case before it is saved under ``extra_info["servebench"]``."""


@pytest.hookspec
def pytest_servebench_report(config: pytest.Config, records: Sequence[Mapping[str, Any]]) -> None:
    """Do something with the records of all cases at the end of the session, for example write a file.

    Of a test that was run again there is the last one alone.
    Called once, after pytest-benchmark has saved and before the terminal's summary, in the
    process that has them all: not on pytest-xdist's workers, whose results come over as
    plain records (see docs/record.md). Not called when nothing was measured.
    """
