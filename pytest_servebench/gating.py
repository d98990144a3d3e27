"""The gate of a session: at its end its records are compared with a baseline.

It judges where all records are, so in the controller of pytest-xdist and in no worker, and before
pytest-benchmark saves, so that the verdicts are saved beside the records. Tests keep their own outcome: a
regression fails the session, not a test, for no single repeat of a case is slower than its baseline.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_servebench.comparison.asked_for import asked_of, only, with_lost
from pytest_servebench.comparison.baselines import FOLDER
from pytest_servebench.comparison.changes import Change, GateSettings
from pytest_servebench.comparison.fail_limits import limits_text
from pytest_servebench.comparison.regression import changes_of, failing
from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun, described, find_baseline
from pytest_servebench.errors import PlanError
from pytest_servebench.record import plain
from pytest_servebench.recording import Recorder
from pytest_servebench.reports.gate import Line, gate_header, gate_lines
from pytest_servebench.spreading import has_case
from pytest_servebench.words import listed

FIELD = "gate"
"""Of ``servebench`` in a saved file."""
_SHOWN = 5
_OVER = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)
"""How a session ends that nothing can be said of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gate found."""

    changes: tuple[Change, ...]
    failing: tuple[Change, ...]
    """Those that make the exit code 1."""
    not_asked: int
    """Cases of the baseline that no test was collected for."""


class SessionGate:
    """Compares the records of a session with a baseline, once all tests have run."""

    def __init__(
        self,
        config: pytest.Config,
        settings: GateSettings,
        baseline: SavedRun,
        recorder: Recorder,
        stacks: Sequence[str],
    ) -> None:
        self._config = config
        self._settings = settings
        self._baseline = baseline
        self._recorder = recorder
        self._stacks = stacks
        self._collected: list[str] = []
        self._judged: Judged | None = None

    def header(self) -> list[str]:
        """Return the lines of the session's header."""
        return gate_header(self._settings, described(self._baseline))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what this process will run, and refuse a baseline that has nothing of it."""
        if not session.testsfailed:  # else pytest has something to say that comes first
            self._collect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note what the workers will run; each has collected the same."""
        self._collect(ids)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        """Judge before pytest-benchmark saves; fail the session once all others had their say."""
        option = self._config.option
        runs = not (option.collectonly or getattr(option, "setupplan", False))
        if runs and exitstatus not in _OVER:
            self._judged = self._judge()
        if self._judged is not None:
            self._recorder.run[FIELD] = self._facts(self._judged)
        finished = yield
        if self._judged is not None and self._judged.failing:
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            if not self._config.pluginmanager.hasplugin("terminalreporter"):
                # -p no:terminal: nobody else says why the exit code is 1.
                sys.stderr.writelines(f"{line.text}\n" for line in self._lines(self._judged))
        return finished

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became worse, below the table."""
        for line in () if self._judged is None else self._lines(self._judged):
            terminalreporter.write_line(line.text, **({line.colour: True} if line.colour else {}))

    def _lines(self, judged: Judged) -> list[Line]:
        if not self._recorder.records:
            failed = ", and nothing is green that was not compared" if judged.failing else ""
            text = f"servebench gate: nothing was measured, so nothing was compared with {self._name}{failed}"
            return [Line(text, "red" if judged.failing else "yellow")]
        warned = sum(bool((each.get("telemetry") or {}).get("warnings")) for each in self._recorder.records)
        return gate_lines(
            judged.changes, judged.failing, baseline=self._name, not_asked=judged.not_asked, warned=warned
        )

    @property
    def _name(self) -> str:
        return self._baseline.name

    def _collect(self, node_ids: Iterable[str]) -> None:
        """Note the tests; raises `pytest.UsageError` where the baseline has none of their cases."""
        self._collected = list(node_ids)
        with_case = [node_id for node_id in self._collected if has_case(node_id, self._stacks)]
        cases = list(replicates_of(self._baseline.records))
        if with_case and not asked_of(self._collected, cases):
            raise pytest.UsageError(str(_nothing_shared(described(self._baseline), cases, with_case)))

    def _judge(self) -> Judged | None:
        """Return what became of the baseline's cases; None where nothing was asked that is a case."""
        now = self._recorder.records
        cases = list(replicates_of(self._baseline.records))
        asked = asked_of(self._collected, [*cases, *replicates_of(now)])
        if not asked and not now:
            return None
        # A record without a collected test is of a plugin that makes tests while they run.
        before = only(self._baseline.records, [*asked, *replicates_of(now)])
        changes = changes_of(before, now, limits=self._settings.limits, allowed=self._settings.allowed)
        changes = with_lost(changes, asked, now)
        return Judged(
            changes=changes,
            failing=failing(changes, self._settings.inconclusive),
            not_asked=len(cases) - len(replicates_of(before)),
        )

    def _facts(self, judged: Judged) -> dict[str, Any]:
        """Return what is saved, in plain types."""
        settings, baseline = self._settings, self._baseline
        facts: dict[str, Any] = plain(
            {
                "baseline": {
                    "name": baseline.name,
                    "promoted": baseline.promoted,
                    "runs": [_origin(fact) for fact in baseline.facts],
                },
                "limits": limits_text(settings.limits),
                "inconclusive": settings.inconclusive,
                "allowed": settings.allowed,
                "failed": bool(judged.failing),
                "not_asked": judged.not_asked,
                "changes": [
                    {**plain(change), "fails": change in judged.failing} for change in judged.changes
                ],
            }
        )
        return facts


def open_gate(
    config: pytest.Config, settings: GateSettings | None, recorder: Recorder, stacks: Sequence[str]
) -> SessionGate | None:
    """Register and return the session's gate; None where nothing is compared, or another process does.

    Raises `PlanError` for a baseline that is not there or cannot be read.
    """
    if settings is None or hasattr(config, "workerinput"):
        return None
    baseline = find_baseline(settings.baseline, baselines_dir=config.rootpath / FOLDER)
    gate = SessionGate(config, settings, baseline, recorder, stacks)
    config.pluginmanager.register(gate, "servebench-gate")
    return gate


def _origin(fact: Record) -> dict[str, object]:
    return {key: fact.get(key) for key in ("file", "run_id", "started")}


def _nothing_shared(baseline: str, cases: Sequence[str], collected: Sequence[str]) -> PlanError:
    return PlanError(
        f"the baseline {baseline} has none of the cases that would be measured",
        where=f"collected: {_some(collected)}",
        seen=f"the baseline has: {_some(cases)}",
        next_step="promote a baseline that has them, ask for what it has, or give --serve-baseline=none",
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return listed(names[:_SHOWN]) + more
