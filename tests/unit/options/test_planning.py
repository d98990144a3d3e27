"""What was asked becomes the plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.comparison.changes import ChangeLimit, GateSettings, Severity
from pytest_servebench.containers import ContainerSettings, ImageChoice
from pytest_servebench.errors import PlanError
from pytest_servebench.leasing.lanes import lanes_of
from pytest_servebench.objective import parse_objective
from pytest_servebench.options.given import Given
from pytest_servebench.options.option import OPTIONS
from pytest_servebench.options.planning import BASELINE_REPEATS, default_repeats
from pytest_servebench.plan import CPU, Decoder, LauncherKind, Plan, Precision
from tests.asking import DOCKER, ONE_GPU, plan
from tests.offered_stack import (
    GRPC,
    JPEG,
    ONNX,
    PYTORCH,
)


def test_without_stacks_there_is_a_plan_without_stacks() -> None:
    """The other options are still read, so that a wrong one is told at once."""
    assert plan(format="onnx", duration="2m") == replace(
        plan(),
        formats=(ONNX,),
        duration_s=120.0,
        settings={"format": "onnx", "duration": "2m"},
    )
    with pytest.raises(PlanError, match="--serve-model does not know 'resnet5': did you mean resnet50"):
        plan(model="resnet5")


@pytest.mark.parametrize("file", ["./mine.onnx", "mine.pt", "models/mine"])
def test_a_file_in_place_of_a_model_is_told_how_it_becomes_one(file: str) -> None:
    """Whoever gives a file wants their own model served: the error says where that is told."""
    with pytest.raises(PlanError, match="takes the name of a model, not a file") as raised:
        plan(model=file)
    assert "docs/bring-your-model.md" in raised.value.next_step


def test_quick_is_short_and_explicit_options_win() -> None:
    """``--serve-quick`` changes defaults only."""
    quick = plan(quick="true")
    assert (quick.duration_s, quick.warmup_s, quick.batch_sizes) == (2.0, 0.5, (8,))
    mixed = plan(quick="true", duration="1m", batch_size="1,4")
    assert (mixed.duration_s, mixed.warmup_s, mixed.batch_sizes) == (60.0, 0.5, (1, 4))
    assert plan(quick="false") == replace(plan(), settings={"quick": "false"})


def test_an_automatic_warm_up_has_a_limit() -> None:
    """It ends by itself, after ten times the fixed one at the latest."""
    assert (plan().warmup_s, plan().steady, plan().precision) == (1.0, False, None)
    assert (plan(warmup="auto").warmup_s, plan(warmup="auto").steady) == (10.0, True)
    assert (plan(warmup="auto", quick="true").warmup_s, plan(warmup="3s").steady) == (5.0, False)


def test_threads_default_to_the_cores() -> None:
    """Every stack gets the same threads; all of the machine unless the user says."""
    assert plan(ONE_GPU).threads == 16
    assert plan(ONE_GPU, threads="4").threads == 4


EVERYTHING: dict[str, Any] = {
    "stack": "triton",
    "format": "pytorch",
    "dtype": "bf16",
    "batch_size": "32",
    "model": "efficientnet_lite0",
    "payload": "jpeg",
    "decoder": "pillow",
    "protocol": "grpc",
    "launcher": "docker",
    "device": "cpu",
    "image": "triton=mine:1",
    "image_base": "debian:12",
    "image_wheels": "/",
    "plan_image": "trt:1",
    "container": "cpus=2",
    "cpu_sets": "2",
    "threads": "1",
    "duration": "9",
    "repeats": "3",
    "warmup": "0",
    "precision": "2.5%",
    "concurrency": "7",
    "objective": "p99<9ms",
    "arrivals": "poisson:9",
    "load_scale": "auto",
    "abort_on_fail": "30s",
    "max_in_flight": "64",
    "load_workers": "2*popen",
    "host": "10.0.0.7",
    "load_engine": "servebench",
    "raw": "no",
    "thresholds": "/t.toml",
    "require_thresholds": "yes",
    "report": "/out",
    "baseline": "main",
    "fail": "p99:7%",
    "inconclusive": "warn",
    "allow_different": "driver",
    "quick": "no",
}
"""Every option."""
GATE = GateSettings(
    baseline="main",
    limits=(ChangeLimit(figure="p99", share=0.07),),
    inconclusive=Severity.WARN,
    allowed=frozenset({"driver"}),
)
"""What they make of the gate's."""


def test_everything_given_reaches_the_plan() -> None:
    """No option is read and forgotten."""
    chosen = plan(DOCKER, **EVERYTHING)
    assert len(chosen.settings) == len(OPTIONS)
    assert chosen.images["triton"] == ImageChoice(
        reference="mine:1", base="debian:12", wheels_path=Path("/"), plan_image="trt:1"
    )
    assert chosen == Plan(
        stacks=("triton",),
        formats=(PYTORCH,),
        formats_by_stack={"triton": (PYTORCH,)},
        precisions=(Precision.BF16,),
        batch_sizes=(32,),
        model="efficientnet_lite0",
        payload=JPEG,
        decoder=Decoder.PILLOW,
        protocol=GRPC,
        launcher=LauncherKind.DOCKER,
        launcher_reason="asked for (command line)",
        container=ContainerSettings(cpus=2.0),
        images=dict(chosen.images),
        device=CPU,
        device_reason="asked for (command line)",
        lanes=lanes_of((), (tuple(range(8)), tuple(range(8, 16)))),
        threads=1,
        repeats=3,
        duration_s=9.0,
        warmup_s=0.0,
        precision=0.025,
        concurrency=7,
        objective=parse_objective("p99<9ms"),
        arrivals=Poisson(9.0),
        load_scale="auto",
        abort_after_s=30.0,
        max_in_flight=64,
        load_workers=("popen", "popen"),
        host="10.0.0.7",
        thresholds_path=Path("/t.toml"),
        raw=False,
        require_thresholds=True,
        report_dir=Path("/out"),
        gate=GATE,
        settings=chosen.settings,
    )


def test_a_run_that_is_compared_is_repeated() -> None:
    """One replicate proves nothing, so whoever compares has five, unless somebody says how many."""
    baseline = Given(flag="--serve-baseline", text="main")
    assert default_repeats({}) == 1
    assert default_repeats({"baseline": baseline}) == BASELINE_REPEATS == 10
    assert plan().repeats == 1
    assert plan(repeats="3").repeats == 3


def test_repeats_are_counted_from_one() -> None:
    """No case is measured less than once."""
    with pytest.raises(PlanError, match="--serve-repeats is not a whole number from 1 to 1000: '0'"):
        plan(repeats="0")


def test_a_wrong_objective_names_the_option_and_its_grammar() -> None:
    """What may be written is told where it is needed; without one, the reference's stands."""
    with pytest.raises(PlanError, match="--serve-objective has no limit in 'p95=1ms'") as caught:
        plan(objective="p95=1ms")
    assert caught.value.next_step.startswith("give limits separated by commas")
    assert str(plan().objective) == "p95<=50ms,errors<2%"
