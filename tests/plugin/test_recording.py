"""How records reach pytest-benchmark: with and without workers, from green and from red tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pytest_servebench import recording
from pytest_servebench.errors import MissingPieceError

ROOT = Path(__file__).resolve().parents[2]

PYTHONPATH = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

CONFTEST = """
    import pytest

    from pytest_servebench.plan import Plan
    from pytest_servebench.record import make_record, plan_facts, response_times_s
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

        def run(result):
            record = make_record(result, plan=SETTINGS, machine=MACHINE)
            recorder.record(request.node, record, response_times_s(result))
            return recorder

        run.short = recorder.short
        return run
"""

SUITE = """
    import pytest

    from pytest_servebench.record import with_verdict
    from tests.made_up import BREACH, made_up_case, made_up_result, wrong_result

    @pytest.mark.parametrize("stack", ["triton", "fastapi"])
    def test_speed(servebench, stack):
        times = [4.0, 5.0, 6.0, 9.0] if stack == "triton" else [8.0, 10.0, 12.0, 18.0]
        servebench(made_up_result(times, case=made_up_case(stack)))

    def test_breach(servebench, request):
        recorder = servebench(made_up_result())
        recorder.judge(request.node, BREACH)
        pytest.fail("too slow", pytrace=False)

    def test_wrong(servebench):
        servebench(wrong_result())
        pytest.fail("wrong output", pytrace=False)

    def test_plain():
        pass
"""

MODES = [pytest.param(("-n", "0"), id="one-process"), pytest.param(("-n", "1"), id="a-worker")]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a folder with a small suite whose results are made up."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.syspath_prepend(str(ROOT))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=SUITE)
    return pytester


@dataclass(frozen=True)
class FinishedRun:
    """What the whole suite left behind."""

    output: str
    json: dict[str, Any]

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The saved records by test function, the last of each."""
        return {record["benchmark"]: record for record in self.json["servebench"]["records"]}


