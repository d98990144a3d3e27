"""Behind the reception: one pytest session from what was asked to the table at its end.

It belongs to the reception, so it knows pytest; it decides nothing itself, but asks the
rooms that do, in the order in which a session needs them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pytest_servebench.clock import wall_ns
from pytest_servebench.compose.project import state_dir_if_any, watchers
from pytest_servebench.containing import stacks_of
from pytest_servebench.errors import LaunchError, PlanError
from pytest_servebench.gate import judge
from pytest_servebench.gating import open_gate
from pytest_servebench.interfaces import Stack
from pytest_servebench.leasing.cores import bind
from pytest_servebench.leasing.lanes import Gpu
from pytest_servebench.limits import Limits
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.export import default_cache_dir
from pytest_servebench.models.weights import find_weights
from pytest_servebench.offers import offered_stacks
from pytest_servebench.onlookers import Onlookers
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.door import make_plan
from pytest_servebench.options.marker import of_form
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.options.written import check_saves
from pytest_servebench.ordering import arrange, case_of
from pytest_servebench.plan import Case, Plan
from pytest_servebench.printable import printable_text
from pytest_servebench.properties import others_in, properties_of
from pytest_servebench.record import make_record, plan_facts
from pytest_servebench.recording import Recorder, register, save_places
from pytest_servebench.reporting import open_report
from pytest_servebench.reports.closing import Paper, closing_lines
from pytest_servebench.reports.findings import Findings, findings_of
from pytest_servebench.reports.rendering import wrapped
from pytest_servebench.reports.terminal import header_lines, monitoring_lines
from pytest_servebench.results import REFUSED, CaseResult, Judgement, Validity, Verdict
from pytest_servebench.run_containers import RunContainers
from pytest_servebench.session import BenchSession, Servebench
from pytest_servebench.spreading import Turns, hands_out, turn_of
from pytest_servebench.statistics.kept_times import response_times_s
from pytest_servebench.surroundings import look_around
from pytest_servebench.telemetry.gpu_devices import gpu_names, visible_devices
from pytest_servebench.telemetry.machine import machine_facts

SHORT_S = 0.3
"""Warm-up and measured time of a load that records nothing (``--benchmark-disable``)."""
COMPLAINT = pytest.StashKey[str]()


class Desk:
    """One session: its plan, its rooms, and what its tests are told."""

    def __init__(
        self,
        config: pytest.Config,
        plan: Plan,
        stacks: Mapping[str, Stack],
        surroundings: Surroundings,
        machine: Mapping[str, Any],
        *,
        gpu_uuids: Sequence[str],
    ) -> None:
        self._config = config
        self._plan = plan
        self._machine = machine
        self._weights = find_weights(model_card(plan.model)).label
        self._watchers = watchers(plan.attached, state_dir_if_any()) if plan.attached else {}
        self._began_ms = wall_ns() // 1_000_000
        self._limits = Limits(plan, surroundings)
        self._facts = plan_facts(plan)
        self._recorder: Recorder = register(config, machine=machine, plan=self._facts)
        self._gate = open_gate(config, plan.gate, self._recorder, plan.stacks)
        open_report(config, plan.report_dir, self._recorder)
        self._onlookers = Onlookers(config, plan.repeats, plan.stacks)
        self.turns = Turns()
        self.containers = RunContainers(plan.launcher, getattr(config, "workerinput", {}))
        self._session = BenchSession(
            plan,
            stacks_of(plan, stacks),
            self._folder,
            tell=self._onlookers.wait,
            making=self._onlookers.making,
            # A start-up on all of the machine keeps off GPUs too that only others see.
            gpus=(*surroundings.gpus, *map(Gpu, range(len(gpu_uuids)), gpu_uuids)),
            labels=self.containers.labels,
        )
        self._before_us = _end_politely()
        # Now: threads, servers, senders and whatever else is started later inherit it.
        cpus = None if hands_out(config) else plan.lane.cpus
        self._unbind = None if cpus is None else bind(cpus)

    def end_servers(self, exitstatus: int) -> None:
        """End whatever server is up; raises `LaunchError` when one cannot be ended.

        Others' windows are not disturbed by it, unless the session was cut short: then nothing is waited for.
        """
        cut_short = exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
        self._session.close(in_turn=not cut_short)

    def close(self) -> None:
        """End whatever is up, and leave the process as it was."""
        try:
            self._session.close()
        finally:
            if self._unbind is not None:
                self._unbind()
            with suppress(LaunchError):  # said already, where a session could still say something
                self.containers.clear_after()
            for each, handler in self._before_us.items():
                signal.signal(each, handler)
            self._onlookers.close()

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of the chosen stacks."""
        return self._plan.stacks

    @property
    def repeats(self) -> int:
        """How often every case is measured."""
        return self._plan.repeats

    @property
    def requires_thresholds(self) -> bool:
        """Whether nothing may pass that no limit speaks of."""
        return self._plan.require_thresholds

    @property
    def objective_chosen(self) -> bool:
        """Whether the user gave an objective."""
        return "objective" in self._plan.settings

    def cases(self, asked: Mapping[str, Any]) -> tuple[Case, ...]:
        """Return the cases of a benchmark from its marker's arguments."""
        plan = self._plan
        asked = of_form(asked, quick=plan.quick)
        if self._recorder.short:
            settings = {**plan.settings, "duration": f"{SHORT_S:g}s"}  # so that stages are shortened too
            plan = replace(plan, warmup_s=SHORT_S, duration_s=SHORT_S, settings=settings)
            plan = replace(plan, steady=False, precision=None, repeats=1)
        return cases_for(plan, stacks_offer=self._session.stacks, **asked)

    def findings(self) -> Findings:
        """Return what was found so far."""
        return findings_of(self._recorder.records)

    def first_case(self, stack: str) -> Case | None:
        """Return the first case of ``stack`` in the plan; None when it was not chosen."""
        return next((case for case in self.cases({"once": True}) if case.stack == stack), None)

    def arrange(self, items: list[pytest.Item]) -> None:
        """Order benchmarks so that stacks take turns, and each server starts once in a repeat."""
        self._session.deployments[:] = arrange(items, self._plan.stacks, self._session.launch_group)
        self._session.cases[:] = filter(None, map(case_of, items))

    def check_limits(self, items: Iterable[pytest.Item]) -> None:
        """Read the limits of these benchmarks; raises `PlanError` for those that cannot be understood."""
        for folder in {item.path.parent for item in items if case_of(item)}:
            self._limits.read_beside(folder)

    def serve(self, item: pytest.Item) -> Servebench:
        """Hand a test its `Servebench`; raises `PlanError` for its limits."""
        self.check_limits([item])
        case = case_of(item)
        return Servebench(
            self._session,
            self._onlookers.watching,
            lambda result: self._take(item, result),
            smoke=self._recorder.short,
            repeat=None if case is None else case.repeat,
        )

    def header(self) -> list[str]:
        """Return the lines of the session's header."""
        lines = header_lines(self._plan, self._machine, self._plan.model, self._weights)
        lines += [] if self._gate is None else self._gate.header()
        lines += filter(None, [self._recorder.notice, self.containers.notice])
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        width = None if reporter is None else _paper(reporter).width
        return lines if width is None else wrapped(lines, width)

    def show(self, reporter: pytest.TerminalReporter) -> None:
        """Write the tables of everything measured; with -q and -qq less."""
        records, verbosity = self._recorder.records, self._config.get_verbosity()
        if not records:
            return
        if verbosity >= -1:
            reporter.section("servebench", sep="=")
        more = monitoring_lines(records, self._began_ms, wall_ns() // 1_000_000)
        more += self._limits.notes(self._session.stacks)
        for line in closing_lines(records, _paper(reporter), verbosity=verbosity, more=more):
            reporter.write_line(line)

    def report(self) -> None:
        """Hand every record to those who make something of them; a worker leaves it to the controller."""
        records = self._recorder.records
        if records:
            self._config.hook.pytest_servebench_report(config=self._config, records=records)

    def forget(self, item: pytest.Item) -> None:
        """Forget why a test failed, and what it measured."""
        item.stash[COMPLAINT] = ""
        item.user_properties[:] = others_in(item.user_properties)

    def complaint(self, item: pytest.Item) -> str:
        """Return why a measured test fails; empty when it does not."""
        return item.stash.get(COMPLAINT, "")

    def last_words(self, item: pytest.Item, report: pytest.TestReport) -> list[tuple[str, str]]:
        """Return, as report sections, what a failing benchmark does not say itself."""
        case, complaint = case_of(item), self.complaint(item)
        stack = "" if case is None else case.stack
        sections = {
            # A benchmark with an assertion of its own fails by that first.
            "servebench": complaint if complaint not in report.longreprtext else "",
            f"last log lines of {stack}": self._session.log_tail(stack),
        }
        return [(title, printable_text(text)) for title, text in sections.items() if text]

    def _take(self, item: pytest.Item, result: CaseResult) -> None:
        """Judge and record a result; the test fails later, so that its record is kept."""
        verdict: Verdict | None = None
        try:
            # A load that is short because nothing is recorded is too short to be judged.
            verdict = None if self._recorder.short else self._verdict(item, result)
        finally:
            # Also when somebody else's gate breaks: the case was measured all the same.
            self._record(item, result, verdict)
        complaints = [item.stash.get(COMPLAINT, ""), complaint_of(result, verdict, self._plan)]
        item.stash[COMPLAINT] = printable_text("\n".join(filter(None, complaints)))

    def _record(self, item: pytest.Item, result: CaseResult, verdict: Verdict | None) -> None:
        record = make_record(
            result,
            plan=self._facts,
            machine=self._machine,
            verdict=verdict,
            artifact_sha256=self._session.artifact_sha256(result.case.deployment),
            monitoring=self._watchers.get(result.case.stack),
        )
        try:
            self._config.hook.pytest_servebench_update_record(config=self._config, record=record)
        finally:
            self._recorder.record(item, record, response_times_s(result))
            item.user_properties += properties_of(record, after=item.user_properties)

    def _verdict(self, item: pytest.Item, result: CaseResult) -> Verdict:
        case, hook = result.case, self._config.hook
        thresholds, why_none = self._limits.of(case, item.path.parent)
        for more in hook.pytest_servebench_thresholds(config=self._config, case=case):
            thresholds += more
        verdict: Verdict = hook.pytest_servebench_gate(
            config=self._config, result=result, thresholds=thresholds
        )
        # The default's word on a case without limits knows no better reason; another gate's does.
        if not isinstance(verdict, Verdict):
            raise PlanError(
                "a pytest_servebench_gate hook gave no Verdict",
                where=case.id,
                seen=repr(verdict),
                next_step="return a pytest_servebench.Verdict, or None to leave it to the next gate",
            )
        ungated = verdict.judgement is Judgement.UNGATED and verdict == judge(result, ())
        return replace(verdict, reason=why_none) if ungated else verdict

    def _folder(self) -> Path:
        # The only way to it outside a fixture.
        factory: pytest.TempPathFactory | None = getattr(self._config, "_tmp_path_factory", None)
        if factory is None:
            raise PlanError(
                "servers have no folder to run in: pytest's plugin tmpdir makes it, and is switched off",
                next_step="leave out -p no:tmpdir",
            )
        return factory.mktemp("servers")


def open_desk(config: pytest.Config) -> Desk:
    """Return the session's desk; raises `ServebenchError` for what cannot be served as asked."""
    stacks = offered_stacks(config)
    gpus, every = gpu_names(visible=visible_devices()), gpu_names()
    surroundings = replace(look_around(gpus), turn=turn_of(config))
    plan = replace(make_plan(config, stacks, surroundings), cache_dir=default_cache_dir())
    check_saves(save_places(config))
    return Desk(config, plan, stacks, surroundings, machine_facts(every), gpu_uuids=every.uuids)


def _paper(reporter: pytest.TerminalReporter) -> Paper:
    """Return what is written on: it has a width on a terminal, or where somebody has said which."""
    terminal = reporter._tw  # noqa: SLF001 (its width and colour are nowhere else)
    bounded = (sys.stdout is not None and sys.stdout.isatty()) or "COLUMNS" in os.environ
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return Paper(width=terminal.fullwidth if bounded else None, colour=terminal.hasmarkup, encoding=encoding)


def complaint_of(result: CaseResult, verdict: Verdict | None, plan: Plan) -> str:
    """Return why the test of ``result`` fails, in a line per reason; empty when it does not.

    Without a verdict nothing but right answers is asked for.
    """
    name = result.case.id
    doubtful = result.validity in REFUSED or (verdict is not None and result.validity is not Validity.VALID)
    doubts = [f"{result.validity}: {result.reason}"] if doubtful else []
    if verdict is not None and verdict.judgement is Judgement.FAIL:
        breaches = [breach.sentence for breach in verdict.breaches] or [verdict.reason or "its gate says so"]
        return "\n".join(f"{name}: {sentence}" for sentence in [*doubts, *breaches])
    if doubts:
        return f"{name}: {doubts[0]}"
    if verdict is None:
        return ""
    if verdict.judgement is Judgement.INCONCLUSIVE:
        return f"{name}: inconclusive: {verdict.reason}"
    if verdict.judgement is Judgement.UNGATED and plan.require_thresholds:
        return f"{name}: ungated, and limits are required: {verdict.reason}"
    return ""


def _end_politely() -> dict[signal.Signals, Any]:
    """End as on Ctrl-C when told to, or when the terminal is closed; return what was done before.

    Whoever ignores a closed terminal (nohup) goes on doing so.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    ends = [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGHUP]

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        # Once is enough: a second one must not cut the clearing away short.
        for each in ends:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    return {each: signal.signal(each, interrupt) for each in ends}
