"""Behind the reception: one pytest session from what was asked to the table at its end.

It belongs to the reception, so it knows pytest; it decides nothing itself, but asks the
rooms that do, in the order in which a session needs them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.gate import judge
from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers.docker import engine_facts
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.export import default_cache_dir
from pytest_servebench.models.weights import find_weights
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.door import make_plan, read_thresholds
from pytest_servebench.options.placement import Surroundings, hardware_of
from pytest_servebench.plan import Case, Plan, Threshold
from pytest_servebench.record import make_record, plan_facts, response_times_s
from pytest_servebench.recording import Recorder, register
from pytest_servebench.reports.progress import LiveProgress, own_terminal, wants_progress
from pytest_servebench.reports.terminal import header_lines, report_lines
from pytest_servebench.results import CaseResult, Judgement, Progress, Validity, Verdict
from pytest_servebench.session import BenchSession, Servebench
from pytest_servebench.telemetry.gpu import Gpus, gpu_names
from pytest_servebench.telemetry.machine import machine_facts
from pytest_servebench.thresholds import ThresholdsFile, thresholds_for, why_ungated

THRESHOLDS_NAME = "thresholds.toml"
SHORT_S = 0.3
"""Warm-up and measured time of a load that records nothing (``--benchmark-disable``)."""
COMPLAINT = pytest.StashKey[str]()


class Watching:
    """A person's view of a load, if a person is there."""

    def __init__(self, live: LiveProgress) -> None:
        self._live = live

    def progress(self, progress: Progress) -> None:
        """Show how far the load is."""
        self._live.progress(progress)

    def server_gone(self) -> str | None:
        """Know nothing of the server: the conductor looks at its process."""
        return None


class Desk:
    """One session: its plan, its rooms, and what its tests are told."""

    def __init__(
        self,
        config: pytest.Config,
        plan: Plan,
        stacks: Mapping[str, Stack],
        surroundings: Surroundings,
        machine: Mapping[str, Any],
    ) -> None:
        self._config = config
        self._plan = plan
        self._surroundings = surroundings
        self._machine = machine
        self._facts = plan_facts(plan)
        self._recorder: Recorder = register(config, machine=machine, plan=self._facts)
        self._session = BenchSession(plan, stacks, self._folder)
        self._limits: dict[Path, ThresholdsFile] = {}
        self._terminal = own_terminal(sys.stdout) if _is_watched(config) else None

    def close(self) -> None:
        """End whatever is up."""
        self._session.close()
        if self._terminal is not None:
            self._terminal.close()

    def cases(self, asked: Mapping[str, Any]) -> tuple[Case, ...]:
        """Return the cases of a benchmark from its marker's arguments."""
        plan = self._plan
        if self._recorder.short:
            settings = {**plan.settings, "duration": f"{SHORT_S:g}s"}  # so that stages are shortened too
            plan = replace(plan, warmup_s=SHORT_S, duration_s=SHORT_S, settings=settings)
        cases = cases_for(plan, stacks_offer=self._session.stacks, **asked)
        self._session.deployments.extend(case.deployment for case in cases)
        return cases

    def arrange(self, items: list[pytest.Item]) -> None:
        """Order benchmarks by stack, then by deployment in order of first need, so that each loads once."""
        stacks = {name: i for i, name in enumerate(self._plan.stacks)}
        places = {d: i for i, d in enumerate(dict.fromkeys(self._session.deployments))}

        def place(item: pytest.Item) -> tuple[int, int]:
            case = _case_of(item)
            return (-1, -1) if case is None else (stacks[case.stack], places[case.deployment])

        items.sort(key=place)

    def serve(self, item: pytest.Item) -> Servebench:
        """Hand a test its `Servebench`."""
        return Servebench(self._session, self._watching, lambda result: self._take(item, result))

    @contextmanager
    def _watching(self, case: Case) -> Iterator[Watching]:
        with LiveProgress(self._terminal, self._cursor, label=case.id) as live:
            yield Watching(live)

    def header(self) -> list[str]:
        """Return the lines of the session's header."""
        weights = find_weights(model_card(self._plan.model)).label
        lines = header_lines(self._plan, self._machine, self._plan.model, weights)
        return [*lines, *filter(None, [self._recorder.notice])]

    def show(self, reporter: pytest.TerminalReporter) -> None:
        """Write the table of everything measured."""
        records = self._recorder.records
        if not records:
            return
        reporter.section("servebench", sep="=")
        terminal = reporter._tw  # noqa: SLF001 (its width and colour are nowhere else)
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        for line in report_lines(
            records, width=terminal.fullwidth, colour=terminal.hasmarkup, encoding=encoding
        ):
            terminal.line(line)

    def judge(self, result: CaseResult, thresholds: Sequence[Threshold]) -> Verdict:
        """Return the default verdict."""
        return judge(result, thresholds)

    def complaint(self, item: pytest.Item) -> str:
        """Return why a measured test fails; empty when it does not."""
        return item.stash.get(COMPLAINT, "")

    def last_words(self, item: pytest.Item) -> list[tuple[str, str]]:
        """Return the log of the server that a failing benchmark used, as report sections."""
        case = _case_of(item)
        tail = "" if case is None else self._session.log_tail()
        return [(f"last log lines of {case.stack}", tail)] if case is not None and tail else []

    def _take(self, item: pytest.Item, result: CaseResult) -> None:
        """Judge and record a result; the test fails later, so that its record is kept."""
        verdict = self._verdict(item, result)
        record = make_record(
            result,
            plan=self._facts,
            machine=self._machine,
            verdict=verdict,
            artifact_sha256=self._session.artifact_sha256(result.case.deployment),
        )
        self._config.hook.pytest_servebench_update_record(config=self._config, record=record)
        self._recorder.record(item, record, response_times_s(result))
        complaints = [item.stash.get(COMPLAINT, ""), complaint_of(result, verdict, self._plan)]
        item.stash[COMPLAINT] = "\n".join(filter(None, complaints))

    def _verdict(self, item: pytest.Item, result: CaseResult) -> Verdict:
        case, hook = result.case, self._config.hook
        hardware = hardware_of(self._plan, case.stack, self._surroundings)
        limits = self._limits_beside(item)
        thresholds = [] if limits is None else list(thresholds_for(limits, case, hardware))
        for more in hook.pytest_servebench_thresholds(config=self._config, case=case):
            thresholds += more
        verdict: Verdict = hook.pytest_servebench_gate(
            config=self._config, result=result, thresholds=thresholds
        )
        if verdict.judgement is Judgement.UNGATED and limits is not None:
            return replace(verdict, reason=why_ungated(limits, case, hardware))
        return verdict

    def _limits_beside(self, item: pytest.Item) -> ThresholdsFile | None:
        """Return the limits that were asked for, else those beside the test's file, if any."""
        path = self._plan.thresholds_path or item.path.parent / THRESHOLDS_NAME
        if path not in self._limits and path.is_file():
            self._limits[path] = read_thresholds(path)
        return self._limits.get(path)

    def _cursor(self) -> int:
        """Return where pytest's unfinished line ends, once it is really written."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return 0
        reporter._tw.flush()  # noqa: SLF001 (its writer is nowhere else)
        return int(reporter._tw.width_of_current_line)  # noqa: SLF001 (as above)

    def _folder(self) -> Path:
        factory: pytest.TempPathFactory = self._config._tmp_path_factory  # type: ignore[attr-defined]  # noqa: SLF001 (the only way to it outside a fixture)
        return factory.mktemp("servers")


def open_desk(config: pytest.Config) -> Desk:
    """Return the session's desk; raises `ServebenchError` for what cannot be served as asked."""
    stacks = _offered(config)
    gpus = gpu_names()
    surroundings = _surroundings(gpus)
    plan = replace(make_plan(config, stacks, surroundings), cache_dir=default_cache_dir())
    _end_politely_on_sigterm()
    return Desk(config, plan, stacks, surroundings, machine_facts(gpus))


