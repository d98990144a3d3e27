"""The thresholds file that ships: the reference's figures, and what holds on a CPU."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from pytest_servebench.plan import Case, Device, Load, ModelFormat, Payload, Precision
from pytest_servebench.thresholds import Hardware, parse_thresholds, thresholds_for
from tests.unit.test_thresholds import RTX, TWO_CORES, case, in_precision

SHIPPED = Path(__file__).parents[2] / "benchmarks" / "thresholds.toml"
STACKS = ("fastapi", "triton", "torchserve")


def shipped(one: Case, hardware: Hardware) -> dict[str, float]:
    """Return the limits of the file that ships."""
    found = thresholds_for(parse_thresholds(SHIPPED.read_text(encoding="utf-8")), one, hardware)
    return {threshold.metric: threshold.limit for threshold in found}


REFERENCE: list[tuple[str, ModelFormat, int, float, float, float]] = [
    ("fastapi", ModelFormat.ONNX, 8, 12, 15, 2800),
    ("triton", ModelFormat.ONNX, 32, 5, 8, 5200),
    ("triton", ModelFormat.TENSORRT, 32, 5, 8, 5200),
    ("torchserve", ModelFormat.PYTORCH, 16, 8, 12, 3400),
]
"""Stack, format, largest batch, p50 and p95 in ms, images/s: the table of DESIGN.md, section 1."""


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_reference_table_is_the_rtx_4090_profile(
    row: tuple[str, ModelFormat, int, float, float, float],
) -> None:
    """Alone in flight both response times hold, in any precision but int8; at 2b its throughput."""
    stack, model_format, batch, p50_ms, p95_ms, images_per_s = row
    for precision in (Precision.FP32, Precision.TF32, Precision.FP16, Precision.BF16):
        alone = shipped(in_precision(case(stack, model_format, batch, 1), precision), RTX)
        assert alone == {"response_time_p50_ms": p50_ms, "response_time_p95_ms": p95_ms}
    full = in_precision(case(stack, model_format, batch, 2 * batch), Precision.FP16)
    assert shipped(full, RTX)["images_per_s"] == images_per_s
    at_32 = shipped(in_precision(case(stack, model_format, batch, 32), Precision.FP16), RTX)
    assert (at_32["response_time_p95_ms"], at_32["images_per_s"]) == (p95_ms, images_per_s)


@pytest.mark.parametrize(
    ("stack", "precisions"),
    [
        ("fastapi", {Precision.FP32, Precision.TF32, Precision.FP16, Precision.BF16}),
        ("triton", {Precision.TF32, Precision.FP16, Precision.BF16}),
        ("torchserve", {Precision.FP16, Precision.BF16}),
    ],
)
def test_throughput_is_asked_of_the_precisions_the_reference_can_have_meant(
    stack: str, precisions: set[Precision]
) -> None:
    """IEEE fp32 is not held to what TF32 or half precision did, and int8 to nothing."""
    (model_format, batch) = next((row[1], row[2]) for row in REFERENCE if row[0] == stack)
    full = case(stack, model_format, batch, 2 * batch)
    asked = {one for one in Precision if "images_per_s" in shipped(in_precision(full, one), RTX)}
    assert asked == precisions
    assert shipped(in_precision(full, Precision.INT8), RTX) == {}


def test_what_the_page_says_to_type_on_an_rtx_4090_asks_for_every_figure() -> None:
    """Without options no case of Triton or TorchServe has a limit there: the page says so, and what has."""
    page = (SHIPPED.parents[1] / "docs" / "gpu.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if "--stack=all --serve-dtype=tf32" in line)
    asked = dict(re.findall(r"--serve-([a-z-]+)=(\S+)", line))
    for stack, model_format, _, p50_ms, p95_ms, images_per_s in REFERENCE:
        held: set[tuple[str, float]] = set()
        for precision, size in product(asked["dtype"].split(","), asked["batch-size"].split(",")):
            for in_flight in (1, 2 * int(size)):
                one = in_precision(case(stack, model_format, int(size), in_flight), Precision(precision))
                held |= shipped(replace(one, payload=Payload(asked["payload"])), RTX).items()
        figures = {"response_time_p50_ms": p50_ms, "response_time_p95_ms": p95_ms}
        assert held == {*figures.items(), ("images_per_s", images_per_s)}
        plain = [shipped(case(stack, model_format, 8, in_flight), RTX) for in_flight in (1, 16)]
        assert any(plain) == (stack == "fastapi")


def test_the_rtx_4090_profile_is_of_one_of_that_card_and_of_tensors() -> None:
    """Two of them, a laptop's and an image that the machine's cores decode are judged by nothing here."""
    one = case("fastapi", ModelFormat.ONNX, 8, 16)
    assert shipped(one, RTX)
    assert shipped(replace(one, payload=Payload.UINT8), RTX) == shipped(one, RTX)
    assert shipped(replace(one, payload=Payload.JPEG), RTX) == {}
    assert shipped(one, replace(RTX, device=Device("cuda", 0, (1,)), gpu_names=RTX.gpu_names * 2)) == {}
    assert shipped(one, replace(RTX, gpu_names=("NVIDIA GeForce RTX 4090 Laptop GPU",))) == {}


def test_no_shipped_pair_of_limits_contradicts_itself() -> None:
    """By Little's law n in flight at a rate take n / rate on average; a p95 below that cannot be."""
    found = 0
    for hardware, precision in ((RTX, Precision.FP32), (RTX, Precision.FP16), (TWO_CORES, Precision.FP32)):
        for stack, model_format, batch in product(STACKS, ModelFormat, (1, 8, 16, 32)):
            for in_flight in (1, 2 * batch, 32):
                one = in_precision(case(stack, model_format, batch, in_flight), precision)
                held = shipped(one, hardware)
                if len({*held} & {"images_per_s"}):
                    times = {name: limit for name, limit in held.items() if name != "images_per_s"}
                    assert all(in_flight / held["images_per_s"] * 1000 < limit for limit in times.values())
                    found += len(times)
    assert found


@pytest.mark.parametrize("stack", ["fastapi", "triton", "torchserve"])
@pytest.mark.parametrize("model_format", [ModelFormat.ONNX, ModelFormat.PYTORCH])
@pytest.mark.parametrize(("batch", "in_flight", "items"), [(8, 1, 1), (8, 1, 8), (1, 2, 1), (8, 16, 1)])
def test_every_case_of_a_normal_run_on_a_cpu_has_p95_and_throughput_limits(
    stack: str,
    model_format: ModelFormat,
    batch: int,
    in_flight: int,
    items: int,
) -> None:
    """``make bench`` on two cores leaves no case ungated."""
    held = shipped(case(stack, model_format, batch, in_flight, items), TWO_CORES)
    assert set(held) == {"response_time_p95_ms", "images_per_s"}


def test_the_shipped_smoke_limits_of_a_cpu_are_of_fp32() -> None:
    """What bf16 takes on a CPU without instructions for it is no fault of a server's."""
    shipped = parse_thresholds(SHIPPED.read_text(encoding="utf-8"))
    single = replace(case(), load=Load(concurrency=1))
    brain = replace(single, deployment=replace(single.deployment, precision=Precision.BF16))
    assert thresholds_for(shipped, single, TWO_CORES)
    assert not thresholds_for(shipped, brain, TWO_CORES)
