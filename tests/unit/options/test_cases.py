"""The plan and a benchmark's marker expand to ordered cases."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import PlanError
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.marker import marker_arguments
from pytest_servebench.plan import Case, Device, InputDtype, Plan
from tests.offered_stack import (
    CUDASHM,
    GRPC,
    HTTP,
    JPEG,
    ONNX,
    PYTORCH,
    TENSOR,
    TENSORRT,
    THREE,
    UINT8,
)

PLAN = Plan(stacks=("fastapi", "triton", "torchserve"), batch_sizes=(1, 8), duration_s=4.0, warmup_s=1.0)


def cases(plan: Plan = PLAN, **marker: Any) -> tuple[Case, ...]:
    """Return the cases of a benchmark with these marker arguments."""
    return cases_for(plan, stacks_offer=THREE, **marker_arguments(marker))


def test_throughput_is_every_deployment_with_twice_its_batch_in_flight() -> None:
    """Stack-major, then format, then batch size: the order in which servers come up."""
    assert [case.id for case in cases(replace(PLAN, stacks=("triton", "fastapi")), concurrency="2b")] == [
        "triton-onnx-tensor-http-b1-i1-c2",
        "triton-onnx-tensor-http-b8-i1-c16",
        "triton-pytorch-tensor-http-b1-i1-c2",
        "triton-pytorch-tensor-http-b8-i1-c16",
        "fastapi-onnx-tensor-http-b1-i1-c2",
        "fastapi-onnx-tensor-http-b8-i1-c16",
        "fastapi-pytorch-tensor-http-b1-i1-c2",
        "fastapi-pytorch-tensor-http-b8-i1-c16",
    ]


def test_one_request_in_flight_is_asked_of_the_largest_batch_only() -> None:
    """A server has nothing to batch then, so further batch sizes would repeat the case."""
    found = cases(replace(PLAN, stacks=("triton",)), items_per_request=[1, 4, "b"])
    assert [case.id for case in found][:3] == [
        "triton-onnx-tensor-http-b8-i1-c1",
        "triton-onnx-tensor-http-b8-i4-c1",
        "triton-onnx-tensor-http-b8-i8-c1",
    ]
    both = cases(replace(PLAN, stacks=("triton",)), batch_sizes=[1, 8])
    assert {case.deployment.max_batch_size for case in both} == {1, 8}


def test_a_request_never_holds_more_than_the_server_takes_at_once() -> None:
    """Sizes above a deployment's cap are not asked, and equal ones are asked once."""
    found = cases(replace(PLAN, batch_sizes=(4,)), items_per_request=[1, 4, 8, "b"])
    assert {case.items_per_request for case in found} == {1, 4}
    assert len(found) == 12


def test_a_concurrency_of_the_users_own_keeps_every_batch_size() -> None:
    """One in flight has nothing to batch; what the user keeps in flight may, whatever a marker says."""
    assert len({case.deployment.max_batch_size for case in cases(replace(PLAN, concurrency=5))}) > 1
    assert len({case.deployment.max_batch_size for case in cases(PLAN)}) == 1


def test_an_attached_server_is_not_compared_with_itself() -> None:
    """It has one batch setting: rows of several would show one server under names that are not its own."""
    attached = replace(PLAN, stacks=("triton",), attached={"triton": "http://h:1"}, batch_sizes=(1, 8))
    assert {case.deployment.max_batch_size for case in cases(attached, concurrency="2b")} == {8}
    assert (
        len(
            {
                case.deployment.max_batch_size
                for case in cases(replace(attached, attached={}), concurrency="2b")
            }
        )
        == 2
    )


def test_an_attached_server_is_not_asked_for_a_model_that_nobody_said_it_has() -> None:
    """A benchmark of another model has no case with it, until the user says that this is what it serves."""
    attached = replace(PLAN, stacks=("triton",), attached={"triton": "http://h:1"})
    assert cases(attached, model="efficientnet_lite0") == ()
    assert cases(replace(attached, model="efficientnet_lite0"), model="efficientnet_lite0")
    assert cases(replace(attached, attached={}), model="efficientnet_lite0")


def test_the_users_concurrency_wins() -> None:
    """``--serve-concurrency`` overrides every benchmark's own."""
    found = cases(replace(PLAN, concurrency=5), concurrency="2b")
    assert {case.load.concurrency for case in found} == {5}