def complaint_of(result: CaseResult, verdict: Verdict, plan: Plan) -> str:
    """Return why the test of ``result`` fails, in a line per reason; empty when it does not."""
    name = result.case.id
    if result.validity is not Validity.VALID:
        return f"{name}: {result.validity}: {result.reason}"
    if verdict.judgement is Judgement.FAIL:
        return "\n".join(f"{name}: {breach.sentence}" for breach in verdict.breaches)
    if verdict.judgement is Judgement.INCONCLUSIVE:
        return f"{name}: inconclusive: {verdict.reason}"
    if verdict.judgement is Judgement.UNGATED and plan.require_thresholds:
        return f"{name}: ungated, and limits are required: {verdict.reason}"
    return ""


def _offered(config: pytest.Config) -> dict[str, Stack]:
    """Return every stack by name; two of one name are an error that names both."""
    offered: dict[str, Stack] = {}
    # The last plugin to register is called first: the built-in stacks, registered first, come first.
    for stacks in reversed(config.hook.pytest_servebench_stacks(config=config)):
        for stack in stacks:
            if stack.name in offered:
                raise PlanError(
                    f"two stacks are called {stack.name!r}",
                    seen=f"{_origin(offered[stack.name])} and {_origin(stack)}",
                    next_step="rename one of them",
                )
            offered[stack.name] = stack
    return offered


def _origin(stack: Stack) -> str:
    return f"{type(stack).__module__}.{type(stack).__qualname__}"


def _surroundings(gpus: Gpus) -> Surroundings:
    engine = engine_facts()
    return Surroundings(
        logical_cores=len(os.sched_getaffinity(0)),
        cuda_devices=gpus.names,
        cuda_absent=gpus.absent,
        cuda_unusable="" if _cuda_packages() else "onnxruntime-gpu is not installed",
        docker_engine=engine.version,
        docker_absent=engine.absent,
        nvidia_runtime=engine.nvidia_runtime,
    )


def _cuda_packages() -> bool:
    """Return whether ONNX Runtime here has its CUDA provider; told by its library, without loading it."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return False
    return any((Path(spec.origin).parent / "capi").glob("*providers_cuda*"))


def _is_watched(config: pytest.Config) -> bool:
    return wants_progress(
        is_terminal=sys.stdout.isatty(),
        quiet=config.get_verbosity() < 0,
        worker=hasattr(config, "workerinput"),
        environment=os.environ,
    )


def _end_politely_on_sigterm() -> None:
    """End on SIGTERM as on Ctrl-C, so that fixtures are finalised and servers ended."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        # Once is enough: a second one must not cut the clearing away short.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _case_of(item: pytest.Item) -> Case | None:
    callspec = getattr(item, "callspec", None)
    case = None if callspec is None else callspec.params.get("case")
    return case if isinstance(case, Case) else None
