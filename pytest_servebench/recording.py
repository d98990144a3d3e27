"""Scribe: ties what a test recorded to its report, and hands it to pytest-benchmark.

A test stashes plain data on its item; ``pytest_runtest_makereport`` ties it to the
test's report, which pytest-xdist carries to the controller as it is; there, and in a
run without workers by the same hook, it becomes entries of pytest-benchmark. One code
path serves ``-n 0`` and ``-n N``, and a test that fails after recording keeps its record.

This file and `entries` are the only ones that know pytest-benchmark: here its options,
its hooks and its session, there the entries of its tables.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.clock import utc_now_text
from pytest_servebench.entries import Private, check_pytest_benchmark, entries_of
from pytest_servebench.record import SCHEMA, choices, comparable, plain, word
from pytest_servebench.statistics.kept_times import thinned

PENDING = pytest.StashKey[list[dict[str, Any]]]()
COUNT = pytest.StashKey[int]()
"""Cases that this run of a test has recorded so far, in whichever of its phases."""
REPORT_FIELD = "servebench"
ONLY_OPTION = "servebench_only"
FIXTURES = ("servebench", "servebench_findings")
"""What makes a test a benchmark."""

UNSAVED = "record: nothing is saved, because pytest-benchmark is not active (-p no:benchmark)"
CODSPEED = "record: CodSpeed is on and deselects serving benchmarks; leave out --codspeed to run them"
SHORT = "record: nothing is recorded and loads are short (--benchmark-disable)"


class Recorder:
    """Carries the records of this process's tests to pytest-benchmark, and keeps them for the reports.

    ``machine`` and ``plan`` are facts in plain types; ``machine`` goes into
    pytest-benchmark's ``machine_info``, so it must hold only what stays the same
    between runs (GPU and driver, not free memory). ``fixtures`` names the fixtures
    that make a test a benchmark to ``--benchmark-only`` and ``--benchmark-skip``.
    """

    def __init__(
        self,
        config: pytest.Config,
        *,
        machine: Mapping[str, Any],
        plan: Mapping[str, Any],
        fixtures: Sequence[str] = FIXTURES,
    ) -> None:
        self._config = config
        self._fixtures = frozenset(fixtures)
        self._machine = plain(machine)
        self.run = {
            "schema": SCHEMA,
            "run_id": uuid.uuid4().hex,
            "started": utc_now_text(),
            "plan": plain(plan),
            "machine": self._machine,
        }
        """The run's metadata, saved beside its records."""
        self.records: list[dict[str, Any]] = []
        """Records in order of completion, invalid ones too; empty on an xdist worker."""
        self.is_saved = False
        """Whether pytest-benchmark has saved the run."""
        self._commit: object = None
        self._latest: dict[_Key, tuple[dict[str, Any], Sequence[object]]] = {}

    @property
    def _session(self) -> Private:
        """pytest-benchmark's session, or None where the user has switched the plugin off."""
        return getattr(self._config, "_benchmarksession", None)

    @property
    def facts(self) -> dict[str, Any]:
        """The run's metadata as `SavedRun.facts` has them: with the commit, if anything was saved."""
        return {**self.run, "commit": self._commit}

    @property
    def short(self) -> bool:
        """Whether the user gave ``--benchmark-disable``: run loads short and record nothing.

        pytest-benchmark also disables itself under xdist; that is not the user's word.
        """
        session = self._session
        return session is not None and session.disabled and not session.xdist_warning

    @property
    def notice(self) -> str:
        """One line for the header when records are not saved, else empty."""
        codspeed = self._config.pluginmanager.get_plugin("codspeed_plugin")
        if getattr(codspeed, "is_codspeed_enabled", False):
            return CODSPEED
        if self._session is None:
            return UNSAVED
        return SHORT if self.short else ""

    def record(self, item: pytest.Item, record: Mapping[str, Any], times_s: npt.NDArray[np.float64]) -> None:
        """Keep a case's record with its response times (`kept_times.response_times_s`) for the test's report.

        A test may record several cases.
        """
        if self.short:
            return
        pending = item.stash.setdefault(PENDING, [])
        item.stash[COUNT] = item.stash.get(COUNT, 0) + 1
        pending.append(_parcel(item, record, times_s, number=item.stash[COUNT]))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin to count anew: a plugin may run a test again."""
        item.stash[COUNT] = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tie what the test recorded to its report, whatever its outcome."""
        report = yield
        pending = item.stash.get(PENDING, [])
        if pending:
            vars(report)[REPORT_FIELD] = pending
            del item.stash[PENDING]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Turn what arrives with a report into records and entries; a worker leaves it to the controller."""
        if hasattr(self._config, "workerinput"):
            return
        for parcel in vars(report).get(REPORT_FIELD, ()):
            parcel["record"]["worker"] = getattr(report, "worker_id", None)
            self._keep(parcel)

    def _keep(self, parcel: dict[str, Any]) -> None:
        """Keep a record and its entries; those of an earlier try of the test are no further replicate."""
        record = parcel["record"]
        key = (record["test"], record["measurement"], record["worker"])
        if key in self._latest:
            self._drop_try(*self._latest[key])
        entries = [] if self._session is None else list(entries_of(parcel))
        self.records.append(record)
        if self._session is not None:
            self._session.benchmarks.extend(entries)
        self._latest[key] = record, entries

    def _drop_try(self, record: object, entries: Sequence[object]) -> None:
        """Take back what an earlier try of a test gave."""
        self.records[:] = [one for one in self.records if one is not record]
        if self._session is not None:
            kept = self._session.benchmarks
            kept[:] = [one for one in kept if not any(one is old for old in entries)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Count our tests as benchmarks for ``--benchmark-only`` and ``--benchmark-skip``."""
        only = getattr(self._config.option, ONLY_OPTION, False)
        skip = not only and getattr(self._session, "skip", False)
        for item in items:
            names = set(getattr(item, "fixturenames", ()))
            if only and not names & {*self._fixtures, "benchmark"}:
                item.add_marker(pytest.mark.skip(reason="Skipping non-benchmark (--benchmark-only active)."))
            if skip and names & self._fixtures:
                item.add_marker(pytest.mark.skip(reason="Skipping benchmark (--benchmark-skip active)."))

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self) -> None:
        """Let -q leave out pytest-benchmark's tables, as ``--benchmark-quiet`` does."""
        session = self._session
        if session is not None and self._config.get_verbosity() < 0 and not session.histogram:
            session.quiet = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add GPU and driver, and drop the clock rate of this instant, which differs on every run."""
        machine_info["servebench"] = self._machine
        cpu = machine_info.get("cpu", {})
        if cpu.get("hz_advertised") == cpu.get("hz_actual"):
            # The brand names no rate (AMD EPYC), so py-cpuinfo advertises the momentary one.
            _drop(cpu, "hz_advertised", "hz_advertised_friendly")
        _drop(cpu, "hz_actual", "hz_actual_friendly")

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Save the run and every record, those without a single correct answer too."""
        self.is_saved, self._commit = True, output_json.get("commit_info")
        output_json["servebench"] = {**self.run, "records": self.records}