def test_the_plan_reaches_every_case() -> None:
    """Windows, device, threads and model come from the plan."""
    plan = replace(PLAN, device=Device("cuda", 1), threads=3, model="efficientnet_lite0")
    for case in cases(plan):
        assert (case.load.duration_s, case.load.warmup_s) == (4.0, 1.0)
        assert (case.deployment.device, case.deployment.threads) == (Device("cuda", 1), 3)
        assert case.deployment.model == "efficientnet_lite0"


def test_formats_are_those_each_stack_can_serve_here() -> None:
    """What the plan left out of a stack has no case, and a marker only narrows."""
    plan = replace(PLAN, formats_by_stack={"fastapi": (ONNX, PYTORCH), "triton": (ONNX,), "torchserve": ()})
    pairs = {(case.stack, case.deployment.format) for case in cases(plan)}
    assert pairs == {("fastapi", ONNX), ("fastapi", PYTORCH), ("triton", ONNX)}
    narrowed = {(case.stack, case.deployment.format) for case in cases(plan, formats=["pytorch", "tensorrt"])}
    assert narrowed == {("fastapi", PYTORCH)}


def test_without_a_selection_a_stack_serves_what_it_offers() -> None:
    """A plan made by hand cannot make a stack serve a format it does not have."""
    plan = replace(PLAN, formats=(ONNX, TENSORRT))
    assert {case.stack for case in cases(plan, formats="tensorrt")} == {"triton"}


def test_a_markers_payloads_and_protocols_hold_until_the_user_chooses() -> None:
    """A benchmark may ask for several; what the user gave narrows them."""
    both = cases(payloads=["tensor", "jpeg"], protocols=["http", "grpc"])
    asked = {(case.stack, case.payload, case.protocol) for case in both}
    assert ("triton", JPEG, GRPC) in asked
    assert ("fastapi", JPEG, HTTP) in asked
    assert ("fastapi", TENSOR, GRPC) not in asked
    jpeg = replace(PLAN, payload=JPEG, settings={"payload": "jpeg"})
    assert {case.payload for case in cases(jpeg, payloads=["tensor", "jpeg"])} == {JPEG}
    assert cases(jpeg, payloads="tensor") == ()


def test_pixels_are_asked_of_a_graph_that_takes_them() -> None:
    """A model of its own is loaded for them, beside the one that takes what is normalised already."""
    offered = {"triton": replace(THREE["triton"], payloads=frozenset({TENSOR, UINT8}))}
    planned = replace(PLAN, stacks=("triton",), formats=(ONNX,), batch_sizes=(8,))
    found = cases_for(planned, stacks_offer=offered, payloads=(TENSOR, UINT8), concurrency=4)
    assert [(case.payload, case.deployment.served_name) for case in found] == [
        (TENSOR, "resnet50_onnx"),
        (UINT8, "resnet50_onnx_uint8"),
    ]
    assert [case.deployment.input_dtype for case in found] == [InputDtype.FLOAT32, InputDtype.UINT8]


def test_a_markers_gpu_memory_makes_no_case_on_a_cpu() -> None:
    """As with a payload that a stack does not offer; on a GPU it makes one."""
    offered = {"triton": replace(THREE["triton"], payloads=frozenset({TENSOR, CUDASHM}))}
    planned = replace(PLAN, stacks=("triton",), formats=(ONNX,), batch_sizes=(8,))
    for device, payloads in ((planned.device, [TENSOR]), (Device("cuda", 1), [TENSOR, CUDASHM])):
        asked = replace(planned, device=device)
        found = cases_for(asked, stacks_offer=offered, payloads=(TENSOR, CUDASHM), concurrency=4)
        assert [case.payload for case in found] == payloads


def test_a_markers_batch_sizes_hold_until_the_user_chooses() -> None:
    """Batch sizes follow the rule of payloads."""
    marked = cases(concurrency="2b", batch_sizes=[8, 16])
    assert {case.deployment.max_batch_size for case in marked} == {8, 16}
    asked = replace(PLAN, settings={"batch-size": "1,8"})
    narrowed = cases(asked, concurrency="2b", batch_sizes=[8, 16])
    assert {case.deployment.max_batch_size for case in narrowed} == {8}


