"""The stock options and command line of pytest-benchmark, on what we record."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from pytest_servebench import recording
from tests.plugin.recorded_suite import CONFTEST, MODES, SUITE, by_name, compare, run, saved


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
    """The stock table shows the true throughput, 2/s in milli-operations, beside the response times."""
    result = run(suite, "-k", "speed", "--benchmark-columns=median,ops,rounds", "--benchmark-time-unit=ms")
    result.stdout.re_match_lines([r"test_speed\[triton\] +5\.5000.* 2,000\.0000.* 4$"])