@pytest.fixture(scope="module", params=["0", "2"], ids=["one-process", "two-workers"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Return one run of the whole suite, without and with workers."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "conftest.py").write_text(dedent(CONFTEST), encoding="utf-8")
    (folder / "test_it.py").write_text(dedent(SUITE), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:servebench", "-n", request.param]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    done = subprocess.run(
        [*command, "--benchmark-json=out.json"],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return FinishedRun(done.stdout + done.stderr, saved(folder / "out.json"))


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the suite without the real plugin, in a process of its own where workers are asked for."""
    given = ("-p", "no:servebench", "-p", "no:cacheprovider", *arguments)
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


def test_every_case_is_saved_once(finished: FinishedRun) -> None:
    """With and without workers one JSON holds three entries per published case, and every record."""
    assert "2 failed, 3 passed" in finished.output
    names = ("test_breach{}", "test_speed{}[fastapi]", "test_speed{}[triton]")
    figures = ("", ":p95", ":request_interval")
    assert sorted(bench["name"] for bench in finished.json["benchmarks"]) == sorted(
        name.format(figure) for name in names for figure in figures
    )
    assert sorted(record["test"] for record in finished.json["servebench"]["records"]) == [
        "test_it.py::test_breach",
        "test_it.py::test_speed[fastapi]",
        "test_it.py::test_speed[triton]",
        "test_it.py::test_wrong",
    ]
    assert "Benchmarks are automatically disabled" not in finished.output


def test_entries_hold_the_measured_figures(finished: FinishedRun) -> None:
    """The main entry has every response time, the siblings p95 and interval, and OPS is the true throughput."""
    benches = by_name(finished.json)

    main = benches["test_speed[triton]"]
    assert main["fullname"] == "test_it.py::test_speed[triton]"
    assert sorted(main["stats"]["data"]) == pytest.approx([0.004, 0.005, 0.006, 0.009])
    assert main["stats"]["mean"] == pytest.approx(0.006)
    assert main["stats"]["rounds"] == 4
    assert main["extra_info"]["servebench"]["figures"]["latency_p50"] == 5.5
    p95 = benches["test_speed:p95[triton]"]
    assert p95["fullname"] == "test_it.py::test_speed:p95[triton]"
    assert p95["stats"]["data"] == [pytest.approx(0.00855)]
    assert p95["extra_info"] == {"servebench_of": "test_it.py::test_speed[triton]"}
    interval = benches["test_speed:request_interval[triton]"]
    assert interval["stats"]["median"] == pytest.approx(0.5)
    assert {bench["stats"]["ops"] for bench in (main, p95, interval)} == {2.0}


def test_failing_tests_keep_their_records(finished: FinishedRun) -> None:
    """A breach is saved with its numbers and its verdict, a wrong output with its reason and no number."""
    records = finished.records
    assert records["test_breach"]["verdict"]["breaches"][0]["limit"] == 8.0
    assert records["test_breach"]["throughput_per_s"] == 2.0
    entry = by_name(finished.json)["test_breach"]
    assert entry["extra_info"]["servebench"]["verdict"]["judgement"] == "fail"
    assert records["test_wrong"]["validity"] == "wrong_output"
    assert records["test_wrong"]["throughput_per_s"] is None


def test_records_are_at_hand_for_the_report(finished: FinishedRun) -> None:
    """The process that owns the terminal has every record when the session ends."""
    rows = [line for line in finished.output.splitlines() if line.startswith("ROW")]
    assert len(rows) == 4
    assert sum("wrong_output" in row for row in rows) == 1


def test_run_metadata_is_saved(finished: FinishedRun) -> None:
    """The JSON says schema, run, plan and machine once, and machine_info has the machine too."""
    meta = finished.json["servebench"]
    assert (meta["schema"], len(meta["run_id"])) == (1, 32)
    assert meta["plan"]["stacks"] == ["triton"]
    assert meta["machine"]["driver"] == "1.2.3"
    assert finished.json["machine_info"]["servebench"] == meta["machine"]


def test_groups_and_params_make_the_stock_tables_readable(suite: pytest.Pytester) -> None:
    """Cases that differ only in stack and format share a group, and stock options can group by either."""
    run(suite, "--benchmark-json=out.json")
    benches = by_name(saved(suite.path / "out.json"))

    group = "test_speed resnet50 tensor/http batch=8 items=1 in_flight=16"
    assert benches["test_speed[triton]"]["group"] == f"{group}: response time"
    assert benches["test_speed[fastapi]"]["group"] == f"{group}: response time"
    assert benches["test_speed:p95[triton]"]["group"] == f"{group}: p95"
    assert benches["test_speed:request_interval[triton]"]["group"] == f"{group}: request interval"
    assert benches["test_breach"]["params"]["format"] == "onnx"
    result = run(suite, "--benchmark-group-by=param:stack")
    result.stdout.fnmatch_lines(
        ["*benchmark 'stack=fastapi': 3 tests*", "*benchmark 'stack=triton': 6 tests*"]
    )


def test_group_of_the_marker_wins(suite: pytest.Pytester) -> None:
    """A group that the author gives by pytest-benchmark's own marker is kept."""
    suite.makepyfile(
        test_it="""
        import pytest
        from tests.made_up import made_up_result

        @pytest.mark.benchmark(group="mine")
        def test_speed(servebench):
            servebench(made_up_result())
        """
    )
    run(suite, "--benchmark-json=out.json")
    groups = {bench["group"] for bench in saved(suite.path / "out.json")["benchmarks"]}
    assert groups == {"mine: response time", "mine: p95", "mine: request interval"}


@pytest.mark.parametrize("option", ["--benchmark-json=out.json", "--benchmark-save=out"])
def test_session_of_only_wrong_cases_is_saved(suite: pytest.Pytester, option: str) -> None:
    """When no case may be published the records are saved all the same."""
    result = run(suite, "-k", "wrong", option)

    (path,) = suite.path.rglob("*out.json")
    out = saved(path)
    assert out["benchmarks"] == []
    assert [record["validity"] for record in out["servebench"]["records"]] == ["wrong_output"]
    assert "no benchmarks have been run" not in result.stdout.str() + result.stderr.str()


def test_momentary_clock_rates_are_no_machine_facts() -> None:
    """The clock rate of the instant is dropped, also where it poses as the advertised one."""
    recorder = recording.Recorder.__new__(recording.Recorder)
    recorder._machine = {"gpu": "made-up"}
    intel = {"cpu": {"hz_actual": [1, 0], "hz_actual_friendly": "1", "hz_advertised": [2, 0], "count": 2}}
    amd = {"cpu": {"hz_actual": [1, 0], "hz_advertised": [1, 0], "hz_advertised_friendly": "1", "count": 2}}
    recorder.pytest_benchmark_update_machine_info(machine_info=intel)
    recorder.pytest_benchmark_update_machine_info(machine_info=amd)
    assert intel == {"cpu": {"hz_advertised": [2, 0], "count": 2}, "servebench": {"gpu": "made-up"}}
    assert amd == {"cpu": {"count": 2}, "servebench": {"gpu": "made-up"}}


@pytest.mark.parametrize("mode", MODES)
def test_benchmark_disable_records_nothing(suite: pytest.Pytester, mode: Sequence[str]) -> None:
    """The user's --benchmark-disable asks for a short load and no record, also with workers."""
    suite.makepyfile(
        test_it="""
        from tests.made_up import made_up_result

        def test_speed(servebench):
            assert servebench.short
            servebench(made_up_result())
        """
    )
    result = run(suite, *mode, "--benchmark-disable", "--benchmark-json=out.json")
    result.assert_outcomes(passed=1)
    assert not (suite.path / "out.json").exists()
    assert not [line for line in result.outlines if line.startswith("ROW")]
    result.stdout.fnmatch_lines(["record: nothing is recorded and loads are short (--benchmark-disable)"])


@pytest.mark.parametrize("mode", MODES)
def test_benchmark_only_runs_our_tests(suite: pytest.Pytester, mode: Sequence[str]) -> None:
    """--benchmark-only keeps our tests and skips the others, also with workers, where stock refuses it."""
    result = run(suite, *mode, "--benchmark-only", "--benchmark-json=out.json")
    result.assert_outcomes(passed=2, failed=2, skipped=1)
    assert len(saved(suite.path / "out.json")["benchmarks"]) == 9


def test_benchmark_only_keeps_plain_benchmarks(suite: pytest.Pytester) -> None:
    """An ordinary pytest-benchmark test beside ours is a benchmark too, and both are in one JSON."""
    suite.makepyfile(test_plain="def test_sum(benchmark):\n    benchmark(sum, [1, 2])\n")
    result = run(suite, "--benchmark-only", "--benchmark-json=out.json", "--benchmark-max-time=0.01")
    result.assert_outcomes(passed=3, failed=2, skipped=1)
    assert {"test_sum", "test_speed[triton]"} <= set(by_name(saved(suite.path / "out.json")))


@pytest.mark.parametrize("mode", MODES)
def test_benchmark_skip_skips_our_tests(suite: pytest.Pytester, mode: Sequence[str]) -> None:
    """--benchmark-skip leaves only the tests that are no benchmarks."""
    run(suite, *mode, "--benchmark-skip").assert_outcomes(passed=1, skipped=4)


def test_benchmark_only_and_disable_stay_refused(suite: pytest.Pytester) -> None:
    """What contradicts itself is refused by pytest-benchmark as ever."""
    result = run(suite, "--benchmark-only", "--benchmark-disable")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Can't have both --benchmark-only and --benchmark-disable*"])


def test_plain_benchmarks_under_workers_are_still_warned_of(suite: pytest.Pytester) -> None:
    """pytest-benchmark's own warning stays true for its own tests, and stays."""
    suite.makepyfile(test_plain="def test_sum(benchmark):\n    benchmark(sum, [1, 2])\n")
    result = run(suite, "-n", "1")
    assert "Benchmarks are automatically disabled" in result.stdout.str() + result.stderr.str()


def test_without_pytest_benchmark_everything_but_saving_works(suite: pytest.Pytester) -> None:
    """With -p no:benchmark loads run, the rows are there, and the header says that nothing is saved."""
    result = run(suite, "-p", "no:benchmark")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(["record: nothing is saved, because pytest-benchmark is not active*"])
    assert len([line for line in result.outlines if line.startswith("ROW")]) == 4


def test_codspeed_is_named_as_the_reason(suite: pytest.Pytester) -> None:
    """Under CodSpeed, which switches pytest-benchmark off by its own option, the header says how to go on."""
    suite.makeconftest(
        CONFTEST
        + """
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(session):
        from types import SimpleNamespace
        plugin = SimpleNamespace(is_codspeed_enabled=True)
        session.config.pluginmanager.register(plugin, "codspeed_plugin")
"""
    )
    result = run(suite, "--benchmark-disable")
    result.stdout.fnmatch_lines(["record: CodSpeed is on and deselects serving benchmarks; leave out *"])


def test_stock_options_compare_with_a_saved_run(suite: pytest.Pytester) -> None:
    """Autosave, compare and compare-fail of pytest-benchmark work on all entries, and see a regression."""
    run(suite, "-k", "speed", "--benchmark-save=first")
    slower = SUITE.replace("[4.0, 5.0, 6.0, 9.0]", "[6.0, 7.5, 9.0, 13.5]")
    same = run(suite, "-k", "speed", "--benchmark-compare=0001", "--benchmark-compare-fail=median:10%")
    assert same.ret == 0
    assert "machine_info is different" not in same.stdout.str() + same.stderr.str()
    suite.makepyfile(test_it=slower)
    regressed = run(suite, "-k", "speed", "--benchmark-compare=0001", "--benchmark-compare-fail=median:10%")
    assert regressed.ret != 0
    seen = regressed.stdout.str() + regressed.stderr.str()
    assert re.search(r"test_speed:p95\[triton\].*Field 'median' has failed PercentageRegressionCheck", seen)


def test_stock_command_line_shows_p95_and_throughput(suite: pytest.Pytester) -> None:
    """The unmodified ``pytest-benchmark compare`` on two runs shows p95 and throughput per stack."""
    run(suite, "--benchmark-save=first")
    run(suite, "--benchmark-autosave")

    shown = compare(suite, "-k", "p95", "--between=median")
    assert re.search(r"test_speed:p95\[triton\] +8\.5500 +8\.5500 +\+0\.0%", shown)
    assert re.search(r"test_speed:p95\[fastapi\] +17\.1000 +17\.1000 +\+0\.0%", shown)
    shown = compare(suite, "-k", "request_interval", "--between=ops")
    assert re.search(r"test_speed:request_interval\[triton\] +2\.0000 +2\.0000 +\+0\.0%", shown)
    compare(suite, "--group-by=param:format", "--csv=out.csv")
    assert "test_speed:p95[triton]" in (suite.path / "out.csv").read_text(encoding="utf-8")


def test_stock_command_line_reads_a_run_of_only_wrong_cases(suite: pytest.Pytester) -> None:
    """A saved run in which nothing could be published does not trouble ``pytest-benchmark compare``."""
    run(suite, "-k", "wrong", "--benchmark-save=wrong")
    run(suite, "-k", "speed", "--benchmark-save=right")
    assert "test_speed:p95[triton]" in compare(suite)


def test_stock_histogram_is_drawn(suite: pytest.Pytester) -> None:
    """--benchmark-histogram draws our entries, also those of one round."""
    pytest.importorskip("pygal", reason="pytest-benchmark[histogram] is not installed")
    run(suite, "--benchmark-histogram=plot")
    assert len(list(suite.path.glob("plot-*.svg"))) == 6


def test_stock_table_reads_with_one_round(suite: pytest.Pytester) -> None:
    """The stock table shows the true throughput (2/s, in milli-operations) in the row of the response times."""
    result = run(suite, "-k", "speed", "--benchmark-columns=median,ops,rounds", "--benchmark-time-unit=ms")
    result.stdout.re_match_lines([r"test_speed\[triton\] +5\.5000.* 2,000\.0000.* 4$"])


def test_a_test_may_record_twice(suite: pytest.Pytester) -> None:
    """The second case of one test gets a name of its own."""
    suite.makepyfile(
        test_it="""
        from tests.made_up import made_up_case, made_up_result

        def test_speed(servebench):
            servebench(made_up_result(case=made_up_case("triton")))
            servebench(made_up_result(case=made_up_case("fastapi")))
        """
    )
    run(suite, "--benchmark-json=out.json")
    names = set(by_name(saved(suite.path / "out.json")))
    assert {"test_speed", "test_speed:p95", "test_speed#2", "test_speed#2:p95"} <= names


def test_parameters_of_any_kind_reach_the_controller(suite: pytest.Pytester) -> None:
    """A parameter that is a case or another object arrives as its id or text, which xdist can carry."""
    suite.makepyfile(
        test_it="""
        import pathlib
        import pytest
        from pytest_servebench.plan import ModelFormat
        from tests.made_up import made_up_case, made_up_result

        @pytest.mark.parametrize("path", [pathlib.Path("a")])
        @pytest.mark.parametrize("chosen", [ModelFormat.ONNX], ids=str)
        @pytest.mark.parametrize("case", [made_up_case()], ids=lambda case: case.id)
        def test_speed(servebench, case, chosen, path):
            servebench(made_up_result(case=case))
        """
    )
    run(suite, "-n", "1", "--benchmark-json=out.json")
    params = saved(suite.path / "out.json")["benchmarks"][0]["params"]
    assert params["case"] == "triton-onnx-tensor-http-b8-i1-c16"
    assert (params["chosen"], params["path"], params["stack"]) == ("onnx", "a", "triton")


def test_thinned_samples_keep_the_exact_mean() -> None:
    """Mean and spread are those of all samples, not of the ones that were kept."""
    parcel = {
        "record": {"response_time_ms": {"p95": 2.0}, "throughput_per_s": 500.0},
        **dict.fromkeys(("name", "fullname", "group"), "t"),
        **{"label": "", "param": None, "params": {}, "data": [1.0, 5.0], "mean_s": 2.5, "stddev_s": 0.25},
    }
    stats = recording._entries(parcel)[0].as_dict()["stats"]
    assert (stats["mean"], stats["stddev"], stats["min"], stats["max"]) == (2.5, 0.25, 1.0, 5.0)


def test_unknown_pytest_benchmark_is_refused_in_words(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version whose private API differs is refused before any test, saying what to install."""
    recording.check_pytest_benchmark()
    monkeypatch.delattr("pytest_benchmark.stats.Metadata")
    with pytest.raises(MissingPieceError) as caught:
        recording.check_pytest_benchmark()
    message = str(caught.value)
    assert re.match(r"pytest-benchmark \S+ cannot be written to by this pytest-servebench", message)
    assert "ImportError: cannot import name 'Metadata'" in message
    assert "pip install 'pytest-benchmark>=5.3.1,<6'" in message


def test_changed_statistics_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that takes the entry but saves other numbers is refused too."""
    monkeypatch.setattr("pytest_benchmark.stats.Stats.fields", ("ops",))
    monkeypatch.setattr("pytest_benchmark.stats.Stats.as_dict", lambda _: {"ops": 1.0})
    with pytest.raises(MissingPieceError, match=r"entries \["):
        recording.check_pytest_benchmark()
