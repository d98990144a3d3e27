"""Which precisions are computed by which format on which device, and what a user is told of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.options.arithmetic import compiles_torchscript, runs, why_not
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.marker import marker_arguments
from pytest_servebench.plan import CPU, Case, Device, Plan, Precision
from pytest_servebench.stacks import built_in_stacks
from tests.asking import DOCKER, NO_GPU, ONE_GPU, TWO_GPUS, offers, plan
from tests.offered_stack import FASTAPI, ONNX, PYTORCH, TENSORRT, THREE, TRITON, OfferedStack

FP32, TF32, FP16, BF16, INT8 = Precision
GPU = Device("cuda")


def cases(made: Plan, **marker: Any) -> tuple[Case, ...]:
    """Return the cases of a benchmark with these marker arguments."""
    return cases_for(made, stacks_offer=THREE, **marker_arguments(marker))


def test_what_each_format_is_computed_in() -> None:
    """The table, whole: a case never runs in other arithmetic than its name says."""
    assert runs(ONNX, CPU, attached=False) == (FP32, INT8)
    assert runs(PYTORCH, CPU, attached=False) == (FP32, BF16)
    assert runs(ONNX, GPU, attached=False) == (FP32, TF32, FP16)
    assert runs(PYTORCH, GPU, attached=False) == (FP32, TF32, FP16, BF16)
    assert runs(TENSORRT, GPU, attached=False) == (FP32, TF32, FP16, BF16, INT8)


def test_an_older_gpu_has_no_tf32_and_no_bf16() -> None:
    """It would compute them in fp32, or fail; the least of several GPUs decides, unknown refuses nothing."""
    t4, l4 = (7, 5), (8, 9)
    old = replace(TWO_GPUS, cuda_capabilities=(l4, t4))
    on_l4, on_both = plan(old, device="cuda:0").device, plan(old, device="cuda:all").device
    assert runs(PYTORCH, on_l4, attached=False) == (FP32, TF32, FP16, BF16)
    assert runs(PYTORCH, on_both, attached=False) == (FP32, FP16)
    assert runs(TENSORRT, on_both, attached=False) == (FP32, FP16, INT8)
    unknown = plan(replace(TWO_GPUS, cuda_capabilities=(l4, None)), device="cuda:all").device
    assert runs(PYTORCH, unknown, attached=False) == (FP32, TF32, FP16, BF16)
    with pytest.raises(PlanError) as caught:
        plan(old, stack="all", format="pytorch", dtype="bf16", device="cuda:1")
    assert caught.value.seen == "pytorch/bf16: bf16 begins with compute capability 8.0, and cuda:1 has 7.5"


def test_a_server_that_runs_already_computes_what_it_likes() -> None:
    """Nobody here knows its device, so nothing is refused."""
    assert runs(ONNX, CPU, attached=True) == tuple(Precision)
    chosen = plan(stack="triton=http://127.0.0.1:8000", format="onnx", dtype="bf16")
    assert chosen.precisions == (BF16,)
    assert [case.deployment.precision for case in cases(chosen)] == [BF16]


def test_fp32_is_what_nobody_asked_for() -> None:
    """Without the option everything is as it was: names, ids and cases."""
    chosen = plan(stack="all")
    assert chosen.precisions == (FP32,)
    assert {case.deployment.precision for case in cases(chosen)} == {FP32}
    assert cases(chosen)[0].id == "fastapi-onnx-tensor-http-b8-i1-c1"


def test_cases_are_made_per_stack_format_precision_and_batch() -> None:
    """In that order, and each has its own id and its own model on the wire."""
    made = cases(plan(ONE_GPU, stack="fastapi", format="onnx,pytorch", dtype="fp32,fp16"), concurrency="2b")
    assert [case.id for case in made] == [
        "fastapi-onnx-tensor-http-b1-i1-c2",
        "fastapi-onnx-tensor-http-b8-i1-c16",
        "fastapi-onnx-fp16-tensor-http-b1-i1-c2",
        "fastapi-onnx-fp16-tensor-http-b8-i1-c16",
        "fastapi-pytorch-tensor-http-b1-i1-c2",
        "fastapi-pytorch-tensor-http-b8-i1-c16",
        "fastapi-pytorch-fp16-tensor-http-b1-i1-c2",
        "fastapi-pytorch-fp16-tensor-http-b8-i1-c16",
    ]
    assert {case.deployment.served_name for case in made} == {
        *("resnet50_onnx", "resnet50_onnx_fp16", "resnet50_pytorch", "resnet50_pytorch_fp16")
    }


@pytest.mark.parametrize(
    ("surroundings", "model_format", "word", "reason"),
    [
        (NO_GPU, "onnx", "tf32", "TF32 is arithmetic of NVIDIA GPUs"),
        (NO_GPU, "onnx", "fp16", "on a CPU onnxruntime casts every fp16 operand and computes in fp32"),
        (NO_GPU, "pytorch", "fp16", "torch convolves fp16 slower than fp32, or not at all"),
        (NO_GPU, "onnx", "bf16", "onnxruntime has no convolution in bf16"),
        (ONE_GPU, "onnx", "bf16", "onnxruntime has no convolution in bf16"),
        (DOCKER, "onnx", "bf16", "onnxruntime has no convolution in bf16"),
        (ONE_GPU, "onnx", "int8", "computes it in fp32; tensorrt has one"),
        (NO_GPU, "pytorch", "int8", "torch has no calibrated int8 of a TorchScript file"),
        (ONE_GPU, "pytorch", "int8", "torch has no calibrated int8 of a TorchScript file"),
    ],
)
def test_a_pair_asked_for_by_name_that_cannot_be_computed_is_an_error(
    surroundings: Any, model_format: str, word: str, reason: str
) -> None:
    """It names the option, the pair, the reason, and what can be asked for instead."""
    with pytest.raises(PlanError) as caught:
        plan(surroundings, stack="all", format=model_format, dtype=f"fp32,{word}")
    error = caught.value
    device = "cpu" if surroundings is NO_GPU else "cuda:0"
    assert error.what == (
        f"--serve-dtype asks for {word}, which {model_format} cannot be computed in on {device}"
    )
    assert error.seen.startswith(f"{model_format}/{word}: ")
    assert error.seen.endswith(reason)
    assert f"on {device} {model_format} can be fp32, " in error.next_step
    assert error.next_step.endswith("or use --serve-dtype=all for what each format can")
    assert error.where == "command line"


def test_a_precision_that_some_format_has_runs_where_no_format_was_named() -> None:
    """The other formats of the default are left out with the reason, as a stack's missing formats are."""
    chosen = plan(offered=offers(FASTAPI), stack="fastapi", dtype="fp32,bf16")
    assert chosen.precisions == (FP32, BF16)
    assert chosen.left_out == {"fastapi/onnx/bf16": "onnxruntime has no convolution in bf16"}
    assert [case.id for case in cases(chosen)] == [
        "fastapi-onnx-tensor-http-b8-i1-c1",
        "fastapi-pytorch-tensor-http-b8-i1-c1",
        "fastapi-pytorch-bf16-tensor-http-b8-i1-c1",
    ]


