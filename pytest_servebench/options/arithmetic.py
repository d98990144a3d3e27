"""Which arithmetic can be computed: by format and kind of device, and why not (pure).

What an engine would compute otherwise than it is called counts as "cannot": a case named fp16 whose products
are formed in fp32 would tell nothing of fp16. Whether a device runs a format at all (tensorrt) is asked in
`selection`. Sources: onnxruntime's table of kernels by provider (docs/OperatorKernels.md of its repository),
torch's documentation of autocast, TensorRT's of its precisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.options.given import Given
from pytest_servebench.plan import Device, ModelFormat, Precision
from pytest_servebench.words import listed

DEFAULT_PRECISIONS = (Precision.FP32,)

_ONNX, _PYTORCH, _TENSORRT = ModelFormat
_CPU, _CUDA = "cpu", "cuda"
_NEEDS_GPU = "TF32 is arithmetic of NVIDIA GPUs"
_AMPERE = (8, 0)
"""From this compute capability on a GPU has TF32 and bf16 (NVIDIA, CUDA C++ Programming Guide, "Compute
Capabilities"); libraries compute in fp32 instead, or fail."""
_SINCE_AMPERE = frozenset({Precision.TF32, Precision.BF16})
_NO_BF16 = "onnxruntime has no convolution in bf16"
_NO_INT8 = "torch has no calibrated int8 of a TorchScript file"
_NO_INT8_COMPILED = (
    "it compiles a TorchScript file, and nothing calibrates one; "
    "fastapi and triton compile the calibrated onnx file"
)
_WHY_NOT: Mapping[tuple[ModelFormat, Precision, str], str] = MappingProxyType(
    {
        (_ONNX, Precision.TF32, _CPU): _NEEDS_GPU,
        (_PYTORCH, Precision.TF32, _CPU): _NEEDS_GPU,
        (_ONNX, Precision.FP16, _CPU): "on a CPU onnxruntime casts every fp16 operand and computes in fp32",
        (_PYTORCH, Precision.FP16, _CPU): (
            "on a CPU without instructions for it torch convolves fp16 slower than fp32, or not at all"
        ),
        (_ONNX, Precision.BF16, _CPU): _NO_BF16,
        (_ONNX, Precision.BF16, _CUDA): _NO_BF16,
        (_ONNX, Precision.INT8, _CUDA): (
            "onnxruntime's CUDA provider has no convolution in int8 and computes it in fp32; tensorrt has one"
        ),
        (_PYTORCH, Precision.INT8, _CPU): _NO_INT8,
        (_PYTORCH, Precision.INT8, _CUDA): _NO_INT8,
    }
)
_NOT_OF_TORCHSCRIPT: Mapping[Precision, str] = MappingProxyType(
    {
        Precision.BF16: "Torch-TensorRT compiles no TorchScript for bf16",
        Precision.INT8: _NO_INT8_COMPILED,
    }
)
"""Of ``tensorrt`` where it is compiled from a TorchScript file (see `interfaces.CompilingTorchScript`)."""


def compiles_torchscript(stack: Stack) -> bool:
    """Return whether the ``tensorrt`` of ``stack`` is made of a TorchScript file."""
    return bool(getattr(stack, "compiles_torchscript", False))


def why_not(
    model_format: ModelFormat, precision: Precision, device: Device, *, torchscript: bool = False
) -> str:
    """Return why ``device`` cannot compute a format in a precision; empty: it can.

    ``torchscript``: whether the stack compiles ``tensorrt`` from TorchScript.
    """
    of_engine = _WHY_NOT.get((model_format, precision, device.kind), "")
    if torchscript and model_format is _TENSORRT:
        of_engine = _NOT_OF_TORCHSCRIPT.get(precision, "")
    return of_engine or _beyond(precision, device)


def _beyond(precision: Precision, device: Device) -> str:
    has = device.capability
    if has is None or has >= _AMPERE or precision not in _SINCE_AMPERE:
        return ""
    return f"{precision} begins with compute capability 8.0, and {device} has {has[0]}.{has[1]}"


def runs(
    model_format: ModelFormat, device: Device, *, attached: bool, torchscript: bool = False
) -> tuple[Precision, ...]:
    """Return every precision that a format can be computed in, in the order of the vocabulary.

    What a server computes that is ``attached`` is its own affair: every one. ``torchscript``: see `why_not`.
    """
    return tuple(
        each
        for each in Precision
        if attached or not why_not(model_format, each, device, torchscript=torchscript)
    )


def parse_precisions(given: Given) -> tuple[Precision, ...] | None:
    """Return the precisions, or None for ``all``."""
    allowed = [str(word) for word in Precision]
    parts = given.parts()
    for part in parts:
        if part not in {*allowed, "all"}:
            raise given.unknown(part, (*allowed, "all"))
    return None if "all" in parts else tuple(Precision(part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticWish:
    """Which precisions were asked for, and whether the formats were named beside them."""

    precisions: tuple[Precision, ...] | None = DEFAULT_PRECISIONS
    """None: all that can be computed."""
    option: Given | None = None
    """None: nobody asked."""
    formats_named: bool = False
    """Whether the user named the formats, so that each of them with each precision was asked for by name."""

    @property
    def asked(self) -> tuple[Precision, ...]:
        """The precisions, every one that there is for ``all``."""
        return tuple(Precision) if self.precisions is None else self.precisions


@dataclass(slots=True)
class Arithmetic:
    """What of a wish one stack can compute."""

    formats: list[ModelFormat] = field(default_factory=list)
    """Those with at least one of the precisions asked for."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why others are left out, by key of `Plan.left_out`: ``fastapi/onnx/bf16``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computer:
    """Who computes: a stack, by what decides which precisions it has."""

    stack: str
    device: Device
    torchscript: bool = False
    """Whether it compiles ``tensorrt`` from TorchScript."""

    def why_not(self, model_format: ModelFormat, precision: Precision) -> str:
        """Return why it cannot; empty: it can."""
        return why_not(model_format, precision, self.device, torchscript=self.torchscript)

    def runs(self, model_format: ModelFormat) -> tuple[Precision, ...]:
        """Return what it can."""
        return runs(model_format, self.device, attached=False, torchscript=self.torchscript)

    def byline(self, model_format: ModelFormat) -> str:
        """Return ``by STACK`` where other stacks compute it otherwise: then it is not the format's affair."""
        alike = self.runs(model_format) == runs(model_format, self.device, attached=False)
        return "" if alike else f" by {self.stack}"


def computable(
    who: Computer, formats: Sequence[ModelFormat], wish: ArithmeticWish, *, optional: bool
) -> Arithmetic:
    """Return what a stack can compute of ``formats`` on its device.

    Raises `PlanError` for a pair that was asked for by name, and for a precision that was, where none of the
    formats can be computed in it. A stack that is ``optional`` was not asked for by name, nor are its pairs.
    """
    found = Arithmetic()
    must = wish.precisions is not None and not optional
    for model_format in formats:
        why = {each: reason for each in wish.asked if (reason := who.why_not(model_format, each))}
        if must and wish.formats_named and why:
            raise _cannot(wish, who, {(model_format, each): reason for each, reason in why.items()})
        if len(why) < len(wish.asked):
            found.formats.append(model_format)
        found.reasons |= {f"{who.stack}/{model_format}/{each}": reason for each, reason in why.items()}
    for each in wish.asked if must and formats else ():
        pairs = {(one, each): who.why_not(one, each) for one in formats}
        if all(pairs.values()):
            raise _cannot(wish, who, pairs)
    return found


def precisions_served(
    asked: Iterable[Precision],
    formats_by_stack: Mapping[str, Sequence[ModelFormat]],
    offered: Mapping[str, Stack],
    device: Device,
    *,
    attached: bool,
) -> tuple[Precision, ...]:
    """Return those of ``asked`` that any stack can compute any of its formats in, in that order."""
    able = {
        each
        for name, formats in formats_by_stack.items()
        for one in formats
        for each in runs(one, device, attached=attached, torchscript=compiles_torchscript(offered[name]))
    }
    return tuple(each for each in asked if each in able)


def _cannot(
    wish: ArithmeticWish, who: Computer, why: Mapping[tuple[ModelFormat, Precision], str]
) -> PlanError:
    assert wish.option is not None
    words = dict.fromkeys(str(each) for _, each in why)
    formats = tuple(dict.fromkeys(one for one, _ in why))
    by = next(filter(None, map(who.byline, formats)), "")
    able = "; ".join(f"{one} can be {listed(who.runs(one))}{who.byline(one)}" for one in formats)
    return wish.option.wrong(
        f"asks for {listed(words)}, which {_and(formats)} cannot be computed in on {who.device}{by}",
        seen="; ".join(dict.fromkeys(f"{one}/{each}: {reason}" for (one, each), reason in why.items())),
        next_step=f"on {who.device} {able}; or use {wish.option.flag}=all for what each format can",
    )


def _and(formats: Sequence[ModelFormat]) -> str:
    return " and ".join(map(str, formats))
