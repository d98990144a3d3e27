"""Nothing is passed over in silence: no case, no stack, no verdict."""

from __future__ import annotations

import pytest

from tests.plugin.echo_suite import ONNX, SPEED, EchoSuite, echo_suite


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


GRPC_ONLY = SPEED.replace("concurrency=2", 'protocols="grpc"')


def test_a_benchmark_without_a_case_is_named(suite: EchoSuite) -> None:
    """What a marker narrows to nothing is deselected by name, never skipped as if it had been asked."""
    suite.write(test=GRPC_ONLY)
    result = suite.run("--stack=echo", "-k", "speed")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["servebench: test_speed was not run: what its marker narrows and *"])


def test_a_benchmark_without_a_case_is_an_error_where_limits_are_required(suite: EchoSuite) -> None:
    """A gate is not green because nothing ran."""
    suite.write(test=GRPC_ONLY)
    result = suite.run("--stack=echo", "--serve-require-thresholds")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*test_it.py::test_speed has no case: *lets nothing pass unmeasured"])


def test_markers_of_a_class_and_its_method_are_one(suite: EchoSuite) -> None:
    """The closest has the last word; what it does not say is the outer one's."""
    suite.write(
        test="""
import pytest

@pytest.mark.servebench(formats="onnx", concurrency=3)
class TestSpeed:
    @pytest.mark.servebench(concurrency=2)
    def test_speed(self, servebench, case):
        servebench.measure(case)
"""
    )
    result = suite.run("--stack=echo", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["test_it.py::TestSpeed::test_speed[[]echo-onnx-tensor-http-b1-i1-c2]"])
    result.stdout.no_fnmatch_line("*echo-pytorch*")


@pytest.mark.parametrize("stacks", ["3", '"fastapi"', 'Echo(name="a,b")'])
def test_what_is_no_stack_is_a_usage_error(suite: EchoSuite, stacks: str) -> None:
    """A hook's slip is told as such, not as a crash of pytest."""
    suite.write(stacks=stacks)
    result = suite.run("--stack=fastapi")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: a pytest_servebench_stacks hook gave something that is no stack"])


def test_a_gate_that_gives_no_verdict_is_named_and_the_table_stands(suite: EchoSuite) -> None:
    """Somebody else's gate can fail its test, and nothing more."""
    suite.write(more='\ndef pytest_servebench_gate(config, result, thresholds):\n    return "pass"\n')
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["a pytest_servebench_gate hook gave no Verdict", "  seen: 'pass'", "echo*onnx*"]
    )


@pytest.mark.parametrize(
    "made",
    ["None", "replace(case, items_per_request=0)", "replace(case, deployment=Deployment(**OTHER))"],
)
def test_a_case_made_by_hand_is_checked(suite: EchoSuite, made: str) -> None:
    """What is no case of a chosen stack is refused in words."""
    suite.write(
        test=f"""
from dataclasses import replace
import pytest
from pytest_servebench import Deployment, ModelFormat

OTHER = {{"stack": "nowhere", "model": "resnet50", "format": ModelFormat.ONNX}}

@pytest.mark.servebench(formats="onnx")
def test_speed(servebench, case):
    servebench.measure({made})
"""
    )
    result = suite.run("--stack=echo")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["this cannot be measured", "  next: give a Case of a chosen stack (echo) *"])
    result.stdout.no_fnmatch_line("*Traceback*")
