"""Whole sessions in several precisions: from the option to the saved record and the table."""

from __future__ import annotations

import csv

import pytest

from tests.plugin.echo_suite import EchoSuite, echo_suite

PYTORCH = "--serve-format=pytorch"
CASES = ("echo-pytorch-tensor-http-b1-i1-c2", "echo-pytorch-bf16-tensor-http-b1-i1-c2")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


def test_a_session_in_two_precisions_tells_them_apart_everywhere(suite: EchoSuite) -> None:
    """Header, record, table, finding, CSV: two cases, each held to its own tolerance."""
    suite.write()
    result = suite.run("--stack=echo", PYTORCH, "--serve-dtype=fp32,bf16", "--serve-report=report")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["servebench precisions: fp32, bf16"])
    result.stdout.re_match_lines([r".*stack +format +precision ", r" *echo +pytorch +fp32 "])
    result.stdout.re_match_lines([r" *echo +pytorch +bf16 "])
    result.stdout.fnmatch_lines(["echo pytorch, bf16 against fp32: * times the images/s*"])
    records = suite.records
    assert tuple(records) == CASES
    assert [record["case"]["precision"] for record in records.values()] == ["fp32", "bf16"]
    exact, brain = (record["verification"]["before"]["tolerance"] for record in records.values())
    assert exact < brain
    assert [one["params"]["precision"] for one in suite.json["benchmarks"]] == ["fp32"] * 3 + ["bf16"] * 3
    with (suite.pytester.path / "report" / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert [line["precision"] for line in csv.DictReader(file)] == ["fp32", "bf16"]


def test_two_precisions_are_two_models_of_one_server(suite: EchoSuite) -> None:
    """Where a server loads several, each is asked for under its own name: a wrong one is found alone."""
    faulty = 'ControlledEcho(faults=Faults(only="resnet50_pytorch_bf16", wrong_image=-1))'
    suite.write(stacks=faulty)
    result = suite.run("--stack=controlled", PYTORCH, "--serve-dtype=fp32,bf16")
    result.assert_outcomes(passed=2, failed=1)
    validity = [record["validity"] for record in suite.records.values()]
    assert validity == ["valid", "wrong_output"]


def test_what_cannot_be_computed_starts_nothing(suite: EchoSuite) -> None:
    """The door says it, with what can be asked for instead."""
    suite.write()
    result = suite.run("--stack=echo", "--serve-format=onnx", "--serve-dtype=bf16")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*--serve-dtype asks for bf16, which onnx cannot be computed in on cpu*",
            "*seen: onnx/bf16: onnxruntime has no convolution in bf16*",
            "*next: on cpu onnx can be fp32, int8; or use --serve-dtype=all for what each format can*",
        ]
    )


def test_ini_and_toml_know_it(suite: EchoSuite) -> None:
    """As every option: the command line wins over pyproject.toml, that over an ini key."""
    suite.write()
    suite.pytester.makepyprojecttoml('[tool.servebench]\ndtype = ["fp32", "bf16"]\nformat = "pytorch"\n')
    suite.run("--stack=echo").assert_outcomes(passed=3)
    assert tuple(suite.records) == CASES
    suite.run("--stack=echo", "--serve-dtype=bf16").assert_outcomes(passed=2)
    assert tuple(suite.records) == CASES[1:]
    (suite.pytester.path / "pyproject.toml").unlink()
    suite.pytester.makeini("[pytest]\nserve_dtype = bf16\nserve_format = pytorch\n")
    suite.run("--stack=echo").assert_outcomes(passed=2)
    assert tuple(suite.records) == CASES[1:]
