"""The session's gate where pytest has no terminal reporter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_servebench.comparison.changes import DEFAULT_LIMITS, Severity
from pytest_servebench.comparison.regression import changes_of, failing
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.gating import Judged, SessionGate
from tests.compared import repeated

BEFORE, SLOWER = (10.0, 10.1, 9.9, 10.05, 9.95), (20.0, 20.1, 19.9, 20.05, 19.95)


def ended(now: tuple[float, ...], *plugins: str) -> Any:
    """Return a session after its gate judged p95 of ``now``."""
    changes = changes_of(repeated(BEFORE), repeated(now), limits=DEFAULT_LIMITS)
    recorder: Any = SimpleNamespace(records=repeated(now), run={})
    held = SimpleNamespace(hasplugin=lambda name: name in plugins)
    config: Any = SimpleNamespace(pluginmanager=held, option=SimpleNamespace(collectonly=True))
    gate = SessionGate(config, SimpleNamespace(), SavedRun(name="main", records=()), recorder, ())  # type: ignore[arg-type]
    gate._judged = Judged(changes=changes, failing=failing(changes, Severity.WARN), not_asked=0)
    gate._facts = lambda judged: {}  # type: ignore[method-assign]
    session: Any = SimpleNamespace(exitstatus=0)
    hook = gate.pytest_sessionfinish(session, 0)
    next(hook)
    with pytest.raises(StopIteration):
        next(hook)
    return session


def test_a_red_gate_has_its_reason_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """With -p no:terminal nobody else says why the exit code is 1."""
    assert ended(SLOWER).exitstatus == pytest.ExitCode.TESTS_FAILED
    said = capsys.readouterr().err
    assert said.startswith("regression: benchmarks/test_latency.py::test_latency[")
    assert ": failed\n" in said


def test_else_it_says_nothing_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A green one, and one that the terminal tells of, are not said twice."""
    assert ended(BEFORE).exitstatus == 0
    assert ended(SLOWER, "terminalreporter").exitstatus == pytest.ExitCode.TESTS_FAILED
    assert capsys.readouterr().err == ""
