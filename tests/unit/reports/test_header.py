"""The header: what will be measured, and why so."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.arrivals import REFERENCE, Poisson
from pytest_servebench.containers import ContainerSettings, ImageChoice, Network
from pytest_servebench.leasing.lanes import lanes_of
from pytest_servebench.plan import LauncherKind, ModelFormat, Plan, Precision
from pytest_servebench.reports.terminal import header_lines
from tests.made_up import (
    MACHINE,
)


def test_lanes_are_shown_where_there_are_any() -> None:
    """One machine for all needs no line; what workers share out among themselves does."""

    def shown_of(*cpu_sets: tuple[int, ...]) -> list[str]:
        lines = header_lines(Plan(lanes=lanes_of((), cpu_sets)), MACHINE, "m", "w")
        return [line for line in lines if "lanes" in line]

    assert shown_of() == []
    assert shown_of((0, 1)) == ["servebench lanes: cores 0-1"]
    assert shown_of((0,), (1,)) == ["servebench lanes: cores 0, cores 1 (workers take them in turn)"]


def test_what_was_said_of_containers_is_in_the_header() -> None:
    """Images that were named and settings that were changed; nothing where nobody said anything."""
    plan = Plan(
        launcher=LauncherKind.DOCKER,
        container=ContainerSettings(network=Network.HOST, memory_bytes=3 * 2**30, cpus=1.5),
        images={"fastapi": ImageChoice(reference="mine:1"), "triton": ImageChoice(base="debian:12")},
    )
    said = "servebench containers: fastapi from mine:1, network host, memory 3 GiB, cpus 1.5"
    assert said in header_lines(plan, MACHINE, "m", "w")
    silent = header_lines(Plan(launcher=LauncherKind.DOCKER), MACHINE, "m", "w")
    assert not [line for line in silent if "containers" in line]


def test_header_says_what_and_why() -> None:
    """Device, launcher, model, weights, stacks and what was left out, each with its reason."""
    plan = Plan(
        stacks=("fastapi", "triton"),
        left_out={"torchserve": "torch-model-archiver is not installed"},
        attached={"triton": "http://h:8000"},
        launcher_reason="no Docker engine answers",
        device_reason="no NVIDIA driver",
        formats=(ModelFormat.ONNX,),
    )
    assert header_lines(plan, {"cpu": "made-up CPU", "gpu": None}, "resnet50", "seeded-random:0") == [
        "servebench model: resnet50, weights seeded-random:0",
        "servebench device: cpu (no NVIDIA driver)",
        "servebench launcher: process (no Docker engine answers)",
        "servebench stacks: fastapi, triton",
        "servebench attached: triton at http://h:8000",
        "servebench left out: torchserve (torch-model-archiver is not installed)",
        "servebench machine: made-up CPU",
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"abort_after_s": 30.0}, True),
        ({"abort_after_s": 0.0, "arrivals": Poisson(5)}, True),
        ({"abort_after_s": 30.0, "arrivals": REFERENCE}, False),
        ({"abort_after_s": 30.0, "load_scale": "auto"}, False),
        ({}, False),
    ],
)
def test_header_tells_of_an_early_end_that_no_load_has(fields: dict[str, Any], told: bool) -> None:
    """Only the staged load test ends early; that it was asked for in vain is not kept silent."""
    lines = header_lines(Plan(stacks=("triton",), **fields), {}, "resnet50", "seeded-random:0")
    found = [line for line in lines if line.startswith("servebench abort on fail: without effect")]
    assert len(found) == told


def test_header_leaves_out_what_is_not_there() -> None:
    """Nothing attached, nothing left out and no reason leave no empty words."""
    lines = header_lines(Plan(stacks=("triton",)), {}, "resnet50", "seeded-random:0")
    assert not any("servebench window" in line for line in lines)
    open_ended = Plan(steady=True, warmup_s=10.0, precision=0.05, duration_s=60.0)
    assert (
        "servebench window: warm-up until it has settled, 10 s at most; "
        "measured until throughput and p95 are known to 5%, 60 s at most"
    ) in header_lines(open_ended, {}, "resnet50", "seeded-random:0")
    assert [line.partition(":")[0] for line in lines] == [
        f"servebench {word}" for word in ("model", "device", "launcher", "stacks")
    ]
    assert "()" not in "".join(lines)


def test_precisions_are_in_the_header_where_somebody_asked_for_them() -> None:
    """And what cannot be computed is told once for each reason."""
    plan = Plan(
        precisions=(Precision.FP32, Precision.BF16),
        left_out={"fastapi/onnx/bf16": "no kernel", "triton": "no wheel", "triton/onnx/bf16": "no kernel"},
        settings={"dtype": "fp32,bf16"},
    )
    lines = header_lines(plan, MACHINE, "m", "w")
    assert "servebench precisions: fp32, bf16" in lines
    assert "servebench left out: fastapi/onnx/bf16, triton/onnx/bf16 (no kernel), triton (no wheel)" in lines
    assert not [line for line in header_lines(Plan(), MACHINE, "m", "w") if "precisions" in line]