def test_a_format_that_is_left_with_nothing_is_not_served() -> None:
    """Its packages are not asked for, and the header does not name it."""
    chosen = plan(stack="fastapi", dtype="bf16")
    assert chosen.formats_by_stack == {"fastapi": (PYTORCH,)}
    assert chosen.formats == (PYTORCH,)


def test_a_precision_that_no_format_has_is_an_error_though_no_format_was_named() -> None:
    """``--serve-dtype=fp32,fp16`` on a CPU must not become a run of fp32 alone."""
    with pytest.raises(
        PlanError, match="--serve-dtype asks for fp16, which onnx and pytorch cannot"
    ) as caught:
        plan(stack="fastapi", dtype="fp32,fp16")
    assert "onnx/fp16: on a CPU onnxruntime casts" in caught.value.seen
    assert "pytorch/fp16: on a CPU without instructions" in caught.value.seen


def test_all_is_what_can_be_computed_and_tells_the_rest() -> None:
    """Also where the format was named: ``all`` promises no single one."""
    chosen = plan(stack="fastapi", format="onnx", dtype="all")
    assert chosen.precisions == (FP32, INT8)
    assert chosen.left_out == {
        f"fastapi/onnx/{each}": why_not(ONNX, each, CPU) for each in (TF32, FP16, BF16)
    }
    assert all(chosen.left_out.values())
    on_gpu = plan(ONE_GPU, stack="triton", format="tensorrt", dtype="all")
    assert on_gpu.precisions == tuple(Precision)
    assert on_gpu.left_out == {}


@dataclass(frozen=True)
class OfTorchScript(OfferedStack):
    """Compiles for TensorRT from TorchScript."""

    compiles_torchscript: bool = True


COMPILES = OfTorchScript("torchserve", formats=frozenset({ONNX, PYTORCH, TENSORRT}))


