"""Reads in which types a TensorRT plan computes, from what TensorRT says of its layers (pure).

The form is that of ``IEngineInspector`` in ``ProfilingVerbosity::kDETAILED``, which TensorRT documents by
examples only: what is not as in those of TensorRT 8 to 10 is not known here, never guessed. Without an
execution context it shows no formats of tensors whose shape is not fixed, so weights and the name of the
kernel tell as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pytest_servebench.held import Held

_PRODUCT = re.compile(r"conv(?!ert)|gemm|matmul|matrixmultiply|fullyconnected|mha", re.IGNORECASE)
"""In a layer's type: ``CaskConvolution``, ``ConvActPool``, ``gemm``."""
_FUSED = {"kgen", "myelin"}
"""Types of layers that only their name tells what they compute."""
_TYPES = (
    (re.compile(r"bf16|bfloat16", re.IGNORECASE), "bf16"),
    (re.compile(r"fp8", re.IGNORECASE), "fp8"),
    (re.compile(r"(?<!u)int8", re.IGNORECASE), "int8"),
    (re.compile(r"fp16|half", re.IGNORECASE), "fp16"),
    (re.compile(r"fp32|float", re.IGNORECASE), "fp32"),
)
"""In the type of weights (``Half``) and the format of a tensor (``Row major linear FP16 format``)."""
_FINENESS = ("int8", "fp8", "bf16", "fp16", "tf32", "fp32")
_TF32_KERNEL = re.compile(r"tf32", re.IGNORECASE)
"""``sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_...``: fp32 in memory, factors in TF32."""
_FP32_KERNEL = re.compile(r"f32f32_f32f32|scudnn|sgemm|simt", re.IGNORECASE)
_UNKNOWN = "unknown"


def held_by_layers(told: object, *, tf32: bool) -> Held:
    """Return what a plan computes in: the precision of most of its convolutions and matrix products.

    ``told`` is the JSON; ``tf32`` whether its builder was free to use TF32, so that a kernel in fp32 whose
    name does not say may be either. Not known where that is so of half of them, or none is told.
    """
    layers = told.get("Layers") if isinstance(told, Mapping) else None
    if not isinstance(layers, list) or not all(isinstance(one, Mapping) for one in layers):
        return Held(absent="the layer information of the plan names no types")
    found = Counter(_arithmetic(one, tf32=tf32) or _UNKNOWN for one in layers if _is_product(one))
    counts = dict(found.most_common())
    if not counts:
        return Held(absent="the layer information of the plan has no convolution and no matrix product")
    if 2 * counts.get(_UNKNOWN, 0) >= sum(counts.values()):
        return Held(
            layers=counts,
            absent=f"of {counts[_UNKNOWN]} of the plan's {sum(counts.values())} convolutions and products"
            " the layer information does not say it",
        )
    known = {word: count for word, count in counts.items() if word != _UNKNOWN}
    return Held(precision=max(known, key=lambda word: (known[word], _FINENESS.index(word))), layers=counts)


def _is_product(layer: Mapping[str, object]) -> bool:
    kind = str(layer.get("LayerType", ""))
    if kind.lower() in _FUSED:
        return bool(_PRODUCT.search(f"{layer.get('Name', '')} {layer.get('TacticName', '')}"))
    return bool(_PRODUCT.search(f"{kind} {layer.get('ParameterType', '')}"))


def _arithmetic(layer: Mapping[str, object], *, tf32: bool) -> str | None:
    """Return the precision of a layer's factors: of weights and what they meet the finer; None: not told."""
    words = sorted({word for text in _told(layer) for word in _word(text)}, key=_FINENESS.index)
    if not words or words[-1] != "fp32":
        return words[-1] if words else None
    kernel = str(layer.get("TacticName", ""))
    if _TF32_KERNEL.search(kernel):
        return "tf32"
    return "fp32" if not tf32 or _FP32_KERNEL.search(kernel) else None


def _told(layer: Mapping[str, object]) -> Iterator[str]:
    weights, inputs = layer.get("Weights"), layer.get("Inputs")
    if isinstance(weights, Mapping):
        yield str(weights.get("Type", ""))
    if isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], Mapping):
        yield str(inputs[0].get("Format/Datatype") or inputs[0].get("Datatype") or "")


def _word(text: str) -> tuple[str, ...]:
    return next(((word,) for pattern, word in _TYPES if pattern.search(text)), ())
