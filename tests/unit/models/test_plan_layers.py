"""In which types a TensorRT plan computes, from layer information of the forms that TensorRT writes.

The layers are made here after what TensorRT 8.4 to 10 write of ResNets; they are no plan's own.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.held import Held
from pytest_servebench.models.plan_layers import held_by_layers

XMMA = (
    "sm80_xmma_fprop_implicit_gemm_{}_nhwckrsc_nhwc_tilesize128x64x32_stage4_warpsize2x2x1_g1_tensor16x8x16"
)
HALF_KERNEL, INT8_KERNEL = XMMA.format("f16f16_f16f16_f16"), XMMA.format("interleaved_i8i8_i8i32_f32")
TF32_KERNEL, FP32_KERNEL = XMMA.format("f32f32_tf32f32_f32"), XMMA.format("f32f32_f32f32_f32")
LINEAR, HALF_NHWC = "Row major linear FP32", "Channel major FP16 format where channel % 8 == 0"
INT8_VECTOR = "Thirty-two wide channel vectorized row major Int8 format"
DYNAMIC = "N/A due to dynamic shapes"


def tensor(form: str) -> dict[str, Any]:
    """Return a tensor as a layer has it."""
    return {"Name": "x", "Location": "Device", "Dimensions": [32, 64, 56, 56], "Format/Datatype": form}


def convolution(weights: str, form: str = DYNAMIC, kernel: str = "", **more: Any) -> dict[str, Any]:
    """Return a convolution of the library's own kernels."""
    return {
        "Name": "/layer1/layer1.0/conv1/Conv + /layer1/layer1.0/relu/Relu",
        "LayerType": "CaskConvolution",
        "Inputs": [tensor(form), tensor(LINEAR)],
        "Outputs": [tensor(form)],
        "ParameterType": "Convolution",
        "Kernel": [3, 3],
        "Weights": {"Type": weights, "Count": 36864},
        "Bias": {"Type": "Float", "Count": 64},
        "Activation": "RELU",
        "TacticName": kernel,
        **more,
    }


def other(kind: str, form: str = LINEAR, name: str = "x", kernel: str = "") -> dict[str, Any]:
    """Return a layer of another type, which has no weights."""
    tensors = {"Inputs": [tensor(form)], "Outputs": [tensor(form)]}
    return {"Name": name, "LayerType": kind, **tensors, "ParameterType": kind, "TacticName": kernel}


def told(*layers: Any) -> dict[str, Any]:
    """Return the whole of what trtexec writes."""
    return {"Layers": list(layers), "Bindings": ["input", "output"]}


ROUND = (other("Reformat"), other("NoOp"), other("CudaPooling"), other("kgen", name="__myl_AddRelu_myl0_3"))
"""What is around products, in fp32 here, and decides nothing."""


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (convolution("Half", HALF_NHWC, HALF_KERNEL), "fp16"),
        (convolution("Half", DYNAMIC, HALF_KERNEL), "fp16"),
        (convolution("Half", "Half"), "fp16"),
        (convolution("BFloat16", "Channel major BFloat16 format where channel % 8 == 0"), "bf16"),
        (convolution("Int8", INT8_VECTOR, INT8_KERNEL), "int8"),
        (convolution("Float", LINEAR, TF32_KERNEL), "tf32"),
        (convolution("Float", DYNAMIC, FP32_KERNEL), "fp32"),
        (convolution("Float", LINEAR, "ampere_scudnn_128x64_relu_xregs_large_nn_v1"), "fp32"),
        (other("gemm", "Half", kernel="sm80_xmma_gemm_f16f16_f16f16_f16_nn"), "fp16"),
        (other("ConvActPool", "Row major Int8 format"), "int8"),
        (other("kgen", "Half", name="_gemm_mha_v2_myl0_4"), "fp16"),
        (other("MatrixMultiply", "FP8"), "fp8"),
    ],
)
def test_a_product_tells_it_by_its_weights_its_input_or_its_kernel(layer: Any, found: str) -> None:
    """Whatever shapes are not fixed, and whatever is around it."""
    assert held_by_layers(told(layer, *ROUND), tf32=True) == Held(precision=found, layers={found: 1})


def test_newer_names_of_a_tensors_type_are_read() -> None:
    """Some versions write the type beside the format."""
    layer = {"LayerType": "gemm", "Inputs": [{"Name": "x", "Format": "Linear", "Datatype": "Half"}]}
    assert held_by_layers(told(layer), tf32=True).precision == "fp16"


def test_weights_in_8_bits_that_meet_half_are_multiplied_in_half() -> None:
    """The finer of the two is what is computed in."""
    assert held_by_layers(told(convolution("Int8", HALF_NHWC)), tf32=True).precision == "fp16"


def test_a_plan_asked_in_half_whose_products_are_all_single_is_fp32() -> None:
    """That some tensors between are in half does not make it a plan in half."""
    layers = [convolution("Float", LINEAR, FP32_KERNEL)] * 53 + [other("gemm", "Float")]
    held = held_by_layers(told(*layers, other("Reformat", HALF_NHWC)), tf32=False)
    assert held == Held(precision="fp32", layers={"fp32": 54})


def test_most_products_decide() -> None:
    """As where an engine of ours counts nodes; between two alike the finer, which claims less."""
    half, single = convolution("Half", kernel=HALF_KERNEL), convolution("Float", kernel=FP32_KERNEL)
    assert held_by_layers(told(half, half, single), tf32=False) == Held(
        precision="fp16", layers={"fp16": 2, "fp32": 1}
    )
    assert held_by_layers(told(half, single), tf32=False).precision == "fp32"


def test_a_kernel_that_does_not_say_tf32_is_fp32_only_where_tf32_was_forbidden() -> None:
    """A library's kernel without a name may be either, unless its builder was told."""
    layer = convolution("Float", LINEAR, LayerType="CublasConvolution")
    assert held_by_layers(told(layer), tf32=False).precision == "fp32"
    assert held_by_layers(told(layer), tf32=True).precision is None


def test_where_half_of_the_products_do_not_tell_it_is_not_known() -> None:
    """With how many there are of each."""
    silent, half = other("gemm", DYNAMIC), convolution("Half")
    held = held_by_layers(told(silent, half), tf32=True)
    assert (held.precision, held.layers) == (None, {"unknown": 1, "fp16": 1})
    assert held.absent.startswith("of 1 of the plan's 2 convolutions and products")
    assert held_by_layers(told(silent, half, half), tf32=True).precision == "fp16"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (told("conv1 + relu", "fc"), "names no types"),
        (told(*ROUND), "has no convolution and no matrix product"),
        (told(), "has no convolution and no matrix product"),
        ({}, "names no types"),
        ([], "names no types"),
        (None, "names no types"),
    ],
    ids=["names alone", "no product", "no layer", "no key", "a list", "null"],
)
def test_what_tells_nothing_is_not_known(what: object, why: str) -> None:
    """A plan of less verbosity names its layers and no more."""
    held = held_by_layers(what, tf32=False)
    assert (held.precision, held.layers) == (None, {})
    assert why in held.absent


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, 1, "gemm", [], [None], ["Half"], [{}], [{"Format/Datatype": 5}], {}, {"Type": []}]
)
KEYS = ("Name", "LayerType", "ParameterType", "Inputs", "Weights", "TacticName")


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ODD)), max_size=4))
def test_any_layers_are_read_and_what_they_do_not_say_is_not_known(layers: list[Any]) -> None:
    """A later TensorRT may write something else: unknown then, not an error and not a claim."""
    held = held_by_layers({"Layers": layers}, tf32=True)
    assert held.precision is None
    assert held.absent