def test_what_is_compiled_from_torchscript_has_no_int8() -> None:
    """Told at the door with what can, not by a worker that dies at its start."""
    with pytest.raises(PlanError) as caught:
        plan(ONE_GPU, offered=offers(TRITON, COMPILES), stack="all", format="tensorrt", dtype="fp16,int8")
    error = caught.value
    assert error.what == (
        "--serve-dtype asks for int8, which tensorrt cannot be computed in on cuda:0 by torchserve"
    )
    assert error.seen.startswith("tensorrt/int8: it compiles a TorchScript file, and nothing calibrates one")
    assert error.next_step == (
        "on cuda:0 tensorrt can be fp32, tf32, fp16 by torchserve; "
        "or use --serve-dtype=all for what each format can"
    )


def test_what_torchscript_is_not_compiled_for_is_left_out_of_one_stack_alone() -> None:
    """With ``all`` the others keep theirs, and a marker's makes no case of it."""
    both = offers(TRITON, COMPILES)
    chosen = plan(ONE_GPU, offered=both, stack="all", format="tensorrt", dtype="all")
    assert chosen.precisions == tuple(Precision)
    assert chosen.left_out == {
        f"torchserve/tensorrt/{each}": why_not(TENSORRT, each, GPU, torchscript=True) for each in (BF16, INT8)
    }
    assert all(chosen.left_out.values())
    found = cases_for(chosen, stacks_offer=both, **marker_arguments({"precisions": ["fp16", "int8"]}))
    assert {(case.stack, case.deployment.precision) for case in found} == {
        ("triton", FP16),
        ("triton", INT8),
        ("torchserve", FP16),
    }
    alone = plan(ONE_GPU, offered=offers(COMPILES), stack="all", format="tensorrt", dtype="all")
    assert alone.precisions == (FP32, TF32, FP16)
    with pytest.raises(PlanError) as caught:
        plan(ONE_GPU, offered=offers(COMPILES), stack="torchserve", format="tensorrt", dtype="bf16")
    assert caught.value.seen == "tensorrt/bf16: Torch-TensorRT compiles no TorchScript for bf16"


def test_the_reason_names_the_stacks_that_can() -> None:
    """Of those that are built in."""
    able = sorted(s.name for s in built_in_stacks() if TENSORRT in s.formats and not compiles_torchscript(s))
    assert f"{' and '.join(able)} compile the calibrated onnx file" in why_not(
        TENSORRT, INT8, GPU, torchscript=True
    )


def test_what_is_merely_available_is_left_out_and_not_an_error() -> None:
    """A stack that nobody named cannot fail a run by its arithmetic."""
    onnx_only = replace(TRITON, formats=frozenset({ONNX}))
    chosen = plan(offered=offers(FASTAPI, onnx_only), stack="available", dtype="bf16")
    assert chosen.stacks == ("fastapi",)
    assert chosen.left_out["triton"] == "onnxruntime has no convolution in bf16"
    with pytest.raises(PlanError, match="asks for bf16, which onnx cannot be computed in"):
        plan(offered=offers(FASTAPI, onnx_only), stack="all", dtype="bf16")


def test_a_wrong_word_is_told_with_the_vocabulary() -> None:
    """A near miss is named."""
    with pytest.raises(PlanError, match="--serve-dtype does not know 'fp61': did you mean fp16") as caught:
        plan(dtype="fp61")
    assert caught.value.next_step == "use one of: fp32, tf32, fp16, bf16, int8, all"


def test_a_marker_has_precisions_of_its_own_until_the_user_gives_them() -> None:
    """As with payloads: then the user's are narrowed to the marker's."""
    asked: dict[str, Any] = {"stack": "fastapi", "format": "onnx,pytorch"}
    on_gpu = plan(ONE_GPU, **asked)
    found = cases(on_gpu, precisions=["fp32", "fp16"])
    assert [case.deployment.precision for case in found] == [FP32, FP16, FP32, FP16]
    narrowed = cases(plan(ONE_GPU, **asked, dtype="fp16,tf32"), precisions=["fp32", "fp16"])
    assert [case.deployment.precision for case in narrowed] == [FP16, FP16]


def test_a_markers_precision_makes_no_case_where_it_cannot_be_computed() -> None:
    """As a payload that a stack does not speak: the marker is written for every machine."""
    found = cases(plan(stack="fastapi"), precisions=["fp32", "bf16", "int8"])
    assert [(case.deployment.format, case.deployment.precision) for case in found] == [
        *((ONNX, FP32), (ONNX, INT8), (PYTORCH, FP32), (PYTORCH, BF16))
    ]


def test_a_wrong_precision_of_a_marker_names_the_vocabulary() -> None:
    """A marker is checked as a command line is."""
    with pytest.raises(PlanError, match="the marker servebench has a wrong precisions: 'half'") as caught:
        marker_arguments({"precisions": "half"})
    assert caught.value.next_step == "give some of: fp32, tf32, fp16, bf16, int8"