_Key: TypeAlias = tuple[str, int, "str | None"]
"""A test, which of its measurements, and the worker of pytest-xdist: with --dist=each all run it."""


def register(
    config: pytest.Config,
    *,
    machine: Mapping[str, Any],
    plan: Mapping[str, Any],
    fixtures: Sequence[str] = FIXTURES,
) -> Recorder:
    """Register and return the recorder; call it in ``pytest_configure`` of a session that has stacks.

    It must run before pytest-benchmark's own ``pytest_configure``, which is ``trylast``.
    Raises `MissingPieceError` when this pytest-benchmark cannot be written to.
    """
    if config.pluginmanager.hasplugin("benchmark"):
        check_pytest_benchmark()
    _take_over_only(config)
    recorder = Recorder(config, machine=machine, plan=plan, fixtures=fixtures)
    config.pluginmanager.register(recorder, "servebench-recorder")
    return recorder


def save_places(config: pytest.Config) -> dict[str, Path]:
    """Return by option where pytest-benchmark will save this run; nothing in a session that measures nothing.

    What it cannot write ends the session with its traceback, after all was measured.
    """
    option = config.option
    looks_only = option.collectonly or getattr(option, "setupplan", False) or hasattr(config, "workerinput")
    if looks_only or not config.pluginmanager.hasplugin("benchmark"):
        return {}
    places = {}
    if option.benchmark_json:
        places["--benchmark-json"] = Path(option.benchmark_json)
    storage = str(option.benchmark_storage).removeprefix("file://")
    if (option.benchmark_save or option.benchmark_autosave) and "://" not in storage:
        places["--benchmark-storage"] = Path(storage).absolute()
    return places


def _take_over_only(config: pytest.Config) -> None:
    """Answer ``--benchmark-only`` ourselves, in every process alike.

    pytest-benchmark looks for its own fixture, which our tests do not use, and under
    xdist refuses the option. Together with ``--benchmark-disable`` the refusal stands.
    """
    option = config.option
    given = {name: getattr(option, f"benchmark_{name}", False) for name in ("only", "disable", "enable")}
    if given["only"] and (given["enable"] or not given["disable"]):
        option.benchmark_only = option.benchmark_skip = False
        setattr(option, ONLY_OPTION, True)


def _parcel(
    item: pytest.Item, record: Mapping[str, Any], times_s: npt.NDArray[np.float64], number: int
) -> dict[str, Any]:
    """Return what travels with the report: the record, the samples, and the test's names."""
    callspec = getattr(item, "callspec", None)
    function = getattr(item, "originalname", None) or item.name
    checked = plain({**record, "test": item.nodeid, "benchmark": function, "measurement": number})
    params = {} if callspec is None else callspec.params
    marker = item.get_closest_marker("benchmark")
    chosen_group = None if marker is None else marker.kwargs.get("group")
    return {
        "record": checked,
        "name": item.name,
        "fullname": item.nodeid,
        "label": "" if number == 1 else f"#{number}",
        "group": str(chosen_group or comparable(checked)),
        "param": None if callspec is None else callspec.id,
        "params": {**choices(checked), **{name: word(value) for name, value in params.items()}},
        **thinned(times_s),
    }


def _drop(mapping: dict[str, Any], *names: str) -> None:
    for name in names:
        mapping.pop(name, None)
