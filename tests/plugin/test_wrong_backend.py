"""Whole sessions whose server says that it computes otherwise than it was asked to."""

from __future__ import annotations

import json

import pytest

from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

AS_ASKED = {
    "engine": "onnxruntime 1.31.1",
    "provider": "CPUExecutionProvider",
    "device": "cpu",
    "precision": "fp32",
    "nodes": {"CPUExecutionProvider": 122},
}


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


def telling(facts: object) -> str:
    """Return the stack whose server says ``facts``."""
    return f"TellingEcho(faults=Faults(says={json.dumps(facts)!r}))"


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        (
            {"provider": "CUDAExecutionProvider", "device": "cuda:0", "nodes": {}},
            "asked for cpu, but onnxruntime 1.31.1 computes on CUDAExecutionProvider",
        ),
        ({"precision": "int8"}, "asked for fp32, but onnxruntime 1.31.1 computes in int8"),
    ],
    ids=["elsewhere", "otherwise"],
)
def test_a_wrong_backend_fails_by_name_and_is_never_published(
    suite: EchoSuite, lie: dict[str, object], sentence: str
) -> None:
    """The test fails without any limit, says asked and seen, and no figure of it is anywhere."""
    suite.write(stacks=telling({**AS_ASKED, **lie}))
    result = suite.run("--stack=telling", ONNX)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [f"telling-onnx-*: wrong_backend: {sentence}", "telling*onnx*n/a*n/a*wrong_backend*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert suite.json["benchmarks"] == []
    (record,) = suite.records.values()
    assert (record["validity"], record["reason"]) == ("wrong_backend", sentence)
    assert (record["publishable"], record["throughput_per_s"]) == (False, None)
    assert record["served"]["precision"] == {**AS_ASKED, **lie}["precision"]


def test_what_was_served_is_recorded_as_it_is(suite: EchoSuite) -> None:
    """A server that does as asked is measured, and the record has its own words."""
    suite.write(stacks=telling(AS_ASKED))
    suite.run("--stack=telling", ONNX).assert_outcomes(passed=2)
    (record,) = suite.records.values()
    assert record["validity"] == "valid"
    assert record["served"] == {**AS_ASKED, "one_of": 1, "options": {}, "warnings": [], "absent": ""}


def test_a_wrong_backend_wins_nothing(suite: EchoSuite) -> None:
    """Beside a stack that does as asked, it is nothing that anybody compares."""
    suite.write(stacks=f"{telling({**AS_ASKED, 'precision': 'fp16'})}, Echo()")
    result = suite.run("--stack=telling,echo", ONNX)
    result.assert_outcomes(passed=2, failed=1)
    validities = {name.partition("-")[0]: one["validity"] for name, one in suite.records.items()}
    assert validities == {"telling": "wrong_backend", "echo": "valid"}
    names = [one["name"] for one in suite.json["benchmarks"]]
    assert names
    assert all("echo" in name and "telling" not in name for name in names), names
