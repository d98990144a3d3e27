"""What a model file holds, and what a server computes in that runs it as it is (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pytest_servebench.as_asked import SMALL_SHARE
from pytest_servebench.containers import ContainerFacts
from pytest_servebench.results import Served

NO_TF32 = "--noTF32"
"""The option of ``trtexec`` that keeps TF32 out of a plan."""
LAYERS = "layers.json"
"""Beside a TensorRT plan: what TensorRT says of its layers, as ``trtexec --exportLayerInfo`` writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The arithmetic of a model file, as read from it."""

    precision: str | None = None
    """That of most weights, or of most products of a plan. ``fp32`` of a file that is no plan may be computed
    in TF32: it is the libraries' affair."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """Of a plan: how many convolutions and matrix products it has, by their precision; empty for others."""
    absent: str = ""
    """Why the precision is not known."""


NOT_OURS = Held(absent="its model file is not ours to read")
CAST = Held(absent="it may cast what its model file holds")


def computed(served: Served, held: Held, container: ContainerFacts | None) -> Served:
    """Return what a server says, completed by what the file holds that it runs as it is.

    ``container`` is the one that it runs in: NVIDIA's libraries compute fp32 in TF32 on a GPU unless
    ``NVIDIA_TF32_OVERRIDE`` in its environment is 0. What it said itself stays.
    """
    if served.precision is not None or served.absent:
        return served
    if held.absent or held.layers:
        return _compiled(served, held)
    if held.precision != "fp32" or served.device == "cpu":
        return replace(served, precision=held.precision)
    if container is None or served.device is None:
        return _unknown(served, "whether it computes fp32 in TF32 cannot be seen")
    tf32 = container.tf32_override != "0"
    return replace(
        served,
        precision="tf32" if tf32 else "fp32",
        options={**served.options, "tf32": "on" if tf32 else "off"},
    )


def _compiled(served: Served, held: Held) -> Served:
    if held.layers:
        told = ", ".join(f"{count} {word}" for word, count in held.layers.items())
        served = replace(served, options={**served.options, "layers": told})
    if held.precision is None:
        return _unknown(served, held.absent)
    return replace(served, precision=held.precision, warnings=(*served.warnings, *_mixture(held)))


def _mixture(held: Held) -> tuple[str, ...]:
    """Return a sentence where more than a small share of a plan's products are of another precision."""
    whole = sum(held.layers.values())
    others = whole - held.layers.get(held.precision or "", 0)
    if others <= SMALL_SHARE * whole:
        return ()
    return (f"{others} of the plan's {whole} convolutions and products are not computed in {held.precision}",)


def _unknown(served: Served, why: str) -> Served:
    engine = served.engine or "its engine"
    sentence = f"its precision is not known: {engine} does not tell it, and {why}"
    return replace(served, warnings=(*served.warnings, sentence))
