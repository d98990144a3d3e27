"""How records reach pytest-benchmark: with and without workers, from green and from red tests."""

from __future__ import annotations

import pytest

from tests.plugin.recorded_suite import FinishedRun, by_name, run, saved
from tests.record_page import fields_told


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
    """The entries hold response times, p95 and interval, and OPS is the true throughput."""
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


def test_the_recorder_adds_what_the_page_of_the_record_has_of_it(finished: FinishedRun) -> None:
    """Of a saved record all keys are rows of docs/record.md, those that only the recorder knows too."""
    for record in finished.records.values():
        assert set(record) == fields_told()


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