def test_a_markers_model_and_images_are_what_the_benchmark_means() -> None:
    """Parity is about one model and its photographs, whatever the plan serves."""
    found = cases(model="efficientnet_lite0", images="photographs")
    assert {(case.deployment.model, case.images) for case in found} == {("efficientnet_lite0", "photographs")}


def test_the_quick_form_keeps_the_first_request_size() -> None:
    """Short means one size per deployment."""
    assert {
        case.items_per_request for case in cases(replace(PLAN, quick=True), items_per_request=[2, "b"])
    } == {2}


def test_replicates_come_round_by_round() -> None:
    """Every case before any again, its number in its id; once is no repeat, and ids stay as they are."""
    plan = replace(PLAN, stacks=("triton", "fastapi"), formats=(ONNX,), repeats=3)
    assert [case.id for case in cases(plan)] == [
        f"{stack}-onnx-tensor-http-b8-i1-c1-r{repeat}" for repeat in (1, 2, 3) for stack in plan.stacks
    ]
    once = cases(replace(plan, repeats=1))
    assert [case.repeat for case in once] == [None, None]
    assert cases(plan, once=True) == once


def test_capacities_and_stages_are_repeated_too() -> None:
    """Whatever is measured has replicates."""
    plan = replace(PLAN, stacks=("triton",), formats=(ONNX,), batch_sizes=(8,), repeats=2, load_scale="auto")
    for marker in ({"arrivals": "staged"}, {"objective": "p95<=50ms"}):
        assert [case.repeat for case in cases(plan, **marker)] == [1, 2]


COUNTS = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True)


@given(
    batches=COUNTS,
    items=st.lists(st.one_of(st.integers(1, 64), st.sampled_from(["b", "2b"])), min_size=1, max_size=4),
    concurrency=st.one_of(st.integers(1, 64), st.sampled_from(["b", "2b", "10b"])),
    payloads=st.lists(st.sampled_from(["tensor", "jpeg"]), min_size=1),
)
def test_ids_are_unique_and_deployments_stay_together(
    batches: list[int],
    items: list[int | str],
    concurrency: int | str,
    payloads: list[str],
) -> None:
    """An id names one case, and a model is loaded once per benchmark."""
    found = cases(
        replace(PLAN, batch_sizes=tuple(batches)),
        items_per_request=items,
        concurrency=concurrency,
        payloads=payloads,
    )
    assert len({case.id for case in found}) == len(found)
    runs = [deployment for deployment, _ in groupby(case.deployment for case in found)]
    assert len(runs) == len(set(runs))
    assert all(case.items_per_request <= case.deployment.max_batch_size for case in found)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ({"concurency": 1}, "does not know 'concurency': did you mean concurrency?"),
        ({"concurrency": 0}, "has a wrong concurrency: 0"),
        ({"concurrency": "twice"}, "has a wrong concurrency: 'twice'"),
        ({"concurrency": True}, "has a wrong concurrency: True"),
        ({"concurrency": 1.5}, "has a wrong concurrency: 1.5"),
        ({"items_per_request": []}, "has a wrong items_per_request: []"),
        ({"batch_sizes": ["2b"]}, "has a wrong batch_sizes: ['2b']"),
        ({"formats": ["onyx"]}, "has a wrong formats: ['onyx']"),
        ({"payloads": 3}, "has a wrong payloads: 3"),
        ({"model": 3}, "has a wrong model: 3"),
        ({"model": "resnet51"}, "has a wrong model: 'resnet51'"),
        ({"images": "cats"}, "has a wrong images: 'cats'"),
        ({"once": 1}, "has a wrong once: 1"),
    ],
)
def test_a_wrong_marker_says_where_what_and_what_is_allowed(marker: dict[str, Any], message: str) -> None:
    """A marker is checked like an option."""
    with pytest.raises(PlanError) as caught:
        marker_arguments(marker, where="test_x.py::test_y")
    assert caught.value.what == f"the marker servebench {message}"
    assert caught.value.where == "test_x.py::test_y"
    assert caught.value.next_step.startswith(("allowed: concurrency, items", "give "))


def test_a_marker_takes_keywords_only() -> None:
    """A positional argument has no meaning to guess."""
    with pytest.raises(PlanError, match="keywords only, not 'triton'"):
        marker_arguments({}, ("triton",))
