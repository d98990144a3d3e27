"""A small suite of made-up results, run by pytest with and without workers."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHONPATH = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

CONFTEST = """
    import pytest

    from pytest_servebench.plan import Plan
    from pytest_servebench.statistics.kept_times import response_times_s
    from pytest_servebench.record import make_record, plan_facts
    from pytest_servebench.recording import register
    from tests.made_up import MACHINE, SETTINGS, made_up_case, made_up_result, wrong_result

    def pytest_configure(config):
        config.recorder = register(config, machine=MACHINE, plan=plan_facts(Plan(stacks=("triton",))))

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_generate_machine_info():
        return {"node": "made-up", "cpu": {}}  # the real one takes a second

    def pytest_report_header(config):
        return config.recorder.notice

    def pytest_terminal_summary(terminalreporter, config):
        for record in config.recorder.records:
            terminalreporter.write_line(f"ROW {record['test']} {record['validity']} {record['figures']}")

    @pytest.fixture
    def servebench(request):
        recorder = request.config.recorder

        def run(result, verdict=None):
            record = make_record(result, plan=SETTINGS, machine=MACHINE, verdict=verdict)
            recorder.record(request.node, record, response_times_s(result))
            return recorder

        run.short = recorder.short
        return run
"""

SUITE = """
    import pytest

    from tests.made_up import BREACH, made_up_case, made_up_result, wrong_result

    @pytest.mark.parametrize("stack", ["triton", "fastapi"])
    def test_speed(servebench, stack):
        times = [4.0, 5.0, 6.0, 9.0] if stack == "triton" else [8.0, 10.0, 12.0, 18.0]
        servebench(made_up_result(times, case=made_up_case(stack)))

    def test_breach(servebench):
        servebench(made_up_result(), BREACH)
        pytest.fail("too slow", pytrace=False)

    def test_wrong(servebench):
        servebench(wrong_result())
        pytest.fail("wrong output", pytrace=False)

    def test_plain():
        pass
"""

MODES = [pytest.param(("-n", "0"), id="one-process"), pytest.param(("-n", "1"), id="a-worker")]


UNUSED = ("servebench", "cacheprovider", "hypothesispytest", "anyio", "timeout")
"""The real plugin, which has a stand-in here, and plugins that would only cost time."""
PLUGINS = tuple(word for name in UNUSED for word in ("-p", f"no:{name}"))


@dataclass(frozen=True)
class FinishedRun:
    """What the whole suite left behind."""

    output: str
    json: dict[str, Any]

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The saved records by test function, the last of each."""
        return {record["benchmark"]: record for record in self.json["servebench"]["records"]}


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the suite without the real plugin, in a process of its own where workers are asked for."""
    given = (*PLUGINS, *arguments)
    in_process = "-n" not in arguments or arguments[arguments.index("-n") + 1] == "0"
    return suite.runpytest_inprocess(*given) if in_process else suite.runpytest_subprocess(*given)


def saved(path: Path) -> dict[str, Any]:
    """Return a saved JSON, which must be strict."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return found


def compare(suite: pytest.Pytester, *arguments: str) -> str:
    """Return what the stock command line says of all saved runs."""
    result = suite.run(sys.executable, "-m", "pytest_benchmark", "compare", *arguments)
    assert result.ret == 0
    return result.stdout.str()


def by_name(run_json: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the saved benchmarks by name."""
    return {bench["name"]: bench for bench in run_json["benchmarks"]}
